"""A task run through time as it would have run: one table, baselines beside, and a verdict in a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import baselines, calibrate, leaks, metrics, synth
from .calibrate import Threshold
from .errors import DataError, SettingError, several
from .pages.frame import Row
from .series import SECOND, Series, instant, time_text
from .settings import rate
from .tasks import rivals, scoring, verbs
from .tasks.anomaly import AnomalyDetector
from .tasks.found import Found
from .tasks.rivals import Rival

Floats = NDArray[np.float64]
OURS = "network"
FAULTS: tuple[tuple[Any, float, int], ...] = (
    ("spike", 6.0, 3),
    ("level", 2.0, 60),
    ("drift", 3.0, 120),
    ("unlinked", 1.0, 120),
)
CHANCE = 0.55  # AUROC up to which nothing was found out
MOST = 12  # channels whose errors are listed
FEW = 3  # planted faults below which rules are not compared
MOSTLY = 25.0  # per cent of normal rows in alarm, from which events are found whatever happens


class Evaluation(msgspec.Struct, frozen=True):
    """The table: ours first, baselines beside; what was measured, and the honest verdict."""

    rows: list[Row]
    what: str
    verdict: str
    baseline_wins: bool
    events: list[tuple[int, int]] = []
    notes: list[str] = []
    detail: Any = None
    """what the task said, of which the table was made, where that is not returned beside (see `measures`)"""

    units: dict[str, float] = {}
    """our mean absolute error by channel, in the data's units, where there is one"""

    def __str__(self) -> str:
        names = list(self.rows[0].metrics)
        lines = [["", *names], *([r.name, *(_plain(r.metrics[n]) for n in names)] for r in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        table = "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)
        listed = ", ".join(f"{name} {error:.3g}" for name, error in [*self.units.items()][:MOST])
        more = f"\nmean absolute error in the data's units: {listed}" if listed else ""
        return f"{self.what}\n{table}\n{self.verdict}{more}{', ...' * (len(self.units) > MOST)}"


def _plain(figure: float) -> str:
    """A figure for people: four digits, no exponent, a dash where there is none."""
    return "–" if np.isnan(figure) else f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.4g}"


def detector(
    det: AnomalyDetector,
    data: Any,
    *,
    labels: Any = None,
    events: Iterable[tuple[Any, Any]] = (),
    window: int = 100,
    grace: float = 0.0,
    history: Any = None,
) -> tuple[Evaluation, Found]:
    """How well a detector and its baselines find what is known to be abnormal; without labels, how often each alarms.

    data     what `apply` takes; its label column if it has one
    labels   (T,) 1 = abnormal
    events   (start, end) of known events, instead of labels
    window   of VUS, in rows (TSB-AD's definition); grace: seconds after an event in which an alarm is not false
    history  what the detector learned from: then the split is checked for leaks, each a note, and an isolation forest
             stands beside too, where scikit-learn is installed (a model file cannot hold one)
    """
    if type(det).__name__ != "AnomalyDetector":
        do = "tidegate evaluate on the command line judges every task; in Python see backtest and score"
        raise SettingError(f"a {type(det).__name__}", wanted="a fitted AnomalyDetector", do=do)
    series = verbs.matched(det, data)
    found = det.apply(series)
    truth, notes, rules = _truth(series, labels, events), [], det.rivals_
    if history is not None:
        past, held = _own(det, history)
        notes, rules = _leaks(det, past, series), rules | _forest(det, past, held)
    table = _table(det, series, found, truth, rules, window=window, late=round(grace * SECOND))
    return msgspec.structs.replace(table, notes=notes), found


def beside(det: AnomalyDetector, data: Any, found: Found) -> Evaluation:
    """How often each baseline alarms in the rows that were just scored; a baseline begins with them, without a past."""
    return _table(det, verbs.matched(det, data), found, None, det.rivals_)


def _table(
    det: AnomalyDetector,
    series: Series,
    found: Found,
    truth: NDArray[np.bool_] | None,
    rules: dict[str, Rival],
    *,
    window: int = 100,
    late: int = 0,
) -> Evaluation:
    """What a detector found, and each rule on the same rows; `late`: nanoseconds in which an alarm is not false."""
    series = msgspec.structs.replace(series, times=found.times)  # rows without a clock are numbered as `apply` does
    judged = {OURS: Judged(found.score, found.alarm, _spans(found.alarms))} | _rivals(det, series, rules)
    rows = [
        Row(name=name, metrics=_figures(truth, series, it, window, late), baseline=name != OURS)
        for name, it in judged.items()
    ]
    if truth is None:
        what = f"no labels; at most {det.threshold_.kept * 86400:.3g} false alarms a day expected"
        said = f"{found.count}; without known events all that can be said is how often each rule alarms"
        return Evaluation(rows, what, said, False)
    spans = [(int(series.times[a]), int(series.times[b - 1])) for a, b in metrics.events(truth)]
    what = f"{several(len(spans), 'known event')} in {several(len(series), 'row')}"
    verdict, lost = judge(rows)
    falsely = rows[0].metrics["false alarm %"]
    if falsely > MOSTLY:
        verdict += (
            f"; the network is in alarm in {falsely:.0f} % of the normal rows, so what it found by event means little"
        )
    return Evaluation(rows, what, verdict, lost, spans)


def split_notes(det: AnomalyDetector, history: Any, later: Series) -> list[str]:
    """What makes a test on `later` look better than the future will be, a sentence each; empty for a clean split."""
    return _leaks(det, _own(det, history)[0], later)


def _leaks(det: AnomalyDetector, past: Series, later: Series) -> list[str]:
    return [leak.sentence for leak in leaks.check(past, later, scale=det.model_.scale)]


def planted(det: AnomalyDetector, history: Series, seed: int = 0) -> Evaluation:
    """How well planted faults are found in the rows that calibrated: what can be measured where there are no labels.

    Every channel in turn gets a spike, a level shift, a drift or readings of another time, one fault after another
    through the rows. `history` holds what the detector learned from; whatever else is in it is left out.
    """
    past, held = _own(det, history)
    normal = past.where(held)
    broken, rng = msgspec.structs.replace(normal, labels=None), np.random.default_rng(seed)
    room = max(240, len(normal) // 24)
    heard = np.array(normal.channels)[~np.isnan(normal.values).all(axis=0)].tolist()
    for i, first in enumerate(range(room // 2, len(normal) - 130, room)):
        kind, size, length = FAULTS[i % len(FAULTS)]
        broken = synth.plant(broken, kind, first, length, size=size, channels=(str(rng.choice(heard)),), seed=i)
    if broken.labels is None:
        raise DataError(f"too few rows to plant faults in: {len(normal)}", wanted="at least 260")
    evaluation = _table(
        det, broken, det.apply(broken), _truth(broken, None, ()), det.rivals_ | _forest(det, past, held)
    )
    count = len(evaluation.events)
    return msgspec.structs.replace(
        evaluation,
        what=f"{several(count, 'fault')} planted in the {len(normal):,} rows that calibrated the detector",
        verdict=evaluation.verdict if count >= FEW else f"{several(count, 'planted fault')}: too few to compare by",
        baseline_wins=evaluation.baseline_wins and count >= FEW,
        events=[],  # they are not in the data that a report shows
    )


def judge(rows: list[Row], by: str = "AUROC") -> tuple[str, bool]:
    """The verdict: whether the network is ahead of the best baseline, by a figure that no threshold decides.

    >>> ours, level = Row(name="network", metrics={"AUROC": 0.9}), Row(name="level", metrics={"AUROC": 0.95})
    >>> judge([ours, level])
    ('level ranks rows better than the network here (AUROC 0.950 against 0.900)', True)
    """
    ours = rows[0].metrics[by]
    rivals = [(row.metrics[by], row.name) for row in rows[1:] if np.isfinite(row.metrics[by])]
    if not rivals or not np.isfinite(ours):
        return "nothing to compare", False
    best, name = max(rivals)
    figures = f"({by} {{}} against {{}})"
    if max(best, ours) < CHANCE:
        said = figures.format(f"{ours:.3f}", f"{best:.3f}")
        return f"neither the network nor {name} does better than chance here {said}", False
    if best > ours + 0.005:
        return f"{name} ranks rows better than the network here {figures.format(f'{best:.3f}', f'{ours:.3f}')}", True
    if best > ours - 0.005:
        return f"the network and {name} do equally well here {figures.format(f'{ours:.3f}', f'{best:.3f}')}", False
    return (
        f"the network is ahead of every baseline by {by}; the next is {name}"
        f" {figures.format(f'{ours:.3f}', f'{best:.3f}')}",
        False,
    )


def _truth(series: Series, labels: Any, events: Iterable[tuple[Any, Any]]) -> NDArray[np.bool_] | None:
    spans = [(instant(a), instant(b)) for a, b in events]
    for start, end in spans:
        if end < start:
            saw = f"an event that ends at {time_text(end)}, before it starts, at {time_text(start)}"
            raise DataError(saw, wanted="(start, end)")
    if spans:
        inside: NDArray[np.bool_] = np.any([(series.times >= a) & (series.times <= b) for a, b in spans], axis=0)
        return inside
    labels = series.labels if labels is None else labels
    return None if labels is None else marked(np.asarray(labels), series.name)


def marked(labels: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """(T,) True where a label says abnormal, 1; 0 is normal, and so is a missing one (`unlabelled` notes those)."""
    wanted, do = "0 for normal, 1 for abnormal", "give a column of those; a sensor is no label"
    try:
        told = np.nan_to_num(labels.astype(float))
    except ValueError:
        shown = ", ".join(repr(str(text)) for text in np.unique(labels)[:5])
        raise DataError(f"labels that are text: {shown}", wanted=wanted, do=do, where=name) from None
    bad: NDArray[np.bool_] = told == 1
    odd = np.unique(told[(told != 0) & ~bad])
    if len(odd):
        shown = ", ".join(f"{label:g}" for label in odd[:5]) + ", ..." * (len(odd) > 5)
        raise DataError(f"labels that are neither 0 nor 1: {shown}", wanted=wanted, do=do, where=name)
    return bad


def unlabelled(series: Series) -> list[str]:
    """A note where rows of a series with labels have none."""
    count = 0 if series.labels is None or series.labels.dtype.kind != "f" else int(np.isnan(series.labels).sum())
    return [f"{several(count, 'row')} without a label, counted as normal"] if count else []


def again(task: Any, series: Series) -> list[str]:
    """A note where a task is judged on rows from the time that it learned from, as far as it knows that."""
    spans = getattr(task, "split_times_", None) or [task.times_]  # of a detector, what it left out has no part in it
    if not spans[0] or not task.clock_ or not series.clock:
        return []
    first, last = spans[0][0], spans[-1][-1]
    count = int(((series.times >= first) & (series.times <= last)).sum())
    if not count:
        return []
    of = f"{count:,} of {several(len(series), 'row')} from the time that the model learned from"
    return [
        f"{of}, {time_text(first)} to {time_text(last)}: if it has seen them, it does better there than on new ones"
    ]


class Judged(msgspec.Struct, frozen=True, eq=False):
    """What one method said of T rows: scores, alarms row by row, alarms as closed intervals of time (n, 2)."""

    score: Floats
    alarm: NDArray[np.bool_]
    spans: NDArray[np.int64]


def _own(det: AnomalyDetector, history: Any) -> tuple[Series, NDArray[np.bool_]]:
    """The part of a history that the detector learned from, and which of its rows calibrated."""
    past = verbs.matched(det, history)
    begun, (first, last) = det.split_times_[0][0], det.split_times_[-1]
    inside = (past.times >= begun) & (past.times <= last)
    for start, stop in det.left_out_:
        inside &= (past.times < start) | (past.times > stop)
    past = past.where(inside)
    held = past.times >= first
    if not held.any():
        raise DataError(
            f"no row of {past.name} lies in the stretch that calibrated the detector",
            wanted=f"the history that it learned from, with rows from {time_text(first)} on",
            where=past.name,
        )
    return past, held


def _forest(det: AnomalyDetector, past: Series, held: NDArray[np.bool_]) -> dict[str, Rival]:
    """The rule that no model file can hold, learned anew from the detector's own history (`_own`)."""
    name = "isolation_forest"
    if name not in baselines.present()[0]:
        return {}
    forest = baselines.learn_isolation_forest(past.values if held.all() else past.values[~held])
    rows, merge = _holes(det, past.where(held)), det.alarming.merge
    return {name: rivals.rival(name, forest, rows, interval=det.interval_, merge=merge)}


def _holes(det: AnomalyDetector, series: Series) -> rivals.Held:
    """The values, the rows at which memory begins anew, and how many rows never came before each."""
    missing = scoring.absent(series.times, det.interval_)
    return series.values, scoring.starts(series.values, missing, det.alarming.gap), missing


def _rivals(det: AnomalyDetector, series: Series, rules: dict[str, Rival]) -> dict[str, Judged]:
    found: dict[str, Judged] = {}
    values, starts, missing = _holes(det, series)
    for name, rival in rules.items():
        scores = rivals.score(name, rival.learned, values, starts)
        limit: Threshold = calibrate.guarded(rival.calibration, rate(det.alarming.budget))
        compared = calibrate.after_shock(scores, 0.0, missing)[0]
        p = rival.calibration.p_value(scores)
        _, intervals, _ = calibrate.alarms(compared, p, limit.value, merge=det.alarming.merge, starts=starts[1:])
        spans = [(int(series.times[i.first_row]), int(series.times[i.last_row])) for i in intervals]
        found[name] = Judged(scores, compared > limit.value, np.array(spans, dtype=np.int64).reshape(-1, 2))
    return found


def _spans(alarms: list[Any]) -> NDArray[np.int64]:
    return np.array([(a.start, a.end) for a in alarms], dtype=np.int64).reshape(-1, 2)


def _figures(
    truth: NDArray[np.bool_] | None, series: Series, judged: Judged, window: int, late: int
) -> dict[str, float]:
    """One method's line of the table."""
    step = round(series.interval * SECOND)
    days = len(series) * series.interval / 86400
    spans, score, alarm = judged.spans + np.array([0, step]), judged.score, judged.alarm  # half-open
    if truth is None:
        return {"alarms": float(len(spans)), "alarms/day": len(spans) / days}
    rows = metrics.events(truth)
    ends = np.append(series.times[1:], series.times[-1] + step)  # a reading holds until the next, at most a step
    ends = np.minimum(ends, series.times + step)
    known = np.stack([series.times[rows[:, 0]], ends[rows[:, 1] - 1]], axis=1) if len(rows) else rows
    return {
        "AUROC": metrics.auroc(truth, score),
        "AP": metrics.average_precision(truth, score),
        f"VUS-PR {window}": metrics.vus_pr(truth, score, window),
        "F1": metrics.f1(truth, alarm),
        "false alarm %": 100 * metrics.false_alarm_rate(truth, alarm),
        "missed %": 100 * metrics.missed_rate(truth, alarm),
        "events found %": 100 * metrics.event_recall(known, spans, grace=late),
        "delay s": metrics.mean_delay(known, spans, grace=late) / SECOND,
        "false alarms": float(metrics.false_alarms(known, spans, grace=late)),
    }


def sentence(alarm: Any, clock: bool) -> str:
    """One alarm in one line, as the command line prints it."""
    when = (
        f"{time_text(alarm.start)} to {time_text(alarm.end)}"
        if clock
        else f"rows {alarm.first_row:,} to {alarm.last_row:,}"
    )
    return f"{when}  p={alarm.p_value:.1e}  {', '.join(alarm.channels)}{'  (still open)' if alarm.open else ''}"
