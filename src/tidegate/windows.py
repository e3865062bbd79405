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
