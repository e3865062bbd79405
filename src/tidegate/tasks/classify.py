"""One label per sequence, and whether the labels can be predicted at all.

>>> from tidegate import synth
>>> X, y = synth.spikes(200, seed=0)
>>> classifier = Classifier(training=Training(epochs=2, noise=0.1)).fit(X[:160], y[:160])
>>> classifier.apply(X[160:]).label.shape
(40,)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import save
from ..chance import Chance
from ..errors import DataError, ModelFileError
from ..save import File
from ..scale import Scale, learn
from ..settings import Epoch, Network, Onward, Size, Training, Tried, one_of
from . import asked, sequences, verbs, whole
from .judged import Judged, parted
from .verbs import State
from .whole import CLASSIFYING, Form

if TYPE_CHECKING:
    import polars

    from ..train import Fit, Problem
    from .naming import Parts

Floats = NDArray[np.float64]
Labels = NDArray[Any]
BATCH = 128  # sequences read at a time; no answer depends on it
KINDS = {"b": ("bool", np.bool_), "i": ("int", np.int64), "u": ("int", np.int64), "f": ("float", np.float64)}


@dataclass(frozen=True, eq=False)
class Labelled:
    """The answer of `apply`, a row for every sequence."""

    label: Labels
    """(N,) the most probable class"""
    proba: Floats
    """(N, classes) how probable each class is, calibrated on held-out rows"""
    classes: Labels

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        return f"<Labelled: {len(self):,} sequences of {len(self.classes)} classes>"

    def to_pandas(self) -> Any:
        """`to_frame` as a pandas frame, where pandas is installed."""
        return self.to_frame().to_pandas()

    def to_frame(self) -> polars.DataFrame:
        """As a polars frame: the label, and a column for each class."""
        import polars

        columns = {f"p({name})": self.proba[:, i] for i, name in enumerate(self.classes.tolist())}
        return polars.DataFrame({"label": self.label, **columns})


class Classifier:
    """Says which class a sequence belongs to, and how probable that is; refuses to see what is not there.

    >>> Classifier(cell="lstm", seed=1)
    Classifier(cell='lstm', seed=1)

    cell          "gru", "lstm", "rnn_tanh" or "rnn_relu"
    size          "small", "medium" or "large": the one dial; `network` and `training` replace what it stands for.
                  Without `training` each class beyond two adds an epoch. `Training.noise` is in units of the usual
                  change from one reading to the next, where that is below a scaled unit.
    class_weight  "balanced": each class counts the same, however rare; None: each sequence does
    device        where training runs: "auto" takes a GPU if torch sees one. Running needs neither.

    Five models learn at once, each from all rows but a fold of its own; their mean answers. A model's fold ends its
    training and sets the temperature of the probabilities (half of it), and tells how good it is (the other half).

    After `fit`: `classes_`, `channels_`, `model_`, `verdict_` (a `Chance`: can the labels be predicted),
    `rivals_` (accuracy of the baselines on the same rows: the largest class, the nearest training sequence), `against_`
    (of each of these, how likely chance alone gains as much over it, and loses as much),
    `judged_` (those rows: which were named right, which wrong, how sure), `confusion_` (true class, named class; of
    them), `reliability_` (bins, 3: the mean probability said, how often that was true, how many of them),
    `histories_` (of each model a record an epoch: training and validation loss) and `history_` (their mean), `parted_`
    (of each model the epoch from which its validation loss rose while its training loss fell, or None; the weights
    of that epoch are kept), `notes_` (what was noticed and what was done), `tried_` (by `tune`), `device_`.
    """

    def __init__(
        self,
        *,
        cell: str = "gru",
        size: Size = "small",
        network: Network | None = None,
        training: Training | None = None,
        class_weight: str | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.cell, self.size, self.network, self.training = cell, size, network, training
        self.class_weight, self.device, self.seed = class_weight, device, seed

    def __repr__(self) -> str:
        return verbs.shown(self)

    # ------------------------------------------------------------------ learning

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        tune: bool = False,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Self:
        """Learn the labels y (N,) of the sequences X; returns self.

        X           an array (N, T) or (N, T, C), NaN = missing and at the end padding; or a list of arrays (T_i, C),
                    Series or frames, of any lengths; or what `read_many` gives, or a file that it reads
        y           a label each; None: those that the series have
        checkpoint  a file to which training writes after every epoch; `resume=True` goes on from it after a crash
        tune        True tries half and twice the units, a third and three times the learning rate: nine trainings, of
                    which validation rows pick one (`tried_`)
        on_epoch    called with each epoch's record
        """
        from .. import tuning  # running a model needs neither

        asked.sound(self, Params, resume, checkpoint)
        y = sequences.in_order(y, X)
        X = sequences.many(X)
        given = sequences.each(X)
        classes, numbers = _classes(sequences.labels(X) if y is None else y, len(given))
        from . import naming

        scale = learn(np.concatenate(given))
        form = self._form(given, scale, len(classes))
        training = self.training or whole.longer(CLASSIFYING[self.size][1], len(classes))
        x, lengths = sequences.block(given, scale, form.tail)
        used = naming.parts(numbers, self.seed)
        data = naming.Data(x, lengths, numbers, self._weights(numbers))

        def problem(net: Network, device: str) -> Problem:
            return naming.problem(data, msgspec.structs.replace(form, net=net), used, training, self.seed, device)

        found = tuning.learn(
            self, problem, form.net, training, checkpoint=checkpoint, resume=resume, tune=tune, on_epoch=on_epoch
        )
        form, run = msgspec.structs.replace(form, net=found.net), found.run
        self.classes_, self.channels_ = classes, sequences.names(X, form.channels)
        self.n_features_in_ = x.shape[1] - form.tail
        self.history_, self.tried_, self.device_ = run.history, found.tried, run.device
        self._remember(Model(form, run.weights, scale), used, data, run)
        self.notes_ += found.notes
        return self

    def _remember(self, model: Model, used: Parts, data: Any, run: Fit) -> None:
        """What the held-out rows say of the models, now that they have learned."""
        from . import naming

        def held(rows: list[NDArray[np.int64]]) -> list[Floats]:
            """The logits of each model on rows of its own fold."""
            return [model.logits(data.x[r], data.lengths[r], m) for m, r in enumerate(rows)]

        stop = held(used.stop)
        truth = [data.y[rows] for rows in used.stop]
        model.temperature = naming.temperature(np.concatenate(stop), np.concatenate(truth))
        self._judge(naming.told(used, data, held(used.judge), model.temperature))
        self.verdict_ = naming.verdict(used, self.judged_, self.seed)
        self.rivals_, self.against_ = naming.rivals(used, data, self.judged_)
        self.histories_, self.parted_ = run.histories, [parted(history) for history in run.histories]
        compared = naming.beside(self.verdict_.accuracy, self.rivals_, self.against_)
        self.notes_ = naming.notes(run, len(used.stop[0]) == 0, self.verdict_, compared)
        self.model_ = model
        self.fingerprint_ = self._fingerprint()

    def _judge(self, judged: Judged) -> None:
        self.judged_, self.reliability_ = judged, judged.reliability()
        self.confusion_ = judged.confusion(len(self.classes_))

    def _form(self, given: list[Floats], scale: Scale, classes: int) -> Form:
        net, rough = verbs.chosen(self, CLASSIFYING), sequences.rough(given, scale)
        shorten = whole.shorten(int(np.median([len(one) for one in given])))
        return Form(channels=len(rough), classes=classes, net=net, shorten=shorten, rough=rough, leak=whole.LEAK)

    def _weights(self, numbers: NDArray[np.int64]) -> Floats:
        counts = np.bincount(numbers).astype(np.float64)
        if self.class_weight is None:
            return np.ones(len(counts))
        one_of("class_weight", self.class_weight, ("balanced",))
        balanced: Floats = counts.sum() / (len(counts) * counts)
        return balanced

    # ------------------------------------------------------------------ running

    def apply(self, X: Any) -> Labelled:
        """The label of every sequence, and the probability of every class.

        A sequence's answer has the same bits alone as beside others, and padded as not.
        """
        self._fitted()
        return self._named(self.model_, self._given(X))

    def start(self) -> State:
        """The state before the first sequence; it holds what was learned since `fit`, and how many were named."""
        self._fitted()
        return State({"read": np.zeros(1, dtype=np.int64)}, self.fingerprint_)

    def step(
        self, sequence: Any, state: State, *, learn: bool | Onward = False, target: Any = None
    ) -> tuple[Labelled, State]:
        """One sequence in, its label out (a row of `apply`), with the state to go on from.

        sequence  an array (T,) or (T, C), NaN = missing, or a Series
        learn     True: name it, then learn from its label, in the state
        target    that label; None or NaN: not known, nothing is learned, and `state.learned` stays
        """
        self._fitted()
        verbs.stated(state)
        verbs.unasked(learn, target)
        verbs.same_model(state.model, self.fingerprint_)
        given, model = self._given([sequence]), verbs.running(self.model_, state.arrays)
        after = State({**state.arrays, "read": state.arrays["read"] + 1}, state.model)
        if learn:
            from . import corrected

            after = corrected.on(self, after, model.block(given), learn, target)
        return self._named(model, given), after

    def _given(self, X: Any) -> list[Floats]:
        given, wanted = sequences.each(X, self.channels_), self.model_.form.channels
        if given[0].shape[1] != wanted:
            raise DataError(f"sequences of {given[0].shape[1]} channels", wanted=f"{wanted}, as learned from")
        return given

    def _named(self, model: Model, given: list[Floats]) -> Labelled:
        proba = model.proba(given)
        return Labelled(self.classes_[proba.argmax(axis=1)], proba, self.classes_)

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path, *, state: State | None = None) -> None:
        """Write everything that running needs to one .safetensors file; an older file survives any failure.

        With `state`, what that has learned is the model.
        """
        self._fitted()
        if state is not None:
            from . import onward

            onward.kept(self, state).save(path)
            return
        model = self.model_
        spec = Spec(
            "classify", Params(**asked.plain_params(self)), model.form, len(next(iter(model.weights.values()))),
            model.temperature, self.classes_.tolist(), _kind(self.classes_), self.channels_, self.n_features_in_,
            self.verdict_, self.rivals_, len(self.judged_.rows), self.history_, self.histories_, self.tried_,
            self.notes_, self.device_, self.against_,
        )  # fmt: skip
        arrays = {**self._arrays(), **{f"judged/{n}": a for n, a in msgspec.structs.asdict(self.judged_).items()}}
        save.write(path, "model", msgspec.to_builtins(spec), arrays)

    def load_state(self, path: str | Path) -> State:
        """A state that `State.save` wrote, checked to be of this model."""

        def learning(table: save.Table) -> verbs.Arrays:
            from . import corrected

            return corrected.begin(self.model_)

        return verbs.load_state(path, self.start(), learning)

    def _arrays(self) -> verbs.Arrays:
        """All that an answer depends on but the temperature and the classes."""
        arrays: verbs.Arrays = {f"network/{name}": w for name, w in self.model_.weights.items()}
        return arrays | verbs.flat(self.model_.scale, "scale")

    def _fingerprint(self) -> str:
        """A short name of what was learned, by which a state knows its model."""
        facts = {"classes": self.classes_.tolist(), "temperature": self.model_.temperature}
        return verbs.fingerprint(self._arrays(), facts)

    @classmethod
    def from_file(cls, file: File) -> Self:
        """The classifier that `save` wrote; `tidegate.load` calls this."""
        spec = verbs.decode(file, Spec)
        if len(spec.classes) != spec.form.classes or not spec.temperature > 0 or spec.models < 1:
            saw = "its specification contradicts itself about classes, temperature or models"
            raise ModelFileError(saw, where=str(file.path), do="save it again")
        shapes = whole.shapes(spec.form)
        table: dict[str, tuple[tuple[int, ...], str]] = {
            f"network/{name}": ((spec.models, *shape), "float32") for name, shape in shapes.items()
        }
        table |= dict.fromkeys(("scale/center", "scale/spread"), ((spec.form.channels,), "float64"))
        table |= {f"judged/{name}": ((spec.judged,), "int64") for name in ("rows", "truth", "said")}
        arrays = file.arrays({**table, "judged/proba": ((spec.judged,), "float64")})
        found = cls(**msgspec.structs.asdict(spec.params))
        scale = Scale(arrays["scale/center"], arrays["scale/spread"])
        found.model_ = Model(spec.form, verbs.under(arrays, "network"), scale, spec.temperature)
        found.classes_ = np.array(spec.classes, dtype=spec.kind)
        found.channels_, found.n_features_in_ = spec.channels, spec.length
        found.verdict_, found.rivals_, found.history_ = spec.verdict, spec.rivals, spec.history
        found.against_ = spec.against
        found.histories_, found.parted_ = spec.histories, [parted(history) for history in spec.histories]
        found.tried_, found.notes_, found.device_ = spec.tried, spec.notes, spec.device
        found._judge(Judged(**verbs.under(arrays, "judged")))
        found.fingerprint_ = found._fingerprint()
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
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        inputs = InputTags(allow_nan=True, three_d_array=True)
        tags = Tags(estimator_type="classifier", target_tags=TargetTags(required=True), input_tags=inputs)
        tags.classifier_tags = ClassifierTags()
        return tags

    def predict(self, X: Any) -> Labels:
        """The label of every sequence (N,)."""
        return self.apply(X).label

    def predict_proba(self, X: Any) -> Floats:
        """The probability of every class (N, classes), in the order of `classes_`."""
        return self.apply(X).proba

    def score(self, X: Any, y: Any = None) -> float:
        """The share of sequences X whose label is y (N,), or the one that each series has."""
        y, X = sequences.in_order(y, X), sequences.many(X)
        said, truth = self.predict(X), np.asarray(sequences.labels(X) if y is None else y)
        if truth.shape != said.shape:
            raise DataError(f"labels of shape {truth.shape} for {len(said):,} sequences", wanted="one label each")
        sequences.met(truth, self.classes_)
        return float(np.mean(said == truth))

    def _fitted(self) -> None:
        verbs.require_fitted(self, "model_")


class Model(msgspec.Struct, eq=False):
    """What runs: the network's weights (M, ...) of M models, the scale before and the temperature after them."""

    form: Form
    weights: dict[str, NDArray[np.float32]]
    scale: Scale
    temperature: float = 1.0

    def logits(self, x: NDArray[np.float32], lengths: NDArray[np.int64], m: int) -> Floats:
        """What model m says of readings and mask x (N, T, 2C): (N, classes)."""
        params, found = {name: w[m] for name, w in self.weights.items()}, np.zeros((len(x), self.form.classes))
        order = np.argsort(lengths, kind="stable")  # those of like lengths together: little padding is read
        for first in range(0, len(x), BATCH):
            some = order[first : first + BATCH]
            found[some] = whole.forward(params, self.form, x[some, : lengths[some].max()], lengths[some])
        return found

    def block(self, given: list[Floats]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Sequences as the network reads them: readings and mask (N, T, 2C), lengths (N,)."""
        return sequences.block(given, self.scale, self.form.tail)

    def proba(self, given: list[Floats]) -> Floats:
        """(N, classes): the softmax of the models' mean logits, divided by the temperature (Guo et al. 2017)."""
        x, lengths = self.block(given)
        total = np.zeros((len(x), self.form.classes))
        count = len(next(iter(self.weights.values())))
        for m in range(count):
            total += self.logits(x, lengths, m)
        powers = np.exp((total - total.max(axis=1, keepdims=True)) / (count * self.temperature))
        proba: Floats = powers / powers.sum(axis=1, keepdims=True)
        return proba


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constructor's arguments, as a file holds them."""

    cell: str
    size: Size
    network: Network | None
    training: Training | None
    class_weight: str | None
    device: str
    seed: verbs.Seed


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The specification in a model file; the arrays beside it follow from this alone."""

    task: str
    params: Params
    form: Form
    models: int
    temperature: float
    classes: list[bool | int | float | str]
    kind: Literal["bool", "int", "float", "str"]
    channels: tuple[str, ...]
    length: int
    verdict: Chance
    rivals: dict[str, float]
    judged: int
    history: list[Epoch]
    histories: list[list[Epoch]]
    tried: list[Tried]
    notes: list[str]
    device: str
    against: dict[str, tuple[float, float]] = {}


def _classes(y: Any, count: int) -> tuple[Labels, NDArray[np.int64]]:
    """The classes in order, and the number of each label's class."""
    try:
        given = np.asarray(y)
    except ValueError:
        raise DataError("labels of several lengths", wanted="one label for each sequence") from None
    if given.shape != (count,):
        raise DataError(f"labels of shape {given.shape} for {count:,} sequences", wanted="one label each")
    if given.dtype.kind in KINDS:
        given = given.astype(KINDS[given.dtype.kind][1])
    elif all(isinstance(label, str) for label in given.tolist()):
        given = given.astype(np.str_)
    else:
        raise DataError(f"labels of type {given.dtype}", wanted="whole numbers, texts or truth values, none missing")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise DataError("labels that are missing", wanted="one for each sequence", do="leave those sequences out")
    sequences.whole(given.tolist())
    classes, numbers = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"one class only: {classes[0].item()!r}", wanted="at least two", do="give examples of both")
    return classes, numbers.astype(np.int64)


def _kind(classes: Labels) -> Literal["bool", "int", "float", "str"]:
    kinds: dict[str, Literal["bool", "int", "float", "str"]] = {"b": "bool", "i": "int", "f": "float", "U": "str"}
    return kinds[classes.dtype.kind]
