"""Learning online, one reading at a time: what is solved, how soon, at what cost, the naive rule beside.

    python bench/online.py                      # all tables, written to bench/results.md
    python bench/online.py --quick              # one seed, printed only
    python bench/online.py --only delay
    DEEP_RIVER=PATH/TO/python python bench/online.py --only cost     # deep-river beside, in its own environment

Every table is made with `Rule()` as it is; a row names the cell and the rule, nothing is set for a problem. Answers are
given before the target is learned (prequential). Electricity and water need the data folder beside the project
(`../shared/data`) and are left out, saying so, where that is absent.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sections import made, put

from tidegate.kernels import cpu
from tidegate.online import Learner, Rule

DATA = Path(__file__).parents[2] / "shared" / "data"
CHEAP = {"every": 16}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "GRU, back 16": ("gru", {}),
    "GRU, back 16, every 16": ("gru", CHEAP),
    "GRU, exact (RTRL)": ("gru", {"name": "rtrl"}),
    "GRU, one step back": ("gru", {"back": 1}),
    "LSTM, back 16": ("lstm", {}),
    "RNN, back 16": ("rnn_tanh", {}),
    "LRU, exact traces": ("lru", {"name": "lru"}),
}


def learner(row: str, channels: int, **more: Any) -> Learner:
    cell, how = ROWS[row]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one step back, which stands here to be seen
        return Learner(channels, cell=cell, hidden=16, rule=Rule(**how), **more)


# --- delay ------------------------------------------------------------------------------------------------------------


def solved(errors: np.ndarray) -> int | None:
    """The reading at which the last 200 hold at most one error, None if never."""
    recent = np.convolve(errors, np.ones(200), "valid")
    return int(np.argmax(recent <= 1)) + 200 if (recent <= 1).any() else None


def delayed(row: str, delay: int, seed: int, rows: int = 20_000) -> tuple[int | None, bool]:
    """When it was solved within 10,000, and whether the last 200 of all are."""
    bits = np.random.default_rng([seed, 5]).integers(0, 2, rows).astype(float)
    wanted = np.concatenate([np.full(delay, np.nan), 1 - bits[: rows - delay]])
    task = learner(row, 1)
    said = task.steps(task.begin(seed=seed), bits[:, None], wanted)[:, 0]
    errors = ((said > 0.5) != (wanted > 0.5))[delay:]
    return solved(errors[:10_000]), bool(errors[-200:].sum() <= 1)


def delay(seeds: range) -> Iterator[str]:
    yield f"\n## Say 1 - x of d readings ago, fair coins, 16 units, {len(seeds)} seeds\n"
    yield "Median reading at which the last 200 hold at most one error"
    yield "(seeds that got there within 10,000; how many of these are still there after 20,000).\n"
    yield "| rule | d=1 | d=2 | d=4 | d=8 |\n|---|---|---|---|---|"
    for row in ROWS:
        told = []
        for d in (1, 2, 4, 8):
            found = [delayed(row, d, seed) for seed in seeds]
            when = [step for step, _ in found if step is not None]
            kept = sum(still for step, still in found if step is not None)
            told.append(f"{np.median(when):.0f} ({len(when)}; {kept})" if when else "never")
        yield f"| {row} | {' | '.join(told)} |"


# --- series -----------------------------------------------------------------------------------------------------------


def mackey_glass(rows: int, seed: int, every: int = 7) -> np.ndarray:
    """dx/dt = .2 x(t-tau) / (1 + x(t-tau)^10) - .1 x (Mackey & Glass 1977), a reading every 7; tau 17, later 30."""
    past, fine = 400, 10
    x = np.empty(past * fine + rows * every * fine)
    x[: past * fine] = 1.2 + 0.1 * np.random.default_rng(seed).standard_normal(past).repeat(fine)
    half = past * fine + rows * every * fine // 2
    for t in range(past * fine, len(x)):
        lagged = x[t - (17 if t < half else 30) * fine]
        x[t] = x[t - 1] + (0.2 * lagged / (1 + lagged**10) - 0.1 * x[t - 1]) / fine
    return x[past * fine :: every * fine]


def ahead(row: str, x: np.ndarray, seed: int) -> np.ndarray:
    """What was said of each next reading: the step to it is learned, and added to the reading."""
    task = learner(row, 1)
    steps = np.diff(x)
    return x[:-1] + task.steps(task.begin(seed=seed), x[:-1, None], steps)[:, 0]


def surer(gain: np.ndarray, lags: int = 48) -> float:
    """By how many standard errors a mean differs from 0, autocorrelation counted (Diebold & Mariano 1995)."""
    apart = gain - gain.mean()
    spread = np.mean(apart**2)
    for lag in range(1, lags + 1):  # Newey & West 1987
        spread += 2 * (1 - lag / (lags + 1)) * np.mean(apart[lag:] * apart[:-lag])
    return float(gain.mean() / np.sqrt(spread / len(gain)))


def series(seeds: range) -> Iterator[str]:
    yield f"\n## The next reading of a series, 16 units, {min(10, len(seeds))} seeds\n"
    yield "Mean square error over the variance (spread). Mackey-Glass: tau goes from 17 to 30 in the middle of 10,000"
    yield "readings, the last 1,000 count. Water: all 1,267 after the first 200; behind it, by how many standard errors"
    yield "the gain over no change differs from 0 (Diebold & Mariano; the median seed): beaten from 2 up.\n"
    flow = None
    if (DATA / "water_flow").is_dir():
        with (DATA / "water_flow" / "water-flow.csv").open() as file:
            flow = np.array([float(line[1]) for line in list(csv.reader(file))[1:]])
    yield "| rule | Mackey-Glass | water flow |\n|---|---|---|"
    seeds = seeds[:10]
    waves = [mackey_glass(10_000, seed) for seed in seeds]

    def nmse(x: np.ndarray, said: np.ndarray, last: int) -> float:
        return float(np.mean((x[1:] - said)[-last:] ** 2) / np.var(x[-last:]))

    water = f"{nmse(flow, flow[:-1], len(flow) - 200):.4f}" if flow is not None else "-"
    yield f"| no change | {np.mean([nmse(x, x[:-1], 1000) for x in waves]):.3f} | {water} |"
    for row in ROWS:
        found = [nmse(x, ahead(row, x, seed), 1000) for x, seed in zip(waves, seeds, strict=True)]
        told = f"{np.mean(found):.3f} ({np.std(found):.3f})"
        wet = "-"
        if flow is not None:
            each = [ahead(row, flow, seed) for seed in seeds]
            found = [nmse(flow, said, len(flow) - 200) for said in each]
            naive = (flow[1:] - flow[:-1]) ** 2
            sure = np.median([surer((naive - (flow[1:] - said) ** 2)[199:]) for said in each])
            wet = f"{np.mean(found):.4f} ({np.std(found):.4f}); {sure:+.1f}"
        yield f"| {row} | {told} | {wet} |"


# --- electricity ------------------------------------------------------------------------------------------------------


def electricity(seeds: range) -> Iterator[str]:
    with gzip.open(DATA / "elec" / "elec.csv.gz", "rt") as file:
        table = np.array(list(csv.reader(file))[1:], float)
    x, y = table[:, :-1], table[:, -1]
    before = np.concatenate([[np.nan], y[:-1]])
    seeds = seeds[:5]
    yield f"\n## Electricity, up or down, a stream of {len(x):,}: accuracy\n"
    yield f"Each answer before its label; 16 units, {len(seeds)} seeds. No change: {np.mean(y[1:] == y[:-1]):.4f};"
    yield f"the largest class: {max(y.mean(), 1 - y.mean()):.4f}.\n"
    yield "| rule | readings alone | with the label of before |\n|---|---|---|"
    for row in ROWS:
        told = []
        for given in (x, np.column_stack([x, before])):
            found = []
            for seed in seeds:
                task = learner(row, given.shape[1], target="label", outputs=2)
                said = task.steps(task.begin(seed=seed), given, y)
                found.append(float(np.mean((said[:, 1] > 0.5) == y)))
            told.append(f"{np.mean(found):.4f} ({np.std(found):.4f})")
        yield f"| {row} | {' | '.join(told)} |"


# --- cost -------------------------------------------------------------------------------------------------------------


def best(run: Any, count: int, times: int = 7) -> float:
    """Microseconds a reading, the best of several chunks: neighbours on the machine only add."""
    found = []
    for _ in range(times):
        began = time.thread_time()
        run()
        found.append((time.thread_time() - began) / count * 1e6)
    return min(found)


def cost(seeds: range) -> Iterator[str]:
    del seeds
    yield f"\n## Cost of a reading with its update, one channel, 16 units, {cpu.engine()}\n"
    yield "Microseconds of processor time, the best of 7 times 2,000 readings.\n"
    yield "| rule | core | from Python, reading by reading | without learning |\n|---|---|---|---|"
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2000, 1)), rng.standard_normal((2000, 1))
    for row in ROWS:
        task = learner(row, 1)
        memory = task.begin(seed=0)
        core = best(lambda task=task, memory=memory: task.steps(memory, x, y), 2000)
        pairs = list(zip(x, y[:, 0].tolist(), strict=True))

        def one_by_one(task: Learner = task, memory: Any = memory, pairs: Any = pairs) -> None:
            for reading, target in pairs:
                task.step(memory, reading, target)

        alone = best(lambda task=task, memory=memory: task.steps(memory, x), 2000)
        yield f"| {row} | {core:.2f} | {best(one_by_one, 2000):.2f} | {alone:.2f} |"
    yield f"\n{river()}"


RIVER = """
import time, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
torch.set_num_threads(1)
from deep_river.regression import RollingRegressor
class Net(torch.nn.Module):
    def __init__(self, n_features=1, hidden_size=16):
        super().__init__()
        self.gru = torch.nn.GRU(n_features, hidden_size)
        self.head = torch.nn.Linear(hidden_size, 1)
    def forward(self, x, **kwargs):
        return self.head(self.gru(x)[0][-1])
