"""What a user can say about a source of data, where it should not be found out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from .errors import SettingError
from .series import Duplicates


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
    wide: bool = False  # a row holds a whole sequence, a column a step (`read_many`)
    ignore: tuple[str, ...] = ()  # columns that are not read

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise SettingError(f"delimiter={self.delimiter!r}", wanted="one character", do='as ";", or leave it out')


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


def masked(url: str) -> str:
    """A database address without its password.

    >>> masked("postgresql://ann:secret@host/db")
    'postgresql://ann:***@host/db'
    """
    return re.sub(r"(://[^/]*?:).*@", r"\1***@", url)
