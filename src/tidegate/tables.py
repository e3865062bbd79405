"""A table -> the checked Series in it: long or wide, its channels, its labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .columns import CLOCK, blank, first, known, numbers, spelled
from .errors import DataError, several
from .layout import Asked
from .series import Series, check, time_text
from .times import clocked

UNNAMED = re.compile(r"(unnamed[_: ]*\d*|index)?", re.IGNORECASE)
SENSOR_NAMES = ("unique_id", "sensor", "sensor_id", "sensor_name", "tag", "variable", "channel", "metric", "id")
LABEL_NAMES = ("anomaly", "is_anomaly", "label", "labels", "outlier", "changepoint")
DECIMAL_COMMA = r"[-+]?\d*,\d+"
THOUSANDS = r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?|[-+]?\d{1,3}(\.\d{3})+,\d+|[-+]?\d{1,3}([ ']\d{3})+([.,]\d+)?"
LOOKED_AT = 1_000  # cells of a column that tell how its numbers are written
VALUE_NAMES = ("y", "value", "val", "reading")


def long(frame: pl.DataFrame, asked: Asked) -> tuple[str, str] | None:
    """The columns of sensor names and readings, if the table has a row for each sensor and time."""
    sensor = asked.layout.sensor or first(frame.columns, SENSOR_NAMES)
    value = asked.layout.value or first(frame.columns, VALUE_NAMES)
    if asked.layout.sensor or asked.layout.value:
        known([name for name in (asked.layout.sensor, asked.layout.value) if name], frame, asked)
    if sensor is None or value is None:
        return None
    if asked.layout.sensor or {"unique_id", "ds", "y"} <= set(frame.columns):
        return sensor, value
    ids = frame[sensor].cast(pl.String)
    named = ids.cast(pl.Float64, strict=False).null_count() == len(ids)
    return (sensor, value) if frame.width == 3 and (named or 2 * ids.n_unique() <= len(ids)) else None


def wide(frame: pl.DataFrame, names: tuple[str, str] | None, asked: Asked) -> pl.DataFrame:
    """A column a sensor, a row a time; absent readings are missing."""
    if names is None:
        return frame
    sensor, value = names
    rest = [name for name in frame.columns if name not in (CLOCK, sensor, value)]
    if rest or CLOCK not in frame.columns:
        saw = f"a table of {sensor} and {value} with " + (f"more columns: {', '.join(rest)}" if rest else "no times")
        raise DataError(
            saw, wanted=f"a time, {sensor} and {value}", do="read_many gives a series each", where=asked.name
        )
    once = frame.unique([CLOCK, sensor], keep="last", maintain_order=True)
    if len(once) < len(frame) and asked.duplicates == "error":
        row = frame.filter(frame.select(CLOCK, sensor).is_duplicated()).row(0, named=True)
        saw = (
            f"times repeated by {several(len(frame) - len(once), 'reading')}, "
            f"the first of {row[sensor]} at {time_text(row[CLOCK])}"
        )
        raise DataError(saw, wanted="each time once", do='duplicates="last" keeps the last', where=asked.name)
    readings = numbers(once[value], asked)
    if readings is None:
        raise DataError(f"text in the column of readings, {value}", wanted="numbers", where=asked.name)
    return once.with_columns(readings.alias(value)).pivot(on=sensor, index=CLOCK, values=value).sort(CLOCK)


def parted(frame: pl.DataFrame, id: str | None, asked: Asked) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """The table of each series by the value of the id column, times understood once for all of them; and notes."""
    names, notes = frame.columns, list[str]()
    column = id or first(names, (asked.layout.sensor, *SENSOR_NAMES))
    if column not in names:
        saw = f"no column named {id}" if id else "no column that names the series"
        raise DataError(saw, wanted=f"one of {', '.join(names)}", do='id="..."', where=asked.name)
    if asked.labels:
        known([asked.labels], frame, asked)
    table = clocked(frame, asked, notes, ordered=False)
    if column not in table.columns:
        saw = f"the column {column} as the times and as what names the series"
        raise DataError(saw, wanted="one for each", do="name the other: time=, or id=", where=asked.name)
    parts = table.partition_by(column, as_dict=True, maintain_order=True, include_key=False)
    return {spelled(key): part for (key,), part in parts.items()}, notes


def series(frame: pl.DataFrame, asked: Asked, notes: list[str]) -> Series:
    """The table's columns of numbers as one checked Series."""
    if asked.labels:
        known([asked.labels], frame, asked)  # before a misspelt one is taken for a sensor
    names = list(asked.channels) if asked.channels is not None else _channels(frame, asked, notes)
    columns = {name: numbers(frame[name], asked) for name in known(names, frame, asked)}
    found = [column for column in columns.values() if column is not None]
    if len(found) < len(columns) or not found:
        raise _not_numbers(frame.select(name for name, column in columns.items() if column is None), found, asked)
    return check(
        blank(pl.DataFrame(found).to_numpy(order="c", writable=True), asked.missing),
        frame[CLOCK].to_numpy() if CLOCK in frame.columns else None,
        [column.name for column in found],
        interval=asked.interval,
        labels=_labels(frame, asked),
        name=asked.name,
        duplicates=asked.duplicates,
        notes=notes,
        copy=False,
    )


