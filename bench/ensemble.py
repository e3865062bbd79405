"""What a deep ensemble costs: five models in one call, beside five runs and one; and what AdamW takes of a step.

    python bench/ensemble.py [TURNS]          # 10 turns unless told; nothing else running; about a minute

A GRU of 32 units forecasts windows of 8 channels, 16 windows of 80 rows a step, one thread; all in turn. Milliseconds a
step of all models together: the least and the median of the turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tidegate import kernels, network, synth, train
from tidegate.kernels import cpu, layers
from tidegate.settings import Network, Training

MODELS, ROWS, CHANNELS, LENGTH = 5, 10_000, 8, 80
NET = Network(hidden=32)
SETTINGS = Training(epochs=1, batches=20)  # of 16 windows
SHAPES = network.stack_shapes(NET, CHANNELS) | network.dense_shapes("ahead", NET.hidden, CHANNELS)
Z = synth.machine(rows=ROWS, channels=CHANNELS, seed=0).values
DATA = torch.tensor((Z - Z.mean(0)) / Z.std(0), dtype=torch.float32)
STEPS = torch.arange(LENGTH)


def loss(params: dict[str, Any], rows: Any, noise: Any) -> Any:
    """The squared error of each model's forecasts of the next reading."""
    z = DATA[torch.as_tensor(rows)[..., None] + STEPS]  # (A, N, T, C)
    x = z + torch.stack([torch.randn(z.shape[1:], generator=one) for one in noise])
    weights = tuple(params[f"{kind}_l0"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, _ = kernels.scan(NET.cell, x, x.new_zeros(1, *x.shape[:2], NET.hidden), weights)
    told = torch.baddbmm(params["ahead.bias"][:, None], h.flatten(1, 2), params["ahead.weight"].mT)
    return (told.view(z.shape)[:, :, :-1] - z[:, :, 1:]).square().mean((1, 2, 3))


def drawn(models: range) -> train.Weights:
    """First weights of each model from its own number."""
    apart = [network.init(SHAPES, np.random.default_rng(m)) for m in models]
    return {name: np.stack([one[name] for one in apart]) for name in SHAPES}


def trained(models: range) -> train.Fit:
    """A run of these models at once."""
    rows = np.arange(ROWS - LENGTH)
    problem = train.Problem(drawn(models), rows, rows[:0], loss, "bench", models)
    for _ in train.fit(problem, SETTINGS, run := train.Fit({}), seed=0):
        pass
    return run


def optimisers(models: int) -> dict[str, Callable[[], Any]]:
    """A step of AdamW with clipping, ours and torch's, on the weights and some gradient of so many models."""
    weights = [torch.tensor(w) for w in drawn(range(models)).values()]
    grads, rates = [torch.randn_like(w) for w in weights], np.full(models, 1e-3)
    ours = layers.Adam([w.clone() for w in weights])
    for w, g in zip(weights, grads, strict=True):
        w.grad = g
    theirs = torch.optim.AdamW(weights, weight_decay=SETTINGS.weight_decay)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(weights, SETTINGS.clip)
        theirs.step()

    return {"ours": lambda: ours.step(grads, rates, decay=SETTINGS.weight_decay, clip=1.0), "torch's": step}


def main(turns: int) -> None:
    """Print the tables."""
    works: dict[str, Callable[[], Any]] = {
        "1 model": lambda: trained(range(1)),
        f"{MODELS} models in one call": lambda: trained(range(MODELS)),
        f"{MODELS} runs": lambda: [trained(range(m, m + 1)) for m in range(MODELS)],
    }
    steps = dict.fromkeys(works, SETTINGS.batches)
    for models in (1, MODELS):
        for whose, work in optimisers(models).items():
            name = f"AdamW and clipping, {whose}, {models} model{'s' * (models > 1)}"
            steps[name] = 200
            works[name] = lambda work=work: [work() for _ in range(200)]
    took: dict[str, list[float]] = {name: [] for name in works}
    with train.one_thread():
        for turn in range(-1, turns):  # the first is to warm up
            for name, work in works.items():
                began = time.perf_counter()
                work()
                took[name] += [1e3 * (time.perf_counter() - began) / steps[name]] if turn >= 0 else []
    print(f"core: {cpu.engine()}, torch {torch.__version__}, one thread, {turns} turns\n")
    print("| a step of | least ms | median ms | times one model's (least, median) |\n|---|---|---|---|")
    best, usual = (of(took["1 model"]) for of in (min, statistics.median))
    for name, found in took.items():
        least, median = min(found), statistics.median(found)
        print(f"| {name} | {least:.3f} | {median:.3f} | {least / best:.3f}, {median / usual:.3f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
