"""A file, a database or a data frame -> a polars table, in which what is not surely a number is still text."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import narwhals as nw
import polars as pl

from .columns import MISSING, is_number
from .errors import DataError, MissingExtraError, SettingError
from .layout import Asked, masked
from .tables import SENSOR_NAMES
from .times import TIME_NAME

if TYPE_CHECKING:
    from sqlalchemy import Engine

PREAMBLE = 50  # lines in which the row of column names is looked for
SAMPLE = 1 << 18
"""Bytes looked at to find out how a text file is laid out."""
TAIL = 1 << 16  # bytes at the end of a text file in which its last row is looked at


def table(source: Any, query: str | None, asked: Asked) -> pl.DataFrame:
    """Any source as a polars frame with at least one row."""
    if isinstance(source, str) and "://" in source:
        frame = _from_sql(source, query)
    elif isinstance(source, str | Path):
        frame = _from_file(Path(source), asked)
    else:
        frame = _from_frame(source)
    if not frame.height:
        raise DataError("a header but no rows", wanted="at least one row", where=asked.name)
    return frame


def _from_file(path: Path, asked: Asked) -> pl.DataFrame:
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        if kind in ("parquet", "pq"):
            return pl.read_parquet(path, glob=False)
        if kind == "ts":
            raise DataError("a .ts file holds many sequences", do="read_many gives a series each", where=str(path))
        if kind in ("jsonl", "ndjson", "json"):
            return _from_json(unpacked(path))
        return _from_text(path, asked)
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from error
    except UnicodeError as error:
        do = 'layout=Layout(encoding="latin-1"), say'
        wanted = asked.layout.encoding or "UTF-8"
        raise DataError(f"text in another encoding: {error}", wanted=wanted, do=do, where=str(path)) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"not a {kind} file: {str(error).splitlines()[0]}",
            where=str(path),
            do="write it again, or name it by what it is",
        ) from error


def text(path: Path, asked: Asked) -> str:
    """All of a text file that holds no table."""
    try:
        return unpacked(path).decode(asked.layout.encoding or "utf-8-sig", "replace")
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    saw = f"cannot read it: {getattr(error, 'strerror', None) or error}"
    return DataError(saw, where=str(path), do="check the path and its rights")


def _from_json(content: bytes) -> pl.DataFrame:
    """JSON lines, or one list of objects; Python's NaN, which is no JSON, is a missing value."""
    content = re.sub(rb":\s*NaN\b", b": null", content)
    if content.lstrip()[:1] == b"[":
        return pl.read_json(content, infer_schema_length=None)
    return pl.read_ndjson(content, infer_schema_length=None)


def unpacked(path: Path) -> bytes:
    """All bytes of a file, unpacked."""
    content = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    if not content.strip():
        raise DataError("an empty file", wanted="at least one row", where=str(path))
    return content


def _from_text(path: Path, asked: Asked) -> pl.DataFrame:
    """A delimited text file; columns that look like numbers are parsed as such, all others stay text for now."""
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path) if packed else path.open("rb") as file:
        head = file.read(SAMPLE)
    encoding = asked.layout.encoding or _encoding(head, path)
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise SettingError(f"no encoding named {encoding!r}", wanted="for example utf-8 or latin-1") from None
    if asked.layout.encoding:  # what was found out fits; what was given must
        codecs.getincrementaldecoder(encoding)().decode(head)
    rows, delimiter = _sample(head.decode(encoding, "replace"), len(head) == SAMPLE, asked)
    decimal = asked.layout.decimal or _decimal(rows, delimiter)
    names, skip = _header(rows, decimal, asked)
    _refuse_units(rows[skip:], decimal, asked) if skip else None
    plain = encoding in ("utf-8", "utf-8-sig")
    content: Path | bytes = path if plain and not packed else unpacked(path)
    if isinstance(content, bytes) and not plain:
        content = content.decode(encoding).encode()
    _refuse_cut(content, delimiter, len(names), skip, asked)
    numbers = _number_columns(rows[skip:], names, decimal, asked)
    texts = dict.fromkeys(names, pl.String)
    try:
        frame = _parse(content, {**texts, **dict.fromkeys(numbers, pl.Float64)}, delimiter, decimal, skip, asked)
    except pl.exceptions.PolarsError:  # a number that is none, or padded with spaces: read as text, then judge
        try:
            frame = _parse(content, texts, delimiter, decimal, skip, asked)
        except pl.exceptions.PolarsError as error:
            raise _ragged(content, encoding, delimiter, len(names), skip, asked) from error
    pattern = r"^(\s*[-+]?\d*),(\d+(?:[eE][-+]?\d+)?\s*)$"
    return frame if decimal == "." else frame.with_columns(pl.col(pl.String).str.replace(pattern, "$1.$2"))


