"""The core beside torch and the other runtimes that are installed, in one run: what it is worth on this machine.

All who do the same work take turns, so that a busy machine is busy for all; the minimum and the median of their times
are told, and beside them how far each is from the same in float64. `torch.mm` of 1024 x 1024 numbers is the rate that
this machine can reach.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import nn
from .cells import GATES
from .kernels.stream import Stepper
from .train import one_thread, torch_or_error

Work = Callable[[], Any]
TRAINING = [  # B, T, I, H
    (64, 50, 1, 64), (64, 4, 1, 128), (32, 10, 5, 32), (1, 1000, 1, 32),
    (64, 100, 10, 32), (256, 100, 10, 128), (64, 50, 1, 16), (512, 60, 8, 64),
]  # fmt: skip
TURN = 0.02
KINDS = {"gru": "GRU", "lstm": "LSTM", "rnn_tanh": "RNN"}


class Row(NamedTuple):
    """One measurement: what was done, by whom, in how many seconds, and how far from float64 the answer was."""

    work: str
    who: str
    best: float
    median: float
    error: float
    gflops: float


def interleaved(works: dict[str, Work], seconds: float) -> dict[str, tuple[float, float]]:
    """The minimum and the median of each one's times, taken in turn for so many seconds in all.

    >>> sorted(interleaved({"a": lambda: None, "b": lambda: None}, 0.01))
    ['a', 'b']

    A turn lasts TURN seconds or one call, and counts with its mean: who does a short work once finds the caches full of
    what the one before left there.
    """
    times: dict[str, list[float]] = {who: [] for who in works}
    for work in works.values():
        work()  # the first call compiles, or takes memory
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not all(times.values()):
        for who, work in works.items():
            start, calls = time.perf_counter(), 0
            while calls == 0 or time.perf_counter() - start < TURN:
                work()
                calls += 1
            times[who].append((time.perf_counter() - start) / calls)
    return {who: (min(found), statistics.median(found)) for who, found in times.items()}


def limit(seconds: float) -> float:
    """GFLOP/s of `torch.mm` on 1024 x 1024 numbers, one thread."""
    a, b = torch_or_error().randn(2, 1024, 1024)
    with one_thread():
        best, _ = interleaved({"mm": lambda: a @ b}, seconds)["mm"]
    return 2 * 1024**3 / best / 1e9


def operations(cell: str, shape: tuple[int, int, int, int], passes: int = 3) -> float:
    """Multiplications and additions of a layer's products: once forward, twice more with gradients."""
    batch, steps, inputs, hidden = shape
    return 2.0 * passes * batch * steps * GATES[cell] * hidden * (inputs + hidden)


def training(
    cell: str, shape: tuple[int, int, int, int], seconds: float, *, layers: int = 1, both_ways: bool = False
) -> Iterator[Row]:
    """A step of training: the outputs, and the gradients of all weights."""
    torch = torch_or_error()
    batch, steps, inputs, hidden = shape
    x = torch.randn(batch, steps, inputs)
    size = {"num_layers": layers, "batch_first": True, "bidirectional": both_ways}
    theirs, ours = (getattr(home, KINDS[cell])(inputs, hidden, **size) for home in (torch.nn, nn))
    ours.load_state_dict(theirs.state_dict())
    dy = torch.randn(batch, steps, hidden * (1 + both_ways))
    truth = _gradients(theirs.double(), x.double(), dy.double())
    all_who = {"tidegate": ours, "torch.nn": theirs.float()}
    works: dict[str, Work] = {who: _step(layer, x, dy) for who, layer in all_who.items()}
    errors = {who: _apart(_gradients(layer, x, dy), truth) for who, layer in all_who.items()}
    plain = layers == 1 and not both_ways
    if plain and importlib.util.find_spec("jax"):
        works["jax, jitted"] = _in_jax(cell, x, dy, all_who["torch.nn"])
        errors["jax, jitted"] = _apart(works["jax, jitted"](), truth)
    how = f", {layers} layers" * (layers > 1) + ", both ways" * both_ways
    for who, (best, median) in interleaved(works, seconds).items():
        gflops = operations(cell, shape) / best / 1e9 if plain else 0.0
        yield Row(f"{cell} training {shape}{how}", who, best, median, errors[who], gflops)


def _step(layer: Any, x: Any, dy: Any) -> Work:
    return lambda: _gradients(layer, x, dy)


def _gradients(layer: Any, x: Any, dy: Any) -> list[Any]:
    torch = torch_or_error()
    y, _ = layer(x)
    return [g.detach().numpy() for g in torch.autograd.grad((y * dy).sum(), list(layer.parameters()))]


def _apart(found: list[Any], truth: list[Any]) -> float:
    """The largest difference of any gradient, in units of its own largest number."""
    pairs = zip(found, truth, strict=True)
    return max(float(np.abs(np.asarray(a, np.float64) - b).max() / np.abs(b).max()) for a, b in pairs)


def _in_jax(cell: str, x: Any, dy: Any, layer: Any) -> Work:
    """The same layer as `lax.scan`, jitted, with its gradients; on one thread, as everybody."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import jax.numpy as jnp

    def gru(h: Any, gates: Any, w: Any, b: Any) -> Any:
        rx, zx, nx = jnp.split(gates, 3, -1)
        rh, zh, nh = jnp.split(h[0] @ w.T + b, 3, -1)
        r, z = jax.nn.sigmoid(rx + rh), jax.nn.sigmoid(zx + zh)
        n = jnp.tanh(nx + r * nh)
        return (n + z * (h[0] - n),)

    def lstm(h: Any, gates: Any, w: Any, b: Any) -> Any:
        i, f, g, o = jnp.split(gates + h[0] @ w.T + b, 4, -1)
        c = jax.nn.sigmoid(f) * h[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    def rnn(h: Any, gates: Any, w: Any, b: Any) -> Any:
        return (jnp.tanh(gates + h[0] @ w.T + b),)

    step = {"gru": gru, "lstm": lstm, "rnn_tanh": rnn}[cell]
    inputs, wanted = jnp.asarray(x.numpy()), jnp.asarray(dy.numpy())
    weights = [jnp.asarray(p.detach().numpy()) for p in layer.parameters()]
    zero = jnp.zeros((len(inputs), weights[1].shape[1]), jnp.float32)

    def loss(weights: Any) -> Any:
        w_x, w_h, b_x, b_h = weights
        gates = (inputs @ w_x.T + b_x).swapaxes(0, 1)

        def one(h: Any, now: Any) -> Any:
            after = step(h, now, w_h, b_h)
            return after, after[0]

        _, y = jax.lax.scan(one, (zero, zero) if cell == "lstm" else (zero,), gates)
        return (y.swapaxes(0, 1) * wanted).sum()

    run = jax.jit(jax.grad(loss))
    return lambda: [np.asarray(g) for g in run(weights)]


def ragged(cell: str, shape: tuple[int, int, int, int], seconds: float) -> Iterator[Row]:
    """A training step where half of all steps are padding, beside the one where none is."""
    torch = torch_or_error()
    batch, steps, inputs, hidden = shape
    layer = getattr(nn, KINDS[cell])(inputs, hidden, batch_first=True)
    x, dy = torch.randn(batch, steps, inputs), torch.randn(batch, steps, hidden)
    lengths = torch.from_numpy(np.random.default_rng(0).permutation(np.arange(batch) * steps // max(1, batch - 1)))

    def half() -> Any:
        y, _ = layer(x, lengths=lengths)
        return torch.autograd.grad((y * dy).sum(), list(layer.parameters()))

    share = float(lengths.sum()) / (batch * steps)
    times = interleaved({"all steps": _step(layer, x, dy), f"{100 * share:.0f} % of the steps": half}, seconds)
    for who, (best, median) in times.items():
        yield Row(f"{cell} training {shape}, ragged", who, best, median, float("nan"), 0.0)


def fleet(models: int, shape: tuple[int, int, int, int], seconds: float) -> Iterator[Row]:
    """A training step of many small models at once, beside a loop of torch's layers."""
    torch = torch_or_error()
    batch, steps, inputs, hidden = shape
    whole = nn.GRU(inputs, hidden, batch_first=True, models=models)
    apart = [torch.nn.GRU(inputs, hidden, batch_first=True) for _ in range(models)]
    x, dy = torch.randn(models, batch, steps, inputs), torch.randn(models, batch, steps, hidden)

    def loop() -> Any:
        return [_gradients(layer, x[m], dy[m]) for m, layer in enumerate(apart)]

    for who, (best, median) in interleaved(
        {"tidegate": _step(whole, x, dy), "torch.nn, a loop": loop}, seconds
    ).items():
        gflops = models * operations("gru", shape) / best / 1e9
        yield Row(f"gru training {shape}, {models} models", who, best, median, float("nan"), gflops)


