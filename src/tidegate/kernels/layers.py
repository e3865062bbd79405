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

from ..errors import SettingError
from .cpu import Adam as Core, engine
from .stacked import Plan as Plan, Run

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
    (M, N, T, H). `lengths` and `reverse` as in `cpu.scan`; without the core they are refused.
    """
    if not takes(x):
        if lengths is not None or reverse:
            raise SettingError(f"lengths or reverse with a tensor on {backend(x)}", wanted="float32 on the processor")
        return _one(cell, x, state, weights) if weights[0].ndim == 2 else _many(cell, x, state, weights)
    plan = Plan(cell, lengths=None if lengths is None else lengths.numpy(), reverse=reverse)
    parts = state.unsqueeze(1)
    y, *last = stack(plan, x, (parts[0], parts[1]) if cell == "lstm" else (parts[0],), list(weights))
    return y, torch.cat(last) if cell == "lstm" else last[0]


def stack(
    plan: Plan, x: Tensor, state: Sequence[Tensor] | None, weights: Sequence[Tensor | None], turned: bool = False
) -> tuple[Tensor, ...]:
    """A stack of layers in the core: outputs, then each part of the last state (K, [M,] N, H), K layers times ways.

    `state`: as the last state, or None for zeros. `turned`: time before sequences, in x and in the outputs.
    """
    run: Any = Stack.apply
    h, c = (None, None) if state is None else (state[0], state[1] if len(state) > 1 else None)
    found: tuple[Tensor, ...] = run(plan, turned, torch.is_grad_enabled(), x, h, c, *weights)
    return found


class Stack(torch.autograd.Function):
    """The core's stack of layers as one step of torch's gradients, with the model axis or without.

    Going back twice through one call (`retain_graph=True`) runs it forward again; a second derivative is refused.
    Arrays are taken from tensors and views made of them in NumPy, where that costs a tenth of what it costs torch.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, ...]:
        """`given`: the plan, whether x is turned, whether gradients are on, x, the state's parts or None, weights."""
        ctx.plan, ctx.turned, grads, *tensors = given
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.one = tensors[3].ndim == 2
        run, y, last = Stack._run(ctx, tensors, grads and any(ctx.needs_input_grad))
        ctx.run = run if grads else None
        if ctx.one:
            y, last = y[0], last[:, :, 0]
        y = np.ascontiguousarray(y.swapaxes(-3, -2)) if ctx.turned else y
        return torch.from_numpy(y), *map(torch.from_numpy, last)

    @staticmethod
    def _run(ctx: Any, tensors: Any, keep: bool) -> tuple[Run, Any, Any]:
        arrays: list[Any] = [None if t is None else t.detach().numpy() for t in tensors]
        x, h, c, *weights = arrays
        x = x.swapaxes(-3, -2) if ctx.turned else x
        state = [part for part in (h, c) if part is not None]
        if ctx.one:
            x, state = x[None], [part[:, None] for part in state]
            weights = [None if w is None else w[None] for w in weights]
        run = Run(ctx.plan, weights, torch.get_num_threads())
        start = (np.stack(state) if len(state) > 1 else state[0][None]) if state else None
        return run, *run.forward(x, start, keep=keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Gradients of what `forward` was given."""
        with torch.no_grad():
            found = Stack._back(ctx, *grads)
        if not torch.is_grad_enabled():
            return found
        # Somebody wants to go on from these gradients: what they depend on must not be forgotten in silence.
        roots = [t for t in (*ctx.saved_tensors, *grads) if t is not None and t.requires_grad]
        refuse: Any = Refused.apply
        return tuple(None if g is None else refuse(g, *roots) for g in found)

    @staticmethod
    def _back(ctx: Any, *grads: Tensor | None) -> Any:
        want, tensors = ctx.needs_input_grad, ctx.saved_tensors  # refused where one was changed meanwhile
        if all(g is None for g in grads):
            return (None,) * len(want)
        run = Stack._run(ctx, tensors, True)[0] if ctx.run is None else ctx.run
        ctx.run = None  # what is kept is good for one way back, and as large as the work
        dy, *dlast = (None if g is None else g.numpy() for g in grads)
        dy = dy.swapaxes(-3, -2) if dy is not None and ctx.turned else dy
        if ctx.one:
            dy = None if dy is None else dy[None]
            dlast = [None if part is None else part[:, None] for part in dlast]
        dx, dstate, dweights = run.backward(dy, dlast, (want[3], want[4] or want[5], list(want[6:])))
        if ctx.one:
            dx, dstate = None if dx is None else dx[0], None if dstate is None else dstate[:, :, 0]
            dweights = [None if w is None else w[0] for w in dweights]
        dx = np.ascontiguousarray(dx.swapaxes(-3, -2)) if dx is not None and ctx.turned else dx
        parts = [None, None] if dstate is None else [*dstate, None][:2]
        return None, None, None, *(None if a is None else torch.from_numpy(a) for a in (dx, *parts, *dweights))


class Refused(torch.autograd.Function):
    """A gradient as it is, whose own gradient is refused."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, *roots: Tensor) -> Tensor:
        """`roots`: all that the gradient depends on."""
        return grad.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Refuses."""
        raise SettingError(
            "a second derivative through a layer of the core",
            wanted="first derivatives",
            do="use the layer of torch.nn with the same state_dict for this loss",
        )


def _one(cell: str, x: Tensor, state: Tensor, weights: Any) -> tuple[Tensor, Tensor]:
    layer = getattr(torch, cell)  # torch.gru, torch.lstm, ...: what torch.nn's modules call
    hidden = [part[None] for part in state]  # a leading axis for torch's layers and directions
    start = hidden if cell == "lstm" else hidden[0]
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    biased = [w for w in weights if w is not None]
    y, *last = layer(x, start, biased, len(biased) == 4, 1, 0.0, False, False, True)
    return y, torch.cat(last)


def _many(cell: str, x: Tensor, state: Tensor, weights: Any) -> tuple[Tensor, Tensor]:
    w_x, w_h, *biases = weights
    b_x, b_h = (w_x.new_zeros(w_x.shape[:2]) if b is None else b for b in biases)
    gates = x @ w_x[:, None].mT + b_x[:, None, None]  # (M, N, T, G*H)
    outputs = []
    for t in range(x.shape[-2]):
        state = STEPS[cell](gates[..., t, :], state, w_h.mT, b_h[:, None])
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


STEPS = {"rnn_tanh": _rnn_tanh, "rnn_relu": _rnn_relu, "gru": _gru, "lstm": _lstm}


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
