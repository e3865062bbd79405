"""The same scan for torch tensors, with gradients, and the same AdamW: the core where it can, else torch.

The core takes float32 on the processor. Other types and devices go to torch: its own layers for one model, one batched
loop for M models. `backend` tells which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from .cpu import Adam as Core, backward, engine, forward

TensorWeights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


def backend(x: Tensor) -> str:
    """What runs a layer on this input: "core: avx2", say, or "torch", with the reason.

    >>> backend(torch.zeros(1, dtype=torch.float64))
    'torch: the core is for float32, this is float64'
    """
    if x.device.type != "cpu":
        return f"torch: the core is for the processor, this is on {x.device.type}"
    if x.dtype != torch.float32:
        return f"torch: the core is for float32, this is {str(x.dtype).removeprefix('torch.')}"
    return f"core: {engine()}"


def takes(x: Tensor) -> bool:
    """Whether the core can run a layer on this input."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def scan(
    cell: str, x: Tensor, state: Tensor, weights: TensorWeights, lengths: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """One layer over time: `x` (N, T, I), `state` (parts, N, H) -> outputs (N, T, H), last state.

    With the model axis: `x` (M, N, T, I) or (1, N, T, I) for all, `state` (parts, M, N, H), weights (M, ...), outputs
    (M, N, T, H). `lengths` and `reverse` as in `cpu.scan`; they need the core.
    """
    if takes(x):
        run: Any = Scan.apply
        y, last = run(x, state, *weights, cell, lengths, reverse)
        return y, last
    return _one(cell, x, state, weights) if weights[0].ndim == 2 else _many(cell, x, state, weights)


# The model axis of x, state, w_x, w_h, b_x, b_h, and of y and the last state, for a layer that has none.
AXES = (0, 1, 0, 0, 0, 0)


def _lifted(tensors: Any, one: bool) -> list[Any]:
    """Tensors as arrays with the model axis; in NumPy, where a view costs a tenth of what it costs torch."""
    arrays = [None if t is None else t.detach().numpy() for t in tensors]
    if not one:
        return arrays
    return [None if a is None else a[:, None] if axis else a[None] for a, axis in zip(arrays, AXES, strict=False)]


def _lowered(arrays: Any, one: bool) -> list[Any]:
    """Arrays with the model axis as tensors, without it where there was none."""
    if one:
        arrays = [None if a is None else a[:, 0] if axis else a[0] for a, axis in zip(arrays, AXES, strict=False)]
    return [None if a is None else torch.from_numpy(a) for a in arrays]


class Scan(torch.autograd.Function):
    """The core's layer as one step of torch's gradients, with the model axis or without.

    Going back twice through one call (`retain_graph=True`) runs it forward again; a second derivative is refused.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        """`given`: x, state, w_x, w_h, b_x, b_h, then the cell, lengths, and whether to run in reverse."""
        tensors, ctx.cell, lengths, ctx.reverse = given[:6], *given[6:]
        ctx.one = tensors[2].ndim == 2
        ctx.lengths = None if lengths is None else lengths.numpy()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        y, last, ctx.tape = Scan._run(ctx, _lifted(tensors, ctx.one), any(ctx.needs_input_grad))
        return tuple(_lowered((y, last), ctx.one))

    @staticmethod
    def _run(ctx: Any, arrays: Any, keep: bool) -> Any:
        x, state, *weights = arrays
        count = torch.get_num_threads()
        return forward(ctx.cell, x, state, tuple(weights), ctx.lengths, reverse=ctx.reverse, keep=keep, count=count)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Gradients of what `forward` was given."""
        if all(g is None for g in grads):
            return (None,) * 9
        arrays = _lifted(ctx.saved_tensors, ctx.one)
        if ctx.tape.used:
            ctx.tape = Scan._run(ctx, arrays, True)[2]
        x, state, *weights = arrays
        found = backward(
            ctx.tape, x, state, tuple(weights), tuple(_lifted(grads, ctx.one)), ctx.needs_input_grad[:6],
            torch.get_num_threads(),
        )  # fmt: skip
        return *_lowered(found, ctx.one), None, None, None


def _one(cell: str, x: Tensor, state: Tensor, weights: Any) -> tuple[Tensor, Tensor]:
    layer = getattr(torch, cell)  # torch.gru, torch.lstm, ...: what torch.nn's modules call
    hidden = [part[None] for part in state]  # a leading axis for torch's layers and directions
    start = hidden if cell == "lstm" else hidden[0]
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    y, *last = layer(x, start, list(weights), True, 1, 0.0, False, False, True)
    return y, torch.cat(last)


def _many(cell: str, x: Tensor, state: Tensor, weights: Any) -> tuple[Tensor, Tensor]:
    w_x, w_h, b_x, b_h = weights
    gates = x @ w_x[:, None].mT + b_x[:, None, None]  # (M, N, T, G*H)
    outputs = []
    for t in range(x.shape[-2]):
        state = _STEPS[cell](gates[..., t, :], state, w_h.mT, b_h[:, None])
        outputs.append(state[0])
    return torch.stack(outputs, dim=-2), state


