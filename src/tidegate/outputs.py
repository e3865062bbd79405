"""What the commands leave behind: a table in a file, a report, JSON on stdout."""

from __future__ import annotations

import io
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .disk import whole
from .terminal import say

if TYPE_CHECKING:
    import polars as pl

    from .evaluate import Evaluation

LINE = "\n" + " " * 13
"""What begins a line that goes on with what `info` says of one thing"""
FORMATS = (".csv", ".parquet", ".jsonl")
STAMP = "%Y-%m-%dT%H:%M:%S%.fZ"
EXTRAS = {"torch": "train", "SQLAlchemy": "sql", "psutil": "record", "plotly": "report"}
"""package -> the extra that brings it"""


# ---- files -----------------------------------------------------------------------------------------------------------


def in_form(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """An option's value that must be "-" or the name of a file in a form that `table` writes."""
    if value not in (None, "-") and not str(value).lower().endswith(FORMATS):
        raise click.UsageError(f"{value} does not say in which form: end it with {', '.join(FORMATS)}")
    return value


def table(frame: pl.DataFrame, out: str) -> None:
    """Write a table: CSV, Parquet or JSON lines by the name's end, CSV on stdout for "-"."""
    content = io.BytesIO()
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


def report(path: Path, task: Any, result: Any, evaluation: Any, *, data: Any = None, truth: Any = None) -> None:
    """Write the HTML report of any task (`report.page` says what each argument may be) and say where it is."""
    from . import report as pages

    pages.write(path, task, result, evaluation, data=data, truth=truth)
    say(f"report: {path}")


# ---- plain values, for JSON and for `info` ---------------------------------------------------------------------------


def evaluated(evaluation: Evaluation) -> dict[str, Any]:
    """What `evaluate --json` prints."""
    return {
        "what": evaluation.what,
        "verdict": evaluation.verdict,
        "baseline_wins": evaluation.baseline_wins,
        "methods": {row.name: row.metrics for row in evaluation.rows},
        **({"mae_in_units": evaluation.units} if evaluation.units else {}),
        "notes": evaluation.notes,
    }


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


def in_words(value: object, each: str = ", ") -> str:
    """A plain value on as many lines as it needs; the items of a list with `each` between them.

    >>> print(in_words({"data": "pump.csv", "rows": 900}))
    data: pump.csv
                 rows: 900
    """
    if isinstance(value, dict):
        parts = {name: f"{part:.4g}" if isinstance(part, float) else part for name, part in value.items()}
        return LINE.join(f"{name}: {part}" for name, part in parts.items() if part != "")
    if isinstance(value, list | tuple):
        return each.join(map(str, value)) or "none"
    return str(value)
