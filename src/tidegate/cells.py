"""RNN, LSTM and GRU, one step each: the equations and PyTorch's weight layout, in NumPy. This file is the truth.

Each step takes `x` (..., I), the state `h` (parts, ..., H), and four weights: `w_x` (G*H, I), `w_h` (G*H, H), `b_x`
and `b_h` (G*H,). It returns the next state. parts is 1, or 2 for the LSTM, whose second part is the cell's memory.
Gates are stacked in PyTorch's order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Weights = tuple[Array, Array, Array, Array]
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # what PyTorch calls the four weights, in this order
PARTS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 2, "gru": 1}


def linear(x: Array, w: Array, b: Array) -> Array:
    """`x @ w.T + b`, each row of x by itself: its bits do not depend on how many rows there are.

    >>> linear(np.ones((2, 3)), np.ones((1, 3)), np.zeros(1)).tolist()
    [[3.0], [3.0]]

    One large product would sum in another order for other numbers of rows, so every row is its own (vector times
    matrix) product.
    """
    y: Array = np.matmul(np.ascontiguousarray(x)[..., None, :], w.swapaxes(-1, -2))[..., 0, :] + b
    return y


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), through tanh, which cannot overflow."""
    y: Array = 0.5 * np.tanh(0.5 * x) + 0.5
    return y


def rnn_tanh(x: Array, h: Array, weights: Weights) -> Array:
    """h' = tanh(W_x x + b_x + W_h h + b_h) (Elman 1990)."""
    w_x, w_h, b_x, b_h = weights
    return np.tanh(linear(x, w_x, b_x) + linear(h, w_h, b_h))


def rnn_relu(x: Array, h: Array, weights: Weights) -> Array:
    """h' = max(0, W_x x + b_x + W_h h + b_h)."""
    w_x, w_h, b_x, b_h = weights
    return np.maximum(linear(x, w_x, b_x) + linear(h, w_h, b_h), 0)


def gru(x: Array, h: Array, weights: Weights) -> Array:
    """Gated recurrent unit (Cho et al. 2014); the candidate is gated after the product, as in cuDNN and PyTorch."""
    w_x, w_h, b_x, b_h = weights
    reset_x, update_x, new_x = np.split(linear(x, w_x, b_x), 3, axis=-1)
    reset_h, update_h, new_h = np.split(linear(h, w_h, b_h), 3, axis=-1)
    reset = sigmoid(reset_x + reset_h)
    update = sigmoid(update_x + update_h)
    new = np.tanh(new_x + reset * new_h)
    return new + update * (h - new)


def lstm(x: Array, h: Array, weights: Weights) -> Array:
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with forget gate: Gers et al. 2000)."""
    w_x, w_h, b_x, b_h = weights
    out, memory = h
    put, keep, new, show = np.split(linear(x, w_x, b_x) + linear(out, w_h, b_h), 4, axis=-1)
    memory = sigmoid(keep) * memory + sigmoid(put) * np.tanh(new)
    return np.stack([sigmoid(show) * np.tanh(memory), memory])


STEPS: dict[str, Callable[[Array, Array, Weights], Array]] = {
    "rnn_tanh": rnn_tanh,
    "rnn_relu": rnn_relu,
    "lstm": lstm,
    "gru": gru,
}
