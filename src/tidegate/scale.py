"""A scale for every channel: learned once from normal data, applied and undone row by row, in float64."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

FENCE = 3.0
"""How far beyond the 1 % and 99 % points a value still counts, as a multiple of the distance between the two."""

FAR = 1000.0
"""A reading that is further from the mean, in spreads, is told of by itself, whatever is made of it."""

ROUNDING = 1e-14
"""A spread below this part of the channel's size is the rounding of a constant, not movement."""

SMALLEST = 1e-150
"""No sensor moves less; down to here no reading that `series.check` lets in can overflow when divided by the spread."""


class Scale(msgspec.Struct, frozen=True, eq=False):
    """Where each channel sits and how much it moves; `apply` and `undo` give the same bits row by row as all at once.

    >>> scale = learn(np.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> scale.center, scale.spread
    (array([2., 7.]), array([1., 1.]))
    >>> scale.apply(np.array([4.0, 7.0]))
    array([2., 0.])
    """

    center: NDArray[np.float64]
    spread: NDArray[np.float64]

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Values (..., C) in the data's units -> scaled values (..., C); NaN stays NaN."""
        return (np.asarray(values, dtype=np.float64) - self.center) / self.spread

    def undo(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Scaled values (..., C) -> the data's units, to 1e-9 of the size of the value or of its center."""
        return np.asarray(values, dtype=np.float64) * self.spread + self.center


def learn(values: NDArray[Any]) -> Scale:
    """The scale of values (T, C): mean and standard deviation of each channel, with far outliers pulled to a fence.

    >>> learn(np.array([[0.0], [2.0], [4.0]])).center
    array([2.])

    The fence lies 3 x (q99 - q01) beyond the 1 % and 99 % points, so that one reading of 1e30 neither moves the scale
    nor overflows, while a channel that is 0 nearly always keeps its rare events: where q01 == q99 there is no fence,
    because it would cut away all that the channel ever does. Spread is 1 for a channel that never moves, center 0 for
    one never seen. NaN = missing, left out.
    """
    learned = [_of_one(column) for column in np.asarray(values, dtype=np.float64).T]
    return Scale(np.array([center for center, _ in learned]), np.array([spread for _, spread in learned]))


def _of_one(column: NDArray[np.float64]) -> tuple[float, float]:
    """Center and spread of one channel (T,)."""
    seen = column[~np.isnan(column)]
    if not len(seen):
        return 0.0, 1.0
    seen = _fenced(seen)
    if seen.min() == seen.max():
        return float(seen[0]), 1.0
    unit = _unit(seen)
    center, spread = float(np.mean(seen / unit)), float(np.std(seen / unit))
    moves = spread > ROUNDING and spread * unit > SMALLEST
    return center * unit, spread * unit if moves else 1.0


def _fenced(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Readings (n,) with those far beyond the bulk pulled to its fence; unchanged where the bulk does not move."""
    unit = _unit(seen)
    low, high = np.quantile(seen / unit, [0.01, 0.99])
    if low == high:
        return seen
    reach = FENCE * (high - low)
    fenced: NDArray[np.float64] = np.clip(seen / unit, low - reach, high + reach) * unit
    return fenced


def _unit(seen: NDArray[np.float64]) -> float:
    """The power of two just below the largest magnitude: dividing by it is exact, and then squares cannot overflow."""
    _, exponent = np.frexp(np.abs(seen).max())
    return float(np.ldexp(1.0, int(exponent) - 1))
