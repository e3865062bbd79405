"""The loop over `cells.py`: slow, readable, and what every faster kernel must agree with."""

from __future__ import annotations

import numpy as np

from ..cells import STEPS, Array, Weights


def scan(cell: str, x: Array, state: Array, weights: Weights) -> tuple[Array, Array]:
    """Run one layer over time: `x` (N, T, I) and `state` (parts, N, H) give outputs (N, T, H) and the last state.

    >>> weights = (np.ones((3, 1)), np.ones((3, 1)), np.zeros(3), np.zeros(3))
    >>> y, last = scan("gru", np.ones((1, 2, 1)), np.zeros((1, 1, 1)), weights)
    >>> bool(y[0, -1] == last[0])
    True
    """
    step = STEPS[cell]
    y = np.empty((*x.shape[:-1], state.shape[-1]), dtype=x.dtype)
    for t in range(x.shape[-2]):
        state = step(x[..., t, :], state, weights)
        y[..., t, :] = state[0]
    return y, state


def many(cell: str, x: Array, state: Array, weights: Weights) -> tuple[Array, Array]:
    """`scan` of M models: everything has a leading axis of them, in the state after its parts; x may be (1, N, T, I).

    >>> weights = (np.ones((2, 3, 1)), np.ones((2, 3, 1)), np.zeros((2, 3)), np.zeros((2, 3)))
    >>> many("gru", np.ones((1, 4, 5, 1)), np.zeros((1, 2, 4, 1)), weights)[0].shape
    (2, 4, 5, 1)
    """
    w_x, w_h, b_x, b_h = weights
    each = [scan(cell, x[min(m, len(x) - 1)], state[:, m], (w_x[m], w_h[m], b_x[m], b_h[m])) for m in range(len(w_h))]
    return np.stack([y for y, _ in each]), np.stack([last for _, last in each], axis=1)
