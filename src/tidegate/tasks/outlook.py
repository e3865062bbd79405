"""What a forecaster says: the next rows with their quantiles, and a rolling test against what really came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import chance
from ..errors import SettingError
from .bands import quantiles
from .verbs import State
from .windowed import OURS, WON

if TYPE_CHECKING:
    import polars

Floats = NDArray[np.float64]
WORDS = {"last_value": "the last value", "drift": "drift", "seasonal": "seasonal naive", "linear": "a linear map"}


@dataclass(frozen=True, eq=False)
class Forecast:
    """The next K rows of C channels, in the data's units; NaN for a channel of which nothing was read lately."""

    name: str
    channels: tuple[str, ...]
    times: NDArray[np.int64]
    """(K,) UTC nanoseconds; row numbers x interval where there is no clock"""
    mean: Floats
    """(K, C) the forecast itself, in the middle of what may come"""
    levels: Floats
    """(Q,) of the quantiles that were measured"""
    bands: Floats
    """(Q, K, C) how far each of them usually lies from `mean`"""
    breadth: Floats
    """(C,) how many times as far it lies now: bands follow the spread of the window, as far as that served"""
    notes: tuple[str, ...]
    state: State

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"<Forecast after {self.name}: {len(self)} rows x {len(self.channels)} channels>"

    def quantile(self, q: float) -> Floats:
        """(K, C) what the truth stays below with probability q; `quantile(0.05)` to `quantile(0.95)` is a 90 % band."""
        return self.mean + self.breadth * quantiles(self.levels, self.bands, measured(self.levels, q))

    def to_frame(self) -> polars.DataFrame:
        """A polars frame, a row for each step and channel: time, channel, mean, and the ends of a 90 % band."""
        import polars

        steps, count = self.mean.shape
        band = {name: self.quantile(q).ravel() for name, q in (("low", 0.05), ("high", 0.95)) if self._has(q)}
        columns: dict[str, Any] = {
            "time": polars.Series(np.repeat(self.times, count)).cast(polars.Datetime("ns", "UTC")),
            "channel": list(self.channels) * steps,
            "mean": self.mean.ravel(),
            **band,
        }
        return polars.DataFrame(columns)

    def to_pandas(self) -> Any:
        """The same as a pandas frame, where pandas is installed."""
        return self.to_frame().to_pandas()

    def _has(self, q: float) -> bool:
        return bool(self.levels[0] <= q <= self.levels[-1])


@dataclass(frozen=True, eq=False)
class Backtest:
    """Forecasts from N moments of a history, as they would have been made, beside what came.

    `errors` are mean squared and mean absolute errors in spreads of the channels (1 = the standard deviation of what
    was learned from), of the forecaster and of the rules that it carries, over the same cells.
    """

    name: str
    channels: tuple[str, ...]
    times: NDArray[np.int64]
    """(N,) when each forecast was made: the time of the last row that it knew"""
    mean: Floats
    """(N, K, C) forecasts; in the data's units, as `truth` (N, K, C) is"""
    truth: Floats
    levels: Floats
    bands: Floats
    """(Q, K, C) how far each quantile lies from a forecast whose window is spread as usual"""
    breadth: Floats
    """(N, C) how many times as far it lies from each forecast"""
    errors: dict[str, tuple[float, float]]
    against: dict[str, tuple[float, float]]
    """rule -> how likely chance gains as much over it as the forecaster did, and loses as much (`chance.paired`)"""

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"<Backtest on {self.name}: {len(self):,} forecasts of {self.mean.shape[1]} rows; {self.verdict}>"

    def quantile(self, q: float) -> Floats:
        """(N, K, C) what the truth stays below with probability q."""
        return self.mean + self.breadth[:, None] * quantiles(self.levels, self.bands, measured(self.levels, q))

    def coverage(self, level: float = 0.9) -> float:
        """The share of what came that lay inside the band meant to hold `level` of it; NaN where nothing came.

        Channels that never move are left out, if others do: of what stands still any band holds all.
        """
        if not isinstance(level, float | int | np.number) or not 0 < level < 1:
            raise SettingError(f"a band meant to hold {level!r}", wanted="a share between 0 and 1, as 0.9")
        within = (self.truth >= self.quantile((1 - level) / 2)) & (self.truth <= self.quantile((1 + level) / 2))
        known, rows = ~np.isnan(self.truth + self.mean), self.truth.reshape(-1, self.truth.shape[-1])
        moves = np.fmax.reduce(rows) > np.fmin.reduce(rows)
        known &= moves | ~moves.any()
        return float(within[known].mean()) if known.any() else float("nan")

    @property
    def verdict(self) -> str:
        """Whether the forecaster earns its place here, in a sentence; wrong about 5 % of the time."""
        return verdict(self.errors, self.against)

    def to_frame(self) -> polars.DataFrame:
        """The table of errors: rule, mse, mae."""
        import polars

        rows = [{"rule": name, "mse": mse, "mae": mae} for name, (mse, mae) in self.errors.items()]
        return polars.DataFrame(rows)

    def to_pandas(self) -> Any:
        """The same as a pandas frame, where pandas is installed."""
        return self.to_frame().to_pandas()


def measured(levels: Floats, q: float) -> float:
    """`q` as a level that can be told, to a rounding error; refused outside of what was measured.

    >>> measured(np.array([0.05, 0.95]), 0.5)
    0.5
    """
    try:
        q = round(float(q), 12)
    except (TypeError, ValueError):
        raise SettingError(f"{q!r} as a level", wanted="a number between 0 and 1") from None
    if not levels[0] <= q <= levels[-1]:
        raise SettingError(
            f"the quantile {q:g} was not measured",
            wanted=f"{levels[0]:g} to {levels[-1]:g}",
            do="fit with Forecaster(levels=...) that reach further",
        )
    return q


def verdict(errors: dict[str, tuple[float, float]], against: dict[str, tuple[float, float]]) -> str:
    """Whether the forecaster beat every rule by mean squared error, in a sentence.

    >>> verdict({"forecaster": (0.5, 0.6), "drift": (0.4, 0.5)}, {"drift": (0.99, 0.01)})
    'drift did better than the forecaster: MSE 0.4 against 0.5, p = 0.01'
    >>> verdict({"forecaster": (0.39, 0.6), "drift": (0.4, 0.5)}, {"drift": (0.3, 0.7)})
    'no better than drift, as far as these rows can tell: MSE 0.39, drift 0.4'
    """
    squared = {name: mse for name, (mse, _) in errors.items()}
    return chance.ranked(squared, OURS, against, "MSE", WORDS, (WON, "did better than the forecaster"))
