"""A learned anomaly detector as one frozen value, and the one function that reads rows with it.

`advance` is all there is: a whole history, a chunk and a single reading go through the same lines, so they give the
same bits.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import network, surprise
from ..scale import Scale
from ..settings import Alarming
from ..surprise import Normal, Surprise
from . import expect
from .expect import Heads

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
CHUNK = 1024  # rows at a time: bounds the memory of a long history
CLIP = 10.0  # scaled readings go no further into the network, where they would only saturate it
WARM = 16  # rows without a score after a start: the memory is still empty


class Model(msgspec.Struct, frozen=True, eq=False):
    """Everything that running needs. `band` (C,): half the width of the 99 % band around what is expected, scaled."""

    heads: Heads
    weights: dict[str, NDArray[np.float32]]
    scale: Scale
    normal: Normal
    band: Floats
    alarming: Alarming


class Verdicts(msgspec.Struct, frozen=True, eq=False):
    """What was made of T rows: scores, and what was expected, in the data's units; NaN where there is none."""

    surprise: Surprise
    expected: Floats
    low: Floats
    high: Floats
    reason: NDArray[np.uint8]
    """(T,) why a row has no score: an index into REASONS"""

    def rows(self, first: int, last: int) -> Verdicts:
        """Those of some rows."""
        judged = Surprise(*(a[first:last] for a in msgspec.structs.astuple(self.surprise)))
        return Verdicts(judged, *(a[first:last] for a in msgspec.structs.astuple(self)[1:]))


REASONS = ("", "nothing observed", "warming up")


def start(heads: Heads) -> Arrays:
    """The state before anything was read."""
    reach, c = heads.reach, heads.channels
    return {
        "hidden": network.start(heads.net, 1),
        "answers": np.full((reach, heads.outputs, c), np.nan, dtype=np.float32),
        "readings": np.full((reach, c), np.nan),
        "held": np.full(c, np.nan),
        "averages": surprise.start(sum(heads.witnesses), c),
        "rows": np.zeros(1, dtype=np.int64),
    }


def inputs(z: Floats, held: Floats) -> tuple[NDArray[np.float32], Floats]:
    """What the network is given (T, 2C): clipped readings, the last one held where one is missing, and the mask.

    >>> inputs(np.array([[1.0], [np.nan]]), np.zeros(1))[0].tolist()
    [[1.0, 1.0], [1.0, 0.0]]

    Also (1 + T, C): the last reading of each channel before and after every row, NaN where there was none yet.
    """
    seen = ~np.isnan(z)
    padded = np.concatenate([held[None], np.clip(z, -CLIP, CLIP)])
    source = np.where(np.concatenate([np.ones_like(seen[:1]), seen]), np.arange(len(padded))[:, None], 0)
    filled = np.take_along_axis(padded, np.maximum.accumulate(source, axis=0), axis=0)
    return np.concatenate([np.nan_to_num(filled[1:]), seen], axis=1).astype(np.float32), filled


def residuals(model_heads: Heads, weights: network.Params, z: Floats, state: Arrays) -> tuple[Floats, Floats, Arrays]:
    """Residuals (T, outputs + 2, C) and one-row forecasts (T, C) of scaled rows z (T, C), and the next state.

    The last two residuals need no network: the distance from the level, and from the last reading.
    """
    x, held = inputs(z, state["held"])
    answers, hidden = expect.forward(weights, model_heads, x[None], state["hidden"])
    answers = np.concatenate([state["answers"], answers[0]])
    clipped, reach = np.clip(z, -CLIP, CLIP), model_heads.reach
    readings = np.concatenate([state["readings"], clipped])
    told = expect.residuals(model_heads, answers, readings)
    found = np.concatenate([told, clipped[:, None], (clipped - held[:-1])[:, None]], axis=1)
    lag = 1 if model_heads.ahead else 0
    expected = answers[reach - lag : len(answers) - lag, 0].astype(np.float64)
    after = {"hidden": hidden, "answers": answers[-reach:], "readings": readings[-reach:], "held": held[-1]}
    return found, expected, {**state, **after, "rows": state["rows"] + (~np.isnan(z).all(axis=1)).sum()}


def advance(model: Model, values: Floats, state: Arrays) -> tuple[Verdicts, Arrays]:
    """Read rows (T, C), in the data's units and without a gap between them; a verdict each, and the next state."""
    z = model.scale.apply(values)
    begun = int(state["rows"][0])
    found, expected, after = residuals(model.heads, model.weights, z, state)
    observed = begun + (~np.isnan(z).all(axis=1)).cumsum()
    warming = observed <= WARM
    found[warming] = np.nan  # what an empty memory says must not enter the averages
    judged, averages = surprise.score(found, model.normal, model.heads.witnesses, state["averages"])
    reason = np.where(np.isnan(z).all(axis=1), 1, np.where(warming, 2, 0)).astype(np.uint8)
    blank = reason > 0
    judged = Surprise(*(_blanked(a, blank) for a in (judged.score, judged.fast, judged.by_channel)))
    undo = model.scale.undo
    verdicts = Verdicts(judged, undo(expected), undo(expected - model.band), undo(expected + model.band), reason)
    return verdicts, {**after, "averages": averages}


def _blanked(a: Floats, blank: NDArray[np.bool_]) -> Floats:
    return np.where(blank[:, None] if a.ndim == 2 else blank, np.nan, a)


def join(parts: list[Verdicts]) -> Verdicts:
    """Verdicts of one stretch after another, as one."""
    first = parts[0]
    judged = [np.concatenate([getattr(p.surprise, name) for p in parts]) for name in first.surprise.__struct_fields__]
    rest = [np.concatenate([getattr(p, name) for p in parts]) for name in first.__struct_fields__[1:]]
    return Verdicts(Surprise(*judged), *rest)


def run(model: Model, values: Floats, starts: NDArray[np.int64], state: Arrays) -> tuple[Verdicts, Arrays]:
    """Read all rows, in chunks; at each of `starts` the memory begins anew."""
    cuts = sorted({0, len(values), *starts.tolist(), *range(0, len(values), CHUNK)})
    parts, fresh = [], set(starts.tolist())
    for first, last in itertools.pairwise(cuts):
        state = {**state, **start(model.heads)} if first in fresh else state
        verdicts, state = advance(model, values[first:last], state)
        parts.append(verdicts)
    return join(parts), state
