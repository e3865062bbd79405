"""What the anomaly detector found: a score, a verdict and an expectation for every row, and the alarms as intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..calibrate import Span, Threshold
from .scoring import REASONS
from .verbs import State

if TYPE_CHECKING:
    import polars

Floats = NDArray[np.float64]
NAMED = 0.8  # of its blame is on the channels that an alarm names, at most five


class Alarm(msgspec.Struct, frozen=True):
    """One alarm: its first and last unusual row (UTC nanoseconds), its smallest p-value, its channels by blame."""

    start: int
    end: int
    p_value: float
    channels: tuple[str, ...]
    first_row: int
    last_row: int
    open: bool
    """True while it may still go on"""


class Verdict(msgspec.Struct, frozen=True):
    """What is said of one reading; `reason` is why there is no score, empty if there is one."""

    time: int
    score: float
    score_fast: float
    p_value: float
    bar: float
    alarm: bool
    open: bool
    reason: str
    by_channel: dict[str, float]
    expected: dict[str, float]
    notes: tuple[str, ...] = ()
    """what was noticed: a reading far beyond all that was learned; while learning, a drift"""


@dataclass(frozen=True, eq=False)
class Found:
    """The answer of `apply`, a row for every row of data; bigger = more unusual, NaN = no score (see `reason`)."""

    name: str
    channels: tuple[str, ...]
    interval: float
    times: NDArray[np.int64]
    values: Floats
    score: Floats
    score_fast: Floats
    p_value: Floats
    bar: Floats
    """(T,) what a score must exceed: the threshold, raised after a strong event and coming down again"""
    alarm: NDArray[np.bool_]
    """(T,) True where a row is over the bar; `alarms` joins rows that lie close together"""
    open: NDArray[np.bool_]
    """(T,) True from an alarm's first row until it is closed by quiet rows: what a live display shows"""
    contributions: Floats
    """(T, C) what each channel adds to the score"""
    expected: Floats
    """(T, C) what the network expected one row before, in the data's units; `low` and `high`: its 99 % band"""
    low: Floats
    high: Floats
    reason_code: NDArray[np.uint8]
    alarms: list[Alarm]
    threshold: Threshold
    notes: tuple[str, ...]
    state: State

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        scored = int((self.reason_code == 0).sum())
        return f"<Found in {self.name}: {self.count}, {scored:,} of {len(self):,} rows scored>"

    @property
    def count(self) -> str:
        """How many alarms, in words: "no alarm", "1 alarm", "2 alarms"."""
        return f"{len(self.alarms) or 'no'} alarm{'s' * (len(self.alarms) > 1)}"

    @property
    def by_channel(self) -> Floats:
        """(T, C) each channel's share of the blame; rows sum to 1, NaN where there is no score."""
        total = np.nansum(self.contributions, axis=1, keepdims=True)
        shares: Floats = np.divide(
            np.nan_to_num(self.contributions), total, out=np.full_like(self.contributions, np.nan), where=total > 0
        )
        return shares

    @property
    def reason(self) -> NDArray[np.str_]:
        """(T,) why a row has no score; "" where it has one."""
        return np.array(REASONS)[self.reason_code]

    def verdict(self, row: int = -1) -> Verdict:
        """One row as a value."""
        shares = dict(zip(self.channels, self.by_channel[row].tolist(), strict=True))
        expected = dict(zip(self.channels, self.expected[row].tolist(), strict=True))
        scores = (float(self.score[row]), float(self.score_fast[row]), float(self.p_value[row]), float(self.bar[row]))
        state = (bool(self.alarm[row]), bool(self.open[row]), str(self.reason[row]))
        return Verdict(int(self.times[row]), *scores, *state, shares, expected, self.notes if len(self) == 1 else ())

    def to_frame(self) -> polars.DataFrame:
        """A polars frame: time, score, score_fast, p_value, bar, alarm, open, reason, each channel's share of blame."""
        import polars

        shares = self.by_channel
        columns: dict[str, Any] = {
            "time": polars.Series(self.times).cast(polars.Datetime("ns", "UTC")),
            **{name: getattr(self, name) for name in ("score", "score_fast", "p_value", "bar", "alarm", "open")},
            "reason": polars.Series(self.reason.tolist()),
            **{f"blame {name}": shares[:, i] for i, name in enumerate(self.channels)},
        }
        return polars.DataFrame(columns)

    def to_pandas(self) -> Any:
        """The same as a pandas frame, where pandas is installed."""
        return self.to_frame().to_pandas()


def blame(
    contributions: Floats, over: NDArray[np.bool_], intervals: list[Span], base: int, carried: Floats
) -> list[Floats]:
    """What each channel adds to each alarm (C,), over its unusual rows; `carried` is the part of an alarm already open.

    `base`: rows read before these. Sums run row by row, so that pieces give the bits of the whole.
    """
    found = []
    for interval in intervals:
        first = max(interval.first_row - base, 0)
        rows = np.arange(first, max(interval.last_row - base + 1, first))
        added = np.nan_to_num(contributions[rows[over[rows]]])
        begin = carried if interval.first_row < base else np.zeros_like(carried)
        found.append(np.add.accumulate(np.concatenate([begin[None], added]))[-1])
    return found


def name_channels(channels: tuple[str, ...], amounts: Floats) -> tuple[str, ...]:
    """The channels that carry most of the blame, the worst first.

    >>> name_channels(("flow", "pressure", "level"), np.array([6.0, 3.0, 1.0]))
    ('flow', 'pressure')
    """
    order = np.argsort(-amounts, kind="stable")
    enough = int(np.searchsorted(np.cumsum(amounts[order]), NAMED * amounts.sum())) + 1
    return tuple(channels[i] for i in order[: min(enough, 5)])
