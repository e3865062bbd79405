"""The core beside torch and the other runtimes that are installed, in one run: what it is worth on this machine.

All who do the same work take turns, so that a busy machine is busy for all; the minimum and the median of their times
are told, and beside them how far each is from the same in float64. `torch.mm` of 1024 x 1024 numbers, measured before
and after each comparison, is the rate that this machine can reach.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .kernels import cpu
from .peers import Array, Work
from .train import one_thread, torch_or_error
from .works import PRODUCT, Case, Runner, arrays, operations, runners

TURN = 0.02  # seconds: long enough to find the caches as one's own, short enough for all to see the same machine
ROUNDS = 3  # at least so many turns each, however long they take: a median of less is none
PATIENCE = 60.0  # seconds after which a comparison makes do with fewer: on a busy machine threads can wait for ever
ENOUGH = 64  # sequences from which on more threads are worth measuring
BESIDE = "tidegate, one thread"  # once more, in turn with those on all threads
VERSIONS = ("tidegate", "torch", "jax", "onnxruntime", "numpy")
COLUMNS = (
    "work",
    "who",
    "best ms",
    "median ms",
    "x ours",
    "GFLOP/s",
    "of torch.mm",
    "outputs off",
    "gradients off",
)


class Row(NamedTuple):
    """One measurement: what was done, by whom, in how many seconds, and how far from float64 the answer was."""

    case: Case
    who: str
    threads: int
    best: float
    median: float
    output_error: float
    gradient_error: float  # NaN where there are no gradients
    turns: int = ROUNDS  # that the median is of

    @property
    def gflops(self) -> float:
        """The rate of its products, by the median; 0 where padding makes it a matter of taste."""
        return operations(self.case) / self.median / 1e9

    def plain(self) -> dict[str, Any]:
        """All of it under one name each: a line of a CSV file, or JSON."""
        sizes = dict(zip(("batch", "steps", "inputs", "units"), self.case.shape, strict=True))
        told = {"work": str(self.case), **self.case._asdict(), **sizes, **self._asdict(), "gflops": self.gflops}
        return {name: value for name, value in told.items() if name not in ("case", "shape")}


# ---- the measuring ---------------------------------------------------------------------------------------------------


def run(
    cases: Sequence[Case], seconds: float, on_case: Callable[[float, str], None] = lambda done, case: None
) -> list[Row]:
    """The rows of all cases, so many seconds (or ROUNDS) for each, and at the end the one of torch.mm.

    >>> [row.who for row in run([Case("reading", "gru", (1, 1, 2, 4))], 0.01)][-1]
    'torch.mm'

    `on_case` is told how many cases are done and which is next.
    """
    torch = torch_or_error()
    rows: list[Row] = []
    with one_thread(), torch.random.fork_rng(devices=[]), as_before():
        torch.manual_seed(0)
        a, b = torch.randn(2, 1024, 1024)
        product = partial(torch.mm, a, b)
        error = _apart(arrays([product()]), arrays([a.double() @ b.double()]))
        times = [_turn(product)]
        for done, case in enumerate(cases):
            on_case(done, str(case))
            rows += compare(case, seconds)
            _on(1)
            times.append(_turn(product))
    rows.append(Row(PRODUCT, "torch.mm", 1, min(times), statistics.median(times), error, float("nan"), len(times)))
    return rows


def compare(case: Case, seconds: float) -> list[Row]:
    """A row for each who does the work, on one thread and, where it is worth it, on all.

    >>> [row.who for row in compare(Case("training", "gru", (2, 3, 1, 4), layers=2), 0.01)]
    ['tidegate', 'torch.nn']
    """
    alone = runners(case)
    rounds = [alone]
    if threads() > 1 and case.kind == "training" and not case.ragged and case.models * case.shape[0] >= ENOUGH:
        # Apart, for torch's threads go on spinning after their turn. JAX is told its one thread when it starts.
        many = [runner._replace(threads=threads()) for runner in alone if not runner.who.startswith("jax")]
        rounds.append([alone[0]._replace(who=BESIDE), *many])
    return [row for all_who in rounds for row in _compared(case, all_who, seconds)]


def _compared(case: Case, all_who: Sequence[Runner], seconds: float) -> list[Row]:
    errors = [_errors(runner) for runner in all_who]
    return [
        Row(case, runner.who, runner.threads, min(times), statistics.median(times), *error, len(times))
        for runner, error, times in zip(all_who, errors, interleaved(all_who, seconds), strict=True)
    ]


def _errors(runner: Runner) -> tuple[float, float]:
    """How far outputs and gradients are off; this first call also compiles, and takes memory."""
    _on(runner.threads)
    found = arrays((runner.answer or runner.work)())[: len(runner.truth)]
    return _apart(found[:1], runner.truth[:1]), _apart(found[1:], runner.truth[1:])


def interleaved(all_who: Sequence[Runner], seconds: float) -> list[list[float]]:
    """The times of each one's turns, taken in turn for so many seconds in all, ROUNDS times if PATIENCE allows.

    >>> [len(times) >= ROUNDS for times in interleaved([Runner("a", int, []), Runner("b", int, [])], 0.01)]
    [True, True]

    A turn lasts TURN seconds or one call, and counts with its mean: who does a short work once finds the caches full of
    what the one before left there.
    """
    times: list[list[float]] = [[] for _ in all_who]
    start = time.perf_counter()
    while not times[-1] or time.perf_counter() < start + (seconds if len(times[-1]) >= ROUNDS else PATIENCE):
        for runner, taken in zip(all_who, times, strict=True):
            _on(runner.threads)
            taken.append(_turn(runner.work))
    return times


def _turn(work: Work) -> float:
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < TURN:
        work()
        calls += 1
    return (time.perf_counter() - start) / calls


def _on(count: int) -> None:
    torch = torch_or_error()
    if torch.get_num_threads() != count or cpu.threads() != count:
        torch.set_num_threads(count)
        cpu.threads(count)


@contextmanager
def as_before() -> Iterator[None]:
    """The core on one thread inside, and as it was afterwards."""
    before = cpu.threads()
    cpu.threads(1)
    try:
        yield
    finally:
        cpu.threads(before)


def threads() -> int:
    """How many threads this process may use at once.

    >>> threads() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _apart(found: list[Array], truth: list[Array]) -> float:
    """The largest difference of any of them, each in units of its own largest number."""
    pairs = zip(found, truth, strict=True)
    return max((float(np.abs(a.astype(np.float64) - b).max() / np.abs(b).max()) for a, b in pairs), default=np.nan)


