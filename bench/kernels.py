"""The core beside torch, JAX and ONNX Runtime: training, scoring, padding, many models, a reading at a time.

    python bench/kernels.py [SECONDS]         # for each comparison (2); written to bench/results.md and kernels.csv

JAX and ONNX Runtime are measured where they are installed: pip install jax onnxruntime onnx. Everybody in turn, on a
machine that should have nothing else to do. The targets at the end are this project's own.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sections import put

from tidegate import bench, peers
from tidegate.bench import Row
from tidegate.works import ALL, Case

HERE = Path(__file__).parent
FULL = "tidegate, no padding"


class Found(NamedTuple):
    """One case held to one target: 1 or more of what was wanted is met; and what there was, in words."""

    share: float
    words: str


class Target(NamedTuple):
    """What was wanted, of which cases, and how each is held to it (None: not measured here)."""

    wanted: str
    cases: list[Case]
    found: Callable[[Case], Found | None]


class Measured:
    """The rows of a run, by case, who and threads."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.limit = rows, bench.reach(rows)
        self.by = {(row.case, row.who, row.threads): row for row in rows}
        self.cases = list(dict.fromkeys(row.case for row in rows if row.case != bench.PRODUCT))

    def times(self, peer: str, wanted: float) -> Callable[[Case], Found | None]:
        """How often a peer takes our time."""

        def found(case: Case) -> Found | None:
            theirs = self.by.get((case, peer, 1))
            ratio = theirs.median / self.by[case, "tidegate", 1].median if theirs else 0
            return Found(ratio / wanted, f"{ratio:.1f} x") if theirs else None

        return found

    def rate(self, wanted: float) -> Callable[[Case], Found | None]:
        """The share of torch.mm's rate."""

        def found(case: Case) -> Found | None:
            share = self.by[case, "tidegate", 1].gflops / self.limit
            return Found(share / wanted, f"{100 * share:.0f} %")

        return found

    def padding(self, wanted: float) -> Callable[[Case], Found | None]:
        """The time with half of all steps padding, in halves of the time without."""

        def found(case: Case) -> Found | None:
            ratio = 2 * self.by[case, "tidegate", 1].median / self.by[case, FULL, 1].median
            return Found(wanted / ratio, f"{ratio:.2f} halves")

        return found

    def gain(self, wanted: float) -> Callable[[Case], Found | None]:
        """How much faster all threads are than one."""

        def found(case: Case) -> Found | None:
            many = [row for row in self.rows if row.case == case and row.who == "tidegate" and row.threads > 1]
            gain = self.by[case, bench.BESIDE, 1].median / many[0].median if many else 0
            return Found(gain / wanted, f"{gain:.2f} x") if many else None

        return found

    def microseconds(self, wanted: float) -> Callable[[Case], Found | None]:
        """The time itself."""

        def found(case: Case) -> Found | None:
            took = 1e6 * self.by[case, "tidegate", 1].median
            return Found(wanted / took, f"{took:.2f} us")

        return found

    def error(self, field: str, wanted: float) -> Callable[[Case], Found | None]:
        """How far we are from float64, at worst."""

        def found(case: Case) -> Found | None:
            rows = (row for row in self.rows if row.case == case and row.who.startswith("tidegate"))
            worst = max(getattr(row, field) for row in rows)
            return Found(wanted / worst, f"{worst:.1e}") if worst == worst else None

        return found


def either(*ways: Callable[[Case], Found | None]) -> Callable[[Case], Found | None]:
    """Whichever is nearer to its target; all of them in words."""

    def found(case: Case) -> Found | None:
        each = [one for way in ways if (one := way(case))]
        return Found(max(one.share for one in each), ", ".join(one.words for one in each)) if each else None

    return found


