"""Held-out normal scores become p-values, and a budget of false alarms becomes a threshold.

>>> import numpy as np
>>> calibration = learn(np.random.default_rng(0).normal(size=20_000), interval=1.0, merge=10)
>>> calibration.p_value(np.array([0.0, 3.0, 9.0, np.nan])).round(4).tolist()
[0.4988, 0.0012, 0.0, nan]
>>> limit = calibration.threshold(10 / 20_000)          # ten alarms in a time as long as the calibration
>>> shown, spans, state = alarms(np.array([0.0, 9.0, 0.0]), np.array([0.5, 1e-9, 0.5]), limit.value, merge=10)
>>> shown.tolist(), spans[0].first_row, spans[0].open
([False, True, True], 1, True)

**What is counted is the alarm, not the row.** An alarm opens at the first row over the threshold and closes after
`merge` scored rows under it. With m_t the largest of the `merge` scores before row t, an alarm opens at t under every
threshold u with m_t <= u < s_t; so the number of alarms is known exactly for *all* thresholds from one pass, and
autocorrelation, gaps and the sampling interval are in it by construction. Where there are many alarms that count is the
estimate; beyond, a generalised-Pareto tail continues it, with its uncertainty. docs/decisions/0002-alarm-budget.md says
why, and what fails.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DataError, SettingError
from .series import span_text
from .settings import rate_text

Floats = NDArray[np.float64]
Rows = Sequence[int] | NDArray[np.int64]

TAIL = 200  # at most this many of the highest alarms carry the tail: more would let the body bend it
STORED = 1000  # scores stored exactly from the top down, and as many quantiles of the rest
FAR = 0.9  # alarms per length of the calibration below which nothing is called kept
UNSURE = 1.5  # largest standard error of the log rate that is still called kept
SHAPES = np.linspace(-0.3, 0.9, 25)  # of the tail: bounded .. barely a mean
PRIOR = (0.1, 0.3)  # of the shape, mean and spread: matters when the tail has few alarms
JUDGED = 10  # alarms in the shortest run that can judge a budget
BUNCHED = 3.0  # variance over mean of alarm counts that chance gives in 1 of 200 calibrations
MEMORY = 1000  # rows over which a strong event is forgotten
FORGOTTEN = 20 * MEMORY  # rows after which nothing is left of it
DRIFTING = 10.0
DRIFT = 2.62  # standard errors (one-sided 1 %, 14 degrees of freedom) by which a later half counts as higher


class Threshold(msgspec.Struct, frozen=True):
    """Where to alarm: `value` on the score axis; the rate asked and the one kept, alarms a second; why they differ."""

    value: float
    asked: float
    kept: float
    note: str = ""


class Span(msgspec.Struct, frozen=True):
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
        return np.array(msgspec.structs.astuple(self), dtype=np.float64)

    @classmethod
    def from_array(cls, flat: Floats) -> AlarmState:
        """The state that `to_array` wrote."""
        row, first, last, quiet, p_value = flat.tolist()
        return cls(int(row), int(first), int(last), int(quiet), p_value)


class Calibration(msgspec.Struct, frozen=True, eq=False):
    """What held-out normal scores say about later ones; made by `learn`, plain numbers and four arrays.

    `seen` (ascending) and `above` (how many scores there are, how many above seen[0], seen[1] ...) give the p-value;
    `levels` (ascending) and `log_rates` (descending: alarms a second, on the safe side) give the threshold. `bursts`:
    variance over mean of the number of alarms, 1 where they come independently.
    """

    interval: float
    merge: int
    n: int
    bursts: float
    shape: float
    scale: float
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
        notes = self.notes
        if rate < least:
            have, need = span_text(self.seconds), span_text(self.seconds * least / rate)
            best = f"{have} of calibration can keep {rate_text(least)} at best"
            wanted = f"about {need} of it would be needed"
            notes = (f"asked for {rate_text(rate)}, but {best}: {wanted}", *notes)
        elif rate > most:
            notes = (
                f"asked for {rate_text(rate)}, but the alarm rule makes {rate_text(most)} of these scores at most",
                *notes,
            )
        return Threshold(value, rate, kept, "; ".join(notes))

    def to_arrays(self) -> dict[str, Floats]:
        """The arrays, by name; the numbers are in `to_spec`."""
        return {name: getattr(self, name) for name in ARRAYS}

    def to_spec(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON can hold it, and their lengths, by which a file can be checked."""
        spec = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ARRAYS}
        return {**spec, "notes": [*self.notes], "lengths": {name: len(getattr(self, name)) for name in ARRAYS}}

    @classmethod
    def from_arrays(cls, spec: dict[str, Any], arrays: dict[str, Floats]) -> Calibration:
        """The calibration that `to_spec` and `to_arrays` wrote."""
        return msgspec.convert({**spec, **arrays}, cls)


