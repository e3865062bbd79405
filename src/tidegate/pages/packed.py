"""Arrays as a page carries them: deflated numbers, thinned with their extremes kept where there are too many.

The data travels in full up to `CELLS` readings, so zooming in shows every row: readings as float32 about their
median, what lies beside them as 16-bit steps of its own range, all deflated. The page draws at most a few points
a pixel, extremes kept, and draws again from the full data on every zoom. Beyond `CELLS` each line is thinned once
by `downsample`, and the page says so.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 1_500_000  # readings embedded in full: about 15 MB of file; more are thinned with their extremes kept
FLOAT32 = float(np.finfo(np.float32).max)

Floats = NDArray[np.floating[Any]]
Block = dict[str, Any]
Column = tuple[str, Floats | None, str]


def downsample(times: NDArray[Any], values: NDArray[Any], points: int) -> NDArray[np.int64]:
    """Row numbers, at most `points`, that draw the line of all rows: each time bucket's first, last, least, greatest.

    A missing stretch as long as a bucket keeps one missing row, and stays a gap. times, values (T,); points >= 6.

    >>> downsample(np.arange(1000), np.where(np.arange(1000) == 457, 9.0, 0.0), 30).tolist()
    [0, 199, 200, 399, 400, 457, 599, 600, 799, 800, 999]
    """
    if len(values) <= points:
        return np.arange(len(values))
    buckets = max(1, (points - 1) // 5)
    width = float(times[-1] - times[0]) / buckets
    seen = np.flatnonzero(np.isfinite(values))
    if not len(seen):
        return np.zeros(1, np.int64)
    breaks = np.flatnonzero((np.diff(seen) > 1) & (np.diff(times[seen]) >= width))
    bucket = np.minimum((times[seen] - times[0]) // width, buckets - 1)
    first = np.flatnonzero(np.diff(bucket, prepend=-1))
    number = np.repeat(np.arange(len(first)), np.diff(first, append=len(seen)))
    kept = [first, np.append(first[1:], len(seen)) - 1]
    for extreme in (np.minimum, np.maximum):
        hits = np.flatnonzero(values[seen] == extreme.reduceat(values[seen], first)[number])
        kept.append(hits[np.diff(number[hits], prepend=-1) > 0])
    return np.unique(np.concatenate([seen[np.concatenate(kept)], seen[breaks] + 1]))


def track(times: Floats, columns: list[Column], limit: int) -> Block:
    """Columns over time for the page; thinned to the rows that keep the extremes of the first two."""
    there = [(name, column, kind) for name, column, kind in columns if column is not None]
    if len(times) <= limit:
        return {name: block(column, kind) for name, column, kind in there}
    lines = [column for _, column, _ in there[:2]]
    rows = np.unique(np.concatenate([downsample(times, column, limit // len(lines)) for column in lines]))
    return {"rows": block(rows, "u32")} | {name: block(column[rows], kind) for name, column, kind in there}


def block(values: NDArray[Any], kind: str) -> Block:
    """An array as base64 of deflated bytes: floats less `offset`; u8, u16 steps from `offset`, 1 on, 0 for missing."""
    finite = values[np.isfinite(values)]
    offset, step = 0.0, 1.0
    if kind in ("u8", "u16") and len(finite):
        offset, step = float(finite.min()), float(np.ptp(finite)) / (254 if kind == "u8" else 65_534) or 1.0
    elif kind in ("f32", "f64") and len(finite):
        offset = float(np.median(finite))
    if kind in ("u8", "u16"):
        values = np.where(np.isfinite(values), (values - offset) / step + 1.5, 0)
    elif kind in ("f32", "f64"):
        values = np.clip(values - offset, -FLOAT32, FLOAT32)
    numbers = values.astype({"u8": "<u1", "u16": "<u2", "u32": "<u4", "f32": "<f4", "f64": "<f8"}[kind])
    packed = base64.b64encode(zlib.compress(numbers.tobytes(), 6)).decode()
    return {"kind": kind, "offset": offset, "step": step, "data": packed}


def limit(channels: int) -> int:
    """Rows of a channel that travel in full beside others."""
    return max(2_000, CELLS // max(1, channels))


def holes(times: NDArray[np.int64], gap: float = 0.0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where rows stand more than `gap` seconds apart (0: ten times the median), and the middle of each such hole.

    >>> holes(np.array([0, 1, 2, 3, 4, 5, 6, 7, 40]))
    (array([8]), array([23]))

    A missing row put there (`np.insert`) keeps a line from being drawn across.
    """
    steps = np.diff(times)
    most = gap * 1e9 or 10 * float(np.median(steps)) if len(steps) else 0.0
    at = np.flatnonzero(steps > most) + 1
    return at, times[at - 1] + steps[at - 1] // 2


def thinned(times: NDArray[np.int64], channels: int) -> list[str]:
    """A note where the record is too long to travel in full."""
    if len(times) <= limit(channels):
        return []
    said = (
        "each sensor was thinned to keep this page small. Its extremes are all here, some of the rows between are not."
    )
    return [f"The file holds {len(times):,} rows a sensor; {said}"]
