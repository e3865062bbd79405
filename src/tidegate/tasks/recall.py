"""How the completer learns on from a stream: it hides what it has just been told, fills it, and looks.

What is hidden is drawn as in training, by the seed and the count of readings: the same stream gives the same bits.
Which channels are only interpolated, how far the network is believed and how wide intervals are stays as `fit` had it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import network
from ..errors import DataError
from ..kernels.traced import Traced
from ..settings import Onward
from . import filling, hiding, onward, verbs
from .around import CLIP, Around, Floats, Marks, Past, Recipe, around
from .filling import Model
from .verbs import Arrays, State

if TYPE_CHECKING:
    from .complete import Completer


def on(
    task: Completer, before: State, after: State, row: tuple[Floats, Any], learn: bool | str | Onward, target: Any
) -> State:
    """The next state after one reading was filled: its values (1, C) and time (1,).

    target  the whole reading, where what was missing in it is known by now
    """
    pace, model, arrays, (values, times) = onward.asked(learn), task.model_, after.arrays, row
    if target is not None:
        values = np.where(np.isnan(values), _truth(target, task.channels_), values)
    if "online/rows" not in arrays:
        arrays = {**arrays, **begin(model.recipe, model.weights, pace.back)}
    elif len(arrays["online/rows"]) != pace.back:
        arrays = {**arrays, **window(model.recipe, pace.back)}
    if not arrays["online/filled"][0]:
        arrays = {**arrays, **{f"online/{to}": before.arrays[of] for of, to in STARTS.items()}}
    arrays = _moved(model, arrays, model.scale.apply(values), times, task.interval_)
    arrays["online/read"] = arrays["online/read"] + 1
    if arrays["online/filled"][0] == pace.back and onward.due(arrays, pace):
        seed, believed = [task.seed, int(arrays["online/read"][0])], [c not in task.linear_ for c in task.channels_]
        hidden = hiding.hide(~np.isnan(arrays["online/rows"])[None], np.random.default_rng(seed)) & believed
        if hidden.any():
            facts, wanted = _hidden(arrays, model.recipe, task.interval_, hidden)
            first = arrays["online/first"]
            arrays = onward.step(
                arrays, lambda weights: loss(weights, model.recipe, facts, (wanted, hidden), first), pace
            )
    return State(arrays, after.model)


def _truth(target: Any, channels: tuple[str, ...]) -> Floats:
    """The whole reading (1, C) that a target is; refused as a target, not as the reading beside it."""
    try:
        return verbs.row(target, channels)
    except DataError as error:
        saw, do = error.saw.replace(" reading", " target"), "give the whole reading, None for what is not known"
        saw = saw if saw != error.saw else f"{saw} of the target"
        raise DataError(saw, wanted=error.wanted, do=do) from None


STARTS = {"past": "first", "held": "held", "heard": "heard"}  # of a state: where its window begins


def begin(recipe: Recipe, weights: network.Params, rows: int) -> Arrays:
    """What the state of a stream has besides, when it begins to learn with a window of so many rows."""
    return {**onward.begin(weights), **window(recipe, rows)}


def window(recipe: Recipe, rows: int) -> Arrays:
    """The last rows, scaled, their times, and the state before the first of them, before there were any."""
    blank: Arrays = {"online/rows": np.full((rows, recipe.channels), np.nan), "online/times": np.zeros(rows, np.int64)}
    blank |= {f"online/{to}": filling.begin(recipe)[of] for of, to in STARTS.items()}
    return blank | {"online/filled": np.zeros(1, dtype=np.int64)}


def _moved(model: Model, arrays: Arrays, z: Floats, times: Any, interval: float) -> Arrays:
    """The window moved on by one row; the one that leaves it moves the state at its beginning."""
    ring, clock = arrays["online/rows"], arrays["online/times"]
    moved: Arrays = {"online/rows": onward.pushed(ring, z), "online/times": onward.pushed(clock, times)}
    if arrays["online/filled"][0] < len(ring):
        return {**arrays, **moved, "online/filled": arrays["online/filled"] + 1}
    weights, past = verbs.under(arrays, "online/weights"), Past(arrays["online/held"], arrays["online/heard"])
    told = around(ring[None, :1], clock[None, :1], model.recipe, interval, past).told
    first = filling.remember(weights, model.recipe, "past", told, arrays["online/first"])[1]
    seen = ~np.isnan(ring[0])
    held, heard = np.where(seen, ring[0], past.held), np.where(seen, clock[0], past.heard)
    return {**arrays, **moved, "online/first": first, "online/held": held, "online/heard": heard}


def _hidden(arrays: Arrays, recipe: Recipe, interval: float, hidden: Marks) -> tuple[Around, Floats]:
    """What lies around each cell of the window once some are hidden, and what to add to the guess there (1, T, C)."""
    z, past = arrays["online/rows"][None], Past(arrays["online/held"], arrays["online/heard"])
    facts = around(np.where(hidden, np.nan, z), arrays["online/times"][None], recipe, interval, past)
    return facts, np.where(hidden, np.clip(z - facts.guess, -CLIP, CLIP), 0.0).astype(np.float32)


def loss(weights: network.Params, recipe: Recipe, facts: Around, truth: tuple[Any, Marks], first: Any) -> Traced:
    """The loss that training has, of the hidden cells: `truth` (what to add, which are hidden)."""
    wanted, hidden = truth
    h, _ = filling.remember(weights, recipe, "past", facts.told, first)
    added, logs = filling.answer(weights, [h], facts.told, facts.beyond)
    missed = abs(added - wanted)
    nll = logs + missed.detach() * np.exp(-logs)
    total: Traced = ((missed + np.float32(hiding.NLL) * nll) * hidden).sum() / np.float32(hidden.sum())
    return total
