"""The network of the anomaly detector: what should come next, and what was just seen, from one pass over time.

*Prediction*: linear heads on the recurrent state forecast the reading 1, 4 and 16 rows ahead. *Reconstruction* tells
the last readings back from the state squeezed through a narrow bottleneck, so that it cannot copy: either by small
dense decoders, one a lag (`streaming`: constant work a reading), or by a second recurrent network that unrolls from
the bottleneck and never sees what it must reproduce (`classical`: an encoder and a decoder, Malhotra et al. 2016).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import kernels, network
from ..errors import SettingError
from ..settings import Network

WIDTHS = {"streaming": 2, "classical": 8}  # of the bottleneck; wider ones learn to copy
DECODER = 32  # units of a decoder
FARTHEST = 1024  # rows that an answer may lie ahead or back
UNSCORED = 8  # first rows of a training window: the state still forgets that it began at zero


class Heads(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network answers: forecasts `ahead` rows, reconstructions `back` rows; either may be empty."""

    channels: int
    net: Network
    ahead: tuple[int, ...] = (1, 4, 16)
    back: tuple[int, ...] = (0, 4, 16)
    form: str = "streaming"

    def __post_init__(self) -> None:
        for lags, least in ((self.ahead, 1), (self.back, 0)):  # a file may say anything
            if len(set(lags)) < len(lags) or any(not least <= lag <= FARTHEST for lag in lags):
                raise SettingError(f"lags of {lags}", wanted=f"each once, from {least} to {FARTHEST} rows")

    @property
    def reach(self) -> int:
        """How many rows before or after a reading take part in its answers."""
        return max((*self.ahead, *self.back))

    @property
    def outputs(self) -> int:
        """How many answers the network gives for each channel."""
        return len(self.ahead) + len(self.back)

    @property
    def witnesses(self) -> tuple[int, ...]:
        """How many residuals each witness of `surprise` has: the network's answers, the level, the change."""
        return (self.outputs, 1, 1)


def shapes(heads: Heads) -> network.Shapes:
    """Names and shapes of all weights."""
    width, c = WIDTHS[heads.form], heads.channels
    found = network.stack_shapes(heads.net, 2 * c)
    for k in heads.ahead:
        found |= network.dense_shapes(f"ahead.{k}", heads.net.hidden, c)
    if heads.back:
        found |= network.dense_shapes("bottleneck", heads.net.hidden, width)
    if heads.back and heads.form == "classical":
        decoder = network.stack_shapes(_decoder(), 1)
        found |= {f"decoder.{name}": shape for name, shape in decoder.items()}
        found |= network.dense_shapes("decoder.start", width, DECODER) | network.dense_shapes("decoder.out", DECODER, c)
    elif heads.back:
        for k in heads.back:
            found |= network.dense_shapes(f"back.{k}.in", width, DECODER) | network.dense_shapes(
                f"back.{k}.out", DECODER, c
            )
    return found


def forward(params: network.Params, heads: Heads, x: Any, state: Any, drop: Any = None) -> tuple[Any, Any]:
    """`x` (N, T, 2C) readings and mask -> answers (N, T, outputs, C), forecasts first, and the last state."""
    keep = {} if drop is None else {"drop": drop}
    h, last = network.stack(params, heads.net, x, state, **keep)
    h = h if drop is None else drop(h)
    answers = [network.dense(params, f"ahead.{k}", h) for k in heads.ahead]
    if heads.back:
        squeezed = network.dense(params, "bottleneck", h)
        answers += _unroll(params, heads, squeezed) if heads.form == "classical" else _decode(params, heads, squeezed)
    return kernels.stack(answers, axis=-2), last


def _decode(params: network.Params, heads: Heads, squeezed: Any) -> list[Any]:
    hidden = [kernels.tanh(network.dense(params, f"back.{k}.in", squeezed)) for k in heads.back]
    return [network.dense(params, f"back.{k}.out", h) for k, h in zip(heads.back, hidden, strict=True)]


def _unroll(params: network.Params, heads: Heads, squeezed: Any) -> list[Any]:
    """From each row's bottleneck, run the decoder on an input of zeros: its step k tells of k rows ago."""
    n, t = squeezed.shape[:2]
    first = kernels.tanh(network.dense(params, "decoder.start", squeezed)).reshape(1, 1, n * t, DECODER)
    decoder = {name.removeprefix("decoder."): w for name, w in params.items() if name.startswith("decoder.")}
    blank = first[0, 0, :, :1, None] * 0  # (N*T, 1, 1) of the same library, type and device
    blank = (
        blank.repeat(max(heads.back) + 1, axis=1)
        if kernels.is_numpy(blank)
        else blank.expand(-1, max(heads.back) + 1, -1)
    )
    told, _ = network.stack(decoder, _decoder(), blank, first)
    return [network.dense(params, "decoder.out", told[:, k]).reshape(n, t, heads.channels) for k in heads.back]


def _decoder() -> Network:
    return Network(cell="gru", hidden=DECODER)


def residuals(heads: Heads, answers: NDArray[Any], z: NDArray[Any]) -> NDArray[np.float64]:
    """How far each answer was from what was read: (T, outputs, C), NaN where either is missing; uses no later row.

    answers (R+T, outputs, C), z (R+T, C): R = heads.reach earlier rows and the new ones. A forecast made k rows ago
    meets today's reading; today's reconstruction of k rows ago meets the reading of k rows ago.
    """
    reach, t = heads.reach, len(z) - heads.reach
    ahead = [z[reach:] - answers[reach - k : reach - k + t, i] for i, k in enumerate(heads.ahead)]
    back = [z[reach - k : reach - k + t] - answers[reach:, len(heads.ahead) + i] for i, k in enumerate(heads.back)]
    return np.stack([*ahead, *back], axis=1).astype(np.float64)


def loss(params: network.Params, heads: Heads, x: Any, z: Any, seen: Any, drop: Any = None, state: Any = None) -> Any:
    """Sum over the answers of the mean squared residual on a batch of windows, where something was read.

    x (N, T, 2C) what the network is given, z (N, T, C) what was really read, seen (N, T, C) 1 where it was. `state`
    where the windows begin; None = before anything was read, and the first UNSCORED rows do not count.
    """
    cold = 0 if state is not None else UNSCORED
    start = x.new_tensor(network.start(heads.net, len(x))) if state is None else state
    answers, _ = forward(params, heads, x, start, drop)
    t, total = z.shape[1], 0.0
    for i, k in enumerate((*heads.ahead, *heads.back)):
        forecast = i < len(heads.ahead)
        first = cold if forecast else max(cold, k)
        answer = answers[:, first : t - k if forecast else t, i]
        target = slice(first + k, t) if forecast else slice(first - k, t - k)
        wanted, weight = z[:, target], seen[:, target]
        total = total + ((answer - wanted) ** 2 * weight).sum() / weight.sum().clip(min=1.0)
    return total
