"""A recurrent stack and its heads: written once, in the primitives of `kernels/`, for torch and for NumPy.

Parameters are a plain dict of arrays. The stack's names are `torch.nn`'s (`weight_ih_l0`, ...), so they load there as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .cells import GATES, KINDS, PARTS
from .settings import Network

Params = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]


def stack_shapes(net: Network, inputs: int) -> Shapes:
    """The names and shapes of a stack's weights.

    >>> stack_shapes(Network(hidden=2), 3)["weight_ih_l0"]
    (6, 3)
    """
    rows = GATES[net.cell] * net.hidden
    found: Shapes = {}
    for layer in range(net.layers):
        found[f"weight_ih_l{layer}"] = (rows, net.hidden if layer else inputs)
        found[f"weight_hh_l{layer}"] = (rows, net.hidden)
        found[f"bias_ih_l{layer}"] = found[f"bias_hh_l{layer}"] = (rows,)
    return found


def dense_shapes(name: str, inputs: int, outputs: int) -> Shapes:
    """The names and shapes of one dense layer's weights."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def init(shapes: Shapes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """First weights: recurrent ones orthogonal gate by gate, others uniform in +-1/sqrt(inputs), biases zero.

    Orthogonal recurrence keeps the length of the state through time (Saxe et al. 2014).
    """
    return {name: _first(name, shape, rng).astype(np.float32) for name, shape in shapes.items()}


def _first(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    if len(shape) == 1:
        return np.zeros(shape)
    if "weight_hh" not in name:
        uniform: NDArray[np.float64] = rng.uniform(-1, 1, shape) / np.sqrt(shape[1])
        return uniform
    squares = rng.standard_normal((shape[0] // shape[1], shape[1], shape[1]))
    return np.concatenate([np.linalg.qr(square)[0] for square in squares])


def start(net: Network, n: int) -> NDArray[np.float32]:
    """The state before anything was read, for n sequences: zeros (layers, parts, n, H)."""
    return np.zeros((net.layers, PARTS[net.cell], n, net.hidden), dtype=np.float32)


def _keep(x: Any) -> Any:
    return x


def afresh(cell: str, hidden: int, x: Any, weights: Sequence[Any]) -> Any:
    """The outputs of one layer that has read nothing before: x (..., N, T, I) -> (..., N, T, H)."""
    sides = (PARTS[cell], *x.shape[:-2], hidden)
    start = np.zeros(sides, x.dtype) if kernels.is_numpy(x) else x.new_zeros(sides)
    return kernels.scan(cell, x, start, tuple(weights))[0]


def stack(params: Params, net: Network, x: Any, state: Any, drop: Callable[[Any], Any] = _keep) -> tuple[Any, Any]:
    """Run the stack over time: `x` (N, T, I), `state` (layers, parts, N, H) -> outputs (N, T, H), last state.

    `drop` is applied between layers while training (dropout).
    """
    last = []
    for layer in range(net.layers):
        weights = [params[f"{kind}_l{layer}"] for kind in KINDS]
        x, end = kernels.scan(net.cell, drop(x) if layer else x, state[layer], tuple(weights))
        last.append(end)
    return x, kernels.stack(last, axis=0)


def dense(params: Params, name: str, x: Any) -> Any:
    """One dense layer by its name."""
    return kernels.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])
