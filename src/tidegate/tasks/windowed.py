"""A learned forecaster as one frozen value, and the one function that makes forecasts: from windows of rows.

A whole history, a chunk and a single reading end in the same window, and a window's answer does not depend on those
beside it, so they give the same bits. Memory is the window itself: the last `lookback` rows.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import windows
from ..scale import Scale
from . import naive, segments
from .naive import Rules
from .segments import Form

Floats = NDArray[np.float64]
Errors = dict[str, tuple[float, float]]  # name -> mean squared and mean absolute error
ROWS = 4096  # windows of one channel that are answered at once: bounds the memory of a long history
FAR = 1e6  # spreads: no window reaches further into the network, where float32 would overflow
OURS = "forecaster"  # the forecast as it is given, beside the names of the rules


class Model(msgspec.Struct, frozen=True, eq=False):
    """Everything that running needs.

    share    how much of an answer is the network's; the rest is the linear map's
    levels   (Q,) of the quantiles; bands (Q, K, C): how far each lies from the forecast, scaled
    """

    form: Form
    weights: dict[str, NDArray[np.float32]]
    scale: Scale
    rules: Rules
    share: float
    levels: Floats
    bands: Floats


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


def network(model: Model, x: NDArray[np.float32], channel: NDArray[np.int64]) -> NDArray[np.float32]:
    """What the networks say alone, in the mean, of windows (N, L) of the channels numbered in `channel`."""
    found = np.zeros((len(x), model.form.horizon), np.float32)
    for m in range(model.form.models):
        found += segments.forward({name: w[m] for name, w in model.weights.items()}, model.form, x, channel)
    return found / np.float32(model.form.models)


def ahead(model: Model, z: Floats, *, beside: bool = False) -> dict[str, Floats]:
    """Scaled windows (N, L, C) -> scaled forecasts (N, K, C), as "forecaster"; with `beside`, those of the rules too.

    NaN for a channel of which the window holds nothing.
    """
    n, _, c = z.shape
    size = max(1, ROWS // c)
    parts = [_some(model, z[i : i + size], beside) for i in range(0, n, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _some(model: Model, z: Floats, beside: bool) -> dict[str, Floats]:
    n, lookback, c = z.shape
    x, last = relative(np.ascontiguousarray(z.swapaxes(1, 2)).reshape(n * c, lookback))
    rules = naive.answers(model.rules, x) if beside else {}
    line = rules["linear"] if beside else naive.linear(model.rules, x)
    mixed = line + model.share * (network(model, x, np.tile(np.arange(c), n)) - line) if model.share else line
    told = {OURS: mixed, **rules}
    return {name: (last + y).reshape(n, c, -1).swapaxes(1, 2) for name, y in told.items()}


def judged(model: Model, z: Floats, origins: NDArray[np.int64]) -> tuple[Floats, Errors]:
    """Forecasts (N, K, C) from the windows of z (T, C) that begin at `origins`, and errors, of the rules too."""
    form = model.form
    pasts, futures = windows.windows(z, form.lookback), windows.windows(z[form.lookback :], form.horizon)
    said, size = [], max(1, ROWS // form.channels)
    totals = {name: np.zeros(3) for name in (OURS, *naive.NAMES)}
    for first in range(0, len(origins), size):
        at = origins[first : first + size]
        found, truth = ahead(model, pasts[at], beside=True), futures[at]
        known = ~np.isnan(truth + found[OURS])
        for name, answer in found.items():
            miss = (answer - truth)[known]
            totals[name] += (miss @ miss, np.abs(miss).sum(), miss.size)
        said.append(found[OURS])
    errors = {name: (float(a / max(n, 1)), float(b / max(n, 1))) for name, (a, b, n) in totals.items()}
    return np.concatenate(said), errors


def start(form: Form) -> dict[str, NDArray[np.generic]]:
    """The state before anything was read: no row, and no time."""
    return {"rows": np.full((form.lookback, form.channels), np.nan), "clock": np.zeros(2, dtype=np.int64)}


def quantiles(levels: Floats, bands: Floats, q: float) -> Floats:
    """The band (K, C) of any level between the lowest and the highest, as a line between its neighbours (Q, K, C)."""
    at = min(int(np.searchsorted(levels, q, side="right")) - 1, len(levels) - 2)
    part = (q - levels[at]) / (levels[at + 1] - levels[at])
    low, high = bands[at], bands[at + 1]
    found: Floats = low if part == 0 else high if part == 1 else low + part * (high - low)
    return found
