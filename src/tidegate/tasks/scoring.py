"""A learned anomaly detector as one frozen value, and the one function that reads rows with it.

`walk` is all there is: a whole history, a chunk and a single reading go through the same lines, so they give the same
bits. It also knows what a hole means. Rows that are absent and rows that are empty are the same hole:

    up to `Heads.reach` rows     the rows that never came are passed through as empty ones, so that a forecast meets the
                                 reading it was made for
    longer, up to Alarming.gap   the network begins anew and is not heard while it warms up; averages go on
    longer still                 memory begins anew; no score while it warms up
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import network, surprise
from ..scale import Scale
from ..series import SECOND
from ..settings import Alarming
from ..surprise import Normal, Surprise
from . import expect
from .expect import Heads

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Rows = NDArray[np.int64]
Part = TypeVar("Part")
CHUNK = 1024  # rows at a time: bounds the memory of a long history
CLIP = 10.0  # scaled readings go no further into the network, where they would only saturate it
WARM = 16  # readings without a score after a start: the memory is still empty


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

    def rows(self, at: Rows) -> Verdicts:
        """Those of some rows."""
        judged = Surprise(*(a[at] for a in msgspec.structs.astuple(self.surprise)))
        return Verdicts(judged, *(a[at] for a in msgspec.structs.astuple(self)[1:]))


REASONS = ("", "nothing observed", "warming up")


def start(heads: Heads) -> Arrays:
    """The state before anything was read."""
    return _deaf(heads) | {
        "averages": surprise.start(sum(heads.witnesses), heads.channels),
        "read": np.zeros(1, dtype=np.int64),
        "silent": np.zeros(1, dtype=np.int64),
    }


def _deaf(heads: Heads) -> Arrays:
    """The part of the state that the network reads, before anything was read."""
    reach, c = heads.reach, heads.channels
    return {
        "hidden": network.start(heads.net, 1),
        "answers": np.full((reach, heads.outputs, c), np.nan, dtype=np.float32),
        "readings": np.full((reach, c), np.nan),
        "held": np.full(c, np.nan),
        "warm": np.zeros(1, dtype=np.int64),
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


def residuals(heads: Heads, weights: network.Params, z: Floats, state: Arrays) -> tuple[Floats, Floats, Arrays]:
    """Residuals (T, outputs + 2, C) and one-row forecasts (T, C) of scaled rows z (T, C), and the next state.

    The last two residuals need no network: the distance from the level, and from the last reading. NaN where nothing
    was read, and where memory is still empty: what that says must not enter the averages.
    """
    x, held = inputs(z, state["held"])
    answers, hidden = expect.forward(weights, heads, x[None], state["hidden"])
    answers = np.concatenate([state["answers"], answers[0]])
    clipped, reach = np.clip(z, -CLIP, CLIP), heads.reach
    readings = np.concatenate([state["readings"], clipped])
    told = expect.residuals(heads, answers, readings)
    found = np.concatenate([told, clipped[:, None], (clipped - held[:-1])[:, None]], axis=1)
    observed = ~np.isnan(z).all(axis=1)
    read, warm = (state[name] + observed.cumsum() for name in ("read", "warm"))
    found[warm <= expect.UNSCORED, : heads.outputs] = np.nan
    found[~observed | (read <= WARM)] = np.nan
    lag = 1 if heads.ahead else 0
    expected = answers[reach - lag : len(answers) - lag, 0].astype(np.float64)
    after = {"hidden": hidden, "answers": answers[-reach:], "readings": readings[-reach:], "held": held[-1]}
    return found, expected, {**state, **after, "read": read[-1:], "warm": warm[-1:]}


def advance(model: Model, values: Floats, state: Arrays) -> tuple[Verdicts, Arrays]:
    """Read rows (T, C), in the data's units and without a hole to begin anew after; a verdict each, the next state."""
    z = model.scale.apply(values)
    found, expected, after = residuals(model.heads, model.weights, z, state)
    judged, averages = surprise.score(found, model.normal, model.heads.witnesses, state["averages"])
    observed = ~np.isnan(z).all(axis=1)
    warming = state["read"] + observed.cumsum() <= WARM
    reason = np.where(~observed, 1, np.where(warming, 2, 0)).astype(np.uint8)
    judged = Surprise(*(_blanked(a, reason > 0) for a in (judged.score, judged.fast, judged.by_channel)))
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