def _rnn_tanh(gates: Tensor, state: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.tanh(gates + state[0] @ w + b)[None]


def _rnn_relu(gates: Tensor, state: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.relu(gates + state[0] @ w + b)[None]


def _gru(gates: Tensor, state: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = state[0]
    reset_x, update_x, new_x = gates.chunk(3, dim=-1)
    reset_h, update_h, new_h = (h @ w + b).chunk(3, dim=-1)
    update = torch.sigmoid(update_x + update_h)
    new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
    return (new + update * (h - new))[None]


def _lstm(gates: Tensor, state: Tensor, w: Tensor, b: Tensor) -> Tensor:
    put, keep, new, show = (gates + state[0] @ w + b).chunk(4, dim=-1)
    memory = torch.sigmoid(keep) * state[1] + torch.sigmoid(put) * torch.tanh(new)
    return torch.stack([torch.sigmoid(show) * torch.tanh(memory), memory])


_STEPS = {"rnn_tanh": _rnn_tanh, "rnn_relu": _rnn_relu, "gru": _gru, "lstm": _lstm}


class Adam:
    """AdamW (Loshchilov & Hutter 2019) over M models at once: their weights (M, ...), which each step changes in place.

    >>> weights, slope = [torch.zeros(2, 3)], torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])
    >>> Adam(weights).step([slope], np.array([0.1, 0.01]), decay=0.0, clip=9.0).tolist()
    [1.73..., 2.0]
    >>> [round(float(w), 6) for w in weights[0].ravel()]
    [-0.1, -0.1, -0.1, -0.01, 0.0, 0.0]

    Each model has a rate of its own, and a gradient that is shortened to the norm `clip` over all its weights.
    """

    def __init__(
        self, weights: list[Tensor], means: Any = None, squares: Any = None, steps: NDArray[np.int64] | None = None
    ) -> None:
        """Without moments and steps: nothing taken yet. Tensors must be contiguous, and no part of a graph."""
        self.weights = weights
        self.means: list[Tensor] = [torch.zeros_like(w) for w in weights] if means is None else means
        self.squares: list[Tensor] = [torch.zeros_like(w) for w in weights] if squares is None else squares
        self.steps = np.zeros(len(weights[0]), np.int64) if steps is None else steps
        self._core = None
        if all(map(takes, weights)):
            arrays = [tuple(t.numpy() for t in kind) for kind in (weights, self.means, self.squares)]
            self._core = Core(arrays[0], arrays[1], arrays[2], self.steps)

    def only(self, kept: list[int]) -> Adam:
        """Some of the models, as they are now, in memory of their own."""
        weights, means, squares = ([t[kept] for t in kind] for kind in (self.weights, self.means, self.squares))
        return Adam(weights, means, squares, self.steps[kept])

    def step(
        self, grads: Sequence[Tensor | None], rates: NDArray[np.float64], *, decay: float, clip: float
    ) -> NDArray[np.float64]:
        """One step down; the norm of each model's gradient (M,). A weight without a gradient stays as it is."""
        if self._core is None:
            self.steps += 1
            return _adam(self.weights, grads, self.means, self.squares, rates, self.steps, decay, clip)
        norms, arrays = np.empty(len(rates)), (None if g is None else g.contiguous().numpy() for g in grads)
        self._core.step(tuple(arrays), rates, decay, clip, norms)
        return norms


@torch.no_grad()
def _adam(
    weights: Any, grads: Any, means: Any, squares: Any, rates: Any, steps: Any, decay: float, clip: float
) -> NDArray[np.float64]:
    """What `cpp/adam.hpp` does, in torch."""
    given = [(w, g, m, v) for w, g, m, v in zip(weights, grads, means, squares, strict=True) if g is not None]
    parts = [torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for _, g, _, _ in given]
    norms: NDArray[np.float64] = torch.linalg.vector_norm(torch.stack(parts), dim=0).cpu().double().numpy()
    keep = np.where((kept := clip / (norms + 1e-6)) > 1, 1.0, kept)  # what is no number stays none
    told = keep, 1 - rates * decay, rates / (1 - 0.9**steps), 1 / np.sqrt(1 - 0.999**steps)
    for w, g, m, v in given:
        ours = (torch.as_tensor(t, dtype=w.dtype, device=w.device).reshape(-1, *[1] * (w.ndim - 1)) for t in told)
        keeps, shrink, pace, settled = ours
        slope = g * keeps
        m.lerp_(slope, 0.1)
        v.mul_(0.999).addcmul_(slope, slope, value=0.001)
        w.mul_(shrink).sub_(pace * (m / (v.sqrt() * settled + 1e-8)))
    return norms
