"""Convolution, turning and pooling for torch, each as one step of its gradients: a third of the passes over memory.

What `kernels` writes in a few plain steps for NumPy costs torch a pass forward and several back for each. All with the
model axis: x (M, N, T, C).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def conv(
    x: Tensor, w: Tensor, b: Tensor, stride: int, sides: tuple[int, int], seen: Tensor, leak: float = 0.0
) -> Tensor:
    """A convolution, `leak` times what is below zero, 0 where not `seen` (M, N, T'); `sides`: zeros before and after.

    >>> x = torch.arange(1.0, 5.0).reshape(1, 1, 4, 1)
    >>> w, seen = torch.ones(1, 1, 2), torch.tensor([[[True, True, False]]])
    >>> conv(x, w, torch.zeros(1, 1), 1, (0, 0), seen).ravel().tolist()
    [3.0, 5.0, 0.0]
    """
    run: Any = _Conv.apply
    found: Tensor = run(x, w, b, stride, sides, seen, leak)
    return found


def highest(x: Tensor, count: int) -> Tensor:
    """Of every `count` steps the highest; zeros stand after the last.

    >>> highest(torch.tensor([[[[1.0], [3.0], [2.0]]]]), 2).ravel().tolist()
    [3.0, 2.0]
    """
    x = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[2] % count))
    m, n, t, c = x.shape
    picture = x.reshape(m * n, t, 1, c).permute(0, 3, 1, 2)  # channels last in memory, as they are
    found = torch.nn.functional.max_pool2d(picture, (count, 1))
    return found.permute(0, 2, 3, 1).reshape(m, n, -1, c)


def turn(x: Tensor, rows: Tensor) -> Tensor:
    """Steps changing places: step t of x takes that of `rows` (M, N, T); who changes with whom must be mutual.

    >>> turn(torch.tensor([[[[1.0], [2.0], [3.0]]]]), torch.tensor([[[1, 0, 2]]])).ravel().tolist()
    [2.0, 1.0, 3.0]
    """
    run: Any = _Turn.apply
    whole = torch.arange(rows[..., 0].numel(), device=x.device).reshape(*rows.shape[:-1], 1) * rows.shape[-1] + rows
    found: Tensor = run(x, whole.reshape(-1))
    return found


def pool(x: Tensor, lengths: Tensor) -> Tensor:
    """Last step, mean and maximum over the steps inside each length (M, N): (M, N, 3 C).

    >>> pool(torch.tensor([[[[1.0], [3.0], [9.0]]]]), torch.tensor([[2]])).ravel().tolist()
    [3.0, 2.0, 3.0]
    """
    run: Any = _Pool.apply
    found: Tensor = run(x, lengths)
    return found


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, *how: Any) -> Tensor:
        """Windows side by side, one product for all."""
        stride, sides, seen, leak = how
        (m, n, _, c), width = x.shape, w.shape[-1] // x.shape[-1]
        wide = torch.nn.functional.pad(x, (0, 0, *sides))
        steps, count = wide.shape[2], seen.shape[2]
        every = (n * steps * c, steps * c, stride * c, 1)
        windows = wide.as_strided((m, n, count, width * c), every).reshape(m, n * count, width * c)
        y = torch.nn.functional.leaky_relu_(torch.baddbmm(b[:, None], windows, w.mT), leak).view(m, n, count, -1)
        y.mul_(seen[..., None])
        ctx.save_for_backward(windows, w, y, seen)
        ctx.how = x.shape, steps, stride, sides[0], leak
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Of x only where wanted: each window's slopes added to the steps that it saw."""
        (windows, w, y, seen), ((m, n, t, c), steps, stride, before, leak) = ctx.saved_tensors, ctx.how
        count, width, dx = y.shape[2], w.shape[-1] // c, None
        # y is above zero where that was of which it was made
        d = torch.ops.aten.leaky_relu_backward(grads[0], y, leak, True).mul_(seen[..., None]).reshape(m, n * count, -1)
        if ctx.needs_input_grad[0]:
            apart = torch.bmm(d, w).view(m, n, count, width, c)
            wide = apart.new_zeros(m, n, steps, c)
            for k in range(width):
                wide[:, :, k : k + stride * (count - 1) + 1 : stride] += apart[:, :, :, k]
            dx = wide[:, :, before : before + t]
        return dx, torch.bmm(d.mT, windows), d.sum(1), None, None, None, None


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        """`rows`: counted through all sequences."""
        ctx.rows = rows
        return x.reshape(-1, x.shape[-1]).index_select(0, rows).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The same again: each change of places is mutual."""
        d = grads[0]
        return d.reshape(-1, d.shape[-1]).index_select(0, ctx.rows).view(d.shape), None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Tensor) -> Tensor:
        """Keeps where the largest are, and no copy of x."""
        m, n, t, c = x.shape
        inside = (torch.arange(t, device=x.device) < lengths[..., None])[..., None]
        ends = torch.arange(m * n, device=x.device) * t + lengths.reshape(-1) - 1
        last = x.reshape(-1, c).index_select(0, ends).view(m, n, c)
        # as a picture with its channels last: five times as fast as the maximum along an axis in the middle
        shown = (x + torch.where(inside, 0.0, -float("inf"))).view(m * n, t, 1, c).permute(0, 3, 1, 2)
        largest, at = (f.view(m, n, c) for f in torch.nn.functional.max_pool2d(shown, (t, 1), return_indices=True))
        weights = (inside / lengths[..., None, None]).to(x.dtype)
        mean = torch.matmul(weights.mT, x)[..., 0, :]
        ctx.save_for_backward(weights, ends, at)
        return torch.cat([last, mean, largest], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """To the last, to all, and to the largest."""
        weights, ends, at = ctx.saved_tensors
        last, mean, largest = grads[0].chunk(3, dim=-1)
        dx = weights * mean[..., None, :]
        dx.scatter_add_(2, at[..., None, :], largest[..., None, :])
        dx.view(-1, dx.shape[-1]).index_add_(0, ends, last.reshape(-1, last.shape[-1]))
        return dx, None
