"""The network of the forecaster: the past read in segments, every step of the future written at once.

One recurrent pass over a channel's last segments ends in a state. From that state each future segment is one more
step, whose input says only which segment it is and which channel: no forecast feeds on another, so errors do not pile
up, and the steps in a row do not grow with the horizon (SegRNN, Lin et al. 2023, sections 3.2 and 3.3). All channels
share the weights. The network sees a window minus its last value, and answers with the distance from it: a trend or a
new level changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import kernels, network
from ..errors import SettingError
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

FARTHEST = 4096  # rows that a forecast may reach ahead, or look back
PIECES = 4  # segments that a window is read in, where it is long enough
LONGEST = 24  # rows of a segment


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network reads and writes: `lookback` rows -> the next `horizon` rows, of each of `channels`.

    >>> form = Form(channels=1, horizon=100, lookback=96, net=Network())
    >>> form.segment, form.answer, form.answers
    (24, 24, 5)
    """

    channels: int
    horizon: int
    lookback: int
    net: Network

    def __post_init__(self) -> None:
        for name, least in (("channels", 1), ("horizon", 1), ("lookback", 4)):  # a file may say anything
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not least <= value <= (FARTHEST if name != "channels" else 10**6):
                raise SettingError(f"{name} is {value!r}", wanted=f"a whole number from {least} to {FARTHEST:,}")

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
    """Names and shapes of all weights."""
    h = form.net.hidden
    found = {f"past.{name}": shape for name, shape in network.stack_shapes(form.net, form.segment).items()}
    found |= {f"future.{name}": shape for name, shape in network.stack_shapes(form.net, h).items()}
    found |= {"position": (form.answers, h), "channel": (form.channels, h)}
    return found | network.dense_shapes("out", h, form.answer)


def forward(
    params: network.Params, form: Form, x: Any, channel: NDArray[np.int64], drop: Callable[[Any], Any] | None = None
) -> Any:
    """Windows `x` (N, lookback) of the channels numbered in `channel` (N,) -> answers (N, horizon), float32.

    `x` is scaled, minus its last value, nothing missing; the answers are meant in the same way. `drop` is dropout,
    while training.
    """
    n, net = len(x), form.net
    keep = {} if drop is None else {"drop": drop}
    start = network.start(net, n)
    rows = x[:, form.lookback % form.segment :].reshape(n, -1, form.segment)
    _, state = network.stack(
        _part(params, "past"), net, rows, start if kernels.is_numpy(x) else x.new_tensor(start), **keep
    )
    asked = (params["position"][None] + params["channel"][channel][:, None]).reshape(n * form.answers, 1, net.hidden)
    said, _ = network.stack(_part(params, "future"), net, asked, kernels.repeat(state, form.answers, axis=2), **keep)
    said = said if drop is None else drop(said)
    return network.dense(params, "out", said).reshape(n, -1)[:, : form.horizon]


def _part(params: network.Params, name: str) -> network.Params:
    return {key.removeprefix(f"{name}."): w for key, w in params.items() if key.startswith(f"{name}.")}
