"""The linear recurrent unit, the fourth cell: one step, in NumPy. It has weights of its own and learns online only.

Its recurrence is diagonal, so that exact traces of its weights cost no more than its step (Zucchet et al. 2023): long
memory without a window to choose. `rules.py` learns with it, the core in microseconds.
"""

from __future__ import annotations

import numpy as np

from .cells import Array, linear


def step(x: Array, h: Array, weights: tuple[Array, ...]) -> Array:
    """Linear recurrent unit (Orvieto et al. 2023): h' = lambda h + gamma B x, each unit a complex number of its own.

    lambda = exp(-e^nu + i theta), gamma = sqrt(1 - |lambda|^2). h (2, ..., H): real and imaginary parts. Weights: nu
    and theta (H,), Re B and Im B (H, I), and those of `out`.
    """
    nu, theta, b_re, b_im = weights[:4]
    size, zero = np.exp(-np.exp(nu)), np.zeros_like(nu)
    re, im, gamma = size * np.cos(theta), size * np.sin(theta), np.sqrt(1 - size**2)
    return np.stack(
        [
            re * h[0] - im * h[1] + gamma * linear(x, b_re, zero),
            re * h[1] + im * h[0] + gamma * linear(x, b_im, zero),
        ]
    )


def out(x: Array, h: Array, weights: tuple[Array, ...]) -> Array:
    """What an LRU shows: tanh(V_re Re h + V_im Im h + D x + b); V (H, H) each, D (H, I), b (H,)."""
    v_re, v_im, d, b = weights[4:]
    zero = np.zeros_like(b)
    return np.tanh(linear(h[0], v_re, zero) + linear(h[1], v_im, zero) + linear(x, d, b))
