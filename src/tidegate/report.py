"""One self-contained HTML file that says what was unusual, who is to blame, and how far to believe it.

`html(report)` is the file as text and `write(path, report)` puts it on disk. A `Report` holds plain arrays and
numbers, so a report does not depend on the task that made it. The page (`report.html.j2`, with `report.js`) needs
nothing but itself: plotly's JavaScript is copied in from the installed package, and its content policy forbids any
request.

The data travels in full up to `CELLS` readings, so zooming in shows every row: readings as float32 about their
median, expectations and bands as 16-bit steps of their own range, all deflated. The page draws at most a few points
a pixel, extremes kept, and draws again from the full data on every zoom. Beyond `CELLS` each sensor is thinned once
by `downsample`, and the page says so.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .disk import whole
from .errors import DataError, MissingExtraError
from .settings import rate_text

CELLS = 1_500_000  # readings embedded in full: about 15 MB of file; more are thinned with their extremes kept
ALARMS_LISTED = 200  # rows of the alarm table
FLOAT32 = float(np.finfo(np.float32).max)
SENSORS_LISTED = 10  # columns of the blame table and rows of the blame strip; the others are summed

Floats = NDArray[np.floating[Any]]
Block = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of rows used for one purpose: `Part(name="train", rows=(0, 900), start=0, end=900_000_000_000)`.

    `rows` is half-open; `start` and `end` are UTC nanoseconds; `use` says in a few words what the rows decided.
    """

    name: str
    rows: tuple[int, int]
    start: int
    end: int
    use: str = ""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the model is and what it came from: `facts` (name, value), `history` (epoch, train, valid loss)."""

    facts: Sequence[tuple[str, str]] = ()
    split: Sequence[Part] = ()
    history: Sequence[tuple[int, float, float]] = ()


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
class Row:
    """One line of the comparison: a method's name and its figures; `baseline` marks the naive ones."""

    name: str
    metrics: Mapping[str, float]
    baseline: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """The comparison with its verdict in one sentence; that sentence opens the report where a baseline wins."""

    rows: Sequence[Row] = ()
    verdict: str = ""
    baseline_wins: bool = False
    smaller_is_better: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()
    """columns of which neither end is better"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a report says. `events` are known true events as (start, end) in UTC nanoseconds."""

    title: str
    generated: str
    seen: Seen
    budget: Budget
    alarms: Sequence[Alarm] = ()
    events: Sequence[tuple[int, int]] = ()
    learned: Learned = Learned()
    table: Table = Table()
    notes: Sequence[str] = ()


def write(path: str | os.PathLike[str], report: Report) -> None:
    """A report on disk; the file that was there before stays whole if the disk is full or writing is not allowed."""
    text = html(report)
    with whole(Path(path)) as file:
        file.write(text.encode())


def html(report: Report) -> str:
    """The report as one HTML text; needs the extra `report` (plotly, jinja2)."""
    try:
        from jinja2 import Environment, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError.of((error.name or "plotly").partition(".")[0], "report") from None
    _check(report)
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    page.filters |= {"span": span, "rate": rate, "chance": chance, "figure": figure, "sha256": _sha256}
    page.globals |= {"best": best, "listed": listed, "nan": math.nan}
    order = blame_order(report)
    data = msgspec.json.encode(_payload(report, order), enc_hook=float).decode().replace("<", "\\u003c")
    return page.from_string(_asset("report.html.j2")).render(
        report=report,
        verdict=verdict(report),
        blame=blame_table(report, order),
        time=lambda ns: moment(ns, report.seen.clock).removesuffix(" UTC").removeprefix("at "),
        thinned=_limit(report.seen) < len(report.seen.times),
        stopped=any(math.isfinite(valid) for _, _, valid in report.learned.history),
        data=data,
        plotly=get_plotlyjs(),
        script=_asset("report.js"),
    )


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


