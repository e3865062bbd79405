"""How the classifier learns: several models at once, each without some of the rows, which tell how good it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import chance, train
from ..settings import Epoch, Training
from ..train import Fit, Problem
from . import whole
from .judged import Judged, parted
from .whole import Form

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Against = dict[str, tuple[float, float]]  # of each baseline
MODELS = 5  # of the ensemble, and folds: each row is held out from one
ENOUGH = 8  # held-out rows of a model that are worth stopping by
LATE = 0.1  # share of its length by which a training sequence may begin later
STRETCH = 0.1  # standard deviation of the scale of a training sequence
DOUBT = 0.1  # share of a training label that goes to all classes alike (Szegedy et al. 2016): nobody need be quite sure
HIDDEN = 0.02  # share of the readings hidden while training


class Parts(msgspec.Struct, frozen=True):
    """Which rows (of the training data) serve what, for each model: no row is in two of the three."""

    train: list[NDArray[np.int64]]
    stop: list[NDArray[np.int64]]
    """ends training, and sets the temperature; empty where rows are few"""
    judge: list[NDArray[np.int64]]
    """chose nothing; these tell whether the labels can be predicted"""


def parts(y: NDArray[np.int64], seed: int) -> Parts:
    """Folds in which each class has its share: a model learns from all rows but one fold.

    >>> found = parts(np.repeat([0, 1], 100), seed=0)
    >>> [len(part[0]) for part in (found.train, found.stop, found.judge)]
    [160, 20, 20]
    """
    rng = np.random.default_rng([seed, 1])
    order = np.lexsort((rng.random(len(y)), y))  # class by class, shuffled within
    fold = np.empty(len(y), dtype=np.int64)
    fold[order] = (np.arange(len(y)) + rng.integers(MODELS)) % MODELS
    turn = np.empty(len(y), dtype=np.int64)
    turn[order] = np.arange(len(y)) // MODELS % 2  # every second row of a class in a fold
    few = len(y) < 2 * MODELS * ENOUGH
    rows, models = np.arange(len(y)), range(MODELS)
    stop = [rows[(fold == m) & (turn == 0) & (not few)] for m in models]
    return Parts([rows[fold != m] for m in models], stop, [np.setdiff1d(rows[fold == m], stop[m]) for m in models])


@dataclass(frozen=True)
class Data:
    """What is learned from: readings and mask x (N, T, 2C), lengths (N,), class numbers y (N,), a weight a class."""

    x: NDArray[np.float32]
    lengths: NDArray[np.int64]
    y: NDArray[np.int64]
    weights: Floats

    def digest(self) -> str:
        """A short name of the content."""
        parts = (self.x, self.lengths, self.y, self.weights)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def problem(data: Data, form: Form, used: Parts, training: Training, seed: int, device: str) -> Problem:
    """What `train.fit` is to learn: the labels, each class counting by its weight, by each model from its own rows."""
    first = [whole.init(form, np.random.default_rng([seed, m])) for m in range(MODELS)]
    return Problem(
        {name: np.stack([one[name] for one in first]) for name in first[0]},
        used.train,
        used.stop,
        _Loss(data, form, training, device),
        data.digest() + msgspec.json.encode(form).decode(),
        models=range(MODELS),
    )


class _Loss:
    """The loss of a batch of sequences, for all models at once; callable as `train.Problem` wants it."""

    def __init__(self, data: Data, form: Form, training: Training, device: str) -> None:
        self.torch = train.torch_or_error()
        self.x, self.lengths, self.y = (
            self.torch.tensor(part, device=device) for part in (data.x, data.lengths, data.y)
        )
        self.weights = self.torch.tensor(data.weights, dtype=self.torch.float32, device=device)
        self.form = form
        # noise as strong as steps are: what is smooth is told apart by what white noise would drown
        self.noise = training.noise * self.torch.tensor(form.rough, dtype=self.torch.float32, device=device).clamp(
            max=1
        )

    def __call__(self, params: dict[str, Tensor], rows: NDArray[np.int64], generators: Any) -> Tensor:
        at = self.torch.as_tensor(rows, device=self.x.device)
        x, lengths, y = self.x[at], self.lengths[at], self.y[at]
        if generators is None:
            logits = whole.forward(params, self.form, x, lengths)
        else:
            x, lengths = self._varied(x, lengths, generators)
            logits = whole.forward(params, self.form, x, lengths, lambda h: self._dropped(h, generators))
        logs = logits.log_softmax(-1)
        chance = logs.gather(-1, y[..., None])[..., 0]
        if generators is not None:
            chance = (1 - DOUBT) * chance + DOUBT * logs.mean(-1)
        weight = self.weights[y]
        loss: Tensor = -(chance * weight).sum(-1) / weight.sum(-1)
        return loss

    def _varied(self, x: Tensor, lengths: Tensor, generators: Any) -> tuple[Tensor, Tensor]:
        """The same sequences as they might have been: begun later, of another scale, noisy, with readings missing.

        Nothing is cut off, which might have been what the label is about.
        """
        torch, c, steps = self.torch, self.form.channels, x.shape[-2]
        late = (lengths * LATE * self._random("rand", lengths.shape, generators)).ceil().long()
        total = int((lengths + late).max())
        at = torch.arange(total, device=x.device) - late[..., None]
        there = ((at >= 0) & (at < steps))[..., None]
        x = x.gather(-2, at.clamp(0, steps - 1)[..., None].expand(*at.shape, x.shape[-1])) * there
        z, seen = x[..., :c], x[..., c:]
        seen = seen * (self._random("rand", seen.shape, generators) >= HIDDEN)
        scale = 1 + STRETCH * self._random("randn", (*z.shape[:-2], 1, c), generators)
        z = (z * scale + self.noise * self._random("randn", z.shape, generators)) * seen
        return torch.cat([z, seen], dim=-1), lengths + late

    def _dropped(self, h: Tensor, generators: Any) -> Tensor:
        rate = self.form.net.dropout
        kept: Tensor = self._random("rand", h.shape, generators) >= rate
        return h * kept / (1 - rate)

    def _random(self, kind: str, shape: Any, generators: Any) -> Any:
        # drawn on the processor, each model by its own generator: the numbers depend on the seed alone
        drawn = self.torch.empty(tuple(shape))
        for one, generator in zip(drawn, generators, strict=True):
            getattr(self.torch, kind)(tuple(shape[1:]), generator=generator, out=one)
        return drawn.to(self.x.device)


# --- what the held-out rows say -------------------------------------------------------------------------------------


def temperature(logits: Floats, y: NDArray[np.int64]) -> float:
    """What to divide logits (N, classes) by so that probabilities are most likely true (Guo et al. 2017); 1 if N is 0.

    >>> sure = np.array([[9.0, 0.0]] * 10)
    >>> temperature(sure, np.array([0] * 9 + [1])) > 2, temperature(sure[:0], np.zeros(0, int))
    (True, 1.0)

    Between a quarter and 4: few rows that are all right would make it endlessly small.
    """
    if not len(y):
        return 1.0
    above = logits - logits.max(axis=1, keepdims=True)

    def loss(power: float) -> float:
        shares = above / np.exp(power)
        told = shares[np.arange(len(y)), y] - np.log(np.exp(shares).sum(axis=1))
        return -float(told.mean())

    powers = np.linspace(-np.log(4), np.log(4), 129)
    return float(np.exp(powers[int(np.argmin([loss(power) for power in powers]))]))


def told(used: Parts, data: Data, logits: list[Floats], heat: float) -> Judged:
    """What each model says of the rows that chose nothing, from its logits for them and the temperature `heat`."""
    rows, every = np.concatenate(used.judge), np.concatenate(logits) / heat
    powers = np.exp(every - every.max(axis=1, keepdims=True))
    return Judged(rows, data.y[rows], every.argmax(axis=1), powers.max(axis=1) / powers.sum(axis=1))


def verdict(used: Parts, judged: Judged, seed: int) -> chance.Chance:
    """Whether the labels can be predicted: a test for each model, on its own rows."""
    ends = np.cumsum([len(rows) for rows in used.judge])[:-1]
    return chance.judge(np.split(judged.truth, ends), np.split(judged.said, ends), seed=seed)


def rivals(used: Parts, data: Data, judged: Judged) -> tuple[dict[str, float], Against]:
    """The baselines' accuracies on the same rows, and how likely chance gains as much over them, and loses as much."""
    near = [nearest(data, *rows) for rows in zip(used.train, used.judge, strict=True)]
    largest = np.full_like(judged.truth, np.bincount(judged.truth).argmax())
    return compared(judged.truth, judged.said, {"largest class": largest, "nearest sequence": np.concatenate(near)})


