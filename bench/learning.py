"""Does learning on help where a process drifts, and what does it cost? Fitted tasks with and without learn=True.

    python bench/learning.py                     # 5 seeds into bench/results.md
    python bench/learning.py --quick             # one seed, printed only
    python bench/learning.py RATE ...            # other learning rates, printed only

A known process (three channels, two waves and their autoregressive noise) is learned for 3,000 rows. In the next 1,500
its period and phases move to others, where they stay for 1,500. Errors are in spreads of each channel, over the rows
of each of the four quarters after training; the classifier names spikes that begin to point down, the
tagger says a value that comes from another channel by and by. Means over seeds, with the standard deviation of the
errors. Processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sections import made, put

import tidegate as tg
from tidegate.online import Rule
from tidegate.settings import Onward

FIRST, ROWS, HORIZON = 3000, 6000, 12
Floats = NDArray[np.float64]
Run = Callable[[Any], tuple[Floats, float]]  # learn -> an error for each answer, microseconds for each


def drifting(drift: float, seed: int) -> Floats:
    """The process (ROWS, 3)."""
    rng, t = np.random.default_rng(seed), np.arange(ROWS)
    moved = drift * np.clip((t - FIRST) / 1500, 0, 1)
    phase = np.cumsum(2 * np.pi / (40 * (1 - 0.4 * moved)))
    a, b = np.sin(phase), np.sin(phase + 0.5 + 2 * moved)
    own, noise = np.zeros((ROWS, 3)), rng.standard_normal((ROWS, 3))
    for i in range(1, ROWS):
        own[i] = 0.6 * own[i - 1] + noise[i]
    return np.stack([a, b, 0.7 * a - 0.5 * np.roll(a, 5) + 0.6 * moved * b], 1) + 0.12 * own


def stream(task: Any, rows: Any, learn: Any, targets: Any = None) -> tuple[list[Any], float]:
    """What a task said of each row, and the microseconds that took."""
    state, said, begun = task.start(), [], time.process_time()
    for i, row in enumerate(rows):
        told = {} if targets is None or not learn else {"target": targets[i]}
        answer, state = task.step(row, state, learn=learn, **told)
        said.append(answer)
    return said, 1e6 * (time.process_time() - begun) / len(rows)


def detect(seed: int) -> Run:
    """The detector's one-row error; a milder drift, of which it does not give alarm."""
    rows = drifting(0.15, seed)
    task = tg.AnomalyDetector(false_alarms="1/day", seed=seed).fit(rows[:FIRST], interval="1min")

    def run(learn: Any) -> tuple[Floats, float]:
        said, cost = stream(task, rows[FIRST:], learn)
        expected = np.array([[*one.expected.values()] for one in said])
        return np.abs(rows[FIRST:] - expected).mean(axis=1) / task.model_.scale.spread.mean(), cost

    return run


def forecast(seed: int) -> Run:
    """The mean absolute error of all steps of a forecast."""
    rows = drifting(0.5, seed)
    training = tg.Training(epochs=5, batches=60, batch=128, learning_rate=2e-3, noise=0.0)
    task = tg.Forecaster(horizon=HORIZON, lookback=48, training=training, seed=seed).fit(rows[:FIRST], interval="1min")
    truth = np.lib.stride_tricks.sliding_window_view(rows[FIRST - 47 :], HORIZON, axis=0).swapaxes(1, 2)

    def run(learn: Any) -> tuple[Floats, float]:
        said, cost = stream(task, rows[FIRST - 48 : -HORIZON], learn)
        missed = np.abs(np.array([one.mean for one in said]) - truth) / task.model_.scale.spread
        return missed[48:].mean(axis=(1, 2)), cost

    return run


