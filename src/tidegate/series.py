"""Sensor history as one frozen table: readings (T, C), times, channel names. Checked once, then trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import DataError, SettingError, several
from .moments import (
    SECOND as SECOND,
    When,
    instant as instant,
    span_text as span_text,
    time_text as time_text,
)
from .settings import seconds

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Duplicates = Literal["error", "last"]

LARGEST = 1e150
"""No sensor reads more; up to here neither a scaled value nor its square can overflow."""
PACED = 10  # steps from which the pace of times can be told


class Series(msgspec.Struct, frozen=True, eq=False):
    """Readings of C sensors at T times, as `read` or `check` made them: sorted, finite or NaN, never changed again.

    >>> series = check([[1.0], [2.0], [4.0]], [0, SECOND, 2 * SECOND], ["flow"])
    >>> series
    <Series array: 3 rows x 1 channel, every 1 s, 1970-01-01 00:00:00 to 1970-01-01 00:00:02>
    >>> series["1970-01-01T00:00:01":].values[:, 0]
    array([2., 4.])
    """

    values: Floats
    """(T, C), read-only, NaN = missing, never inf"""
    times: Times
    """(T,), UTC nanoseconds, strictly increasing; row number x interval where there is no clock"""
    channels: tuple[str, ...]
    interval: float
    """seconds between rows: the median of the differences"""
    clock: bool
    """False: the times are only row numbers x interval"""
    labels: NDArray[Any] | None = None
    """(T,) the label column that the reader was told of"""
    name: str = "array"
    told: tuple[str, ...] = ()
    """what was noticed and done while all of it was read, a sentence each; `notes` has what these rows show besides"""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed and what was done about it, a sentence each; figures are of these rows, not of a file."""
        from . import noticed

        times = self.times if self.clock else None
        return (*self.told, *noticed.notes(self.values, self.channels, times, self.interval))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        span = f", {time_text(self.times[0])} to {time_text(self.times[-1])}" if self.clock else ", no clock"
        noted = f", {several(count, 'note')}" if (count := len(self.notes)) else ""
        size = f"{several(len(self), 'row')} x {several(len(self.channels), 'channel')}"
        return f"<Series {self.name}: {size}, every {span_text(self.interval)}{span}{noted}>"

    def __getitem__(self, part: slice) -> Series:
        """The rows from start up to, not including, stop; each a row number, a time string or a datetime."""
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise SettingError(f"a Series cannot be indexed with {part!r}", wanted="series[start:stop]")
        first, last = self._row(part.start, 0), self._row(part.stop, len(self))
        if first >= last:
            span = f"{time_text(self.times[0])} to {time_text(self.times[-1])}" if self.clock else "no clock"
            cut = f"{'' if part.start is None else part.start}:{'' if part.stop is None else part.stop}"
            raise DataError(f"no row lies in [{cut}]", wanted=f"part of {len(self):,} rows, {span}", where=self.name)
        cut_labels = None if self.labels is None else self.labels[first:last]
        return msgspec.structs.replace(
            self, values=self.values[first:last], times=self.times[first:last], labels=cut_labels
        )

    def _row(self, bound: int | When | None, default: int) -> int:
        """The row number that one end of a slice means."""
        if bound is None:
            return default
        if isinstance(bound, int | np.integer):
            return slice(int(bound), None).indices(len(self))[0]
        if not self.clock and not isinstance(bound, np.datetime64):
            raise DataError(
                f"cannot look up {bound!r}: the series has no clock", do="slice by row number", where=self.name
            )
        return int(np.searchsorted(self.times, instant(bound)))

    def outside(self, stretches: Iterable[tuple[Any, Any]]) -> NDArray[np.bool_]:
        """(T,) True for the rows in none of the stretches (start, stop), each half-open and given as in a slice."""
        kept = np.ones(len(self), dtype=bool)
        for stretch in stretches:
            if isinstance(stretch, str) or not hasattr(stretch, "__len__") or len(stretch) != 2:
                raise SettingError(f"{stretch!r} as a stretch of rows", wanted="(start, end)")
            first, last = self._row(stretch[0], 0), self._row(stretch[1], len(self))
            rows = [end for end in stretch if end is None or isinstance(end, int | np.integer)]
            if last < first or (not rows and instant(stretch[1]) < instant(stretch[0])):
                raise SettingError(f"the stretch {stretch!r} ends before it begins", wanted="(start, end)")
            kept[first:last] = False
        return kept

    def where(self, rows: NDArray[np.bool_]) -> Series:
        """Only the rows that are True in (T,)."""
        labels = None if self.labels is None else self.labels[rows]
        return msgspec.structs.replace(self, values=self.values[rows], times=self.times[rows], labels=labels)

    def select(self, channels: Sequence[str]) -> Series:
        """Only these channels, in this order."""
        unknown = [channel for channel in channels if channel not in self.channels]
        if unknown or not channels:
            raise DataError(
                f"no channel named {', '.join(unknown) or 'at all'}",
                wanted=f"some of {', '.join(self.channels)}",
                where=self.name,
            )
        columns = [self.channels.index(channel) for channel in channels]
        return msgspec.structs.replace(
            self, values=_frozen(self.values[:, columns]), channels=_names(channels, len(columns), self.name)
        )

    def starts(self, limit: float) -> Times:
        """The rows that begin a new stretch: row 0, and every row more than `limit` seconds after the one before."""
        return np.concatenate([[0], np.flatnonzero(np.diff(self.times) > limit * SECOND) + 1]).astype(np.int64)


