"""From residuals to how unusual a row is: signed averages over several spans, measured against normal ones.

A residual that keeps its sign for a while is a change of behaviour; one that flips is noise. So residuals are
averaged with their sign (exponentially, over spans of rows) *before* they are squared. Each average is divided by its
own size on held-out normal rows, and a row's score is the root mean square over answers, spans and channels. Causal,
constant work a row.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SPANS = (1, 8, 30, 60)
FLOOR = 0.1  # smallest size of a normal residual, in spreads of its channel: a constant sensor must not become infinitely touchy
CLIP = (
    8.0  # one reading counts at most so many normal residuals, or a single spike would fill the long averages for hours
)


class Normal(msgspec.Struct, frozen=True, eq=False):
    """How large residuals (outputs, C) and their averages (spans, outputs, C) are on held-out normal rows."""

    residual: Floats
    average: Floats


class Surprise(msgspec.Struct, frozen=True, eq=False):
    """How unusual each row is: `smooth` and `fast` (T,), and what each channel adds to `smooth`, (T, C). NaN = no score."""

    smooth: Floats
    fast: Floats
    by_channel: Floats


def start(outputs: int, channels: int) -> Floats:
    """The averages before anything was read: zeros (spans, outputs, C)."""
    return np.zeros((len(SPANS), outputs, channels))


def learn(residuals: Floats, starts: NDArray[np.int64], held: NDArray[np.bool_]) -> Normal:
    """What is normal, from residuals (T, outputs, C) of normal rows; only the rows `held` (T,) out of training count.

    >>> learn(np.ones((50, 1, 2)), np.array([0]), np.arange(50) > 9).residual
    array([[1., 1.]])

    At each of `starts` the averages begin anew. NaN = missing.
    """
    size = np.maximum(_size(residuals[held]), FLOOR)
    pieces = np.split(_scaled(residuals, size), starts[1:])
    averages = np.concatenate([average(piece, start(*size.shape))[0] for piece in pieces])
    return Normal(size, np.maximum(_size(averages[held]), FLOOR / 10))


def average(scaled: Floats, state: Floats) -> tuple[Floats, Floats]:
    """Signed exponential averages (T, spans, outputs, C) of scaled residuals (T, outputs, C), and the state after the last row.

    A missing residual leaves its averages as they are, and its place in the row is NaN.
    """
    weight = (2.0 / (np.array(SPANS) + 1.0))[:, None, None]
    seen = ~np.isnan(scaled)
    filled = np.where(seen, scaled, 0.0)
    out = np.empty((len(scaled), *state.shape))
    for t in range(len(scaled)):
        state = np.where(seen[t], state + weight * (filled[t] - state), state)
        out[t] = state
    return np.where(seen[:, None], out, np.nan), state


def score(residuals: Floats, normal: Normal, state: Floats) -> tuple[Surprise, Floats]:
    """How unusual each row of residuals (T, outputs, C) is, and the state after the last row."""
    averages, state = average(_scaled(residuals, normal.residual), state)
    squares = (averages / normal.average) ** 2
    by_channel = _mean(_mean(squares, 1), 1)
    fast = np.sqrt(_mean(squares[:, 0, 0], 1))
    return Surprise(np.sqrt(_mean(by_channel, 1)), fast, by_channel), state


def _scaled(residuals: Floats, size: Floats) -> Floats:
    return np.clip(residuals / size, -CLIP, CLIP)


def _size(residuals: Floats) -> Floats:
    """Root mean square over rows; 0 where nothing was seen."""
    return np.sqrt(_mean(np.moveaxis(residuals, 0, -1) ** 2, -1, empty=0.0))


def _mean(x: Floats, axis: int, empty: float = np.nan) -> Floats:
    """Mean over one axis of what is not NaN; `empty` where nothing is."""
    seen = ~np.isnan(x)
    count = seen.sum(axis=axis)
    total = np.where(seen, x, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), empty)
