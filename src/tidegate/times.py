"""A table's columns of times, in any spelling -> one column of UTC nanoseconds."""

from __future__ import annotations

import functools
import re

import numpy as np
import polars as pl

from .columns import CLOCK, known, refuse_row
from .errors import DataError, SettingError, several
from .layout import Asked
from .series import Times, time_text

TIME_NAME = re.compile(r"\W*(date|time|timestamp|datetime|ds|ts|utc|epoch)(?![a-z])", re.IGNORECASE)
COMPACT = r"^(19|20)\d\d(0[1-9]|1[0-2])[0-3]\d([0-2]\d[0-5]\d([0-5]\d)?)?$"
FULL_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y")
DATES = (*FULL_DATES, "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d %b %Y", "%d-%b-%Y", "%Y%m%d")
CLOCKS = ("%H:%M:%S%.f", "%H:%M", "%H.%M.%S", "%I:%M:%S %p", "%I:%M %p", "%H%M%S", "%H%M")
FORMATS = DATES + tuple(
    f"{day}{gap}{clock}{zone}"
    for day in DATES
    for gap in (" ", "T", *([""] * (day == "%Y%m%d")))
    for clock in CLOCKS
    for zone in ("", "%#z")
)
HOUR = 3_600_000_000_000


def clocked(frame: pl.DataFrame, asked: Asked, notes: list[str], ordered: bool) -> pl.DataFrame:
    """The table with its time columns turned into one, CLOCK, of UTC nanoseconds; as it is where it has no times."""
    columns = _time_columns(frame, asked)
    if not columns:
        return frame
    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series() if frame[columns[0]].has_nulls() else None
    if blank is not None and blank.any():
        notes.append(f"{several(int(blank.sum()), 'empty row')} dropped")
        frame = frame.filter(~blank)
    column = frame[columns[0]]
    if len(columns) == 2:
        column = column.cast(pl.String) + " " + frame[columns[1]].cast(pl.String)
    times = _instants(column.alias(" and ".join(columns)), asked, notes, ordered)
    return frame.drop(columns).with_columns(pl.Series(CLOCK, times))


def _time_columns(frame: pl.DataFrame, asked: Asked) -> list[str]:
    """The column of times, or the two of date and time of day, or none: given, or found by type, name and content."""
    if asked.time is False:
        return []
    if asked.time is not None:
        given = [asked.time] if isinstance(asked.time, str) else list(asked.time)
        return known(given, frame, asked)
    free = [name for name in frame.columns if name != asked.labels]
    named = [name for name in free if TIME_NAME.match(name)]
    typed = [name for name in [*named, *free] if frame[name].dtype.is_temporal()]
    pair = [name for part in ("date", "time") for name in named if name.strip().lower() == part]
    if len(pair) == 2 and _is_time_of_day(frame[pair[1]]):
        return pair
    for name in [*typed, *named, *free]:
        if _looks_like_times(frame[name], name in named):
            return [name]
    return [name for name in named if _is_text(frame[name])][:1]  # to be refused with its first value


def _is_text(column: pl.Series) -> bool:
    return column.dtype == pl.String and column.cast(pl.Float64, strict=False).null_count() == len(column)


def _is_time_of_day(column: pl.Series) -> bool:
    return bool(column.cast(pl.String).drop_nulls().head(100).str.contains(r"^\s*\d{1,2}[:.]\d\d").all())


def _looks_like_times(column: pl.Series, named: bool) -> bool:
    """Whether a column holds times; numbers do only under a name of times, since 1970 or never going back."""
    if column.dtype in (pl.Date, pl.Datetime):
        return True
    text = column.cast(pl.String).str.strip_chars().drop_nulls()
    numbers = text.cast(pl.Float64, strict=False)
    if not len(text) or column.dtype.is_numeric() or not numbers.has_nulls():
        rising = numbers.is_sorted() and len(numbers) > 1 and numbers[0] < numbers[-1]
        return named and bool(len(text)) and (rising or bool((numbers > 1e8).all()))
    return column.dtype == pl.String and bool(_formats(text[0]))