how = dict(loss_fn="mse", optimizer_fn="adam", lr=3e-3, window_size=16, append_predict=False)
model = RollingRegressor(module=Net(), **how)
rng = np.random.default_rng(0)
x, y = rng.standard_normal(400), rng.standard_normal(400)
took = []
for a, b in zip(x.tolist(), y.tolist()):
    began = time.process_time()
    model.predict_one({"x": a}); model.learn_one({"x": a}, b)
    took.append(time.process_time() - began)
import deep_river
print(f"{np.median(took[100:]) * 1e6:.0f} {getattr(deep_river, '__version__', '?')}")
"""


def river() -> str:
    """deep-river's GRU of 16 units over a window of 16 readings, predict_one and learn_one."""
    python = os.environ.get("DEEP_RIVER", "")
    if not python:
        return "deep-river is not here (DEEP_RIVER names no Python that has it): left out."
    ran = subprocess.run([python, "-c", RIVER], capture_output=True, text=True, check=False, timeout=600)
    if ran.returncode:
        return f"deep-river did not run: {ran.stderr.strip().splitlines()[-1]}"
    took, version = ran.stdout.split()
    what = "a GRU of 16 units over a window of 16, predict and learn"
    return f"deep-river {version}, {what}: {took} microseconds a reading (median)."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    tables = {"delay": delay, "series": series, "electricity": electricity, "cost": cost}
    parser.add_argument("--only", choices=list(tables))
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    seeds, began, lines = range(1 if args.quick else args.seeds), time.time(), []
    if not DATA.is_dir():
        print(f"electricity is left out: no {DATA}")
        del tables["electricity"]
    for name, table in tables.items():
        if args.only in (None, name):
            found = list(table(seeds))
            print("\n".join(found), flush=True)
            lines += found
    if not args.quick and not args.only:
        put("online", "\n".join([made("online", f"{len(seeds)} seeds, all with {Rule()}", began), *lines]))


if __name__ == "__main__":
    main()
