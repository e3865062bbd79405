"""The network of the forecaster: the past read in segments, every step of the future written at once.

One recurrent pass over a channel's last segments ends in a state. From that state each future segment is one more
step, whose input says only which segment it is and which channel: no forecast feeds on another, so errors do not pile
up, and the steps in a row do not grow with the horizon (SegRNN, Lin et al. 2023, sections 3.2 and 3.3). All channels
share the weights. The network sees a window minus its last value, and answers with the distance from it: a trend or a
new level changes nothing.

Beside its own past a channel may be given the pasts of all (`joint`), and what is known of the future: of each step of
the past its known columns, of each segment of the future all its features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import kernels, network
from ..cells import KINDS
from ..errors import SettingError
from ..kernels import fans
from ..settings import Network, Training

FORECASTING: dict[str, tuple[Network, Training]] = {
    "small": (
        Network(hidden=64, dropout=0.3),
        Training(epochs=15, batches=100, batch=256, learning_rate=2e-3, weight_decay=0.0, noise=0.0),
    ),
    "medium": (
        Network(hidden=128, dropout=0.5),
        Training(epochs=20, batches=150, batch=256, learning_rate=2e-3, weight_decay=0.0, noise=0.0),
    ),
    "large": (
        Network(hidden=256, layers=2, dropout=0.5),
        Training(epochs=30, batches=200, batch=256, learning_rate=1e-3, weight_decay=0.0, noise=0.0),
    ),
}

Drop = Callable[[Any], tuple[NDArray[np.uint8], int, float]]  # a shape -> what `fans.forward` drops

FARTHEST = 4096  # rows that a forecast may reach ahead, or look back
MODELS = 4  # that learn side by side: the mean of four misses less than any of them
PIECES = 4  # segments that a window is read in, where it is long enough
LONGEST = 24  # rows of a segment
MOST_WAVES = 100  # of one cycle


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network reads and writes: `lookback` rows -> the next `horizon` rows, of each of `channels`.

    `models` learn the same, each from first weights and batches of its own; the answer is their mean. `joint`: each
    channel beside all; `known` columns and the waves of `calendar` cycles (`coming.waves`) are known ahead.

    >>> form = Form(channels=1, horizon=100, lookback=96, net=Network())
    >>> form.segment, form.answer, form.answers
    (24, 24, 5)
    """

    channels: int
    horizon: int
    lookback: int
    net: Network
    models: int = 1
    joint: bool = False
    known: int = 0
    calendar: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        limits = {
            "channels": (1, 10**6), "horizon": (1, FARTHEST), "lookback": (4, FARTHEST), "models": (1, 256),
            "known": (0, 10**4),
        }  # fmt: skip
        for name, (least, most) in limits.items():  # a file may say anything
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise SettingError(f"{name} is {value!r}", wanted=f"a whole number from {least} to {most:,}")
        if any(not cycle > 0 or not 1 <= waves <= MOST_WAVES for cycle, waves in self.calendar):
            raise SettingError(f"a calendar of {self.calendar}", wanted="cycles above 0 s, of 1 wave or more each")

    @property
    def features(self) -> int:
        """How many numbers are known of each row to come."""
        return self.known + 2 * sum(waves for _, waves in self.calendar)

    @property
    def wide(self) -> int:
        """How many numbers are read of each row of the past."""
        return 1 + self.channels * self.joint + self.known

    @property
    def segment(self) -> int:
        """Rows of a segment of the past."""
        return min(LONGEST, self.lookback // PIECES)

    @property
    def answer(self) -> int:
        """Rows of a segment of the future."""
        return min(LONGEST, self.horizon)

    @property
    def answers(self) -> int:
        """How many segments of the future there are; the last may reach beyond the horizon, and is cut."""
        return -(-self.horizon // self.answer)


def shapes(form: Form) -> network.Shapes:
    """Names and shapes of one model's weights."""
    h = form.net.hidden
    found = {f"past.{name}": shape for name, shape in network.stack_shapes(form.net, form.segment * form.wide).items()}
    found |= {f"future.{name}": shape for name, shape in network.stack_shapes(form.net, h).items()}
    found |= {"position": (form.answers, h), "channel": (form.channels, h)}
    found |= network.dense_shapes("ahead", form.answer * form.features, h) if form.features else {}
    return found | network.dense_shapes("out", h, form.answer)


def init(form: Form, seed: int) -> dict[str, NDArray[np.float32]]:
    """First weights (M, ...) of all models."""
    first = [network.init(shapes(form), np.random.default_rng([seed, m])) for m in range(form.models)]
    return {name: np.stack([one[name] for one in first]) for name in first[0]}


def forward(
    params: network.Params, form: Form, x: Any, channel: Any, drop: Drop | None = None, ahead: Any = None
) -> Any:
    """Windows `x` (N, lookback * wide) of the channels numbered in `channel` (N,) -> answers (N, horizon), float32.

    `x` is scaled, minus its last value, nothing missing; the answers are meant in the same way. `ahead` (N, answers,
    answer * features) is what is known of the future; `drop` says what is dropped, while training. With the model axis
    everything has one more, in front.
    """
    net, many = form.net, x.shape[:-1]
    start = network.start(net, many[-1])
    start = start if len(many) == 1 else start[:, :, None].repeat(many[0], axis=2)
    rows = x[..., form.lookback % form.segment * form.wide :].reshape(*many, -1, form.segment * form.wide)
    start = start if kernels.is_numpy(x) else x.new_tensor(start)
    _, state = network.stack(_part(params, "past"), net, rows, start, lambda h: _thin(h, drop))
    return _answers(_part(params, "future"), params, form, state, (channel, ahead), drop)


def _answers(
    future: network.Params, params: network.Params, form: Form, state: Any, asked: tuple[Any, Any], drop: Drop | None
) -> Any:
    """From the state after the past (layers, parts, N, H): the first layer as one fan, others as steps of their own.

    Where something is known ahead, no two windows ask the same of a segment: then all layers are steps of their own.
    """
    shape = (*state.shape[2:-1], form.answers, form.net.hidden)
    channel, ahead = asked
    if ahead is None:
        each = _dense(params["position"], future["weight_ih_l0"], future["bias_ih_l0"])
        own = _of(_dense(params["channel"], future["weight_ih_l0"], 0 * future["bias_ih_l0"]), channel)
        weights = future["weight_hh_l0"], future["bias_hh_l0"]
        said = _fan(own)(form.net.cell, state[0], weights, each, own, drop(shape) if drop else ())
    else:
        flat = ahead.reshape(*shape[:-3], -1, ahead.shape[-1])
        said = _dense(flat, params["ahead.weight"], params["ahead.bias"]).reshape(shape)
        said = said + _of(params["channel"], channel)[..., None, :] + params["position"][..., None, :, :]
    for layer in range(ahead is None, form.net.layers):
        heavy = [future[f"{kind}_l{layer}"] for kind in KINDS]
        asked = said.reshape(*shape[:-3], -1, 1, form.net.hidden)
        told, _ = kernels.scan(form.net.cell, asked, kernels.repeat(state[layer], form.answers, axis=-2), tuple(heavy))
        said = _thin(told.reshape(shape), drop)
    found = _dense(said.reshape(*shape[:-3], -1, form.net.hidden), params["out.weight"], params["out.bias"])
    return found.reshape(*shape[:-2], -1)[..., : form.horizon]


def _fan(own: Any) -> Callable[..., Any]:
    if kernels.is_plain(own):
        return fans.forward
    if kernels.is_numpy(own):
        from ..kernels import traced

        return traced.fan
    from ..kernels import fanned

    return fanned.forward


def _thin(h: Any, drop: Drop | None) -> Any:
    if drop is None:
        return h
    bytes, dropped, larger = drop(h.shape)
    return h * (h.new_tensor(bytes >= dropped) * larger)


def _dense(x: Any, w: Any, b: Any) -> Any:
    return kernels.linear(x, w, b if b.ndim == 1 else b[:, None])


def _of(table: Any, rows: Any) -> Any:
    """The rows of a table (R, ...) that are asked for; with the model axis of each model's own."""
    return table[rows] if table.ndim == 2 else table[np.arange(len(table))[:, None], rows]


def _part(params: network.Params, name: str) -> network.Params:
    return {key.removeprefix(f"{name}."): w for key, w in params.items() if key.startswith(f"{name}.")}
