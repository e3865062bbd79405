"""The works that are measured, and who does each: the core, torch, and the runtimes that are installed.

A case is one piece of work; `runners` gives everybody the same weights and data for it, and the answer in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import nn, peers
from .cells import GATES, PARTS, STEPS
from .kernels import cpu
from .kernels.stream import Stepper
from .peers import Array, Chain, Step, Work
from .train import torch_or_error

Shape = tuple[int, int, int, int]  # B, T, I, H
SHAPES: list[Shape] = [
    (64, 50, 1, 64), (64, 4, 1, 128), (32, 10, 5, 32), (1, 1000, 1, 32),
    (64, 100, 10, 32), (256, 100, 10, 128), (64, 50, 1, 16), (512, 60, 8, 64),
]  # fmt: skip
READINGS = 20  # over which an answer is compared: the state has to come along
KINDS = {"gru": "GRU", "lstm": "LSTM", "rnn_tanh": "RNN"}


class Case(NamedTuple):
    """One piece of work that several do: training, scoring (outputs alone), or a reading of each stream.

    >>> str(Case("training", "gru", (64, 50, 1, 64), layers=2))
    'gru training (64, 50, 1, 64), 2 layers'
    >>> str(Case("reading", "lstm", (1, 1, 5, 32), models=1000))
    'lstm reading, 1,000 models of one stream, 5 channels, 32 units'
    """

    kind: str
    cell: str
    shape: Shape  # B, T, I, H; the B of a reading is streams of one model
    models: int = 1
    layers: int = 1
    both_ways: bool = False
    ragged: bool = False  # half of all steps are padding

    def __str__(self) -> str:
        batch, _, inputs, hidden = self.shape
        if self.kind == "product":
            return f"a product of {batch} x {inputs} and {inputs} x {hidden}"
        if self.kind == "reading":
            alone = "1 stream" if batch == 1 else f"{batch:,} streams of one model"
            streams = alone if self.models == 1 else f"{self.models:,} models of one stream"
            return f"{self.cell} reading, {streams}, {inputs} channels, {hidden} units"
        how = f", {self.layers} layers" * (self.layers > 1) + ", both ways" * self.both_ways
        how += f", {self.models} models" * (self.models > 1) + ", half of it padding" * self.ragged
        return f"{self.cell} {self.kind} {self.shape}{how}"


PRODUCT = Case("product", "", (1024, 1, 1024, 1024))  # a machine's best: large, dense, nothing to wait for
ALL = [Case("training", cell, shape) for cell in KINDS for shape in SHAPES]
ALL += [Case("training", cell, (64, 50, 8, 32), layers=2) for cell in KINDS]
ALL += [Case("training", cell, (64, 50, 8, 32), both_ways=True) for cell in KINDS]
ALL += [Case("training", cell, (64, 100, 10, 32), ragged=True) for cell in KINDS]
ALL += [Case("training", "gru", (256, 100, 10, 128), ragged=True)]
ALL += [Case("training", "gru", (32, 50, 4, 32), models=256)]
ALL += [Case("scoring", cell, (64, 100, 10, 32)) for cell in KINDS]
ALL += [Case("scoring", "gru", (512, 60, 8, 64))]
ALL += [Case("reading", "gru", (1, 1, 5, hidden)) for hidden in (16, 64, 128)]
ALL += [Case("reading", cell, (1, 1, 5, 32)) for cell in KINDS]
ALL += [Case("reading", cell, (1000, 1, 5, 32)) for cell in KINDS]
ALL += [Case("reading", cell, (1, 1, 5, 32), models=1000) for cell in KINDS]
QUICK = [Case("training", cell, shape) for cell in KINDS for shape in ((64, 50, 1, 64), (32, 10, 5, 32))]
QUICK += [Case("training", "gru", (64, 100, 10, 32), ragged=True)]
QUICK += [Case("training", "gru", (32, 50, 4, 32), models=16)]
QUICK += [Case("scoring", "gru", (64, 100, 10, 32)), Case("reading", "gru", (1, 1, 5, 32))]
QUICK += [Case("reading", "gru", (1000, 1, 5, 32)), Case("reading", "gru", (1, 1, 5, 32), models=1000)]


class Runner(NamedTuple):
    """Who does a work, how, on how many threads, and what the answer should be."""

    who: str
    work: Work
    truth: list[Array]  # the outputs, then the gradients if there are any
    threads: int = 1
    answer: Work | None = None  # for a work whose result is no answer by itself


def operations(case: Case) -> float:
    """Multiplications and additions of the products: once forward, twice more with gradients.

    >>> operations(Case("training", "gru", (1, 1, 1, 1)))
    36.0
    """
    batch, steps, inputs, hidden = case.shape
    if case.kind == "product":
        return 2.0 * batch * inputs * hidden
    ways = 1 + case.both_ways
    columns = inputs + hidden + (case.layers - 1) * (1 + ways) * hidden
    passes = 0 if case.ragged else 3 if case.kind == "training" else 1
    return 2.0 * passes * case.models * batch * steps * ways * GATES[case.cell] * hidden * columns


def runners(case: Case) -> list[Runner]:
    """Everybody who does this work, each with the answer that it should give.

    >>> [runner.who for runner in runners(Case("training", "gru", (2, 3, 1, 4), ragged=True))]
    ['tidegate', 'tidegate, no padding', 'torch.nn, packed']
    """
    if case.kind == "reading":
        return _reading(case)
    if case.kind == "scoring":
        return _scoring(case)
    return _ragged(case) if case.ragged else _fleet(case) if case.models > 1 else _training(case)


def _training(case: Case) -> list[Runner]:
    """A step of training: the outputs, and the gradients of all weights."""
    theirs, ours, x, dy = _layers(case)
    truth = _truth(_trained, theirs, x, dy)
    found: dict[str, Work] = {"tidegate": partial(_trained, ours, x, dy), "torch.nn": partial(_trained, theirs, x, dy)}
    if case.layers == 1 and not case.both_ways and peers.installed("jax"):
        found["jax, jitted"] = peers.jax_training(case.cell, _weights(theirs), x.numpy(), dy.numpy())
    return [Runner(who, work, truth) for who, work in found.items()]


def _ragged(case: Case) -> list[Runner]:
    """Lengths from 1 to T - 1, half of T in the mean; beside it the same layer where nothing is padding."""
    torch = torch_or_error()
    theirs, ours, x, dy = _layers(case)
    batch, steps = case.shape[:2]
    spread = np.random.default_rng(0).permutation(np.linspace(1, steps - 1, batch).round().astype(np.int64))
    lengths = torch.from_numpy(spread)
    truth, whole = _truth(_packed, theirs, x, dy, lengths), _truth(_trained, theirs, x, dy)
    return [
        Runner("tidegate", partial(_trained, ours, x, dy, lengths=lengths), truth),
        Runner("tidegate, no padding", partial(_trained, ours, x, dy), whole),
        Runner("torch.nn, packed", partial(_packed, theirs, x, dy, lengths), truth),
    ]


def _fleet(case: Case) -> list[Runner]:
    """A step of training of many models at once, beside a loop over torch's layers and JAX's vmap."""
    torch = torch_or_error()
    batch, steps, inputs, hidden = case.shape
    apart = [getattr(torch.nn, KINDS[case.cell])(inputs, hidden, batch_first=True) for _ in range(case.models)]
    ours = getattr(nn, KINDS[case.cell])(inputs, hidden, batch_first=True, models=case.models)
    for whole, parts in zip(ours.parameters(), zip(*(layer.parameters() for layer in apart), strict=True), strict=True):
        whole.data = torch.stack([part.data for part in parts])
    x, dy = torch.randn(case.models, batch, steps, inputs), torch.randn(case.models, batch, steps, hidden)

    def loop() -> Any:
        return [_trained(layer, x[m], dy[m]) for m, layer in enumerate(apart)]

    exact = [_truth(_trained, layer, x[m], dy[m]) for m, layer in enumerate(apart)]
    truth = [np.stack(parts) for parts in zip(*exact, strict=True)]
    found = [
        Runner("tidegate", partial(_trained, ours, x, dy), truth),
        Runner("torch.nn, a loop", loop, truth, answer=lambda: map(torch.stack, zip(*loop(), strict=True))),
    ]
    if peers.installed("jax"):
        work = peers.jax_training(case.cell, _weights(ours), x.numpy(), dy.numpy())
        found.append(Runner("jax, vmap", work, truth))
    return found


def _scoring(case: Case) -> list[Runner]:
    """The outputs alone: ours without torch, as a saved model runs."""
    theirs, _, x, dy = _layers(case)
    truth, weights = _truth(_trained, theirs, x, dy)[:1], _weights(theirs)
    zeros = np.zeros((PARTS[case.cell], case.shape[0], case.shape[3]), np.float32)
    found: dict[str, Work] = {
        "tidegate": partial(cpu.scan, case.cell, x.numpy(), zeros, tuple(weights)),
        "torch.nn": partial(_scored, theirs, x),
    }
    if peers.installed("jax"):
        found["jax, jitted"] = peers.jax_scoring(case.cell, weights, x.numpy())
    if peers.installed("onnxruntime"):
        found["onnxruntime"] = peers.onnx_scoring(case.cell, weights, x.numpy())
    return [Runner(who, work, truth) for who, work in found.items()]


def _reading(case: Case) -> list[Runner]:
    """A reading of each stream, through scale, layer and head, from Python; each remembers where the streams stand."""
    rng, (streams, _, inputs, hidden) = np.random.default_rng(0), case.shape
    lead, rows = () if case.models == 1 else (case.models,), GATES[case.cell] * hidden
    sizes = ((rows, inputs), (rows, hidden), (rows,), (rows,), (1, hidden), (1,))
    *weights, w, b = (rng.uniform(-1, 1, (*lead, *size)).astype(np.float32) / np.float32(hidden**0.5) for size in sizes)
    chain = Chain(case.cell, weights, (rng.standard_normal(inputs), rng.uniform(1, 2, inputs)), (w, b), streams)
    makers: dict[str, Callable[[Chain], Step]] = {"tidegate": _stepper}
    makers |= {"torch.bmm, batched": peers.torch_models} if lead else {"torch.nn": peers.torch_reading}
    makers |= {"jax, jitted": peers.jax_reading} if peers.installed("jax") else {}
    if peers.installed("onnxruntime") and not lead:
        makers |= {"onnxruntime": peers.onnx_reading, "onnxruntime, bound": peers.onnx_bound}
    readings = rng.standard_normal((READINGS, *lead, streams, inputs)).astype(np.float32)
    truth = [_exact(chain, readings)]
    return [
        Runner(who, partial(make(chain), readings[0]), truth, answer=partial(_answers, make, chain, readings))
        for who, make in makers.items()
    ]


def _stepper(chain: Chain) -> Step:
    return Stepper(chain.cell, [tuple(chain.weights)], streams=chain.streams, scale=chain.scale, head=chain.head).step


def _answers(make: Callable[[Chain], Step], chain: Chain, readings: Array) -> list[Array]:
    """What somebody who knows of no reading yet says to each of them."""
    step = make(chain)
    return [np.stack([arrays([step(reading)])[0].copy() for reading in readings])]


def _exact(chain: Chain, readings: Array) -> Array:
    """The same by the equations, in float64."""
    weights = tuple(w.astype(np.float64)[:, None] if chain.lead else w.astype(np.float64) for w in chain.weights)
    (center, spread), (w, b) = chain.scale, chain.head
    h, told = np.zeros((PARTS[chain.cell], *readings.shape[1:-1], chain.hidden)), []
    for reading in readings.astype(np.float64):
        after = STEPS[chain.cell]((reading - center) / spread, h if len(h) > 1 else h[0], weights)  # type: ignore[arg-type]
        h = after if len(h) > 1 else after[None]
        told.append(h[0] @ w.swapaxes(-1, -2) + b[..., None, :])
    return np.stack(told)


def _layers(case: Case) -> tuple[Any, Any, Any, Any]:
    """Torch's layer and ours with the same weights, the input, and the gradient of the outputs."""
    torch = torch_or_error()
    batch, steps, inputs, hidden = case.shape
    size = {"num_layers": case.layers, "batch_first": True, "bidirectional": case.both_ways}
    theirs, ours = (getattr(home, KINDS[case.cell])(inputs, hidden, **size) for home in (torch.nn, nn))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours, torch.randn(batch, steps, inputs), torch.randn(batch, steps, hidden * (1 + case.both_ways))


def _weights(layer: Any) -> list[Array]:
    return arrays(layer.parameters())


def _truth(work: Callable[..., Any], layer: Any, x: Any, dy: Any, *more: Any) -> list[Array]:
    """The same by torch in float64."""
    found = arrays(work(layer.double(), x.double(), dy.double(), *more))
    layer.float()
    return found


def _trained(layer: Any, x: Any, dy: Any, lengths: Any = None) -> Any:
    y, _ = layer(x) if lengths is None else layer(x, lengths=lengths)
    return [y, *torch_or_error().autograd.grad((y * dy).sum(), list(layer.parameters()))]


def _packed(layer: Any, x: Any, dy: Any, lengths: Any) -> Any:
    torch = torch_or_error()
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])
    return [y, *torch.autograd.grad((y * dy).sum(), list(layer.parameters()))]


def _scored(layer: Any, x: Any) -> Any:
    with torch_or_error().inference_mode():
        return layer(x)[:1]


def arrays(found: Any) -> list[Array]:
    """NumPy's view of what any of them gave.

    >>> arrays([[1.0], (2.0, 3.0)])
    [array([1.]), array([2., 3.])]
    """
    return [np.asarray(part.detach() if hasattr(part, "detach") else part) for part in found]