def _instants(column: pl.Series, asked: Asked, notes: list[str], ordered: bool) -> Times:
    """UTC nanoseconds from a column of times in any spelling. Raises DataError naming the first bad row."""
    where = f"{asked.name}, column {column.name}"
    refuse_row(column, column.is_null(), "no time in a row", "a time in each row", where)
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if column.dtype != pl.Datetime:
        text = column.cast(pl.String).str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False)
        if 2 * numbers.null_count() < len(text) and not text.str.contains(COMPACT).all():
            refuse_row(
                text, numbers.is_null() | ~numbers.is_finite(), "{!r} among times that are numbers", "a number", where
            )
            return _from_epoch(text, numbers, where, notes)
        column = _parsed(text, asked.layout.time_format, where, notes)
    return _utc(column, asked.zone, where, ordered)


def _from_epoch(text: pl.Series, numbers: pl.Series, where: str, notes: list[str]) -> Times:
    """Seconds, milli-, micro- or nanoseconds since 1970, told apart by their size; whole numbers keep every digit."""
    size = float(np.median(np.abs(numbers.to_numpy())))
    unit = next((unit for top, unit in ((1e11, 10**9), (1e14, 10**6), (1e17, 1000)) if size < top), 1)
    if size < 1e8:
        notes.append("the times are small numbers: taken as seconds")
    if np.abs(numbers.to_numpy()).max() * unit > 2**63 - 1:
        raise DataError("times too far from 1970 for the rest of the column", wanted="one unit for all", where=where)
    whole = text.cast(pl.Int64, strict=False)
    if not whole.has_nulls():
        return whole.to_numpy() * unit
    return np.rint(numbers.to_numpy() * max(unit / 1000, 1)).astype(np.int64) * min(unit, 1000)


@functools.lru_cache(maxsize=16)
def _formats(text: str) -> list[str]:
    """The formats in which one time can be read; only those that part the date as the text does are tried."""
    one, mark = pl.Series([_normal(text)]), re.search(r"[^0-9A-Za-z]", text[:8])
    parts = mark[0] if mark else "%"
    likely = [each for each in FORMATS if each[2] == parts and (" " in text or " " not in each)]
    tried = {pattern: one.str.to_datetime(pattern, time_unit="us", strict=False)[0] for pattern in likely}
    return [pattern for pattern, parsed in tried.items() if parsed is not None and parsed.year >= 1000]


def _normal(text: str) -> str:
    """A time with a point before fractions of a second and an offset in digits, as polars reads it."""
    return re.sub(r"\s*(Z|UTC|GMT)$", "+00:00", re.sub(r",(\d+)", r".\1", text))


def _column_in(text: pl.Series, pattern: str) -> pl.Series:
    """The times of a column in one format, null where it does not fit; without fractions three times as fast."""
    plain = text.str.to_datetime(pattern.replace("%.f", ""), time_unit="us", strict=False)
    return plain if not plain.has_nulls() else text.str.to_datetime(pattern, time_unit="us", strict=False)


def _parsed(text: pl.Series, pattern: str | None, where: str, notes: list[str]) -> pl.Series:
    """Times read in the one format that all of them have; of day and month first, the one in order or in even steps."""
    patterns = [pattern] if pattern else _formats(text[0])
    if not patterns:
        do = 'name another column, as in time="when", or say how times are written: '
        do += 'layout=Layout(time_format="%d/%m/%Y %H:%M")'
        raise DataError(
            f"cannot read {text[0]!r} as a time", wanted="for example 2024-03-09 10:30:00", do=do, where=where
        )
    if _normal(text[0]) != text[0]:
        normal = text.str.replace(r",(\d+)", ".$1").str.replace(r"\s*(Z|UTC|GMT)$", "+00:00")
    else:
        normal = text
    tried = {each: _column_in(normal, each) for each in patterns}
    best = min(tried.values(), key=lambda column: column.null_count())
    if pattern and best.null_count() == len(best):
        _refuse_format(text[0], pattern, where)
    refuse_row(text, best.is_null(), "{!r} is not written like the times before it", f"as in {text[0]!r}", where)
    whole = {each: column for each, column in tried.items() if not column.has_nulls()}
    ordered = {each: column for each, column in whole.items() if len(whole) == 1 or column.is_sorted()}
    if len(ordered) > 1:
        ordered = {each: column for each, column in ordered.items() if column.diff().drop_nulls().n_unique() == 1}
    if len(ordered) != 1:
        do = f"say which, as in layout=Layout(time_format={patterns[0]!r})"
        raise DataError(f"{text[0]!r} can be read in {len(whole)} ways", wanted=" or ".join(whole), do=do, where=where)
    if len(whole) > 1:
        chosen = next(iter(ordered))
        notes.append(f"the times could be {' or '.join(whole)}: read as {chosen}, in order or in even steps")
    return next(iter(ordered.values()))


