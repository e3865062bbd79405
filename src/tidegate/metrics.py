"""How good an answer is: numbers in, one number out.

Errors                mse, mae, cosine_similarity, correlation         of what was expected against what was seen
Order of the scores   auroc, average_precision, vus_roc, vus_pr        need no threshold
Alarms, row by row    f1, false_alarm_rate, missed_rate                from labels and an alarm of the same length
Alarms, by event      events, delays, event_recall, mean_delay, false_alarms

`labels` are 0 and 1 (or False and True), 1 = abnormal, one a row. Bigger score = more unusual. A row without a score
(NaN) can never raise an alarm, so it counts as the lowest score, never as a row that is not there. Where there is
nothing to measure (no abnormal row, a constant signal) the answer is NaN. No metric here changes an alarm with the
labels in hand (no point adjustment).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Intervals = NDArray[np.int64]  # (n, 2): first, stop; half-open, in time order, none touching the next

_THRESHOLDS = 250  # TSB-AD's
_NEVER = np.iinfo(np.int64).max  # the start of an event or alarm that does not come


# ---- errors ----------------------------------------------------------------------------------------------------------


def mse(seen: ArrayLike, expected: ArrayLike) -> float:
    """Mean squared error: mean((seen - expected)^2), in the square of the data's unit.

    >>> mse([1.0, 2.0, 4.0], [1.0, 2.0, 1.0])
    3.0

    Any shape, the same on both sides; pairs with a value missing (NaN) on either side are left out.
    """
    a, b = _pairs(seen, expected)
    return float(np.mean((a - b) ** 2)) if a.size else np.nan


def mae(seen: ArrayLike, expected: ArrayLike) -> float:
    """Mean absolute error: mean(|seen - expected|), in the data's unit.

    >>> mae([1.0, 2.0, 4.0], [1.0, np.nan, 1.0])
    1.5

    Any shape, the same on both sides; pairs with a value missing (NaN) on either side are left out.
    """
    a, b = _pairs(seen, expected)
    return float(np.mean(np.abs(a - b))) if a.size else np.nan


def cosine_similarity(seen: ArrayLike, expected: ArrayLike) -> float:
    """Cosine of the angle between two signals: a.b / (|a| |b|); 1 = same shape, whatever the scale.

    >>> cosine_similarity([1.0, 0.0, 2.0], [2.0, 0.0, 4.0])
    1.0

    Any shape, read as one long vector; missing pairs are left out; NaN where either side is all zeros.
    """
    a, b = _pairs(seen, expected)
    return _cosine(a, b)


def correlation(seen: ArrayLike, expected: ArrayLike) -> float:
    """Pearson's correlation: the cosine similarity of the two signals, each less its mean; blind to scale and offset.

    >>> correlation([1.0, 2.0, 3.0], [30.0, 20.0, 10.0])
    -1.0

    Any shape, read as one long vector; missing pairs are left out; NaN where either side is constant.
    """
    a, b = _pairs(seen, expected)
    if a.size == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return _cosine(a - a.mean(), b - b.mean())


# ---- the order of the scores -----------------------------------------------------------------------------------------


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that an abnormal row scores above a normal one, ties counting half.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75

    labels, scores (T,). From the ranks: (sum of the abnormal rows' ranks - P(P+1)/2) / (P N) (Mann and Whitney 1947).
    """
    truth, score = _scored(labels, scores)
    abnormal, normal = int(truth.sum()), int((~truth).sum())
    if not abnormal or not normal:
        return np.nan
    _, group, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[group]  # the mean rank of each group of ties, from 1
    return float((rank[truth].sum() - abnormal * (abnormal + 1) / 2) / (abnormal * normal))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps: sum over thresholds of (recall gained) x precision.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333

    labels, scores (T,). One threshold for each different score, no interpolation: scikit-learn's definition.
    """
    truth, score = _scored(labels, scores)
    if not truth.any():
        return np.nan
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))  # the last row of each group of ties
    found = np.cumsum(truth[order])[last]
    return float(np.sum(np.diff(found, prepend=0) / truth.sum() * found / (last + 1)))


def vus_pr(labels: ArrayLike, scores: ArrayLike, window: int) -> float:
    """Volume under the precision-recall surface, **TSB-AD's definition**: average precision that forgives small shifts.

    >>> round(vus_pr([0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 2, 0, 0], window=4), 4)
    0.6099

    labels, scores (T,); window in rows: how far off may still earn something (TSB-AD: the period of the first channel).

    For every buffer l = 0, 1, ..., window:
    - soft labels: 1 on abnormal rows; d = 1 .. l//2 rows before or after an event they gain sqrt(1 - d/l); at most 1
    - 250 thresholds: the scores at 250 even places of the sorted scores; a row is flagged where its score >= threshold
    - TP = sum of the soft labels of flagged rows; P' = P + (TP - flagged abnormal rows) / 2; P = abnormal rows
    - existence = share of the events, merged where their buffers meet, with at least one flagged row, buffer included
    - precision = TP / flagged; recall = min(TP / P', 1) x existence; area = sum of (recall gained) x precision
    The answer is the mean area over l. The same as `get_metrics` of TSB-AD 1.5 (`generate_curve(..., version="opt",
    thre=250)`), to rounding. Other packages (aeon, dtaianomaly) define it otherwise: 0.45 where this says 0.82 on the
    same scores, so never compare across. Source: Paparrizos et al., "Volume Under the Surface", PVLDB 15(11), 2022.
    """
    return _volume(labels, scores, window)[0]


def vus_roc(labels: ArrayLike, scores: ArrayLike, window: int) -> float:
    """Volume under the ROC surface, **TSB-AD's definition**: AUROC that forgives small shifts.

    >>> round(vus_roc([0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 2, 0, 0], window=4), 4)
    0.775

    As `vus_pr`, with area = the trapezoids under recall against (flagged - TP) / (T - P'), from (0, 0) to (1, 1).
    """
    return _volume(labels, scores, window)[1]


def _volume(labels: ArrayLike, scores: ArrayLike, window: int) -> tuple[float, float]:
    """(vus_pr, vus_roc). Each row is filed once under the first threshold that flags it; a sum over the flagged rows is
    then a running sum over 250 bins, for all thresholds at once."""
    truth, score = _scored(labels, scores)
    if window < 0:
        raise DataError(f"window is {window}", wanted="0 rows or more", do="give the period of the signal, in rows")
    if not truth.any() or truth.all():
        return np.nan, np.nan
    places = np.linspace(0, len(score) - 1, _THRESHOLDS).astype(int)
    thresholds = np.sort(score)[::-1][places]
    place = np.searchsorted(-thresholds, -score)  # the first threshold that flags the row
    spans = events(truth)
    areas = [_areas(truth, place, spans, width) for width in range(window + 1)]
    pr, roc = np.mean(areas, axis=0)
    return float(pr), float(roc)


def _areas(truth: Bools, place: Intervals, spans: Intervals, width: int) -> tuple[float, float]:
    """(average precision, area under ROC) of one buffer of `width` rows, half of it on each side of an event."""
    flagged = _running(place)
    hits = _running(place, _soft(truth, spans, width))
    core = _running(place, truth.astype(float))
    positives = core[-1] + (hits - core) / 2
    recall = np.minimum(hits / positives, 1) * _existence(place, spans, width // 2)
    fall_out = (flagged - hits) / (len(truth) - positives)
    precision_area = np.sum(np.diff(recall, prepend=0) * hits / flagged)
    roc_area = np.trapezoid(np.r_[0, recall, 1], np.r_[0, fall_out, 1])
    return float(precision_area), float(roc_area)


def _running(place: Intervals, weight: Floats | None = None) -> Floats:
    """At each threshold, the sum of the weights (1 each by default) of the rows flagged so far."""
    return np.cumsum(np.bincount(place, weight, minlength=_THRESHOLDS)).astype(float)


def _soft(truth: Bools, spans: Intervals, width: int) -> Floats:
    """1 on abnormal rows, falling to sqrt(1/2) over width//2 rows on both sides; buffers that meet add up to 1."""
    half = width // 2
    away = np.arange(1, half + 1)
    rows = np.concatenate([spans[:, :1] - away, spans[:, 1:] - 1 + away]) + half  # shifted, so that none is negative
    fade = np.broadcast_to(np.sqrt(1 - away / max(width, 1)), rows.shape)
    gained = np.bincount(rows.ravel(), fade.ravel(), minlength=len(truth) + 2 * half)
    return np.minimum(truth + gained[half : half + len(truth)], 1)


def _existence(place: Intervals, spans: Intervals, half: int) -> Floats:
    """At each threshold, the share of the events (merged where their buffers meet) with a flagged row."""
    apart = spans[1:, 0] - half > spans[:-1, 1] - 1 + half
    first = np.maximum(spans[np.r_[True, apart], 0] - half, 0)
    stop = np.minimum(spans[np.r_[apart, True], 1] + half, len(place))
    edges = np.column_stack([first, stop]).ravel()
    lowest = np.minimum.reduceat(np.append(place, _THRESHOLDS), edges)[::2]  # the row added lets a stop be len(place)
    return _running(lowest) / len(lowest)


# ---- alarms, row by row ----------------------------------------------------------------------------------------------


def f1(labels: ArrayLike, alarm: ArrayLike) -> float:
    """F1 of an alarm, row by row: 2 TP / (2 TP + FP + FN). Worth little alone: print the false-alarm rate beside it.

    >>> f1([0, 1, 1, 0], [0, 1, 0, 0])
    0.6666666666666666
    """
    truth, raised = _flags(labels, alarm)
    return _share(2 * int((truth & raised).sum()), int(truth.sum()) + int(raised.sum()))


def false_alarm_rate(labels: ArrayLike, alarm: ArrayLike) -> float:
    """Share of the normal rows inside an alarm: FP / (FP + TN).

    >>> false_alarm_rate([0, 1, 1, 0], [1, 1, 0, 0])
    0.5
    """
    truth, raised = _flags(labels, alarm)
    return _share(int((raised & ~truth).sum()), int((~truth).sum()))


def missed_rate(labels: ArrayLike, alarm: ArrayLike) -> float:
    """Share of the abnormal rows outside every alarm: FN / (FN + TP).

    >>> missed_rate([0, 1, 1, 0], [1, 1, 0, 0])
    0.5
    """
    truth, raised = _flags(labels, alarm)
    return _share(int((truth & ~raised).sum()), int(truth.sum()))


# ---- alarms, by event ------------------------------------------------------------------------------------------------


def events(flags: ArrayLike) -> Intervals:
    """The stretches of 1 in labels or alarms (T,), as rows (n, 2): first, stop (one past the last).

    >>> events([0, 1, 1, 0, 1]).tolist()
    [[1, 3], [4, 5]]
    """
    edges = np.flatnonzero(np.diff(_booleans(flags, "flags").astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2).astype(np.int64)


def delays(truth: Intervals, alarms: Intervals, *, grace: int = 0) -> Floats:
    """For each event, how long after its start the first alarm came; NaN = missed.

    >>> delays(np.array([[10, 20], [50, 60], [80, 90]]), np.array([[13, 15], [45, 55]])).tolist()
    [3.0, 0.0, nan]

    truth, alarms   (n, 2) half-open intervals in one unit (rows, or nanoseconds), sorted, as `events` gives them
    grace           an alarm that starts up to this long after the event's end still finds it
    An alarm already on when the event starts finds it with delay 0: the false-alarm rate shows what that cost.
    """
    _in_order(truth, "truth")
    _in_order(alarms, "alarms")
    start, stop = truth[:, 0], truth[:, 1] + grace
    first = np.append(alarms[:, 0], _NEVER)[np.searchsorted(alarms[:, 1], start, side="right")]
    return np.where(first < stop, np.maximum(first - start, 0), np.nan)


def event_recall(truth: Intervals, alarms: Intervals, *, grace: int = 0) -> float:
    """Share of the events that an alarm found; intervals as in `delays`.

    >>> event_recall(np.array([[10, 20], [50, 60]]), np.array([[13, 15]]))
    0.5
    """
    return _share(int(np.isfinite(delays(truth, alarms, grace=grace)).sum()), len(truth))


def mean_delay(truth: Intervals, alarms: Intervals, *, grace: int = 0) -> float:
    """Mean delay of the events that were found, in the intervals' unit; NaN where none was.

    >>> mean_delay(np.array([[10, 20], [50, 60]]), np.array([[13, 15], [51, 52]]))
    2.0
    """
    delay = delays(truth, alarms, grace=grace)
    found = delay[np.isfinite(delay)]
    return float(found.mean()) if found.size else np.nan


def false_alarms(truth: Intervals, alarms: Intervals, *, grace: int = 0) -> int:
    """How many alarms touch no event, nor the `grace` after one; intervals as in `delays`.

    >>> false_alarms(np.array([[10, 20]]), np.array([[2, 4], [13, 15], [21, 22]]), grace=5)
    1
    """
    _in_order(truth, "truth")
    _in_order(alarms, "alarms")
    start = np.append(truth[:, 0], _NEVER)
    near = np.searchsorted(truth[:, 1] + grace, alarms[:, 0], side="right")  # the first event not over before the alarm
    return int(np.sum(start[near] >= alarms[:, 1]))


# ---- what goes in ----------------------------------------------------------------------------------------------------


def _pairs(seen: ArrayLike, expected: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(seen, dtype=float), np.asarray(expected, dtype=float)
    if a.shape != b.shape:
        raise DataError(
            f"shapes are {a.shape} and {b.shape}", wanted="the same shape", do="compare the same rows and channels"
        )
    both = ~(np.isnan(a) | np.isnan(b))
    return a[both], b[both]


def _cosine(a: Floats, b: Floats) -> float:
    size = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.clip(np.sum(a * b) / size, -1, 1)) if size else np.nan


def _booleans(flags: ArrayLike, what: str) -> Bools:
    array = np.asarray(flags)
    if array.ndim != 1:
        raise DataError(
            f"{what} have shape {array.shape}", wanted="one value a row, (T,)", do=f"pass one column of {what}"
        )
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        wrong = int(np.flatnonzero(~np.isin(array, (0, 1)))[0])
        raise DataError(f"{what} hold {array[wrong]!r}", wanted="0 or 1", do="map the labels", where=f"row {wrong}")
    return array.astype(bool)


def _flags(labels: ArrayLike, alarm: ArrayLike) -> tuple[Bools, Bools]:
    truth, raised = _booleans(labels, "labels"), _booleans(alarm, "alarms")
    _same_length(truth.shape, raised.shape)
    return truth, raised


def _scored(labels: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """Labels and scores, rows without a score at the very bottom."""
    truth, score = _booleans(labels, "labels"), np.asarray(scores, dtype=float)
    _same_length(truth.shape, score.shape)
    return truth, np.where(np.isnan(score), -np.inf, score)


def _same_length(labels: tuple[int, ...], other: tuple[int, ...]) -> None:
    if labels != other:
        raise DataError(f"shapes are {labels} and {other}", wanted="the same rows on both sides", do="score every row")


def _in_order(spans: Intervals, what: str) -> None:
    if spans.ndim != 2 or spans.shape[1] != 2 or (np.diff(spans.ravel()) < 0).any():
        raise DataError(
            f"{what} are not intervals in time order", wanted="(n, 2) of first, stop", do="use events(labels)"
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan
