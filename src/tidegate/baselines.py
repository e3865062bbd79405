"""The naive rules that stand beside the anomaly detector: what a network must beat to be worth its cost.

A rule is a pair of pure functions over values (T, C) in the data's units, NaN = missing:

    learned = learn(normal)          a frozen struct
    scores = score(learned, later)   (T,) float64, bigger = more unusual; row t uses rows <= t only

A row gets no score (NaN) where nothing was observed, or, for `last_value`, where nothing was observed before. Scores
are not calibrated; they pass through the same `calibrate` as the detector's. Rows count as consecutive.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import scale, surprise
from .errors import DataError, MissingExtraError

Floats = NDArray[np.float64]
Rule = tuple[Callable[[Floats], Any], Callable[[Any, Floats], Floats]]

CUT = 10.0  # spreads: scaled readings go no further
_HELD_OUT = 0.25  # the last part of the training rows sets the rms that a residual is divided by
_FLOOR = (
    0.1  # no residual is divided by less than a tenth of its channel's spread: a quiet stretch is not a precise one
)
_KEPT = 0.9  # the share of the variance that the leading components hold


class LastValue(msgspec.Struct, frozen=True, eq=False):
    """What `learn_last_value` learned."""

    scale: scale.Scale
    usual: Floats
    """(C,) rms of the step from one reading to the next, in spreads"""


class Level(msgspec.Struct, frozen=True, eq=False):
    """What `learn_level` learned."""

    scale: scale.Scale
    normal: surprise.Normal


class Components(msgspec.Struct, frozen=True, eq=False):
    """What `learn_pca` learned."""

    scale: scale.Scale
    mean: Floats
    """(C,) of the scaled values"""
    leading: Floats
    """(K, C) orthonormal rows, K < C"""


class Forest(msgspec.Struct, frozen=True, eq=False):
    """What `learn_isolation_forest` learned."""

    scale: scale.Scale
    trees: Any
    """scikit-learn's IsolationForest"""


def learn_last_value(values: Floats) -> LastValue:
    """How far each channel usually moves from one reading to the next."""
    scaled = scale.learn(_checked(values))
    return LastValue(scaled, _rms(_later(_steps(scaled.apply(values)))))


def score_last_value(learned: LastValue, values: Floats) -> Floats:
    """How far the reading is from the last one: rms over channels of |x_t - x_(t-1)|, each in its usual step.

    >>> learned = learn_last_value(np.array([[0.0], [1.0], [0.0], [1.0], [0.0]]))
    >>> score_last_value(learned, np.array([[0.0], [0.0], [3.0], [np.nan], [1.0]])).round(9)
    array([nan,  0.,  3., nan,  2.])

    x_(t-1) is the last value observed, however long ago. The first row has no score.
    """
    return _over_channels(_steps(learned.scale.apply(values)) / learned.usual)


def learn_level(values: Floats) -> Level:
    """How far each channel, and its moving averages, usually are from the training level."""
    scaled = scale.learn(_checked(values))
    z = _cut(scaled.apply(values))
    held = np.arange(len(z)) >= len(z) - len(_later(z))
    return Level(scaled, surprise.learn(z[:, None], (1,), np.zeros(1, dtype=np.int64), held)[0])


def score_level(learned: Level, values: Floats) -> Floats:
    """How far the signal is from its training level: the detector's own scoring, with no network before it.

    >>> learned = learn_level(np.array([[1.0], [-1.0]] * 100))
    >>> low, high = score_level(learned, np.array([[1.0], [-1.0]] * 50 + [[2.0]] * 50))[[99, 149]]
    >>> bool(high > 2 * low)
    True

    The "level" witness of `surprise` alone, by the same lines of code.
    """
    z = _cut(learned.scale.apply(values))
    return surprise.score(z[:, None], learned.normal, (1,), surprise.start(1, z.shape[1]))[0].score


def learn_pca(values: Floats) -> Components:
    """The leading directions that hold 90 % of the variance of the scaled values; at least one is left out."""
    scaled = scale.learn(_checked(values))
    z = _filled(scaled.apply(values))
    mean = z.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(z.T, bias=True).reshape(z.shape[1], -1))
    held = np.cumsum(variance[::-1]) / max(variance.sum(), np.finfo(float).tiny)
    leading = min(int(np.searchsorted(held, _KEPT)) + 1, len(held) - 1)
    return Components(scaled, mean, np.ascontiguousarray(directions[:, ::-1][:, :leading].T))


