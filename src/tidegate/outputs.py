"""What the commands leave behind: scores in a file, a report, words on stderr, JSON on stdout."""

from __future__ import annotations

import io
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .disk import whole
from .terminal import say

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from .calibrate import Threshold
    from .evaluate import Evaluation
    from .series import Series
    from .tasks.anomaly import AnomalyDetector
    from .tasks.found import Alarm, Found

FORMATS = (".csv", ".parquet", ".jsonl")
LISTED = 20  # alarms named on stderr; all of them are in the output
STAMP = "%Y-%m-%dT%H:%M:%S%.fZ"
EXTRAS = {"torch": "train", "SQLAlchemy": "sql", "psutil": "record", "plotly": "report", "matplotlib": "plots"}
"""package -> the extra that brings it"""


# ---- files -----------------------------------------------------------------------------------------------------------


def scores(found: Found, clock: bool, out: str) -> None:
    """Write a row for every row of the data: CSV, Parquet or JSON lines by the name's end, CSV on stdout for "-"."""
    frame, content = _frame(found, clock), io.BytesIO()
    if out.lower().endswith(".parquet"):
        frame.write_parquet(content)
    elif out.lower().endswith(".jsonl"):
        frame.write_ndjson(content)
    else:
        frame.write_csv(content, datetime_format=STAMP)
    if out == "-":
        sys.stdout.buffer.write(content.getbuffer())
        sys.stdout.buffer.flush()
        return
    with whole(Path(out)) as file:
        file.write(content.getbuffer())


def _frame(found: Found, clock: bool) -> pl.DataFrame:
    """No score is an empty cell, not the word NaN; rows without a clock are numbered."""
    import polars as pl

    frame = found.to_frame().with_columns(pl.col(pl.Float64).fill_nan(None))
    return frame if clock else frame.drop("time").with_row_index("row")


def report(
    path: Path, task: Any, result: Any = None, evaluation: Any = None, *, data: Any = None, truth: Any = None
) -> None:
    """Write the HTML report of any task (`report.page` says what each argument may be) and say where it is."""
    from . import report as pages

    pages.write(path, task, result, evaluation, data=data, truth=truth)
    say(f"report: {path}")


# ---- words -----------------------------------------------------------------------------------------------------------


def say_learned(detector: AnomalyDetector, evaluation: Evaluation | None, out: Path) -> None:
    """After `fit`: what was learned from which rows, how well it does beside baselines, what its alarms are worth."""
    from .report import rate

    learned = detector.learned_
    say(f"learned from {learned['data']}: {learned['rows']}, {learned['from']} to {learned['to']}")
    for use, (first, last) in zip(detector.split_, detector.split_times_, strict=True):
        say(f"  {use:<10}{_when(first, last, detector)}")
    epochs = detector.history_
    say(f"  {len(epochs)} epochs in {sum(e.seconds for e in epochs):.1f} s on {detector.device_}")
    say_notes(detector.notes_)
    if evaluation:
        say(f"\n{evaluation}\n")
    limit = detector.threshold_
    say(f"budget: {rate(limit.kept)}{', as asked' if limit.kept <= limit.asked else ', the least that can be kept'}")
    say(f"  {limit.note}") if limit.note else None
    say(f"model: {out} ({out.stat().st_size / 1000:,.0f} kB)")


def say_history(found: Found, kept: NDArray[np.bool_], clock: bool) -> None:
    """After `fit`: alarms in the history, outside of what was left out: it may not be as normal as was thought."""
    from .evaluate import sentence

    inside = [alarm for alarm in found.alarms if kept[alarm.first_row]]
    if inside:
        count = "an alarm" if len(inside) == 1 else f"{len(inside)} alarms"
        say(f"  noticed: {count} in this history; --exclude what was not normal")
    for alarm in sorted(inside, key=lambda each: each.p_value)[:3]:
        say(f"    {sentence(alarm, clock)}")


def _when(first: int, last: int, detector: AnomalyDetector) -> str:
    from .series import SECOND, time_text

    if detector.clock_:
        return f"{time_text(first)} to {time_text(last)}"
    rows = [round(time / (detector.interval_ * SECOND)) for time in (first, last)]
    return f"rows {rows[0]:,} to {rows[1]:,}"


