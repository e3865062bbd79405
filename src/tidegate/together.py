"""What channels usually say together, learned from normal rows and taken out of later ones.

With x the averages of one row in units of their sizes and R their correlations on normal rows, what counts is the
squared distance x' R^-1 x (Mahalanobis 1936) instead of x' x: sensors that move as one count once, and one that leaves
the others counts for more. A channel's part in it is x_c (R^-1 x)_c. Where channels are missing it is the distance of
those that are there, with the correlations among them.

A correlation is believed as far as the rows can tell one: half of it at RELATED independent rows a channel, where an
average over n rows counts as one of n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RELATED = 3.0
WIDE = 128  # channels beyond which each speaks for itself: their correlations grow with the square
SMALLEST = 1e-3  # eigenvalue of the correlations: no combination of channels counts more than a thousandfold


def width(channels: int) -> int:
    """Of so many channels, how many are looked at together: all or none."""
    return channels if channels <= WIDE else 0


def learn(pieces: Iterable[Floats], spans: Sequence[int], witnesses: Sequence[slice], channels: int) -> Floats:
    """The inverse correlations (spans, witnesses, C, C) of averages (T, spans, residuals, C) of normal rows.

    >>> x = np.random.default_rng(0).normal(size=(6000, 1, 1, 1)) * [1.0, 1.0]
    >>> learn([x], (1,), [slice(0, 1)], 2).round()[0, 0].tolist()
    [[500.0, -500.0], [-500.0, 500.0]]

    `witnesses`: which residuals belong together. NaN = missing; a pair of channels is measured where both are there.
    """
    c, count = width(channels), witnesses[-1].stop
    products, squares = np.zeros((2, len(spans), count, c, c))
    rows = np.zeros((count, c))
    for averages in pieces:
        x = averages[..., :c].transpose(1, 2, 0, 3)
        there = ~np.isnan(x)
        x = np.where(there, x, 0.0)
        products += x.swapaxes(2, 3) @ x
        squares += (x**2).swapaxes(2, 3) @ there
        rows += there[0].sum(axis=1)
    size = np.sqrt(squares * squares.swapaxes(2, 3))
    alike = products / np.where(size > 0, size, 1.0)
    pooled = np.stack([alike[:, part].mean(axis=1) for part in witnesses], axis=1)
    seen = np.stack([rows[part].mean(axis=0) for part in witnesses]) / np.array(spans)[:, None, None]
    belief = np.sqrt(seen / (RELATED * max(c, 1) + seen))
    pooled *= belief[..., :, None] * belief[..., None, :]
    pooled[..., np.arange(c), np.arange(c)] = 1.0
    values, vectors = np.linalg.eigh(pooled)
    inverse: Floats = (vectors / np.maximum(values, SMALLEST)[..., None, :]) @ vectors.swapaxes(2, 3)
    alone = (pooled != 0).sum(axis=-1) == 1  # of these the inverse is known exactly, without the solver's rounding
    return np.where(alone[..., None, :] | alone[..., :, None], np.eye(c), inverse)


def parts(sized: Floats, inverse: Floats, witnesses: Sequence[slice]) -> Floats:
    """Each channel's part (T, spans, residuals, C) in the squared distance of averages in units of their sizes.

    Every row is one product by itself, so its bits do not depend on the rows beside it. NaN where a channel is missing.
    """
    if not inverse.shape[-1]:
        return sized**2
    missing = np.isnan(sized)
    x = np.where(missing, 0.0, sized)
    weighed = np.empty_like(x)
    for w, part in enumerate(witnesses):
        mine = np.ascontiguousarray(x[:, :, part])
        weighed[:, :, part] = np.matmul(mine[..., None, :], inverse[:, w, None])[..., 0, :]
    gone = missing[:, 0]  # (T, residuals, C): the same for all spans
    partly = np.logical_and(gone.any(axis=2), ~gone.all(axis=2))
    for w, part in enumerate(witnesses):
        at, which_residual = np.nonzero(partly[:, part])
        of = which_residual + part.start
        patterns, which = np.unique(gone[at, of], axis=0, return_inverse=True)
        for i, pattern in enumerate(patterns):
            rows, residuals = (each[which.ravel() == i] for each in (at, of))
            mine = np.ascontiguousarray(x[rows, :, residuals])
            among = _without(inverse[:, w], pattern)
            weighed[rows, :, residuals] = np.matmul(mine[..., None, :], among[None])[..., 0, :]
    found: Floats = np.where(missing, np.nan, x * weighed)
    return found


def _without(inverse: Floats, gone: NDArray[np.bool_]) -> Floats:
    """The inverse correlations (spans, C, C) among the channels that are there (a Schur complement), 0 elsewhere."""
    kept, lost = np.flatnonzero(~gone), np.flatnonzero(gone)
    across = inverse[:, kept[:, None], lost]
    inside = np.linalg.solve(inverse[:, lost[:, None], lost], across.swapaxes(1, 2))
    found = np.zeros_like(inverse)
    found[:, kept[:, None], kept] = inverse[:, kept[:, None], kept] - across @ inside
    return found
