"""Columns of a table: which there are, the numbers in them, and the refusal of a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .errors import DataError
from .layout import Asked

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None", "none", "-", "?", "#N/A")
CLOCK = "\0time"
"""The one column of times, UTC nanoseconds, once they are understood; no file can hold this name."""


def known(names: Sequence[str], frame: pl.DataFrame, asked: Asked) -> list[str]:
    """The names, if the table has a column for each; else a DataError that lists what it has."""
    unknown = [name for name in names if name not in frame.columns]
    if unknown:
        columns = ", ".join(name for name in frame.columns if name != CLOCK)
        raise DataError(f"no column named {', '.join(unknown)}", wanted=f"some of {columns}", where=asked.name)
    return list(names)


def spelled(key: Any) -> str:
    """A value of a column of names as people write it: a whole number without decimals.

    >>> spelled(25.0), spelled("pump"), spelled(2.5)
    ('25', 'pump', '2.5')
    """
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)


def first(columns: Sequence[str], names: Iterable[str | None]) -> str | None:
    """The first of the names that is a column, in any case.

    >>> first(["DS", "Y"], ["value", "y"])
    'Y'
    """
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[name.lower()] for name in names if name and name.lower() in lower), None)


def refuse_row(column: pl.Series, bad: pl.Series, saw: str, wanted: str, where: str, *, reading: bool = False) -> None:
    """A DataError for the first bad row, if there is one; rows count from 1, the header not counted.

    reading  it is a reading that is bad, which may be missing; a time may not
    """
    if bad.any():
        row = int(bad.arg_max() or 0)
        do = "repair or remove the row" + (f"; missing={column[row]!r} if it stands for no reading" if reading else "")
        raise DataError(saw.format(column[row]), wanted=wanted, do=do, where=f"{where}, row {row + 1:,}")


def blank(values: NDArray[Any], missing: Iterable[str | float]) -> NDArray[Any]:
    """The numbers with the user's spellings of a missing value as NaN.

    >>> blank(np.array([1.0, -200.0]), ["-200", "broken"])
    array([ 1., nan])
    """
    numbers = [float(spelling) for spelling in missing if is_number(str(spelling))]
    return np.where(np.isin(values, numbers), np.nan, values) if numbers else values


def is_number(text: str) -> bool:
    """Whether a text reads as a number; 1_000 does not."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def numbers(column: pl.Series, asked: Asked) -> pl.Series | None:
    """The column as float64, true and false as 1 and 0; None if it is text. Raises DataError naming a stray text."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean or column.dtype == pl.Null:
        return column.cast(pl.Float64)
    if column.dtype.is_nested() or column.dtype.is_temporal() or column.dtype == pl.Binary:
        return None
    text = column.cast(pl.String).str.strip_chars()
    text = text.set(text.is_in([*MISSING, *(str(spelling) for spelling in asked.missing)]), None)
    truth = text.str.to_lowercase().replace_strict({"true": 1.0, "false": 0.0}, default=None, return_dtype=pl.Float64)
    found = truth if truth.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)
    bad = found.is_null() & text.is_not_null()
    if 2 * bad.sum() > text.count():
        return None
    wanted = "a number, or nothing where a reading is missing"
    where = f"{asked.name}, column {column.name}"
    refuse_row(text, bad, "{!r} in a column of numbers", wanted, where, reading=True)
    return found
