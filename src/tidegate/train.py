"""The fit loop: one generator that trains one model or many at once, yields a record an epoch, and outlives `kill -9`.

Many models are one run: everything has a leading axis of them, a single model is one without it. Each has its own rows,
rate, history, best weights and end; one that has stopped is taken out of the arithmetic. What a model draws depends on
the seed, its number and the epoch alone, so that it learns the same beside others as by itself, and a checkpoint at an
epoch's end needs no generator in it: a run that was killed and resumed has the same bits as one that was not (same
machine and torch; one thread).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import save
from .errors import DataError, MissingExtraError, ModelFileError, SettingError
from .settings import Epoch, Training

if TYPE_CHECKING:
    from torch import Tensor

    from .kernels.layers import Adam

Weights = dict[str, NDArray[np.float32]]
Rows = NDArray[np.int64]


@dataclass
class Problem:
    """What is to be learned: first weights, the rows where windows start, and the loss of a batch of windows.

    `loss(params, rows, noise)` gets the window starts (batch,) and a torch generator while training, None while
    validating. With `models`, all weights have a leading axis of them and one call is for all that still train: it gets
    weights (A, ...), rows (A, batch) and A generators, and answers A losses, none of which may depend on another model.
    """

    weights: Weights
    train_rows: Rows | Sequence[Rows]
    """for all models, or one array for each: the folds of a cross-validation, or stretches of one long array"""
    valid_rows: Rows | Sequence[Rows]
    loss: Callable[[dict[str, Tensor], NDArray[np.int64], Any], Tensor]
    identity: str  # anything that decides the result besides the settings: a resumed run must have the same
    models: Sequence[int] | None = None
    """a number for each model, from which it draws: range(5) for an ensemble, the same number for a fair comparison"""
    rates: Sequence[float] = ()
    """what Training.learning_rate is multiplied by, for each model; 1 if not given"""


@dataclass
class Fit:
    """A run of the loop: what it has so far. `weights` are the best by validation, of each model its own."""

    weights: Weights
    device: str = "cpu"
    histories: list[list[Epoch]] = field(default_factory=list)  # of each model; `seconds` are those of all together
    stops: list[str] = field(default_factory=list)  # why each model ended before its last epoch

    @property
    def history(self) -> list[Epoch]:
        """One record an epoch: of several models the mean over those that trained, `best` if it was of any."""
        longest = max(map(len, self.histories), default=0)
        return [_mean([h[epoch] for h in self.histories if epoch < len(h)]) for epoch in range(longest)]

    @property
    def stopped(self) -> str:
        """Why it ended before its last epoch; of several models, which did and why."""
        if len(self.stops) == 1:
            return self.stops[0]
        ended = ((n, why.replace("; ", ", ")) for n, why in enumerate(self.stops, 1) if why)
        return "; ".join(f"network {n} of {len(self.stops)}: {why}" for n, why in ended)


@dataclass
class _Active:
    """The models that still train, as one."""

    at: list[int]  # which of the problem's models
    names: list[str]
    adam: Adam  # their weights (A, ...) and moments, in the order of `names`
    alone: bool  # the problem's weights have no axis of models

    def params(self, some: Sequence[int] | None = None) -> dict[str, Tensor]:
        """The weights as the loss wants them; of all, they are the memory that training changes."""
        picked = [w[0] if self.alone else w if some is None else w[list(some)] for w in self.adam.weights]
        return {name: w.detach().requires_grad_() for name, w in zip(self.names, picked, strict=True)}


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

    >>> x = torch_or_error().linspace(-1, 1, 100)
    >>> def loss(params, rows, noise):  # of each model, on rows (models, batch) of its own
    ...     return ((params["slope"] * x[rows] - 3 * x[rows]) ** 2).mean(1)
    >>> rows, run = np.arange(100), Fit({})
    >>> first = {"slope": np.zeros((2, 1), np.float32)}
    >>> problem = Problem(first, rows[:80], rows[80:], loss, "a slope of 3", models=range(2), rates=(1.0, 0.1))
    >>> for epoch in fit(problem, Training(learning_rate=0.1), run, seed=0):
    ...     pass
    >>> run.weights["slope"].round().ravel().tolist()
    [3.0, 1.0]

    With `checkpoint`, the whole state is written there after each epoch; `resume=True` goes on from it and refuses one
    of another run. A loss that is no number ends the run, naming the model; `run` keeps what all had until then.
    """
    _check(problem)
    identity = _identity(problem, settings, seed, run.device)
    if resume and checkpoint is not None and checkpoint.exists():
        active = _restore(checkpoint, identity, problem, settings, run)
    else:
        active = _begin(problem, run)
    # Layers this small lose more by meeting than they win by sharing; and bits then never depend on it.
    with one_thread():
        for epoch in range(len(run.history), settings.epochs):
            if not active.at:
                break
            _epoch(problem, settings, active, run, seed, epoch)
            active = _going_on(active, run, settings.patience)
            if checkpoint is not None:
                _store(checkpoint, identity, active, run)
            yield run.history[-1]


