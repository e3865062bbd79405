"""How the anomaly detector learns: a network on the first stretch of history, what is normal from the last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import calibrate, network, scale, surprise, train
from ..errors import DataError
from ..moments import GAP
from ..scale import Scale
from ..series import SECOND, Series, span_text, time_text
from ..settings import Alarming, Training, Window
from ..train import Problem
from ..windows import starts_inside
from . import expect, scoring
from .expect import Heads
from .scoring import Floats, Model

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN_CELLS, HIDDEN_CHANNELS, HIDDEN_ROWS = 0.02, 0.05, 0.02  # shares hidden while training: a gap is no surprise
FEW = 20  # scores on which a budget can be checked
ENOUGH = 8  # windows that a validation stretch needs to be worth listening to
LEAD = 1024  # rows read before the calibration stretch
SHORTEST = 40  # rows a training window needs: the first are unscored, and forecasts reach 16 ahead


@dataclass(frozen=True)
class History:
    """Normal history as it will be used: rows (T, C), the rows that begin a stretch, and which rows serve what."""

    values: Floats
    times: NDArray[np.int64]
    missing: NDArray[np.int64]
    """(T,) how many rows never came before each; after something left out, so many that memory begins anew"""
    starts: NDArray[np.int64]
    """the rows at which memory begins anew"""
    joints: NDArray[np.int64]
    """after any hole: no window bridges one"""
    length: int
    train: tuple[int, int]
    valid: tuple[int, int]
    calibrate: tuple[int, int]

    @property
    def known(self) -> Floats:
        """The rows (T, C) that the network may have seen: all before calibration, or all where all calibrate."""
        return self.values[: self.calibrate[0]] if self.calibrate[0] else self.values

    @property
    def unvalidated(self) -> str:
        """A note where there was too little history to stop training by; empty where there was enough."""
        few = self.valid[0] == self.valid[1]
        return "too little history to stop training by validation: it ran its whole course" if few else ""

    def calibration_starts(self) -> NDArray[np.int64]:
        """The rows of the calibration stretch, counted from its first, that begin a stretch without a gap."""
        first, last = self.calibrate
        return np.union1d([0], self.starts[(self.starts > first) & (self.starts < last)] - first).astype(np.int64)

    def calibration_missing(self) -> NDArray[np.int64]:
        """How many rows never came before each row of the calibration stretch."""
        return self.missing[slice(*self.calibrate)]


def history(series: Series, exclude: Iterable[tuple[Any, Any]], window: Window, gap: int) -> History:
    """Leave out known-bad stretches and cut the rest into train, valid and calibrate, in this order of time.

    A short history gets a shorter window. Raises DataError when there are too few rows for one window in each stretch.
    """
    values, times, missing, left_out = _kept(series, exclude, gap, series.interval)
    late = np.flatnonzero(np.diff(times) > GAP * series.interval * SECOND) + 1
    joints = np.union1d([0], np.union1d(late, left_out)).astype(np.int64)
    length = min(window.length, max(SHORTEST, len(values) // 5))
    parts = _parts(len(values), length, window, series.name)
    return History(values, times, missing, scoring.starts(values, missing, gap), joints, length, *parts)


def _kept(
    series: Series, exclude: Iterable[tuple[Any, Any]], gap: int, interval: float
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows outside what is excluded: values, times, how many never came before each, and the first after each cut."""
    rows = np.flatnonzero(series.outside(exclude))
    times = series.times[rows]
    missing = scoring.absent(times, interval) if len(rows) else rows
    left_out = np.flatnonzero(np.diff(rows) > 1) + 1
    missing[left_out] = np.maximum(missing[left_out], gap + 1)
    return series.values[rows], times, missing, left_out


def whole(series: Series, exclude: Iterable[tuple[Any, Any]], gap: int, interval: float) -> History:
    """Later history, of a model that reads a row every `interval` seconds; every row is to calibrate."""
    values, times, missing, _ = _kept(series, exclude, gap, interval)
    n = len(values)
    if n < SHORTEST:
        raise DataError(f"{n:,} rows of history", wanted=f"at least {SHORTEST}", do="give more", where=series.name)
    starts, none = scoring.starts(values, missing, gap), np.zeros(1, dtype=np.int64)
    return History(values, times, missing, starts, none, 0, (0, 0), (0, 0), (0, n))


