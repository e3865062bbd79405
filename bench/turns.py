"""Do p-values mean what they say? New normal rows beyond all but 1 % of the calibration, in per cent: 1 is right.

    python bench/turns.py

*own*: the calibration rows are scored in the sizes that they set themselves. *in turn*: each quarter in the sizes of
the other three, as the detector does. Four channels of autoregressive noise, the level witness alone, 12 runs a line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidegate import surprise

RUNS, LEAD, LATER, CHANNELS = 12, 300, 2000, 4


def wander(rng: np.random.Generator, rows: int, phi: float) -> NDArray[np.float64]:
    """(rows, CHANNELS) first-order autoregression of unit variance."""
    out, last = np.empty((rows, CHANNELS)), rng.standard_normal(CHANNELS)
    for t in range(rows):
        out[t] = last = phi * last + np.sqrt(1 - phi**2) * rng.standard_normal(CHANNELS)
    return out


def trial(rng: np.random.Generator, phi: float, rows: int) -> tuple[float, float]:
    """The share of new rows whose p-value is at most .01, from scores in their own sizes and from scores in turn."""
    residuals = wander(rng, LEAD + rows + LATER, phi)[:, None]
    held = np.arange(LEAD + rows) >= LEAD
    normal, in_turn = surprise.learn(residuals[: LEAD + rows], (1,), np.array([0]), held)
    scores = surprise.score(residuals, normal, (1,), surprise.start(1, CHANNELS))[0].score
    own, new = scores[LEAD : LEAD + rows], scores[LEAD + rows :]
    return _rare(own, new), _rare(in_turn, new)


def _rare(known: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    above = len(known) - np.searchsorted(np.sort(known), new)
    return float(np.mean((1 + above) / (len(known) + 1) <= 0.01))


def main() -> None:
    """Print the table."""
    print("| memory (AR) | calibration rows | own | in turn |\n|---|---|---|---|")
    for phi in (0.0, 0.9, 0.97):
        for rows in (100, 400, 2000):
            rng = np.random.default_rng(0)
            own, in_turn = 100 * np.mean([trial(rng, phi, rows) for _ in range(RUNS)], axis=0)
            print(f"| {phi} | {rows} | {own:.1f} | {in_turn:.1f} |")


if __name__ == "__main__":
    main()
