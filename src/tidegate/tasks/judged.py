"""What a classifier said of rows that chose nothing: right and wrong, how sure it was, and whether that was true."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..settings import Epoch

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
BINS = 10  # of a reliability plot, at most
EACH = 10  # rows a bin, at least
WORSE = 1.05  # times its best is a validation loss that has risen


class Judged(msgspec.Struct, frozen=True, eq=False):
    """Held-out rows and what was said of them, each by the one model that has not seen it.

    >>> told = Judged(np.array([4, 7, 9]), np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.9, 0.6, 0.8]))
    >>> told.right.tolist(), told.wrong.tolist()
    ([4, 9], [7])
    """

    rows: Rows
    """(n,) places in the training data X"""
    truth: Rows
    """(n,) their classes, as places in `classes_`"""
    said: Rows
    """(n,) the classes that were named"""
    proba: Floats
    """(n,) how probable the named class was said to be"""

    def __repr__(self) -> str:
        return f"<Judged: {int((self.truth == self.said).sum()):,} of {len(self.rows):,} rows named right>"

    @property
    def right(self) -> Rows:
        """Rows that were named right, the surest first."""
        return self._sorted(self.truth == self.said)

    @property
    def wrong(self) -> Rows:
        """Rows that were named wrong, the surest first."""
        return self._sorted(self.truth != self.said)

    def _sorted(self, which: NDArray[np.bool_]) -> Rows:
        order = np.argsort(-self.proba, kind="stable")
        found: Rows = self.rows[order[which[order]]]
        return found

    def confusion(self, classes: int) -> Rows:
        """(classes, classes) how many of each true class were named what."""
        found = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(found, (self.truth, self.said), 1)
        return found

    def reliability(self) -> Floats:
        """(bins, 3) mean probability of the named class, how often it was the true one, and of how many rows.

        >>> sure = np.repeat([0.6, 0.9], 50)
        >>> truth = (np.arange(100) % 10 < np.where(sure < 0.7, 6, 9)).astype(int)
        >>> Judged(np.arange(100), truth, np.ones(100, int), sure).reliability().round(3)[[0, -1]].tolist()
        [[0.6, 0.6, 10.0], [0.9, 0.9, 10.0]]

        Rows in the order of their probability, cut into at most BINS parts of as many rows each, at least EACH.
        """
        order = np.argsort(self.proba, kind="stable")
        parts = np.array_split(order, max(1, min(BINS, len(order) // EACH)))
        hit = self.truth == self.said
        return np.array([[self.proba[part].mean(), hit[part].mean(), len(part)] for part in parts])


def parted(history: Sequence[Epoch]) -> int | None:
    """The epoch from which on a model's validation loss rose while its training loss fell; None if it never did.

    >>> def epoch(i, train, valid, best): return Epoch(i, train, valid, 0.1, 0.0, best)
    >>> parted([epoch(0, 1.0, 1.0, True), epoch(1, 0.5, 0.8, True), epoch(2, 0.2, 1.2, False)])
    1
    """
    best, last = max((e for e in history if e.best), key=lambda e: e.epoch), history[-1]
    apart = last.train_loss < best.train_loss and best.valid_loss is not None
    return best.epoch if apart and last.loss > WORSE * best.loss else None
