"""The naive rules, learned from the same rows as the network and held to the same budget, in the same file.

So every later evaluation has its baselines beside it, without the history that the model came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import calibrate
from ..baselines import BASELINES, Components, LastValue, Level
from ..calibrate import Calibration
from . import verbs

if TYPE_CHECKING:
    from .learning import History

Floats = NDArray[np.float64]
Held = tuple[
    Floats, NDArray[np.int64], NDArray[np.int64]
]  # rows, which begin a stretch, how many are absent before each
KINDS: dict[str, Any] = {"last_value": LastValue, "level": Level, "pca": Components}


class Rival(msgspec.Struct, frozen=True, eq=False):
    """One naive rule: what it learned, and what its scores on the calibration stretch say."""

    learned: Any
    calibration: Calibration


def learn(past: History) -> dict[str, Any]:
    """What each rule makes of the rows that the network learned from, those that stopped its training included."""
    return {name: BASELINES[name][0](past.known) for name in KINDS}


def calibrated(learned: dict[str, Any], past: History, interval: float, merge: int) -> dict[str, Rival]:
    """The rules with their scores on the calibration stretch made into thresholds, as the network's are."""
    rows = past.values[slice(*past.calibrate)], past.calibration_starts(), past.calibration_missing()
    return {name: rival(name, rule, rows, interval=interval, merge=merge) for name, rule in learned.items()}


def rival(name: str, learned: Any, held: Held, *, interval: float, merge: int) -> Rival:
    """One rule, with its scores on held-out rows made into thresholds."""
    values, starts, missing = held
    scores = score(name, learned, values, starts)
    return Rival(learned, calibrate.budgeted(scores, interval=interval, merge=merge, starts=starts, missing=missing))


def score(name: str, learned: Any, values: Floats, starts: NDArray[np.int64]) -> Floats:
    """Scores (T,) of one rule; what it remembers begins anew at each of `starts`."""
    return np.concatenate([BASELINES[name][1](learned, piece) for piece in np.split(values, starts[starts > 0])])


def from_file(name: str, calibration: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Rival:
    """A rival from the arrays and the specification of a model file."""
    kept = {key: arrays[f"rivals/{name}/calibration/{key}"] for key in calibrate.ARRAYS}
    return Rival(verbs.built(KINDS[name], arrays, f"rivals/{name}"), Calibration.from_arrays(calibration, kept))
