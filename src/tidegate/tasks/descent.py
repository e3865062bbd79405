"""The loss of a forecaster's batch with its gradient, in the core, as one step of torch's gradients.

What `segments.forward` says, for one layer and many models at once, and the way back through it, each product written
once: through torch's gradients the same takes twice as long, most of it between the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..kernels import cpu, fans
from .segments import Drop, Form

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class Batch(NamedTuple):
    """Windows x (M, N, L * wide), their channels (M, N) and their futures y (M, N, K), NaN = missing."""

    x: Floats
    channel: NDArray[np.int64]
    y: Floats
    whole: bool = False
    """whether nothing in y is missing"""


def takes(form: Form, params: dict[str, Tensor]) -> bool:
    """Whether the core can do it: one layer, float32 on the processor, nothing known ahead."""
    plain = form.net.layers == 1 and not form.features
    return plain and all(w.device.type == "cpu" and w.dtype == torch.float32 for w in params.values())


def loss(params: dict[str, Tensor], form: Form, batch: Batch, drop: Drop | None = None) -> Tensor:
    """The mean absolute error of each model (M,), where a future is known."""
    run: Any = _Loss.apply
    found: Tensor = run(form, batch, drop, tuple(params), torch.is_grad_enabled(), *params.values())
    return found


class _Loss(torch.autograd.Function):
    """Gradients are taken on the way forward, where all that they need is still at hand."""

    @staticmethod
    def forward(
        ctx: Any, form: Form, batch: Batch, drop: Drop | None, names: Any, grads: bool, *weights: Tensor
    ) -> Any:
        pass_ = _Pass(form, batch, dict(zip(names, (w.detach() for w in weights), strict=True)))
        losses, slope = _misses(pass_.forward(drop).numpy(), batch, grads)
        if grads:
            found = pass_.backward(torch.from_numpy(slope))
            ctx.found = [found[name] for name in names]
        return torch.from_numpy(losses)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Gradients of the weights; each model's times that of its loss."""
        of_each = grads[0]
        plain = bool((of_each.numpy() == 1).all())
        told = (g if plain else g * of_each.reshape(-1, *[1] * (g.ndim - 1)) for g in ctx.found)
        return None, None, None, None, None, *told


def _misses(said: Floats, batch: Batch, grads: bool) -> tuple[Floats, Floats]:
    """The mean absolute errors (M,) of answers (M, N, >= K), and their slopes."""
    steps = batch.y.shape[-1]
    miss = said[..., :steps] - batch.y
    if batch.whole:
        share = np.full((len(miss), 1, 1), 1 / miss[0].size, np.float32)
    else:
        known = ~np.isnan(miss)
        share = (known / np.maximum(known.sum((-2, -1), keepdims=True), 1)).astype(np.float32)
        miss = np.nan_to_num(miss)
    losses = (np.abs(miss) * share).sum((-2, -1)) if not batch.whole else np.abs(miss).mean((-2, -1))
    slope = said  # its memory, where nobody looks any more
    if grads:
        np.copysign(share, miss, out=slope[..., :steps])
        slope[..., steps:] = 0
    return losses.astype(np.float32), slope


class _Pass:
    """One way forward through the network, and back; all with the model axis."""

    def __init__(self, form: Form, batch: Batch, weights: dict[str, Tensor]) -> None:
        self.form, self.batch, self.w = form, batch, weights
        self.past, self.future = (
            tuple(weights[f"{part}.{name}"].numpy() for name in NAMES) for part in ("past", "future")
        )
        self.table = torch.from_numpy(batch.channel + form.channels * np.arange(len(batch.channel))[:, None]).ravel()

    def forward(self, drop: Drop | None) -> Tensor:
        """Answers (M, N, answers * answer)."""
        form, w, (models, n, _) = self.form, self.w, self.batch.x.shape
        cell, hidden = form.net.cell, form.net.hidden
        x = self.batch.x[..., form.lookback % form.segment * form.wide :]
        self.x = np.ascontiguousarray(x).reshape(models, n, -1, form.segment * form.wide)
        self.state = np.empty((2 if cell == "lstm" else 1, models, n, hidden), np.float32)
        _, self.tape = cpu.forward(
            cell, self.x, (), self.past, None, tuple(self.state), reverse=False, keep=True, count=1
        )
        w_x, b_x = w["future.weight_ih_l0"], w["future.bias_ih_l0"]
        self.each = torch.baddbmm(b_x[:, None], w["position"], w_x.mT).numpy()
        own = (w["channel"] @ w_x.mT).reshape(models * form.channels, -1)[self.table]
        self.own = own.reshape(models, n, -1).numpy()
        self.drop = drop((models, n, form.answers, hidden)) if drop else ()
        heavy = (self.future[1], self.future[3])
        y = fans.forward(cell, self.state, heavy, self.each, self.own, self.drop, 1)
        self.y = torch.from_numpy(y.reshape(models, -1, hidden))
        return torch.baddbmm(w["out.bias"][:, None], self.y, w["out.weight"].mT).reshape(models, n, -1)

    def backward(self, slope: Tensor) -> dict[str, Tensor]:
        """The gradients of all weights, from that of the answers."""
        form, w, models, tape = self.form, self.w, len(slope), self.tape
        assert tape is not None
        slope = slope.reshape(models, -1, form.answer)
        found = {"out.weight": slope.mT @ self.y, "out.bias": slope.sum(1)}
        dy = (slope @ w["out.weight"]).reshape(models, -1, form.answers, form.net.hidden).numpy()
        heavy = (self.future[1], self.future[3])
        parts = tuple(self.state)
        given = (form.net.cell, parts, heavy, self.each, self.own, self.drop, dy, 1)
        each, down, *dstate, dw_h, db_h = map(torch.from_numpy, fans.backward(*given))
        table = down.new_zeros(models * form.channels, down.shape[-1])
        table.index_add_(0, self.table, down.reshape(len(self.table), -1))
        table, w_x = table.reshape(models, form.channels, -1), w["future.weight_ih_l0"]
        found |= {"position": each @ w_x, "channel": table @ w_x}
        dw_x = each.mT @ w["position"] + table.mT @ w["channel"]
        found |= {f"future.{name}": g for name, g in zip(NAMES, (dw_x, dw_h, each.sum(1), db_h), strict=True)}
        ends = tuple(part.numpy() for part in dstate)
        _, grads = cpu.backward(tape, self.x, self.past, None, ends, (), wanted=(False, [True] * 4), count=1)
        return found | {f"past.{name}": torch.from_numpy(g) for name, g in zip(NAMES, grads, strict=True)}
