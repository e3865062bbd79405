"""One step of a cell from one state with many inputs, in the core: what a forecaster's segments of the future are.

NumPy in and out; `fanned.py` is its face for torch, `cpp/fan.hpp` the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import fan as go, fan_back as go_back
from .cpu import threads

Floats = NDArray[np.float32]


def forward(
    cell: str, state: Any, weights: tuple[Any, Any], each: Any, own: Any, drop: tuple[Any, ...] = (), count: int = 0
) -> Floats:
    """One step from one state with many inputs: state (parts, N, H) -> y (N, A, H), float32.

    >>> y = forward("rnn_relu", np.ones((1, 2, 1)), (np.ones((1, 1)), np.zeros(1)), np.ones((3, 1)), np.ones((2, 1)))
    >>> y.shape, y[0].ravel().tolist()
    ((2, 3, 1), [3.0, 3.0, 3.0])

    each (A, G*H) and own (N, G*H) are added: they stand for W_x x + b_x of input a of row n, and `weights` are w_h and
    b_h. Nothing of A is multiplied by a matrix. With the model axis all have one more, the state after its parts.
    `drop`: random bytes (N, A, H), below which byte a unit is dropped, and what the others are multiplied by.
    """
    one = np.ndim(weights[0]) == 2
    given = [np.ascontiguousarray(a[None] if one else a, np.float32) for a in (*weights, each, own)]
    parts = tuple(np.ascontiguousarray(part[None] if one else part, np.float32) for part in state)
    drop = (np.ascontiguousarray(drop[0][None] if one else drop[0]), *drop[1:]) if drop else ()
    w_h, b_h, each, own = given
    y = np.empty((*own.shape[:2], each.shape[1], w_h.shape[2]), np.float32)
    go(cell, parts, (w_h, b_h), each, own, drop, y, count or threads())
    return y[0] if one else y


def backward(
    cell: str, state: tuple[Any, ...], weights: tuple[Any, Any], each: Any, own: Any, drop: tuple[Any, ...], dy: Any,
    count: int,
) -> tuple[Floats, ...]:  # fmt: skip
    """Gradients of each, own, the state's parts, w_h and b_h, all with the model axis, from that of y."""
    found = tuple(np.empty(a.shape, np.float32) for a in (each, own, *state, *weights))
    go_back(cell, state, weights, each, own, drop, np.ascontiguousarray(dy), found, count)
    return found