def _not_numbers(texts: pl.DataFrame, found: list[pl.Series], asked: Asked) -> DataError:
    """What is seen in columns of text; the hint by what it looks like, and by whether someone asked for the column."""
    if not texts.width:
        return DataError("no column of numbers", wanted="sensors as numbers", where=asked.name)
    seen = {name: str(next(iter(texts[name].drop_nulls()), "")) for name in texts.columns}
    value = next(iter(seen.values()))
    commas = "if these are decimal commas, "
    commas += "leave decimal= out, or " if asked.layout.decimal else ""
    commas += "say layout=Layout(decimal=',')"
    if any(_decimal_comma(cell) for column in texts for cell in column.drop_nulls().head(LOOKED_AT)):
        do = commas
    elif re.fullmatch(THOUSANDS, value):
        do = "write numbers without separators of thousands"
        do += f"; {commas}" * bool(re.fullmatch(DECIMAL_COMMA, value))  # 1,234 may be either
    elif asked.channels is not None or not found:
        do = f"write them as numbers, or say missing={value!r} if that stands for no reading"
    else:
        do = f"leave them out: layout=Layout(ignore={tuple(seen)!r})"
    return DataError(
        f"columns that are not numbers: {', '.join(f'{name} ({text[:40]!r})' for name, text in seen.items())}",
        wanted="sensors as numbers" + (f"; these are: {', '.join(column.name for column in found)}" if found else ""),
        do=do,
        where=asked.name,
    )


def _decimal_comma(cell: object) -> bool:
    """Whether a cell is surely a number with a decimal comma.

    >>> [_decimal_comma(cell) for cell in ("1,5", "0,123", "1,234")]
    [True, True, False]
    """
    text = str(cell).strip()
    return bool(re.fullmatch(DECIMAL_COMMA, text)) and not re.fullmatch(THOUSANDS, text)


def _channels(frame: pl.DataFrame, asked: Asked, notes: list[str]) -> list[str]:
    """All columns but times, labels, those to ignore, empty columns without a name, and row numbers."""
    names, beside = [], (CLOCK, asked.labels, *known(asked.layout.ignore, frame, asked))
    for name in frame.columns:
        if name in beside:
            continue
        column = frame[name].cast(pl.Float64, strict=False) if UNNAMED.fullmatch(name) else None
        if column is None or not (frame[name].null_count() == len(column) or (column.diff().drop_nulls() == 1).all()):
            names.append(name)
        else:
            notes.append(f"column {name} dropped: it has no name and holds nothing, or row numbers")
    suspect = [name for name in names if name.lower() in LABEL_NAMES]
    if suspect:
        notes.append(f"channel {suspect[0]} may be a label: labels={suspect[0]!r} takes it out of the channels")
    return names


def _labels(frame: pl.DataFrame, asked: Asked) -> NDArray[Any] | None:
    """The label column: whole numbers if it can be, else numbers, else text."""
    if asked.labels is None:
        return None
    column = frame[known([asked.labels], frame, asked)[0]]
    found = numbers(column, asked)
    if found is None:
        return np.array(column.cast(pl.String).fill_null("").to_list())
    labels = found.to_numpy().copy()
    return labels.astype(np.int64) if (labels == np.rint(labels)).all() else labels
