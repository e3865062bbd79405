"""How the forecaster learns: from three stretches of history in the order of time.

    train      the network, the linear map and the period learn from windows whose futures lie here
    valid      later: stops training, and chooses the penalty of the linear map
    calibrate  later still: how far forecasts miss makes the quantiles, and the rules are held against it here

How much of the answer is the network's, one number, is chosen on the last two together.

A window's past may reach back into an earlier stretch, as it will when the model runs; its future never does.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import network, train
from ..errors import DataError
from ..scale import Scale
from ..settings import Training
from ..train import Problem
from ..windows import windows
from . import bands, coming, naive, segments, windowed
from .coming import Coming
from .naive import Rules
from .segments import Form
from .windowed import Errors, Model

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
FEWEST = 16  # origins that a stretch needs to say anything
SURE = 1.64  # standard errors below what was measured: one time in twenty it is less
PASSES = 16  # over all windows, in an epoch, at most
SIXTHS = 6  # parts of the training stretch
STILL = 0.1  # spreads: a channel whose windows usually move less is a still one, now and then stirred
ROWS = 20_000  # the last of the training stretch, in which a longer period is looked for
JUDGED = 1500  # origins at most, evenly spaced, by which choices are made and quantiles measured


@dataclass(frozen=True, eq=False)
class History:
    """Scaled rows (T, C), one every interval, NaN = missing; `parts` are the rows [first, stop) of the futures.

    u (T, F) are the features of each row, and `effect` (F, C) is what they do; None: nothing is known ahead.
    """

    z: Floats
    form: Form
    parts: dict[str, tuple[int, int]]
    u: Floats | None = None
    effect: Floats | None = None

    @cached_property
    def own(self) -> Floats:
        """The rows without what is known to have moved them."""
        return self.z if self.u is None or self.effect is None else self.z - coming.does(self.effect, self.u)

    def features(self, first: NDArray[np.int64]) -> Floats | None:
        """Features (..., L + K, F) of the windows that begin at some rows (...)."""
        if self.u is None:
            return None
        found: Floats = self._known[first].swapaxes(-1, -2)
        return found

    @cached_property
    def _known(self) -> Floats:
        length = self.form.lookback + self.form.horizon
        return np.lib.stride_tricks.sliding_window_view(np.zeros((0, 0)) if self.u is None else self.u, length, axis=0)

    def origins(self, part: str | tuple[int, int], most: int | None = None) -> NDArray[np.int64]:
        """The first row of each window whose future lies inside a stretch; at most `most`, evenly spaced."""
        (first, stop), form = self.parts[part] if isinstance(part, str) else part, self.form
        found = np.arange(max(0, first - form.lookback), stop - form.lookback - form.horizon + 1)
        return found if most is None or len(found) <= most else found[np.linspace(0, len(found) - 1, most).astype(int)]

    def pairs(self, part: str | tuple[int, int], most: int | None = None) -> NDArray[np.int64]:
        """Windows of one channel, as first row x channels + channel, that have something to read and to learn from."""
        return self.useful(self.origins(part, most))

    def useful(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of the windows that begin at some rows, all channels that have something to read and to learn from."""
        c, form = self.z.shape[1], self.form
        seen = np.concatenate([np.zeros((1, c), int), np.cumsum(~np.isnan(self.z), axis=0)])
        now = at + form.lookback
        useful = (seen[now] > seen[at]) & (seen[now + form.horizon] > seen[now])
        found: NDArray[np.int64] = (at[:, None] * c + np.arange(c))[useful]
        return found

    @cached_property
    def futures(self) -> NDArray[Any]:
        """All windows with their futures, as a view: (C, T - L - K + 1, L + K); float32 if `plain`."""
        rows = np.ascontiguousarray(self.own.T, dtype=np.float32 if self.plain else np.float64)
        found: NDArray[Any] = np.lib.stride_tricks.sliding_window_view(
            rows, self.form.lookback + self.form.horizon, axis=1
        )
        return found

    @cached_property
    def plain(self) -> bool:
        """Whether nothing is missing and nothing far off: windows can be taken as they are."""
        return bool((np.abs(self.own) < 64).all())

    def gather(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """The pasts (..., L) as the network reads them, their futures (..., K) meant likewise, and their channels."""
        first, channel = np.divmod(pairs, self.z.shape[1])
        lookback = self.form.lookback
        whole: NDArray[Any] = self.futures[channel, first]
        if self.plain:
            whole -= whole[..., lookback - 1 : lookback].copy()
            return whole[..., :lookback], whole[..., lookback:], channel
        past, future = whole[..., :lookback].reshape(-1, lookback), whole[..., lookback:]
        x, last = windowed.relative(past)
        y = np.clip(future - last.reshape(*pairs.shape, 1), -windowed.FAR, windowed.FAR)
        return x.reshape(*pairs.shape, lookback), y.astype(np.float32), channel

    def read(self, pairs: NDArray[np.int64], x: NDArray[np.float32]) -> tuple[NDArray[np.float32], Any]:
        """What the network reads of pasts that `gather` gave: `wide` and `ahead`, as `windowed.Posed` has them."""
        c = self.z.shape[1]
        first, others = pairs // c, None
        if self.form.joint:
            others = np.stack([self.gather(first * c + channel)[0] for channel in range(c)], axis=-1)
        return windowed.beside(self.form, x, others, self.features(first))


def split(rows: int, form: Form, held_out: float, name: str) -> dict[str, tuple[int, int]]:
    """Train, valid and calibrate, half of `held_out` each for the last two, and more where the horizon needs it.

    >>> split(1000, Form(channels=1, horizon=1, lookback=8, net=network.Network()), 0.2, "pump")
    {'train': (0, 800), 'valid': (800, 900), 'calibrate': (900, 1000)}
    """
    least = form.horizon + FEWEST - 1
    held = max(round(held_out / 2 * rows), least)
    first = rows - 2 * held
    if first < form.lookback + least:
        raise DataError(
            f"{rows:,} rows of history are too few to learn from",
            wanted=f"at least {form.lookback + 3 * least:,}, for {form.lookback} rows back and {form.horizon} ahead",
            do="give a longer history, or a shorter lookback or horizon",
            where=name,
        )
    return {"train": (0, first), "valid": (first, first + held), "calibrate": (first + held, rows)}


def paced(training: Training, windows: int) -> Training:
    """The same with fewer steps an epoch where there is so little to learn from that each would be seen too often.

    >>> paced(Training(batches=100, batch=256), 320).batches
    20
    """
    return msgspec.structs.replace(training, batches=min(training.batches, max(1, PASSES * windows // training.batch)))


def problem(past: History, training: Training, seed: int, device: str) -> Problem:
    """What `train.fit` is to learn: the futures of random windows of single channels, by each model from its own."""
    known = b"" if past.u is None else past.u.tobytes()
    told = past.own.tobytes() + known + msgspec.json.encode([past.form, past.parts])
    identity = hashlib.sha256(told).hexdigest()
    rows = past.pairs("train"), past.pairs("valid", JUDGED // 4)
    if not len(rows[0]):
        raise DataError("no window has anything to learn from", wanted="readings before and after one moment")
    first, models = segments.init(past.form, seed), range(past.form.models)
    return Problem(first, *rows, _Loss(past, device), identity, models=models)


class _Loss:
    """The mean absolute error of each model's batch of windows, where something was read; as `train.Problem` wants it.

    Absolute, not squared: fewer far misses decide, and on validation data its squares were smaller too.
    """

    def __init__(self, past: History, device: str) -> None:
        self.past, self.device, self.torch = past, device, train.torch_or_error()
        from . import descent  # needs torch

        self.descent = descent

    def __call__(self, params: dict[str, Tensor], rows: NDArray[np.int64], generators: Any) -> Tensor:
        form, (own, y, channel) = self.past.form, self.past.gather(rows)
        x, ahead = self.past.read(rows, own)
        drop = self._drop(generators) if generators and form.net.dropout else None
        if self.descent.takes(form, params):
            return self.descent.loss(params, form, self.descent.Batch(x, channel, y, self.past.plain), drop)
        inputs, wanted = (self.torch.as_tensor(a, device=self.device) for a in (x, np.nan_to_num(y)))
        ahead = None if ahead is None else self.torch.as_tensor(ahead, device=self.device)
        seen = self.torch.as_tensor(~np.isnan(y), device=self.device)
        said = segments.forward(params, form, inputs, channel, drop, ahead)
        total: Tensor = ((said - wanted).abs() * seen).sum((-2, -1)) / seen.sum((-2, -1)).clamp(min=1)
        return total

    def _drop(self, generators: Any) -> segments.Drop:
        """What is dropped: of each model as its own generator has it, on the processor, whatever the device."""
        dropped = round(256 * self.past.form.net.dropout)  # a byte decides
        seeds = [int(self.torch.randint(2**62, (1,), generator=g)) for g in generators]
        noise = [np.random.Generator(np.random.SFC64(seed)) for seed in seeds]

        def drop(shape: Any) -> tuple[NDArray[np.uint8], int, float]:
            bytes = b"".join(one.bytes(int(np.prod(shape[1:]))) for one in noise)
            return np.frombuffer(bytes, np.uint8).reshape(shape), dropped, 1 / (1 - dropped / 256)

        return drop


def rules(past: History) -> tuple[Rules, Rules]:
    """The naive rules: learned on the training stretch, and with a linear map that learned on validation rows too.

    The penalty is the one that did best in the order of time: maps of half of the training stretch on the sixth after
    it, and so on, the last of all of it on the validation stretch, whose rows are too few to decide alone. Only the
    first rules can be held against the network there.
    """
    ridge = naive.Ridge(past.form.lookback, past.form.horizon)
    stop, end = past.parts["train"][1], past.parts["valid"][1]
    marks, begun = [*np.linspace(0, stop, SIXTHS + 1).astype(int).tolist(), end], 0
    misses, first = np.zeros(len(naive.STRENGTHS)), ridge
    for i, mark in enumerate(marks[1:], start=1):
        known = past.origins((0, mark))
        _add(ridge, past, past.useful(known[begun:]))
        begun = len(known)
        if SIXTHS // 2 <= i <= SIXTHS:
            first = ridge.copy()
            judged = past.pairs((mark, marks[i + 1]), JUDGED // 4)
            misses += [first.miss(strength, *past.gather(judged)[:2]) for strength in naive.STRENGTHS]
    best = naive.STRENGTHS[int(np.argmin(misses))]
    x, y = _sampled(past)
    season = np.array([naive.period(x, y)], dtype=np.int64)
    return Rules(season, first.map(best)), Rules(season, ridge.map(best))


def cycle(past: History) -> str:
    """A note where readings repeat after more rows than a window holds, which would serve far better."""
    x, y = _sampled(past)
    some = np.linspace(0, past.form.channels - 1, min(past.form.channels, 8)).astype(np.int64)
    first, stop = past.parts["train"]
    found = naive.longer(past.z[max(first, stop - ROWS) : stop, some], past.form.lookback, naive.missed(x, y)[1])
    if not found:
        return ""
    what = f"readings repeat after about {found:,} rows, more than lookback={past.form.lookback:,} can see"
    return f"{what}: lookback={found:,} or more may do far better"


def _sampled(past: History) -> tuple[Any, Any]:
    """Windows and their futures, evenly spaced in the training stretch, by which a period is found."""
    pairs = past.pairs("train")
    x, y, _ = past.gather(pairs[:: max(1, len(pairs) // naive.SAMPLED)])
    return x, y


def _add(ridge: naive.Ridge, past: History, pairs: NDArray[np.int64]) -> None:
    for first in range(0, len(pairs), windowed.ROWS):
        ridge.add(*past.gather(pairs[first : first + windowed.ROWS])[:2])


def share(past: History, model: Model) -> float:
    """How much of the network and how much of the linear map answers best on all held-out rows: 0 to 1.

    Least squares in one number: with e = y - linear and d = network - linear, the share is <d, e> / <d, d>. The
    validation stretch alone is too short a time for it: on ETTh1 two months said 0.4 and the next two 1.1. What is
    taken is the lower end of its interval (as if misses were independent): where rows are few the simpler map answers.
    """
    along = across = rest = 0.0
    count = 0
    pairs = np.concatenate([past.pairs(part, JUDGED) for part in ("valid", "calibrate")])
    size = windowed.at_once(past.form) * past.form.channels
    for first in range(0, len(pairs), size):
        some = pairs[first : first + size]
        x, y, channel = past.gather(some)
        line, (wide, ahead) = naive.linear(model.rules, x), past.read(some, x)
        e = np.nan_to_num(y - line).astype(np.float64)
        d = np.where(np.isnan(y), 0, windowed.network(model, wide, channel, ahead) - line).astype(np.float64)
        along, across, rest = along + float((d * e).sum()), across + float((d * d).sum()), rest + float((e * e).sum())
        count += int((~np.isnan(y)).sum())
    if not across:
        return 1.0
    noise = max(0.0, rest - along * along / across) / max(1, count - 1)
    return min(1.0, max(0.0, along / across - SURE * math.sqrt(noise / across)))


def finish(
    past: History, scale: Scale, known: Coming, weights: network.Params, levels: Floats
) -> tuple[Model, Errors, Errors]:
    """The running model, and what `windowed.judged` says of it on the calibration stretch: errors, chances.

    That stretch has chosen nothing but the share, and how far bands follow.
    """
    form, usual = past.form, spreads(past)
    empty = np.zeros((len(levels), form.horizon, form.channels))
    first, both = rules(past)
    model = Model(form, weights, scale, first, 1.0, levels, empty, known, usual, 1.0)
    model = msgspec.structs.replace(model, share=share(past, model))
    futures, seen = windows(past.z[form.lookback :], form.horizon), []
    for part, own in (("valid", first), ("calibrate", both)):  # what is judged was not learned from
        origins, model = past.origins(part, JUDGED), msgspec.structs.replace(model, rules=own)
        found = windowed.judged(model, past.z, origins, past.features)
        missed = futures[origins] - found.said, found.breadth
        seen.append(bands.some(missed) if part == "valid" else missed)
    follows, (misses, wider) = bands.follows(seen[0], seen[1]), seen[1]
    ends = bands.conformal(misses / bands.breadth(wider, bands.ONE, follows)[:, None], levels)
    return msgspec.structs.replace(model, bands=ends, follows=follows), found.errors, found.against


def spreads(past: History) -> Floats:
    """How widely the readings of a window are usually spread, for each channel (C,): the median of some."""
    c, pairs = past.z.shape[1], past.pairs((0, past.parts["calibrate"][1]), JUDGED)
    found, channel = bands.spread(past.gather(pairs)[0]), pairs % c
    each = [found[channel == one] for one in range(c)]
    return np.array([max(float(np.median(one)), STILL) if len(one) else 1.0 for one in each])
