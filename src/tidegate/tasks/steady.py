"""Labels that do not flicker: what was said of a row, weighed with how seldom labels change.

A hidden Markov model whose states are the labels. How often one follows another is counted in the labels that were
learned from; what the network says counts as evidence, to a power chosen on held-out rows, because it has taken the
rows before into account already and would otherwise count them again and again.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
POWERS = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 4.0)  # the last hardly smooths


class Steady(msgspec.Struct, frozen=True, eq=False):
    """What smoothing has learned.

    follow  (K, K) how probable it is that a label (row) is followed by another (column)
    share   (K,) the share of each label
    power   how much one row's evidence counts
    """

    follow: Floats
    share: Floats
    power: Floats

    def evidence(self, proba: Floats) -> Floats:
        """What rows (T, K) say by themselves, without what was to be expected anyway."""
        known: Floats = (np.maximum(proba, 1e-9) / self.share) ** self.power
        return known

    def forward(self, proba: Floats, belief: Floats) -> Floats:
        """(T, K) how probable each label is after rows up to each; `belief` (K,) before the first."""
        found, known = np.empty_like(proba), self.evidence(proba)
        for t, row in enumerate(known):  # one product a row, so that pieces give the same bits
            belief = (belief @ self.follow) * row
            belief /= belief.sum()
            found[t] = belief
        return found

    def both(self, proba: Floats) -> Floats:
        """(T, K) how probable each label is after all rows."""
        found, known, after = self.forward(proba, self.share), self.evidence(proba), np.ones(len(self.share))
        for t in range(len(proba) - 1, -1, -1):
            found[t] *= after
            found[t] /= found[t].sum()
            after = self.follow @ (known[t] * after)
            after /= after.sum()
        return found


def learn(labels: list[NDArray[np.int64]], classes: int) -> Steady:
    """Counts of sequences of class numbers, -1 = not known; a change that never happened counts as one in all.

    >>> steady = learn([np.array([0] * 50 + [1] * 50)], 2)
    >>> steady.follow.round(2).tolist()
    [[0.96, 0.04], [0.02, 0.98]]
    """
    counts, share = np.eye(classes), np.ones(classes)
    counts += (1 - np.eye(classes)) / max(1, classes - 1)
    for one in labels:
        known = (one[:-1] >= 0) & (one[1:] >= 0)
        np.add.at(counts, (one[:-1][known], one[1:][known]), 1)
        np.add.at(share, one[one >= 0], 1)
    return Steady(counts / counts.sum(axis=1, keepdims=True), share / share.sum(), np.ones(1))


def chosen(steady: Steady, told: list[Floats], truth: list[NDArray[np.int64]], both: bool) -> Steady:
    """The same with the power that names most held-out labels (T,), -1 = not judged, given what was told (T, K).

    Of equally good ones the smoothest. Not the likeliest: that believes the network less than its labels deserve.
    Without held-out labels the power stays what it was.
    """
    if not any((y >= 0).any() for y in truth):
        return steady
    wrong = []
    for power in POWERS:
        steady = msgspec.structs.replace(steady, power=np.array([power]))
        found = [steady.both(one) if both else steady.forward(one, steady.share) for one in told]
        wrong.append(sum(int(((f.argmax(axis=1) != y) & (y >= 0)).sum()) for f, y in zip(found, truth, strict=True)))
    return msgspec.structs.replace(steady, power=np.array([POWERS[int(np.argmin(wrong))]]))
