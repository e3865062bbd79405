"""One label or value per step: causal for streams, or from both directions for histories.

>>> from tidegate import synth
>>> series = synth.machine(rows=1000, channels=2, seed=0)
>>> busy = series.values[:, 0] > np.median(series.values[:, 0])
>>> tagger = Tagger(training=Training(epochs=1, batches=5)).fit(series, busy)
>>> tagger.apply(series).label.shape
(1000,)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import save
from ..errors import ModelFileError, SettingError
from ..save import File
from ..scale import Scale
from ..series import Series, instant
from ..settings import Epoch, Network, Size, Training, Tried, one_of
from . import marked, steps, stepwise, verbs
from .steady import Steady
from .steps import TAGGING, Form
from .stepwise import Model
from .tagged import Tag, Tagged
from .verbs import State

if TYPE_CHECKING:
    from ..train import Problem

Errors = dict[str, dict[str, float]]


class Tagger:
    """Says at every step what is going on, or how much: a label with probabilities, or values.

    >>> Tagger(target="value", direction="both", seed=1)
    Tagger(target='value', direction='both', seed=1)

    target     "label": one of the classes that stand beside the steps. "value": numbers, one or several
    direction  "past": from what came before, for streams (`step`). "both": from what comes after too, for histories
    smooth     True: `label` changes as seldom as labels did in training, `raw` is what the network says of each row
    held_out   the share of the history (of many sequences: of them) that trains nothing: half of it ends training and
               calibrates, half only judges
    cell       "gru", "lstm", "rnn_tanh" or "rnn_relu"
    size       "small", "medium" or "large": the one dial; `network` and `training` replace what it stands for
    device     where training runs: "auto" takes a GPU if torch sees one. Running needs neither.

    Long series are learned from in windows that fill memory before they are judged, so that state is carried as it will
    be; beginnings count too. A missing reading is no zero; a missing label is neither learned nor scored.

    After `fit`: `classes_` or `targets_`, `channels_`, `interval_`, `model_`, `history_` (a record an epoch), `split_`
    (rows that served each purpose), `errors_` (on rows that chose nothing, beside the simple rules: the largest class
    and a logistic regression row by row; for values the mean and a linear regression), `verdict_` (who was better, in a
    sentence), `confusion_` (true class, named class), `notes_`, `tried_` (by `tune`), `device_`.
    """

    def __init__(
        self,
        *,
        target: str = "label",
        direction: str = "past",
        smooth: bool = False,
        held_out: float = 0.25,
        cell: str = "gru",
        size: Size = "small",
        network: Network | None = None,
        training: Training | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.target, self.direction, self.smooth, self.held_out = target, direction, smooth, held_out
        self.cell, self.size, self.network, self.training = cell, size, network, training
        self.device, self.seed = device, seed

    def __repr__(self) -> str:
        return verbs.shown(self)

    # ------------------------------------------------------------------ learning

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        class_weight: str | None = None,
        interval: str | float | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        tune: bool = False,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Self:
        """Learn what stands beside the steps; returns self.

        X             one: a Series, an array (T, C), a data frame or a path. Many: (N, T, C), where rows at the end
                      without a reading are padding, or a list of series and arrays (T_i, C) of any lengths
        y             (T,); of many (N, T) or a list of (T_i,); with target="value" also (T, K). None or NaN: not known.
                      Left out: the labels of the series
        class_weight  "balanced": each class counts the same, however rare; None: each step does
        interval      seconds between rows where X has no clock ("1s" if not given)
        checkpoint    a file to which training writes after every epoch; `resume=True` goes on from it after a crash
        tune          True tries half and twice the units, a third and three times the learning rate: nine trainings,
                      of which validation rows pick one (`tried_`)
        on_epoch      called with each epoch's record
        """
        self._checked(class_weight)
        given, many = marked.each(X, lambda one: verbs.as_series(one, interval=interval))
        given = [given[0], *(verbs.match(s, given[0].channels, given[0].interval, s.clock)[0] for s in given[1:])]
        beside = marked.beside(y, given, X, many)
        verbs.resumable(resume, checkpoint)
        from .. import tuning  # running a model needs neither
        from . import taught

        lesson = taught.lesson(self, given, beside, class_weight)
        training = self.training or TAGGING[self.size][1]

        def problem(net: Network, device: str) -> Problem:
            return taught.problem(lesson.of(net), training, self.seed, device)

        learned = tuning.learn(
            self, problem, lesson.form.net, training, checkpoint=checkpoint, resume=resume, tune=tune, on_epoch=on_epoch
        )
        run, lesson = learned.run, lesson.of(learned.net)
        first = given[0]
        self.channels_, self.interval_, self.clock_ = first.channels, first.interval, first.clock
        self.history_, self.tried_, self.device_, self.split_ = run.history, learned.tried, run.device, lesson.split
        model, self.errors_, self.confusion_, noticed = taught.finish(lesson, run.weights, self.smooth, self.seed)
        self.notes_ = [*(first.notes if not many else ()), *filter(None, [*learned.notes, run.stopped, *noticed])]
        if self.target == "label":
            self.classes_ = lesson.answers
        else:
            self.targets_ = tuple(lesson.answers)
        self._remember(model)
        return self

    def _checked(self, class_weight: str | None) -> None:
        one_of("target", self.target, ("label", "value"))
        one_of("direction", self.direction, ("past", "both"))
        if class_weight is not None:
            one_of("class_weight", class_weight, ("balanced",))
        if self.target == "value" and (self.smooth or class_weight):
            do = "leave smooth and class_weight as they are"
            raise SettingError('labels are smoothed and weighted, and this is target="value"', do=do)
        if not isinstance(self.held_out, float) or not 0 < self.held_out < 1:
            raise SettingError(f"held_out is {self.held_out}", wanted="a share of the history, between 0 and 1")

    def _form(self, channels: int, outputs: int) -> Form:
        net = verbs.chosen(self, TAGGING)
        return Form(channels=channels, outputs=outputs, net=net, direction=self.direction)  # type: ignore[arg-type]

    def _remember(self, model: Model) -> None:
        self.model_ = model
        self.fingerprint_ = verbs.fingerprint(self._arrays(), {"channels": self.channels_, "smooth": self.smooth})

    @property
    def answers_(self) -> tuple[Any, ...]:
        """The classes, or the names of the targets."""
        self._fitted()
        return tuple(self.classes_.tolist()) if self.target == "label" else self.targets_

    @property
    def verdict_(self) -> str:
        """Whether it beat every simple rule on held-out rows, in a sentence."""
        self._fitted()
        from . import marking

        return marking.verdict(self.errors_)

    # ------------------------------------------------------------------ running

    def start(self) -> State:
        """The state of a stream before its first reading; only the form that reads the past has one."""
        self._fitted()
        if self.direction != "past":
            raise SettingError(
                'a stream with direction="both", which needs what comes after',
                wanted='direction="past"',
                do='fit Tagger(direction="past"), or apply this one to whole histories',
            )
        return State(stepwise.start(self.model_, self.smooth), self.fingerprint_)

    def apply(self, X: Any, state: State | None = None) -> Any:
        """Tag every row: one `Tagged` for one sequence, a list of them for many (as in `fit`).

        With `state` (direction="past"), one sequence as the continuation of what it has seen: pieces give the same bits
        as the whole. A sequence's answer has the same bits alone as beside others, and padded as not.
        """
        self._fitted()
        given, many = marked.each(X, lambda one: verbs.given(one, self.interval_))
        if many and state is not None:
            raise SettingError("a state for many sequences", wanted="one sequence to go on with", do="apply one by one")
        if state is not None or self.direction == "past":
            begun = self.start()
            state = begun if state is None else state
        found = [self._series(series, state) for series in given]
        return found if many else found[0]

    def _series(self, series: Series, state: State | None) -> Tagged:
        series, notes = verbs.match(series, self.channels_, self.interval_, self.clock_)
        times = series.times if series.clock or state is None else self._ticks(state, len(series))
        self._later(int(times[0]), state)
        return self._read(series.values, times, state, (series.name, notes))

    def step(
        self, reading: Mapping[str, float] | Iterable[float], state: State, *, time: Any = None
    ) -> tuple[Tag, State]:
        """One reading in, its label or values out, with the state to go on from; the same bits as `apply` on the whole.

        reading  channel name -> value, or the values in the order of `channels_`; None or NaN = missing
        time     when it was read; one interval after the last if not given
        """
        self._fitted()
        values = verbs.row(reading, self.channels_)
        now = int(self._ticks(state, 1)[0]) if time is None else time
        now = int(now) if isinstance(now, int | np.integer) else instant(now)
        self._later(now, state)
        done = self._read(values, np.array([now], dtype=np.int64), state, ("reading", []))
        return done.row(), done.state  # type: ignore[return-value]

    def _read(
        self, values: NDArray[np.float64], times: NDArray[np.int64], state: State | None, told: tuple[str, list[str]]
    ) -> Tagged:
        model, memory, last, seen = self.model_, None, None, 0
        if state is not None:
            verbs.same_model(state.model, self.fingerprint_)
            memory, (last, seen) = state.arrays["memory"], state.arrays["clock"].tolist()
        cuts = stepwise.begins(times, self.interval_, last if seen else None)
        said, memory = stepwise.told(model, values, cuts, memory)
        notes = [*told[1], *self._holes(cuts)]
        after: verbs.Arrays = {}
        if state is not None:
            after = {"clock": np.array([times[-1], seen + len(times)], dtype=np.int64), "memory": memory}
        if self.target == "value":
            label = raw = proba = None
            value = model.target.undo(said)
        else:
            value, proba = None, model.proba(said)
            smoothed, belief = self._smoothed(proba, cuts, state)
            after |= {} if belief is None or state is None else {"belief": belief}
            raw, label = (self.classes_[part.argmax(axis=1)] for part in (proba, smoothed))
        done = None if state is None else State(after, state.model)
        return Tagged(told[0], times, self.answers_, label, raw, proba, value, tuple(notes), done)

    def _smoothed(self, proba: NDArray[Any], cuts: NDArray[np.int64], state: State | None) -> tuple[Any, Any]:
        """What is believed, knowing how seldom labels change, and what to go on from; what was given if that is off."""
        steady = self.model_.steady
        if not self.smooth or steady is None:
            return proba, None
        belief, found = steady.share if state is None else state.arrays["belief"], []
        for number, piece in enumerate(np.split(proba, cuts[cuts > 0])):
            if number or (len(cuts) and cuts[0] == 0):
                belief = steady.share
            found.append(steady.both(piece) if state is None else steady.forward(piece, belief))
            belief = found[-1][-1].copy()
        return np.concatenate(found), belief

    def _holes(self, cuts: NDArray[np.int64]) -> list[str]:
        if not len(cuts):
            return []
        return [f"memory began anew {len(cuts):,} time(s), after holes of more than {stepwise.GAP} intervals"]

    def _ticks(self, state: State, rows: int) -> NDArray[np.int64]:
        last, seen = state.arrays["clock"].tolist()
        return verbs.ticks(rows, self.interval_, seen, last if self.clock_ and seen else None)

    def _later(self, now: int, state: State | None) -> None:
        if state is not None and state.arrays["clock"][1]:
            verbs.later(now, int(state.arrays["clock"][0]))

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write everything that running needs to one .safetensors file; an older file survives any failure."""
        self._fitted()
        model = self.model_
        labels = self.target == "label"
        spec = Spec(
            "tag", Params(**self.get_params()), model.form, model.temperature,
            list(self.answers_), marked.kind(self.classes_) if labels else "", self.channels_, self.interval_,
            self.clock_, self.split_, self.errors_, self.confusion_.tolist(), self.history_, self.tried_,
            self.notes_, self.device_,
        )  # fmt: skip
        save.write(path, "model", msgspec.to_builtins(spec), self._arrays())

    def load_state(self, path: str | Path) -> State:
        """A state that `State.save` wrote, checked to be of this model."""
        return verbs.load_state(path, self.start())

    def _arrays(self) -> verbs.Arrays:
        model = self.model_
        arrays: verbs.Arrays = {f"network/{name}": w for name, w in model.weights.items()}
        arrays |= verbs.flat(model.scale, "scale")
        return arrays | verbs.flat(model.steady or model.target, "steady" if model.steady else "target")

    @classmethod
    def from_file(cls, file: File) -> Self:
        """The tagger that `save` wrote; `tidegate.load` calls this."""
        spec = verbs.decode(file, Spec)
        labels = spec.params.target == "label"
        if (
            spec.form.channels != len(spec.channels) or spec.form.outputs != len(spec.answers)
            or not spec.temperature > 0 or labels != bool(spec.kind) or spec.form.direction != spec.params.direction
        ):  # fmt: skip
            saw = "its specification contradicts itself about channels, answers or directions"
            raise ModelFileError(saw, where=str(file.path), do="save it again")
        arrays = file.arrays(_implied(spec))
        found = cls(**msgspec.structs.asdict(spec.params))
        scale, weights = verbs.built(Scale, arrays, "scale"), verbs.under(arrays, "network")
        steady = verbs.built(Steady, arrays, "steady") if labels else None
        target = Scale(np.zeros(0), np.ones(0)) if labels else verbs.built(Scale, arrays, "target")
        if labels:
            found.classes_ = np.array(spec.answers, dtype=spec.kind)
        else:
            found.targets_ = tuple(str(name) for name in spec.answers)
        found.channels_, found.interval_, found.clock_ = spec.channels, spec.interval, spec.clock
        found.split_ = {name: spec.split[name] for name in ("train", "valid", "judge")}
        found.errors_, found.confusion_ = spec.errors, np.array(spec.confusion, dtype=np.int64)
        found.history_, found.tried_, found.notes_, found.device_ = spec.history, spec.tried, spec.notes, spec.device
        found._remember(Model(spec.form, weights, scale, spec.temperature, steady, target))
        return found

    # ------------------------------------------------------------------ scikit-learn's conventions

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return verbs.get_params(self)

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments by name."""
        verbs.set_params(self, params)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        inputs, labels = InputTags(allow_nan=True, three_d_array=True), self.target == "label"
        kind = "classifier" if labels else "regressor"
        tags = Tags(estimator_type=kind, target_tags=TargetTags(required=True), input_tags=inputs)
        tags.classifier_tags, tags.regressor_tags = (ClassifierTags(), None) if labels else (None, RegressorTags())
        return tags

    def predict(self, X: Any) -> Any:
        """The label (T,) or the values (T,) or (T, K) of every step; a list of them for many sequences."""
        return self._each(X, lambda one: _column(one.value) if one.label is None else one.label)

    def predict_proba(self, X: Any) -> Any:
        """The probability of every class (T, classes), in the order of `classes_`; of many sequences a list."""
        self._fitted()
        if self.target != "label":
            raise SettingError('probabilities with target="value"', wanted='target="label"', do="call predict")
        return self._each(X, lambda one: one.proba)

    def _each(self, X: Any, part: Callable[[Tagged], Any]) -> Any:
        found = self.apply(X)
        return [part(one) for one in found] if isinstance(found, list) else part(found)

    def score(self, X: Any, y: Any = None) -> float:
        """The share of labels that are right; for values R2, the mean over the targets. Missing ones are left out."""
        self._fitted()
        given, many = marked.each(X, lambda one: verbs.given(one, self.interval_))
        beside, said = marked.beside(y, given, X, many), self.predict(given if many else given[0])
        told = np.concatenate(said) if many else said
        if self.target == "label":
            truth = np.concatenate([marked.numbered([one], self.classes_)[0] for one in beside])
            known = np.concatenate(marked.known(beside))
            return float((marked.numbered([told], self.classes_)[0] == truth)[known].mean())
        table = np.concatenate(marked.values(beside))
        off = np.nansum((told.reshape(table.shape) - table) ** 2, axis=0)
        return float(np.mean(1 - off / np.nansum((table - np.nanmean(table, axis=0)) ** 2, axis=0)))

    def _fitted(self) -> None:
        verbs.require_fitted(self, "model_")


def _column(values: NDArray[Any] | None) -> Any:
    return values[:, 0] if values is not None and values.shape[1] == 1 else values


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constructor's arguments, as a file holds them."""

    target: Literal["label", "value"]
    direction: str
    smooth: bool
    held_out: float
    cell: str
    size: Size
    network: Network | None
    training: Training | None
    device: str
    seed: int


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The specification in a model file; the arrays beside it follow from this alone (`_implied`)."""

    task: str
    params: Params
    form: Form
    temperature: float
    answers: list[bool | int | float | str]
    kind: Literal["bool", "int", "float", "str", ""]
    channels: tuple[str, ...]
    interval: float
    clock: bool
    split: dict[str, int]
    errors: Errors
    confusion: list[list[int]]
    history: list[Epoch]
    tried: list[Tried]
    notes: list[str]
    device: str


def _implied(spec: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    table = {f"network/{name}": (shape, "float32") for name, shape in steps.shapes(spec.form).items()}
    table |= dict.fromkeys(("scale/center", "scale/spread"), ((spec.form.channels,), "float64"))
    k = spec.form.outputs
    if spec.params.target == "value":
        return table | dict.fromkeys(("target/center", "target/spread"), ((k,), "float64"))
    return table | {"steady/follow": ((k, k), "float64"), "steady/share": ((k,), "float64"),
                    "steady/power": ((1,), "float64")}  # fmt: skip
