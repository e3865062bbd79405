"""The leak check: what makes a test look better than the future will be, named with its rows.

overlap      the same times on both sides of the split
near         test rows so close in time to training rows that one window can hold both
older        test rows from before the end of training: the past was told from the future
scale        a scale, or values already scaled, learned from training and test rows together
duplicate    stretches of the same values on both sides, whatever their times
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import metrics
from .errors import DataError, SettingError
from .scale import Scale, learn as learn_scale
from .series import SECOND, Series, time_text

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Kind = Literal["overlap", "near", "older", "scale", "duplicate"]
Rows = tuple[tuple[int, int], ...]

SHORTEST = 16
"""Rows; a shorter run of equal rows is no sign of a copy."""
DIFFERENT = 8
"""A run with fewer different rows than this (a switch, a rounded reading, a pause) repeats by itself."""
_SAME = 1e-6  # how far two statistics may be apart, in spreads, and still come from the same rows


class Leak(msgspec.Struct, frozen=True):
    """One way in which the test saw the training data, or training the test."""

    kind: Kind
    sentence: str
    train_rows: Rows
    """(first, stop) of each stretch of training rows, half-open, from 0"""
    test_rows: Rows
    """the same in the test data"""


class _Run(msgspec.Struct, frozen=True):
    """`rows` equal rows, from row `train` there and row `test` here."""

    train: int
    test: int
    rows: int


def check(
    train: Series,
    test: Series,
    *,
    window: int = 1,
    scale: Scale | None = None,
    excluded: Bools | None = None,
) -> list[Leak]:
    """Every leak between the rows learned from and the rows tested on; an empty list is a clean split.

    >>> from tidegate import synth
    >>> history = synth.machine(2000, 3)
    >>> check(history[:1000], history[1000:])
    []
    >>> for leak in check(history[:1000], history[900:]):
    ...     print(leak.kind, leak.train_rows, leak.test_rows)
    overlap ((900, 1000),) ((0, 100),)
    >>> print(check(history[:1000], history[900:])[0].sentence)
    100 of 1,100 test rows have the times of training rows: test 0:100 (2024-01-01 15:00:00 to 2024-01-01 16:39:00)

    window     rows that one window, or one lag, of the method spans: rows nearer than that to the other side are "near"
    scale      the scale that was used; it is compared with what the training rows, the test rows and both would give
    excluded   (T,) True on training rows that were not learned from

    Without a clock, times count only where they tell the two apart: parts of one array do, two arrays that both begin
    at row 0 do not. Duplicates are sought in runs of at least max(window, 16) rows, at least 8 of them different.
    Takes seconds for 1,000,000 x 10 rows on each side. Raises DataError where the channels differ.
    """
    if window < 1:
        raise SettingError(f"window is {window}", wanted="1 row or more")
    used = np.ones(len(train), dtype=bool) if excluded is None else ~excluded
    if used.shape != (len(train),) or not used.any():
        raise DataError(
            f"excluded leaves no row of {len(train):,}, or is not of that length", wanted="rows to learn from"
        )
    if set(train.channels) != set(test.channels):
        odd = ", ".join(sorted(set(train.channels) ^ set(test.channels)))
        raise DataError(f"channels on one side only: {odd}", wanted="the same channels on both", where=test.name)
    test = test.select(train.channels)
    shared = _shared(train, test, used)
    leaks = [*_in_time(train, test, used, shared, window), *_of_scale(train, test, used, scale)]
    return [*leaks, *_duplicates(train, test, used, shared, max(window, SHORTEST))]


# ---- in time ---------------------------------------------------------------------------------------------------------


def _shared(train: Series, test: Series, used: Bools) -> Bools:
    """(T,) test rows at the time of a training row, to half a beat."""
    if not _one_clock(train, test):
        return np.zeros(len(test), dtype=bool)
    return np.asarray(_distance(test, train, used) < 0.5)


def _in_time(train: Series, test: Series, used: Bools, shared: Bools, window: int) -> Iterator[Leak]:
    if not _one_clock(train, test):
        return
    from_train = _distance(test, train, used)
    to_test = np.where(used, _distance(train, test, np.ones(len(test), dtype=bool)), np.inf)
    if shared.any():
        yield _leak("overlap", "have the times of training rows", test, to_test < 0.5, shared)
    near = (from_train < window - 0.5) & ~shared
    if near.any():
        saw = f"are within one window ({window} rows) of training rows"
        yield _leak("near", saw, test, (to_test < window - 0.5) & (to_test >= 0.5), near)
    older = (test.times < train.times[used][-1]) & ~shared
    if older.any():
        later = used & (train.times > test.times[older][0])
        yield _leak("older", "are older than rows that were learned from", test, later, older)


def _one_clock(train: Series, test: Series) -> bool:
    """Whether times on both sides mean the same; row numbers do where the two are parts of one array."""
    if train.clock and test.clock:
        return True
    return train.clock == test.clock and train.interval == test.interval and bool(train.times[0] != test.times[0])


def _distance(of: Series, to: Series, used: Bools) -> Floats:
    """For each row, how far in time the nearest used row of the other side is, in intervals."""
    times = to.times[used]
    after = np.searchsorted(times, of.times)
    left = np.abs(of.times - times[np.maximum(after - 1, 0)])
    right = np.abs(of.times - times[np.minimum(after, len(times) - 1)])
    return np.asarray(np.minimum(left, right) / (min(of.interval, to.interval) * SECOND))


# ---- of scale --------------------------------------------------------------------------------------------------------


def _of_scale(train: Series, test: Series, used: Bools, scale: Scale | None) -> Iterator[Leak]:
    learned, both = train.values[used], np.concatenate([train.values[used], test.values])
    away = 0.0 if scale is None else _apart(scale, learn_scale(learned))
    if scale is not None and away > 10 * _SAME:
        for values, what in ((both, "training and test rows together"), (test.values, "the test rows")):
            if _apart(scale, learn_scale(values)) < _SAME:
                yield _leak_of_scale(f"the scale is that of {what}, not of the training rows", train, test, used)
    if _standard(both) and not _standard(learned):
        saw = "each channel has mean 0 and deviation 1 over training and test rows together: scaled before the split"
        yield _leak_of_scale(saw, train, test, used)


def _apart(one: Scale, other: Scale) -> float:
    """The largest difference over channels, of centers in spreads and of spreads as a ratio."""
    if one.center.shape != other.center.shape:
        raise DataError(f"a scale for {len(one.center)} channels", wanted=f"{len(other.center)}")
    centers = np.abs(one.center - other.center) / other.spread
    return float(np.max(centers + np.abs(np.log(one.spread / other.spread))))


def _standard(values: Floats) -> bool:
    """Whether every channel that moves was made to have mean 0 and deviation 1 over exactly these rows."""
    moving = 0
    for column in values.T:
        seen = column[~np.isnan(column)]
        if seen.size > 1 and seen.min() < seen.max():
            moving += 1
            if not _standard_column(seen):
                return False
    return moving > 0


def _standard_column(seen: Floats) -> bool:
    """Deviation over n (scikit-learn's) or over n - 1 (pandas')."""
    away = min(abs(float(seen.std(ddof=ddof)) - 1) for ddof in (0, 1))
    return away < _SAME and abs(float(seen.mean())) < _SAME


# ---- duplicates ------------------------------------------------------------------------------------------------------


def _duplicates(train: Series, test: Series, used: Bools, shared: Bools, length: int) -> Iterator[Leak]:
    """Equal runs at other times than the rows that the two sides share anyway."""
    if min(len(train), len(test)) < length:
        return
    there, here = _row_hashes(train.values), _row_hashes(test.values)
    runs = [
        run
        for run in _runs(there, here, used, length)
        if len(np.unique(here[run.test : run.test + run.rows])) >= DIFFERENT
        and not shared[run.test : run.test + run.rows].all()
        and np.array_equal(_part(train, run.train, run.rows), _part(test, run.test, run.rows), equal_nan=True)
    ]
    if not runs:
        return
    longest = max(runs, key=lambda run: run.rows)
    saw = f"hold the same values as training rows {longest.train}:{longest.train + longest.rows}"
    first = _mask(len(test), [(longest.test, longest.rows)])
    leak = _leak("duplicate", saw, test, _mask(len(train), [(run.train, run.rows) for run in runs]), first)
    every = _rows(_mask(len(test), [(run.test, run.rows) for run in runs]))
    more = f"; {len(every)} such stretches, this is the longest run" if len(every) > 1 else ""
    yield msgspec.structs.replace(leak, sentence=leak.sentence + more, test_rows=every)


def _runs(there: Hashes, here: Hashes, used: Bools, length: int) -> Iterator[_Run]:
    """Runs of at least `length` equal rows: blocks of equal hash that follow each other on both sides."""
    whole = np.lib.stride_tricks.sliding_window_view(used, length).all(axis=1)
    blocks = np.flatnonzero(_busy(there, length) & whole)
    hashes = _block_hashes(there, length)[blocks]
    order = np.argsort(hashes, kind="stable")  # the first of equal blocks stays first
    blocks, hashes = blocks[order], hashes[order]
    at_test = np.flatnonzero(_busy(here, length))
    wanted = _block_hashes(here, length)[at_test]
    place = np.searchsorted(hashes, wanted)
    hit = np.append(hashes, 0)[place] == wanted
    hit &= place < len(hashes)
    at_test, at_train = at_test[hit], blocks[place[hit]]
    breaks = np.flatnonzero((np.diff(at_test) != 1) | (np.diff(at_train) != 1)) + 1
    for part in np.split(np.arange(len(at_test)), breaks):
        if part.size:
            yield _Run(int(at_train[part[0]]), int(at_test[part[0]]), len(part) + length - 1)


def _row_hashes(values: Floats) -> Hashes:
    """One number for each row; every NaN alike, and -0 like 0."""
    bits = np.where(np.isnan(values), np.nan, values + 0.0).view(np.uint64)
    hashed = np.zeros(len(values), dtype=np.uint64)
    for column in bits.T:
        hashed = _mixed(hashed ^ column)
    return hashed


def _block_hashes(rows: Hashes, length: int) -> Hashes:
    """One number for each block of `length` rows, from blocks of 2, 4, 8 ... rows; the last two may overlap."""
    size, hashed, count = 1, rows, len(rows) - length + 1
    while 2 * size <= length:
        hashed, size = _mixed(hashed[:-size]) + hashed[size:], 2 * size
    return np.asarray(_mixed(hashed[:count]) + hashed[length - size : length - size + count])


def _mixed(hashed: Hashes) -> Hashes:
    """Each bit of what goes in turns about half of those that come out; the multiplier is 2^64 / golden ratio, odd."""
    hashed = (hashed ^ (hashed >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(hashed ^ (hashed >> np.uint64(29)))


def _busy(rows: Hashes, length: int) -> Bools:
    """Which blocks change often enough to hold DIFFERENT rows at all: a first sieve, so that pauses cost nothing."""
    changes = np.concatenate([[0], np.cumsum(rows[1:] != rows[:-1])])
    return np.asarray(changes[length - 1 :] - changes[: len(rows) - length + 1] >= DIFFERENT - 1)


# ---- in words --------------------------------------------------------------------------------------------------------


def _leak(kind: Kind, saw: str, test: Series, in_train: Bools, in_test: Bools) -> Leak:
    rows = _rows(in_test)
    first, stop = rows[0]
    when = f" ({time_text(test.times[first])} to {time_text(test.times[stop - 1])})" if test.clock else ""
    more = f" and {len(rows) - 1} more stretches" if len(rows) > 1 else ""
    sentence = f"{int(in_test.sum()):,} of {len(test):,} test rows {saw}: test {first}:{stop}{when}{more}"
    return Leak(kind, sentence, _rows(in_train), rows)


def _leak_of_scale(sentence: str, train: Series, test: Series, used: Bools) -> Leak:
    return Leak("scale", sentence, _rows(used), ((0, len(test)),))


def _rows(mask: Bools) -> Rows:
    return tuple((int(first), int(stop)) for first, stop in metrics.events(mask))


def _mask(size: int, runs: list[tuple[int, int]]) -> Bools:
    mask = np.zeros(size, dtype=bool)
    for first, rows in runs:
        mask[first : first + rows] = True
    return mask


def _part(series: Series, first: int, rows: int) -> Floats:
    return series.values[first : first + rows]
