"""What each task tells: after `fit`, after `apply`, in `info` and as JSON; the table of its answers.

One entry of `TOLD` a task. What is said goes to stderr.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import namings
from .errors import several
from .telling import LISTED, about, every, iso, numbered, say_notes, say_training, series_learned
from .terminal import say

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from .calibrate import Threshold
    from .series import Series
    from .tasks.anomaly import AnomalyDetector
    from .tasks.complete import Completed, Completer
    from .tasks.forecast import Forecaster
    from .tasks.found import Alarm, Found
    from .tasks.outlook import Forecast


class Told(NamedTuple):
    """What one task tells."""

    noun: str
    learned: Callable[[Any, Any], None]
    """(task, data) after `fit`: what was learned from"""
    about: Callable[[Any], dict[str, Any]]
    """(task) what it is, for `info` and JSON"""
    applied: Callable[[Any, Any], None]
    """(result, data) after `apply`"""
    plain: Callable[[Any, Any], dict[str, Any]]
    """(result, data) what `apply --json` prints"""
    frame: Callable[[Any, Any], pl.DataFrame]
    """(result, data) what `apply -o` writes"""


def told(task: Any) -> Told:
    """The words of a task."""
    return TOLD[type(task).__name__]


# ---- anomalies -------------------------------------------------------------------------------------------------------


def _detector_learned(detector: AnomalyDetector, series: Series) -> None:
    learned = detector.learned_
    say(f"learned from {learned['data']}: {learned['rows']}, {learned['from']} to {learned['to']}")
    for use, (first, last) in zip(detector.split_, detector.split_times_, strict=True):
        say(f"  {use:<10}{_when(first, last, detector)}")
    say_training(detector)


def _when(first: int, last: int, detector: AnomalyDetector) -> str:
    from .series import SECOND, time_text

    if detector.clock_:
        return f"{time_text(first)} to {time_text(last)}"
    rows = [round(time / (detector.interval_ * SECOND)) for time in (first, last)]
    return f"rows {rows[0]:,} to {rows[1]:,}"


def say_budget(limit: Threshold) -> None:
    """What the alarms of a model are worth."""
    from .report import rate

    why = ["fewer than asked for", "as asked", "the least that can be kept"]
    other = (limit.kept > limit.asked * (1 + 1e-9)) - (limit.kept < limit.asked * (1 - 1e-9))
    say(f"budget: {rate(limit.kept)}, {why[1 + other]}")
    say(f"  {limit.note}") if limit.note else None


def say_history(found: Found, kept: NDArray[np.bool_], clock: bool) -> None:
    """Alarms in the history itself, outside of what was left out: it may not be as normal as was thought."""
    from .evaluate import sentence

    inside = [alarm for alarm in found.alarms if kept[alarm.first_row]]
    if inside:
        count = "an alarm" if len(inside) == 1 else f"{len(inside)} alarms"
        say(f"  noticed: {count} in this history; --exclude what was not normal")
    for alarm in sorted(inside, key=lambda each: each.p_value)[:3]:
        say(f"    {sentence(alarm, clock)}")


def _detector_about(detector: AnomalyDetector) -> dict[str, Any]:
    from .report import rate

    limit = detector.threshold_
    budget = {"asked": rate(limit.asked), "kept": rate(limit.kept), "threshold": limit.value, "note": limit.note}
    method = f"{detector.method}, {detector.form}"
    facts = {"interval": every(detector), "learned": detector.learned_, "method": method, "budget": budget}
    return about(detector, "anomaly", detector.model_.heads.net, facts)


def _found(found: Found, series: Series) -> None:
    """The alarms, the budget they come from, and what was noticed."""
    from .evaluate import sentence
    from .report import rate

    scored, count = int((found.reason_code == 0).sum()), len(found.alarms)
    say(f"{found.name}: {several(len(found), 'row')}, {scored:,} scored")
    say_notes([*series.notes, *found.notes, *_unscored(found)])
    say(f"{found.count} at a budget of {rate(found.threshold.kept)}")
    if found.threshold.kept > found.threshold.asked:
        say(f"  {found.threshold.note}")
    for alarm in found.alarms[:LISTED]:
        say(f"  {sentence(alarm, series.clock)}")
    if count > LISTED:
        say(f"  and {count - LISTED} more")


def _unscored(found: Found) -> list[str]:
    """Why rows have no score, and how many."""
    import numpy as np

    from .tasks.scoring import REASONS

    counts = np.bincount(found.reason_code, minlength=len(REASONS)).tolist()
    return [f"{several(n, 'row')} without a score: {why}" for why, n in zip(REASONS, counts, strict=True) if why and n]


def _found_plain(found: Found, series: Series) -> dict[str, Any]:
    import msgspec

    return {
        "data": found.name,
        "rows": len(found),
        "scored": int((found.reason_code == 0).sum()),
        "threshold": {**msgspec.to_builtins(found.threshold), "unit": "false alarms a second, of asked and kept"},
        "alarms": [_alarm(alarm, series.clock) for alarm in found.alarms],
        "notes": list(dict.fromkeys([*series.notes, *found.notes, *_unscored(found)])),
    }


def _alarm(alarm: Alarm, clock: bool) -> dict[str, Any]:
    when = {"start": iso(alarm.start), "end": iso(alarm.end)} if clock else {}
    rows = {"first_row": alarm.first_row, "last_row": alarm.last_row}
    return {**when, **rows, "p_value": alarm.p_value, "channels": alarm.channels, "open": alarm.open}


def _rows_frame(result: Any, series: Series) -> pl.DataFrame:
    return numbered(result.to_frame(), series.clock)


# ---- forecasts -------------------------------------------------------------------------------------------------------


def _forecaster_about(task: Forecaster) -> dict[str, Any]:
    from .tasks import coming

    form = task.model_.form
    facts = {
        "interval": every(task),
        "forecasts": f"the next {form.horizon:,} rows from the last {form.lookback:,}",
        **coming.told(form, task.known_),
        "answer": f"{100 * task.model_.share:.0f} % the network's, the rest a linear map's",
        "held out": task.verdict_,
    }
    return about(task, "forecast", form.net, facts)


def _forecast(coming: Forecast, series: Series) -> None:
    from .series import span_text, time_text

    ends = [time_text(coming.times[i]) for i in (0, -1)]
    when = f", {ends[0]} to {ends[1]}" if series.clock else ""
    pace = span_text(series.interval)
    say(f"{coming.name}: {several(len(series), 'row')}; the next {len(coming):,}, every {pace}{when}")
    say_notes([*series.notes, *coming.notes])
    low, high = _band(coming)
    for c, name in enumerate(coming.channels[:LISTED]):
        if coming.mean[0, c] != coming.mean[0, c]:
            say(f"  {name}: no forecast, nothing of it was read")
            continue
        first, last = (f"{coming.mean[i, c]:.4g} ({low[i, c]:.4g} to {high[i, c]:.4g})" for i in (0, -1))
        say(f"  {name}: {first}{f', in the end {last}' if len(coming) > 1 else ''}")
    if len(coming.channels) > LISTED:
        say(f"  and {len(coming.channels) - LISTED} channels more")


def _band(coming: Forecast) -> tuple[Any, Any]:
    """The ends of the band of 90 %, or of the widest that was measured."""
    return (
        coming.quantile(max(0.05, float(coming.levels[0]))),
        coming.quantile(min(0.95, float(coming.levels[-1]))),
    )


def _forecast_plain(coming: Forecast, series: Series) -> dict[str, Any]:
    low, high = _band(coming)
    lines = {
        name: {"mean": coming.mean[:, c].tolist(), "low": low[:, c].tolist(), "high": high[:, c].tolist()}
        for c, name in enumerate(coming.channels)
    }
    when: dict[str, Any] = (
        {"times": [iso(t) for t in coming.times]} if series.clock else {"rows": _places(coming, series)}
    )
    notes = list(dict.fromkeys([*series.notes, *coming.notes]))
    return {"data": coming.name, "read": len(series), **when, "channels": lines, "notes": notes}


def _places(coming: Forecast, series: Series) -> list[int]:
    """The numbers of rows that have no times."""
    import numpy as np

    from .series import SECOND

    return [int(row) for row in np.rint(coming.times / (series.interval * SECOND))]


def _forecast_frame(coming: Forecast, series: Series) -> pl.DataFrame:
    import polars as pl

    frame = coming.to_frame().with_columns(pl.col(pl.Float64).fill_nan(None))
    if series.clock:
        return frame
    rows = pl.Series("row", [row for row in _places(coming, series) for _ in coming.channels])
    return frame.with_columns(rows).select("row", *frame.columns[1:])


def with_quantiles(frame: pl.DataFrame, coming: Forecast, levels: Sequence[float]) -> pl.DataFrame:
    """A table of forecasts with these quantiles in place of the band of 90 %."""
    import polars as pl

    chosen = [pl.Series(f"q{level:g}", coming.quantile(level).ravel()).fill_nan(None) for level in levels]
    return frame.drop("low", "high", strict=False).with_columns(chosen)


# ---- fills -----------------------------------------------------------------------------------------------------------


def _completer_about(task: Completer) -> dict[str, Any]:
    held = {f"MAE of {name}": error for name, error in task.held_out_.items()}
    facts: dict[str, Any] = {"interval": every(task), "direction": task.direction, "held out": held}
    if task.linear_:
        facts["interpolated"] = task.linear_
    return about(task, "complete", task.model_.recipe.net, facts)


def _completed(done: Completed, series: Series) -> None:
    counts = _filled(done)
    total = sum(counts.values())
    of = f"{total:,} of {several(done.filled.size, 'reading')}"
    say(f"{done.name}: {several(len(done), 'row')}; filled, because missing: {of}")
    say_notes([*series.notes, *done.notes])
    for name, count in list(counts.items())[:LISTED]:
        say(f"  {name}: {count:,}")


def _filled(done: Completed) -> dict[str, int]:
    counts = zip(done.channels, done.filled.sum(axis=0).tolist(), strict=True)
    return {name: int(count) for name, count in counts if count}


def _completed_plain(done: Completed, series: Series) -> dict[str, Any]:
    notes = list(dict.fromkeys([*series.notes, *done.notes]))
    return {"data": done.name, "rows": len(done), "filled": _filled(done), "notes": notes}


TOLD: dict[str, Told] = {
    "AnomalyDetector": Told(
        "an anomaly detector", _detector_learned, _detector_about, _found, _found_plain, _rows_frame
    ),
    "Forecaster": Told(
        "a forecaster", series_learned, _forecaster_about, _forecast, _forecast_plain, _forecast_frame
    ),
    "Completer": Told("a completer", series_learned, _completer_about, _completed, _completed_plain, _rows_frame),
    "Classifier": Told(
        "a classifier", namings.classifier_learned, namings.classifier_about,
        namings.labelled, namings.labelled_plain, namings.labelled_frame,
    ),
    "Tagger": Told(
        "a tagger", namings.tagger_learned, namings.tagger_about,
        namings.tagged, namings.tagged_plain, namings.tagged_frame,
    ),
}  # fmt: skip
