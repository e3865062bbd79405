"""What is worth a note in checked readings and their times, a sentence each: of a part of a file, of that part."""

from __future__ import annotations

import time as clocks
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import several
from .moments import DAY, GAP, SECOND, span_text, time_text

REPEATED = 0.01  # the share of rows above which a value far from all others is noted
MANY = 10  # different readings below which a column counts states


def notes(
    values: NDArray[np.float64], names: Sequence[str], times: NDArray[np.int64] | None, interval: float
) -> list[str]:
    """What is odd about rows: their times, if they have any, then their readings (T, C).

    >>> notes(np.array([[5.0, np.nan], [5.0, 2.0]]), ("flow", "level"), None, 1.0)
    ['constant channel: flow, level', '25 % of the values are missing']
    """
    return [*(_of_times(times, interval) if times is not None else []), *_of_values(values, names)]


def beyond(
    values: NDArray[np.float64], reach: NDArray[np.float64], far: float, names: Sequence[str], times: NDArray[np.int64]
) -> list[str]:
    """Readings (T, C) whose `reach`, the distance from the mean in usual ones, is beyond `far`; NaN = missing.

    >>> beyond(np.array([[20.0], [1e30]]), np.array([[0.1], [1e28]]), 1e3, ("flow",), np.array([0, 10**9]))
    ['flow read 1e+30 at 1970-01-01 00:00:01, more than 1,000 usual distances from its mean']
    """
    notes = []
    for c in np.flatnonzero((reach > far).any(axis=0)).tolist():
        row, more = int(np.nanargmax(reach[:, c])), int((reach[:, c] > far).sum()) - 1
        others = f" (and {several(more, 'reading')} besides)" if more else ""
        saw = f"{names[c]} read {values[row, c]:.6g} at {time_text(times[row])}{others}"
        notes.append(f"{saw}, more than {far:,.0f} usual distances from its mean")
    return notes


def _of_times(times: NDArray[np.int64], interval: float) -> list[str]:
    """What is odd about strictly increasing times."""
    notes, steps = [], np.diff(times)
    gaps = np.flatnonzero(steps > GAP * interval * SECOND)
    if len(gaps):
        longest = gaps[np.argmax(steps[gaps])]
        length, at = span_text(steps[longest] / SECOND), time_text(times[longest])
        notes.append(f"{several(len(gaps), 'gap')} in time, the longest of {length} after {at}")
    future = int((times > clocks.time_ns() + DAY).sum())
    if future:
        notes.append(
            f"{several(future, 'row')} lie{'s' * (future == 1)} in the future, the last at {time_text(times[-1])}"
        )
    return notes


def _of_values(table: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """Channels that say nothing, what may stand for nothing, and how much is missing."""
    low, high, notes = np.fmin.reduce(table, axis=0), np.fmax.reduce(table, axis=0), []
    for kind, which in (("channel without a single reading", np.isnan(low)), ("constant channel", low == high)):
        listed = [channel for channel, one in zip(names, which, strict=True) if one]
        if listed and len(table) > 1:
            notes.append(f"{kind}: {', '.join(listed)}")
    odd: dict[float, list[str]] = {}
    for c, name in enumerate(names):
        for edge in (float(low[c]), float(high[c])):
            if _stands_alone(table[:, c], edge):
                odd.setdefault(edge, []).append(name)
    for edge, listed in odd.items():
        notes.append(
            f"{edge:.12g} in over {100 * REPEATED:g} % of the rows of {', '.join(listed)}, far from all else there: "
            f"if it stands for no reading, say missing='{edge:.12g}'"
        )
    missing = float(np.isnan(table).mean())
    return notes + [f"{100 * missing:.3g} % of the values are missing"] * (missing > 0)


def _stands_alone(column: NDArray[np.float64], edge: float) -> bool:
    """Whether the least or greatest value looks like a spelling of "no reading" (-200, 9999): repeated, far from all.

    A sensor with two or three states has no such value, nor one that reads 0 while its machine is off.
    """
    count = np.count_nonzero(column == edge)
    if not edge or edge != np.rint(edge) or count < 3 or count <= REPEATED * len(column):
        return False
    rest = column[np.isfinite(column) & (column != edge)]
    if len(np.unique(rest)) < MANY:
        return False
    first, last = np.quantile(rest, (0.05, 0.95))
    return bool(np.abs(rest - edge).min() > last - first)
