"""The fit loop: one generator that yields a record an epoch, keeps the best weights, and can go on after `kill -9`.

Every epoch draws from random numbers that only the seed and the epoch's number decide, so a checkpoint at an epoch's
end needs no generator in it: a run that was killed and resumed has the same bits as one that was not (same machine
and torch; one thread).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import save
from .errors import DataError, MissingExtraError, ModelFileError, SettingError
from .settings import Epoch, Training

if TYPE_CHECKING:
    from torch import Tensor

Weights = dict[str, NDArray[np.float32]]


@dataclass
class Problem:
    """What is to be learned: first weights, the rows where windows start, and the loss of a batch of windows.

    `loss(params, rows, noise)` gets the window starts (batch,) and a torch generator while training, None while
    validating.
    """

    weights: Weights
    train_rows: NDArray[np.int64]
    valid_rows: NDArray[np.int64]
    loss: Callable[[dict[str, Tensor], NDArray[np.int64], Any], Tensor]
    identity: str  # anything that decides the result besides the settings: a resumed run must have the same


@dataclass
class Fit:
    """A run of the loop: what it has so far. `weights` are the best by validation."""

    weights: Weights
    history: list[Epoch] = field(default_factory=list)
    stopped: str = ""  # why it ended before its last epoch
    device: str = "cpu"


def device(wanted: str = "auto") -> str:
    """The device that training will use: "auto" takes a GPU where torch sees one."""
    torch = torch_or_error()
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(torch.empty(0, device=wanted).device)
    except (RuntimeError, AssertionError) as error:  # an AssertionError where torch was built without CUDA
        saw = f"device {wanted!r} cannot be used: {str(error).splitlines()[0]}"
        raise SettingError(saw, wanted="auto, cpu, or a device that torch sees here", do='device="auto"') from None


def torch_or_error() -> Any:
    """The torch module; without it, an error that says how to get it."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError.of("torch", "train") from None
    return torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside, and as it was afterwards."""
    torch = torch_or_error()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def learning_rate(settings: Training, step: int) -> float:
    """One cycle: up over the first 30 % of the steps, down to almost nothing by the last (Smith & Topin 2018).

    >>> round(learning_rate(Training(epochs=1, batches=10, learning_rate=1.0), 3), 3)
    1.0
    """
    total = settings.epochs * settings.batches
    rise = 0.3 * total
    if step < rise:
        return settings.learning_rate * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / rise)))
    return settings.learning_rate * max(1e-4, 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise))))


def fit(
    problem: Problem, settings: Training, run: Fit, *, seed: int, checkpoint: Path | None = None, resume: bool = False
) -> Iterator[Epoch]:
    """Train, yielding one record an epoch; `run` holds the best weights and the history at any moment.

    With `checkpoint`, the whole state is written there after each epoch; `resume=True` goes on from it and refuses one
    of another run.
    """
    torch = torch_or_error()
    params = {name: torch.tensor(w, device=run.device, requires_grad=True) for name, w in problem.weights.items()}
    adam = torch.optim.AdamW(params.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    identity = _identity(problem, settings, seed, run.device)
    if resume and checkpoint is not None and checkpoint.exists():
        _restore(checkpoint, identity, params, adam, run)
    # Layers this small lose more by meeting than they win by sharing; and bits then never depend on it.
    with one_thread():
        while len(run.history) < settings.epochs and not run.stopped:
            run.history.append(_epoch(problem, settings, params, adam, run, seed))
            run.stopped = _enough(run.history, settings.patience)
            if checkpoint is not None:
                _store(checkpoint, identity, params, adam, run)
            yield run.history[-1]


def watch(epochs: Iterator[Epoch], run: Fit, on_epoch: Callable[[Epoch], None]) -> None:
    """Train to the end, telling of each epoch; Ctrl-C, while training or while telling, keeps the best so far."""
    try:
        for epoch in epochs:
            on_epoch(epoch)
    except KeyboardInterrupt:
        if not run.history:
            raise
        run.stopped = f"interrupted after epoch {run.history[-1].epoch}; the best weights so far were kept"


def _epoch(problem: Problem, settings: Training, params: dict[str, Tensor], adam: Any, run: Fit, seed: int) -> Epoch:
    torch, began, epoch = torch_or_error(), time.perf_counter(), len(run.history)
    rng = np.random.default_rng([seed, epoch])
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    losses, rate = [], 0.0
    for batch in range(settings.batches):
        rate = learning_rate(settings, epoch * settings.batches + batch)
        rows = rng.choice(problem.train_rows, settings.batch)
        losses.append(_update(problem.loss(params, rows, noise), params, adam, rate, settings.clip))
    valid = _validate(problem, params, settings.batch * 4)
    earlier = [e.valid_loss for e in run.history if e.valid_loss is not None]
    best = valid is None or not earlier or valid < min(earlier)
    if best:
        run.weights = {name: p.detach().cpu().numpy().copy() for name, p in params.items()}
    return Epoch(epoch, float(np.mean(losses)), valid, rate, time.perf_counter() - began, best)


def _update(loss: Tensor, params: dict[str, Tensor], adam: Any, rate: float, clip: float) -> float:
    torch = torch_or_error()
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(params.values(), clip)
    for group in adam.param_groups:
        group["lr"] = rate
    adam.step()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DataError(f"the training loss became {value}", wanted="a finite loss", do="lower Training.learning_rate")
    return value


def _validate(problem: Problem, params: dict[str, Tensor], batch: int) -> float | None:
    rows = problem.valid_rows
    if not len(rows):
        return None  # nothing to stop by: the last weights are the best
    with torch_or_error().no_grad():
        parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
        return float(
            np.average([float(problem.loss(params, part, None)) for part in parts], weights=[len(p) for p in parts])
        )


def _enough(history: list[Epoch], patience: int) -> str:
    best = max(e.epoch for e in history if e.best)
    waited = history[-1].epoch - best
    return f"no better validation loss for {waited} epochs; the best was epoch {best}" if waited >= patience else ""


def _identity(problem: Problem, settings: Training, seed: int, device: str) -> dict[str, Any]:
    """What must be equal for a resumed run to have the bits of one that was never stopped."""
    torch = torch_or_error()
    weights = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in problem.weights.values())).hexdigest()
    plain = {"seed": seed, "device": device, "settings": msgspec.to_builtins(settings), "torch": torch.__version__}
    return {**plain, "problem": problem.identity, "weights": weights}  # what a user can name comes first


def _store(path: Path, identity: dict[str, Any], params: dict[str, Tensor], adam: Any, run: Fit) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name, p in params.items():
        moments = adam.state[p]
        arrays |= {f"now/{name}": p.detach().cpu().numpy(), f"best/{name}": run.weights[name]}
        arrays |= {
            f"mean/{name}": moments["exp_avg"].cpu().numpy(),
            f"square/{name}": moments["exp_avg_sq"].cpu().numpy(),
        }
        steps = int(moments["step"])
    spec = {"identity": identity, "history": msgspec.to_builtins(run.history), "stopped": run.stopped, "steps": steps}
    save.write(path, "checkpoint", spec, arrays)


def _restore(path: Path, identity: dict[str, Any], params: dict[str, Tensor], adam: Any, run: Fit) -> None:
    torch, file = torch_or_error(), save.open_file(path, "checkpoint")
    theirs = file.spec.get("identity", {})
    for name, ours in identity.items():
        if theirs.get(name) != ours:
            raise ModelFileError(
                f"the checkpoint is of another run: {name} is {theirs.get(name)!r}, here {ours!r}",
                where=str(path),
                do="start afresh without --resume, or give what that run was given",
            )
    kinds = ("now", "best", "mean", "square")
    arrays = file.arrays(
        {f"{kind}/{name}": (tuple(p.shape), "float32") for kind in kinds for name, p in params.items()}
    )
    run.history = msgspec.convert(file.spec["history"], list[Epoch])
    run.stopped = file.spec["stopped"]
    run.weights = {name: arrays[f"best/{name}"].copy() for name in params}
    for name, p in params.items():
        p.data = torch.tensor(arrays[f"now/{name}"], device=p.device)
        moments = {"exp_avg": torch.tensor(arrays[f"mean/{name}"], device=p.device)}
        moments["exp_avg_sq"] = torch.tensor(arrays[f"square/{name}"], device=p.device)
        adam.state[p] = {"step": torch.tensor(float(file.spec["steps"])), **moments}
