"""Where a training step goes: the core's forward and backward, NumPy around them, torch's gradients, the loss.

    python bench/anatomy.py [ROUNDS]          # 40 unless told; into bench/results.md

One thread, on a machine with nothing else to do; all in turn, torch.mm among them. Each column does what the one before
does, and more.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from sections import put

from tidegate import bench, nn, works
from tidegate.kernels.stacked import Plan, Run
from tidegate.train import one_thread

TURN = 0.01
COLUMNS = ("cell", "batch, steps, inputs, units", "core forward", "core both", "rate", "of torch.mm",
           "gradients by torch", "and a loss", "of torch.mm")  # fmt: skip


def stages(cell: str, shape: works.Shape) -> dict[str, Callable[[], Any]]:
    """What is timed, from the core alone to a step as a user writes it."""
    batch, steps, inputs, hidden = shape
    layer = getattr(nn, works.KINDS[cell])(inputs, hidden, batch_first=True)
    x, dy, parameters = torch.randn(batch, steps, inputs), torch.randn(batch, steps, hidden), list(layer.parameters())
    run = Run(Plan(cell), [p.detach().numpy()[None] for p in parameters], 1)
    given, slope = x.numpy()[None], dy.numpy()[None]

    def forward() -> Any:
        return run.forward(given, None, keep=True)

    def both() -> Any:
        forward()
        return run.backward(slope, None, (False, False, [True] * 4))

    def graph() -> Any:
        return torch.autograd.grad(layer(x)[0], parameters, dy)

    def whole() -> Any:
        return torch.autograd.grad((layer(x)[0] * dy).sum(), parameters)

    a, b = torch.randn(2, 1024, 1024)
    return {"mm": lambda: a @ b, "forward": forward, "both": both, "graph": graph, "whole": whole}


def medians(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """The least and the median of each one's turns."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-1, rounds):  # the first is to warm up
        for name, work in works.items():
            start, calls = time.perf_counter(), 0
            while calls == 0 or time.perf_counter() - start < TURN:
                work()
                calls += 1
            found[name] += [(time.perf_counter() - start) / calls] if turn >= 0 else []
    return {name: (min(times), statistics.median(times)) for name, times in found.items()}


def line(cell: str, shape: works.Shape, rounds: int) -> str:
    """A line of the table: least / median milliseconds, and rates."""
    took = medians(stages(cell, shape), rounds)
    operations = works.operations(works.Case("training", cell, shape))
    rates = {name: [operations / t / 1e9 for t in took[name]] for name in ("both", "whole")}
    most = [2 * 1024**3 / t / 1e9 for t in took["mm"]]

    def told(name: str) -> str:
        return " / ".join(f"{1e3 * t:.3g}" for t in took[name])

    def share(name: str) -> str:
        return " / ".join(f"{100 * r / m:.0f} %" for r, m in zip(rates[name], most, strict=True))

    rate = " / ".join(f"{r:.0f}" for r in rates["both"])
    cells = [cell, str(shape)[1:-1], told("forward"), told("both"), rate, share("both"), told("graph"), told("whole")]
    return f"| {' | '.join([*cells, share('whole')])} |"


def main(rounds: int) -> None:
    """Measure, print and write down."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    with one_thread():
        for cell in works.KINDS:
            for shape in works.SHAPES:
                lines.append(line(cell, shape, rounds))
                print(lines[-1], flush=True)
    head = "### Where a training step goes\n\nMade by `python bench/anatomy.py`"
    machine = ", ".join(f"{k} {v}" for k, v in bench.machine().items())
    how = f"{machine}. Milliseconds, least / median; GFLOP/s; one thread."
    put("anatomy", "\n".join([f"{head}: {how}\n", *lines]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