def _parts(rows: int, length: int, window: Window, name: str) -> list[tuple[int, int]]:
    """Train, valid and calibrate as [first, stop): a window's gap before valid, at least one window in each.

    A validation stretch of a few windows tells one drift from another, not when to stop: measured on short histories it
    stops far too early. There is none then, valid is empty and all rows before calibration are trained on.
    """
    stop = rows - max(length, round(window.calibrate * rows))
    valid = stop - round(window.valid * rows)
    if stop - valid < ENOUGH * length:
        parts = [(0, stop), (stop, stop), (stop, rows)]
    else:
        parts = [(0, valid - length), (valid, stop), (stop, rows)]
    if parts[0][1] < 2 * length:
        raise DataError(
            f"{rows:,} rows of normal history are too few to learn from",
            wanted=f"at least {3 * SHORTEST:,}: two windows to train on and one to calibrate",
            do="give a longer history",
            where=name,
        )
    return parts


def problem(past: History, z: Floats, heads: Heads, training: Training, seed: int, device: str) -> Problem:
    """What `train.fit` is to learn: the network's answers on random windows that bridge no gap."""
    windows, parts = starts_inside(past.joints, len(z), past.length), (past.train, past.valid)
    inside = [windows[(windows >= a) & (windows + past.length <= b)] for a, b in parts]
    for rows, (first, stop), what in zip(inside, parts, ("training", "validation"), strict=True):
        if not len(rows) and stop > first:
            raise DataError(
                f"no window of {past.length} rows without a gap in the {what} stretch",
                wanted="stretches longer than a window",
                do="give a history with fewer holes, or a shorter Window.length",
            )
    weights = network.init(expect.shapes(heads), np.random.default_rng(seed))
    identity = hashlib.sha256(z.tobytes() + msgspec.json.encode(heads) + past.joints.tobytes()).hexdigest()
    return Problem(
        weights,
        inside[0],
        inside[1][:: max(1, past.length // 4)],
        _Loss(z, past.length, heads, training, device),
        identity,
    )


class _Loss:
    """The loss of a batch of windows, on one device; callable as `train.Problem` wants it."""

    def __init__(self, z: Floats, length: int, heads: Heads, training: Training, device: str) -> None:
        torch = train.torch_or_error()
        clipped = np.clip(z, -scoring.CLIP, scoring.CLIP)
        self.z = torch.tensor(np.nan_to_num(clipped), dtype=torch.float32, device=device)
        self.seen = torch.tensor(~np.isnan(z), dtype=torch.float32, device=device)
        self.steps = torch.arange(length, device=device)
        self.heads, self.noise, self.torch = heads, training.noise, torch

    def __call__(self, params: dict[str, Tensor], rows: NDArray[np.int64], generator: Any) -> Tensor:
        at = self.torch.as_tensor(rows, device=self.z.device)[:, None] + self.steps
        z, seen = self.z[at], self.seen[at]
        shown = seen if generator is None else seen * self._kept(seen, generator)
        last = (
            (self.steps[:, None] * shown - (1 - shown)).cummax(dim=1).values.long()
        )  # the last row that showed, or -1
        held = z.gather(1, last.clamp(min=0)) * (last >= 0)
        if generator is not None:
            held = held + self.noise * self._random("randn", z.shape, generator)
        x = self.torch.cat([held, shown], dim=-1)
        rate = self.heads.net.dropout

        def drop(h: Tensor) -> Tensor:
            kept: Tensor = self._random("rand", h.shape, generator) >= rate
            return h * kept / (1 - rate)

        total: Tensor = expect.loss(params, self.heads, x, z, seen, drop if rate and generator is not None else None)
        return total

    def _kept(self, seen: Tensor, generator: Any) -> Tensor:
        n, t, c = seen.shape
        cells: Tensor = self._random("rand", seen.shape, generator) >= HIDDEN_CELLS
        channels: Tensor = self._random("rand", (n, 1, c), generator) >= HIDDEN_CHANNELS
        rows: Tensor = self._random("rand", (n, t, 1), generator) >= HIDDEN_ROWS
        return cells * channels * rows

    def _random(self, kind: str, shape: Any, generator: Any) -> Any:
        # drawn on the processor, whatever the device: the numbers depend on the seed alone
        return getattr(self.torch, kind)(tuple(shape), generator=generator).to(self.z.device)


def finish(
    past: History,
    z: Floats,
    learned: Scale,
    heads: Heads,
    weights: network.Params,
    alarming: Alarming,
    apart: Floats | None = None,
) -> tuple[Model, Floats]:
    """The running model, and the scores of the calibration stretch: from rows that training never saw.

    What is read begins LEAD rows earlier, by which time a beginning is forgotten; those rows tell which channels go
    together, where that is not known (`apart`). In a short history training has seen some of them.
    """
    first, last = past.calibrate
    lead = max(0, first - LEAD)

    def read(rows: Floats, state: scoring.Arrays) -> tuple[tuple[Floats, Floats], scoring.Arrays]:
        found, expected, state = scoring.residuals(heads, weights, rows, state)
        return (found, expected), state

    fresh = scoring.start(heads)
    parts, at, anew, _ = scoring.walk(read, z[lead:last], past.missing[lead:last], heads, alarming.gap, fresh)
    found, expected = (np.concatenate([part[i] for part in parts])[at] for i in (0, 1))
    held = np.arange(lead, last) >= first
    normal, scores = surprise.learn(found, heads.witnesses, np.union1d([0], anew), held, apart)
    misses = np.abs(z[first:last] - expected[held])
    blank = np.isnan(misses).all(axis=0)
    band = np.where(blank, 0.0, np.nanquantile(np.where(blank, 0.0, misses), 0.99, axis=0))
    return Model(heads, weights, learned, normal, band, alarming), scores


def checks(scores: Floats, past: History, interval: float, merge: int) -> list[tuple[float, float, float, float]]:
    """How a budget from the first half of the calibration held in the second: (kept, observed, low, high) a second.

    low and high: what chance allows around the kept rate (95 %, Poisson).
    """
    half, found, starts, missing = len(scores) // 2, [], past.calibration_starts(), past.calibration_missing()
    if min((~np.isnan(part)).sum() for part in (scores[:half], scores[half:])) < FEW:
        return []
    inside = starts[starts < half], np.union1d([0], starts[starts > half] - half)
    early = calibrate.budgeted(scores[:half], interval=interval, merge=merge, starts=inside[0], missing=missing[:half])
    compared = calibrate.after_shock(scores, 0.0, missing)[0]
    lasted = float((~np.isnan(scores[half:])).sum()) * interval
    for expected in (1.0, 3.0, 10.0, 30.0):
        limit = early.threshold(expected / lasted)
        p = early.p_value(scores[half:])
        _, alarms, _ = calibrate.alarms(compared[half:], p, limit.value, merge=merge, starts=inside[1])
        low, high = poisson_interval(limit.kept * lasted)
        found.append((limit.kept, len(alarms) / lasted, low / lasted, high / lasted))
    return sorted(set(found))


def poisson_interval(expected: float, level: float = 0.95) -> tuple[int, int]:
    """The counts that chance allows around an expected one: two-sided, at least `level` of a Poisson inside.

    >>> poisson_interval(10.0)
    (4, 17)
    """
    counts = np.arange(int(expected + 20 * np.sqrt(expected) + 20))
    logs = counts * np.log(expected) - expected - np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    below = np.cumsum(np.exp(logs))
    outside = (1 - level) / 2
    return int(np.searchsorted(below, outside)), int(np.searchsorted(below, 1 - outside))


def scaled(past: History) -> tuple[Scale, Floats]:
    """The scale of the known rows, and all rows under it."""
    learned = scale.learn(past.known)
    return learned, learned.apply(past.values)


def left_out(series: Series, exclude: Iterable[tuple[Any, Any]]) -> list[tuple[int, int]]:
    """First and last time of each stretch of rows that were left out."""
    rows = np.flatnonzero(~series.outside(exclude))
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(rows) else []
    return [(int(series.times[run[0]]), int(series.times[run[-1]])) for run in runs]


def facts(series: Series, past: History) -> dict[str, str]:
    """What was learned from, in words, for the report and `tidegate info`."""
    count = len(series.channels)
    size = f"{len(past.values):,} of {len(series):,} rows x {count} channel{'s' * (count != 1)}"
    return {
        "data": series.name,
        "rows": f"{size}, every {span_text(series.interval)}",
        "from": time_text(past.times[0]) if series.clock else "row 0",
        "to": time_text(past.times[-1]) if series.clock else f"row {len(series) - 1:,}",
    }