def run(model: Model, values: Floats, missing: Rows, state: Arrays) -> tuple[Verdicts, Rows, Arrays]:
    """Read all rows; also the rows at which memory began anew. `missing` (T,): how many never came before each."""

    def read(rows: Floats, state: Arrays) -> tuple[Verdicts, Arrays]:
        return advance(model, rows, state)

    parts, at, anew, state = walk(read, values, missing, model.heads, model.alarming.gap, state)
    return join(parts).rows(at), anew, state


def walk(
    read: Callable[[Floats, Arrays], tuple[Part, Arrays]],
    values: Floats,
    missing: Rows,
    heads: Heads,
    gap: int,
    state: Arrays,
) -> tuple[list[Part], Rows, Rows, Arrays]:
    """`read` all rows (T, C) in chunks, with the holes between them as the head of this file says.

    Returns what `read` made of each chunk, where in all of it each of the T rows stands, the rows at which memory
    began anew, and the state after the last row.
    """
    pause, silent = pauses(values, missing, int(state["silent"][0]))
    filled = np.where(missing <= heads.reach, missing, 0)
    at = np.arange(len(values)) + filled.cumsum()
    grid = np.full((len(values) + filled.sum(), values.shape[1]), np.nan)
    grid[at] = values
    anew, deaf = (np.flatnonzero(pause > limit) for limit in (gap, heads.reach))
    forgets, begins = set(at[anew].tolist()), set(at[deaf].tolist())
    cuts = sorted({0, len(grid), *forgets, *begins, *range(0, len(grid), CHUNK)})
    parts = []
    for first, last in itertools.pairwise(cuts):
        state = {**state, **start(heads)} if first in forgets else state
        state = {**state, **_deaf(heads)} if first in begins else state
        part, state = read(grid[first:last], state)
        parts.append(part)
    return parts, at, anew, {**state, "silent": np.array([silent])}


def absent(times: Rows, interval: float, last: int | None = None) -> Rows:
    """(T,) how many rows never came right before each; `last` is the time of the row before the first.

    >>> absent(np.array([0, 1, 4, 5]) * SECOND, interval=1.0).tolist()
    [0, 0, 2, 0]
    """
    before = np.concatenate([[times[0] if last is None else last], times[:-1]])
    steps = np.rint((times - before) / (interval * SECOND)).astype(np.int64)
    missing: Rows = np.maximum(steps - 1, 0)
    return missing


def starts(values: Floats, missing: Rows, gap: int) -> Rows:
    """The rows at which memory begins anew: the first, and each reading after more than `gap` rows without."""
    pause, _ = pauses(values, missing, 0)
    return np.union1d([0], np.flatnonzero(pause > gap)).astype(np.int64)


def pauses(values: Floats, missing: Rows, silent: int) -> tuple[Rows, int]:
    """(T,) how many rows in a row, absent or empty, came before each reading (an empty row has 0), and at the end.

    >>> pauses(np.array([[1.0], [np.nan], [2.0], [3.0], [np.nan]]), np.array([0, 0, 5, 0, 0]), silent=2)
    (array([2, 0, 6, 0, 0]), 1)
    """
    place = np.cumsum(missing + 1)
    observed = ~np.isnan(values).all(axis=1)
    heard = np.maximum.accumulate(np.concatenate([[-silent], np.where(observed, place, -silent)]))
    return np.where(observed, place - heard[:-1] - 1, 0), int(place[-1] - heard[-1])
