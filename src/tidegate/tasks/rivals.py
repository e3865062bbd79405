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
    rows, starts, missing = past.values[slice(*past.calibrate)], past.calibration_starts(), past.calibration_missing()

    def rival(name: str, rule: Any) -> Rival:
        scores = score(name, rule, rows, starts)
        return Rival(rule, calibrate.budgeted(scores, interval=interval, merge=merge, starts=starts, missing=missing))

    return {name: rival(name, rule) for name, rule in learned.items()}


def score(name: str, learned: Any, values: Floats, starts: NDArray[np.int64]) -> Floats:
    """Scores (T,) of one rule; what it remembers begins anew at each of `starts`."""
    return np.concatenate([BASELINES[name][1](learned, piece) for piece in np.split(values, starts[starts > 0])])


def from_file(name: str, calibration: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Rival:
    """A rival from the arrays and the specification of a model file."""
    kept = {key: arrays[f"rivals/{name}/calibration/{key}"] for key in calibrate.ARRAYS}
    return Rival(verbs.built(KINDS[name], arrays, f"rivals/{name}"), Calibration.from_arrays(calibration, kept))
