"""How the completer learns: hide what is known and fill it; later rows decide how far to believe it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import chance, scale, train
from ..errors import DataError
from ..scale import Scale
from ..series import SECOND, Series
from ..settings import Window
from ..train import Problem
from ..windows import split
from . import filling
from .around import CLIP, Floats, Marks, Recipe, Times, around
from .filling import Model

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST = 64  # rows of history, of which an eighth each judge and calibrate
DRAWS = 16  # times that cells of a half of the later rows are hidden anew, to judge and to calibrate
ENOUGH = 200  # hidden cells from which a kind of them has a trust or a calibration of its own
FEW = 20  # from which all those beyond the ends, or all between, stand in for a kind of which there are not ENOUGH
NEAR = 2  # of the BINS, that are near to readings: less than 1.5 rows
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of what the network would add, the first of equals
SURE, SURER = 1.0, 2.0  # standard errors from which a gain is no chance; beyond the ends, of which there are few places
STRETCHES, HIGHEST = 8, 0.97  # of time, in each of which rows are alike; how high LEVEL is raised where they differ
LEVEL, AT_LEVEL = 0.9, 1.645  # of a normal distribution, 90 % lie within 1.645 standard deviations (Laplace: 1.628)
Errors = dict[str, float]
Against = dict[str, tuple[float, float]]  # of each simple rule
OURS, WON = "network", "the network fills better"  # how a verdict begins that is no other's
WORDS = {"linear": "linear interpolation", "last_value": "the last value"}
NLL = 0.1  # weight of the spread in the loss


@dataclass(frozen=True)
class History:
    """History as it will be used: scaled rows (T, C), their times, and which rows serve what."""

    z: Floats
    times: Times
    interval: float
    length: int
    parts: list[tuple[int, int]]
    """train, valid, calibrate: half-open, in the order of time"""


def history(series: Series, window: Window) -> tuple[History, Scale, Marks]:
    """The rows in their three parts, scaled as the first of them says, and the channels (C,) it has a reading of."""
    n = len(series)
    if n < SHORTEST:
        do = "give a longer history"
        raise DataError(f"{n:,} rows of history", wanted=f"at least {SHORTEST}", do=do, where=series.name)
    parts = split(n, 1.0 - window.valid - window.calibrate, window.valid, window.calibrate)
    first = series.values[slice(*parts[0])]
    if np.isnan(first).all():
        saw = f"no reading in the first {len(first):,} rows, from which to learn"
        raise DataError(saw, do="give a history that begins where the data begins", where=series.name)
    learned, length = scale.learn(first), min(window.length, len(first) // 3)
    past = History(learned.apply(series.values), series.times, series.interval, length, parts)
    return past, learned, np.asarray(~np.isnan(first).all(axis=0))


def hide(seen: Marks, rng: np.random.Generator) -> Marks:
    """Which of the observed cells (N, T, C) to hide: points, stretches of one channel or of all, whole channels.

    >>> seen = np.ones((100, 40, 3), bool)
    >>> bool(0.1 < hide(seen, np.random.default_rng(0)).mean() < 0.4)
    True
    """
    n, t, c = seen.shape
    at, kind, each = np.arange(t)[:, None], rng.random((n, 1, 1)), (n, 1, c)
    points = rng.random(seen.shape) < rng.uniform(0.05, 0.4, (n, 1, 1))
    first, length = rng.integers(-t // 4, t, each), rng.integers(2, t // 2 + 1, each)
    together = rng.random((n, 1, 1)) < 0.3
    first, length = (np.where(together, a[..., :1], a) for a in (first, length))
    stretches = (at >= first) & (at < first + length) & (rng.random(each) < 0.7)
    channels = (rng.random(each) < 0.2) & (at >= 0)
    hidden: Marks = np.where(kind < 0.5, points, np.where(kind < 0.95, stretches, channels | points)) & seen
    return hidden


def problem(past: History, recipe: Recipe, seed: int, device: str) -> Problem:
    """What `train.fit` is to learn: hidden cells of random windows."""
    starts = [np.arange(first, stop - past.length + 1) for first, stop in past.parts[:2]]
    weights = filling.first_weights(recipe, np.random.default_rng(seed), _slope(past) * past.length)
    content = past.z.tobytes() + past.times.tobytes() + msgspec.json.encode(recipe)
    identity = hashlib.sha256(content).hexdigest()
    valid = starts[1][:: max(1, past.length // 2)]
    return Problem(weights, starts[0], valid, _Loss(past, recipe, device), identity)


def _slope(past: History) -> Floats:
    """How much each channel (C,) rises a row, first to last training reading; 0 where there is only one."""
    z, times = past.z[slice(*past.parts[0])], past.times[slice(*past.parts[0])]
    seen, column = ~np.isnan(z), np.arange(z.shape[1])
    first, last = np.argmax(seen, axis=0), len(z) - 1 - np.argmax(seen[::-1], axis=0)
    rows = np.where(last > first, (times[last] - times[first]) / (past.interval * SECOND), np.inf)
    slope: Floats = np.nan_to_num(z[last, column] - z[first, column]) / rows
    return slope


class _Loss:
    """How far hidden cells of a batch of windows are from their fills; callable as `train.Problem` wants it."""

    def __init__(self, past: History, recipe: Recipe, device: str) -> None:
        self.past, self.recipe, self.device, self.torch = past, recipe, device, train.torch_or_error()

    def __call__(self, params: dict[str, Tensor], rows: NDArray[np.int64], generator: Any) -> Tensor:
        torch, recipe = self.torch, self.recipe
        # where to look is drawn from the rows themselves while judging, so that every epoch is judged alike
        drawn = rows if generator is None else int(torch.randint(2**62, (), generator=generator))
        at = rows[:, None] + np.arange(self.past.length)
        z = self.past.z[at]
        hidden = hide(~np.isnan(z), np.random.default_rng(drawn))
        facts = around(np.where(hidden, np.nan, z), self.past.times[at], recipe, self.past.interval)
        told, beyond = (torch.from_numpy(a).to(self.device) for a in (facts.told, facts.beyond))
        drop = self._drop(generator) if recipe.net.dropout and generator is not None else None
        hiddens = [
            filling.remember(params, recipe, way, told, told.new_tensor(first), drop)[0]
            for way, first in filling.start(recipe, len(rows)).items()
        ]
        added, logs = filling.answer(params, hiddens, told, beyond, drop)
        wanted = np.where(hidden, np.clip(z - facts.guess, -CLIP, CLIP), 0.0)
        weight = torch.from_numpy(hidden).to(self.device)
        missed = (added - torch.from_numpy(wanted.astype(np.float32)).to(self.device)).abs()
        nll = logs + missed.detach() * (-logs).exp()
        total: Tensor = ((missed + NLL * nll) * weight).sum() / weight.sum().clamp(min=1)
        return total

    def _drop(self, generator: Any) -> Any:
        rate = self.recipe.net.dropout

        def drop(h: Tensor) -> Tensor:
            # drawn on the processor, whatever the device: the numbers depend on the seed alone
            kept = (self.torch.rand(h.shape, generator=generator) >= rate).to(h.device)
            dropped: Tensor = h * kept / (1 - rate)
            return dropped

        return drop


@dataclass(frozen=True)
class Trial:
    """Cells of later rows that were hidden and filled: each (n,) for n cells, scaled."""

    row: NDArray[np.int64]
    channel: NDArray[np.int64]
    truth: Floats
    fill: Floats
    std: Floats
    linear: Floats
    last: Floats
    kind: NDArray[np.int64]
    """as `filling.kinds` has them"""

    @property
    def stretch(self) -> NDArray[np.int64]:
        """Which of STRETCHES of time each cell lies in: one witness, however many cells it has."""
        found: NDArray[np.int64] = self.row * STRETCHES // (1 + self.row.max(initial=0))
        return found

    def best(self, which: Marks, sure: float = SURE) -> float:
        """The share of the network's answer that misses least on some cells; 0 where it gains no more than chance."""
        wanted, added = (a[which] - self.linear[which] for a in (self.truth, self.fill))
        missed = np.stack([np.bincount(self.stretch[which], np.abs(wanted - s * added), STRETCHES) for s in SHARES])
        missed, best = missed[:, np.bincount(self.stretch[which], minlength=STRETCHES) > 0], missed.sum(axis=1).argmin()
        if not _clear(missed[0] - missed[best], sure):
            return 0.0
        if sure == SURER and not _clear(missed[-1] - missed[best], sure):
            return SHARES[-1]  # a part of a slope, taken for a chance, would be far off far away
        return SHARES[best]

    def against(self, name: str) -> tuple[float, float]:
        """How likely chance alone is nearer to the truth than "linear" or "last" by as much, and farther off."""
        return nearer(self.truth, self.fill, getattr(self, name), self.stretch)

    def mae(self, name: str, channel: int | None = None) -> float:
        """Mean absolute error of "fill", "linear" or "last"; of one channel."""
        which = slice(None) if channel is None else self.channel == channel
        missed = np.abs(getattr(self, name)[which] - self.truth[which])
        return float(missed.mean()) if len(missed) else 0.0


