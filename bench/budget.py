"""Is the alarm budget kept? Synthetic normal scores: calibrate on the first part, count alarms in the rest.

    python bench/budget.py [--repeats 40] [--merge 30] [--rows 2000 20000 100000]

Thresholds and alarms are made as the detector makes them, with its bar that stands higher after a strong event.
One row of the table is one kind of score at one calibration length and one budget, given as alarms per length of the
calibration. `kept` is the rate that `threshold` says it keeps, in the same unit; a run lasts 12 such alarms. `inside`,
`above`, `below`: the share of runs whose count is there of the two-sided 95 % Poisson interval of what is expected.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tidegate.calibrate import after_shock, alarms, budgeted
from tidegate.tasks.learning import poisson_interval

Floats = NDArray[np.float64]
EXPECTED, DAY = 12, 1440
BUDGETS = (3, 10, 30, 100, 300)


def wander(noise: Floats, phi: float) -> Floats:
    """(T, R) first-order autoregression of unit variance when the noise has it."""
    out, last = np.empty_like(noise), noise[0]
    for t, row in enumerate(noise):
        last = phi * last + row * math.sqrt(1 - phi * phi)
        out[t] = last
    return out


def daily(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Noise that is three times as strong at one time of the day as at the other."""
    phase = 2 * np.pi * (np.arange(shape[0])[:, None] + rng.integers(DAY, size=shape[1])) / DAY
    return (wander(rng.normal(size=shape), 0.9) * (1 + 0.5 * np.sin(phase))) ** 2


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "AR .5, squared": lambda rng, shape: wander(rng.normal(size=shape), 0.5) ** 2,
    "AR .9, squared": lambda rng, shape: wander(rng.normal(size=shape), 0.9) ** 2,
    "AR .99, squared": lambda rng, shape: wander(rng.normal(size=shape), 0.99) ** 2,
    "AR .9, absolute": lambda rng, shape: np.abs(wander(rng.normal(size=shape), 0.9)),
    "t3 AR .5, squared": lambda rng, shape: wander(rng.standard_t(3, size=shape), 0.5) ** 2,
    "daily cycle": daily,
    "mixture, 1 % x3": lambda rng, shape: (
        np.abs(wander(rng.normal(size=shape), 0.9)) * np.where(rng.random(shape) < 0.01, 3, 1)
    ),
}


def trial(scores: Floats, rows: int, merge: int) -> list[tuple[float, float, int, bool, bool]]:
    """For each budget: kept, expected, observed, above, below."""
    calibration, later = budgeted(scores[:rows], interval=1.0, merge=merge), after_shock(scores, 0.0)[0][rows:]
    out = []
    for budget in BUDGETS:
        limit = calibration.threshold(budget / rows)
        run = later[: int(EXPECTED / limit.kept)]
        observed, expected = len(alarms(run, run, limit.value, merge=merge)[1]), limit.kept * len(run)
        low, high = poisson_interval(expected)
        out.append((limit.kept * rows, expected, observed, observed > high, observed < low))
    return out


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=40)
    options.add_argument("--rows", type=int, nargs="+", default=[2_000, 20_000, 100_000])
    options.add_argument("--merge", type=int, default=30)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    print(
        f"merge {given.merge} steps, {given.repeats} runs a row, {EXPECTED} alarms expected in each, seed {given.seed}"
    )
    print("| scores | rows | budget | kept | observed/expected | inside | above | below |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in given.rows:
        for kind, make in KINDS.items():
            rng, runs = np.random.default_rng(given.seed), []
            for start in range(0, given.repeats, 10):
                scores = make(rng, (1000 + rows * (2 + EXPECTED // BUDGETS[0]), min(10, given.repeats - start)))[1000:]
                runs += [trial(column, rows, given.merge) for column in np.ascontiguousarray(scores.T)]
            for budget, (kept, expected, observed, above, below) in zip(
                BUDGETS, np.array(runs).transpose(1, 2, 0), strict=True
            ):
                print(
                    f"| {kind} | {rows} | {budget} | {np.median(kept):.3g} | {observed.sum() / expected.sum():.2f} "
                    f"| {1 - above.mean() - below.mean():.2f} | {above.mean():.2f} | {below.mean():.2f} |"
                )


if __name__ == "__main__":
    main()
