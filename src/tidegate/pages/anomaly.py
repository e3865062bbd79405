"""The anomaly page: what was unusual, who is to blame, and how far to believe it.

`html(report)` is the page as text. A `Report` holds plain arrays and numbers, so the page does not depend on the task
that made it; `of` makes one of a detector, what it found and its evaluation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import DataError, SettingError
from .charts import Chart
from .frame import Learned, Page, Part, Table, curve, render
from .packed import Block, Floats, block, holes, limit, thinned, track
from .words import chance, figure, listed, moment, rate, span

if TYPE_CHECKING:
    from ..evaluate import Evaluation
    from ..tasks.anomaly import AnomalyDetector
    from ..tasks.found import Alarm as Blamed, Found

ALARMS_LISTED = 200  # rows of the alarm table
SENSORS_LISTED = 10  # columns of the blame table and rows of the blame strip; the others are summed
SMALLER = frozenset({"false alarm %", "missed %", "delay s", "false alarms"})
COUNTS = frozenset({"alarms", "alarms/day"})
USES = {"train": "what the network learned", "valid": "when training stopped", "calibrate": "what scores mean"}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The data scored: times (T,) UTC ns, values (T, C), scores (T,); NaN = missing, and drawn as a gap.

    `expected`, `low`, `high` (T, C) are in the data's units; `by_channel` (T, C) is the share of blame; `bar` (T,) is
    what a score had to exceed to be an alarm, where that is not the threshold all along.
    Rows more than `gap` seconds apart are not joined by a line (0: ten times the median interval).
    """

    times: NDArray[np.int64]
    channels: Sequence[str]
    values: Floats
    score: Floats
    score_fast: Floats | None = None
    bar: Floats | None = None
    expected: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None
    by_channel: Floats | None = None
    clock: bool = True
    gap: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One check of the budget: false alarms a second asked for and observed, `low` to `high` what chance allows."""

    asked: float
    observed: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The threshold on the score's axis and the false alarms a second it stands for: asked, and honestly kept."""

    threshold: float
    asked: float
    kept: float
    note: str = ""
    checks: Sequence[Kept] = ()


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm, UTC nanoseconds; `share` is the blame of each of `Seen.channels` (empty: not known)."""

    start: int
    end: int
    p_value: float
    channels: Sequence[str] = ()
    share: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a report says. `events` are known true events as (start, end) in UTC nanoseconds."""

    title: str
    generated: str
    seen: Seen
    budget: Budget
    alarms: Sequence[Alarm] = ()
    events: Sequence[tuple[int, int]] = ()
    learned: Learned = field(default_factory=Learned)
    table: Table = field(default_factory=Table)
    notes: Sequence[str] = ()


def html(report: Report) -> str:
    """The page as one HTML text; needs the extra `report` (plotly, jinja2)."""
    _check(report)
    order, (headline, sentences) = blame_order(report), verdict(report)
    thin = thinned(report.seen.times, len(report.seen.channels))
    return render(
        Page(
            title=report.title, headline=headline, sentences=sentences, generated=report.generated,
            clock=report.seen.clock, learned=report.learned, table=report.table, notes=[*report.notes, *thin],
            template="anomaly.html.j2", scripts=("record.js", "anomaly.js"), charts={"checks": checks(report)},
            data=_payload(report, order), more={"report": report, "blame": blame_table(report, order)},
        )
    )  # fmt: skip


# ---- words ---------------------------------------------------------------------------------------------------------


def verdict(report: Report) -> tuple[str, list[str]]:
    """The headline and the sentences that open the report."""
    alarms, seen = report.alarms, report.seen
    lasted = _lasted(seen)
    count = f"{len(alarms)} alarm{'s' * (len(alarms) != 1)}" if alarms else "No alarm"
    sentences = [report.table.verdict] if report.table.baseline_wins else []
    if alarms:
        sentences.append(_surest(report))
    if report.events:
        sentences.append(_events(report))
    return f"{count} in {span(lasted)} of data", [*sentences, _budget(report.budget, lasted)]


