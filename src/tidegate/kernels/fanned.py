"""One step from one state with many inputs for torch tensors, with gradients: the core where it can, else torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import fans
from .layers import STEPS, Refused, takes


def forward(
    cell: str, state: Tensor, weights: tuple[Tensor, Tensor], each: Tensor, own: Tensor, drop: tuple[Any, ...] = ()
) -> Tensor:
    """One step from one state with many inputs, as `fans.forward` has it, with gradients."""
    if takes(own):
        run: Any = Fan.apply
        found: Tensor = run(cell, drop, each, own, *weights, *state)
        return found
    gates, w_h, b_h = each[..., None, :, :] + own[..., None, :], weights[0], weights[1]
    many = w_h.ndim == 3
    y = STEPS[cell](
        gates, state.unsqueeze(-2), w_h[:, None].mT if many else w_h.mT, b_h[:, None, None] if many else b_h
    )
    if not drop:
        return y[0]
    bytes, dropped, larger = drop
    thinned: Tensor = y[0] * (torch.as_tensor(bytes, device=own.device) >= dropped) * larger
    return thinned


class Fan(torch.autograd.Function):
    """The core's `fan` as one step of torch's gradients. It keeps nothing but what it was given."""

    @staticmethod
    def forward(ctx: Any, cell: str, drop: tuple[Any, ...], *given: Tensor) -> Tensor:
        """`given`: each, own, w_h, b_h, the state's parts."""
        ctx.cell, ctx.drop = cell, drop
        ctx.save_for_backward(*given)
        each, own, w_h, b_h, *parts = (t.detach().numpy() for t in given)
        y = fans.forward(cell, np.stack(parts), (w_h, b_h), each, own, drop, torch.get_num_threads())
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Gradients of what `forward` was given."""
        dy, tensors = grads[0].detach().numpy(), ctx.saved_tensors
        one = tensors[2].ndim == 2
        given = [np.ascontiguousarray(t.detach().numpy()[None] if one else t.detach().numpy()) for t in tensors]
        each, own, w_h, b_h, *parts = given
        drop = (np.ascontiguousarray(ctx.drop[0][None] if one else ctx.drop[0]), *ctx.drop[1:]) if ctx.drop else ()
        found = fans.backward(
            ctx.cell, tuple(parts), (w_h, b_h), each, own, drop, dy[None] if one else dy, torch.get_num_threads()
        )
        deach, down, *dstate = found[:-2]
        ordered = (torch.from_numpy(a[0] if one else a) for a in (deach, down, *found[-2:], *dstate))
        if not torch.is_grad_enabled():
            return None, None, *ordered
        refuse: Any = Refused.apply
        roots = [t for t in (*tensors, *grads) if t.requires_grad]
        return None, None, *(refuse(g, *roots) for g in ordered)
