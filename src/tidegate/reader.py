"""CSV, Parquet, JSON lines, SQL, data frames and NumPy -> `Series`, one or many; many from .ts files too.

A source becomes a table (`sources.py`), the table's columns of times become one of UTC nanoseconds (`times.py`), a long
table (a row a sensor and time) is made wide, and what is left must be numbers (`tables.py`). Each step refuses what it
would otherwise have to guess. The three files need polars, so they are imported when something is read.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from .errors import DataError
from .layout import Asked, Layout, masked
from .series import Duplicates, Series, check

Time = str | Sequence[str] | Literal[False] | None
Missing = str | float | Iterable[str | float]
FOUND_OUT = Layout()
ENDINGS = ("csv", "tsv", "tab", "txt", "dat", "data", "asc", "parquet", "pq", "json", "jsonl", "ndjson", "ts")
"""Of files that hold data; in a folder where some have one of these, others are left out."""
NOT_READ = "left out, a file whose name does not end as those of data do"


def read(
    source: Any,
    *,
    time: Time = None,
    channels: Sequence[str] | None = None,
    labels: str | None = None,
    query: str | None = None,
    duplicates: Duplicates = "error",
    missing: Missing = (),
    zone: str | None = None,
    interval: float | str | None = None,
    layout: Layout = FOUND_OUT,
) -> Series:
    """A `Series` from a file, a database, a data frame or an array.

    >>> import polars as pl
    >>> read(pl.DataFrame({"time": ["2024-03-09 10:00", "2024-03-09 10:05"], "flow": [1.5, 1.75]}))
    <Series table: 2 rows x 1 channel, every 5 min, 2024-03-09 10:00:00 to 2024-03-09 10:05:00>

    source: the path of a CSV, Parquet or JSON lines file (.gz too), a database URL with its `query`, any data frame, or
    an array (T, C). time: its column, two columns (date and time), or False for none; found by name and content if not
    given. Times without an offset are UTC, or local to `zone` ("Europe/Rome"). channels: the columns to take, in this
    order; else all, which must then be numbers. labels: a column that is no channel, kept in `Series.labels`. missing:
    further spellings of a missing value, such as -200. A long table (time, sensor, value; or unique_id, ds, y) is made
    wide. Raises DataError; a database without SQLAlchemy raises MissingExtraError.
    """
    asked = Asked(
        name=_name(source),
        time=time,
        channels=[channels] if isinstance(channels, str) else channels,
        labels=labels,
        duplicates=duplicates,
        missing=_spellings(missing),
        zone=zone,
        interval=interval,
        layout=layout,
    )
    return _one(source, query, asked)


def read_many(
    source: Any,
    *,
    id: str | None = None,
    time: Time = None,
    channels: Sequence[str] | None = None,
    labels: str | None = None,
    query: str | None = None,
    duplicates: Duplicates = "error",
    missing: Missing = (),
    zone: str | None = None,
    layout: Layout = FOUND_OUT,
) -> dict[str, Series]:
    """Many `Series` by name: one a file of a folder, a pattern or a list; one a value of the column `id`; or of a .ts.

    >>> import polars as pl
    >>> days = ["2024-01-01", "2024-01-02", "2024-01-01"]
    >>> many = read_many(pl.DataFrame({"unique_id": ["a", "a", "b"], "ds": days, "y": [1, 2, 3]}))
    >>> {name: len(series) for name, series in many.items()}
    {'a': 2, 'b': 1}

    The id column is found in tables like Nixtla's (unique_id, ds, y, ...) and tidy ones. Files of a folder of folders
    are named "folder/file", and the folder is their label. `Layout(wide=True)`: a row is a sequence, a column a step.
    Otherwise as `read`.
    """
    asked = Asked(
        name=_name(source),
        time=time,
        channels=channels,
        labels=labels,
        duplicates=duplicates,
        missing=_spellings(missing),
        zone=zone,
        layout=layout,
    )
    files, notes = _files(source)
    if files:
        found = {name: _of_file(path, name, asked) for name, path in files.items()}
        return {name: msgspec.structs.replace(one, told=(*one.told, *notes)) for name, one in found.items()}
    from . import archives, sources, tables

    if str(source).lower().endswith((".ts", ".ts.gz")):
        return archives.ts(sources.text(Path(source), asked), asked)
    if layout.wide:
        return archives.wide(sources.table(source, query, asked), id, asked)
    parts, notes = tables.parted(sources.table(source, query, asked), id, asked)
    return {name: tables.series(part, _renamed(asked, name), list(notes)) for name, part in parts.items()}


def _one(source: Any, query: str | None, asked: Asked) -> Series:
    """One source as one Series."""
    if isinstance(source, np.ndarray) and not asked.missing:
        return check(source, None, asked.channels, interval=asked.interval)
    from . import columns, sources, tables, times

    if isinstance(source, np.ndarray):
        return _one(columns.blank(source, asked.missing), query, msgspec.structs.replace(asked, missing=()))

    table, notes = sources.table(source, query, asked), list[str]()
    names = tables.long(table, asked)
    clocked = times.clocked(table, asked, notes, ordered=names is None)
    return tables.series(tables.wide(clocked, names, asked), asked, notes)


def _spellings(missing: Missing) -> tuple[str | float, ...]:
    return (missing,) if isinstance(missing, str | int | float) else tuple(missing)


def _renamed(asked: Asked, name: str) -> Asked:
    return msgspec.structs.replace(asked, name=name)


def _name(source: Any) -> str:
    """What to call a source in messages."""
    if isinstance(source, str | Path):
        return masked(str(source)) if "://" in str(source) else Path(source).name
    return "array" if isinstance(source, np.ndarray) else "table"


def _of_file(path: Path, name: str, asked: Asked) -> Series:
    """One file of many; where its folder is part of its name, that is its label, if no column is."""
    folder = path.parent.name if name.startswith(f"{path.parent.name}/") else ""
    shown = f"{folder}/{path.name}" if folder else path.name
    try:
        series = _one(path, None, _renamed(asked, shown))
    except DataError as error:  # among many files a name alone would have to be looked for
        if not error.where.startswith(shown):
            raise
        where = f"{path}{error.where.removeprefix(shown)}"
        raise DataError(error.saw, wanted=error.wanted, do=error.do, where=where) from None
    if not folder or asked.labels is not None:
        return series
    return msgspec.structs.replace(series, labels=np.full(len(series), folder))


def _files(source: Any) -> tuple[dict[str, Path], list[str]]:
    """The files of a folder, a pattern or a list of paths by name, none if the source is one table; and notes."""
    if isinstance(source, list | tuple):
        return _named([Path(path) for path in source]), []
    if not isinstance(source, str | Path) or "://" in str(source):
        return {}, []
    path = Path(source)
    if not path.is_dir():
        return {} if path.exists() else _named(sorted(Path(file) for file in glob.glob(str(source)))), []
    return _inside(path)


def _inside(path: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a folder by name, or of its folders; a note on those beside them that hold no data."""
    flat, deep = _plain(path), list[Path]()
    found = _data(flat)
    if not found:
        folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] != ".")
        deep = [file for folder in folders for file in _plain(folder)]
        found = _data(deep) or flat or deep
    if not found:
        raise DataError("a folder without files", wanted="one file a series", where=str(path))
    direct, taken = found[0].parent == path, {*found}
    left = [str(file.relative_to(path)) for file in (flat if direct else flat + deep) if file not in taken]
    more = f" and {len(left) - 8} more" if len(left) > 8 else ""
    notes = [f"{NOT_READ}: {', '.join(left[:8])}{more}"] if left else []
    if direct:
        return _named(found), notes
    named = {f"{file.parent.name}/{_stem(file)}": file for file in found}
    return named if len(named) == len(found) else {f"{file.parent.name}/{file.name}": file for file in found}, notes


def _plain(folder: Path) -> list[Path]:
    """The files right in a folder that are not hidden."""
    return sorted(file for file in folder.iterdir() if file.is_file() and file.name[0] != ".")


def _data(files: list[Path]) -> list[Path]:
    """Those whose names end as data does.

    >>> _data([Path("a/run.1.CSV.gz"), Path("a/readme.md")])
    [PosixPath('a/run.1.CSV.gz')]
    """
    return [file for file in files if file.name.lower().removesuffix(".gz").rpartition(".")[2] in ENDINGS]


def _named(files: list[Path]) -> dict[str, Path]:
    """Files by their names without endings; by names with them, or whole paths, where two would be the same."""
    for name in (_stem, lambda file: file.name):
        named = {name(file): file for file in files}
        if len(named) == len(files):
            return named
    return {str(file.absolute()): file for file in files}


def _stem(file: Path) -> str:
    """The name of a file without its ending.

    >>> _stem(Path("a/run.1.csv.gz"))
    'run.1'
    """
    return Path(file.name.removesuffix(".gz")).stem