def check(
    values: Any,
    times: Any = None,
    channels: Sequence[str] | None = None,
    *,
    interval: float | str | None = None,
    labels: NDArray[Any] | None = None,
    name: str = "array",
    duplicates: Duplicates = "error",
    notes: Sequence[str] = (),
    copy: bool = True,
) -> Series:
    """The one way to a `Series`: everything that can be wrong with readings is refused or noted here, once.

    >>> series = check([[1.0, 5.0], [2.0, 5.0], [float("nan"), 5.0]])
    >>> series.channels, series.interval, series.clock
    (('c0', 'c1'), 1.0, False)
    >>> series.notes
    ('constant channel: c1', '16.7 % of the values are missing')

    values (T, C) or (T,): numbers, NaN = missing; copied, unless `copy` is False: the caller gives them away.
    times (T,): UTC nanoseconds; without them row numbers count, one every `interval` (seconds or "5min"; 1 s if not
    given). Unsorted rows are sorted and noted; of rows with equal times `duplicates="last"` keeps the last, "error"
    refuses. Raises DataError.
    """
    table = _matrix(values, name, copy)
    names = _names(channels, table.shape[1], name)
    low, high = np.fmin.reduce(table, axis=0), np.fmax.reduce(table, axis=0)
    _refuse_infinite(table, low, high, names, name)
    clock, found = times is not None, list(notes)
    step = None if interval is None else seconds(interval)
    if clock:
        times = np.array(times, dtype=np.int64)
        rows = _order(times, duplicates, len(table), name, found)
        if rows is not None:
            table, times, labels = table[rows], times[rows], None if labels is None else labels[rows]
        step = _interval(times, step, name)
    else:
        step = step or 1.0
        times = np.rint(np.arange(len(table)) * (step * SECOND)).astype(np.int64)
    if np.isnan(low).all():
        raise DataError("every value is missing", wanted="at least one reading", where=name)
    return Series(_frozen(table), _frozen(times), names, step, clock, labels, name, tuple(found))


def _matrix(values: Any, name: str, copy: bool) -> Floats:
    """What was given as float64 (T, C), row after row in memory; a copy, unless that can and may be spared."""
    try:
        if isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        given = np.asarray(values)
        if given.dtype.kind not in "fiub":
            raise DataError(f"values of type {given.dtype}", wanted="numbers", where=name)
        table = np.array(given, dtype=np.float64, order="C", copy=copy or None)
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("values that are no table of numbers", wanted="an array (T, C)", where=name) from error
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size:
        saw = f"an array of shape {tuple(given.shape)}"
        raise DataError(saw, wanted="(T, C) with at least one row and one column", where=name)
    return table


