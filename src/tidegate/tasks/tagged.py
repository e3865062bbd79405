"""What the tagger says: of every row, and of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .verbs import State

if TYPE_CHECKING:
    import polars

Floats = NDArray[np.float64]
Name = bool | int | float | str


class Tag(msgspec.Struct, frozen=True):
    """What is said of one reading: a label and how probable each class is, or a value for each target."""

    time: int
    label: Name | None = None
    raw: Name | None = None
    """the label without smoothing"""
    proba: dict[Any, float] = {}
    value: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    """what was noticed: that memory began anew after a hole; while learning, that errors grew and stayed"""


@dataclass(frozen=True, eq=False)
class Tagged:
    """The answer of `apply` for one sequence, a row for every row of data."""

    name: str
    times: NDArray[np.int64]
    answers: tuple[Any, ...]
    """the classes, or the names of the targets"""
    label: NDArray[Any] | None
    """(T,) the class of each row, smoothed if the tagger smooths; None where values are told"""
    raw: NDArray[Any] | None
    """(T,) the most probable class of each row"""
    proba: Floats | None
    """(T, classes) how probable each class is, calibrated on held-out rows; `raw` is the most probable"""
    value: Floats | None
    """(T, targets) in the units that were learned; None where labels are told"""
    notes: tuple[str, ...]
    state: State | None
    """where the stream stands; None where both directions are read"""

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        if self.label is None:
            return f"<Tagged {self.name}: {', '.join(self.answers)} at {len(self):,} rows>"
        changes = int((self.label[1:] != self.label[:-1]).sum())
        return f"<Tagged {self.name}: {len(self):,} rows, {changes:,} changes between {len(self.answers)} classes>"

    def row(self, row: int = -1) -> Tag:
        """One row as a value."""
        time = int(self.times[row])
        if self.value is not None:
            return Tag(time, value=dict(zip(self.answers, self.value[row].tolist(), strict=True)))
        told: Any = (self.label, self.raw, self.proba)
        label, raw, proba = (part[row].tolist() for part in told)
        return Tag(time, label, raw, dict(zip(self.answers, proba, strict=True)))

    def to_frame(self) -> polars.DataFrame:
        """A polars frame: time, the label and `p(class)` for each class, `raw` if it differs; or the values."""
        import polars

        columns: dict[str, Any] = {"time": polars.Series(self.times).cast(polars.Datetime("ns", "UTC"))}
        if self.value is not None:
            columns |= {f"{name}": self.value[:, i] for i, name in enumerate(self.answers)}
        if self.proba is not None:
            columns |= {"label": self.label, "raw": self.raw}
            columns |= {f"p({name})": self.proba[:, i] for i, name in enumerate(self.answers)}
        return polars.DataFrame(columns)

    def to_pandas(self) -> Any:
        """The same as a pandas frame, where pandas is installed."""
        return self.to_frame().to_pandas()