def _parse(
    content: Path | bytes, schema: dict[str, Any], delimiter: str, decimal: str, skip: int, asked: Asked
) -> pl.DataFrame:
    return pl.read_csv(
        content,
        has_header=False,
        skip_rows=skip,
        schema=schema,
        separator=delimiter,
        decimal_comma=decimal == "," != delimiter,
        null_values=[*MISSING, *(text for text in asked.missing if isinstance(text, str))],
        glob=False,
    )


def _encoding(head: bytes, path: Path) -> str:
    """utf-16 and utf-8 with a mark, utf-8, or else latin-1, in which every byte means something."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in head:
        raise DataError("not a text file", wanted="CSV, Parquet (.parquet) or JSON lines (.jsonl)", where=str(path))
    try:
        head[: len(head) - 4 if len(head) == SAMPLE else None].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return "latin-1" if error.start < len(head) - 8 or len(head) < SAMPLE else "utf-8"
    return "utf-8-sig"


def _sample(text: str, cut: bool, asked: Asked) -> tuple[list[list[str]], str]:
    """The first rows, split into cells, and the delimiter: the first that splits all rows alike, else the commonest."""
    lines = [line for line in text.lstrip("\ufeff").splitlines()[: -1 if cut else None][:1000] if line.strip()]
    if not lines:
        raise DataError("an empty file", wanted="at least one row", where=asked.name)
    marks = [asked.layout.delimiter] if asked.layout.delimiter else ["\t", ";", "|", ","]
    tried = [(list(csv.reader(lines, delimiter=mark)), mark) for mark in marks]
    even = next((one for one in tried if _even(one[0])), None)
    if even is None:
        _refuse_preamble([rows for rows, _ in tried], asked)
    return even or max(tried, key=lambda one: len(one[0][0]))


def _even(rows: list[list[str]]) -> bool:
    """Whether all rows have equally many cells, two or more; R leaves out the header of its row names."""
    width = len(rows[-1])
    return width > 1 and {len(row) for row in rows[1:]} <= {width} and len(rows[0]) in (width, max(width - 1, 2))


def _refuse_preamble(tried: list[list[list[str]]], asked: Asked) -> None:
    """Lines above a table that are none of it: all of them have fewer cells, and what comes after them is even."""
    for rows in tried:
        width = len(rows[-1])
        above = next((i for i, row in enumerate(rows[:PREAMBLE]) if len(row) == width), 0)
        if 0 < above < len(rows) - 1 and width > 1 and _even(rows[above:]):
            saw = f"{above} line{'s' * (above > 1)} above the table, the first {' '.join(rows[0])[:60]!r}"
            do = "delete what stands above the row of column names"
            raise DataError(
                saw, wanted="a file that begins with its column names, or with data", do=do, where=asked.name
            )


def _refuse_units(rows: list[list[str]], decimal: str, asked: Asked) -> None:
    """A second row without a value in it, above columns of numbers: units, or descriptions."""
    first, rest = [cell.strip() for cell in rows[0]], rows[1:20]
    if len(rest) < 2 or any(cell not in MISSING and _is_value(cell, decimal) for cell in first):
        return
    texts = [i for i, cell in enumerate(first) if cell]
    if texts and all(_is_value(row[i].strip(), decimal) for row in rest for i in texts if i < len(row)):
        saw = f"a row under the column names that holds no value: {', '.join(first)[:60]!r}"
        raise DataError(saw, wanted="one row of names, then data", do="delete that row (units?)", where=asked.name)


def _decimal(rows: list[list[str]], delimiter: str) -> Literal[".", ","]:
    """Decimal comma if cells look like it and none has a decimal point."""
    cells = [cell.strip() for row in rows for cell in row]
    comma = delimiter != "," and any(re.fullmatch(r"[-+]?\d*,\d+", cell) for cell in cells)
    return "," if comma and not any(re.fullmatch(r"[-+]?\d*\.\d+", cell) for cell in cells) else "."


def _header(rows: list[list[str]], decimal: str, asked: Asked) -> tuple[list[str], int]:
    """The column names, and how many rows they take in the file: a row with text in it is a header."""
    first = [cell.strip() for cell in rows[0]]
    counted = len(first) > 1 and [cell for cell in first if cell] == [str(i) for i in range(sum(map(bool, first)))]
    guess = counted or not all(_is_value(cell, decimal) for cell in first)
    has = guess if asked.layout.header is None else asked.layout.header
    if has and len(rows) == 1:
        raise DataError("a header but no rows", wanted="at least one row", where=asked.name)
    names = first if has else [f"c{i}" for i in range(len(first))]
    names = ["", *names] if has and len(rows[1]) == len(names) + 1 > 2 else names
    names = [name or f"unnamed_{i}" for i, name in enumerate(names)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"column names that occur twice: {', '.join(twice)}", do="rename them", where=asked.name)
    return names, int(has)


def _is_value(cell: str, decimal: str) -> bool:
    """Whether a cell reads as a number, a missing value or a time, not as a name."""
    return (
        cell in MISSING or is_number(cell.replace(decimal, ".")) or bool(re.match(r"\d{1,4}[-/.]\d{1,2}[-/.]\d", cell))
    )


def _number_columns(rows: list[list[str]], names: list[str], decimal: str, asked: Asked) -> list[str]:
    """The columns to parse as numbers; those that may be times or labels stay text, so that no digit is lost."""
    held = {asked.labels, *SENSOR_NAMES, *([asked.time] if isinstance(asked.time, str) else asked.time or ())}
    numbers = []
    for i, name in enumerate(names):
        cells = [row[i].strip() for row in rows if i < len(row) and row[i].strip() not in MISSING]
        free = name not in held and not TIME_NAME.match(name)
        if cells and free and all(is_number(cell.replace(decimal, ".")) for cell in cells):
            numbers.append(name)
    return numbers


def _ragged(content: Path | bytes, encoding: str, delimiter: str, width: int, skip: int, asked: Asked) -> DataError:
    """Which row of the file has too many cells, or too few."""
    lines = content.open(encoding=encoding) if isinstance(content, Path) else io.StringIO(content.decode())
    with lines:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), 1 - skip):
            if row and len(row) != width:
                where = f"{asked.name}, row {number:,}"
                return DataError(f"{len(row)} cells in a row", wanted=f"{width}, as in the header", where=where)
    return DataError("text without columns", do='layout=Layout(delimiter=";"), say', where=asked.name)


def _refuse_cut(content: Path | bytes, delimiter: str, width: int, skip: int, asked: Asked) -> None:
    """Refuse a last row that ends before the others do: the file was cut off, and its last value may be half of one.

    Only where that is sure: short rows elsewhere are the file's way, and in a wide table they are short sequences.
    """
    if asked.layout.wide:
        return
    lines, whole = _last_lines(content)
    lines = lines[skip:] if whole else lines
    try:
        while lines and not any(_cells(lines[-1], delimiter)):  # a row of blanks only is no row
            lines.pop()
        count = len(_cells(lines[-1], delimiter)) if lines else width
        if count >= width or any(line.count('"') % 2 for line in lines[:-1]):  # a line may be part of a cell
            return
        others = [cells for line in lines[:-1] if any(cells := _cells(line, delimiter))]
    except csv.Error:  # lines that end in another way
        return
    if all(len(cells) == width for cells in others):
        wanted = f"{width}, as the {'header' if skip else 'first row'}"
        do = "was the file cut off? remove that row, or fetch the file again"
        raise DataError(f"its last row has {count} of {width} cells", wanted=wanted, do=do, where=asked.name)


def _last_lines(content: Path | bytes) -> tuple[list[str], bool]:
    """The lines at the end of a text that are whole at their beginning, and whether these are all there are."""
    if isinstance(content, bytes):
        size, tail = len(content), content[-TAIL:]
    else:
        with content.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - TAIL))
            tail = file.read()
    lines, whole = tail.decode("utf-8", "replace").lstrip("\ufeff\r\n").split("\n"), size <= TAIL
    return lines if whole else lines[1:], whole


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _from_sql(url: str, query: str | None) -> pl.DataFrame:
    """The rows of a query; nothing is written, and no message shows the password."""
    try:
        import sqlalchemy as sql
    except ImportError:
        raise MissingExtraError.of("SQLAlchemy", "sql") from None
    if query is None:
        raise SettingError("a database but no query", do='query="select time, flow from readings"')
    try:
        engine = sql.create_engine(url)
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
            raise DataError("no such database file", where=url, do="check the path in the URL")
        names, rows = _queried(engine, query)
    except (sql.exc.SQLAlchemyError, ImportError) as error:
        saw = str(getattr(error, "orig", None) or error)
        secret = re.search(r"://[^/]*?:(.+)@", url)
        saw = saw.replace(secret[1], "***") if secret else saw
        raise DataError(f"the database refused: {saw}", where=masked(url), do="check the URL and the query") from None
    return _from_columns(names, zip(*rows, strict=True) if rows else [()] * len(names))


def _queried(engine: Engine, query: str) -> tuple[list[str], Sequence[Any]]:
    """Column names and rows, over a connection that can only read where the database knows how."""
    try:
        with engine.connect() as link:
            if engine.dialect.name == "sqlite":
                link.exec_driver_sql("pragma query_only = on")
            found = link.execution_options(postgresql_readonly=True).exec_driver_sql(query)
            return list(found.keys()), found.fetchall()
    finally:
        engine.dispose()


def _from_columns(names: list[str], columns: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """A table of Python values; a column of mixed types becomes text, so that the value to blame can be found."""
    found = []
    for name, values in zip(names, columns, strict=True):
        try:
            found.append(pl.Series(name, values, strict=True))
        except (TypeError, pl.exceptions.PolarsError):
            found.append(pl.Series(name, [None if value is None else str(value) for value in values], pl.String))
    return pl.DataFrame(found)


def _from_frame(source: Any) -> pl.DataFrame:
    """Any data frame that narwhals knows, or one column of it; an index of times becomes a column."""
    source = source.to_frame() if hasattr(source, "to_frame") else source
    if type(getattr(source, "index", None)).__name__ in ("DatetimeIndex", "MultiIndex"):
        source = source.reset_index()
    if isinstance(source, pl.DataFrame):
        return source
    names = [] if isinstance(source, pl.LazyFrame) else [str(name) for name in getattr(source, "columns", ())]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        saw = f"{len(twice)} names that more than one column has: {', '.join(twice[:8])}"
        raise DataError(saw, wanted="a name for each column", do="rename or leave out the others")
    try:
        table = nw.from_native(source)
    except TypeError:
        saw = f"data of type {type(source).__name__}"
        raise DataError(saw, wanted="a path, a database URL, a data frame or an array (T, C)") from None
    if isinstance(table, nw.LazyFrame):
        table = table.collect()
    return pl.DataFrame([_from_column(column) for column in table.iter_columns()])


def _from_column(column: nw.Series[Any]) -> pl.Series:
    """One column through NumPy, which needs no pyarrow."""
    name, kind, values = str(column.name), column.dtype, column.to_numpy()
    if values.dtype.kind == "M":
        instants = pl.Series(name, values if values.dtype == "M8[ns]" else values.astype("M8[us]"))
        return instants.dt.replace_time_zone("UTC") if getattr(kind, "time_zone", None) else instants
    if values.dtype.kind in "fiub":
        return pl.Series(name, values)
    kept = zip(column.to_list(), column.is_null().to_numpy(), strict=True)
    return pl.Series(name, [None if gone else str(value) for value, gone in kept], pl.String)
