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
    """True for NumPy arrays and what acts as one (`traced`); all else that reaches the primitives is a torch tensor."""
    return hasattr(x, "__array_function__")


def is_plain(x: Array) -> bool:
    """True for NumPy arrays and nothing else."""
    return isinstance(x, np.ndarray)


def scan(cell: str, x: Any, state: Any, weights: Any) -> tuple[Any, Any]:
    """One recurrent layer over time, by the backend for the type of `x`; shapes as in `reference.scan`."""
    if is_numpy(x):
        if not is_plain(weights[0]):
            from . import traced

            return traced.scan(cell, x, state, weights)
        run = cpu.scan if x.dtype == np.float32 else reference.scan if weights[0].ndim == 2 else reference.many
        return run(cell, x, state, weights)
    from . import layers

    return layers.scan(cell, x, state, weights)


def linear(x: Any, w: Any, b: Any) -> Any:
    """`x @ w.T + b`; for NumPy each row by itself, as `cells.linear`."""
    if not is_numpy(x):
        return x @ w.mT + b
    if not is_plain(w):
        from . import traced

        return traced.linear(x, w, b)
    return cpu.linear(x, w, b) if x.dtype == np.float32 and w.ndim == 2 else cells.linear(x, w, b)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x) if is_numpy(x) else x.tanh()


def relu(x: Any, leak: float = 0.0) -> Any:
    """What is above zero, and zero; or a small share, `leak`, of what is below.

    >>> relu(np.array([-1.0, 2.0])).tolist(), relu(np.array([-1.0, 2.0]), leak=0.1).tolist()
    ([0.0, 2.0], [-0.1, 2.0])
    """
    if is_numpy(x):
        return np.maximum(x, leak * x if leak else 0)
    return x.maximum(leak * x) if leak else x.relu()


def flip(x: Any, axis: int) -> Any:
    """The same from the last to the first.

    >>> flip(np.array([1.0, 2.0]), axis=0).tolist()
    [2.0, 1.0]
    """
    return np.flip(x, axis) if is_numpy(x) else x.flip(axis)


def join(parts: list[Any]) -> Any:
    """Arrays side by side, along their last axis.

    >>> join([np.zeros((2, 1)), np.ones((2, 2))]).tolist()
    [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """
    if is_numpy(parts[0]):
        return np.concatenate(parts, axis=-1)
    import torch

    return torch.cat(parts, dim=-1)


def detach(x: Any) -> Any:
    """The same numbers, through which no gradient goes back.

    >>> detach(np.ones(1)).tolist()
    [1.0]
    """
    return x if is_plain(x) else x.detach()


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


def conv(x: Any, w: Any, b: Any, lengths: Any, stride: int = 1, leak: float = 0.0) -> Any:
    """A convolution over time and `relu`, 0 after each length: (..., T, C) -> (..., ceil(T / stride), O).

    >>> x = np.arange(1.0, 6.0, dtype=np.float32).reshape(1, 5, 1)
    >>> conv(x, np.ones((1, 3), np.float32), np.zeros(1, np.float32), np.array([2]), stride=2).ravel().tolist()
    [3.0, 9.0, 0.0]

    w (O, width * C), width >= stride; b (O,); lengths (...) count the steps of the answer. Step j sees the `width`
    steps that end with step (j + 1) * stride - 1; zeros stand before the first and after the last, so that zeros that
    pad a sequence change nothing. It is a product with the steps of each window side by side: `linear`, whose bits do
    not depend on the rows around it. For torch with the model axis.
    """
    width, steps = w.shape[-1] // x.shape[-1], x.shape[-2]
    sides, seen = (width - stride, -steps % stride), inside(lengths, -(-steps // stride))
    if not is_numpy(x):
        from . import pieces

        return pieces.conv(x, w, b, stride, sides, seen, leak)
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [sides, (0, 0)])
    last = x.shape[-2] - width + 1
    windows = join([x[..., k : last + k : stride, :] for k in range(width)])
    return relu(linear(windows, w, b), leak) * seen[..., None]


def steps(x: Any) -> Any:
    """How far each step of x (..., T, C) is from the one before, 0 for the first.

    >>> steps(np.array([[1.0], [3.0], [2.0]])).ravel().tolist()
    [0.0, 2.0, -1.0]
    """
    if is_numpy(x):
        return np.diff(x, axis=-2, prepend=x[..., :1, :])
    return x.diff(dim=-2, prepend=x[..., :1, :])


def highest(x: Any, count: int) -> Any:
    """Of every `count` steps the highest, number by number: (..., T, C) -> (..., ceil(T / count), C).

    >>> highest(np.array([[1.0], [3.0], [2.0]]), 2).ravel().tolist()
    [3.0, 2.0]

    Zeros stand after the last, as after each length in `conv`. For torch with the model axis.
    """
    if count == 1:
        return x
    if not is_numpy(x):
        from . import pieces

        return pieces.highest(x, count)
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, -x.shape[-2] % count), (0, 0)])
    return x.reshape(*x.shape[:-2], -1, count, x.shape[-1]).max(axis=-2)


def inside(lengths: Any, steps: int) -> Any:
    """Which of `steps` steps belong to sequences of these lengths (...): True in (..., steps)."""
    if is_numpy(lengths):
        return np.arange(steps) < lengths[..., None]
    import torch

    return torch.arange(steps, device=lengths.device) < lengths[..., None]


def turn(x: Any, lengths: Any) -> Any:
    """Each sequence of x (..., T, C) from its last step to its first; what is after its length stays there.

    >>> turn(np.array([[[1], [2], [3], [0]]]), np.array([3])).ravel().tolist()
    [3, 2, 1, 0]
    """
    steps = x.shape[-2]
    if is_numpy(x):
        at = np.arange(steps)
        return np.take_along_axis(x, np.where(inside(lengths, steps), lengths[..., None] - 1 - at, at)[..., None], -2)
    import torch

    from . import pieces

    own = torch.arange(steps, device=x.device)
    return pieces.turn(x, torch.where(inside(lengths, steps), lengths[..., None] - 1 - own, own))


def pool(x: Any, lengths: Any) -> Any:
    """Last step, mean and maximum over the steps inside each length, side by side: (..., T, C) -> (..., 3 C).

    >>> pool(np.array([[[1.0], [3.0], [9.0]]]), np.array([2])).tolist()
    [[3.0, 2.0, 3.0]]

    For NumPy the mean is summed step by step, so that neither padding nor other sequences change its bits. For torch
    with the model axis.
    """
    if not is_numpy(x):
        from . import pieces

        return pieces.pool(x, lengths)
    seen = inside(lengths, x.shape[-2])[..., None]
    last = np.take_along_axis(x, (lengths - 1)[..., None, None], -2)[..., 0, :]
    total = np.where(seen, x, 0).cumsum(axis=-2)[..., -1, :]  # one by one
    largest = np.where(seen, x, -np.inf).max(axis=-2)
    return join([last, total / lengths[..., None].astype(x.dtype), largest])
