"""What several tasks say alike: notes, tables, which rows served what, and the facts of a model. To stderr, mostly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import several
from .terminal import say

if TYPE_CHECKING:
    import polars as pl

    from .evaluate import Evaluation
    from .series import Series

Many = dict[str, "Series"]
LISTED = 20  # alarms, channels or sequences named on stderr; all of them are in the output


def say_notes(notes: Sequence[str]) -> None:
    """What was noticed, each once."""
    for note in dict.fromkeys(notes):
        say(f"  noticed: {note}")


def say_measured(evaluation: Evaluation | None) -> None:
    """The table of what was held out while learning."""
    say(f"\n{evaluation}\n") if evaluation else None


def series_learned(task: Any, series: Series) -> None:
    """After `fit`: the data, and which rows of it served what."""
    say(f"learned from {shown(series)}")
    for use, rows in _stretches(task, series).items():
        say(f"  {use:<10}{rows}")
    say_training(task)


def _stretches(task: Any, series: Series) -> dict[str, str]:
    """Which rows served what; a forecaster counts the rows that never came too."""
    import numpy as np

    from .series import time_text
    from .windows import on_grid

    at = np.arange(len(series))
    if type(task).__name__ == "Forecaster":
        form = task.model_.form
        at = on_grid(series.values, series.times, series.interval, most=form.lookback + form.horizon)[1]
    found = {}
    for use, span in task.split_.items():
        first, last = np.searchsorted(at, span) - np.array([0, 1])
        ends = [time_text(series.times[row]) if series.clock else f"{row:,}" for row in (first, last)]
        found[use] = f"{'' if series.clock else 'rows '}{ends[0]} to {ends[1]}"
    return found


def say_training(task: Any) -> None:
    """How training went, what was tried, what was noticed."""
    epochs = task.history_
    say(f"  {several(len(epochs), 'epoch')} in {sum(e.seconds for e in epochs):.1f} s on {task.device_}")
    for one in getattr(task, "tried_", []):
        loss = "no end" if one.valid_loss is None else f"{one.valid_loss:.4g}"
        say(f"  tried {one.hidden} units at rate {one.learning_rate:.2g}: {loss}{' (taken)' * one.chosen}")
    say_notes(noted(task))


def noted(task: Any) -> list[str]:
    """The notes of a model, without the verdict of a classifier, which stands by itself."""
    return [note for note in task.notes_ if note != str(getattr(task, "verdict_", ""))]


def shown(series: Series) -> str:
    """A series as its repr has it, without brackets and notes: name, rows, channels, span."""
    return repr(series)[len("<Series ") : -1].removesuffix(f", {several(len(series.notes), 'note')}")


def about(task: Any, kind: str, net: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """What is told of every model."""
    weights = sum(w.size for w in task.model_.weights.values())
    told = {"network": f"{net.in_words}, {weights:,} weights"}
    told["training"] = "none, it learns from its stream only"  # a tagger that was started cold
    if task.history_:
        best = min(epoch.loss for epoch in task.history_)
        told["training"] = f"{several(len(task.history_), 'epoch')} on {task.device_}, best loss {best:.4f}"
    return {"task": kind, "channels": task.channels_, **facts, **told, "seed": task.seed, "notes": noted(task)}


def every(task: Any) -> str:
    """The time between rows."""
    from .series import span_text

    return span_text(task.interval_)


def numbered(frame: pl.DataFrame, clock: bool) -> pl.DataFrame:
    """No number is an empty cell, not the word NaN; rows without a clock are numbered."""
    import polars as pl

    frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
    return frame if clock else frame.drop("time").with_row_index("row")


def iso(nanoseconds: int) -> str:
    """UTC nanoseconds as ISO 8601.

    >>> iso(1_500_000_000)
    '1970-01-01T00:00:01.500Z'
    """
    from .series import time_text

    return time_text(nanoseconds).replace(" ", "T") + "Z"


def sizes(many: Many) -> str:
    """How many sequences, how long, of how many channels."""
    lengths, first = [len(series) for series in many.values()], next(iter(many.values()))
    rows = f"{min(lengths):,} to {max(lengths):,} rows" if min(lengths) < max(lengths) else several(lengths[0], "row")
    return f"{several(len(many), 'sequence')} of {rows} x {several(len(first.channels), 'channel')}"


def counted(labels: Sequence[Any]) -> str:
    """Labels with how often each occurs.

    >>> counted(["b", "a", "b"])
    'a 1, b 2'
    """
    counts = sorted(Counter(labels).items())
    listed = ", ".join(f"{label} {count:,}" for label, count in counts[:LISTED])
    return f"{listed} and {len(counts) - LISTED} more" if len(counts) > LISTED else listed
