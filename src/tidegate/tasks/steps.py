"""The network of the tagger: a recurrent stack, in one direction or both, and at every step one number for each answer.

It is as plain as it can be (one layer and a linear head where the size is "small"), so that a stream can go on learning
with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import kernels, network
from ..cells import KINDS
from ..errors import SettingError
from ..settings import Network, Training

TAGGING: dict[str, tuple[Network, Training]] = {
    "small": (
        Network(hidden=64, dropout=0.3),
        Training(epochs=30, batches=20, batch=16, learning_rate=5e-3, noise=0.3, patience=30),
    ),
    "medium": (
        Network(hidden=128, dropout=0.3),
        Training(epochs=60, batches=30, batch=16, learning_rate=3e-3, noise=0.3, patience=60),
    ),
    "large": (
        Network(hidden=192, layers=2, dropout=0.3),
        Training(epochs=80, batches=40, batch=32, learning_rate=3e-3, noise=0.3, patience=80),
    ),
}
FAINT = 0.1  # of what a unit lets through
GATE = {"rnn_tanh": [0.0], "rnn_relu": [0.0], "gru": [0.0, -4.0, 0.0], "lstm": [4.0, -4.0, 0.0, 4.0]}
"""biases of the gates of a unit that lets through what is new and keeps nothing"""
NEW = {"rnn_tanh": 0, "rnn_relu": 0, "gru": 2, "lstm": 2}
Direction = Literal["past", "both"]
LRU = {"nu": "unit", "theta": "unit", "b_re": "in", "b_im": "in", "v_re": "out", "v_im": "out", "d": "in", "b": "unit"}


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network is, apart from its weights."""

    channels: int
    outputs: int
    """classes, or targets"""
    net: Network
    direction: Direction
    lru: bool = False
    """a linear recurrent unit in the place of the cell of `net`: learns online, and runs as it learns"""

    def __post_init__(self) -> None:
        if self.channels < 1 or self.outputs < 1:  # a file may say anything
            raise SettingError(f"{self.channels} channels, {self.outputs} answers", wanted="1 or more of both")

    @property
    def ways(self) -> tuple[str, ...]:
        """What the names of the weights of each direction end in, as torch's do."""
        return ("", "_reverse") if self.direction == "both" else ("",)


def shapes(form: Form) -> network.Shapes:
    """Names and shapes of all weights.

    >>> sorted(shapes(Form(channels=1, outputs=3, net=Network(hidden=2), direction="past")))
    ['bias_hh_l0', 'bias_ih_l0', 'head.bias', 'head.weight', 'weight_hh_l0', 'weight_ih_l0']
    """
    if form.lru:
        sides = {"unit": (form.net.hidden,), "in": (form.net.hidden, 2 * form.channels), "out": (form.net.hidden,) * 2}
        own = {name: sides[kind] for name, kind in LRU.items()}
        return own | network.dense_shapes("head", form.net.hidden, form.outputs)
    width, found = form.net.hidden * len(form.ways), network.Shapes()
    for layer in range(form.net.layers):
        one = network.stack_shapes(msgspec.structs.replace(form.net, layers=1), width if layer else 2 * form.channels)
        found |= {f"{name.removesuffix('0')}{layer}{way}": shape for way in form.ways for name, shape in one.items()}
    return found | network.dense_shapes("head", width, form.outputs)


def begun(weights: dict[str, NDArray[np.float32]], form: Form, plain: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """The same first weights, but so that the network says what a linear map of each row says: plain (2C + 1, outputs).

    One unit for each answer forgets what was before and lets the map of this row through, small enough that its tanh
    hardly bends; the head reads these units only. What rows say together is learned from there. Without enough units
    the weights stay as they are.
    """
    k, h, found = form.outputs, form.net.hidden, {name: w.copy() for name, w in weights.items()}
    if 2 * k > h:
        return found
    open_, width, shift = GATE[form.net.cell], FAINT, 1.0 if form.net.cell == "rnn_relu" else 0.0
    for layer in range(form.net.layers):
        for gate, bias in enumerate(open_):
            rows = slice(gate * h, gate * h + k)
            for kind in KINDS:
                found[f"{kind}_l{layer}"][rows] = 0
            found[f"bias_ih_l{layer}"][rows] = bias
        rows = slice(NEW[form.net.cell] * h, NEW[form.net.cell] * h + k)
        if layer:
            found[f"weight_ih_l{layer}"][rows, :k] = np.eye(k)
        else:
            found["weight_ih_l0"][rows], found["bias_ih_l0"][rows] = width * plain[:-1].T, width * plain[-1] + shift
    found["head.weight"][:] = 0
    found["head.weight"][:, :k], found["head.bias"][:] = np.eye(k) / width, -shift / width
    return found


def forward(params: network.Params, form: Form, x: Any, lengths: Any, drop: Callable[[Any], Any] = lambda h: h) -> Any:
    """x (..., N, T, 2C) from `sequences.inputs`, each row lengths (..., N) long -> answers (..., N, T, outputs).

    Memory begins empty. With the model axis (M, ...) everything has it: x, lengths and all weights.
    """
    for layer in range(form.net.layers):
        x = drop(x) if layer else x
        told = [_scan(params, form, f"l{layer}", x)]
        if form.direction == "both":
            told.append(kernels.turn(_scan(params, form, f"l{layer}_reverse", kernels.turn(x, lengths)), lengths))
        x = kernels.join(told) if len(told) > 1 else told[0]
    w, b = params["head.weight"], params["head.bias"]
    many = w.ndim == 3
    return kernels.linear(drop(x), w[..., None, :, :] if many else w, b[..., None, None, :] if many else b)


def _scan(params: network.Params, form: Form, name: str, x: Any) -> Any:
    return network.afresh(form.net.cell, form.net.hidden, x, [params[f"{kind}_{name}"] for kind in KINDS])


def onward(params: network.Params, form: Form, x: Any, state: Any) -> tuple[Any, Any]:
    """The same for one sequence x (T, 2C) that goes on from a state (layers, parts, 1, H): answers (T, outputs), state.

    Only with direction "past".
    """
    h, state = network.stack(params, form.net, x[None], state)
    return network.dense(params, "head", h)[0], state
