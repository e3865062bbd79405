"""Forecasts on real data and on the tutorial series, by one command: the forecaster at its defaults, its rules beside.

    python bench/forecast.py                          # all horizons, 5 seeds, 20 draws; written to bench/results.md
    python bench/forecast.py --quick                  # the same with one seed and four draws, printed only
    python bench/forecast.py --seeds 1 --only 96      # ETTh1 at one horizon, printed only
    python bench/forecast.py --only tutorial          # the tutorial series; or `speed`, beside the network in torch

ETTh1 by the protocol of `../shared/data/README.md`: 8,640 rows to learn from, 2,880 to choose by and calibrate, 2,880
to be judged on, every window counted, errors of z-scores by the first 8,640 rows, lookback 96, and 720 once. Every
setting is the library's default and the same for all, but for one table of its own where channels are read beside each
other; nothing is chosen by rows that are judged.

Speed is processor time of steps of training, by turns with the same network as anybody would write it in torch: torch's
GRU over the segments of the past, its state repeated for every segment of the future, Adam; windows are taken at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sections import made, put

import tidegate as tg
from tidegate import train
from tidegate.tasks import naive, practice
from tidegate.tasks.segments import FORECASTING, MODELS, Form

DATA = Path(__file__).parents[2] / "shared" / "data" / "ett" / "ETTh1.csv"
HORIZONS = {"96": (0.368, 0.395), "192": (0.408, 0.419), "336": (0.444, 0.440), "720": (0.446, 0.457)}  # SegRNN's
LONG = {"96": (0.351, 0.392)}  # with a lookback of 720
LOOKBACK, FAR, TRAIN, VALID, TEST = 96, 720, 8640, 11520, 14400
LEVELS = (0.8, 0.9, 0.95)
HEAD = ("horizon", "MSE", "MAE", "SegRNN", *naive.NAMES, "covered 80/90/95 %", "weights", "fit, s", "backtest, s")
ROWS, FROM, DRAWS = 850, 720, 20
STEPS = 5  # of training, in a turn


def ett(series: tg.Series, horizon: int, lookback: int, joint: bool, seed: int) -> dict[str, np.ndarray]:
    """One fit, judged on the test rows."""
    began = time.perf_counter()
    task = tg.Forecaster(horizon=horizon, lookback=lookback, seed=seed)
    task.fit(series[:VALID], beside=tg.Beside(joint=joint))
    learned = time.perf_counter()
    test = task.backtest(series[VALID - lookback : TEST])
    seconds = [learned - began, time.perf_counter() - learned]
    miss = (test.mean - test.truth) / series.values[:TRAIN].std(axis=0)
    weights = sum(w.size for w in task.model_.weights.values()) + task.model_.rules.linear.size
    return {
        "errors": np.array([np.square(miss).mean(), np.abs(miss).mean()]),
        "rules": np.array([test.errors[name][0] for name in naive.NAMES]),
        "coverage": np.array([test.coverage(level) for level in LEVELS]),
        "cost": np.array([weights, *seconds]),
    }


def line(name: str, theirs: tuple[float, float], runs: list[dict[str, np.ndarray]]) -> str:
    """A row of the table: means over seeds, with the standard deviation of the errors where there is one."""
    mean = {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}
    spread = np.std([run["errors"] for run in runs], axis=0)
    errors = [f"{m:.4f}" + f" ± {s:.4f}" * (len(runs) > 1) for m, s in zip(mean["errors"], spread, strict=True)]
    covered = " / ".join(f"{100 * share:.1f}" for share in mean["coverage"])
    size, fit, test = mean["cost"]
    published = "/".join(f"{value:.3f}" for value in theirs)
    cells = [name, *errors, published, *(f"{value:.3f}" for value in mean["rules"]), covered]
    return f"| {' | '.join([*cells, f'{size:,.0f}', f'{fit:.0f}', f'{test:.1f}'])} |"


def tutorial(seed: int) -> np.ndarray:
    """sin(0.03 t) + 1.2 U(0, 1) + t/300, one step ahead: excess over the noise that was drawn, and coverage."""
    rng, t = np.random.default_rng(1000 + seed), np.arange(ROWS)
    noise = 1.2 * (rng.random(ROWS) - 0.5)
    values = np.sin(0.03 * t) + 0.6 + t / 300 + noise
    task = tg.Forecaster(seed=seed).fit(values[:FROM])
    test = task.backtest(values[FROM - task.lookback_ :])
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


def peer(horizon: int, lookback: int, net: tg.Network, channels: int) -> Any:
    """The network of one of our models, written plainly in torch."""
    import torch
    from torch import nn

    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step, self.count = min(24, horizon), -(-horizon // min(24, horizon))
            self.past = nn.GRU(24, net.hidden, batch_first=True)
            self.future = nn.GRU(net.hidden, net.hidden, batch_first=True)
            self.position = nn.Parameter(0.1 * torch.randn(self.count, net.hidden))
            self.channel = nn.Parameter(0.1 * torch.randn(channels, net.hidden))
            self.drop, self.out = nn.Dropout(net.dropout), nn.Linear(net.hidden, self.step)

        def forward(self, x: Any, channel: Any) -> Any:
            n, last = len(x), x[:, -1:]
            _, state = self.past((x - last).reshape(n, -1, 24))
            asked = (self.position[None] + self.channel[channel][:, None]).reshape(n * self.count, 1, -1)
            said, _ = self.future(asked, state.repeat_interleave(self.count, dim=1))
            return self.out(self.drop(said[:, 0])).reshape(n, -1)[:, :horizon] + last

    return Segments()


def steps(z: np.ndarray, horizon: int, lookback: int) -> list[tuple[Callable[[], Any], int]]:
    """A few steps of training of ours and of torch's, and how many of one model they are."""
    import torch

    net, training = FORECASTING["small"]
    form = Form(channels=z.shape[1], horizon=horizon, lookback=lookback, net=net, models=MODELS)
    past = practice.History(z, form, {"train": (0, len(z)), "valid": (len(z), len(z)), "calibrate": (len(z), len(z))})
    problem = practice.problem(past, training, 0, "cpu")
    one = msgspec.structs.replace(training, epochs=10**6, batches=STEPS)
    ours = train.fit(problem, one, train.Fit({}), seed=0)
    theirs = peer(horizon, lookback, net, z.shape[1])
    adam, rng = torch.optim.Adam(theirs.parameters(), training.learning_rate), np.random.default_rng(0)
    windows = torch.tensor(z.T, dtype=torch.float32).unfold(1, lookback + horizon, 1)

    def step() -> None:
        at = torch.from_numpy(rng.integers(0, windows.shape[1], training.batch))
        channel = torch.from_numpy(rng.integers(0, len(windows), training.batch))
        batch = windows[channel, at]
        adam.zero_grad()
        (theirs(batch[:, :lookback], channel) - batch[:, lookback:]).abs().mean().backward()
        adam.step()

    return [(lambda: next(ours), MODELS * STEPS), (lambda: [step() for _ in range(STEPS)], STEPS)]