def _surest(report: Report) -> str:
    alarm = min(report.alarms, key=lambda each: each.p_value)
    share = dict(zip(report.seen.channels, alarm.share, strict=False))
    blamed = [f"{name} ({share[name] * 100:.0f}\u00a0%)" if name in share else name for name in alarm.channels[:3]]
    when = moment(alarm.start, report.seen.clock)
    which = "It" if len(report.alarms) == 1 else "The surest"
    blame = f" The blame falls on {listed(blamed)}." if blamed else ""
    lasted = span((alarm.end - alarm.start) / 1e9)
    return f"{which} began {when}, lasted {lasted} and has p\u00a0=\u00a0{chance(alarm.p_value)}.{blame}"


def _events(report: Report) -> str:
    meet = np.array([[a.start <= end and a.end >= start for a in report.alarms] for start, end in report.events])
    found, beside = int(meet.any(1).sum()), len(report.alarms) - int(meet.any(0).sum())
    others = f"; {beside} alarm{'s' * (beside != 1)} met none of them" if beside else ""
    return f"{found} of the {len(report.events)} known events met an alarm{others}."


def _budget(budget: Budget, lasted: float) -> str:
    by_chance = f"about {budget.kept * lasted:.2g} by chance in a stretch this long, if all of it were normal"
    if budget.kept <= budget.asked * 1.001:
        return f"Alarms run at a budget of {rate(budget.asked)} of normal running: {by_chance}."
    return (
        f"You asked for at most {rate(budget.asked)}; the data set aside for calibration can only vouch for "
        f"{rate(budget.kept)}, so alarms run at that budget: {by_chance}."
    )


UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}


