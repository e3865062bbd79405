"""The compiled scan: one recurrent layer over time, forward and backward, NumPy arrays in and out; and AdamW.

Float32 on the processor; everything else is the reference's or torch's. Each row is summed in one order whatever is
beside it, so its bits do not depend on the batch, on padding, or on threads. The C++ is in `cpp/`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cells import PARTS
from ..errors import SettingError
from ._core import (
    Adam as Adam,
    Tape,
    backward as go_back,
    engine as engine,
    engines as engines,
    forward as go,
    linear as product,
    use as use,
)

Floats = NDArray[np.float32]
Arrays = tuple[Floats | None, ...]

_threads = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
try:
    use(os.environ.get("TIDEGATE_ISA", ""))
except ValueError as error:
    raise SettingError(
        f"TIDEGATE_ISA is {os.environ['TIDEGATE_ISA']!r}",
        wanted=", ".join(engines()),
        do="unset TIDEGATE_ISA to let the core choose",
    ) from error


def threads(count: int | None = None) -> int:
    """How many threads `scan` may use; with `count`, from now on. Small calls use one. No bit depends on it.

    Layers of `tidegate.nn` use as many as `torch.get_num_threads()` says.

    >>> threads() >= 1
    True
    """
    if count is not None:
        if count < 1:
            raise SettingError(f"{count} threads", wanted="1 or more")
        _threads[0] = count
    return _threads[0]


def scan(
    cell: str,
    x: NDArray[Any],
    state: NDArray[Any],
    weights: tuple[Any, ...],
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[Floats, Floats]:
    """Run one layer over time: shapes as `reference.scan`, float32.

    >>> weights = tuple(np.ones(size, np.float32) for size in ((3, 1), (3, 1), (3,), (3,)))
    >>> y, last = scan("gru", np.ones((1, 2, 1), np.float32), np.zeros((1, 1, 1), np.float32), weights)
    >>> bool(y[0, -1] == last[0])
    True

    x (N, T, I), state (parts, N, H) -> y (N, T, H), last state. With the model axis everything has one more: x
    (M, N, T, I) or (1, N, T, I) for all, state (parts, M, N, H), weights (M, ...). `lengths` (N,): steps of each row; y
    is 0 after them and the last state is theirs. `reverse`: each row from its last step to its first. A bias may be
    None. Raises ValueError that names the argument.
    """
    one = np.ndim(weights[0]) == 2
    inputs = x[None] if one else x
    start = state[:, None] if one else state
    if inputs.ndim != 4 or start.ndim != 4 or len(start) != PARTS.get(cell, 0):
        saw = f"x of shape {x.shape} and state of shape {state.shape} for {cell!r}"
        raise ValueError(f"{saw}; wanted: (M, N, T, I) and (parts, M, N, H) of rnn_tanh, rnn_relu, lstm or gru")
    heavy = tuple(None if w is None else w[None] if one else w for w in weights)
    last = np.empty_like(start, order="C")
    y, _ = forward(
        cell, inputs, tuple(start), heavy, lengths, tuple(last), reverse=reverse, keep=False, count=threads()
    )
    return (y[0], last[:, 0]) if one else (y, last)


def linear(x: NDArray[Any], w: NDArray[Any], b: NDArray[Any]) -> Floats:
    """`x @ w.T + b` in float32, each row of x summed in one order: x (..., K), w (O, K), b (O,) -> (..., O).

    >>> linear(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32), np.zeros(1, np.float32)).tolist()
    [[3.0], [3.0]]
    """
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    y = np.empty((len(rows), len(w)), np.float32)
    product(rows, np.ascontiguousarray(w), np.ascontiguousarray(b), y)
    return y.reshape(*x.shape[:-1], len(w))


def forward(
    cell: str, x: Any, state: Arrays, weights: Arrays, lengths: Any, last: Arrays, *, reverse: bool, keep: bool,
    count: int,
) -> tuple[Floats, Tape | None]:  # fmt: skip
    """With the model axis: y (M, N, T, H), and with `keep` what `backward` needs; the last state is written to `last`.

    `state`: its parts (M, N, H), () for zeros.
    """
    models, (_, rows, steps, _) = len(last[0]), x.shape  # type: ignore[arg-type]
    y = np.empty((models, rows, steps, last[0].shape[2]), np.float32)  # type: ignore[union-attr]
    lengths = None if lengths is None else np.ascontiguousarray(lengths)
    solid = (np.ascontiguousarray(x), _solid(state), _solid(weights))
    return y, go(cell, *solid, lengths, reverse, y, last, keep, count)


def backward(
    tape: Tape, x: Any, weights: Arrays, dy: Any, dlast: Arrays, dstate: Arrays,
    *, wanted: tuple[bool, Sequence[bool]], count: int,
) -> tuple[Floats | None, Arrays]:  # fmt: skip
    """Gradients of x and of the weights, None where not `wanted`; that of the first state is written to `dstate`.

    `dy`, `dlast`: of y and of the last state's parts; None or () where nothing depends on them.
    """
    solid = _solid(weights)
    models, (given, rows, steps, inputs) = len(solid[1]), x.shape  # type: ignore[arg-type]
    dx = np.empty((models, rows, steps, inputs), np.float32) if wanted[0] else None
    dweights = tuple(
        np.empty_like(w) if w is not None and want else None for w, want in zip(solid, wanted[1], strict=True)
    )
    dy = None if dy is None else np.ascontiguousarray(dy)
    go_back(tape, x, solid, dy, _solid(dlast), dx, dstate, dweights, count)
    return (dx if dx is None or given == models else dx.sum(axis=0, keepdims=True)), dweights


def _solid(arrays: Arrays) -> Arrays:
    return tuple([None if a is None else np.ascontiguousarray(a) for a in arrays])
