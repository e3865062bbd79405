"""How the tagger learns: which rows serve what, windows with a run-up, and what the held-out rows say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import chance, network, train
from ..errors import DataError
from ..settings import Training
from ..train import Problem
from . import steps
from .steps import Form

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
LENGTH = 256  # rows of a training window at most
RUN_UP = 32  # its first rows, which fill memory and are not judged; and its last, where memory comes from there too
COLD = 0.1  # share of the windows that begin where a sequence does, at least
HIDDEN = 0.02  # share of the readings hidden while training
FEW = 8  # sequences, from which on whole ones are held out; else the later rows of each
ROWS = 64  # rows to learn from, at least
WITNESSES = 20  # held-out sequences that can tell labels from chance
TRAIN, VALID, JUDGE = 0, 1, 2
PARTS = ("train", "valid", "judge")


@dataclass(frozen=True)
class Data:
    """What is learned from, all sequences one after the other.

    x       readings and mask (R, 2C)
    y       class numbers (R,), -1 = not known; or scaled targets (R, K), NaN = not known
    begin   rows at which memory begins anew, row 0 among them
    part    (R,) what each row serves: TRAIN, VALID or JUDGE
    weight  of each class
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    begin: Numbers
    part: NDArray[np.int8]
    weight: Floats

    def digest(self) -> str:
        """A short name of the content."""
        parts = (self.x, self.y, self.begin, self.part, self.weight)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def split(sizes: Sequence[int], main: Numbers, held_out: float, seed: int) -> NDArray[np.int8]:
    """What each row of sequences of these sizes serves (R,): half of what is held out ends training, half judges.

    >>> split([80], np.zeros(1, int), 0.25, 0).tolist() == [0] * 60 + [1] * 10 + [2] * 10
    True

    One sequence, or few: the later rows of each. From FEW on: whole sequences, those of a main class in turn.
    """
    total, half = int(sum(sizes)), held_out / 2
    if total < ROWS:
        raise DataError(f"{total} rows", wanted=f"at least {ROWS}", do="give a longer history")
    if len(sizes) * held_out < 2 or len(sizes) < FEW:
        parts = [np.searchsorted([1 - held_out, 1 - half], (np.arange(n) + 0.5) / n) for n in sizes]
        return np.concatenate(parts).astype(np.int8)
    rng = np.random.default_rng([seed, 1])
    order, own = np.lexsort((rng.random(len(sizes)), main)), np.zeros(len(sizes), dtype=np.int8)
    turn = np.floor((np.arange(len(sizes) + 1) + rng.random()) * held_out)
    held = order[np.flatnonzero(np.diff(turn))]  # one in so many, so that each main class has its share
    own[held] = np.where(np.arange(len(held)) % 2, VALID, JUDGE)
    return np.repeat(own, sizes)


def windows(data: Data, part: int, both: bool) -> Numbers:
    """(W, 4): first row, rows, and how many at the front and at the back are only a run-up.

    To train: at every offset, where all rows serve that. To judge: one after the other, with a run-up from before.
    """
    found, ends = [], np.append(data.begin[1:], len(data.x))
    for first, last in zip(data.begin, ends, strict=True):
        own = np.flatnonzero(data.part[first:last] == part)
        if not len(own):
            continue
        low, high = first + own[0], first + own[-1] + 1
        if part == TRAIN:
            starts = np.arange(low, max(low, high - LENGTH) + 1)
        else:
            low = max(first, low - RUN_UP)
            starts = np.arange(low, max(low + 1, high - RUN_UP), LENGTH - (1 + both) * RUN_UP)
        rows = np.minimum(LENGTH, high - starts)
        front = np.where(starts == first, 0, np.minimum(RUN_UP, rows - 1))
        back = np.where((starts + rows == high) | (not both), 0, RUN_UP)
        found.append(np.stack([starts, rows, front, back], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 4), dtype=np.int64)


def problem(data: Data, form: Form, training: Training, plain: Floats, seed: int, device: str) -> Problem:
    """What `train.fit` is to learn, as one model with the axis of models; it begins at the linear map `plain`."""
    both = form.direction == "both"
    own, judged = windows(data, TRAIN, both), windows(data, VALID, both)
    rows, cold = np.arange(len(own)), np.flatnonzero(np.isin(own[:, 0], data.begin))
    if len(cold):
        rows = np.concatenate([rows, np.resize(cold, max(0, int(COLD * len(rows)) - len(cold)))])
    known = data.part == VALID
    known &= (data.y >= 0) if data.y.ndim == 1 else ~np.isnan(data.y).all(axis=1)
    after = len(own) + np.arange(len(judged)) if known.any() else np.zeros(0, dtype=np.int64)
    first = steps.begun(network.init(steps.shapes(form), np.random.default_rng([seed, 0])), form, plain)
    loss = _Loss(data, np.concatenate([own, judged]), form, training, device)
    identity = data.digest() + msgspec.json.encode(form).decode()
    return Problem({n: w[None] for n, w in first.items()}, rows, after, loss, identity, models=(0,))


