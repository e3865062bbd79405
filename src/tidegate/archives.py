"""Labelled sequences as archives have them: a .ts file of the UEA archive, or a table with a sequence in every row.

Each becomes a `Series` whose `labels` say the same at every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .columns import blank, known, numbers, spelled
from .errors import DataError
from .layout import Asked
from .series import Series, check

Floats = NDArray[np.float64]
VALUE = "value"  # the one channel of a table with a sequence in every row


def ts(content: str, asked: Asked) -> dict[str, Series]:
    """The sequences of a .ts file by their number: channels between colons, then the label; ? is a missing reading.

    >>> text = "@univariate false\\n@classLabel true a b\\n@data\\n1,2,?:4,5,6:a\\n7,8:9,10:b"
    >>> {name: (s.values.shape, str(s.labels[0])) for name, s in ts(text, Asked(name="two.ts")).items()}
    {'0': ((3, 2), 'a'), '1': ((2, 2), 'b')}
    """
    head, _, data = content.partition("@data")
    said = [line.split() for line in head.lower().splitlines() if line.startswith("@")]
    true = {words[0] for words in said if words[1:2] == ["true"]}
    if "@timestamps" in true:
        do = "write it without, or as a table with a column of times and --sequence"
        raise DataError("a .ts file with timestamps", wanted="@timestamps false", do=do, where=asked.name)
    lines = [line.strip() for line in data.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise DataError("no sequence after @data", wanted="at least one", where=asked.name)
    labelled = bool(true & {"@classlabel", "@targetlabel"})
    parts = [line.split(":") for line in lines]
    labels = typed([part.pop().strip() for part in parts]) if labelled else None
    tables = [_channels(part, number, asked) for number, part in enumerate(parts)]
    return _named([str(i) for i in range(len(tables))], tables, None, labels, asked)


def _channels(part: list[str], number: int, asked: Asked) -> Floats:
    """One sequence (T, C); channels that end earlier than others end in missing values."""
    try:
        columns = [np.array(text.replace("?", "nan").split(","), dtype=np.float64) for text in part]
    except ValueError as error:
        where = f"{asked.name}, sequence {number}"
        raise DataError(f"what is no number: {error}", wanted="numbers, ? = missing", where=where) from None
    table = np.full((max(map(len, columns)), len(columns)), np.nan)
    for i, column in enumerate(columns):
        table[: len(column), i] = column
    return table


def wide(frame: pl.DataFrame, id: str | None, asked: Asked) -> dict[str, Series]:
    """The sequences of a table that has one in every row: a column a step, beside the label and the name.

    >>> table = pl.DataFrame({"kind": ["a", "b"], "t0": [1.0, 4.0], "t1": [2.0, 5.0], "t2": [3.0, None]})
    >>> {name: len(series) for name, series in wide(table, None, Asked(name="two", labels="kind")).items()}
    {'0': 3, '1': 2}
    """
    beside = known([name for name in (id, asked.labels, *asked.layout.ignore) if name], frame, asked)
    steps = known(asked.channels, frame, asked) if asked.channels else [n for n in frame.columns if n not in beside]
    columns = {name: numbers(frame[name], asked) for name in steps}
    texts = [name for name, column in columns.items() if column is None]
    if texts or not steps:
        saw = f"columns that are not numbers: {', '.join(texts[:8])}" if texts else "no column of numbers"
        wanted = "a column a step, beside the label and the name of the sequence"
        others = tuple(texts[:8]) or tuple(beside)
        do = f"name the others with labels=, with id=, or with layout=Layout(ignore={others!r})"
        raise DataError(saw, wanted=wanted, do=do, where=asked.name)
    values = blank(pl.DataFrame(list(columns.values())).to_numpy(), asked.missing)
    ids = [spelled(name) for name in frame[id]] if id else [str(row) for row in range(len(frame))]
    labels = typed(["" if label is None else str(label) for label in frame[asked.labels]]) if asked.labels else None
    return _named(ids, [_whole(row) for row in values], [VALUE], labels, asked)


def _whole(row: Floats) -> Floats:
    """The steps (T, 1) of a row up to the last that was read: what is empty after it is padding."""
    seen = np.flatnonzero(~np.isnan(row))
    return row[: seen[-1] + 1 if len(seen) else None, None]


def _named(
    ids: list[str], tables: list[Floats], channels: list[str] | None, labels: NDArray[Any] | None, asked: Asked
) -> dict[str, Series]:
    twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise DataError(f"names that occur twice: {', '.join(twice[:8])}", wanted="a name a sequence", where=asked.name)
    found = {}
    for i, (name, table) in enumerate(zip(ids, tables, strict=True)):
        told = None if labels is None else np.full(len(table), labels[i])
        series = check(table, None, channels, interval=asked.interval, labels=told, name=f"{asked.name}, {name}")
        found[name] = series.select(asked.channels) if asked.channels and channels is None else series
    return found


def typed(labels: list[str]) -> NDArray[Any]:
    """Labels as whole numbers if all can be, else as numbers, NaN for an empty one, else as they are written.

    >>> typed(["1", "2.0"]), typed(["walking", "3"]), typed(["1", ""])
    (array([1, 2]), array(['walking', '3'], dtype='<U7'), array([ 1., nan]))
    """
    try:
        found = np.array([label or "nan" for label in labels], dtype=np.float64)
    except ValueError:
        return np.array(labels)
    return found.astype(np.int64) if (found == np.rint(found)).all() else found