def streaming(cell: str, streams: int, hidden: int, seconds: float) -> Iterator[Row]:
    """One reading of each stream, through scale, layer and head, from Python."""
    torch = torch_or_error()
    inputs = 5
    layer, head = getattr(torch.nn, KINDS[cell])(inputs, hidden, batch_first=True), torch.nn.Linear(hidden, 1)
    weights = tuple(p.detach().numpy() for p in layer.parameters())
    center, spread = np.zeros(inputs), np.ones(inputs)
    final = tuple(p.detach().numpy() for p in head.parameters())
    ours = Stepper(cell, [weights], streams=streams, scale=(center, spread), head=final)
    reading = np.random.default_rng(0).standard_normal((streams, inputs))
    state: list[Any] = [None]

    def theirs() -> Any:
        with torch.no_grad():
            x = torch.from_numpy((reading - center) / spread).float()[:, None]
            y, state[0] = layer(x, state[0])
            return head(y[:, 0])

    many = {"tidegate": lambda: ours.step(reading), "torch.nn": theirs}
    for who, (best, median) in interleaved(many, seconds).items():
        gflops = operations(cell, (streams, 1, inputs, hidden), 1) / best / 1e9
        yield Row(
            f"{cell} of {hidden} units, a reading of {streams:,} streams", who, best, median, float("nan"), gflops
        )


def run(seconds: float = 1.0, on_row: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """All of it, one thread; `seconds` for each comparison."""
    with one_thread():
        return _all(seconds, on_row)


def _all(seconds: float, on_row: Callable[[Row], None]) -> list[Row]:
    parts = [partial(training, cell, shape) for cell in KINDS for shape in TRAINING]
    parts += [
        partial(training, "gru", (64, 50, 8, 32), layers=2),
        partial(training, "gru", (64, 50, 8, 32), both_ways=True),
        partial(ragged, "gru", (64, 100, 10, 32)),
        partial(fleet, 256, (32, 50, 4, 32)),
        partial(streaming, "gru", 1, 32),
        partial(streaming, "lstm", 1, 32),
        partial(streaming, "gru", 1000, 32),
    ]
    rows: list[Row] = []
    for part in parts:
        for row in part(seconds=seconds):
            on_row(row)
            rows.append(row)
    return rows


def table(rows: list[Row], reach: float) -> str:
    """A Markdown table: times, how often faster than each peer, the rate beside what the machine can reach."""
    lines = ["(batch, steps, inputs, units); error: the largest distance of a gradient from float64.\n"]
    lines += ["| work | who | best ms | median ms | times the median of tidegate | GFLOP/s | of torch.mm | error |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    ours = {row.work: row for row in rows if row.who == "tidegate"}
    for row in rows:
        us = ours.get(row.work)
        ratio = f"{row.median / us.median:.1f}" if us and us is not row else ""
        rate = (f"{row.gflops:.0f}", f"{100 * row.gflops / reach:.0f} %") if row.gflops else ("", "")
        error = "" if np.isnan(row.error) else f"{row.error:.1e}"
        cells = [row.work, row.who, f"{1e3 * row.best:.4g}", f"{1e3 * row.median:.4g}", ratio, *rate, error]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