def _names(channels: Sequence[str] | None, count: int, name: str) -> tuple[str, ...]:
    """One name a column, no two alike."""
    names = tuple(str(channel) for channel in (channels if channels is not None else [f"c{i}" for i in range(count)]))
    if len(names) != count:
        raise DataError(f"{len(names)} channel names for {count} columns", wanted="one each", where=name)
    twice = sorted({channel for channel in names if names.count(channel) > 1})
    if twice:
        raise DataError(f"channel names that occur twice: {', '.join(twice)}", do="rename the columns", where=name)
    return names


def _refuse_infinite(table: Floats, low: Floats, high: Floats, names: tuple[str, ...], name: str) -> None:
    """`inf` saturates a gate and comes out as a plausible number, so it must not come in."""
    bad = np.flatnonzero((high > LARGEST) | (low < -LARGEST))
    if len(bad):
        row, column = np.argwhere(np.abs(table) > LARGEST)[0]
        raise DataError(
            f"{table[row, column]} in channel {names[column]}, row {row + 1:,}",
            wanted=f"numbers up to {LARGEST:g}, or NaN where a reading is missing",
            do="leave the value empty, or repair the source",
            where=name,
        )


def _order(times: Times, duplicates: Duplicates, rows: int, name: str, notes: list[str]) -> Times | None:
    """Which rows to take, in which order, for strictly increasing times; None = as they are."""
    if times.shape != (rows,):
        raise DataError(f"{len(times):,} times for {rows:,} rows", wanted="one each", where=name)
    steps = np.diff(times)
    if (steps > 0).all():
        return None
    order = np.argsort(times, kind="stable")
    late = int((steps < 0).sum())
    if late:
        notes.append(f"the times were not in order ({several(late, 'row')} earlier than the one before): sorted")
    equal = np.flatnonzero(np.diff(times[order]) == 0)
    if len(equal) and duplicates == "error":
        _refuse_duplicates(times, order, equal, name)
    if len(equal):
        notes.append(f"{several(len(equal), 'row')} dropped: a later row has the same time")
    return np.delete(order, equal)


def _refuse_duplicates(times: Times, order: Times, equal: Times, name: str) -> None:
    """Name the first few times that occur more than once."""
    if 2 * len(equal) > len(times):
        raise DataError(
            f"{len(equal):,} of {len(times):,} rows repeat a time, the first {time_text(times[order[equal[0]]])}",
            wanted="each time once",
            do='where the time of day has a column of its own, name both: time=("DATE", "TIME")',
            where=name,
        )
    repeat = "repeats" if len(equal) == 1 else "repeat"
    first = [f"{time_text(times[order[at]])} (rows {order[at] + 1:,} and {order[at + 1] + 1:,})" for at in equal[:3]]
    raise DataError(
        f"{several(len(equal), 'row')} {repeat} a time: {', '.join(first)}{', ...' if len(equal) > 3 else ''}",
        wanted="each time once",
        do='duplicates="last" keeps the last row of each; zone="Europe/Rome" (say) tells apart the hour that local '
        "clocks repeat in autumn",
        where=name,
    )


def _interval(times: Times, given: float | None, name: str) -> float:
    """The median difference in seconds, 1 where there is only one row; or what was given, if these can be its times.

    Many rows may be missing, so it is refused only if hardly a row comes so soon after another, or most come sooner.
    """
    steps = np.diff(times)
    usual = float(np.median(steps)) / SECOND if len(steps) else 1.0
    near = given is None or (np.abs(steps / SECOND - given) < given / 4).any()
    if given and len(steps) >= PACED and (usual < given / 2 or not near):
        saw = f"an interval of {span_text(given)}, and times of which most are {span_text(usual)} apart"
        do = "leave interval= out: the times say it"
        raise DataError(saw, wanted="an interval that some neighbouring rows are apart", do=do, where=name)
    return given or usual


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, read-only from now on."""
    array.setflags(write=False)
    return array