class _Loss:
    """The loss of a batch of windows, of each model; callable as `train.Problem` wants it."""

    def __init__(self, data: Data, table: Numbers, form: Form, training: Training, device: str) -> None:
        self.torch = torch = train.torch_or_error()
        self.x, self.part, self.table = (torch.tensor(a, device=device) for a in (data.x, data.part, table))
        self.labels = data.y.ndim == 1
        weight = np.where(data.y >= 0, data.weight[data.y], 0.0) if self.labels else ~np.isnan(data.y)
        self.weight = torch.tensor(weight, dtype=torch.float32, device=device)
        y = np.maximum(data.y, 0) if self.labels else np.nan_to_num(data.y).astype(np.float32)
        self.y, self.form, self.noise = torch.tensor(y, device=device), form, training.noise

    def __call__(self, params: dict[str, Tensor], rows: Numbers, generators: Any) -> Tensor:
        torch = self.torch
        first, count, front, back = self.table[torch.as_tensor(rows, device=self.x.device)].unbind(-1)
        own = torch.arange(int(count.max()), device=self.x.device)
        inside = own < count[..., None]
        at = torch.where(inside, first[..., None] + own, 0)
        scored = (own >= front[..., None]) & (own < (count - back)[..., None])
        scored &= self.part[at] == (VALID if generators is None else TRAIN)
        x = self.x[at] * inside[..., None]
        if generators is None:
            said = steps.forward(params, self.form, x, count)
        else:
            said = steps.forward(params, self.form, self._varied(x, generators), count, self._dropper(generators))
        weight, y = self.weight[at], self.y[at]
        if self.labels:
            weight = weight * scored
            loss = -said.log_softmax(-1).gather(-1, y[..., None])[..., 0]
        else:
            weight = weight * scored[..., None]
            loss = (said - y) ** 2
        axes = tuple(range(-(loss.ndim - (rows.ndim - 1)), 0))
        found: Tensor = (loss * weight).sum(axes) / weight.sum(axes).clamp_min(1e-6)
        return found

    def _varied(self, x: Tensor, generators: Any) -> Tensor:
        """The same readings, noisy and some of them missing."""
        c = self.form.channels
        seen = x[..., c:] * (self._random("rand", x[..., c:].shape, generators) >= HIDDEN)
        z = (x[..., :c] + self.noise * self._random("randn", seen.shape, generators)) * seen
        found: Tensor = self.torch.cat([z, seen], dim=-1)
        return found

    def _dropper(self, generators: Any) -> Any:
        rate = self.form.net.dropout

        def drop(h: Tensor) -> Tensor:
            if not rate:
                return h
            kept: Tensor = h * (self._random("rand", h.shape, generators) >= rate) / (1 - rate)
            return kept

        return drop

    def _random(self, kind: str, shape: Any, generators: Any) -> Any:
        # drawn on the processor, each model by its own generator: the numbers depend on the seed alone
        drawn = [getattr(self.torch, kind)(tuple(shape[1:]), generator=g) for g in generators]
        return self.torch.stack(drawn).to(self.x.device)


# --- what the held-out rows say -------------------------------------------------------------------------------------

Errors = dict[str, dict[str, float]]
Against = dict[str, tuple[float, float]]  # of each simple rule
OURS, RAW = "tagger", "tagger, not smoothed"
TURNS = 200  # of the logistic regression


def labelled(truth: Numbers, said: Numbers, classes: int) -> dict[str, float]:
    """How wrong class numbers (R,) are: the share of rows, and 1 - F1, the mean over the classes that are or are named.

    >>> labelled(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), 2)["rows"]
    0.25
    """
    table = confusion(truth, said, classes)
    right, both = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    there = both > 0
    f1 = 2 * right[there] / np.maximum(both[there], 1)
    return {"rows": float((truth != said).mean()), "1 - F1": float(1 - f1.mean())}


