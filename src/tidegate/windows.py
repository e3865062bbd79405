"""Series -> windows (N, T, C) without copying, and splits in time order through which nothing can leak."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, SettingError


def windows(values: NDArray[Any], length: int, step: int = 1) -> NDArray[Any]:
    """All windows of `length` rows, one every `step` rows, as a read-only view (N, length, C) of values (T, C).

    >>> windows(np.arange(4.0)[:, None], length=3)[:, :, 0]
    array([[0., 1., 2.],
           [1., 2., 3.]])

    Raises DataError where there are fewer rows than one window needs.
    """
    if length < 1 or step < 1:
        raise SettingError(f"windows of {length} rows every {step} rows", wanted="both at least 1")
    if len(values) < length:
        raise DataError(
            f"{len(values):,} rows, fewer than a window of {length:,}",
            wanted=f"at least {length:,} rows",
            do="give a longer history or a shorter window",
        )
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(values, length, axis=0), -1, 1)[::step]


def split(rows: int, *shares: float, gap: int = 0) -> list[tuple[int, int]]:
    """Consecutive stretches [start, stop) of `rows` rows, in the given proportions, `gap` rows left out between two.

    >>> split(100, 0.6, 0.1, 0.3, gap=5)
    [(0, 54), (59, 68), (73, 100)]

    With `gap` at least a window long, no window of one stretch shares a row with a window of another, and what a
    recurrent network carries over from the one has faded in the other. Raises DataError where a stretch would be empty.
    """
    if not shares or min(shares) <= 0 or gap < 0:
        raise SettingError(f"a split into {shares} with a gap of {gap}", wanted="shares above 0, a gap of 0 or more")
    free = rows - gap * (len(shares) - 1)
    ends = np.rint(np.cumsum(shares) / sum(shares) * free).astype(int).tolist()
    starts = [0, *ends[:-1]]
    if any(start >= stop for start, stop in zip(starts, ends, strict=True)):
        raise DataError(
            f"{rows:,} rows are too few for {len(shares)} stretches with {gap:,} rows between them",
            wanted=f"more than {gap * (len(shares) - 1) + len(shares):,} rows",
            do="give a longer history or a shorter window",
        )
    return [(start + i * gap, stop + i * gap) for i, (start, stop) in enumerate(zip(starts, ends, strict=True))]


def starts_inside(
    starts: NDArray[np.int64], rows: int, length: int, excluded: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The rows at which a window of `length` rows can begin without bridging a gap or touching an excluded row.

    >>> starts_inside(np.array([0, 4]), rows=7, length=3)
    array([0, 1, 4])

    `starts` are the first rows of the stretches, as `Series.starts(limit)` gives them; `excluded` is a mask (rows,).
    """
    first = np.arange(max(rows - length + 1, 0))
    begun = np.zeros(rows + 1, dtype=np.int64)
    begun[np.asarray(starts, dtype=np.int64) + 1] = 1
    begun = np.cumsum(begun)  # begun[i]: stretches that begin before row i
    inside = begun[first + length] == begun[first + 1]
    if excluded is not None:
        touched = np.concatenate([[0], np.cumsum(excluded)])
        inside &= touched[first + length] == touched[first]
    found: NDArray[np.int64] = first[inside]
    return found


def on_grid(
    values: NDArray[Any], times: NDArray[np.int64], interval: float, *, last: int | None = None, most: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The rows (T, C) with an empty row for each that never came, at most `most` in a row; where each row stands (T,).

    >>> rows, at = on_grid(np.array([[1.0], [2.0]]), np.array([0, 3_000_000_000]), interval=1.0, most=9)
    >>> rows[:, 0], at
    (array([ 1., nan, nan,  2.]), array([0, 3]))

    times (T,) are UTC nanoseconds, `interval` seconds; `last` is the time of a row before the first.
    """
    before = np.concatenate([[times[0] if last is None else last], times[:-1]])
    steps = np.rint((times - before) / (interval * 1e9)).astype(np.int64)
    at = np.arange(len(values)) + np.clip(steps - 1, 0, most).cumsum()
    grid = np.full((at[-1] + 1, values.shape[1]), np.nan)
    grid[at] = values
    return grid, at


def filled(x: NDArray[Any]) -> NDArray[Any]:
    """Windows (N, L) with what is missing drawn as a line between what was seen, held level before and after it.

    >>> filled(np.array([[np.nan, 1.0, np.nan, 3.0, np.nan]])).tolist()
    [[1.0, 1.0, 2.0, 3.0, 3.0]]

    Nothing outside a window is looked at. A window in which nothing was seen stays as it is.
    """
    seen, place = ~np.isnan(x), np.arange(x.shape[1])
    if seen.all():
        return x
    before = np.maximum.accumulate(np.where(seen, place, -1), axis=1)
    after = np.minimum.accumulate(np.where(seen, place, x.shape[1])[:, ::-1], axis=1)[:, ::-1]
    left = np.where(before < 0, np.minimum(after, x.shape[1] - 1), before)
    right = np.where(after == x.shape[1], left, after)
    low, high = np.take_along_axis(x, left, axis=1), np.take_along_axis(x, right, axis=1)
    part = (place - left) / np.maximum(right - left, 1)
    line: NDArray[Any] = np.where(left == right, low, (1 - part) * low + part * high).astype(x.dtype)
    return line