def watch(epochs: Iterator[Epoch], run: Fit, on_epoch: Callable[[Epoch], None]) -> bool:
    """Train to the end, telling of each epoch; Ctrl-C, while training or while telling, keeps the best so far.

    Whether it came to the end.
    """
    try:
        for epoch in epochs:
            on_epoch(epoch)
        return True
    except KeyboardInterrupt:
        if not run.history:
            raise
        why = f"interrupted after epoch {run.history[-1].epoch + 1}; the best weights so far were kept"
        run.stops = [stop or why for stop in run.stops]
        return False


def _mean(records: list[Epoch]) -> Epoch:
    first, valid = records[0], [e.valid_loss for e in records if e.valid_loss is not None]
    return Epoch(
        first.epoch,
        fmean(e.train_loss for e in records),
        fmean(valid) if valid else None,
        fmean(e.learning_rate for e in records),
        first.seconds,
        any(e.best for e in records),
    )


# --- what is given --------------------------------------------------------------------------------------------------


def _count(problem: Problem) -> int:
    return 1 if problem.models is None else len(problem.models)


def _shared(rows: Rows | Sequence[Rows]) -> bool:
    return isinstance(rows, np.ndarray) and rows.ndim == 1


def _rows(rows: Any, model: int) -> Rows:
    found: Rows = rows if _shared(rows) else rows[model]
    return found


def _check(problem: Problem) -> None:
    """Refuse what is not for as many models as there are."""
    if not hasattr(problem.models or (), "__len__"):
        saw = f"models={problem.models}"
        raise SettingError(saw, wanted="a number for each, from which it draws", do=f"models=range({problem.models})")
    count, sizes = _count(problem), {"rates": len(problem.rates) or _count(problem)}
    for name, rows in (("train_rows", problem.train_rows), ("valid_rows", problem.valid_rows)):
        sizes[name] = count if _shared(rows) else len(rows)
    if problem.models is not None:
        sizes |= {f"weight {name}": len(w) if w.ndim else 0 for name, w in problem.weights.items()}
    for name, size in sizes.items():
        if size != count:
            raise DataError(f"{name} for {size} models", wanted=f"as many as there are: {count}")
    if not all(len(_rows(problem.train_rows, m)) for m in range(_count(problem))):
        raise DataError("no rows to train on", wanted="train_rows: where the windows start, for every model")
    for name, w in problem.weights.items():
        if not isinstance(w, np.ndarray) or w.dtype != np.float32:
            kind = w.dtype if isinstance(w, np.ndarray) else type(w).__name__
            raise DataError(f"weight {name} of type {kind}", wanted="a float32 array", do="np.asarray(w, np.float32)")
    if not all(0 < rate < math.inf for rate in problem.rates):
        raise DataError(f"rates of {list(problem.rates)}", wanted="more than 0, and finite")


def _begin(problem: Problem, run: Fit) -> _Active:
    from .kernels.layers import Adam

    torch, alone, count = torch_or_error(), problem.models is None, _count(problem)
    run.histories, run.stops = [[] for _ in range(count)], [""] * count
    weights = [torch.tensor(w[None] if alone else w, device=run.device) for w in problem.weights.values()]
    return _Active(list(range(count)), list(problem.weights), Adam(weights), alone)


# --- an epoch -------------------------------------------------------------------------------------------------------


def _epoch(problem: Problem, settings: Training, active: _Active, run: Fit, seed: int, epoch: int) -> None:
    """Train and judge all active models once; what they did and their best weights are in `run` afterwards."""
    began = time.perf_counter()
    batches, noise = _draws(problem, settings, active, seed, epoch)
    own = np.array([problem.rates[m] if len(problem.rates) else 1.0 for m in active.at])
    params, losses, rates = active.params(), [], own
    for batch in range(settings.batches):
        rates = own * learning_rate(settings, epoch * settings.batches + batch)
        losses.append(_update(problem, settings, active, params, (batches[:, batch], noise), rates))
    valid, records = _validate(problem, active, settings.batch * 4), {}
    for m, told, judged, rate in zip(active.at, zip(*losses, strict=True), valid, rates, strict=True):
        earlier = [e.valid_loss for e in run.histories[m] if e.valid_loss is not None]
        best = judged is None or not earlier or judged < min(earlier)
        records[m] = Epoch(epoch, float(np.mean(told)), judged, float(rate), time.perf_counter() - began, best)
    kept = _best(problem, active, run, [i for i, m in enumerate(active.at) if records[m].best])
    after = [h + ([records[m]] if m in records else []) for m, h in enumerate(run.histories)]
    run.weights, run.histories = kept, after  # both at the end: whoever interrupts an epoch keeps the one before