def _clear(gain: Floats, sure: float) -> bool:
    """Whether a gain in each stretch of time is more than chance."""
    return len(gain) > 1 and bool(gain.mean() > sure * gain.std(ddof=1) / np.sqrt(len(gain)))


def trial(model: Model, past: History, part: tuple[int, int], rng: np.random.Generator) -> Trial:
    """Hide cells of half of a part DRAWS times, each time of another half, and fill them."""
    c, (begun, ended), found = past.z.shape[1], part, []
    plain = msgspec.structs.replace(model, scale=Scale(np.zeros(c), np.ones(c)))
    naive = Recipe(channels=c, net=model.recipe.net, direction="past", length=past.length)
    for _ in range(DRAWS):
        half = _half(past, part)
        skipped = int(rng.integers(0, ended - begun - half + 1))
        some = slice(begun + skipped, begun + skipped + half)
        z, times = past.z[some], past.times[some]
        hidden = _hidden(~np.isnan(z), past.length, rng)
        shown = np.where(hidden, np.nan, z)
        fill, std, facts, _ = filling.run(plain, shown, times, past.interval, filling.begin(model.recipe))
        last = around(shown[None], times[None], naive, past.interval).guess[0]
        columns = (z, fill, std, facts.guess[0], last, filling.kinds(facts, model.recipe, ~np.isnan(shown)[None])[0])
        rows, channels = np.nonzero(hidden)
        found.append([rows + skipped, channels, *(a[hidden] for a in columns)])
    return Trial(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _half(past: History, part: tuple[int, int]) -> int:
    """Rows of a part that a draw fills: half of them, or a training window."""
    rows = part[1] - part[0]
    return max(rows // 2, min(rows, past.length))


def _ends(rows: int, length: int) -> int:
    """Rows that may be hidden at either end of so many."""
    return min(length, rows // 2) // 2


def _hidden(seen: Marks, length: int, rng: np.random.Generator) -> Marks:
    """Which of the observed cells (T, C) to hide: as `hide` does, and rows of each channel at both ends."""
    t, c = seen.shape
    windows, at = -(-t // length), np.arange(t)[:, None]
    padded = np.zeros((windows * length, c), dtype=bool)
    padded[:t] = seen
    inside = hide(padded.reshape(windows, length, c), rng).reshape(padded.shape)[:t]
    first, last = rng.integers(0, _ends(t, length) + 1, (2, c))
    hidden: Marks = inside | (seen & ((at < first) | (at >= t - last)))
    return hidden


def trusted(judged: Trial, channels: int) -> Floats:
    """How much of the network's answer (18, C) is believed: what was best on rows that it has not learned from.

    By channel, for cells near to readings, far from them, and beyond the ends, so that none pays for the others. A
    finer division had too few cells for long holes, where the network is worth most.
    """
    found, reach = np.zeros((filling.KINDS, channels)), np.arange(filling.KINDS) % filling.REACHES
    near = (reach >= filling.ENDS) & (reach < filling.ENDS + NEAR)
    for kinds, sure in ((near, SURE), (reach == 1, SURER), (~near & (reach != 1), SURE)):
        for c in range(channels):
            of, some = judged.channel == c, kinds[judged.kind]
            enough = np.count_nonzero(of & some) >= (1 if sure == SURER else ENOUGH)
            found[kinds, c] = judged.best(of & some if enough else of & (judged.kind % filling.REACHES != 1), sure)
    return found


@dataclass(frozen=True)
class Judged:
    """The running model, the channels in which it only interpolates, and how it did on rows that chose nothing.

    errors   mean absolute error, beside the simple rules'
    against  of each of these what `nearer` says
    each     the errors of each channel: on those rows, and ("decided ...") on the rows that chose what fills it; left
             out where none of them had a reading
    """

    model: Model
    doubted: list[int]
    errors: Errors
    against: Against
    each: list[Errors]


def finish(past: History, model: Model, seed: int) -> Judged:
    """The running model, whose later rows decide how far to believe it, judged on those after them."""
    c = model.recipe.channels
    judged = trial(model, past, past.parts[1], np.random.default_rng([seed, 1]))
    model = msgspec.structs.replace(model, trust=trusted(judged, c))
    held = trial(model, past, past.parts[2], np.random.default_rng([seed, 2]))
    which = np.flatnonzero(~model.trust.any(axis=0)).tolist()
    facts = {OURS: held.mae("fill"), "linear": held.mae("linear"), "last_value": held.mae("last")}
    against = {"linear": held.against("linear"), "last_value": held.against("last")}
    each = [_errors(held, i) | {f"decided {name}": e for name, e in _errors(judged, i).items()} for i in range(c)]
    recipe = msgspec.structs.replace(model.recipe, checked=_ends(_half(past, past.parts[2]), past.length))
    model = msgspec.structs.replace(model, recipe=recipe, widen=_widths(held))
    return Judged(model, which, facts, against, each)


def nearer(truth: Floats, ours: Floats, other: Floats, stretch: NDArray[np.int64]) -> tuple[float, float]:
    """How likely chance alone is nearer to the truth (n,) by as much as ours is, and farther off: `chance.paired`.

    Where the network is believed in nothing its fills are the rule's, to a rounding error, which is no gain.
    """
    gain = np.abs(other - truth) - np.abs(ours - truth)
    return chance.paired(np.where(np.abs(gain) < chance.ROUNDING, 0.0, gain), stretch)


def verdict(errors: Errors, against: Against) -> str:
    """Whether the network fills better than every rule by mean absolute error, in a sentence.

    >>> verdict({"network": 0.5, "linear": 0.5}, {"linear": (0.4, 0.6)})
    'no better than linear interpolation, as far as these rows can tell: MAE 0.5, linear interpolation 0.5'
    >>> verdict({"network": 0.5, "linear": 0.4}, {"linear": (1.0, 0.01)})
    'linear interpolation fills better than the network: MAE 0.4 against 0.5, p = 0.01'
    """
    return chance.ranked(errors, OURS, against, "MAE", WORDS, (WON, "fills better than the network"))


def _errors(trial: Trial, channel: int) -> Errors:
    if not (trial.channel == channel).any():
        return {}
    return {"network": trial.mae("fill", channel), "linear": trial.mae("linear", channel)}


def _widths(held: Trial) -> Floats:
    """What makes 90 % intervals hold 90 %: for each kind by itself where there are enough cells, else for all."""
    ratio = np.abs(held.fill - held.truth) / held.std
    if not len(ratio):
        return np.ones(filling.KINDS)

    place = np.minimum(np.arange(filling.KINDS) % filling.REACHES, filling.ENDS)  # of no reading, beyond, between
    like = [ratio[place[held.kind] == of] for of in place]
    rest = [cells if len(cells) >= FEW else ratio for cells in like]

    def reached(level: float) -> Floats:
        own = [ratio[held.kind == kind] for kind in range(filling.KINDS)]
        return np.array([np.quantile(r if len(r) >= ENOUGH else rest[i], level) for i, r in enumerate(own)])

    # stretches of time differ, and a new one may be like any of them: as far as they do, more than 90 %
    inside = ratio <= reached(LEVEL)[held.kind]
    share = np.array([inside[held.stretch == i].mean() for i in np.unique(held.stretch)])
    unsure = share.std() / np.sqrt(len(share))
    return np.maximum(reached(min(LEVEL + unsure, HIGHEST)) / AT_LEVEL, 1e-6)
