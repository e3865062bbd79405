"""A learned forecaster as one frozen value, and the one function that makes forecasts: from windows of rows.

A whole history, a chunk and a single reading end in the same window, and a window's answer does not depend on those
beside it, so they give the same bits. Memory is the window itself: the last `lookback` rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import chance, windows
from ..scale import Scale
from . import bands, coming, naive, segments
from .coming import Coming, Features
from .naive import Rules
from .segments import Form

Floats = NDArray[np.float64]
Errors = dict[str, tuple[float, float]]  # name -> mean squared and mean absolute error
ROWS = 4096  # windows of one channel that are answered at once: bounds the memory of a long history
FAR = 1e6  # spreads: no window reaches further into the network, where float32 would overflow
WON = "the forecaster did better"  # how a verdict begins that is no other's
OURS = "forecaster"  # the forecast as it is given, beside the names of the rules


class Model(msgspec.Struct, frozen=True, eq=False):
    """Everything that running needs.

    share    how much of an answer is the network's; the rest is the linear map's
    coming   what is known of the future, and what it does
    usual    (C,) how widely readings of a window are usually spread, scaled
    follows  how far bands follow that of each window: 0 not at all, 1 as it does
    levels   (Q,) of the quantiles; bands (Q, K, C): how far each lies from the forecast, scaled
    """

    form: Form
    weights: dict[str, NDArray[np.float32]]
    scale: Scale
    rules: Rules
    share: float
    levels: Floats
    bands: Floats
    coming: Coming
    usual: Floats
    follows: float


class Judged(NamedTuple):
    """Scaled forecasts (N, K, C), how much wider than usual their bands are (N, C), and errors, of the rules too.

    against  of each rule how likely chance gains as much over it as the forecaster did, and loses as much
    """

    said: Floats
    breadth: Floats
    errors: Errors
    against: Errors


class Posed(NamedTuple):
    """Windows of one channel each, as they are read.

    x        (N, L) the past without what is known to have moved it, minus its last value, nothing missing
    last     (N, 1) that value; NaN where nothing was seen
    channel  (N,) the number of each window's channel
    wide     (N, L * wide) what the network reads: `x`, and what stands beside it
    ahead    (N, answers, answer * features) what it knows of the future, or None
    """

    x: NDArray[np.float32]
    last: Floats
    channel: NDArray[np.int64]
    wide: NDArray[np.float32]
    ahead: NDArray[np.float32] | None


def posed(form: Form, z: Floats, u: Floats | None, effect: Floats) -> Posed:
    """Scaled windows (N, L, C) and their features (N, L + K, F) as windows of one channel each, N * C of them."""
    n, lookback, c = z.shape
    own = z if u is None else z - coming.does(effect, u[:, :lookback])
    x, last = _each(own)
    others = np.repeat(x.reshape(n, c, lookback).swapaxes(1, 2), c, axis=0) if form.joint else None
    wide, ahead = beside(form, x, others, None if u is None else np.repeat(u, c, axis=0))
    return Posed(x, last, np.tile(np.arange(c), n), wide, ahead)


def _each(z: Floats) -> tuple[NDArray[np.float32], Floats]:
    """Windows (N, L, C) as windows of one channel each, relative."""
    n, lookback, c = z.shape
    return relative(np.ascontiguousarray(z.swapaxes(1, 2)).reshape(n * c, lookback))


def beside(form: Form, x: NDArray[np.float32], others: Any, u: Any) -> tuple[NDArray[np.float32], Any]:
    """What the network reads of windows (..., L): `wide` and `ahead`, as `Posed` has them.

    others (..., L, C) are the windows of all channels if `joint`, u (..., L + K, F) features; None: there are none.
    """
    if others is None and u is None:
        return x, None
    parts = [x[..., None], *([] if others is None else [others])]
    if u is None:
        return np.concatenate(parts, axis=-1).reshape(*x.shape[:-1], -1), None
    u = u.astype(np.float32)
    wide = np.concatenate([*parts, u[..., : form.lookback, : form.known]], axis=-1)
    blank = [(0, 0)] * (u.ndim - 2) + [(0, form.answers * form.answer - form.horizon), (0, 0)]
    ahead = np.pad(u[..., form.lookback :, :], blank)
    return wide.reshape(*x.shape[:-1], -1), ahead.reshape(*x.shape[:-1], form.answers, -1)


def relative(x: Floats) -> tuple[NDArray[np.float32], Floats]:
    """Scaled windows (N, L), NaN = missing -> filled and minus their last value (N, L), and that last value (N, 1).

    >>> x, last = relative(np.array([[1.0, np.nan, 3.0]]))
    >>> x.tolist(), last.tolist()
    ([[-2.0, -1.0, 0.0]], [[3.0]])

    In a window where nothing was seen all is 0, and the last value NaN.
    """
    x = windows.filled(x)
    last = x[:, -1:]
    return np.nan_to_num(np.clip(x - last, -FAR, FAR)).astype(np.float32), last


def network(
    model: Model, x: NDArray[np.float32], channel: NDArray[np.int64], ahead: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """What the networks say alone, in the mean, of windows (N, L * wide) of the channels numbered in `channel`."""
    found = np.zeros((len(x), model.form.horizon), np.float32)
    for m in range(model.form.models):
        own = {name: w[m] for name, w in model.weights.items()}
        found += segments.forward(own, model.form, x, channel, ahead=ahead)
    return found / np.float32(model.form.models)


def ahead(model: Model, z: Floats, u: Floats | None = None, *, rules: bool = False) -> tuple[dict[str, Floats], Floats]:
    """Scaled windows (N, L, C) -> scaled forecasts (N, K, C), as "forecaster", and how wide their bands are (N, C).

    With `rules` those of the rules too. u (N, L + K, F) is what is known. NaN for a channel of which the window holds
    nothing.
    """
    n, lookback, c = z.shape
    read = posed(model.form, z, u, model.coming.effect)
    line = naive.linear(model.rules, read.x)
    said = network(model, read.wide, read.channel, read.ahead) if model.share else line
    told = {OURS: line + model.share * (said - line) if model.share else line, "linear": line}
    found = {name: (read.last + y).reshape(n, c, -1).swapaxes(1, 2) for name, y in told.items()}
    if u is not None:
        moved = coming.does(model.coming.effect, u[:, lookback:])
        found = {name: y + moved for name, y in found.items()}
    wider = bands.breadth(bands.spread(read.x).reshape(n, c), model.usual, model.follows)
    few = 2 * (~np.isnan(z)).sum(axis=1) < lookback  # what was hardly read looks calm, and is not
    wider = np.where(few, np.maximum(wider, 1.0), wider)
    if not rules:
        return {OURS: found[OURS]}, wider
    x, last = (read.x, read.last) if u is None else _each(z)
    plain = {name: (last + y).reshape(n, c, -1).swapaxes(1, 2) for name, y in naive.answers(model.rules, x).items()}
    return {**found, **{name: y for name, y in plain.items() if name not in found}}, wider


def judged(model: Model, z: Floats, origins: NDArray[np.int64], features: Features | None = None) -> Judged:
    """What is said of the windows of z (T, C) that begin at `origins`, held against what came."""
    form = model.form
    pasts, futures = windows.windows(z, form.lookback), windows.windows(z[form.lookback :], form.horizon)
    said, wider, size = [], [], at_once(form)
    squares: dict[str, list[Floats]] = {name: [] for name in (OURS, *naive.NAMES)}
    totals = {name: np.zeros(3) for name in (OURS, *naive.NAMES)}
    for first in range(0, len(origins), size):
        at = origins[first : first + size]
        u = None if features is None else features(at)
        (found, wide), truth = ahead(model, pasts[at], u, rules=True), futures[at]
        known = ~np.isnan(truth + found[OURS])
        for name, answer in found.items():
            miss = np.where(known, answer - truth, 0)
            squares[name].append(np.square(miss).sum(axis=(1, 2)))
            totals[name] += (squares[name][-1].sum(), np.abs(miss).sum(), known.sum())
        said.append(found[OURS])
        wider.append(wide)
    errors = {name: (float(a / max(n, 1)), float(b / max(n, 1))) for name, (a, b, n) in totals.items()}
    of = {name: np.concatenate(parts) for name, parts in squares.items()}
    against = {name: _paired(of[name] - of[OURS], origins, form.horizon) for name in naive.NAMES}
    return Judged(np.concatenate(said), np.concatenate(wider), errors, against)


def _paired(gain: Floats, origins: NDArray[np.int64], horizon: int) -> tuple[float, float]:
    """`chance.paired` over stretches of time twice as long as a forecast or longer, none of which shares a row."""
    span, since = int(origins[-1] - origins[0]) + 1, origins - origins[0]
    count = min(chance.BLOCKS, max(1, span // (2 * horizon)))
    block = since * count // span
    own = np.minimum((since + horizon - 1) * count // span, count - 1) == block
    return chance.paired(gain[own], block[own])


def at_once(form: Form) -> int:
    """How many windows of all channels are answered at once."""
    return max(1, ROWS // form.channels // (form.channels if form.joint else 1))


def start(form: Form) -> dict[str, NDArray[np.generic]]:
    """The state before anything was read: no row (known columns come last), and no time."""
    return {"rows": np.full((form.lookback, form.channels + form.known), np.nan), "clock": np.zeros(2, dtype=np.int64)}