def listed(names: Sequence[str]) -> str:
    """Names as a phrase.

    >>> listed(["flow", "pressure", "torque"])
    'flow, pressure and torque'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def span(seconds: float) -> str:
    """A duration in its two largest units.

    >>> span(250), span(0.25), span(100_000)
    ('4 min 10 s', '250 ms', '1 d 3 h')
    """
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    units, left, words = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)], round(seconds), list[tuple[int, str]]()
    for position, (name, size) in enumerate(units):
        if left >= size and (not words or position - words[0][0] == 1):
            words.append((words[0][0] if words else position, f"{left // size} {name}"))
            left %= size
    return " ".join(word for _, word in words)


def rate(per_second: float) -> str:
    """False alarms a second as people say it.

    >>> rate(1 / 604_800), rate(3 / 86_400)
    ('1 false alarm per week', '3 false alarms per day')
    """
    if per_second <= 0:
        return "no false alarm at all"
    count, _, unit = rate_text(per_second).partition(" ")
    return f"{count} false alarm{'s' * (count != '1')} {unit}"


def chance(p_value: float) -> str:
    """A p-value to read.

    >>> chance(0.034), chance(3.2e-6)
    ('0.034', '3.2\\xa0×\\xa010⁻⁶')
    """
    if not 0 < p_value < 1e-3:
        return figure(p_value)
    mantissa, exponent = f"{p_value:.1e}".split("e")
    return f"{mantissa}\u00a0×\u00a010{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def figure(value: float) -> str:
    """A number with three figures, a dash where there is none.

    >>> figure(0.91234), figure(12345.6), figure(float("nan"))
    ('0.912', '12,346', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def moment(ns: int, clock: bool) -> str:
    """A time to read: UTC, or seconds since the first row where there is no clock.

    >>> moment(1_709_990_530_000_000_000, True), moment(90_500_000_000, False)
    ('2024-03-09 13:22:10 UTC', 'at 90.5 s')
    """
    if not clock:
        return f"at {ns / 1e9:,.10g} s"
    return str(np.datetime64(ns // 1_000_000, "ms")).replace("T", " ").removesuffix(".000") + " UTC"


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


def best(table: Table) -> dict[str, float]:
    """The best figure of each column of the comparison, to be set in bold.

    >>> ours, level = Row(name="ours", metrics={"AUROC": 0.9, "MAE": 2}), Row(name="level", metrics={"MAE": 1.0})
    >>> best(Table(rows=[ours, level], smaller_is_better=frozenset({"MAE"})))
    {'AUROC': 0.9, 'MAE': 1.0}
    """
    columns: dict[str, list[float]] = {}
    for row in table.rows:
        for name, value in row.metrics.items():
            columns.setdefault(name, []).append(value)
    found = {n: [v for v in column if math.isfinite(v) and n not in table.counts] for n, column in columns.items()}
    return {n: (min if n in table.smaller_is_better else max)(v, default=math.nan) for n, v in found.items()}


# ---- data for the page ---------------------------------------------------------------------------------------------


def downsample(times: NDArray[Any], values: NDArray[Any], points: int) -> NDArray[np.int64]:
    """Row numbers, at most `points`, that draw the line of all rows: each time bucket's first, last, least, greatest.

    A missing stretch as long as a bucket keeps one missing row, and stays a gap. times, values (T,); points >= 6.

    >>> downsample(np.arange(1000), np.where(np.arange(1000) == 457, 9.0, 0.0), 30).tolist()
    [0, 199, 200, 399, 400, 457, 599, 600, 799, 800, 999]
    """
    if len(values) <= points:
        return np.arange(len(values))
    buckets = max(1, (points - 1) // 5)
    width = float(times[-1] - times[0]) / buckets
    seen = np.flatnonzero(np.isfinite(values))
    if not len(seen):
        return np.zeros(1, np.int64)
    breaks = np.flatnonzero((np.diff(seen) > 1) & (np.diff(times[seen]) >= width))
    bucket = np.minimum((times[seen] - times[0]) // width, buckets - 1)
    first = np.flatnonzero(np.diff(bucket, prepend=-1))
    number = np.repeat(np.arange(len(first)), np.diff(first, append=len(seen)))
    kept = [first, np.append(first[1:], len(seen)) - 1]
    for extreme in (np.minimum, np.maximum):
        hits = np.flatnonzero(values[seen] == extreme.reduceat(values[seen], first)[number])
        kept.append(hits[np.diff(number[hits], prepend=-1) > 0])
    return np.unique(np.concatenate([seen[np.concatenate(kept)], seen[breaks] + 1]))


def _payload(report: Report, order: Sequence[int]) -> dict[str, Any]:
    """What the page's own JavaScript reads: times on the x axis are ms since 1970, or seconds without a clock."""
    seen, limit = _with_holes(report.seen), _limit(report.seen)
    scale = 1e6 if seen.clock else 1e9
    times, total = seen.times / scale, _total_blame(report)
    judged = (("score", seen.score), ("fast", seen.score_fast), ("bar", seen.bar))
    return {
        "clock": seen.clock,
        "times": _block(times, "f64"),
        "score": _track(times, [(name, column, "f32") for name, column in judged], limit),
        "threshold": report.budget.threshold if math.isfinite(report.budget.threshold) else None,
        "peak": float(np.max(seen.score, initial=0.0, where=np.isfinite(seen.score))),
        "budget": rate(report.budget.kept),
        "sensors": [
            {"name": seen.channels[c], "share": total[c] / total.sum() if total.any() else 0.0}
            | _sensor(seen, times, c, limit)
            for c in order
        ],
        "alarms": [[a.start / scale, a.end / scale, _blamed(a, order)] for a in report.alarms],
        "events": [[start / scale, end / scale] for start, end in report.events],
        "blame": _blame(seen, report.alarms, order[:SENSORS_LISTED]),
        "history": list(zip(*report.learned.history, strict=True)),
        "checks": [[k.asked, k.observed, k.low, k.high] for k in report.budget.checks],
    }


def _sensor(seen: Seen, times: Floats, c: int, limit: int) -> Block:
    expected, low, high = (None if a is None else a[:, c] for a in (seen.expected, seen.low, seen.high))
    below = None if low is None or expected is None else expected - low
    above = None if high is None or expected is None else high - expected
    columns = [("seen", seen.values[:, c], "f32"), ("expected", expected, "u16"), ("below", below, "u16")]
    return _track(times, [*columns, ("above", above, "u16")], limit)


def _track(times: Floats, columns: list[tuple[str, Floats | None, str]], limit: int) -> Block:
    """Columns over time for the page; thinned to the rows that keep the extremes of the first two."""
    there = [(name, column, kind) for name, column, kind in columns if column is not None]
    if len(times) <= limit:
        return {name: _block(column, kind) for name, column, kind in there}
    lines = [column for _, column, _ in there[:2]]
    rows = np.unique(np.concatenate([downsample(times, column, limit // len(lines)) for column in lines]))
    return {"rows": _block(rows, "u32")} | {name: _block(column[rows], kind) for name, column, kind in there}


def _blame(seen: Seen, alarms: Sequence[Alarm], order: Sequence[int]) -> Block | None:
    """Shares (rows in alarms, most blamed sensors), at most 20,000 rows of them; nothing outside alarms has blame."""
    if seen.by_channel is None or not alarms:
        return None
    inside = [np.arange(*np.searchsorted(seen.times, (a.start, a.end + 1))) for a in alarms]
    rows = np.unique(np.concatenate(inside))
    rows = rows[:: len(rows) // 20_000 + 1]
    share = seen.by_channel[rows][:, list(order)].ravel()
    return {"sensors": len(order), "rows": _block(rows, "u32"), "share": _block(share, "u8")}


def _block(values: NDArray[Any], kind: str) -> Block:
    """An array as base64 of deflated bytes: floats less `offset`; u8, u16 steps from `offset`, 1 on, 0 for missing."""
    finite = values[np.isfinite(values)]
    offset, step = 0.0, 1.0
    if kind in ("u8", "u16") and len(finite):
        offset, step = float(finite.min()), float(np.ptp(finite)) / (254 if kind == "u8" else 65_534) or 1.0
    elif kind in ("f32", "f64") and len(finite):
        offset = float(np.median(finite))
    if kind in ("u8", "u16"):
        values = np.where(np.isfinite(values), (values - offset) / step + 1.5, 0)
    elif kind in ("f32", "f64"):
        values = np.clip(values - offset, -FLOAT32, FLOAT32)
    numbers = values.astype({"u8": "<u1", "u16": "<u2", "u32": "<u4", "f32": "<f4", "f64": "<f8"}[kind])
    packed = base64.b64encode(zlib.compress(numbers.tobytes(), 6)).decode()
    return {"kind": kind, "offset": offset, "step": step, "data": packed}


def _with_holes(seen: Seen) -> Seen:
    """The same with one missing row inside every hole in time, so that no line is drawn across it."""
    steps = np.diff(seen.times)
    limit = seen.gap * 1e9 or 10 * float(np.median(steps)) if len(steps) else 0.0
    at = np.flatnonzero(steps > limit) + 1
    if not len(at):
        return seen
    middles = seen.times[at - 1] + steps[at - 1] // 2
    tall = {f.name: getattr(seen, f.name) for f in fields(seen) if f.name not in ("times", "channels", "clock", "gap")}
    holed = {name: np.insert(a, at, np.nan, axis=0) for name, a in tall.items() if a is not None}
    return replace(seen, times=np.insert(seen.times, at, middles), **holed)


def _limit(seen: Seen) -> int:
    return max(2_000, CELLS // max(1, len(seen.channels)))


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


def _asset(name: str) -> str:
    return files("tidegate").joinpath(name).read_text("utf-8")


def _sha256(text: str) -> str:
    """What a content policy calls the script it allows to run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