def _draws(
    problem: Problem, settings: Training, active: _Active, seed: int, epoch: int
) -> tuple[NDArray[np.int64], list[Any]]:
    """The rows (A, batches, batch) of an epoch, and a generator of noise for each model."""
    rows, noise, numbers = [], [], problem.models or (0,)
    for m in active.at:
        rng = np.random.default_rng([seed, epoch, numbers[m]])
        noise.append(torch_or_error().Generator().manual_seed(int(rng.integers(2**62))))
        rows.append(rng.choice(_rows(problem.train_rows, m), (settings.batches, settings.batch)))
    return np.stack(rows), noise


def _update(
    problem: Problem, settings: Training, active: _Active, params: dict[str, Tensor], given: Any, rates: Any
) -> list[float]:
    loss = _losses(problem, params, *given)
    told: list[float] = loss.detach().cpu().double().tolist()
    _refuse_no_numbers("training loss", told, active)
    found = torch_or_error().autograd.grad(loss.sum(), list(params.values()), allow_unused=True)
    grads = [g[None] if active.alone and g is not None else g for g in found]
    norms = active.adam.step(grads, rates, decay=settings.weight_decay, clip=settings.clip)
    _refuse_no_numbers("gradient", norms.tolist(), active)
    return told


def _losses(problem: Problem, params: dict[str, Tensor], rows: NDArray[np.int64], noise: Any) -> Tensor:
    """The loss of each model (A,), of which the problem knows nothing where it has one model without an axis."""
    alone = problem.models is None
    loss = problem.loss(params, rows[0] if alone else rows, noise[0] if alone and noise else noise)
    if loss.numel() != len(rows):
        raise DataError(f"a loss of shape {tuple(loss.shape)}", wanted=f"{len(rows)} numbers, one for each model")
    return loss.reshape(-1)


def _refuse_no_numbers(what: str, values: list[float], active: _Active) -> None:
    for m, value in zip(active.at, values, strict=True):
        if not math.isfinite(value):
            whose = "" if active.alone else f" of model {m}"
            raise DataError(
                f"the {what}{whose} became {value}", wanted="a finite one", do="lower Training.learning_rate"
            )


def _validate(problem: Problem, active: _Active, size: int) -> list[float | None]:
    """The mean loss of each model on its rows; None where it has none: nothing to stop by, the last are best."""
    rows, total = [_rows(problem.valid_rows, m) for m in active.at], np.zeros(len(active.at))
    with torch_or_error().no_grad():
        for first in range(0, max(map(len, rows)), size):
            parts = [r[first : first + size] for r in rows]
            for length in {len(part) for part in parts} - {0}:  # where folds differ, their last parts do
                some = [i for i, part in enumerate(parts) if len(part) == length]
                params = active.params(None if len(some) == len(parts) else some)
                losses = _losses(problem, params, np.stack([parts[i] for i in some]), None)
                total[some] += length * losses.cpu().double().numpy()
    found = [float(t / len(r)) if len(r) else None for t, r in zip(total, rows, strict=True)]
    _refuse_no_numbers("validation loss", [0.0 if loss is None else loss for loss in found], active)
    return found


def _best(problem: Problem, active: _Active, run: Fit, better: list[int]) -> Weights:
    """The best weights of all models, now that some are better than before."""
    kept, at = {}, [active.at[i] for i in better]
    for name, now in zip(active.names, active.adam.weights, strict=True):
        kept[name] = np.array((run.weights or problem.weights)[name])
        (kept[name][None] if active.alone else kept[name])[at] = now[better].cpu().numpy()
    return kept


def _going_on(active: _Active, run: Fit, patience: int) -> _Active:
    """The models that are to go on; the others are told why not."""
    run.stops = [why or _enough(h, patience) for why, h in zip(run.stops, run.histories, strict=True)]
    kept = [i for i, m in enumerate(active.at) if not run.stops[m]]
    if len(kept) == len(active.at):
        return active
    return _Active([active.at[i] for i in kept], active.names, active.adam.only(kept), active.alone)


def _enough(history: list[Epoch], patience: int) -> str:
    best = max(e.epoch for e in history if e.best)
    waited = history[-1].epoch - best
    return f"no better validation loss for {waited} epochs; the best was epoch {best + 1}" if waited >= patience else ""


# --- checkpoints ----------------------------------------------------------------------------------------------------

IDENTITY = {
    "settings": "the task, or the size and length of its training,",
    "models": "how many networks learn",
    "rates": "how fast they learn",
    "problem": "what is learned from, rows, channels or settings,",
    "weights": "the network",
}
"""what must be the same in a run that is resumed, as people call it"""
NAMED = ("seed", "device", "torch")  # of these the values say something
RECORD = ("train_loss", "valid_loss", "learning_rate", "seconds", "best")
KINDS = ("now", "mean", "square")  # what is kept of the models that still train; of all: the best weights