ARRAYS = ("seen", "above", "levels", "log_rates")


def learn(scores: ArrayLike, *, interval: float, merge: int, starts: Rows = (0,)) -> Calibration:
    """A `Calibration` from held-out normal scores (T,), in time order, NaN where there is none.

    `interval`: seconds between rows. `merge`: scored steps under the threshold after which an alarm closes.
    `starts`: rows that begin a new stretch after a gap. DataError: no score at all, or an infinite one.
    """
    s = _checked(scores, interval, merge)
    valid = np.flatnonzero(~np.isnan(s))
    stretch, s, notes = np.searchsorted(np.asarray(starts), valid, side="right"), s[valid], []
    if _rises(s):
        notes.append("scores rise within calibration: only its later half was used; expect more alarms if they go on")
        s, stretch = s[len(s) // 2 :], stretch[len(s) // 2 :]
    before = _max_before(s, stretch, merge)
    highest = _highest(s, before)
    tail = max(1, min(TAIL, 2 * len(highest) // 3))
    start = float(highest[tail - 1])
    bursts = _bursts(np.flatnonzero((before <= start) & (start < s)), len(s))
    if bursts > BUNCHED:
        notes.append(f"alarms bunch, {bursts:.1f} times as much as by chance: a longer merge or calibration would help")
    shape, scale, levels, log_counts = _table(highest, tail, bursts, max(_spread(s) or abs(start) or 1.0, 1e-200))
    log_rates = log_counts - math.log(len(s) * interval)
    seen, above = _thin(np.sort(s))
    plain = (interval, merge, len(s), bursts, shape, scale, start, tuple(notes))
    return Calibration(*plain, seen, above, levels, log_rates)


def _spread(s: Floats) -> float:
    """The standard deviation, of the largest numbers too."""
    reach = float(np.ptp(s))
    return reach * float(np.std(s / reach)) if reach else 0.0


def _checked(scores: ArrayLike, interval: float, merge: int) -> Floats:
    """The scores as float64, or the reason why they cannot be used."""
    s = np.asarray(scores, dtype=np.float64).ravel()
    if merge < 1 or not interval > 0:
        raise SettingError(f"merge={merge}, interval={interval}", wanted="merge >= 1 and interval > 0", do="check both")
    if np.isinf(s).any() or np.isnan(s).all():
        saw = (
            f"{len(s)} calibration rows: {np.isnan(s).sum()} without a score, {np.isinf(s).sum()} with an infinite one"
        )
        raise DataError(saw, wanted="at least one score, all finite", do="give more normal rows, or look what made it")
    return s


def _max_before(s: Floats, stretch: NDArray[np.int64], merge: int) -> Floats:
    """The largest of the `merge` scores before each within its stretch, -inf at its start: two running maxima, O(n)."""
    out = np.empty(len(s))
    edges = [0, *(np.flatnonzero(np.diff(stretch)) + 1).tolist(), len(s)]
    for a, b in itertools.pairwise(edges):
        x = np.concatenate([np.full(merge, -np.inf), s[a : b - 1]])
        blocks = np.concatenate([x, np.full(-len(x) % merge, -np.inf)]).reshape(-1, merge)
        ahead = np.maximum.accumulate(blocks, axis=1).ravel()
        behind = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
        out[a:b] = np.maximum(behind[: b - a], ahead[merge - 1 : merge - 1 + b - a])
    return out


def _highest(s: Floats, before: Floats) -> Floats:
    """highest[k]: the lowest threshold from which on none gives more than k alarms; descending.

    It ends at three quarters of the most that any threshold gives: lower ones join alarms faster than they add any.
    """
    opens = before < s
    tops, floors = np.sort(s[opens]), np.sort(before[opens])
    u = np.unique(s[opens])[::-1]
    alarms_at = (len(tops) - np.searchsorted(tops, u, "right")) - (len(floors) - np.searchsorted(floors, u, "right"))
    most = np.maximum.accumulate(alarms_at)
    return u[np.searchsorted(most, np.arange(max(1, 3 * most[-1] // 4)), side="right") - 1]


def _bursts(opened: NDArray[np.int64], n: int) -> float:
    """Variance over mean of the number of alarms in equal blocks of time, at least 1 (which Poisson has)."""
    blocks = min(8, len(opened) // 4)
    if blocks < 4:
        return 1.0
    counts = np.histogram(opened, bins=blocks, range=(0, n))[0]
    return max(1.0, float(counts.var(ddof=1) / counts.mean()))


def _table(highest: Floats, tail: int, bursts: float, spread: float) -> tuple[float, float, Floats, Floats]:
    """Shape and scale of the tail; ascending levels, and the log of the alarms that each safely does not exceed."""
    excess = highest[: tail - 1] - highest[tail - 1]
    mean = max(float(excess.mean()), 1e-200) if excess.any() else spread
    shapes, scales = (g.ravel() for g in np.meshgrid(SHAPES, mean * np.exp(np.linspace(-2, 2, 55))))
    weight = _posterior(excess, shapes, scales, bursts)
    shape, scale = float(weight @ shapes), float(np.exp(weight @ np.log(scales)))
    drop = np.linspace(0.0, 12.0, 81)
    beyond = scale * (np.expm1(shape * drop) / shape if abs(shape) > 1e-6 else drop)
    centre, high = _quantiles(_log_survival(beyond[:, None] / scales, shapes), weight, (0.5, 0.841))
    error = np.hypot(high - centre, math.sqrt(bursts / tail))
    safe = math.log(tail) + centre + _margin(error)
    unkept = (error > UNSURE) | (safe < math.log(FAR))
    last = max(1, int(np.argmax(unkept)) if unkept.any() else len(drop))
    counts = np.unique(np.geomspace(tail, len(highest), STORED).astype(int))[:0:-1]
    levels = np.concatenate([highest[counts - 1], highest[tail - 1] + beyond[:last]])
    log_counts = np.concatenate([np.log(counts) + _margin(np.sqrt(bursts / counts)), safe[:last]])
    return shape, scale, np.maximum.accumulate(levels), np.minimum.accumulate(log_counts)


def _posterior(excess: Floats, shapes: Floats, scales: Floats, bursts: float) -> Floats:
    """Weights of the (shape, scale) pairs given the excesses, which count for fewer where alarms come in bursts."""
    fit = ((1 + shapes) * _log_survival(excess[:, None] / scales, shapes)).sum(axis=0) - excess.size * np.log(scales)
    like = fit / bursts - 0.5 * ((shapes - PRIOR[0]) / PRIOR[1]) ** 2
    weight: Floats = np.exp(like - like.max()) / np.exp(like - like.max()).sum()
    return weight


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
    """Added to the log rate, it makes a run of JUDGED alarms end above the upper Poisson limit in 2.5 % of cases."""
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
    ordered = np.sort(s)
    ranks = np.searchsorted(ordered, s, "left") + np.searchsorted(ordered, s, "right")
    means = ranks[: len(s) // blocks * blocks].reshape(blocks, -1).mean(axis=1)
    early, late = means[: blocks // 2], means[blocks // 2 :]
    spread = math.sqrt((early.var(ddof=1) + late.var(ddof=1)) / (blocks // 2))
    return bool(late.mean() - early.mean() > DRIFT * max(spread, 1e-12))


def guarded(calibration: Calibration, rate: float, unit: float | None = None) -> Threshold:
    """The threshold for a budget; where the data cannot keep it, at least a margin for later drift.

    The margin is 1 + 10 / sqrt(n) in units of the 99 % point of normal scores (the calibration's, if `unit` is not
    given): few rows have not seen how a process wanders, and their autocorrelation does not tell. From normal rows
    alone of five families of data; docs/decisions/0003 has the figures.
    """
    limit = calibration.threshold(rate)
    if unit is None:
        unit = float(calibration.seen[np.searchsorted(-calibration.above[1:], -0.01 * calibration.n)])
    margin = unit * (1 + DRIFTING / math.sqrt(calibration.n))
    if rate >= limit.kept * (1 - 1e-9) or limit.value >= margin:
        return limit
    note = f"raised from {limit.value:.3g} to {margin:.3g}, a margin for drift after only {calibration.n:,} rows"
    return Threshold(margin, limit.asked, limit.kept, "; ".join(filter(None, [limit.note, note])))


def after_shock(scores: Floats, peak: float, missing: Rows | None = None) -> tuple[Floats, Floats, float]:
    """What is compared with the threshold, 2 s - P (T,); the peaks before each row (T,), and the one to go on from.

    >>> compared, before, _ = after_shock(np.array([1.0, 9.0, 5.0]), 0.0)
    >>> compared.round(2).tolist(), before.round(2).tolist()
    ([1.0, 9.0, 1.02], [0.0, 1.0, 8.98])

    P is the strongest recent score. At the onset of an event s = P, so it is the score. After a strong event a process
    often does not come back to where it was: the bar then stands halfway between the threshold and the event's own
    strength and comes down over MEMORY rows, those that never came before a row (`missing`) included. It can cut one
    alarm into two, so budgets are calibrated on it.
    """
    fade, compared, before = 1 - 2 / (MEMORY + 1), np.empty(len(scores)), np.empty(len(scores))
    absent = np.zeros(len(scores), dtype=np.int64) if missing is None else np.asarray(missing)
    for row, (score, rows) in enumerate(zip(scores.tolist(), absent.tolist(), strict=True)):
        peak = peak if rows < FORGOTTEN else 0.0
        for _ in range(1 + rows if peak else 0):  # one by one, so that absent and empty rows give the same bits
            peak *= fade
        before[row] = peak
        peak = max(peak, score) if score == score else peak
        compared[row] = 2 * score - peak
    return compared, before, peak


def bar(threshold: float, before: Floats) -> Floats:
    """(T,) what a score must exceed to be an alarm: the threshold, or halfway from it to a stronger recent peak.

    >>> bar(2.0, np.array([0.0, 1.0, 8.0]))
    array([2., 2., 5.])
    """
    return (threshold + np.maximum(threshold, before)) / 2


def budgeted(
    scores: Floats, *, interval: float, merge: int, starts: Rows = (0,), missing: Rows | None = None
) -> Calibration:
    """A `Calibration` with p-values from the scores, and thresholds from what is compared with them."""
    plain = learn(scores, interval=interval, merge=merge, starts=starts)
    scored = np.flatnonzero(~np.isnan(scores))
    compared = after_shock(scores, 0.0, missing)[0]
    compared[scored[: len(scored) - plain.n]] = np.nan  # rows that `learn` put aside, because scores rise after them
    told = learn(compared, interval=interval, merge=merge, starts=starts)
    return msgspec.structs.replace(plain, levels=told.levels, log_rates=told.log_rates)


def alarms(
    scores: ArrayLike,
    p_values: ArrayLike,
    threshold: float,
    *,
    merge: int,
    state: AlarmState | None = None,
    starts: Rows = (),
) -> tuple[NDArray[np.bool_], list[Span], AlarmState]:
    """(T,) True where an alarm is open, the alarms (a last one may be open), and the state to go on from.

    An alarm opens at a score over the threshold and closes after `merge` scored rows that are not; a row without a
    score (NaN) does neither, a row in `starts` (a gap before it) closes. A span ends at its last row over the
    threshold; the alarm stays shown while it may still go on. Rows depend on rows before them only, and pieces give
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
        span = Span(first, last, float(smallest[i : j + 1].min()), closing >= len(s))
        found.append(span)
        if span.open:
            quiet = int(steps[-1] - clock[j]) if len(s) else state.quiet
            end = AlarmState(end.row, first, last, quiet, span.p_value)
    return shown, found, end
