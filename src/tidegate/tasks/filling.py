"""The completer's network: from what lies around a hole to what lies in it, and how sure that is.

Training begins at the guess x of `around`, linear interpolation, and learns what to add to it. The network is told, for
every channel,

    d = the step from the row before, of the readings and, between them, of x       m = 1 where observed
    p = the same path less its mean of nearby rows       r = reading - x, the surprise of it (0 where missing)
    g = the time since the last and until the next observation, as log(1 + rows)

and adds to the guess, with u = all of these and h = the states of the recurrent layers in both directions,

    a = relu(W [h; u])       fill = x + W2 a + A u + s e       log b = W3 a      (Laplace, scale b)

where e is how far the cell lies beyond the last observation (or, negative, before the first), so that s is a slope to
go on with where there is no second neighbour. W2 and A begin at zero, s at the mean slope of the history. The network
is told no lasting level: told it, it was a little better where nothing drifts (ETTh1) and far worse than
interpolation where the season does (ItalyAir).

The form that reads the past only has the last value for x, no g for what comes, and no d and p, which r says. Without
recurrence h is left out: the baseline that shows what memory is worth.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import kernels, network
from ..scale import Scale
from .around import Around, Floats, Marks, Past, Recipe, Singles, Times, around, nothing

Arrays = dict[str, NDArray[Any]]
WAYS: dict[str, tuple[str, ...]] = {"both": ("past", "future"), "past": ("past",), "none": ()}
STEADY = 8.0  # log b stays within +- this
CHUNK = 4096  # rows at a time: bounds the memory of a long history
BINS = np.array([0.75, 1.5, 3.0, 6.0, 12.0, 24.0])  # reaches between which trust and spread may differ
ENDS = 2  # kinds of cells that do not lie between readings: of a channel without any (0), beyond the first or last (1)
REACHES = ENDS + len(BINS) + 1  # and by their reach between BINS (2 to 8)
KINDS = 2 * REACHES  # of cells: in a row of which half or more of the other channels were read, and in others


class Model(msgspec.Struct, frozen=True, eq=False):
    """Everything that running needs."""

    recipe: Recipe
    weights: dict[str, Singles]
    scale: Scale
    known: Marks
    """(C,) channels of which training saw a reading"""
    trust: Floats
    """(18, C) how much of what the network would add is added, by `kinds`: 0 is the naive guess, 1 all of it"""
    widen: Floats
    """(18,) what the standard deviation is multiplied by, by the same kinds of cells"""


def shapes(recipe: Recipe) -> network.Shapes:
    """Names and shapes of all weights."""
    c, hidden, ways = recipe.channels, recipe.net.hidden, WAYS[recipe.direction]
    found: network.Shapes = {}
    for way in ways:
        stack = network.stack_shapes(recipe.net, recipe.inputs)
        found |= {f"{way}.{name}": shape for name, shape in stack.items()}
    found |= network.dense_shapes("mix", len(ways) * hidden + recipe.inputs, hidden)
    found |= network.dense_shapes("add", hidden, c) | network.dense_shapes("skip", recipe.inputs, c)
    return found | network.dense_shapes("spread", hidden, c) | {"slope": (c,)}


def first_weights(recipe: Recipe, rng: np.random.Generator, slope: Any = 0.0) -> dict[str, Singles]:
    """Weights to begin with: nothing is added to the guess, but beyond the ends a slope (C,), a training window."""
    weights = network.init(shapes(recipe), rng)
    none = {name: np.zeros_like(weights[name]) for name in ("add.weight", "skip.weight")}
    return weights | none | {"slope": np.zeros_like(weights["slope"]) + np.asarray(slope, np.float32)}


def start(recipe: Recipe, n: int = 1) -> dict[str, Singles]:
    """The states of the recurrent stacks, each way's, before anything was read, of n sequences."""
    return {way: network.start(recipe.net, n) for way in WAYS[recipe.direction]}


def remember(params: network.Params, recipe: Recipe, way: str, told: Any, state: Any, drop: Any = None) -> Any:
    """One way through time: outputs (N, T, H) in the order of the rows, and the state where it ended."""
    keep = {} if drop is None else {"drop": drop}
    own = {name.removeprefix(f"{way}."): w for name, w in params.items() if name.startswith(f"{way}.")}
    if way == "past":
        return network.stack(own, recipe.net, told, state, **keep)
    h, last = network.stack(own, recipe.net, kernels.flip(told, 1), state, **keep)
    return kernels.flip(h, 1), last


def answer(params: network.Params, hidden: list[Any], told: Any, beyond: Any, drop: Any = None) -> tuple[Any, Any]:
    """What to add to the guess (N, T, C), and log b (N, T, C)."""
    hidden = hidden if drop is None else [drop(h) for h in hidden]
    a = kernels.relu(network.dense(params, "mix", kernels.join([*hidden, told])))
    added = network.dense(params, "add", a) + network.dense(params, "skip", told) + params["slope"] * beyond
    return added, network.dense(params, "spread", kernels.detach(a)).clip(-STEADY, STEADY)


