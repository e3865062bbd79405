"""How the completer learns: hide what is known and fill it; later rows decide how far to believe it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import network, scale, train
from ..errors import DataError
from ..scale import Scale
from ..series import SECOND, Series
from ..settings import Window
from ..train import Problem
from ..windows import split
from . import filling
from .around import CLIP, Floats, Marks, Recipe, Times, around
from .filling import BINS, Model

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST = 64  # rows of history, of which an eighth each judge and calibrate
DRAWS = 8  # times that the later rows are hidden anew, to judge and to calibrate
ENOUGH = 200  # hidden cells from which a reach has a calibration of its own
LEVEL, AT_LEVEL = 0.9, 1.645  # of a normal distribution, 90 % lie within 1.645 standard deviations (Laplace: 1.628)
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

    channel: NDArray[np.int64]
    truth: Floats
    fill: Floats
    std: Floats
    linear: Floats
    last: Floats
    reach: Floats

    def mae(self, name: str, channel: int | None = None) -> float:
        """Mean absolute error of "fill", "linear" or "last"; of one channel."""
        which = slice(None) if channel is None else self.channel == channel
        missed = np.abs(getattr(self, name)[which] - self.truth[which])
        return float(missed.mean()) if len(missed) else 0.0


def trial(model: Model, past: History, part: tuple[int, int], rng: np.random.Generator) -> Trial:
    """Hide cells of a part DRAWS times, and fill them."""
    z, times = past.z[slice(*part)], past.times[slice(*part)]
    plain = msgspec.structs.replace(model, scale=Scale(np.zeros(z.shape[1]), np.ones(z.shape[1])))
    windows, found = -(-len(z) // past.length), []
    naive = Recipe(channels=z.shape[1], net=model.recipe.net, direction="past", length=past.length)
    for _ in range(DRAWS):
        seen = np.zeros((windows * past.length, z.shape[1]), dtype=bool)
        seen[: len(z)] = ~np.isnan(z)
        hidden = hide(seen.reshape(windows, past.length, -1), rng).reshape(seen.shape)[: len(z)]
        shown = np.where(hidden, np.nan, z)
        fill, std, facts, _ = filling.run(plain, shown, times, past.interval, filling.begin(model.recipe))
        last = around(shown[None], times[None], naive, past.interval).guess[0]
        columns = (z, fill, std, facts.guess[0], last, facts.reach[0])
        found.append([np.nonzero(hidden)[1], *(a[hidden] for a in columns)])
    return Trial(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def doubted(weights: network.Params, judged: Trial, channels: int) -> tuple[network.Params, list[int]]:
    """Weights that add nothing to a channel's guess where that was no worse, and which channels these are."""
    which = [c for c in range(channels) if not judged.mae("fill", c) < judged.mae("linear", c)]
    changed = {name: w.copy() for name, w in weights.items()}
    for name in ("add.weight", "add.bias", "skip.weight", "skip.bias", "slope"):
        changed[name][which] = 0.0
    return changed, which


def finish(past: History, model: Model, seed: int) -> tuple[Model, list[int], dict[str, float]]:
    """The running model, the channels in which it only interpolates, and how it did on rows that chose nothing."""
    judged = trial(model, past, past.parts[1], np.random.default_rng([seed, 1]))
    weights, which = doubted(model.weights, judged, model.recipe.channels)
    model = msgspec.structs.replace(model, weights=weights)
    held = trial(model, past, past.parts[2], np.random.default_rng([seed, 2]))
    facts = {"network": held.mae("fill"), "linear": held.mae("linear"), "last_value": held.mae("last")}
    return msgspec.structs.replace(model, widen=_widths(held)), which, facts


def _widths(held: Trial) -> Floats:
    """What makes 90 % intervals hold 90 %: for each reach by itself where there are enough cells, else for all."""
    ratio, place = np.abs(held.fill - held.truth) / held.std, np.searchsorted(BINS, held.reach)
    if not len(ratio):
        return np.ones(len(BINS) + 1)
    every = np.quantile(ratio, LEVEL)
    own = [ratio[place == i] for i in range(len(BINS) + 1)]
    found = [np.quantile(r, LEVEL) if len(r) >= ENOUGH else every for r in own]
    return np.maximum(np.array(found) / AT_LEVEL, 1e-6)