def checks(report: Report) -> Chart | None:
    """False alarms asked for against those seen, in the unit of time that suits the middle one; both logarithmic."""
    known = report.budget.checks
    if not known:
        return None
    middle = sorted(check.asked for check in known)[len(known) // 2]
    unit = next((name for name, seconds in UNITS.items() if middle * seconds >= 0.3), "week")
    rates = [[value * UNITS[unit] for value in (k.asked, k.observed, k.low, k.high)] for k in known]
    positive = [value for each in rates for value in each if value > 0]
    floor, top = min(positive) / 2, max(positive) * 2
    up = [[max(value, floor) for value in each] for each in rates]
    bars = [each for each in up if math.isfinite(each[3])]
    seen = [f"seen {figure(each[1])}" if each[1] > 0 else "none seen" for each in rates]
    symbols = ["circle" if each[1] > 0 else "triangle-down-open" for each in rates]
    chance = {
        "x": [x for each in bars for x in (each[0], each[0], None)], "mode": "lines", "hoverinfo": "skip",
        "y": [y for each in bars for y in (each[2], each[3], None)], "line": {"color": "$band", "width": 12},
    }  # fmt: skip
    points = {
        "x": [each[0] for each in up], "y": [each[1] for each in up], "mode": "markers",
        "text": [f"{said}, asked {figure(each[0])} per {unit}" for said, each in zip(seen, rates, strict=True)],
        "marker": {"size": 9, "color": "$ink", "symbol": symbols}, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    same = {"color": "$soft", "width": 1, "dash": "4px,3px"}
    diagonal = {"type": "line", "x0": floor, "y0": floor, "x1": top, "y1": top, "layer": "below", "line": same}
    log = {"type": "log", "dtick": 1, "range": [math.log10(floor) - 0.1, math.log10(top)]}
    axes = {
        f"{axis}axis": {**log, "title": {"text": f"{said}, per {unit}"}}
        for axis, said in zip("xy", ("asked", "seen"), strict=True)
    }
    layout = {"height": 300, "margin": {"l": 60, "r": 12, "t": 30, "b": 44}, "shapes": [diagonal], **axes}
    return Chart(traces=[chance, points], layout=layout)


# ---- tables --------------------------------------------------------------------------------------------------------


def blame_order(report: Report) -> list[int]:
    """Channel numbers, the most blamed over all alarms first; as they came where nothing was blamed."""
    return [int(c) for c in np.argsort(-_total_blame(report), kind="stable")]


def _total_blame(report: Report) -> Floats:
    known = [np.nan_to_num(np.asarray(alarm.share, float)) for alarm in report.alarms if len(alarm.share)]
    return sum(known, np.zeros(len(report.seen.channels)))


def _blamed(alarm: Alarm, order: Sequence[int]) -> list[int]:
    """Where in `order` the sensors stand that carry an alarm: at most three, each with a twentieth of it or more."""
    shares = {place: float(alarm.share[c]) for place, c in enumerate(order)} if len(alarm.share) else {}
    return sorted((place for place in shares if shares[place] >= 0.05), key=lambda place: -shares[place])[:3]


def blame_table(report: Report, order: Sequence[int]) -> dict[str, Any]:
    """The alarms, the surest `ALARMS_LISTED` of them in order of time, with the share of the most blamed sensors."""
    numbered = list(enumerate(report.alarms, 1))
    kept = sorted(sorted(numbered, key=lambda pair: pair[1].p_value)[:ALARMS_LISTED], key=lambda pair: pair[0])
    rows = [(number, alarm, _shares(alarm, order)) for number, alarm in kept]
    names = [report.seen.channels[c] for c in order[:SENSORS_LISTED]]
    return {"names": names, "rows": rows, "others": len(order) > SENSORS_LISTED, "all": len(numbered)}


def _shares(alarm: Alarm, order: Sequence[int]) -> list[float]:
    if not len(alarm.share):
        return []
    share = [float(alarm.share[c]) for c in order]
    others = share[SENSORS_LISTED:]
    return share[:SENSORS_LISTED] + ([sum(others)] if others else [])


def _payload(report: Report, order: Sequence[int]) -> dict[str, Any]:
    """What the page's own JavaScript reads: times on the x axis are ms since 1970, or seconds without a clock."""
    seen, most = _with_holes(report.seen), limit(len(report.seen.channels))
    scale = 1e6 if seen.clock else 1e9
    times, total = seen.times / scale, _total_blame(report)
    judged = (("score", seen.score), ("fast", seen.score_fast), ("bar", seen.bar))
    return {
        "times": block(times, "f64"),
        "score": track(times, [(name, column, "f32") for name, column in judged], most),
        "threshold": report.budget.threshold if math.isfinite(report.budget.threshold) else None,
        "peak": float(np.max(seen.score, initial=0.0, where=np.isfinite(seen.score))),
        "budget": rate(report.budget.kept),
        "sensors": [
            {"name": seen.channels[c], "says": _blame_text(total[c] / total.sum() if total.any() else 0.0)}
            | _sensor(seen, times, c, most)
            for c in order
        ],
        "alarms": [[a.start / scale, a.end / scale, _blamed(a, order)] for a in report.alarms],
        "events": [[start / scale, end / scale] for start, end in report.events],
        "blame": _blame(seen, report.alarms, order[:SENSORS_LISTED]),
    }


def _blame_text(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%" if share >= 0.005 else ""


def _sensor(seen: Seen, times: Floats, c: int, most: int) -> Block:
    expected, low, high = (None if a is None else a[:, c] for a in (seen.expected, seen.low, seen.high))
    below = None if low is None or expected is None else expected - low
    above = None if high is None or expected is None else high - expected
    columns = [("seen", seen.values[:, c], "f32"), ("expected", expected, "u16"), ("below", below, "u16")]
    return track(times, [*columns, ("above", above, "u16")], most)


def _blame(seen: Seen, alarms: Sequence[Alarm], order: Sequence[int]) -> Block | None:
    """Shares (rows in alarms, most blamed sensors), at most 20,000 rows of them; nothing outside alarms has blame."""
    if seen.by_channel is None or not alarms:
        return None
    inside = [np.arange(*np.searchsorted(seen.times, (a.start, a.end + 1))) for a in alarms]
    rows = np.unique(np.concatenate(inside))
    rows = rows[:: len(rows) // 20_000 + 1]
    share = seen.by_channel[rows][:, list(order)].ravel()
    return {"sensors": len(order), "rows": block(rows, "u32"), "share": block(share, "u8")}


def _with_holes(seen: Seen) -> Seen:
    """The same with one missing row inside every hole in time, so that no line is drawn across it."""
    at, middles = holes(seen.times, seen.gap)
    if not len(at):
        return seen
    tall = {f.name: getattr(seen, f.name) for f in fields(seen) if f.name not in ("times", "channels", "clock", "gap")}
    holed = {name: np.insert(a, at, np.nan, axis=0) for name, a in tall.items() if a is not None}
    return replace(seen, times=np.insert(seen.times, at, middles), **holed)


def _lasted(seen: Seen) -> float:
    return float(seen.times[-1] - seen.times[0]) / 1e9


def _check(report: Report) -> None:
    """Refuses arrays that do not belong together: they would be drawn beside each other, wrongly."""
    seen = report.seen
    rows, wide = (len(seen.times),), (len(seen.times), len(seen.channels))
    wanted = dict.fromkeys(("values", "expected", "low", "high", "by_channel"), wide)
    for name, shape in (wanted | {"score": rows, "score_fast": rows, "bar": rows}).items():
        array = getattr(seen, name)
        if array is not None and array.shape != shape:
            raise DataError(f"{name} has shape {array.shape}", wanted=f"{shape}", do="give one row per time")
    if len(seen.times) < 2:
        raise DataError(f"a report of {len(seen.times)} rows", wanted="at least 2", do="give a longer series")


# ---- what a detector found -----------------------------------------------------------------------------------------


def page(
    task: AnomalyDetector,
    result: Found,
    evaluation: Evaluation | None = None,
    *,
    data: Any = None,
    truth: Any = None,
    title: str = "",
) -> str:
    """The page about one `apply` of a detector as HTML text; the result holds its data, the evaluation the truth."""
    if result is None:
        raise SettingError("a report of a detector without what it found", wanted="the result of its apply")
    return html(of(task, result, evaluation, title=title))


def of(det: AnomalyDetector, found: Found, evaluation: Evaluation | None = None, *, title: str = "") -> Report:
    """Everything that the page says about one `apply`, as plain values."""
    count = sum(w.size for w in det.model_.weights.values())
    model = [
        ("task", "anomaly detection"),
        ("method", f"{det.method}, {det.form}"),
        ("network", f"{det.model_.heads.net.in_words}, {count:,} parameters"),
        *det.learned_.items(),
        ("training", f"{len(det.history_)} epochs, {sum(e.seconds for e in det.history_):.1f} s on {det.device_}"),
        ("tidegate", __version__),
    ]
    shares = found.by_channel
    listed = [_shared(alarm, found, shares) for alarm in found.alarms]
    table = Table()
    if evaluation is not None:
        table = Table(
            rows=evaluation.rows,
            verdict=evaluation.verdict,
            baseline_wins=evaluation.baseline_wins,
            smaller_is_better=SMALLER,
            counts=COUNTS,
        )
    limit = found.threshold
    kept = [Kept(asked=a, observed=b, low=c, high=d) for a, b, c, d in det.checks_]
    return Report(
        title=title or found.name,
        generated=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        seen=Seen(
            times=found.times, channels=found.channels, values=found.values,
            score=found.score, score_fast=found.score_fast, bar=found.bar, by_channel=shares, clock=det.clock_,
            expected=found.expected, low=found.low, high=found.high,
            gap=det.alarming.gap * det.interval_,
        ),
        budget=Budget(threshold=limit.value, asked=limit.asked, kept=limit.kept, note=limit.note, checks=kept),
        alarms=listed,
        events=evaluation.events if evaluation else (),
        learned=Learned(facts=model, split=_parts(det), history=curve(det.history_)),
        table=table,
        notes=[*det.notes_, *found.notes, *(evaluation.notes if evaluation else ())],
    )  # fmt: skip


def _shared(alarm: Blamed, found: Found, shares: Floats) -> Alarm:
    inside = (found.times >= alarm.start) & (found.times <= alarm.end)
    mean = np.nan_to_num(np.nansum(shares[inside], axis=0))
    share = (mean / mean.sum()).tolist() if mean.sum() > 0 else ()
    return Alarm(start=alarm.start, end=alarm.end, p_value=alarm.p_value, channels=alarm.channels, share=share)


def _parts(det: AnomalyDetector) -> list[Part]:
    return [
        Part(name=name, rows=rows, start=span[0], end=span[1], use=USES[name])
        for (name, rows), span in zip(det.split_.items(), det.split_times_, strict=True)
    ]