def compared(
    truth: NDArray[np.int64], said: NDArray[np.int64], rules: dict[str, NDArray[np.int64]]
) -> tuple[dict[str, float], Against]:
    """The accuracy of each rule, and what `chance.signed` says of ours beside it; all are class numbers (N,)."""
    right, hits = said == truth, {name: one == truth for name, one in rules.items()}
    against = {name: chance.signed(right.astype(int) - hit) for name, hit in hits.items()}
    return {name: float(hit.mean()) for name, hit in hits.items()}, against


def beside(accuracy: float, rivals: dict[str, float], against: Against) -> str:
    """Whether the network names more right than every baseline, in a sentence.

    >>> beside(0.9, {"largest class": 0.5, "nearest sequence": 0.88}, {"nearest sequence": (0.4, 0.8)})
    'no better than a simple rule, as far as ... can tell: nearest sequence 88.0 % of sequences right, the network ...'
    """
    name, best = max(rivals.items(), key=lambda item: item[1])
    figures = (f"{100 * accuracy:.1f} %", f"{100 * best:.1f} %")
    sides = chance.margin(rivals, name, against)
    return chance.beside("the network", figures, "of sequences right", name, sides)


def nearest(data: Data, known: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of the known row with the smallest Euclidean distance (1NN), readings and mask side by side."""
    flat = data.x.reshape(len(data.x), -1)
    squares = (flat[known].astype(np.float64) ** 2).sum(axis=1)
    apart = squares - 2.0 * (flat[rows] @ flat[known].T)
    found: NDArray[np.int64] = data.y[known[apart.argmin(axis=1)]]
    return found


def notes(run: Fit, unstopped: bool, verdict: chance.Chance, compared: str) -> list[str]:
    """What to tell: how the losses parted and what was done, why training ended, who was better, what labels are."""
    found = [str(verdict)]
    if unstopped:
        found.append("too few rows to stop training by: it ran its whole course, and probabilities are not calibrated")
    found += [parted for parted in [overfitting(run.histories)] if parted]
    return found if compared.startswith(chance.WON) else [*found, compared]


def overfitting(histories: list[list[Epoch]]) -> str:
    """A sentence on models whose validation loss rose while their training loss fell on; empty if none did."""
    ends = []
    for history in histories:
        if (at := parted(history)) is not None:
            best, last = history[at], history[-1]
            ends.append((at, best.train_loss, last.train_loss, best.loss, last.loss))
    if not ends:
        return ""
    epoch, *losses = np.median(ends, axis=0)
    a, b, c, d = (f"{loss:.3g}" for loss in losses)
    said = (
        f"after epoch {epoch + 1:.0f} the training loss fell from {a} to {b}, the validation loss rose from {c} to {d}"
    )
    return f"overfitting in {len(ends)} of {len(histories)} models: {said}; the weights of that epoch were kept"