def say_found(found: Found, series: Series) -> None:
    """After `apply`: the alarms, the budget they come from, and what was noticed."""
    from .evaluate import sentence
    from .report import rate

    scored, count = int((found.reason_code == 0).sum()), len(found.alarms)
    say(f"{found.name}: {len(found):,} row{'s' * (len(found) > 1)}, {scored:,} scored")
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
    return [f"{n:,} rows have no score: {why}" for why, n in zip(REASONS, counts, strict=True) if why and n]


def say_notes(notes: list[str] | tuple[str, ...]) -> None:
    """What was noticed, each once."""
    for note in dict.fromkeys(notes):
        say(f"  noticed: {note}")


# ---- plain values, for JSON and for `info` ---------------------------------------------------------------------------


def alarms(found: Found, series: Series) -> dict[str, Any]:
    """What `apply --json` prints."""
    return {
        "data": found.name,
        "rows": len(found),
        "scored": int((found.reason_code == 0).sum()),
        "threshold": found.threshold,
        "alarms": [_alarm(alarm, series.clock) for alarm in found.alarms],
        "notes": list(dict.fromkeys([*series.notes, *found.notes, *_unscored(found)])),
    }


def _alarm(alarm: Alarm, clock: bool) -> dict[str, Any]:
    when = {"start": iso(alarm.start), "end": iso(alarm.end)} if clock else {}
    rows = {"first_row": alarm.first_row, "last_row": alarm.last_row}
    return {**when, **rows, "p_value": alarm.p_value, "channels": alarm.channels, "open": alarm.open}


def evaluated(evaluation: Evaluation) -> dict[str, Any]:
    """What `evaluate --json` prints."""
    return {
        "what": evaluation.what,
        "verdict": evaluation.verdict,
        "baseline_wins": evaluation.baseline_wins,
        "methods": {row.name: row.metrics for row in evaluation.rows},
        "notes": evaluation.notes,
    }


def about(detector: AnomalyDetector) -> dict[str, Any]:
    """What a model is, what it learned from, and what its alarms are worth."""
    from .series import span_text

    net, limit = detector.model_.heads.net, detector.threshold_
    weights = sum(w.size for w in detector.model_.weights.values())
    best = min(detector.history_, key=lambda epoch: epoch.loss)
    return {
        "task": "anomaly",
        "channels": detector.channels_,
        "interval": span_text(detector.interval_),
        "learned": detector.learned_,
        "method": f"{detector.method}, {detector.form}",
        "network": f"{net.in_words}, {weights:,} weights",
        "training": f"{len(detector.history_)} epochs on {detector.device_}, best loss {best.loss:.4f}",
        "budget": _budget(limit),
        "seed": detector.seed,
        "notes": detector.notes_,
    }


def _budget(limit: Threshold) -> dict[str, Any]:
    from .report import rate

    return {"asked": rate(limit.asked), "kept": rate(limit.kept), "threshold": limit.value, "note": limit.note}


def installed() -> dict[str, Any]:
    """What is here: versions, and the extras that are not installed."""
    return {
        "tidegate": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        **{package: _version(package, f"not installed; pip install 'tidegate[{x}]'") for package, x in EXTRAS.items()},
    }


def _version(package: str, otherwise: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise


def in_words(value: object) -> str:
    """A plain value on as many lines as it needs.

    >>> print(in_words({"data": "pump.csv", "rows": 900}))
    data: pump.csv
                 rows: 900
    """
    if isinstance(value, dict):
        parts = {name: f"{part:.4g}" if isinstance(part, float) else part for name, part in value.items()}
        return ("\n" + " " * 13).join(f"{name}: {part}" for name, part in parts.items() if part != "")
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def iso(nanoseconds: int) -> str:
    """UTC nanoseconds as ISO 8601.

    >>> iso(1_500_000_000)
    '1970-01-01T00:00:01.500Z'
    """
    from .series import time_text

    return time_text(nanoseconds).replace(" ", "T") + "Z"
