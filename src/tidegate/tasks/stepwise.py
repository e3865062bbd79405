"""A learned tagger as one frozen value, and the one function that reads rows with it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .. import network
from ..cells import KINDS
from ..kernels.stream import Stepper
from ..online import Rule
from ..scale import Scale
from ..series import SECOND, span_text
from . import steps, verbs
from .sequences import CLIP, inputs
from .steady import Steady
from .steps import Form

Floats = NDArray[np.float64]
GAP = 90
"""After a hole of more intervals than this, memory begins anew."""

_live = threading.local()  # a stepper is memory that changes: one for each model and thread


@dataclass(frozen=True, eq=False)
class Model:
    """What runs: the weights, the scale before them and what makes answers of their output."""

    form: Form
    weights: dict[str, NDArray[np.float32]]
    scale: Scale
    temperature: float
    """what is said of labels is divided by this before it becomes a probability; 1 where values are told"""
    steady: Steady | None
    """smooths labels; None where values are told"""
    target: Scale
    """undoes the scale of values; of no channel where labels are told"""
    running: bool = False
    """nothing was fitted: scales run along with the stream that learns"""
    rule: Rule | None = None
    """by which streams learn, if they are told none; None: as usual"""

    @property
    def labels(self) -> bool:
        """Whether labels are told, and not values."""
        return not len(self.target.center)

    def proba(self, told: Floats) -> Floats:
        """(T, K) the softmax of what is said (T, K), divided by the temperature (Guo et al. 2017)."""
        powers = np.exp((told - told.max(axis=1, keepdims=True)) / self.temperature)
        total = powers[:, :1].copy()
        for k in range(1, powers.shape[1]):  # one order, so that a row has the same bits alone as among others
            total += powers[:, k : k + 1]
        found: Floats = powers / total
        return found

    def answer(self, told: Floats) -> Floats:
        """Probabilities, or values in their units, from what the network says (T, outputs)."""
        return self.proba(told) if self.labels else self.target.undo(told)


def start(model: Model, smooth: bool) -> verbs.Arrays:
    """The state of a stream before its first reading."""
    arrays: verbs.Arrays = {"clock": np.zeros(2, dtype=np.int64), "memory": network.start(model.form.net, 1)}
    return arrays | ({"belief": model.steady.share.copy()} if smooth and model.steady else {})


def longest(interval: float) -> float:
    """The longest hole, in nanoseconds, after which memory goes on."""
    return GAP * interval * SECOND


def noticed(gap: int, interval: float, drift: bool) -> tuple[str, ...]:
    """What to tell of one reading: the gap, in nanoseconds, after which memory began anew, if not 0; a drift.

    >>> noticed(900 * SECOND, 1.0, drift=False)
    ('memory began anew after 15 min without a reading; the model knows one every 1 s',)
    """
    if not gap and not drift:
        return ()
    told = f"memory began anew after {span_text(gap / SECOND)} without a reading; the model knows one every"
    return (
        *([f"{told} {span_text(interval)}"] if gap else []),
        *(["the data changed: errors grew and stayed"] if drift else []),
    )


def begins(times: NDArray[np.int64], interval: float, last: int | None) -> NDArray[np.int64]:
    """The rows at which memory begins anew, because nothing was read for too long."""
    before = times[:1] if last is None else np.array([last], dtype=np.int64)
    found: NDArray[np.int64] = np.flatnonzero(np.diff(times, prepend=before) > longest(interval))
    return found


def told(model: Model, values: Floats, cuts: NDArray[np.int64], memory: Any) -> tuple[Floats, Any]:
    """What the network says of rows (T, C): (T, outputs), and the memory after them; it begins anew at `cuts`.

    memory  where an earlier row left it; None: a form that reads both directions, or the first row
    """
    form, x, found = model.form, inputs(model.scale, values), []
    for piece in np.split(x, cuts[cuts > 0]):
        if form.direction == "both":
            found.append(steps.forward(model.weights, form, piece[None], np.array([len(piece)]))[0])
            continue
        if memory is None or found or (len(cuts) and cuts[0] == 0):
            memory = network.start(form.net, 1)
        y, memory = steps.onward(model.weights, form, piece, memory)
        found.append(y)
    return np.concatenate(found).astype(np.float64), memory


def once(model: Model, values: Floats, cut: bool, memory: NDArray[np.float32]) -> tuple[Floats, Any]:
    """`told` for one row (1, C) of a form that reads the past, in microseconds."""
    if not hasattr(_live, "steppers"):
        _live.steppers = WeakKeyDictionary()
    known = _live.steppers.get(model)
    if known is None:
        w = model.weights
        layers = [tuple(w[f"{kind}_l{layer}"] for kind in KINDS) for layer in range(model.form.net.layers)]
        stepper = Stepper(model.form.net.cell, layers, head=(w["head.weight"], w["head.bias"]))
        known = _live.steppers[model] = stepper, np.zeros((1, 2 * model.form.channels))
    stepper, x = known
    seen = values == values
    z = np.where(seen, (values - model.scale.center) / model.scale.spread, 0.0)  # as `sequences.inputs`
    c = model.form.channels
    np.minimum(np.maximum(z, -CLIP), CLIP, out=x[:, :c])
    x[:, c:] = seen
    stepper.state = (np.zeros_like(memory) if cut else memory)[:, :, None]
    y = stepper.step(x).astype(np.float64)
    return y, stepper.state[:, :, 0].copy()