# ---- the telling -----------------------------------------------------------------------------------------------------


def reach(rows: list[Row]) -> float:
    """GFLOP/s of torch.mm: what this machine can do at most."""
    return next(row.gflops for row in rows if row.case == PRODUCT)


def table(rows: list[Row]) -> list[tuple[str, ...]]:
    """A line of text cells under COLUMNS for each row: times, how often ours, the rate, the errors."""
    ours = {(row.case, row.threads): row.median for row in rows if row.who == "tidegate"}
    limit = reach(rows)
    lines = []
    for row in rows:
        own = ours.get((row.case, row.threads))
        ratio = f"{row.median / own:.2f}" if own and row.who != "tidegate" else ""
        share = f"{100 * row.gflops / limit:.0f} %" if row.gflops and row.threads == 1 else ""
        rate = (f"{row.gflops:.3g}" if row.gflops else "", share)
        errors = ("" if np.isnan(error) else f"{error:.1e}" for error in (row.output_error, row.gradient_error))
        who = row.who if row.threads == 1 else f"{row.who}, {row.threads} threads"
        lines.append((str(row.case), who, f"{1e3 * row.best:.4g}", f"{1e3 * row.median:.4g}", ratio, *rate, *errors))
    return lines


def machine() -> dict[str, str]:
    """What it was measured on: the processor, the core's instruction set, versions.

    >>> sorted(machine())[:2]
    ['core', 'cores']
    """
    names = [line for line in _cpuinfo() if line.startswith("model name")] or [f": {platform.machine()}"]
    found = {"processor": names[0].partition(":")[2].strip(), "cores": str(threads()), "core": cpu.engine()}
    found["python"] = platform.python_version()
    for package in VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _cpuinfo() -> list[str]:
    """What Linux tells of its processors; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
