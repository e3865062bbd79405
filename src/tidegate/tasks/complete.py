"""Fill what is missing; say how sure each fill is; never worse than linear interpolation where that can be judged.

>>> from tidegate import synth
>>> series = synth.machine(rows=1000, channels=2, seed=0)
>>> values = series.values.copy()
>>> values[300:320, 0] = np.nan
>>> completed = Completer(training=Training(epochs=1)).fit(values).apply(values)
>>> completed.values.shape, int(completed.filled.sum()), int(np.isnan(completed.values).sum())
((1000, 2), 20, 0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np

from .. import save
from ..errors import ModelFileError, SettingError
from ..save import File
from ..scale import Scale
from ..series import SECOND, Series
from ..settings import Epoch, Network, Onward, Size, Training, Tried, Window, one_of
from . import asked, filling, verbs
from .around import Floats, Marks, Recipe, Times
from .filling import Model
from .verbs import State

if TYPE_CHECKING:
    import polars

    from ..train import Problem

SIZES: dict[str, tuple[Network, Training]] = {
    "small": (Network(hidden=64), Training(epochs=36, batches=40, batch=32, learning_rate=6e-3)),
    "medium": (Network(hidden=128), Training(epochs=60, batches=40, batch=32, learning_rate=2e-3)),
    "large": (
        Network(hidden=128, layers=2, dropout=0.1),
        Training(epochs=100, batches=40, batch=32, learning_rate=2e-3),
    ),
}
WINDOW = Window(length=64, valid=0.125, calibrate=0.125)


class Filled(msgspec.Struct, frozen=True):
    """One reading made whole, by channel: values, standard deviations (0 where observed), what was filled."""

    time: int
    values: dict[str, float]
    std: dict[str, float]
    filled: dict[str, bool]
    linear: dict[str, float]


@dataclass(frozen=True, eq=False)
class Completed:
    """The answer of `apply`: a row for every row of data, in its units; what was observed is there bit for bit."""

    name: str
    channels: tuple[str, ...]
    times: Times
    values: Floats
    """(T, C) observed, else filled; NaN only where there was nothing to fill from (`notes` says so)"""
    std: Floats
    """(T, C) standard deviation of each fill; 0 where observed. 90 % of the truth lies within 1.645 of them"""
    filled: Marks
    """(T, C) True where a missing value was filled"""
    linear: Floats
    """(T, C) the same by linear interpolation; with direction="past", by the last value"""
    notes: tuple[str, ...]
    state: State | None
    """where the stream stands; None where both directions are read"""

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"<Completed {self.name}: {int(self.filled.sum()):,} of {self.filled.size:,} values filled>"

    def row(self, row: int = -1) -> Filled:
        """One row as a value."""
        columns = (self.values, self.std, self.filled, self.linear)
        named = (dict(zip(self.channels, column[row].tolist(), strict=True)) for column in columns)
        return Filled(int(self.times[row]), *named)

    def to_frame(self) -> polars.DataFrame:
        """A polars frame: time, each channel, and for each channel `std ...`, `filled ...` and `linear ...`."""
        import polars

        columns: dict[str, Any] = {"time": polars.Series(self.times).cast(polars.Datetime("ns", "UTC"))}
        for mark, table in (("", self.values), ("std ", self.std), ("filled ", self.filled), ("linear ", self.linear)):
            columns |= {f"{mark}{name}": table[:, i] for i, name in enumerate(self.channels)}
        return polars.DataFrame(columns)

    def to_pandas(self) -> Any:
        """The same as a pandas frame, where pandas is installed."""
        return self.to_frame().to_pandas()


class Completer:
    """Fills missing points, stretches and whole channels, each with a standard deviation.

    >>> Completer(direction="past", seed=1)
    Completer(direction='past', seed=1)

    direction  "both": what came before and after, for histories. "past": only what came before, for streams (`step`).
               "none": the neighbours of each hole without recurrence, the baseline that the network must beat
    cell       "gru", "lstm", "rnn_tanh" or "rnn_relu"
    size       "small", "medium" or "large": the one dial; `network` and `training` replace what it stands for
    window     rows of a training window, and which shares of the history judge and calibrate
    device     where training runs: "auto" takes a GPU if torch sees one. Running needs neither.

    Training hides known cells and fills them, beginning at linear interpolation (at the last value with "past"). Rows
    that it has not seen then decide, by channel and for near and far holes, how far the network is believed: where it
    gains no more than chance, the fill is linear interpolation, and `notes_` says so of a whole channel. Other rows
    calibrate the standard deviations. Training needs no complete history and no regular clock. Of `Training`, `noise`
    has no part in this: hiding is the noise.

    After `fit`: `channels_`, `interval_`, `model_`, `history_` (a record an epoch), `split_` (rows used for what),
    `held_out_` (mean absolute error on the last rows, in spreads of each channel, beside the naive rules'),
    `against_` (of each of these, how likely chance alone gains as much over it, and loses as much), `verdict_`,
    `by_channel_` (the same of each channel, and what decided whether the network fills it),
    `linear_` (channels that are only interpolated), `notes_`, `tried_` (by `tune`), `device_`.

    Recipe: see `filling`, and in the spirit of BRITS (Cao et al. 2018), which has the masks, gaps and directions but no
    interpolation to begin at.
    """

    def __init__(
        self,
        *,
        direction: str = "both",
        cell: str = "gru",
        size: Size = "small",
        network: Network | None = None,
        training: Training | None = None,
        window: Window | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.direction, self.cell, self.size = direction, cell, size
        self.network, self.training, self.window = network, training, window
        self.device, self.seed = device, seed

    def __repr__(self) -> str:
        return verbs.shown(self)

    # ------------------------------------------------------------------ learning

    def fit(
        self,
        X: Any,
        y: object = None,
        *,
        interval: str | float | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        tune: bool = False,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Self:
        """Learn how the channels go on and together, from a history with or without holes; returns self.

        X           Series, array (T, C), data frame, or a path that `read` understands; at least 64 rows
        interval    seconds between rows where X has no clock ("1s" if not given)
        checkpoint  a file to which training writes after every epoch; `resume=True` goes on from it after a crash
        tune        True tries half and twice the units, a third and three times the learning rate: nine trainings, of
                    which validation rows pick one (`tried_`)
        on_epoch    called with each epoch's record
        """
        from .. import tuning  # running a model needs neither

        asked.sound(self, Params, resume, checkpoint)
        series = verbs.as_series(X, interval=interval)
        from . import hiding

        past, scale, known = hiding.history(series, self.window or WINDOW)
        recipe, training = self._recipe(len(series.channels), past.length), self.training or SIZES[self.size][1]

        def problem(net: Network, device: str) -> Problem:
            return hiding.problem(past, msgspec.structs.replace(recipe, net=net), self.seed, device)

        found = tuning.learn(
            self, problem, recipe.net, training, checkpoint=checkpoint, resume=resume, tune=tune, on_epoch=on_epoch
        )
        recipe, run = msgspec.structs.replace(recipe, net=found.net), found.run
        every = np.ones((filling.KINDS, recipe.channels))
        plain = Model(recipe, run.weights, scale, known, every, every[:, 0])
        judged = hiding.finish(past, plain, self.seed)
        self.channels_, self.interval_, self.clock_ = series.channels, series.interval, series.clock
        self.times_ = asked.span([series])
        self.history_, self.tried_, self.device_ = run.history, found.tried, run.device
        self.held_out_, self.against_ = judged.errors, judged.against
        self.linear_ = tuple(series.channels[c] for c in judged.doubted)
        self.by_channel_ = dict(zip(series.channels, judged.each, strict=True))
        self.split_ = dict(zip(("train", "valid", "calibrate"), past.parts, strict=True))
        self.notes_ = [*series.notes, *filter(None, [*found.notes, run.stopped, self._doubt()])]
        self._remember(judged.model)
        return self

    def _doubt(self) -> str:
        naive = "the last value" if self.direction == "past" else "linear interpolation"
        judged = [name for name in self.linear_ if "decided network" in self.by_channel_[name]]
        rest = [name for name in self.linear_ if name not in judged]
        why = {"no better than {} on later rows": judged, "no reading on later rows to be judged by": rest}
        return "; ".join(
            f"{said.format(naive)}, so filled by {naive}: {', '.join(of)}" for said, of in why.items() if of
        )

    def _remember(self, model: Model) -> None:
        self.model_ = model
        self.fingerprint_ = verbs.fingerprint(self._arrays(), {"channels": self.channels_})

    def _recipe(self, channels: int, length: int) -> Recipe:
        one_of("direction", self.direction, tuple(filling.WAYS))
        net = verbs.chosen(self, SIZES)
        return Recipe(channels=channels, net=net, direction=self.direction, length=length)  # type: ignore[arg-type]

    @property
    def verdict_(self) -> str:
        """Whether it fills held-out rows better than every simple rule, in a sentence; wrong about 5 % of the time."""
        self._fitted()
        from . import hiding

        errors = {name: e for name, e in self.held_out_.items() if name != "linear" or self.direction != "past"}
        return verbs.dated(hiding.verdict(errors, self.against_), self.notes_)  # past: linear is the last value

    # ------------------------------------------------------------------ running

    def start(self) -> State:
        """The state of a stream before its first reading; only the form that reads the past has one."""
        self._fitted()
        if self.model_.recipe.direction != "past":
            raise SettingError(
                f"a stream with direction={self.model_.recipe.direction!r}, which needs what comes after a hole",
                wanted='direction="past"',
                do='fit Completer(direction="past"), or apply this one to whole histories',
            )
        none = np.zeros(1, dtype=np.int64)
        return State({**filling.begin(self.model_.recipe), "read": none, "time": none}, self.fingerprint_)

    def apply(self, X: Any, state: State | None = None) -> Completed:
        """Fill every row; with `state` (direction="past"), as the continuation of what it has seen.

        What is observed comes out bit for bit. Pieces give the same bits as the whole with direction="past"; otherwise
        a history is one piece, and what is cut off is not known.
        """
        self._fitted()
        series, notes = verbs.match(verbs.given(X, self.interval_), self.channels_, self.interval_, self.clock_)
        if state is not None or self.model_.recipe.direction == "past":
            begun = self.start()
            state = begun if state is None else verbs.stated(state)
        return self._read(series.values, self._times(series, state), state, name=series.name, notes=notes)

    def step(
        self, reading: Mapping[str, float] | Iterable[float] | float, state: State, *, time: Any = None,
        learn: bool | Onward = False, target: Mapping[str, float] | Iterable[float] | None = None,
    ) -> tuple[Filled, State]:  # fmt: skip
        """One reading in, the same made whole out, with the state to go on from; the same bits as `apply` on the whole.

        reading  channel name -> value, or the values in the order of `channels_`; None or NaN = missing
        time     when it was read; one interval after the last if not given
        learn    True: fill, then learn from hiding what was read (`recall`), in the state
        target   while learning: the reading as it really was, where what was missing is known by now
        """
        self._fitted()
        state = verbs.stated(state, learn)
        verbs.unasked(learn, target)
        values, last = verbs.row(reading, self.channels_), int(state.arrays["time"][0])
        ahead = last + round(self.interval_ * SECOND) if self.clock_ else int(self._ticks(state, 1)[0])
        now = verbs.moment(ahead if time is None else time)
        self._later(now, state)
        times = np.array([now], dtype=np.int64)
        done = self._read(values, times, state, name="reading", notes=[])
        after: State = done.state  # type: ignore[assignment]
        if learn:
            from . import recall

            after = recall.on(self, state, after, (values, times), learn, target)
        return done.row(), after

    def transform(self, X: Any) -> Floats:
        """`apply(X).values`, as scikit-learn's imputers give them."""
        return self.apply(X).values

    def fit_transform(self, X: Any, y: object = None) -> Floats:
        """`fit(X)`, and what it fills in the same rows."""
        return self.fit(X, y).transform(X)

    def _read(self, values: Floats, times: Times, state: State | None, *, name: str, notes: list[str]) -> Completed:
        if state is not None:
            verbs.same_model(state.model, self.fingerprint_)
        before = filling.begin(self.model_.recipe) if state is None else state.arrays
        model = verbs.running(self.model_, before)
        fill, std, facts, after = filling.run(model, values, times, self.interval_, before)
        seen = ~np.isnan(values)
        blank = facts.lone[0] & ~model.known & ~seen
        if state is not None:
            read = np.array([len(values) + int(before["read"][0])], dtype=np.int64)
            state = State({**after, "read": read, "time": times[-1:].copy()}, state.model)
        if blank.any():
            empty = self._named(blank)
            notes = [*notes, f"left empty, for want of a single reading here and in training: {empty}"]
        filled = ~seen & ~blank
        if (far := filled & filling.unchecked(facts, model.recipe)).any():
            deep = self._named(far)
            notes = [*notes, f"further from a reading than training could check, so `std` is a guess there: {deep}"]
        return Completed(
            name=name, channels=self.channels_, times=times, filled=filled,
            values=np.where(seen, values, np.where(blank, np.nan, fill)),
            std=np.where(seen, 0.0, np.where(model.known, std, np.nan)),
            linear=np.where(seen, values, np.where(blank, np.nan, model.scale.undo(facts.guess[0]))),
            notes=tuple(notes), state=state,
        )  # fmt: skip

    def _named(self, cells: Marks) -> str:
        """The channels that some cells (T, C) are of."""
        return ", ".join(self.channels_[c] for c in np.flatnonzero(cells.any(axis=0)))

    def _times(self, series: Series, state: State | None) -> Times:
        if series.clock or state is None:
            self._later(int(series.times[0]), state)
            return series.times
        return self._ticks(state, len(series))

    def _ticks(self, state: State, rows: int) -> Times:
        seen, last = int(state.arrays["read"][0]), int(state.arrays["time"][0])
        return verbs.ticks(rows, self.interval_, seen, last if self.clock_ and seen else None)

    def _later(self, now: int, state: State | None) -> None:
        if state is not None and state.arrays["read"][0]:
            verbs.later(now, int(state.arrays["time"][0]))

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
        save.write(path, "model", self._spec(), self._arrays())

    def load_state(self, path: str | Path) -> State:
        """A state that `State.save` wrote, checked to be of this model."""

        def learning(table: save.Table) -> verbs.Arrays:
            from . import onward, recall

            return recall.begin(self.model_.recipe, self.model_.weights, onward.length(table))

        return verbs.load_state(path, self.start(), learning)

    def _spec(self) -> dict[str, Any]:
        facts = {"channels": self.channels_, "interval": self.interval_, "clock": self.clock_, "device": self.device_}
        facts |= {"history": self.history_, "split": self.split_, "notes": self.notes_, "linear": self.linear_}
        facts |= {"held_out": self.held_out_, "by_channel": self.by_channel_, "tried": self.tried_}
        facts |= {"recipe": self.model_.recipe, "against": self.against_, "times": self.times_}
        spec: dict[str, Any] = msgspec.to_builtins({"task": "complete", "params": asked.plain_params(self), **facts})
        return spec

    def _arrays(self) -> verbs.Arrays:
        model = self.model_
        arrays: verbs.Arrays = {f"network/{name}": w for name, w in model.weights.items()}
        return (
            arrays
            | verbs.flat(model.scale, "scale")
            | {"known": model.known, "trust": model.trust, "widen": model.widen}
        )

    @classmethod
    def from_file(cls, file: File) -> Self:
        """The completer that `save` wrote; `tidegate.load` calls this."""
        spec = verbs.decode(file, Spec)
        if spec.recipe.channels != len(spec.channels):
            saw = "its specification contradicts itself about channels"
            raise ModelFileError(saw, where=str(file.path), do="save it again")
        arrays = file.arrays(_implied(spec.recipe))
        completer = cls(**msgspec.structs.asdict(spec.params))
        completer.channels_, completer.interval_, completer.clock_ = spec.channels, spec.interval, spec.clock
        completer.history_, completer.tried_, completer.times_ = spec.history, spec.tried, spec.times
        completer.device_, completer.held_out_, completer.against_ = spec.device, spec.held_out, spec.against
        completer.split_ = {name: spec.split[name] for name in ("train", "valid", "calibrate")}  # in time
        completer.linear_, completer.notes_, completer.by_channel_ = spec.linear, spec.notes, spec.by_channel
        scale, weights = verbs.built(Scale, arrays, "scale"), verbs.under(arrays, "network")
        known, trust, widen = (arrays[name] for name in ("known", "trust", "widen"))
        completer._remember(Model(spec.recipe, weights, scale, known, trust, widen))
        return completer

    # ------------------------------------------------------------------ settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return verbs.get_params(self)

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments by name."""
        verbs.set_params(self, params)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        inputs, target = InputTags(allow_nan=True), TargetTags(required=False)
        return Tags(
            estimator_type="transformer", target_tags=target, input_tags=inputs, transformer_tags=TransformerTags()
        )

    def _fitted(self) -> None:
        verbs.require_fitted(self, "model_")


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constructor's arguments, as a file holds them."""

    direction: str
    cell: str
    size: Size
    network: Network | None
    training: Training | None
    window: Window | None
    device: str
    seed: verbs.Seed


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The specification in a model file; the arrays beside it follow from this alone (`_implied`)."""

    task: str
    params: Params
    channels: tuple[str, ...]
    interval: float
    clock: bool
    device: str
    history: list[Epoch]
    tried: list[Tried]
    split: dict[str, tuple[int, int]]
    held_out: dict[str, float]
    by_channel: dict[str, dict[str, float]]
    linear: tuple[str, ...]
    notes: list[str]
    recipe: Recipe
    against: dict[str, tuple[float, float]] = {}
    times: tuple[int, int] | None = None


def _implied(recipe: Recipe) -> dict[str, tuple[tuple[int, ...], str]]:
    table = {f"network/{name}": (shape, "float32") for name, shape in filling.shapes(recipe).items()}
    c = (recipe.channels,)
    table |= {"scale/center": (c, "float64"), "scale/spread": (c, "float64"), "known": (c, "bool")}
    return table | {"trust": ((filling.KINDS, *c), "float64"), "widen": ((filling.KINDS,), "float64")}
