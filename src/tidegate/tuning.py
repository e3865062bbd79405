"""How every task trains, and with `fit(tune=True)` the sweep: which width and which learning rate suit.

Learning rates stand side by side on the model axis, all on the same batches; widths, whose shapes differ, come one
after the other. What picks are the rows that stop training anyway: none that calibrates or judges is looked at, so that
what the task says of itself afterwards stays as true as before. The model that is kept is the one that training with
that setting and no other beside it gives; to a rounding error, since what torch's products say of a model may depend on
where in memory its numbers lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import train
from .errors import DataError
from .settings import Epoch, Network, Training, Tried
from .train import Fit, Problem

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS, RATES = (1.0, 0.5, 2.0), (1.0, 1 / 3, 3.0)  # of the usual units and learning rate, which come first
Make = Callable[[Network, str], Problem]


@dataclass
class Learned:
    """How training ended: the network that was chosen, its run, and what else was tried."""

    net: Network
    run: Fit
    tried: list[Tried] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def learn(
    task: Any,
    make: Make,
    net: Network,
    training: Training,
    *,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    tune: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Learned:
    """Train what `make(net, device)` poses; with `tune`, with the units and the rate that validation picks.

    The task says `seed` and `device`. A sweep keeps a checkpoint of each width, in files beside `checkpoint`;
    interrupted (Ctrl-C), it picks from what it has.
    """
    device, path = train.device(task.device), Path(checkpoint) if checkpoint else None
    problem = make(net, device)
    if not tune or not _judged(problem):
        run = Fit({}, device=device)
        train.watch(train.fit(problem, training, run, seed=task.seed, checkpoint=path, resume=resume), run, on_epoch)
        few = "tune: too little history to choose by validation; trained with the usual settings"
        return Learned(net, run, notes=[few] * tune)
    sweep = _Sweep(net, training, task.seed, device, path, resume, on_epoch)
    units = dict.fromkeys(max(1, round(net.hidden * width)) for width in WIDTHS)
    for hidden in units:
        own = msgspec.structs.replace(net, hidden=hidden)
        if not sweep.width(problem if own == net else make(own, device), own):
            break
    return sweep.chosen()


def _judged(problem: Problem) -> bool:
    """Whether every model has rows that tell how good it is."""
    rows = problem.valid_rows
    parts = [rows] if isinstance(rows, np.ndarray) and rows.ndim == 1 else rows
    return all(len(part) for part in parts)


@dataclass
class _Sweep:
    """What was tried so far."""

    net: Network
    training: Training
    seed: int
    device: str
    path: Path | None
    resume: bool
    on_epoch: Callable[[Epoch], None]
    tried: list[Tried] = field(default_factory=list)
    runs: list[tuple[Network, Fit]] = field(default_factory=list)  # of those tried that came to an end

    def width(self, problem: Problem, net: Network) -> bool:
        """Train one width at every rate; False if it was interrupted.

        A rate that is too fast ends in numbers that are none: it is left out, and the others, which do not depend on
        who is beside them, are trained again.
        """
        rates: tuple[float, ...] = RATES
        while rates:
            run, path = Fit({}, device=self.device), self.path
            if path is not None:
                path = path.with_name(f"{path.name}.{net.hidden}x{len(rates)}")
            epochs = train.fit(
                _side_by_side(problem, rates), self.training, run, seed=self.seed, checkpoint=path, resume=self.resume
            )
            try:
                done = self._watched(epochs, run)
            except DataError:
                if len(rates) == 1 and not self.runs:
                    raise
                self._note(net, max(rates), None, 0)
                rates = tuple(rate for rate in rates if rate != max(rates))
                continue
            for rate, own in zip(rates, _apart(run, len(rates), problem.models is None), strict=bool(run.histories)):
                self._note(net, rate, _best(own), max(map(len, own.histories)))
                self.runs.append((net, own))
            return done
        return True

    def _watched(self, epochs: Iterator[Epoch], run: Fit) -> bool:
        try:
            return train.watch(epochs, run, self.on_epoch)
        except KeyboardInterrupt:  # before this width's first epoch
            if not self.runs:
                raise
            run.histories = []
            return False

    def _note(self, net: Network, rate: float, loss: float | None, epochs: int) -> None:
        self.tried.append(Tried(net.hidden, self.training.learning_rate * rate, loss, epochs, False))

    def chosen(self) -> Learned:
        """The one with the smallest validation loss, the usual one if it is as good."""
        ended = [i for i, one in enumerate(self.tried) if one.valid_loss is not None]
        at = min(ended, key=lambda i: self.tried[i].valid_loss or 0.0)
        self.tried[at] = best = msgspec.structs.replace(self.tried[at], chosen=True)
        usual = (self.net.hidden, self.training.learning_rate)
        known = [t.valid_loss for t in self.tried if (t.hidden, t.learning_rate) == usual]
        said = f"tune: {best.hidden} units at a learning rate of {best.learning_rate:.3g} were the best of "
        said += f"{len(self.tried)} settings on validation rows (loss {best.valid_loss:.4g}"
        asked = f"; the usual {usual[0]} at {usual[1]:.3g}: " + (f"{known[0]:.4g}" if known[0] is not None else "none")
        net, run = self.runs[ended.index(at)]
        return Learned(
            net, run, self.tried, [said + ("" if (best.hidden, best.learning_rate) == usual else asked) + ")"]
        )


def _best(run: Fit) -> float:
    """The validation loss of the weights that are kept: of several models, the mean."""
    return fmean(min(epoch.loss for epoch in history) for history in run.histories)


def _side_by_side(problem: Problem, rates: tuple[float, ...]) -> Problem:
    """The problem once for each rate: the same models again, drawing the same, on the same rows."""
    alone, n = problem.models is None, len(rates)
    numbers = [0] if problem.models is None else list(problem.models)
    own = problem.rates if len(problem.rates) else [1.0] * len(numbers)

    def again(rows: Any) -> Any:
        return rows if isinstance(rows, np.ndarray) and rows.ndim == 1 else [*rows] * n

    return Problem(
        {name: np.concatenate([w[None] if alone else w] * n) for name, w in problem.weights.items()},
        again(problem.train_rows),
        again(problem.valid_rows),
        _Each(problem.loss) if alone else problem.loss,
        problem.identity,
        numbers * n,
        [rate * other for rate in rates for other in own],
    )


def _apart(run: Fit, count: int, alone: bool) -> Iterator[Fit]:
    """The runs of `count` settings, which were one; of a problem without the axis of models again without it."""
    size = len(run.histories) // count
    for first in range(0, size * count, size or 1):
        at = slice(first, first + size)
        weights = {name: w[first] if alone else w[at] for name, w in run.weights.items()}
        yield Fit(weights, run.device, run.histories[at], run.stops[at])


class _Each:
    """The loss of a problem without the axis of models, for several models one after the other."""

    def __init__(self, loss: Callable[[dict[str, Tensor], NDArray[np.int64], Any], Tensor]) -> None:
        self.loss = loss

    def __call__(self, params: dict[str, Tensor], rows: NDArray[np.int64], noise: Any) -> Tensor:
        torch, parts = train.torch_or_error(), {name: w.unbind() for name, w in params.items()}
        # copies: where weights lie in memory must not decide in which order a library adds
        ours = [{name: part[i].clone() for name, part in parts.items()} for i in range(len(rows))]
        losses = [self.loss(own, rows[i], noise and noise[i]) for i, own in enumerate(ours)]
        found: Tensor = torch.stack([loss.reshape(()) for loss in losses])
        return found
