"""One label or value per step: causal for streams, or from both directions for histories.

>>> from tidegate import synth
>>> series = synth.machine(rows=1000, channels=2, seed=0)
>>> busy = series.values[:, 0] > np.median(series.values[:, 0])
>>> tagger = Tagger(training=Training(epochs=1, batches=5)).fit(series, busy)
>>> tagger.apply(series).label.shape
(1000,)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import save
from ..errors import DataError, NotFittedError, SettingError
from ..online import Rule
from ..save import File
from ..series import Series
from ..settings import Epoch, Network, Size, Training, one_of, seconds
from . import asked, marked, sequences, stepwise, stored, verbs
from .steps import TAGGING, Form
from .stepwise import Model
from .tagged import Tag, Tagged
from .verbs import State

if TYPE_CHECKING:
    from ..train import Problem

NONE, FIRST = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)  # rows at which memory begins anew


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
    be; beginnings count too. Training begins at what the simple rule says of each row, which a few units let through.
    A missing reading is no zero; a missing label is neither learned nor scored.

    After `fit`: `classes_` or `targets_`, `channels_`, `interval_`, `model_`, `history_` (a record an epoch), `split_`
    (rows that served each purpose), `errors_` (on rows that chose nothing, beside the simple rules: the largest class
    and a logistic regression row by row; for values the mean and a linear regression), `against_` (of each of
    these, how likely chance alone gains as much over it, and loses as much), `verdict_` (who was better, in a
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
        from .. import tuning  # running a model needs neither

        asked.sound(self, stored.Params, resume, checkpoint)
        self._checked(class_weight)
        given, many = marked.each(X, lambda one: verbs.as_series(one, interval=interval))
        given = [given[0], *(verbs.match(s, given[0].channels, given[0].interval, s.clock)[0] for s in given[1:])]
        beside = marked.beside(y, given, X, many)
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
        self.times_ = asked.span(given)
        self.history_, self.tried_, self.device_, self.split_ = run.history, learned.tried, run.device, lesson.split
        found = taught.finish(lesson, run.weights, self.smooth, self.seed)
        self.errors_, self.against_, self.confusion_ = found.errors, found.against, found.confusion
        self.notes_ = [*(first.notes if not many else ()), *filter(None, [*learned.notes, run.stopped, *found.notes])]
        if self.target == "label":
            self.classes_ = lesson.answers
        else:
            self.targets_ = tuple(lesson.answers)
        self._remember(found.model)
        return self

    def cold_start(
        self,
        channels: int | Sequence[str],
        *,
        classes: Sequence[Any] = (),
        targets: int = 1,
        interval: str | float = "1s",
        rule: Rule | None = None,
    ) -> Self:
        """Ready for `start` and `step(learn=True)` with no history at all; returns self.

        channels  how many, or their names
        classes   with target="label": all that there will be
        targets   with target="value": how many
        rule      by which streams learn, a `tidegate.online.Rule`; cell="lru" has one of its own

        The network has 16 units of the tagger's cell, if it was given none.
        Scales run along with the stream. What a stream has learned is in its state, until `save(path, state=state)`.
        """
        self._checked(None)
        from . import alive

        alive.cold_start(self, channels, tuple(classes), targets, (seconds(interval), rule))
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
        if self.cell == "lru":
            raise SettingError("fit with the cell lru, which learns online only", do="cold_start(...), or another cell")
        net = verbs.chosen(self, TAGGING)
        return Form(channels=channels, outputs=outputs, net=net, direction=self.direction)  # type: ignore[arg-type]

    def _remember(self, model: Model) -> None:
        self.model_ = model
        self.answers_: tuple[Any, ...] = tuple(self.classes_.tolist()) if model.labels else self.targets_
        self.fingerprint_ = verbs.fingerprint(stored.arrays(model), {"channels": self.channels_, "smooth": self.smooth})

    @property
    def verdict_(self) -> str:
        """Whether it beat every simple rule on held-out rows, in a sentence; wrong about 5 % of the time.

        By twelve blocks of rows (whole sequences where there are as many, else stretches of time), as if independent.
        """
        self._fitted()
        from . import marking

        return verbs.dated(marking.verdict(self.errors_, self.against_), self.notes_)

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
        arrays = stepwise.start(self.model_, self.smooth)
        if self.model_.running or self.model_.form.lru:
            from . import alive

            arrays = alive.begin(self.model_, arrays, alive.usual(self.model_))
        return State(arrays, self.fingerprint_)

    def apply(self, X: Any, state: State | None = None) -> Any:
        """Tag every row: one `Tagged` for one sequence, a list of them for many (as in `fit`).

        With `state` (direction="past"), one sequence as the continuation of what it has seen: pieces give the same bits
        as the whole. A sequence's answer has the same bits alone as beside others, and padded as not.
        """
        self._fitted()
        given, many = marked.each(X, lambda one: verbs.given(one, self.interval_))
        if many and state is not None:
            raise SettingError("a state for many sequences", wanted="one sequence to go on with", do="apply one by one")
        if state is None and self.model_.running:
            do = "step through a stream with learn=True, then apply(X, state), or save(path, state=state)"
            raise NotFittedError("this Tagger was started cold and has learned nothing by itself", do=do)
        if state is not None or self.direction == "past":
            begun = self.start()
            state = begun if state is None else verbs.stated(state)
        found = [self._series(series, state) for series in given]
        return found if many else found[0]

    def _series(self, series: Series, state: State | None) -> Tagged:
        series, notes = verbs.match(series, self.channels_, self.interval_, self.clock_)
        times = series.times if series.clock or state is None else self._ticks(state, len(series))
        self._later(int(times[0]), state)
        return self._read(series.values, times, state, (series.name, notes))

    def step(
        self, reading: Mapping[str, float] | Iterable[float] | float, state: State, *, time: Any = None,
        learn: bool | Rule = False, target: Any = None, id: int | str | None = None,
    ) -> tuple[Tag, State]:  # fmt: skip
        """One reading in, its label or values out, with the state to go on from; the same bits as `apply` on the whole.

        reading  channel name -> value, or the values in the order of `channels_`; None or NaN = missing
        time     when it was read; one interval after the last if not given
        learn    True: answer, then learn from `target`, into the state, by the usual rule; or a `tidegate.online.Rule`
        target   while learning: the label or the values of this reading; None or NaN: not known (yet),
                 nothing is learned, and `state.learned` stays
        id       while learning: by which `late` will know this reading; its number in the stream if not given
        """
        self._fitted()
        verbs.stated(state)
        values, (last, seen) = verbs.row(reading, self.channels_), state.arrays["clock"].tolist()
        now = verbs.moment(self._ticks(state, 1)[0] if time is None else time)
        if seen:
            verbs.later(now, last)
        if learn is not False:
            from . import alive

            known = (alive.target(self, target), id)
            state = alive.ready(self, state, learn)
        else:
            verbs.unasked(learn, target, id)
            known = None
        verbs.same_model(state.model, self.fingerprint_)
        return self._tag(values, now, state, known)

    def _tag(
        self, values: NDArray[np.float64], now: int, state: State, known: tuple[Any, Any] | None
    ) -> tuple[Tag, State]:
        """What `_read` says of one row (1, C), in less time."""
        model, (last, seen) = self.model_, state.arrays["clock"].tolist()
        cut, drift = bool(seen) and now - last > stepwise.longest(self.interval_), False
        if "online/rule" in state.arrays:
            from . import alive

            said, after, drift = alive.step(model, state.arrays, values, cut, known)
        else:
            said, memory = stepwise.once(model, values, cut, state.arrays["memory"])
            said, after = model.answer(said), {"memory": memory}
        notes = stepwise.noticed(now - last if cut else 0, self.interval_, drift)
        tag = Tag(now, value=dict(zip(self.answers_, said[0].tolist(), strict=True)), notes=notes)
        if model.labels:
            smoothed, belief = self._smoothed(said, FIRST if cut else NONE, state)
            after |= {} if belief is None else {"belief": belief}
            raw, label = (self.answers_[int(part[0].argmax())] for part in (said, smoothed))
            tag = Tag(now, label, raw, tag.value, notes=notes)
        after["clock"] = np.array([now, seen + 1], dtype=np.int64)
        return tag, State(after, state.model)

    def late(self, state: State, id: int | str, target: Any) -> State:
        """The label or the values of an earlier reading, by its id, learned from now; one of the last that are kept."""
        from . import alive

        self._fitted()
        verbs.same_model(state.model, self.fingerprint_)
        return alive.late(self, state, id, target)

    def _read(
        self, values: NDArray[np.float64], times: NDArray[np.int64], state: State | None, told: tuple[str, list[str]]
    ) -> Tagged:
        model, last, seen, done = self.model_, None, 0, None
        if state is not None:
            verbs.same_model(state.model, self.fingerprint_)
            last, seen = state.arrays["clock"].tolist()
        cuts = stepwise.begins(times, self.interval_, last if seen else None)
        if state is not None and "online/rule" in state.arrays:
            from . import alive

            said, after = alive.told(model, state.arrays, values, cuts)
        else:
            said, memory = stepwise.told(model, values, cuts, None if state is None else state.arrays["memory"])
            said, after = model.answer(said), {"memory": memory}
        notes, label, raw, proba = [*told[1], *self._holes(cuts)], None, None, None
        if model.labels:
            smoothed, belief = self._smoothed(said, cuts, state)
            after |= {} if belief is None else {"belief": belief}
            raw, label = (self.classes_[part.argmax(axis=1)] for part in (said, smoothed))
            proba = said
        if state is not None:
            done = State({**after, "clock": np.array([times[-1], seen + len(times)], dtype=np.int64)}, state.model)
        value = None if model.labels else said
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

    def save(self, path: str | Path, *, state: State | None = None) -> None:
        """Write everything that running needs to one .safetensors file; an older file survives any failure.

        With `state`, what that has learned is the model.
        """
        self._fitted()
        if state is not None:
            self._kept(state).save(path)
            return
        model = self.model_
        labels = self.target == "label"
        spec = stored.Spec(
            "tag", stored.Params(**asked.plain_params(self)), model.form, model.temperature, model.running, model.rule,
            list(self.answers_), marked.kind(self.classes_) if labels else "", self.channels_, self.interval_,
            self.clock_, self.split_, self.errors_, self.against_, self.confusion_.tolist(), self.history_,
            self.tried_, self.notes_, self.device_, self.times_,
        )  # fmt: skip
        save.write(path, "model", msgspec.to_builtins(spec), stored.arrays(model))

    def load_state(self, path: str | Path) -> State:
        """A state that `State.save` wrote, checked to be of this model."""
        from . import alive

        return alive.load_state(path, self.start(), self.model_)

    def _kept(self, state: State) -> Tagger:
        """The tagger as a state has learned it."""
        from . import alive

        verbs.same_model(state.model, self.fingerprint_)
        model, notes = alive.kept(self.model_, state)
        found = copy.copy(self)
        found.notes_ = [*self.notes_, *notes]
        found._remember(model)
        return found

    @classmethod
    def from_file(cls, file: File) -> Self:
        """The tagger that `save` wrote; `tidegate.load` calls this."""
        spec, model = stored.read(file)
        found = cls(**msgspec.structs.asdict(spec.params))
        if model.labels:
            found.classes_ = np.array(spec.answers, dtype=spec.kind)
        else:
            found.targets_ = tuple(str(name) for name in spec.answers)
        found.channels_, found.interval_, found.clock_ = spec.channels, spec.interval, spec.clock
        found.times_ = spec.times
        found.split_ = {name: spec.split[name] for name in ("train", "valid", "judge") if name in spec.split}
        found.errors_, found.against_, found.confusion_ = spec.errors, spec.against, stored.square(spec.confusion)
        found.history_, found.tried_, found.notes_, found.device_ = spec.history, spec.tried, spec.notes, spec.device
        found._remember(model)
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
        """The share of labels that are right; for values R2, the mean over the targets. Missing ones are left out.

        R2 of a target that never changes is 1 where it is met exactly and 0 else, as in scikit-learn's `r2_score`.
        """
        self._fitted()
        given, many = marked.each(X, lambda one: verbs.given(one, self.interval_))
        beside, said = marked.beside(y, given, X, many), self.predict(given if many else given[0])
        told = np.concatenate(said) if many else said
        if self.target == "label":
            truth = np.concatenate([marked.numbered([one], self.classes_)[0] for one in beside])
            sequences.met(np.concatenate([np.asarray(one, dtype=object) for one in beside]), self.classes_)
            known = np.concatenate(marked.known(beside))
            if not known.any():
                raise DataError("no label that is known", wanted="at least one to compare with")
            return float((marked.numbered([told], self.classes_)[0] == truth)[known].mean())
        table = np.concatenate(marked.values(beside))
        there = (~np.isnan(table)).sum(axis=0) > 1
        if not there.any():
            raise DataError("fewer than two known values of each target", wanted="at least two to compare with")
        told, table = told.reshape(table.shape)[:, there], table[:, there]
        off = np.nansum((told - table) ** 2, axis=0)
        around = np.nansum((table - np.nanmean(table, axis=0)) ** 2, axis=0)
        still = np.nanmin(table, axis=0) == np.nanmax(table, axis=0)
        return float(np.mean(np.where(still, off == 0, 1 - off / np.where(still, 1.0, around))))

    def _fitted(self) -> None:
        verbs.require_fitted(self, "model_")


def _column(values: NDArray[Any] | None) -> Any:
    return values[:, 0] if values is not None and values.shape[1] == 1 else values
