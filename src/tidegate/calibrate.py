"""Held-out normal scores become p-values, and a budget of false alarms becomes a threshold.

>>> import numpy as np
>>> calibration = learn(np.random.default_rng(0).normal(size=20_000), interval=1.0, merge=10)
>>> calibration.p_value(np.array([0.0, 3.0, 9.0, np.nan])).round(4).tolist()
[0.4988, 0.0012, 0.0, nan]
>>> limit = calibration.threshold(10 / 20_000)          # ten alarms in a time as long as the calibration
>>> shown, intervals, state = alarms(np.array([0.0, 9.0, 0.0]), np.array([0.5, 1e-9, 0.5]), limit.value, merge=10)
>>> shown.tolist(), intervals[0].first_row, intervals[0].open
([False, True, True], 1, True)

**What is counted is the alarm, not the row.** An alarm opens at the first row over the threshold and closes after `merge`
scored rows under it. With m_t the largest of the `merge` scores before row t, an alarm opens at t under every threshold u
with m_t <= u < s_t; so the number of alarms is known exactly for *all* thresholds from one pass, and autocorrelation,
gaps and the sampling interval are in it by construction. Where there are many alarms that count is the estimate; beyond,
a generalised-Pareto tail continues it, with its uncertainty. docs/decisions/0002-alarm-budget.md says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DataError, SettingError

Floats = NDArray[np.float64]

TAIL = 200  # at most this many of the highest alarms carry the tail: more would let the body bend it
STORED = 1000  # scores stored exactly from the top down, and as many quantiles of the rest
FAR = 0.9  # alarms per length of the calibration below which nothing is called kept
UNSURE = 1.0  # largest standard error of the log rate that is still called kept
SHAPES = np.linspace(-0.3, 0.9, 25)  # of the tail: bounded .. barely a mean
PRIOR = (0.1, 0.3)  # of the shape, mean and spread: matters when the tail has few alarms
JUDGED = 10  # alarms in the shortest run that can judge a budget
DRIFT = 2.62  # standard errors (one-sided 1 %, 14 degrees of freedom) by which a later half counts as higher
UNITS = ((31_557_600.0, "year"), (604_800.0, "week"), (86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


class Threshold(msgspec.Struct, frozen=True):
    """Where to alarm: `value` on the score axis; the rate asked and the one kept, alarms a second; why they differ."""

    value: float
    asked: float
    kept: float
    note: str = ""


class Interval(msgspec.Struct, frozen=True):
    """One alarm: first and last row over the threshold (counted since the state began), its smallest p-value."""

    first_row: int
    last_row: int
    p_value: float
    open: bool


class AlarmState(msgspec.Struct, frozen=True):
    """Where `alarms` stopped: rows seen and, while an alarm is open, its rows, its p-value and the quiet steps so far.

    >>> AlarmState.from_array(AlarmState(row=7).to_array()) == AlarmState(row=7)
    True
    """

    row: int = 0
    first_row: int = -1  # -1: no alarm is open
    last_row: int = -1
    quiet: int = 0
    p_value: float = 1.0

    def to_array(self) -> Floats:
        """Five numbers that hold all of it; rows are exact up to 2**53."""
        return np.array([self.row, self.first_row, self.last_row, self.quiet, self.p_value], dtype=np.float64)

    @classmethod
    def from_array(cls, flat: Floats) -> AlarmState:
        """The state that `to_array` wrote."""
        row, first, last, quiet = (int(v) for v in flat[:4])
        return cls(row, first, last, quiet, float(flat[4]))


class Calibration(msgspec.Struct, frozen=True, eq=False):
    """What held-out normal scores say about later ones; made by `learn`, plain numbers and four arrays.

    `seen` (ascending) and `above` (n + 1 entries: scores larger than the one before) give the p-value; `levels` (ascending)
    and `log_rates` (descending, alarms a second, on the safe side) give the threshold.
    """

    interval: float
    merge: int
    n: int
    scale: float
    shape: float
    start: float
    notes: tuple[str, ...]
    seen: Floats
    above: Floats
    levels: Floats
    log_rates: Floats

    @property
    def seconds(self) -> float:
        """How long the calibration is, rows without a score left out."""
        return self.n * self.interval

    def p_value(self, scores: ArrayLike) -> Floats:
        """(T,) the chance that normal operation scores at least this high; NaN where there is no score; never 0.

        Conformal up to the largest score seen, then the fitted tail (never lighter than a shape of .05, so it does not
        run out). Each row is computed alone: the bits do not depend on the rows beside it.
        """
        s = np.asarray(scores, dtype=np.float64)
        p = (1.0 + self.above[np.searchsorted(self.seen, s, side="left")]) / (self.n + 1)
        beyond = np.flatnonzero(s > self.seen[-1])
        shape, top = max(self.shape, 0.05), (self.seen[-1] - self.start) / self.scale
        with np.errstate(over="ignore"):
            ratio = (1 + shape * ((s[beyond] - self.start) / self.scale)) / (1 + shape * top)
        p[beyond] = [max(r ** (-1 / shape) / (self.n + 1), 1e-300) for r in ratio.tolist()]
        p[np.isnan(s)] = np.nan
        return p

    def threshold(self, rate: float) -> Threshold:
        """The lowest threshold that keeps `rate` false alarms a second, or the smallest rate that can be kept.

        SettingError: a rate that is not a positive number.
        """
        if not rate > 0:
            raise SettingError(f"false-alarm rate {rate}", wanted="alarms a second > 0", do="give e.g. '1/week'")
        least, most = math.exp(self.log_rates[-1]), math.exp(self.log_rates[0])
        kept = min(max(rate, least), most)
        value = float(np.interp(-math.log(kept), -self.log_rates, self.levels))
        notes = [*self.notes]
        if rate < least * (1 - 1e-9):
            notes.insert(0, f"asked for {_per(rate)}, but {_span(self.seconds)} of calibration can keep {_per(least)} at best: "
                            f"about {_span(self.seconds * least / rate)} of normal data would be needed")  # fmt: skip
        elif rate > most * (1 + 1e-9):
            notes.insert(0, f"asked for {_per(rate)}, but with these scores the alarm rule gives {_per(most)} at most")
        return Threshold(value, rate, kept, "; ".join(notes))

    def to_arrays(self) -> dict[str, Floats]:
        """The arrays, by name; the numbers are in `to_spec`."""
        return {name: getattr(self, name) for name in ARRAYS}

    def to_spec(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON can hold it, and `stored`: their lengths, so that a file can be checked."""
        spec = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ARRAYS}
        return {**spec, "notes": [*self.notes], "stored": [len(a) for a in self.to_arrays().values()]}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: dict[str, Floats]) -> Calibration:
        """The calibration that `to_spec` and `to_arrays` wrote."""
        plain = {name: spec[name] for name in cls.__struct_fields__ if name not in ARRAYS}
        return msgspec.convert({**plain, **{name: arrays[name] for name in ARRAYS}}, cls)