def _refuse_format(text: str, pattern: str, where: str) -> None:
    """A format that was given, and fits no row."""
    fits = next(iter(_formats(text)), "")
    do = f"layout=Layout(time_format={fits!r}) fits" if fits else "give the format of all of it: date and time of day"
    raise DataError(f"{text!r} is not written as {pattern!r}", wanted="times in that format", do=do, where=where)


def _utc(stamps: pl.Series, zone: str | None, where: str, ordered: bool) -> Times:
    """UTC nanoseconds of a datetime column; without an offset they are UTC, or local to `zone`."""
    assert isinstance(stamps.dtype, pl.Datetime)
    unit = {"ms": 10**6, "us": 1000, "ns": 1}[stamps.dtype.time_unit]
    if stamps.dtype.time_zone is None and zone is not None:
        times = _localised(stamps, zone, where, ordered)
    else:
        times = stamps.to_physical().to_numpy()
    if max(abs(int(times.min())), abs(int(times.max()))) > (2**63 - 1) // unit:
        raise DataError(
            "times before 1678 or after 2262", wanted="times that fit in 64 bits of nanoseconds", where=where
        )
    times = times * unit
    if stamps.dtype.time_zone is None and zone is None and ordered:
        _refuse_fall_back(times, where)
    return times


def _localised(stamps: pl.Series, zone: str, where: str, ordered: bool) -> Times:
    """UTC from local time; in the hour that is told twice in autumn, rows after the clock goes back are the second."""
    try:
        first, second = (
            stamps.dt.replace_time_zone(zone, ambiguous=which, non_existent="null") for which in ("earliest", "latest")
        )
    except pl.exceptions.PolarsError:
        raise SettingError(f"no time zone named {zone!r}", wanted='a name such as "Europe/Rome"') from None
    refuse_row(
        stamps.cast(pl.String), first.is_null(), f"{{!r}} does not exist in {zone}", "a time in that zone", where
    )
    early, late = first.to_physical().to_numpy(), second.to_physical().to_numpy()
    twice = early != late
    if twice.any() and not ordered:
        saw = "local times of the hour that is told twice, in a long table"
        raise DataError(saw, wanted="times with an offset", where=where)
    back = np.cumsum(twice & (np.diff(early, prepend=early[0] - 1) <= 0))
    before = np.maximum.accumulate(np.where(twice, 0, back))
    return np.where(twice & (back > before), late, early)


def _refuse_fall_back(times: Times, where: str) -> None:
    """Rows that all at once go back by an hour less a step are local times in autumn: sorting would mix two hours."""
    steps = np.diff(times)
    back = np.flatnonzero(steps < 0)
    if not len(back) or not ((steps[back] >= -HOUR) & (steps[back] + HOUR <= 2 * np.median(np.abs(steps)))).all():
        return
    row = int(back[0]) + 1
    jump = f"from {time_text(times[row - 1])} to {time_text(times[row])}"
    raise DataError(
        f"the clock goes back {jump}, as local time does in autumn",
        wanted="UTC, times with an offset, or the zone that they are local to",
        do='zone="Europe/Rome" (say), or zone="UTC" if they are UTC and only out of order',
        where=f"{where}, row {row + 1:,}",
    )