def run(
    model: Model, values: Floats, times: Times, interval: float, before: Arrays
) -> tuple[Floats, Floats, Around, Arrays]:
    """Fill rows (T, C), in the data's units: fills (T, C), standard deviations, what lies around, the next state.

    `before`: the state of a form that reads the past; `begin` gives one. A pass through time in chunks has the same
    bits as one in a piece: where the other way's state is at the end of each chunk is found first, from behind.
    """
    z = model.scale.apply(values)
    held = Past(before["held"], before["heard"]) if "held" in before else None
    facts = around(z[None], times[None], model.recipe, interval, held)
    cuts = list(itertools.pairwise([*range(0, len(z), CHUNK), len(z)]))
    ends, states = (
        _ends(model, facts.told, cuts),
        {way: before[way] for way in WAYS[model.recipe.direction] if way in before},
    )
    added, logs = np.empty_like(facts.beyond), np.empty_like(facts.beyond)
    for (first, stop), end in zip(cuts, ends, strict=True):
        told, hidden = facts.told[:, first:stop], []
        for way in WAYS[model.recipe.direction]:
            h, last = remember(model.weights, model.recipe, way, told, states[way] if way == "past" else end)
            states |= {way: last} if way == "past" else {}
            hidden.append(h)
        part = answer(model.weights, hidden, told, facts.beyond[:, first:stop])
        added[:, first:stop], logs[:, first:stop] = part
    which = kinds(facts, model.recipe, ~np.isnan(z)[None])[0]
    fill = model.scale.undo((facts.guess + np.take_along_axis(model.trust, which, axis=0) * added)[0])
    std = np.sqrt(2.0) * np.exp(logs[0].astype(np.float64)) * model.widen[which]
    std *= np.maximum(1.0, _further(facts, model.recipe))  # than it was measured: the error of a slope grows so
    return fill, std * model.scale.spread, facts, {**before, **states, **_held(z, times, before)}


def kinds(facts: Around, recipe: Recipe, seen: Marks) -> NDArray[np.int64]:
    """The kind (N, T, C) of each cell, 0 to 17: how far it is from what was observed, in time and in channels.

    What the slope says is not mixed with what lies between readings; a form that reads the past has only the former.
    """
    reach = np.where((facts.beyond != 0) & recipe.looks_ahead, 1, ENDS + np.searchsorted(BINS, facts.reach))
    others = seen.sum(axis=-1, keepdims=True) - seen
    few = 2 * others < max(1, recipe.channels - 1)
    found: NDArray[np.int64] = np.where(facts.lone, 0, reach) + REACHES * few
    return found


def unchecked(facts: Around, recipe: Recipe) -> Marks:
    """Cells (T, C) further from readings than was hidden to measure the spread: far beyond, or amid a long hole."""
    amid: Marks = (facts.beyond[0] == 0) & (facts.reach[0] > recipe.length / 4)
    found: Marks = ~facts.lone[0] & (amid | (_further(facts, recipe) > 1))
    return found


def _further(facts: Around, recipe: Recipe) -> Floats:
    """How far cells (T, C) are beyond the last reading or before the first, in the rows that were `checked`."""
    rows: Floats = np.abs(facts.beyond[0].astype(np.float64)) * recipe.length
    return rows / (recipe.checked or recipe.length)


def _ends(model: Model, told: Singles, cuts: list[tuple[int, int]]) -> list[Any]:
    """The state with which the way from the future enters each chunk, from its end."""
    if "future" not in WAYS[model.recipe.direction]:
        return [None] * len(cuts)
    ends = [network.start(model.recipe.net, 1)]
    for first, stop in cuts[:0:-1]:
        ends.append(remember(model.weights, model.recipe, "future", told[:, first:stop], ends[-1])[1])
    return ends[::-1]


def begin(recipe: Recipe) -> Arrays:
    """The state before anything was read; of the form that reads the past it is all there is to remember."""
    states: Arrays = {"past": network.start(recipe.net, 1)} if recipe.direction != "none" else {}
    if recipe.direction == "past":
        empty = nothing(recipe.channels)
        states |= {"held": empty.held, "heard": empty.heard}
    return states


def _held(z: Floats, times: Times, before: Arrays) -> Arrays:
    """The last reading of each channel by the end of these rows, and its time."""
    if "held" not in before:
        return {}
    seen = ~np.isnan(z)
    last, any_seen = len(z) - 1 - np.argmax(seen[::-1], axis=0), seen.any(axis=0)
    held = np.where(any_seen, z[last, np.arange(z.shape[1])], before["held"])
    return {"held": held, "heard": np.where(any_seen, times[last], before["heard"])}
