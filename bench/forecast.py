"""Forecasts on real data and on the tutorial series, by one command: the forecaster at its defaults, its rules beside.

    python bench/forecast.py                          # all horizons, 5 seeds, 20 draws; written to bench/results.md
    python bench/forecast.py --seeds 1 --only 96      # ETTh1 at one horizon, printed only
    python bench/forecast.py --only tutorial          # the tutorial series, printed only

ETTh1 by the protocol of `../shared/data/README.md`: 8,640 rows to learn from, 2,880 to choose by and calibrate, 2,880
to be judged on, every window counted, errors of z-scores by the first 8,640 rows, lookback 96. Every setting is the
library's default and the same for all; nothing is chosen by rows that are judged.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
from sections import put

import tidegate as tg
from tidegate.tasks import naive

DATA = Path(__file__).parents[2] / "shared" / "data" / "ett" / "ETTh1.csv"
HORIZONS = {"96": (0.368, 0.395), "192": (0.408, 0.419), "336": (0.444, 0.440), "720": (0.446, 0.457)}  # SegRNN's
LOOKBACK, TRAIN, VALID, TEST = 96, 8640, 11520, 14400
LEVELS = (0.8, 0.9, 0.95)
HEAD = ("horizon", "MSE", "MAE", "SegRNN", *naive.NAMES, "covered 80/90/95 %", "parameters", "fit, s", "backtest, s")
ROWS, FROM, DRAWS = 850, 720, 20


def ett(series: tg.Series, horizon: int, seed: int) -> dict[str, np.ndarray]:
    """One fit, judged on the test rows."""
    began = time.perf_counter()
    task = tg.Forecaster(horizon=horizon, lookback=LOOKBACK, seed=seed).fit(series[:VALID])
    learned = time.perf_counter()
    test = task.backtest(series[VALID - LOOKBACK : TEST])
    seconds = [learned - began, time.perf_counter() - learned]
    miss = (test.mean - test.truth) / series.values[:TRAIN].std(axis=0)
    weights = sum(w.size for w in task.model_.weights.values()) + task.model_.rules.linear.size
    return {
        "errors": np.array([np.square(miss).mean(), np.abs(miss).mean()]),
        "rules": np.array([test.errors[name][0] for name in naive.NAMES]),
        "coverage": np.array([test.coverage(level) for level in LEVELS]),
        "cost": np.array([weights, *seconds]),
    }


def line(name: str, runs: list[dict[str, np.ndarray]]) -> str:
    """A row of the table: means over seeds, with the standard deviation of the errors where there is one."""
    mean = {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}
    spread = np.std([run["errors"] for run in runs], axis=0)
    errors = [f"{m:.4f}" + f" ± {s:.4f}" * (len(runs) > 1) for m, s in zip(mean["errors"], spread, strict=True)]
    theirs = "/".join(f"{value:.3f}" for value in HORIZONS[name])
    covered = " / ".join(f"{100 * share:.1f}" for share in mean["coverage"])
    size, fit, test = mean["cost"]
    cells = [name, *errors, theirs, *(f"{value:.3f}" for value in mean["rules"]), covered]
    return f"| {' | '.join([*cells, f'{size:,.0f}', f'{fit:.0f}', f'{test:.1f}'])} |"


def tutorial(seed: int) -> np.ndarray:
    """sin(0.03 t) + 1.2 U(0, 1) + t/300, one step ahead: excess over the noise that was drawn, and coverage."""
    rng, t = np.random.default_rng(1000 + seed), np.arange(ROWS)
    noise = 1.2 * (rng.random(ROWS) - 0.5)
    values = np.sin(0.03 * t) + 0.6 + t / 300 + noise
    task = tg.Forecaster(seed=seed).fit(values[:FROM])
    test = task.backtest(values[FROM - LOOKBACK :])
    unit, floor = task.model_.scale.spread[0] ** 2, np.square(noise[FROM:]).mean()
    four = np.mean([values[FROM - back : ROWS - back] for back in range(1, 5)], axis=0)
    errors = [test.errors[name][0] * unit for name in ("forecaster", *naive.NAMES)]
    return (
        np.array([*errors, np.square(values[FROM:] - four).mean(), *(test.coverage(p) + floor for p in LEVELS)]) - floor
    )


def tutorial_table(draws: int) -> list[str]:
    """The mean over draws, with the standard error of the first column."""
    found = np.array([tutorial(seed) for seed in range(draws)])
    mean, error = found.mean(axis=0), found[:, 0].std() / np.sqrt(draws)
    covered = " / ".join(f"{100 * share:.1f}" for share in mean[6:])
    cells = [f"{mean[0]:.4f} ± {error:.4f}", *(f"{value:.4f}" for value in mean[1:6]), covered]
    head = ("forecaster", *naive.NAMES, "mean of the last four", "covered 80/90/95 %")
    title = (
        f"\n## sin(0.03 t) + 1.2 U(0, 1) + t/300, one step ahead: excess over the drawn noise, mean of {draws} draws\n"
    )
    return [title, f"| {' | '.join(head)} |", "|---" * len(head) + "|", f"| {' | '.join(cells)} |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the tutorial series")
    parser.add_argument("--only", choices=[*HORIZONS, "tutorial"])
    args = parser.parse_args()
    began, lines = time.time(), []
    if args.only != "tutorial" and not DATA.exists():
        print(f"ETTh1 is not here, its table is left out: {DATA}")
    elif args.only != "tutorial":
        series = tg.read(DATA)
        lines += [f"\n## ETTh1, lookback {LOOKBACK}, {args.seeds} seed{'s' * (args.seeds > 1)}; of the rules the MSE\n"]
        lines += [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
        for name in [args.only] if args.only else HORIZONS:
            lines.append(line(name, [ett(series, int(name), seed) for seed in range(args.seeds)]))
            print(lines[-1], flush=True)
    if args.only in (None, "tutorial"):
        lines += tutorial_table(args.draws)
    print("\n".join(lines))
    if not args.only:
        how = f"{args.seeds} seeds, {platform.machine()}, {time.time() - began:.0f} s"
        put("forecast", "\n".join([f"Made by `python bench/forecast.py`: {how}.", *lines]))


if __name__ == "__main__":
    main()