def speed(series: tg.Series, turns: int = 9) -> list[str]:
    """Processor time of a step of one model, ours and torch's, on one thread; medians of steps taken by turns."""
    import torch

    z = (series.values[:TRAIN] - series.values[:TRAIN].mean(axis=0)) / series.values[:TRAIN].std(axis=0)
    lines = ["\n## A step of training, 256 windows: processor time of one model, on one thread\n"]
    lines += ["| horizon | lookback | ours, ms | torch, ms | torch / ours |", "|---" * 5 + "|"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for horizon, lookback in [*((int(name), LOOKBACK) for name in HORIZONS), (96, FAR)]:
        took: list[list[float]] = [[], []]
        tasks = steps(z, horizon, lookback)
        for _ in range(turns):
            for (go, count), found in zip(tasks, took, strict=True):
                began = time.thread_time()
                go()
                found.append((time.thread_time() - began) / count)
        ours, theirs = (float(np.median(found[1:])) for found in took)
        lines.append(f"| {horizon} | {lookback} | {1e3 * ours:.2f} | {1e3 * theirs:.2f} | {theirs / ours:.1f} |")
        print(lines[-1], flush=True)
    torch.set_num_threads(before)
    return lines


def tables(series: tg.Series, only: str | None, seeds: int) -> list[str]:
    """ETTh1 at all horizons, or at one."""
    lines = []
    for lookback, published, joint in ((LOOKBACK, HORIZONS, False), (FAR, LONG, False), (LOOKBACK, HORIZONS, True)):
        names = [name for name in published if only in (None, name)]
        if names:
            said = f"{seeds} seed{'s' * (seeds > 1)}; of the rules the MSE"
            read = ", `beside=tg.Beside(joint=True)`" * joint
            lines += [
                f"\n## ETTh1, lookback {lookback}{read}, {said}\n",
                f"| {' | '.join(HEAD)} |",
                "|---" * len(HEAD) + "|",
            ]
        for name in names:
            runs = [ett(series, int(name), lookback, joint, seed) for seed in range(seeds)]
            lines.append(line(name, published[name], runs))
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the tutorial series")
    parser.add_argument("--quick", action="store_true", help="one seed, four draws")
    parser.add_argument("--only", choices=[*HORIZONS, "tutorial", "speed"])
    args = parser.parse_args()
    seeds, draws = (1, 4) if args.quick else (args.seeds, args.draws)
    began, lines = time.time(), []
    if args.only != "tutorial" and not DATA.exists():
        print(f"ETTh1 is not here, its tables are left out: {DATA}")
    elif args.only != "tutorial":
        series = tg.read(DATA)
        lines += [] if args.only == "speed" else tables(series, args.only, seeds)
        lines += speed(series) if args.only in (None, "speed") else []
    if args.only in (None, "tutorial"):
        lines += tutorial_table(draws)
    print("\n".join(lines))
    if not args.only and not args.quick:
        put("forecast", "\n".join([made("forecast", f"{seeds} seeds", began), *lines]))


if __name__ == "__main__":
    main()