ARRAYS = ("seen", "above", "levels", "log_rates")


def learn(scores: ArrayLike, *, interval: float, merge: int, starts: Sequence[int] | NDArray[np.int64] = (0,)) -> Calibration:
    """A `Calibration` from held-out normal scores (T,), in time order, NaN where there is none.

    `interval`: seconds between rows. `merge`: scored steps under the threshold after which an alarm closes.
    `starts`: rows that begin a new stretch after a gap. DataError: no score at all, or an infinite one.
    """
    s = np.asarray(scores, dtype=np.float64).ravel()
    if merge < 1 or not interval > 0:
        raise SettingError(f"merge={merge}, interval={interval}", wanted="merge >= 1 step, interval > 0 s", do="check both")
    if np.isinf(s).any():
        raise DataError("an infinite score", wanted="numbers or NaN", where=f"row {int(np.flatnonzero(np.isinf(s))[0])}")
    valid = ~np.isnan(s)
    if not valid.any():
        raise DataError(f"none of {len(s)} calibration rows has a score", wanted="normal rows with scores",
                        do="give more normal data, or a shorter window")  # fmt: skip
    stretch = np.searchsorted(np.asarray(starts), np.flatnonzero(valid), side="right")
    s, notes = s[valid], []
    half = len(s) // 2
    if _rises(s):
        notes.append("scores rise within the calibration: its later half alone was used; expect more alarms if they go on rising")
        s, stretch = s[half:], stretch[half:]
    return _fit(s, stretch, interval, merge, tuple(notes))


