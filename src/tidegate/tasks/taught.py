"""From checked series to a lesson for the tagger, and from learned weights to a tagger that knows how good it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import chance
from ..errors import DataError
from ..scale import Scale, learn
from ..series import Series
from ..settings import Network, Training
from ..train import Problem
from . import marked, marking, sequences, steady, stepwise
from .marking import JUDGE, OURS, PARTS, RAW, TRAIN, VALID, Against, Data, Errors
from .naming import temperature
from .steps import Form
from .stepwise import Model

Floats = NDArray[np.float64]
MOST = 20_000  # rows that a simple rule learns from


@dataclass(frozen=True)
class Lesson:
    """Everything that learning needs, and what it will be judged by.

    series  each sequence; `data` holds the same rows one after the other
    truth   beside each row: class numbers (R,), -1 = not known; or values (R, K) in their units
    """

    form: Form
    series: list[Series]
    data: Data
    truth: NDArray[Any]
    answers: Any
    scale: Scale
    target: Scale

    @cached_property
    def plain(self) -> Floats:
        """The simple rule (2C + 1, outputs): a logistic regression row by row, or a linear one to scaled values."""
        rows, x = _rows(self), self.data.x.astype(np.float64)
        if self.labels:
            return marking.logistic(x[rows], self.truth[rows], self.data.weight)
        return marking.linear(x[rows], np.nan_to_num(self.data.y[rows]))

    def of(self, net: Network) -> Lesson:
        """The same for a network of another size."""
        return replace(self, form=msgspec.structs.replace(self.form, net=net))

    @property
    def labels(self) -> bool:
        """Whether labels are learned, and not values."""
        return self.truth.ndim == 1

    @property
    def split(self) -> dict[str, int]:
        """How many rows served what."""
        return {name: int((self.data.part == part).sum()) for part, name in enumerate(PARTS)}

    def known(self, part: int) -> NDArray[np.bool_]:
        """(R,) the rows of one part of which something is known."""
        there = self.truth >= 0 if self.labels else ~np.isnan(self.truth).all(axis=1)
        found: NDArray[np.bool_] = there & (self.data.part == part)
        return found

    def cut(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """What belongs to all rows, for each sequence by itself."""
        return np.split(rows, np.cumsum([len(one) for one in self.series])[:-1])


def lesson(task: Any, series: list[Series], beside: list[NDArray[Any]], class_weight: str | None) -> Lesson:
    """What a tagger with these arguments is to learn. Scales are those of the rows that train."""
    sizes, labels = [len(one) for one in series], task.target == "label"
    answers: Any
    if labels:
        answers, numbers = marked.classes(beside)
        main = np.array([np.bincount(one[one >= 0], minlength=1).argmax() for one in numbers])
        truth: NDArray[Any] = np.concatenate(numbers)
        outputs = len(answers)
    else:
        tables = marked.values(beside)
        main, truth, outputs = np.zeros(len(sizes), dtype=np.int64), np.concatenate(tables), tables[0].shape[1]
        answers = marked.target_names(outputs)
    form = task._form(len(series[0].channels), outputs)
    part = marking.split(sizes, main, task.held_out, task.seed)
    values = np.concatenate([one.values for one in series])
    scale, own = learn(values[part == TRAIN]), part == TRAIN
    if not labels and np.isnan(truth[own]).all(axis=0).any():
        saw = "a target of which no value is known in the rows to learn from"
        raise DataError(saw, wanted="some of each", do="leave that target out, or hold out less")
    target = Scale(np.zeros(0), np.ones(0)) if labels else learn(truth[own])
    weight = _weights(truth[own], outputs, class_weight) if labels else np.ones(0)
    starts = np.cumsum([0, *sizes])[:-1]
    begin = [
        first + np.union1d([0], stepwise.begins(one.times, one.interval, None))
        for first, one in zip(starts, series, strict=True)
    ]
    y = truth if labels else target.apply(truth).astype(np.float32)
    data = Data(sequences.inputs(scale, values), y, np.concatenate(begin).astype(np.int64), part, weight)
    return Lesson(form, series, data, truth, answers, scale, target)


def _weights(numbers: NDArray[np.int64], classes: int, class_weight: str | None) -> Floats:
    counts = np.bincount(numbers[numbers >= 0], minlength=classes).astype(np.float64)
    if (counts > 0).sum() < 2:
        saw = "the rows to learn from have one class only, or none"
        raise DataError(saw, wanted="at least two", do="give a longer history, or hold out less")
    if class_weight is None:
        return np.ones(classes)
    balanced: Floats = np.where(counts > 0, counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1)), 1.0)
    return balanced


def problem(given: Lesson, training: Training, seed: int, device: str) -> Problem:
    """What `train.fit` is to learn."""
    return marking.problem(given.data, given.form, training, given.plain, seed, device)


@dataclass(frozen=True)
class Judged:
    """A model, its errors beside the simple rules', how sure that is, its confusion, and what was noticed."""

    model: Model
    errors: Errors
    against: Against
    confusion: NDArray[np.int64]
    notes: list[str]


def finish(given: Lesson, weights: dict[str, NDArray[np.float32]], smooth: bool, seed: int) -> Judged:
    """The model that these weights make, judged on the rows that chose nothing."""
    plain = {name: w[0] for name, w in weights.items()}
    model = Model(given.form, plain, given.scale, 1.0, None, given.target)
    said = [
        stepwise.told(model, one.values, stepwise.begins(one.times, one.interval, None), None)[0]
        for one in given.series
    ]
    judged = given.known(JUDGE)
    if not given.labels:
        errors, against = _value_rules(given, judged, given.target.undo(np.concatenate(said))[judged])
        return Judged(model, errors, against, np.zeros((0, 0), dtype=np.int64), [])
    stop = given.known(VALID)
    warm = temperature(np.concatenate(said)[stop], given.truth[stop])
    model = Model(given.form, plain, given.scale, warm, None, given.target)
    return _labelled(given, model, [model.proba(one) for one in said], smooth, seed)


