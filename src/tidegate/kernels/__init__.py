"""Which backend runs what: float32 on the processor goes to the compiled core, the rest to the reference or to torch.

The primitives here are all that a network's forward pass is written in, so that one text trains and runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import cells
from . import cpu, reference

if TYPE_CHECKING:
    from torch import Tensor

    Array = cells.Array | Tensor
else:
    Array = Any

BACKENDS = {
    "running (NumPy)": f"core: {cpu.engine()}; float64: the reference",
    "training (torch)": f"core: {cpu.engine()}; float64 and other devices: torch",
}


def is_numpy(x: Array) -> bool:
    """True for NumPy arrays; everything else that reaches the primitives is a torch tensor."""
    return isinstance(x, np.ndarray)


def scan(cell: str, x: Any, state: Any, weights: Any) -> tuple[Any, Any]:
    """One recurrent layer over time, by the backend for the type of `x`; shapes as in `reference.scan`."""
    if is_numpy(x):
        run = cpu.scan if x.dtype == np.float32 else reference.scan if weights[0].ndim == 2 else reference.many
        return run(cell, x, state, weights)
    from . import layers

    return layers.scan(cell, x, state, weights)


def linear(x: Any, w: Any, b: Any) -> Any:
    """`x @ w.T + b`; for NumPy each row by itself, as `cells.linear`."""
    if not is_numpy(x):
        return x @ w.mT + b
    return cpu.linear(x, w, b) if x.dtype == np.float32 and w.ndim == 2 else cells.linear(x, w, b)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x) if is_numpy(x) else x.tanh()


def stack(parts: list[Any], axis: int) -> Any:
    """Arrays of one shape along a new axis."""
    if is_numpy(parts[0]):
        return np.stack(parts, axis=axis)
    import torch

    return torch.stack(parts, dim=axis)


def repeat(x: Any, count: int, axis: int) -> Any:
    """Each part of an axis `count` times, one after the other.

    >>> repeat(np.array([[1, 2]]), 2, axis=1).tolist()
    [[1, 1, 2, 2]]
    """
    return np.repeat(x, count, axis=axis) if is_numpy(x) else x.repeat_interleave(count, dim=axis)