def score_pca(learned: Components, values: Floats) -> Floats:
    """How badly the channels fit together: the length of what the leading components leave of a row (Q statistic).

    >>> x = np.linspace(0, 1, 100)
    >>> together, apart = score_pca(learn_pca(np.column_stack([x, 2 * x])), np.array([[0.5, 1.0], [0.5, 0.0]]))
    >>> bool(together < 1e-9 < 1 < apart)
    True

    A missing value is taken as its channel's center, z = 0. With one channel it is the distance from the mean.
    """
    rest = _filled(learned.scale.apply(values)) - learned.mean
    rest = rest - (rest @ learned.leading.T) @ learned.leading
    return np.where(_observed(values), np.sqrt(np.sum(rest**2, axis=1)), np.nan)


def learn_isolation_forest(values: Floats) -> Forest:
    """A hundred random trees over single rows. Raises MissingExtraError without scikit-learn."""
    if not find_spec("sklearn"):
        raise MissingExtraError("the package scikit-learn is not installed", do="pip install scikit-learn")
    forest = import_module("sklearn.ensemble").IsolationForest(random_state=0)
    scaled = scale.learn(_checked(values))
    return Forest(scaled, forest.fit(_filled(scaled.apply(values))))


def score_isolation_forest(learned: Forest, values: Floats) -> Floats:
    """How few random cuts it takes to isolate a row (Liu et al. 2008), 0 to 1; missing values as in `score_pca`.

    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> usual, unusual = score_isolation_forest(learn_isolation_forest(x), np.array([[0.0, 0.0], [9.0, -9.0]]))
    >>> bool(unusual > usual)
    True
    """
    isolation = -learned.trees.score_samples(_filled(learned.scale.apply(values)))
    return np.where(_observed(values), isolation, np.nan)


BASELINES: dict[str, Rule] = {
    "last_value": (learn_last_value, score_last_value),
    "level": (learn_level, score_level),
    "pca": (learn_pca, score_pca),
    "isolation_forest": (learn_isolation_forest, score_isolation_forest),
}


def present() -> tuple[dict[str, Rule], tuple[str, ...]]:
    """The rules that can run here, and a sentence about each that cannot.

    >>> rules, left_out = present()
    >>> list(rules)[:3]
    ['last_value', 'level', 'pca']
    """
    if find_spec("sklearn"):
        return dict(BASELINES), ()
    rules = {name: rule for name, rule in BASELINES.items() if name != "isolation_forest"}
    return rules, ("isolation_forest is left out: scikit-learn is not installed",)


def _checked(values: Floats) -> Floats:
    if values.ndim != 2 or np.isnan(values).all():
        raise DataError(f"values of shape {values.shape}", wanted="(T, C), not all missing", do="give normal history")
    return values


def _later(rows: Floats) -> Floats:
    """The last quarter, or one row where there are fewer than four."""
    return rows[-max(1, int(len(rows) * _HELD_OUT)) :]


def _rms(rows: Floats, floor: float = _FLOOR) -> Floats:
    """Root mean square of each channel over its observed rows: at least `floor`; 1 where there are none, or it is 0."""
    seen = ~np.isnan(rows)
    square = np.where(seen, rows, 0.0) ** 2
    rms = np.maximum(np.sqrt(square.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)), floor)
    return np.where(seen.any(axis=0) & (rms > 0), rms, 1.0)


def _over_channels(scaled: Floats) -> Floats:
    """Root mean square of each row over the channels observed; NaN where none is."""
    seen = ~np.isnan(scaled)
    energy = np.sum(np.where(seen, scaled, 0.0) ** 2, axis=1) / np.maximum(seen.sum(axis=1), 1)
    return np.where(seen.any(axis=1), np.sqrt(energy), np.nan)


def _steps(z: Floats) -> Floats:
    """Each value less the last one observed before it in its channel; NaN where there is none."""
    row = np.where(np.isnan(z), -1, np.arange(len(z))[:, None])
    last = np.maximum.accumulate(np.vstack([np.full((1, z.shape[1]), -1), row[:-1]]))
    before = np.where(last >= 0, np.take_along_axis(z, np.maximum(last, 0), axis=0), np.nan)
    return np.asarray(z - before)


def _cut(z: Floats) -> Floats:
    """Scaled readings as the detector sees them."""
    cut: Floats = np.clip(z, -CUT, CUT)
    return cut


def _filled(z: Floats) -> Floats:
    return np.nan_to_num(z, nan=0.0)


def _observed(values: Floats) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values).all(axis=1))