def complete(seed: int) -> Run:
    """The mean absolute error of fills, where 30 % of the readings are hidden."""
    rows = drifting(0.5, seed)
    task = tg.Completer(direction="past", seed=seed).fit(rows[:FIRST], interval="1min")
    hidden = np.random.default_rng(seed).random(rows.shape) < 0.3

    def run(learn: Any) -> tuple[Floats, float]:
        said, cost = stream(task, np.where(hidden, np.nan, rows)[FIRST:], learn)
        missed = np.abs(np.array([[*one.values.values()] for one in said]) - rows[FIRST:]) / task.model_.scale.spread
        return np.where(hidden[FIRST:], missed, np.nan).ravel(), cost

    return run


def classify(seed: int) -> Run:
    """The share of sequences named wrongly, once spikes point down; each label is told after the answer."""
    X, y = tg.synth.spikes(500, seed=seed)
    training = tg.Training(epochs=10, batches=20, learning_rate=1e-2, noise=0.1)
    task = tg.Classifier(training=training, seed=seed).fit(X, y)
    X, y = tg.synth.spikes(600, seed=seed + 1, size=-1.5)

    def run(learn: Any) -> tuple[Floats, float]:
        said, cost = stream(task, X, learn, y.tolist())
        return np.array([float(one.label[0] != label) for one, label in zip(said, y, strict=True)]), cost

    return run


def tag(seed: int) -> Run:
    """The mean absolute error of a value at each row, told after the answer: a mean of ten rows, of another channel by
    and by.
    """
    rows, moved = drifting(0.5, seed), np.clip((np.arange(ROWS) - FIRST) / 1500, 0, 1)
    value = np.convolve((1 - moved) * rows[:, 0] + moved * rows[:, 2], np.full(10, 0.1))[:ROWS]
    task = tg.Tagger(target="value", seed=seed).fit(rows[:FIRST], value[:FIRST], interval="1min")

    def run(learn: Any) -> tuple[Floats, float]:
        said, cost = stream(task, rows[FIRST:], learn, value[FIRST:])
        return np.abs([next(iter(one.value.values())) for one in said] - value[FIRST:]) / value[:FIRST].std(), cost

    return run


def pace(task: Any, rate: float) -> Onward | Rule:
    """How to learn at this rate."""
    if task is tag:
        return Rule(learning_rate=rate)
    return Onward(every=1 if task is classify else 8, learning_rate=rate)


def row(name: str, learn: Any, runs: list[Run]) -> str:
    """A row of the table: what the runs of all seeds missed and what a reading cost."""
    missed, costs = zip(*(run(learn) for run in runs), strict=True)
    quarters = np.array([[np.nanmean(part) for part in np.array_split(one, 4)] for one in missed])
    spreads = [f" ± {s:.3f}" * (len(runs) > 1) for s in quarters.std(axis=0)]
    said = ", ".join(f"{m:.3f}{s}" for m, s in zip(quarters.mean(axis=0), spreads, strict=True))
    rate = getattr(learn, "learning_rate", learn)
    return f"| {name} | {rate} | {said} | {np.mean(costs):,.0f} |"


def main() -> None:
    """The table of some seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rates", nargs="*", type=float, metavar="RATE", help="learning rates, in place of the usual")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    args = parser.parse_args()
    seeds = 1 if args.quick else args.seeds
    began, lines = time.time(), ["| task | learn | error, by quarters | us a reading |", "|---|---|---|---|"]
    for make in (detect, forecast, complete, classify, tag):
        runs = [make(seed) for seed in range(seeds)]
        for learn in [False, *([pace(make, rate) for rate in args.rates] or [True])]:
            lines.append(row(make.__name__, learn, runs))
            print(lines[-1], flush=True)
    if not args.rates and not args.quick:
        told = " ".join(str(__doc__).split("\n\n")[2].split())
        how = made("learning", f"{seeds} seed{'s' * (seeds > 1)}", began)
        put("learning", f"## Learning on\n\n{told}\n\n" + "\n".join([*lines, "", how]))


if __name__ == "__main__":
    main()
