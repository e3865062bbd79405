"""The same scan for torch tensors, with gradients: torch's own layers for one model, one batched loop for M models."""

from __future__ import annotations

import torch
from torch import Tensor

TensorWeights = tuple[Tensor, Tensor, Tensor, Tensor]


def scan(cell: str, x: Tensor, state: Tensor, weights: TensorWeights) -> tuple[Tensor, Tensor]:
    """One layer over time: `x` (N, T, I), `state` (parts, N, H) -> outputs (N, T, H), last state.

    With the model axis: `x` (M, N, T, I), `state` (parts, M, N, H), weights (M, ...), outputs (M, N, T, H).
    """
    return _one(cell, x, state, weights) if weights[0].ndim == 2 else _many(cell, x, state, weights)


def _one(cell: str, x: Tensor, state: Tensor, weights: TensorWeights) -> tuple[Tensor, Tensor]:
    layer = getattr(torch, cell)  # torch.gru, torch.lstm, ...: what torch.nn's modules call
    hidden = [part[None] for part in state]  # a leading axis for torch's layers and directions
    start = hidden if cell == "lstm" else hidden[0]
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    y, *last = layer(x, start, list(weights), True, 1, 0.0, False, False, True)
    return y, torch.cat(last)


def _many(cell: str, x: Tensor, state: Tensor, weights: TensorWeights) -> tuple[Tensor, Tensor]:
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