def targets(of: Measured) -> list[Target]:
    """What this project set out to reach."""

    def training(cell: str, small: bool | None = None) -> list[Case]:
        plain = [c for c in of.cases if c == Case("training", cell, c.shape)]
        return [c for c in plain if small is None or (c.shape[3] <= 32) == small]

    def reading(streams: int, units: int = 32) -> list[Case]:
        found = [c for c in of.cases if c.kind == "reading" and c.models == 1]
        return [c for c in found if (c.shape[0], c.shape[3]) == (streams, units)]

    fleet = [c for c in of.cases if c.kind == "training" and c.models > 1]
    crowd = [c for c in of.cases if c.kind == "reading" and c.models > 1]
    many = [c for c in of.cases if c.kind == "training" and c.shape[0] * c.models >= bench.ENOUGH and not c.ragged]
    torch, jax = "torch.nn", "jax, jitted"
    return [
        Target("GRU of 32 units or fewer: 10 x torch", training("gru", True), of.times(torch, 10)),
        Target("GRU of 32 units or fewer: 4 x JAX", training("gru", True), of.times(jax, 4)),
        Target("GRU of 64 units or more: 2.5 x torch", training("gru", False), of.times(torch, 2.5)),
        Target("GRU of 64 units or more: 2 x JAX", training("gru", False), of.times(jax, 2)),
        Target("GRU of 64 units or more: 75 % of torch.mm", training("gru", False), of.rate(0.75)),
        Target("RNN: 3 x torch or 75 % of torch.mm", training("rnn_tanh"), either(of.times(torch, 3), of.rate(0.75))),
        Target("LSTM: 2.5 x torch or 75 % of torch.mm", training("lstm"), either(of.times(torch, 2.5), of.rate(0.75))),
        Target("LSTM of 32 units or fewer: 3 x torch", training("lstm", True), of.times(torch, 3)),
        Target("half padding: 1.15 halves of the time", [c for c in of.cases if c.ragged], of.padding(1.15)),
        Target("all threads: 1.7 x one", many, of.gain(1.7)),
        Target("256 models: 10 x a loop of torch", fleet, of.times("torch.nn, a loop", 10)),
        Target("256 models: 2 x JAX vmap", fleet, of.times("jax, vmap", 2)),
        Target("1 stream: 2 us a reading", reading(1), of.microseconds(2)),
        Target("1 stream: 10 x ONNX Runtime", reading(1), of.times("onnxruntime", 10)),
        Target("1 stream: 10 x ONNX Runtime, memory bound ahead", reading(1), of.times("onnxruntime, bound", 10)),
        Target("1,000 streams: 2 x torch", reading(1000), of.times(torch, 2)),
        Target("1,000 models: 2 x batched torch", crowd, of.times("torch.bmm, batched", 2)),
        Target("outputs within 5e-7 of float64", of.cases, of.error("output_error", 5e-7)),
        Target("gradients within 5e-6 of float64", of.cases, of.error("gradient_error", 5e-6)),
    ]


def judged(target: Target) -> tuple[str, str, str]:
    """A target, the worst that there was, and whether all cases met it."""
    found = [(one, case) for case in target.cases if (one := target.found(case))]
    if not found:
        return target.wanted, "not measured", ""
    met = sum(one.share >= 1 for one, _ in found)
    (worst, case), every = min(found, key=lambda pair: pair[0].share), len(found)
    return target.wanted, f"{worst.words}: {case}", "yes" if met == every else f"no: {met} of {every}"


def threaded(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    """Each who was measured on all threads: one thread, all, and the gain."""
    one = {(row.case, row.who): row.median for row in rows if row.threads == 1}
    one |= {(row.case, "tidegate"): row.median for row in rows if row.who == bench.BESIDE}
    ours = {row.case: row.median for row in rows if row.threads > 1 and row.who == "tidegate"}
    for row in rows:
        if row.threads > 1:
            alone, ratio = one[row.case, row.who], f"{row.median / ours[row.case]:.2f}"
            times = (f"{1e3 * alone:.4g}", f"{1e3 * row.best:.4g}", f"{1e3 * row.median:.4g}")
            off = (f"{row.output_error:.1e}", f"{row.gradient_error:.1e}")
            shown = "" if row.who == "tidegate" else ratio
            yield (str(row.case), row.who, *times, f"{alone / row.median:.2f}", shown, *off)


def markdown(columns: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ("---",) * len(columns), *lines])


def commit() -> str:
    """The commit that was measured."""
    told = [
        subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))
    ]
    return (told[0] or "unknown") + (" + uncommitted" if told[1] else "")


def section(rows: list[Row], seconds: float, made: str) -> str:
    """The section of speed: how it was made, all times, the gain of threads, and the targets."""
    machine = bench.machine()
    alone = [row for row in rows if row.threads == 1 and row.who != bench.BESIDE]
    several = ("work", "who", "one thread ms", "best ms", "median ms", "gain", "x ours", "outputs off", "gradients off")
    parts = [
        "## Speed",
        f"Made by `python bench/kernels.py {seconds:g}`: {made}; {', '.join(f'{k} {v}' for k, v in machine.items())}. "
        f"torch.mm, 1024 x 1024, before and after each comparison: {bench.reach(rows):.0f} GFLOP/s (median).",
        "All in turn. Training is outputs, loss and gradients of all weights; (batch, steps, inputs, units). *x ours*: "
        "times the median of tidegate. *off*: the largest distance from float64, in units of the largest number.",
        *peers.missing(),
        f"### One thread\n\n{markdown(bench.COLUMNS, bench.table(alone))}",
        f"### All threads ({machine['cores']}; JAX is told its one thread when it starts)",
        markdown(several, list(threaded(rows))),
        "### Targets\n\nThe worst case of each; by medians.",
        markdown(("target", "got at worst", "met"), [judged(target) for target in targets(Measured(rows))]),
    ]
    return "\n\n".join(parts)


def main(seconds: float) -> None:
    """Measure, and write it down."""
    made = f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}"
    for line in peers.missing():
        print(line, flush=True)
    rows = bench.run(ALL, seconds, on_case=lambda done, case: print(f"{done + 1}/{len(ALL)} {case}", flush=True))
    text = section(rows, seconds, made)
    put("kernels", text)
    with (HERE / "kernels.csv").open("w", newline="") as out:
        table = csv.DictWriter(out, [*rows[0].plain(), "made", *bench.machine()])
        table.writeheader()
        table.writerows(row.plain() | {"made": made} | bench.machine() for row in rows)
    print(text[text.index("### Targets") :])


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
