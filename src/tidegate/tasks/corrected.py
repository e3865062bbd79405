"""How the classifier learns on: one sequence at a time, from the label that it is told after it has named its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import network
from ..errors import DataError
from ..kernels.traced import Traced
from ..settings import Onward
from . import onward, whole
from .verbs import Arrays, State, unknown
from .whole import Form

if TYPE_CHECKING:
    from .classify import Classifier, Model

USUAL = Onward(every=1)


def on(task: Classifier, after: State, block: tuple[Any, Any], learn: bool | str | Onward, target: Any) -> State:
    """The next state after one sequence was named, readings and mask (1, T, 2C) and length (1,), and its label told."""
    pace, model, arrays = onward.asked(learn, USUAL), task.model_, after.arrays
    if unknown(target):
        return after
    at = [i for i, name in enumerate(task.classes_.tolist()) if name == target]
    if len(at) != 1:
        raise DataError(f"the label {target!r}", wanted=f"one of {', '.join(map(str, task.classes_.tolist()[:20]))}")
    if "online/read" not in arrays:
        arrays = {**arrays, **begin(model)}
    arrays = {**arrays, "online/read": arrays["online/read"] + 1}
    if onward.due(arrays, pace):
        arrays = onward.step(arrays, lambda weights: loss(weights, model.form, *block, at[0]), pace, many=True)
    return State(arrays, after.model)


def begin(model: Model) -> Arrays:
    """What the state has besides, when it begins to learn."""
    return onward.begin(model.weights, models=len(next(iter(model.weights.values()))))


def loss(weights: network.Params, form: Form, x: NDArray[np.float32], lengths: Any, number: int) -> Traced:
    """Minus the log of the probability of the label's class, summed over the models (M, ...), which have it apart."""
    total: Any = np.float32(0)
    for m in range(len(next(iter(weights.values())))):
        logits = whole.forward({name: w[m] for name, w in weights.items()}, form, x, lengths)[0]
        above = logits - logits.detach().max()
        total = total + np.log(np.exp(above).sum()) - above[number]
    found: Traced = total
    return found