def _labelled(given: Lesson, model: Model, proba: list[Floats], smooth: bool, seed: int) -> Judged:
    numbers, both = given.truth, given.form.direction == "both"
    train, stop, judged = (np.where(given.known(part), numbers, -1) for part in (TRAIN, VALID, JUDGE))
    seldom = steady.learn(given.cut(train), len(given.answers))
    seldom = steady.chosen(seldom, proba, given.cut(stop), both)
    smoothed = [seldom.both(one) if both else seldom.forward(one, seldom.share) for one in proba]
    model = Model(model.form, model.weights, model.scale, model.temperature, seldom, model.target)
    at, count = judged >= 0, len(given.answers)
    if not at.any():
        unjudged = np.zeros((count, count), dtype=np.int64)
        return Judged(model, {}, {}, unjudged, ["no held-out row has a label: nothing was judged"])
    named = {RAW: np.concatenate(proba).argmax(axis=1), OURS: np.concatenate(smoothed).argmax(axis=1)}
    ours = named[OURS if smooth else RAW]
    errors = {OURS: marking.labelled(judged[at], ours[at], count)}
    errors |= {RAW: marking.labelled(judged[at], named[RAW][at], count)} if smooth else {}
    pairs = ([a[a >= 0] for a in given.cut(judged)], [s[a >= 0] for a, s in _both(given, judged, ours)])
    notes = [marking.against_chance(*pairs, seed), _flicker(given, judged, named), _unseen(given)]
    beside, against = _label_rules(given, judged, ours)
    return Judged(model, errors | beside, against, marking.confusion(judged[at], ours[at], count), notes)


def _both(given: Lesson, one: Any, other: Any) -> list[tuple[Any, Any]]:
    return list(zip(given.cut(one), given.cut(other), strict=True))


def _flicker(given: Lesson, judged: NDArray[np.int64], named: dict[str, NDArray[np.int64]]) -> str:
    """What smoothing does on the held-out rows: the choice is shown, whichever it is."""
    rates = []
    for labels in (judged, named[RAW], named[OURS]):
        pairs = [(one[:-1] != one[1:])[(a[:-1] >= 0) & (a[1:] >= 0)] for a, one in _both(given, judged, labels)]
        rates.append(1000 * float(np.concatenate(pairs).mean()) if sum(map(len, pairs)) else 0.0)
    at = judged >= 0
    right = [100 * float((named[kind][at] == judged[at]).mean()) for kind in (RAW, OURS)]
    told = (
        f"labels change {rates[1]:.3g} times in 1,000 held-out rows, smoothed {rates[2]:.3g}, in truth {rates[0]:.3g}"
    )
    return f"{told}; right {right[0]:.1f} %, smoothed {right[1]:.1f} %"


def _unseen(given: Lesson) -> str:
    there = np.bincount(given.truth[given.known(TRAIN)], minlength=len(given.answers))
    missing = ", ".join(str(name) for name, n in zip(given.answers.tolist(), there, strict=True) if not n)
    return f"no row to learn from has the label {missing}: hold out less, or give a longer history" if missing else ""


def _rows(given: Lesson) -> NDArray[np.int64]:
    rows = np.flatnonzero(given.known(TRAIN))
    return rows if len(rows) <= MOST else np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))


def _simple(given: Lesson, rows: NDArray[np.bool_]) -> Floats:
    """What the simple rule says of rows."""
    said: Floats = np.column_stack([given.data.x[rows], np.ones(int(rows.sum()))]).astype(np.float64) @ given.plain
    return said


def _blocks(given: Lesson, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    sizes = [len(one) for one in given.series]
    return marking.blocks(np.repeat(np.arange(len(sizes)), sizes)[rows])


def _label_rules(given: Lesson, judged: NDArray[np.int64], ours: NDArray[np.int64]) -> tuple[Errors, Against]:
    at, count = judged >= 0, len(given.answers)
    largest = np.full(int(at.sum()), np.bincount(given.truth[_rows(given)], minlength=count).argmax())
    named = {"largest class": largest, "logistic regression": _simple(given, at).argmax(axis=1)}
    wrong, block = ours[at] != judged[at], _blocks(given, at)
    gains = {name: 1.0 * (numbers != judged[at]) - wrong for name, numbers in named.items()}
    errors = {name: marking.labelled(judged[at], numbers, count) for name, numbers in named.items()}
    return errors, {name: chance.paired(gain, block) for name, gain in gains.items()}


def _value_rules(given: Lesson, judged: NDArray[np.bool_], ours: Floats) -> tuple[Errors, Against]:
    if not judged.any():
        return {}, {}
    truth, said = given.truth[judged], given.target.undo(_simple(given, judged))
    mean = np.nanmean(given.truth[_rows(given)], axis=0)
    named = {"mean": np.broadcast_to(mean, said.shape), "linear regression": said}
    errors = {name: marking.measured(truth, values) for name, values in {OURS: ours, **named}.items()}
    block = _blocks(given, judged)
    return errors, {n: chance.paired(marking.closer(truth, ours, values), block) for n, values in named.items()}