def _identity(problem: Problem, settings: Training, seed: int, device: str) -> dict[str, Any]:
    """What must be equal for a resumed run to have the bits of one that was never stopped."""
    torch = torch_or_error()
    weights = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in problem.weights.values())).hexdigest()
    plain = {"seed": seed, "device": device, "settings": msgspec.to_builtins(settings), "torch": torch.__version__}
    plain["models"] = None if problem.models is None else list(problem.models)
    plain["rates"] = [float(rate) for rate in problem.rates]
    return {**plain, "problem": problem.identity, "weights": weights}  # what a user can name comes first


def _store(path: Path, identity: dict[str, Any], active: _Active, run: Fit) -> None:
    adam, epochs = active.adam, len(run.history)
    arrays: dict[str, Any] = {f"best/{name}": w for name, w in run.weights.items()}
    for kind, tensors in zip(KINDS, (adam.weights, adam.means, adam.squares), strict=True):
        arrays |= {f"{kind}/{name}": t.cpu().numpy() for name, t in zip(active.names, tensors, strict=True)}
    # Records are no part of the specification, which is short: there may be many models.
    arrays["records"] = np.zeros((len(run.histories), epochs, len(RECORD)))
    for m, history in enumerate(run.histories):
        arrays["records"][m, : len(history)] = [[getattr(e, name) or 0.0 for name in RECORD] for e in history]
    arrays["epochs"] = np.array([len(history) for history in run.histories])
    arrays["judged"] = np.array([history[0].valid_loss is not None for history in run.histories])
    save.write(path, "checkpoint", {"identity": identity, "epochs": epochs, "active": active.at}, arrays)


def _restore(path: Path, identity: dict[str, Any], problem: Problem, settings: Training, run: Fit) -> _Active:
    """The models that still trained when the checkpoint was written; `run` as it was then."""
    from .kernels.layers import Adam

    torch, file = torch_or_error(), save.open_file(path, "checkpoint")
    epochs, at = _progress(file, identity, _count(problem))
    alone, count = problem.models is None, _count(problem)
    table: dict[str, Any] = {"records": ((count, epochs, len(RECORD)), "float64")}
    table |= {"epochs": ((count,), "int64"), "judged": ((count,), "bool")}
    for name, w in problem.weights.items():
        now = (len(at), *(w.shape if alone else w.shape[1:]))
        table |= {f"best/{name}": (w.shape, "float32"), **{f"{kind}/{name}": (now, "float32") for kind in KINDS}}
    arrays = file.arrays(table)
    run.histories = _histories(arrays)
    run.stops = [_enough(history, settings.patience) for history in run.histories]
    run.weights = {name: arrays[f"best/{name}"].copy() for name in problem.weights}
    names = list(problem.weights)
    weights, means, squares = (
        [torch.tensor(arrays[f"{kind}/{name}"], device=run.device) for name in names] for kind in KINDS
    )
    return _Active(at, names, Adam(weights, means, squares, np.full(len(at), epochs * settings.batches)), alone)


def _progress(file: save.File, identity: dict[str, Any], count: int) -> tuple[int, list[int]]:
    """How many epochs a checkpoint has and which models still trained, if it is of this run."""
    theirs, epochs, at = (file.spec.get(name) for name in ("identity", "epochs", "active"))
    where, afresh = str(file.path), "start afresh without --resume"
    if not isinstance(theirs, dict) or not isinstance(epochs, int) or not isinstance(at, list):
        saw = f"a checkpoint of an earlier tidegate ({file.library}), which kept other things"
        raise ModelFileError(saw, where=where, do=f"{afresh}, or go on with that version")
    for name, ours in identity.items():
        if theirs.get(name) != ours:
            values = f"{theirs.get(name)}, here {ours}" if isinstance(ours, int | str) and name in NAMED else "another"
            saw = f"the checkpoint is of another run: {IDENTITY.get(name, name)} is {values}"
            raise ModelFileError(saw, where=where, do=f"{afresh}, or give what that run was given")
    if at != [m for m in range(count) if m in at] or epochs < 1:
        raise ModelFileError(f"models {at[:12]} of {count} still train after {epochs} epochs", where=where, do=afresh)
    return epochs, at


def _histories(arrays: dict[str, Any]) -> list[list[Epoch]]:
    found: list[list[Epoch]] = []
    for records, epochs, judged in zip(arrays["records"], arrays["epochs"], arrays["judged"], strict=True):
        lines = enumerate(records[: max(1, epochs)].tolist())
        found.append([Epoch(i, t, v if judged else None, rate, took, bool(b)) for i, (t, v, rate, took, b) in lines])
    return found
