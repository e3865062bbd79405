"""The network of the classifier: from a whole sequence, read in both directions, one number for each class.

Two convolutions, the first at two scales, find short shapes, wherever they are, and shorten the sequence; a recurrent
stack reads what they found from first to last and from last to first (Schuster & Paliwal 1997). The head gets, of each
direction, the last state (which for the way back is the one at the first step), the mean and the maximum over the steps
that are there, and the same of the shapes.
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
from ..settings import Network, Training

CLASSIFYING: dict[str, tuple[Network, Training]] = {  # of each of five models
    "small": (
        Network(hidden=32, dropout=0.2),
        Training(epochs=24, batches=20, learning_rate=5e-3, noise=0.1, patience=24),
    ),
    "medium": (
        Network(hidden=64, dropout=0.3),
        Training(epochs=60, batches=20, batch=32, learning_rate=3e-3, noise=0.1, patience=40),
    ),
    "large": (
        Network(hidden=128, layers=2, dropout=0.3),
        Training(epochs=100, batches=20, batch=32, learning_rate=2e-3, noise=0.1, patience=60),
    ),
}

WIDTHS = (9, 5)  # steps that each convolution sees; the first sees more where it moves on by more than 4
WIDE = 3  # times as many are seen by half the units of the first: slow shapes beside quick ones
FINE = 6  # the first convolution moves on by more than a step where so many would become one
LEAK = 0.1  # the share of what is below zero that the convolutions let through: with none, units die in training
STEPS = 40  # the recurrent stack reads at most about so many


def longer(training: Training, classes: int) -> Training:
    """The same with an epoch more for each class beyond two, up to 40: more classes take longer to tell apart.

    >>> longer(Training(epochs=20), classes=6).epochs
    24
    """
    return msgspec.structs.replace(training, epochs=training.epochs + min(classes, 42) - 2)


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network is, apart from its weights."""

    channels: int
    classes: int
    net: Network
    shorten: tuple[int, int, int]
    """steps by which the first convolution moves on, of how many the highest stays, by which the second moves on"""
    rough: tuple[float, ...]
    """by how much each scaled channel usually changes from one step to the next"""
    leak: float = 0.0
    """the share of what is below zero that the convolutions let through; files of before there was one have none"""

    def __post_init__(self) -> None:
        if self.channels < 1 or self.classes < 2 or min(self.shorten) < 1:  # a file may say anything
            saw = f"{self.channels} channels, {self.classes} classes, shortened by {self.shorten}"
            raise SettingError(saw, wanted="1, 2 and 1 or more")
        if len(self.rough) != self.channels or not min(self.rough) > 0:
            raise SettingError(f"usual steps {self.rough} of {self.channels} channels", wanted="one each, above 0")
        if not 0 <= self.leak < 1:
            raise SettingError(f"a leak of {self.leak}", wanted="at least 0, below 1")

    @property
    def scales(self) -> tuple[tuple[int, int], ...]:
        """Of the first convolution: how many steps are seen by how many units; no step is passed over."""
        width, h = max(WIDTHS[0], 2 * self.shorten[0]), self.net.hidden
        wide = h // 2 if self.shorten[2] > 1 else 0  # in short sequences there is nothing wide
        return tuple((seen, units) for seen, units in ((width, h - wide), (WIDE * width, wide)) if units)

    @property
    def tail(self) -> int:
        """Blank steps after a sequence, so that the first convolution sees its last step from all sides."""
        return max(width for width, _ in self.scales) - 1


def shorten(length: int) -> tuple[int, int, int]:
    """By how much the stem shortens sequences of a usual length, so far that the stack reads about STEPS of them.

    >>> shorten(30), shorten(150), shorten(500), shorten(2000)
    ((1, 1, 1), (1, 2, 2), (2, 3, 2), (8, 3, 2))

    The strides of the convolutions, and between them how many steps become their highest: a shape is found wherever it
    is, and few steps pass between the places where it is looked for.
    """
    second = 2 if length > STEPS else 1
    left, first = max(1, round(length / (second * STEPS))), 1
    while left / first >= FINE:
        first *= 2
    return first, max(1, round(left / first)), second


def shapes(form: Form) -> network.Shapes:
    """Names and shapes of all weights."""
    h = form.net.hidden
    found: network.Shapes = {}
    for i, (width, units) in enumerate(form.scales):
        found |= network.dense_shapes(f"stem.0.{i}", width * 3 * form.channels, units)
    found |= network.dense_shapes("stem.1", WIDTHS[1] * h, h)
    for layer in range(form.net.layers):
        one = network.stack_shapes(msgspec.structs.replace(form.net, layers=1), 2 * h if layer else h)
        found |= {f"{way}.{layer}.{name}": shape for way in ("on", "back") for name, shape in one.items()}
    return found | network.dense_shapes("head", 9 * h, form.classes)


def init(form: Form, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """First weights: those of `network.init`, the convolutions' so large that a relu's output keeps its size.

    Uniform in +-sqrt(6 / inputs) (He et al. 2015).
    """
    weights, larger = network.init(shapes(form), rng), np.float32(np.sqrt(6))
    return {name: w * larger if name.startswith("stem") else w for name, w in weights.items()}


def forward(params: network.Params, form: Form, x: Any, lengths: Any, drop: Callable[[Any], Any] = lambda h: h) -> Any:
    """x (..., N, T, 2C) readings and mask, zeros after lengths (..., N) -> logits (..., N, classes).

    With the model axis (M, ...) everything has it: x, lengths and all weights.
    """
    x = _beside(form, x)
    first, high, second = form.shorten
    lengths = -(-lengths // first)
    x = kernels.join([_conv(params, form, f"stem.0.{i}", x, lengths, first) for i in range(len(form.scales))])
    x, lengths = kernels.highest(x, high), -(-lengths // (high * second))
    x = _conv(params, form, "stem.1", x, lengths, second)
    told = [kernels.pool(x, lengths)]
    for layer in range(form.net.layers):
        x = drop(x)
        on = _scan(params, form, f"on.{layer}", x)
        back = _scan(params, form, f"back.{layer}", kernels.turn(x, lengths))
        if layer == form.net.layers - 1:  # what is pooled need not be turned again
            told += [kernels.pool(on, lengths), kernels.pool(back, lengths)]
        else:
            x = kernels.join([on, kernels.turn(back, lengths)])
    w, b = params["head.weight"], params["head.bias"]
    return kernels.linear(drop(kernels.join(told)), w, b if b.ndim == 1 else b[..., None, :])


def _conv(params: network.Params, form: Form, name: str, x: Any, lengths: Any, stride: int) -> Any:
    return kernels.conv(x, params[f"{name}.weight"], params[f"{name}.bias"], lengths, stride, form.leak)


def _beside(form: Form, x: Any) -> Any:
    """Readings and mask, and between them the steps from reading to reading, in units of their usual size."""
    c = form.channels
    z, seen = x[..., :c], x[..., c:]
    both = seen - kernels.relu(kernels.steps(seen))  # this reading and the one before are there
    usual = np.array(form.rough, dtype=np.float32)
    return kernels.join([z, kernels.steps(z) * both / (usual if kernels.is_numpy(x) else x.new_tensor(usual)), seen])


def _scan(params: network.Params, form: Form, name: str, x: Any) -> Any:
    return network.afresh(form.net.cell, form.net.hidden, x, [params[f"{name}.{kind}_l0"] for kind in KINDS])
