"""What lies around each cell of a history, before any network: the guess of a naive rule, and what the network is told.

Each cell (row t, channel c) is guessed from its strict neighbours in time, the observations before and after it and
never itself: linear interpolation by the clock, or the one neighbour there is. Where only the past may be read, the
guess is the last value. A cell that is hidden for training therefore looks exactly like one that is missing.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..series import SECOND
from ..settings import Network, Positive

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Marks = NDArray[np.bool_]
Times = NDArray[np.int64]
Direction = Literal["both", "past", "none"]
CLIP = 10.0  # scaled readings go no further into the network, where they would only saturate it
FAR = 1024.0  # rows: an observation further away, or none at all, is as good as this far
SLOPE = 16.0  # training windows: a slope is followed no further beyond the last observation


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network reads and how: channels, recurrent stack, direction, rows of a training window."""

    channels: Positive
    net: Network
    direction: Direction
    length: Positive
    checked: Annotated[int, msgspec.Meta(ge=0)] = 0
    """rows beyond the first and last reading up to which the spread was measured; 0: as far as a training window"""

    @property
    def looks_ahead(self) -> bool:
        """Whether what comes after a hole takes part in filling it."""
        return self.direction != "past"

    @property
    def inputs(self) -> int:
        """How many numbers the network is given of a row."""
        return (6 if self.looks_ahead else 3) * self.channels


class Around(msgspec.Struct, frozen=True, eq=False):
    """What is told of N x T rows before any network: shapes (N, T, C) but for `told`."""

    guess: Floats
    """from the strict neighbours: linear interpolation, or the last value; scaled; 0 where there is none"""
    told: Singles
    """(N, T, inputs) what the network is given"""
    beyond: Singles
    """training windows from the last observation where none follows; minus those to the first before it"""
    reach: Floats
    """rows to the nearest observations: 1 / (1 / before + 1 / after), FAR at most"""
    lone: Marks
    """no neighbour at all"""


class Past(msgspec.Struct, frozen=True, eq=False):
    """The last reading (C,) of each channel before these rows, NaN = none, and when (C,) it was."""

    held: Floats
    heard: Times


def nothing(channels: int) -> Past:
    """Before anything was read."""
    return Past(np.full(channels, np.nan), np.zeros(channels, dtype=np.int64))


def around(z: Floats, times: Times, recipe: Recipe, interval: float, past: Past | None = None) -> Around:
    """What lies around each cell of scaled rows z (N, T, C), NaN = missing, at times (N, T) in nanoseconds."""
    seen, tick = ~np.isnan(z), interval * SECOND
    past = nothing(z.shape[-1]) if past is None else past
    before, last, since = _neighbour(z, times, seen, past, tick)
    if recipe.looks_ahead:
        turned, none = (np.flip(z, 1), np.flip(-times, 1), np.flip(seen, 1)), nothing(z.shape[-1])
        after, following, until = _neighbour(*turned, none, tick)
        after, following, until = np.flip(after, 1), np.flip(following, 1), np.flip(until, 1)
    else:
        after, following, until = np.zeros_like(seen), np.zeros_like(z), np.full_like(z, np.inf)
    guess = _between(before, last, since, after, following, until)
    beyond = np.where(before & ~after, since, 0.0) - np.where(after & ~before, until, 0.0)
    gaps = [since, until] if recipe.looks_ahead else [since]
    path = np.clip(np.where(seen, z, guess), -CLIP, CLIP)  # before any sum: one reading of 1e30 is not felt far away
    paths = [np.diff(path, axis=1, prepend=path[:, :1]), path - _nearby(path, recipe.length // 2)]
    paths = paths if recipe.looks_ahead else []  # of the past, all that they say is in the surprise
    cut = [np.clip(a, -CLIP, CLIP) for a in (*paths, np.where(seen, z - guess, 0.0))]
    logs = [np.log1p(np.minimum(gap, FAR)) / np.log1p(FAR) for gap in gaps]
    return Around(
        guess,
        np.concatenate([*cut, seen, *logs], axis=-1).astype(np.float32),
        np.clip(beyond / recipe.length, -SLOPE, SLOPE).astype(np.float32),
        1.0 / np.maximum(1.0 / since + 1.0 / until, 1.0 / FAR),
        ~(before | after),
    )


def _neighbour(z: Floats, times: Times, seen: Marks, past: Past, tick: float) -> tuple[Marks, Floats, Floats]:
    """The last observation strictly before each cell: whether there is one, its value, and how many rows ago."""
    n, t, c = z.shape
    row = np.where(seen, np.arange(t)[:, None], -1)
    row = np.concatenate([np.full((n, 1, c), -1), np.maximum.accumulate(row, axis=1)[:, :-1]], axis=1)
    here, at = row >= 0, np.maximum(row, 0)
    value = np.where(here, np.take_along_axis(z, at, axis=1), past.held)
    when = np.where(here, np.take_along_axis(times, at.reshape(n, -1), axis=1).reshape(z.shape), past.heard)
    found = ~np.isnan(value)
    return found, np.where(found, value, 0.0), np.where(found, (times[..., None] - when) / tick, np.inf)


def _between(before: Marks, last: Floats, since: Floats, after: Marks, following: Floats, until: Floats) -> Floats:
    """Linear interpolation by the clock; the one neighbour where there is one; 0 where there is none."""
    both = before & after
    share = np.where(both, since, 0.0) / np.where(both, since + until, 1.0)
    return np.where(both, last + (following - last) * share, np.where(before, last, following))


def _nearby(path: Floats, reach: int) -> Floats:
    """The mean of each channel of (N, T, C) over the rows up to `reach` before and after."""
    n, t, c = path.shape
    sums = np.concatenate([np.zeros((n, 1, c)), np.cumsum(path, axis=1)], axis=1)
    first, stop = np.maximum(np.arange(t) - reach, 0), np.minimum(np.arange(t) + reach + 1, t)
    mean: Floats = (sums[:, stop] - sums[:, first]) / (stop - first)[:, None]
    return mean
