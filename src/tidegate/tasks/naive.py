"""The rules that a forecaster carries beside its network: last value, drift, seasonal naive, and a linear map.

All take windows (N, L) of one channel each, scaled, minus their last value, nothing missing, and answer (N, K) meant in
the same way. A row's answer does not depend on the rows beside it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..windows import filled

Floats = NDArray[np.float32]
NAMES = ("last_value", "drift", "seasonal", "linear")
STRENGTHS = tuple(10.0**power for power in range(-5, 4))  # of the penalty on the linear map
SAMPLED = 512  # windows from which the period is found
FURTHEST = 8  # windows: no longer period is looked for


class Rules(msgspec.Struct, frozen=True, eq=False):
    """What the rules learned.

    period  (1,) rows after which the channels repeat themselves best; 1: they do not
    linear  (K, L) weights of the linear map
    """

    period: NDArray[np.int64]
    linear: Floats


def answers(rules: Rules, x: Floats) -> dict[str, Floats]:
    """What each rule says comes after windows x (N, L): (N, K) each.

    >>> rules = Rules(np.array([2]), np.zeros((3, 4), np.float32))
    >>> said = answers(rules, np.array([[-1.0, 1.0, -1.0, 0.0]], np.float32))
    >>> said["seasonal"].tolist(), said["last_value"].tolist()
    ([[-1.0, 0.0, -1.0]], [[0.0, 0.0, 0.0]])
    """
    horizon, lookback = rules.linear.shape
    steps = np.arange(1, horizon + 1, dtype=np.float32)
    return {
        "last_value": np.zeros((len(x), horizon), np.float32),
        "drift": -x[:, :1] / np.float32(max(lookback - 1, 1)) * steps,
        "seasonal": x[:, _season(int(rules.period[0]), horizon, lookback)],
        "linear": linear(rules, x),
    }


def linear(rules: Rules, x: Floats) -> Floats:
    """What the linear map says alone, as `answers` has it."""
    found: Floats = kernels.linear(x, rules.linear, np.zeros(len(rules.linear), np.float32))
    return found


def _season(period: int, horizon: int, lookback: int) -> NDArray[np.int64]:
    """The place in a window (K,) where each step of the future was one or more periods ago."""
    return lookback - period + np.arange(horizon) % period


def period(x: Floats, y: Floats) -> int:
    """The period at which seasonal naive answers best to windows x (N, L) with futures y (N, K), NaN = missing.

    >>> t = np.arange(200)[:, None] + np.arange(30)
    >>> wave = np.sin(2 * np.pi * t / 12).astype(np.float32)
    >>> period(wave[:, :24] - wave[:, 23:24], wave[:, 24:] - wave[:, 23:24])
    12

    By the mean absolute error; only periods inside a window can be used. 1 where none is better than the last value.
    """
    return missed(x, y)[0]


def missed(x: Floats, y: Floats) -> tuple[int, float]:
    """That period, and the mean absolute error with it."""
    some = np.linspace(0, len(x) - 1, min(SAMPLED, len(x))).astype(np.int64)
    x, y = x[some], y[some]
    misses = [float(np.nanmean(np.abs(y - x[:, _season(p, y.shape[1], x.shape[1])]))) for p in range(1, x.shape[1] + 1)]
    best = int(np.argmin(np.round(misses, 6)))
    return best + 1, misses[best]


def longer(z: NDArray[np.float64], lookback: int, miss: float) -> int:
    """The period of rows (T, C), longer than a window, that would miss by less than half of `miss`; 0 if none does.

    >>> wave = np.sin(2 * np.pi * np.arange(400) / 50)[:, None]
    >>> longer(wave, lookback=20, miss=0.5), longer(wave, lookback=20, miss=0.0)
    (50, 0)
    """
    most = min(FURTHEST * lookback, len(z) // 3)
    misses = np.array([np.nanmean(np.abs(z[p:] - z[:-p])) for p in range(lookback + 1, most + 1)])
    if not len(misses) or not misses.min() < miss / 2:
        return 0
    first = int(np.argmax(misses < 1.1 * misses.min() + 1e-6))  # not two or three times the period
    near = misses[first : first + 1 + (lookback + first) // 8]
    return lookback + 1 + first + int(np.argmin(np.round(near, 6)))


class Ridge:
    """Linear maps from windows to futures in closed form, for many penalties, from batches of windows.

    >>> t = np.arange(60)[:, None] + np.arange(9)
    >>> line = (t - t[:, 7:8]).astype(np.float32)
    >>> ridge = Ridge(lookback=8, horizon=1)
    >>> ridge.add(line[:, :8], line[:, 8:])
    >>> [(ridge.map(strength) @ line[0, :8]).round(1).item() for strength in (1e-5, 1e6)]  # goes on; the mean
    [1.0, -3.5]

    Least squares, shared by all channels: what DLinear (Zeng et al. 2023) reaches by descent; its split into trend and
    rest adds nothing to a linear map (Toner & Darlow 2024). Each step ahead is a sum of the window's values, with
    weights that sum to 1. The penalty is on the squared difference of neighbouring weights (Shiller 1973), so that what
    is noisy or short is drawn towards the mean of the window and not towards its last value, as noisy as any other.
    """

    def __init__(self, lookback: int, horizon: int) -> None:
        self.inputs, self.cross = np.zeros((lookback, lookback)), np.zeros((lookback, horizon))

    def add(self, x: Floats, y: Floats) -> None:
        """Windows x (N, L) and their futures y (N, K), where NaN is drawn as a line between what was seen."""
        whole = filled(np.concatenate([x, y], axis=1)).astype(np.float64)
        a, b = whole[:, : x.shape[1]], whole[:, x.shape[1] :]
        self.inputs += a.T @ a
        self.cross += a.T @ b

    def copy(self) -> Ridge:
        """The same, in memory of its own."""
        found = Ridge(*self.cross.shape)
        found.inputs, found.cross = self.inputs.copy(), self.cross.copy()
        return found

    def miss(self, strength: float, x: Floats, y: Floats) -> float:
        """The squared misses of a map on windows x (N, L) and futures y (N, K), NaN = missing, in all."""
        return float(np.nansum((x @ self.map(strength).T - y) ** 2, dtype=np.float64))

    def map(self, strength: float) -> Floats:
        """The map (K, L) under a penalty that is `strength` times the mean square of the inputs."""
        lookback, horizon = self.cross.shape
        # Windows are minus their last value, which leaves the last weight to be what the others lack to 1.
        last = np.zeros((lookback, 1))
        last[-1] = 1
        others = np.vstack([np.eye(lookback - 1), -np.ones(lookback - 1)])
        size = strength * max(float(np.trace(self.inputs)) / lookback, 1e-12)
        steps = np.diff(others, axis=0)
        squares = self.inputs[:-1, :-1] + size * steps.T @ steps
        found = np.linalg.solve(squares, self.cross[:-1] - size * steps.T @ np.diff(last, axis=0))
        return np.vstack([found, np.zeros((1, horizon))]).T.astype(np.float32)


def best(errors: dict[str, Any], ours: str) -> str:
    """The name of the rule with the smallest error, or "" where none is smaller than `ours`.

    >>> best({"forecaster": 1.0, "drift": 0.9, "last_value": 2.0}, "forecaster")
    'drift'
    """
    found = min(errors, key=lambda name: errors[name] if np.isfinite(errors[name]) else np.inf)
    return "" if found == ours or not errors[found] < errors[ours] else found