def confusion(truth: Numbers, said: Numbers, classes: int) -> Numbers:
    """(true class, named class) how often."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (truth, said), 1)
    return table


def measured(truth: Floats, said: Floats) -> dict[str, float]:
    """How far values (R, K) are off where the truth is known, in its units: RMSE and MAE, means over the targets."""
    off = (said - truth)[:, ~np.isnan(truth).all(axis=0)]
    return {
        "RMSE": float(np.sqrt(np.nanmean(off**2, axis=0)).mean()), "MAE": float(np.nanmean(np.abs(off), axis=0).mean())
    }  # fmt: skip


def linear(x: Floats, y: Floats) -> Floats:
    """Weights (2C + 1, K) of the ridge regression of y (R, K) on x (R, 2C) and 1."""
    full = np.column_stack([x, np.ones(len(x))])
    return np.asarray(np.linalg.solve(full.T @ full + np.eye(full.shape[1]) * 1e-3, full.T @ y), dtype=np.float64)


def logistic(x: Floats, y: Numbers, weight: Floats) -> Floats:
    """Weights (2C + 1, K) of the logistic regression of class numbers y (R,) on x (R, 2C) and 1, with a ridge of 1.

    By a bound on its curvature that never changes (Boehning 1992), so that every turn is one product and always better,
    and with momentum where that is.
    """
    x, own = np.column_stack([x, np.ones(len(x))]), weight[y][:, None]
    truth = np.eye(len(weight))[y]
    w: Any = np.zeros((x.shape[1], len(weight)))
    ahead, push = w, 1.0
    bound = np.linalg.inv(0.5 * (x * own).T @ x + np.eye(x.shape[1]))
    for _ in range(TURNS):
        proba = np.exp((told := x @ ahead) - told.max(axis=1, keepdims=True))
        proba /= proba.sum(axis=1, keepdims=True)
        after = ahead + bound @ (x.T @ (own * (truth - proba)) - ahead)
        faster = (1 + (1 + 4 * push**2) ** 0.5) / 2
        ahead, w, push = np.asarray(after + (push - 1) / faster * (after - w)), after, faster
    found: Floats = w
    return found


def blocks(sequence: Numbers) -> Numbers:
    """Which of BLOCKS witnesses each held-out row is of: some of the sequences, or a stretch of time if they are few.

    >>> blocks(np.zeros(24, int)).tolist() == sorted([*range(12)] * 2)
    True
    """
    number = np.unique(sequence, return_inverse=True)[1]
    if number.max(initial=0) + 1 < chance.BLOCKS:
        number = np.arange(len(sequence))
    found: Numbers = number * chance.BLOCKS // (1 + number.max(initial=0))
    return found


def closer(truth: Floats, said: Floats, other: Floats) -> Floats:
    """By how much each row of values (R, K) is nearer to the truth than another's; the sum is that of their RMSE."""
    ours, theirs = (np.nan_to_num((values - truth) ** 2) for values in (said, other))
    count = np.maximum(1, (~np.isnan(truth)).sum(axis=0))
    both = np.sqrt(ours.sum(axis=0) / count) + np.sqrt(theirs.sum(axis=0) / count)
    found: Floats = ((theirs - ours) / (count * np.where(both > 0, both, 1.0))).sum(axis=1)
    return found


def verdict(errors: Errors, against: Against, rows: str = "held-out rows") -> str:
    """Whether it beat every simple rule on some rows, in a sentence; `against` are the chances that `paired` gives.

    >>> errors = {"tagger": {"rows": 0.02}, "largest class": {"rows": 0.3}, "logistic regression": {"rows": 0.01}}
    >>> verdict(errors, {"largest class": (0.001, 1.0), "logistic regression": (0.8, 0.2)})
    'no better than a simple rule, as far as ... can tell: logistic regression 99.0 % ..., the tagger 98.0 %'
    """
    if not errors:
        return "not judged: no held-out row has a label"
    kind = "rows" if "rows" in errors[OURS] else "RMSE"  # a file does not keep the order
    rules = {name: error[kind] for name, error in errors.items() if not name.startswith(OURS)}
    name = min(rules, key=lambda rule: rules[rule])
    what = f"of {rows} right" if kind == "rows" else f"RMSE on {rows}"
    ours, best = (
        f"{100 * (1 - error):.1f} %" if kind == "rows" else f"{error:.4g}"
        for error in (errors[OURS][kind], rules[name])
    )
    return chance.beside("the tagger", (ours, best), what, name, chance.margin(rules, name, against))


def against_chance(truth: list[Numbers], said: list[Numbers], seed: int) -> str:
    """Whether labels can be told from chance by one row of each held-out sequence; empty where too few are held out.

    Rows of one sequence are no independent witnesses, so that a test that took them all would believe anything.
    """
    rng = np.random.default_rng([seed, 4])
    known = [(t, s) for t, s in zip(truth, said, strict=True) if len(t)]
    if len(known) < WITNESSES:
        return ""
    rows = [int(rng.integers(len(t))) for t, _ in known]
    pair = (np.array([both[side][row] for both, row in zip(known, rows, strict=True)]) for side in (0, 1))
    one, other = pair
    return f"one row of each held-out sequence: {chance.judge([one], [other], seed=seed)}"