def _fit(s: Floats, stretch: NDArray[np.int64], interval: float, merge: int, notes: tuple[str, ...]) -> Calibration:
    before = _max_before(s, stretch, merge)
    highest = _highest(s, before)
    n, most = len(s), max(1, len(highest) // 2)
    tail = int(max(1, min(TAIL, most)))
    start = float(highest[tail - 1])
    bursts = _bursts(np.flatnonzero((before <= start) & (start < s)), n)
    excess = highest[: tail - 1] - start
    floor = 1e-9 * max(1.0, abs(start)) if most < 2 or excess.size == 0 or excess[0] <= 0 else 0.0
    shape, scale, levels, logs = _tail(excess, tail, bursts, start, floor)
    counts = np.arange(most, tail, -1)
    keep = np.unique(np.geomspace(1, len(counts), 1000).astype(int)) - 1 if len(counts) else np.arange(0)
    counts = counts[::-1][keep][::-1]
    head_rate = np.log(counts) + _margin(np.sqrt(bursts / counts))
    levels = np.maximum.accumulate(np.concatenate([highest[counts - 1], levels]))
    log_rates = np.minimum.accumulate(np.concatenate([head_rate, logs])) - math.log(n * interval)
    seen, above = _thin(np.sort(s))
    return Calibration(interval, merge, n, scale, shape, start, notes, seen, above, levels, log_rates)


def _max_before(s: Floats, stretch: NDArray[np.int64], merge: int) -> Floats:
    """The largest of the `merge` scores before each, within its stretch (-inf where there is none): two running maxima."""
    out = np.full(len(s), -np.inf)
    for a, b in zip(*_edges(stretch)):
        x = np.concatenate([np.full(merge, -np.inf), s[a : b - 1]])
        blocks = np.concatenate([x, np.full(-len(x) % merge, -np.inf)]).reshape(-1, merge)
        ahead = np.maximum.accumulate(blocks, axis=1).ravel()
        behind = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
        out[a:b] = np.maximum(behind[: b - a], ahead[merge - 1 : merge - 1 + b - a])
    return out


def _edges(stretch: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    cuts = (np.flatnonzero(np.diff(stretch)) + 1).tolist()
    return [0, *cuts], [*cuts, len(stretch)]


def _highest(s: Floats, before: Floats) -> Floats:
    """highest[k]: the lowest threshold from which on no threshold gives more than k alarms; descending."""
    opens = before < s
    tops, floors = np.sort(s[opens]), np.sort(before[opens])
    u = np.unique(s[opens])[::-1]
    alarms_at = (len(tops) - np.searchsorted(tops, u, "right")) - (len(floors) - np.searchsorted(floors, u, "right"))
    most = np.maximum.accumulate(alarms_at)
    return u[np.searchsorted(most, np.arange(most[-1] + 1), side="right") - 1]


def _bursts(opened: NDArray[np.int64], n: int) -> float:
    """Variance over mean of the number of alarms in equal blocks of time, at least 1 (which Poisson has)."""
    blocks = min(8, len(opened) // 4)
    if blocks < 4:
        return 1.0
    counts = np.histogram(opened, bins=blocks, range=(0, n))[0]
    return max(1.0, float(counts.var(ddof=1) / counts.mean()))


def _tail(excess: Floats, tail: int, bursts: float, start: float, floor: float) -> tuple[float, float, Floats, Floats]:
    """Shape and scale of the tail, and its table: levels, and the log of the alarms that are safely not exceeded there."""
    mean = max(float(excess.mean()) if excess.size else 0.0, floor, 1e-300)
    shapes, scales = (g.ravel() for g in np.meshgrid(SHAPES, mean * np.exp(np.linspace(-1.5, 1.5, 61))))
    weight = _posterior(excess, shapes, scales, bursts)
    shape, scale = float(weight @ shapes), float(np.exp(weight @ np.log(scales)))
    drop = np.linspace(0.0, 12.0, 121)
    levels = start + scale * (np.expm1(shape * drop) / shape if abs(shape) > 1e-6 else drop)
    logs = _log_survival((levels[:, None] - start) / scales, shapes)
    centre, high = _quantiles(logs, weight, (0.5, 0.841))
    error = np.hypot(high - centre, math.sqrt(bursts / tail))
    centre = centre + math.log(tail)
    sure = (error <= UNSURE) & (centre + _margin(error) >= math.log(FAR))
    sure[0] = True
    last = len(sure) if sure.all() else int(np.argmin(sure))
    return shape, scale, levels[:last], (centre + _margin(error))[:last]


def _posterior(excess: Floats, shapes: Floats, scales: Floats, bursts: float) -> Floats:
    like = np.array([-math.log(b) * excess.size + float(((1 + a) * _log_survival(excess / b, np.array(a))).sum())
                     for a, b in zip(shapes, scales, strict=True)])  # fmt: skip
    like = like / bursts - 0.5 * ((shapes - PRIOR[0]) / PRIOR[1]) ** 2
    weight = np.exp(like - like.max())
    out: Floats = weight / weight.sum()
    return out


def _quantiles(values: Floats, weight: Floats, at: tuple[float, ...]) -> list[Floats]:
    """Weighted quantiles of each row."""
    order = np.argsort(values, axis=1)
    upto = np.cumsum(weight[order], axis=1)
    picks = [np.minimum((upto < q).sum(axis=1), len(weight) - 1) for q in at]
    return [values[np.arange(len(values)), order[np.arange(len(values)), pick]] for pick in picks]


def _log_survival(y: Floats, shape: Floats) -> Floats:
    """log of the generalised-Pareto survivor at y >= 0; past a bounded end it is cut at e**-60."""
    a = np.where(np.abs(shape) < 1e-6, 1e-6, shape)
    return np.maximum(-np.log(np.maximum(1 + a * y, 1e-300)) / a, -60.0)


def _margin(error: Floats) -> Floats:
    """What to add to the log rate so that a run of JUDGED alarms ends above its upper Poisson limit in 2.5 % of cases."""
    out: Floats = 1.96 * (np.sqrt(1 / JUDGED + error**2) - math.sqrt(1 / JUDGED))
    return out


def _thin(ordered: Floats) -> tuple[Floats, Floats]:
    """Stored scores and, before, between and after them, how many calibration scores lie above: exact in the tail."""
    n = len(ordered)
    body = np.unique(np.linspace(0, max(0, n - STORED), STORED).astype(int))
    keep = np.unique(np.concatenate([body, np.arange(max(0, n - STORED), n)]))
    seen = np.unique(ordered[keep])
    return seen, np.concatenate([[float(n)], (n - np.searchsorted(ordered, seen, "right")).astype(np.float64)])


def _rises(s: Floats) -> bool:
    """Whether the later half scores higher: ranks averaged in 16 blocks, so that autocorrelation stays inside them."""
    blocks = 16
    if len(s) < 20 * blocks:
        return False
    ranks = np.argsort(np.argsort(s, kind="stable"), kind="stable").astype(np.float64)
    means = ranks[: len(s) // blocks * blocks].reshape(blocks, -1).mean(axis=1)
    early, late = means[: blocks // 2], means[blocks // 2 :]
    spread = math.sqrt((early.var(ddof=1) + late.var(ddof=1)) / (blocks // 2))
    return bool(late.mean() - early.mean() > DRIFT * max(spread, 1e-12))


def alarms(
    scores: ArrayLike,
    p_values: ArrayLike,
    threshold: float,
    *,
    merge: int,
    state: AlarmState | None = None,
    starts: Sequence[int] | NDArray[np.int64] = (),
) -> tuple[NDArray[np.bool_], list[Interval], AlarmState]:
    """(T,) True where an alarm is open, the alarms (a last one may be open), and the state to go on from.

    An alarm opens at a score over the threshold and closes after `merge` scored rows that are not; a row without a score
    (NaN) does neither, a row in `starts` (a gap before it) closes. Rows depend on rows before them only, and pieces give
    what the whole gives: their closed alarms in order, then the open one of the last piece.
    """
    s, p, state = np.asarray(scores, dtype=np.float64), np.asarray(p_values, dtype=np.float64), state or AlarmState()
    steps = np.cumsum(~np.isnan(s))  # scored rows so far: the clock of the rule
    over, cuts = np.flatnonzero(s > threshold), np.unique(np.asarray(starts, dtype=np.int64))
    was_open = state.first_row >= 0
    rows = np.concatenate([[-1] * was_open, over]).astype(np.int64)
    clock = np.concatenate([[-state.quiet] * was_open, steps[over]]).astype(np.int64)
    smallest = np.concatenate([[state.p_value] * was_open, p[over]])
    stretch = np.searchsorted(cuts, rows, side="right")
    heads = np.flatnonzero(np.concatenate([[True], (np.diff(clock) > merge) | (np.diff(stretch) > 0)])[: len(rows)])
    shown, found = np.zeros(len(s), dtype=bool), []
    end = AlarmState(state.row + len(s))
    tails = np.append(heads[1:] - 1, len(rows) - 1)[: len(heads)]
    for i, j in zip(heads.tolist(), tails.tolist(), strict=True):
        closing = int(np.searchsorted(steps, clock[j] + merge, side="left"))
        if stretch[j] < len(cuts):
            closing = min(closing, int(cuts[stretch[j]]))
        shown[max(rows[i], 0) : closing] = True
        first, last = (state.first_row, state.last_row) if rows[i] < 0 else (int(rows[i]) + state.row, -1)
        last = last if rows[j] < 0 else int(rows[j]) + state.row
        interval = Interval(first, last, float(smallest[i : j + 1].min()), closing >= len(s))
        found.append(interval)
        if interval.open:
            quiet = int(steps[-1] - clock[j]) if len(s) else state.quiet
            end = AlarmState(end.row, first, last, quiet, interval.p_value)
    return shown, found, end


def _span(seconds: float) -> str:
    """A length of time in the largest unit that leaves at least one of it: '3.5 hours'."""
    unit, name = next(((u, w) for u, w in UNITS if seconds >= u), UNITS[-1])
    return f"{seconds / unit:.3g} {name}s"


def _per(rate: float) -> str:
    """Alarms a second in the smallest unit of time that holds at least one: '2.5 alarms an hour'."""
    unit, name = next(((u, w) for u, w in reversed(UNITS) if rate * u >= 1), UNITS[0])
    return f"{rate * unit:.3g} alarms per {name}"
