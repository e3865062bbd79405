"""What a user can say about a source of data, where it should not be found out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .series import Duplicates

if TYPE_CHECKING:
    import polars as pl

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None", "none", "-", "?", "#N/A")
CLOCK = "\0time"
"""The one column of times, UTC nanoseconds, once they are understood; no file can hold this name."""


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a text file or a long table is laid out.

    >>> Layout(delimiter=";", decimal=",").delimiter
    ';'
    """

    delimiter: str | None = None
    decimal: Literal[".", ","] | None = None
    header: bool | None = None
    encoding: str | None = None
    time_format: str | None = None  # as in "%d/%m/%Y %H:%M"
    sensor: str | None = None  # long tables: the column that names the sensor or the series
    value: str | None = None  # long tables: the column of its readings


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """All that the user said about one source, and what to call it in messages."""

    name: str
    time: str | Sequence[str] | Literal[False] | None = None
    channels: Sequence[str] | None = None
    labels: str | None = None
    duplicates: Duplicates = "error"
    missing: tuple[str | float, ...] = ()
    zone: str | None = None
    interval: float | str | None = None
    layout: Layout = Layout()


def known(names: Sequence[str], frame: pl.DataFrame, asked: Asked) -> list[str]:
    """The names, if the table has a column for each; else a DataError that lists what it has."""
    unknown = [name for name in names if name not in frame.columns]
    if unknown:
        columns = ", ".join(name for name in frame.columns if name != CLOCK)
        raise DataError(f"no column named {', '.join(unknown)}", wanted=f"some of {columns}", where=asked.name)
    return list(names)


def first(columns: Sequence[str], names: Iterable[str | None]) -> str | None:
    """The first of the names that is a column, in any case.

    >>> first(["DS", "Y"], ["value", "y"])
    'Y'
    """
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[name.lower()] for name in names if name and name.lower() in lower), None)


def refuse_row(column: pl.Series, bad: pl.Series, saw: str, wanted: str, where: str) -> None:
    """A DataError for the first bad row, if there is one; rows count from 1, the header not counted."""
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise DataError(
            saw.format(column[row]), wanted=wanted, do="repair or remove the row", where=f"{where}, row {row + 1:,}"
        )


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


def masked(url: str) -> str:
    """A database address without its password.

    >>> masked("postgresql://ann:secret@host/db")
    'postgresql://ann:***@host/db'
    """
    return re.sub(r"(://[^/]*?:).*@", r"\1***@", url)
