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
