"""Learning on from a stream: what fitted tasks share. The answer comes first, by the weights as they are; then a step.

A step is truncated backpropagation through time (Williams & Peng 1990): the gradient of the task's own loss on the
newest window whose truth is known, from the state that was carried to its first row, and Adam on it. It needs no torch:
the gradient is that of the network's one text (`kernels.traced`). Weights, moments, counts and the window are arrays in
the state of the stream, under `online/`; the task itself is not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import network
from ..errors import ModelFileError, SettingError
from ..kernels.cpu import Adam
from ..kernels.traced import Traced, gradients
from ..save import Table
from ..settings import Onward
from .verbs import BEFORE, Arrays, State, same_model, under

MOST = 1_000_000  # rows that a window in a file may have
USUAL, ALWAYS = Onward(), Onward(always=True)
KINDS = ("weights", "means", "squares")


def asked(learn: bool | str | Onward, usual: Onward = USUAL, *, alarms: bool = False) -> Onward:
    """What `learn=` means: True (as usual), or an `Onward` of one's own; "always" where a task gives alarms.

    >>> asked("always", alarms=True) == Onward(always=True)
    True
    """
    if learn is True:
        return usual
    if isinstance(learn, Onward) and (alarms or not learn.always):
        return learn
    if learn == "always" and alarms:
        return ALWAYS
    wanted = "False, True" + ', "always"' * alarms + " or an Onward(...)"
    do = ""
    if learn == "always" or isinstance(learn, Onward):
        do = "leave it out: it is the AnomalyDetector's, and here nothing is called abnormal"
    elif type(learn).__name__ == "Rule":
        do = "learn=Rule(...) is the Tagger's; here give learn=tidegate.Onward(...)"
    raise SettingError(f"learn={learn!r}", wanted=wanted, do=do)


def begin(weights: network.Params, models: int = 1) -> Arrays:
    """The learning part of a state before anything was learned: the fitted weights, nothing yet in the moments."""
    found: Arrays = {f"online/weights/{name}": w for name, w in weights.items()}
    found |= {f"online/{kind}/{name}": np.zeros_like(w) for kind in KINDS[1:] for name, w in weights.items()}
    return found | {"online/steps": np.zeros(models, np.int64), "online/read": np.zeros(1, np.int64)}


def due(arrays: Arrays, pace: Onward) -> bool:
    """Whether the reading that was just counted is one to learn at."""
    return int(arrays["online/read"][0]) % pace.every == 0


def step(arrays: Arrays, loss: Callable[[network.Params], Traced], pace: Onward, *, many: bool = False) -> Arrays:
    """The state after one step down the gradient of `loss`, a function of traced weights; nothing given is changed.

    many  the weights have the model axis, and each model its own norm. A gradient that is no number moves nothing.
    """
    weights, means, squares = ({n: a.copy() for n, a in under(arrays, f"online/{kind}").items()} for kind in KINDS)
    traced = {name: Traced(w) for name, w in weights.items()}
    slopes = gradients(loss(traced), list(traced.values()))
    if not all(np.isfinite(slope).all() for slope in slopes):
        return arrays

    def of(parts: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(np.ascontiguousarray(part if many else part[None]) for part in parts)

    steps = arrays["online/steps"].copy()
    core = Adam(of(weights.values()), of(means.values()), of(squares.values()), steps)
    core.step(of(slopes), np.full(len(steps), pace.learning_rate), 0.0, pace.clip, np.empty(len(steps)))
    after = {"online/steps": steps}
    for kind, parts in zip(KINDS, (weights, means, squares), strict=True):
        after |= {f"online/{kind}/{name}": part for name, part in parts.items()}
    return {**arrays, **after}


def pushed(ring: NDArray[Any], rows: Any) -> NDArray[Any]:
    """The last rows of a window after some more came.

    >>> pushed(np.array([1, 2, 3]), [4]).tolist()
    [2, 3, 4]
    """
    return np.concatenate([ring, np.asarray(rows, ring.dtype)])[-len(ring) :]


def length(table: Table, ring: str = "online/rows") -> int:
    """How many rows the window in a file has."""
    shape = table.get(ring, ((0,), ""))[0]
    if not shape or not 0 < shape[0] <= MOST:
        raise ModelFileError(f"a window of shape {shape}", wanted=f"up to {MOST:,} rows", do="begin with a new state")
    return shape[0]


def kept(task: Any, state: State) -> Any:
    """The task as it would be if its model had the weights that a state has learned; the one given is not changed."""
    same_model(state.model, task.fingerprint_)
    if not (weights := under(state.arrays, "online/weights")):
        return task
    learned = copy.copy(task)
    learned.model_ = msgspec.structs.replace(task.model_, weights=weights)
    steps, read = (int(state.arrays[f"online/{name}"][0]) for name in ("steps", "read"))
    said = f"learned on from {read:,} readings of a stream, in {steps:,} steps"
    learned.notes_ = [*task.notes_, f"{said}; {BEFORE}"]
    return learned
