"""The next K steps, with quantiles that hold what they say.

>>> import tidegate as tg
>>> series = tg.synth.machine(rows=2000, channels=2, seed=0)
>>> forecaster = Forecaster(horizon=12, lookback=48, training=Training(epochs=2, batches=20)).fit(series[:1500])
>>> coming = forecaster.apply(series[1500:1600])
>>> coming.mean.shape, coming.quantile(0.95).shape
((12, 2), (12, 2))
>>> test = forecaster.backtest(series[1500:])       # from every moment, as it would have been
>>> len(test), sorted(test.errors)
(441, ['drift', 'forecaster', 'last_value', 'linear', 'seasonal'])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import noticed, save
from ..errors import DataError, ModelFileError, SettingError
from ..save import File
from ..scale import FAR, Scale, learn as learn_scale
from ..series import Series
from ..settings import Beside, Epoch, Network, Onward, Size, Training, Tried
from ..windows import on_grid, windows
from . import asked, coming, segments, verbs, windowed
from .coming import Coming
from .naive import Rules
from .outlook import Backtest, Forecast, verdict
from .segments import FORECASTING, Form
from .verbs import State
from .windowed import Model

Floats = NDArray[np.float64]
LOOKBACK = 256
LEVELS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)


class Forecaster:
    """Says what the next `horizon` rows will be, how sure that is, and whether a simple rule does better.

    >>> Forecaster(horizon=24, seed=1)
    Forecaster(horizon=24, seed=1)

    horizon   rows ahead, all written at once (no forecast feeds on another)
    lookback  rows back that a forecast rests on: all that is remembered; 256 if not given, of a short history a third
    held_out  the last part of the history: half of it stops training, half measures the quantiles
    levels    quantiles that are measured; between two of them lies a straight line
    cell      "gru", "lstm", "rnn_tanh" or "rnn_relu"
    size      "small", "medium" or "large": the one dial; `network` and `training` replace what it stands for
    device    where training runs: "auto" takes a GPU if torch sees one. Running needs neither.

    The network is that of SegRNN (Lin et al. 2023; see `segments`), mixed with a linear map by how well each did on
    held-out rows; quantiles are split conformal, for each step and channel. Missing values in the past are drawn as
    lines between what was seen. After `fit`: `channels_`, `known_`, `interval_`, `clock_`, `model_`, `errors_` (beside
    the rules, on the held-out rows that measure the quantiles; they chose no weights, but had a say in how much of the
    answer is the network's), `against_` (how likely chance gains as much over each rule, or loses), `history_` (a
    record an epoch), `split_`, `notes_`, `tried_` (by `tune`), `device_`.
    """

    def __init__(
        self,
        *,
        horizon: int = 1,
        lookback: int | None = None,
        held_out: float = 0.25,
        levels: Sequence[float] = LEVELS,
        cell: str = "gru",
        size: Size = "small",
        network: Network | None = None,
        training: Training | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.horizon, self.lookback, self.held_out, self.levels = horizon, lookback, held_out, levels
        self.cell, self.size, self.network, self.training = cell, size, network, training
        self.device, self.seed = device, seed

    def __repr__(self) -> str:
        return verbs.shown(self)

    # ------------------------------------------------------------------ learning

    def fit(
        self,
        X: Any,
        y: object = None,
        *,
        beside: Beside | None = None,
        exclude: Iterable[tuple[Any, Any]] = (),
        interval: str | float | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        tune: bool = False,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Self:
        """Learn from history how what comes depends on what was; returns self.

        X           Series, array (T, C), data frame, or a path that `read` understands
        beside      what a forecast rests on beside each channel's own past: `Beside(known=("price",), calendar=True)`
        exclude     stretches (start, end) to be treated as missing
        interval    seconds between rows where X has no clock ("1s" if not given)
        checkpoint  a file to which training writes after every epoch; `resume=True` goes on from it after a crash
        tune        True tries half and twice the units, a third and three times the learning rate: nine trainings, of
                    which validation rows pick one (`tried_`)
        on_epoch    called with each epoch's record
        """
        from .. import tuning  # running a model needs neither

        asked.sound(self, Params, resume, checkpoint)
        series = verbs.as_series(X, interval=interval)
        beside, levels = asked.one_kind("beside", beside or Beside(), Beside), self._levels()
        channels = coming.named(series, beside.known)
        form = self._form(series, len(channels), beside)
        from . import practice

        columns = series.select((*channels, *beside.known)).values
        values = np.where(series.outside(exclude)[:, None], columns, np.nan)
        # no window bridges a hole that is longer than what is remembered
        rows, at = on_grid(values, series.times, series.interval, most=form.lookback + form.horizon)
        parts = practice.split(len(rows), form, self.held_out, series.name)
        rows, known = rows[:, : form.channels], rows[:, form.channels :]
        scale = learn_scale(rows[: parts["train"][1]])
        z, training = scale.apply(rows), self.training
        u, ahead = coming.learn(form, z, known, coming.times(at, series), parts)
        if training is None:
            learned = parts["train"][1] - form.lookback - form.horizon + 1
            training = practice.paced(FORECASTING[self.size][1], learned * form.channels)

        def past(net: Network) -> practice.History:
            return practice.History(z, msgspec.structs.replace(form, net=net), parts, u, ahead.effect)

        found = tuning.learn(
            self, lambda net, device: practice.problem(past(net), training, self.seed, device),
            form.net, training, checkpoint=checkpoint, resume=resume, tune=tune, on_epoch=on_epoch,
        )  # fmt: skip
        model, errors, self.against_ = practice.finish(past(found.net), scale, ahead, found.run.weights, levels)
        self.channels_, self.known_, self.interval_, self.clock_ = channels, beside.known, series.interval, series.clock
        self.model_, self.errors_, self.split_, self.times_ = model, errors, parts, asked.span([series])
        self.history_, self.device_, self.tried_ = found.run.history, found.run.device, found.tried
        few = self._few(len(past(found.net).origins("calibrate")))
        cycle = practice.cycle(past(found.net))
        self.notes_ = [*series.notes, *filter(None, [*found.notes, found.run.stopped, few, cycle]), self._shared()]
        self.fingerprint_ = self._fingerprint()
        return self

    def _few(self, origins: int) -> str:
        """A note where the outermost quantiles are only the farthest misses that were seen."""
        levels = self._levels()
        edge = min(float(levels[0]), float(1 - levels[-1]))
        if edge * (origins + 1) >= 1:
            return ""
        return f"quantiles below {1 / (origins + 1):.2g}, or as near to 1, are the farthest of {origins} misses"

    def _shared(self) -> str:
        part = f"the networks' part of the answer, {self.model_.share:.2f},"
        return f"{part} was chosen on held-out rows, among them those that judge it and set its bands"

    # ------------------------------------------------------------------ running

    def start(self) -> State:
        """The state of a stream before its first reading."""
        self._fitted()
        return State(windowed.start(self.model_.form), self.fingerprint_)

    def apply(self, X: Any, state: State | None = None, *, ahead: Any = None) -> Forecast:
        """The forecast after the last row of X; with `state`, as the continuation of what it has seen.

        ahead  the columns that are known ahead (`known_`), for the next `horizon` rows: a table, Series or array

        In pieces it ends with the same bits as in one: what is remembered are the last `lookback` rows.
        """
        self._fitted()
        given = verbs.given(X, self.interval_)
        series, notes = verbs.match(given, self._columns, self.interval_, self.clock_)
        state = self.start() if state is None else verbs.stated(state)
        return self._ahead(series.values, self._times(series, state), state, (series.name, notes), ahead)

    def step(
        self, reading: Mapping[str, float] | Iterable[float] | float, state: State, *, time: Any = None,
        learn: bool | Onward = False, target: None = None, ahead: Any = None,
    ) -> tuple[Forecast, State]:  # fmt: skip
        """One reading in, one forecast out, with the state to go on from; the same bits as `apply` on the whole.

        reading  channel name -> value, or the values in the order of `channels_`, then `known_`; None or NaN = missing
        time     when it was read; one interval after the last if not given
        learn    True: forecast, then learn from windows whose future has come (`hindsight`), in the state
        target   None: the truth comes with later readings
        ahead    the next `horizon` rows of what is known ahead, as in `apply`
        """
        self._fitted()
        state = verbs.stated(state, learn)
        verbs.unasked(learn, target)
        values = verbs.row(reading, self._columns)
        now = verbs.moment(self._next(state, 1)[0] if time is None else time)
        self._later(now, state)
        times = np.array([now], dtype=np.int64)
        found = self._ahead(values, times, state, ("reading", []), ahead)
        if not learn:
            return found, found.state
        from . import hindsight

        return hindsight.on(self, state, found, (values, times), learn, target)

    def backtest(self, X: Any, *, every: int = 1) -> Backtest:
        """Forecasts from every moment of X (or one in `every`) with `lookback` rows before and `horizon` after it.

        In one pass over batches of windows: nothing is fitted again, and each forecast is the one that `apply` would
        have given. X should be later than what was learned from; put the `lookback` rows before the first moment in.
        What is known ahead (`known_`) is taken from X, as if it had been known exactly.
        """
        self._fitted()
        if not isinstance(every, int | np.integer) or every < 1:
            raise SettingError(f"every={every}", wanted="a whole number, 1 or more")
        series = verbs.match(verbs.given(X, self.interval_), self._columns, self.interval_, self.clock_)[0]
        form, model = self.model_.form, self.model_
        most = form.lookback + form.horizon
        rows, at = on_grid(series.values, series.times, self.interval_, most=most)
        ends = at[(at >= form.lookback - 1) & (at < len(rows) - form.horizon)][::every]
        if not len(ends):
            wanted = f"at least {most:,}: {form.lookback} before the first forecast and {form.horizon} after it"
            raise DataError(f"{len(rows):,} rows", wanted=wanted, where=series.name)
        known, rows = windows(rows[:, form.channels :], most), rows[:, : form.channels]

        def features(first: NDArray[np.int64]) -> Floats:
            last = series.times[np.searchsorted(at, first + form.lookback - 1)]
            return coming.features(form, model.coming.scale, known[first], last, self.interval_)

        told = features if form.features else None
        found = windowed.judged(model, model.scale.apply(rows), ends - form.lookback + 1, told)
        times, truth = series.times[np.searchsorted(at, ends)], windows(rows[form.lookback :], form.horizon)
        return Backtest(
            series.name, self.channels_, times, model.scale.undo(found.said), truth[ends - form.lookback + 1],
            model.levels, model.bands * model.scale.spread, found.breadth, found.errors,
            found.against,
        )  # fmt: skip

    def _ahead(
        self, values: Floats, times: NDArray[np.int64], state: State, told: tuple[str, list[str]], ahead: Any
    ) -> Forecast:
        verbs.same_model(state.model, self.fingerprint_)
        model, (last, seen) = verbs.running(self.model_, state.arrays), state.arrays["clock"].tolist()
        form, interval = model.form, self.interval_
        rows, _ = on_grid(values, times, interval, last=last if seen else None, most=form.lookback)
        known = np.concatenate([state.arrays["rows"], rows])[-form.lookback :]
        seen = min(seen + len(rows), form.lookback) if self.clock_ else seen + len(values)
        new = values[:, : form.channels]
        notes = [
            *told[1],
            *coming.hurry(times, last if state.arrays["clock"][1] else None, interval),
            *self._doubts(known[:, : form.channels], seen),
            *noticed.beyond(new, np.abs(model.scale.apply(new)), FAR, self.channels_, times),
        ]
        ticks, past = coming.after(times[-1], form.horizon, interval), known[:, : form.channels]
        u = self._features(known[:, form.channels :], ahead, ticks, times[-1:])
        said, wider = windowed.ahead(model, model.scale.apply(past)[None], u)
        mean, bands = model.scale.undo(said[windowed.OURS][0]), model.bands * model.scale.spread
        own = {"rows": known, "clock": np.array([times[-1], seen], dtype=np.int64)}
        after = State({**state.arrays, **own}, state.model)
        return Forecast(told[0], self.channels_, ticks, mean, model.levels, bands, wider[0], tuple(notes), after)

    def _features(self, known: Floats, ahead: Any, ticks: NDArray[np.int64], last: NDArray[np.int64]) -> Floats | None:
        form = self.model_.form
        if ahead is not None and not form.known:
            raise SettingError("ahead= for a forecaster that knows nothing ahead", do="fit it with Beside(known=...)")
        if not form.features:
            return None
        planned = np.zeros((form.horizon, 0))
        if form.known:
            planned = coming.planned(ahead, self.known_, ticks, self.interval_, self.clock_)
        whole = np.concatenate([known, planned])[None]
        return coming.features(form, self.model_.coming.scale, whole, last, self.interval_)

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*self.channels_, *self.known_)

    def _doubts(self, known: NDArray[np.float64], seen: int) -> list[str]:
        """What makes this forecast worth less than others."""
        lookback, count = len(known), (~np.isnan(known)).sum(axis=0)
        silent, scarce = (
            ", ".join(np.array(self.channels_)[of]) for of in (count == 0, (count > 0) & (2 * count < lookback))
        )
        found = [f"only {seen} of {lookback} rows were read so far"] if seen < lookback else []
        if scarce and not found:
            found = [f"less than half of the last {lookback} rows were read of {scarce}: bands may be too narrow"]
        return found + ([f"no forecast of {silent}: nothing was read in {lookback} rows"] if silent else [])

    def _times(self, series: Series, state: State) -> NDArray[np.int64]:
        if series.clock:
            self._later(int(series.times[0]), state)
            return series.times
        return self._next(state, len(series))

    def _next(self, state: State, rows: int) -> NDArray[np.int64]:
        last, seen = state.arrays["clock"].tolist()
        return verbs.ticks(rows, self.interval_, seen, last if self.clock_ and seen else None)

    def _later(self, now: int, state: State) -> None:
        last, seen = state.arrays["clock"].tolist()
        if seen:
            verbs.later(now, last)

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
        facts = {"channels": self.channels_, "interval": self.interval_, "clock": self.clock_, "device": self.device_}
        facts |= {"history": self.history_, "split": self.split_, "notes": self.notes_, "errors": self.errors_}
        facts |= {"against": self.against_, "times": self.times_}
        inside = {"form": self.model_.form, "share": self.model_.share, "tried": self.tried_}
        inside |= {"follows": self.model_.follows}
        spec = {"task": "forecast", "params": asked.plain_params(self), "known": self.known_, **facts, **inside}
        save.write(path, "model", msgspec.to_builtins(spec), self._arrays())

    def load_state(self, path: str | Path) -> State:
        """A state that `State.save` wrote, checked to be of this model."""

        def learning(table: save.Table) -> verbs.Arrays:
            from . import hindsight, onward

            return hindsight.begin(self.model_, onward.length(table))

        return verbs.load_state(path, self.start(), learning)

    def _arrays(self) -> verbs.Arrays:
        model = self.model_
        arrays: verbs.Arrays = {f"network/{name}": w for name, w in model.weights.items()}
        arrays |= verbs.flat(model.scale, "scale") | verbs.flat(model.rules, "rules")
        arrays |= verbs.flat(model.coming, "coming") if model.form.features else {}
        arrays |= {"usual": model.usual} if model.follows else {}
        return arrays | {"levels": model.levels, "bands": model.bands}

    def _fingerprint(self) -> str:
        names: dict[str, Any] = {"channels": self.channels_} | ({"known": self.known_} if self.known_ else {})
        names |= {"follows": self.model_.follows} if self.model_.follows else {}
        return verbs.fingerprint(self._arrays(), {**names, "share": self.model_.share})

    @classmethod
    def from_file(cls, file: File) -> Self:
        """The forecaster that `save` wrote; `tidegate.load` calls this."""
        spec = verbs.decode(file, Spec)
        counts = len(spec.channels), len(spec.known)
        if (spec.form.channels, spec.form.known) != counts or not 0 <= min(spec.share, spec.follows) <= 1:
            raise ModelFileError("its specification contradicts itself", where=str(file.path), do="save it again")
        arrays = file.arrays(_implied(spec))
        scale, rules = verbs.built(Scale, arrays, "scale"), verbs.built(Rules, arrays, "rules")
        if not 1 <= rules.period[0] <= spec.form.lookback:
            raise ModelFileError("its period is longer than its memory", where=str(file.path), do="save it again")
        weights, (levels, bands) = verbs.under(arrays, "network"), (arrays[name] for name in ("levels", "bands"))
        task = cls(**msgspec.structs.asdict(spec.params))
        ahead = verbs.built(Coming, arrays, "coming") if spec.form.features else coming.nothing(spec.form.channels)
        usual = arrays.get("usual", np.ones(spec.form.channels))
        task.model_ = Model(spec.form, weights, scale, rules, spec.share, levels, bands, ahead, usual, spec.follows)
        task.known_, task.times_ = spec.known, spec.times
        task.channels_, task.interval_, task.clock_ = spec.channels, spec.interval, spec.clock
        task.split_ = {name: spec.split[name] for name in ("train", "valid", "calibrate") if name in spec.split}
        task.history_, task.tried_, task.notes_ = spec.history, spec.tried, spec.notes
        task.errors_, task.against_, task.device_ = spec.errors, spec.against, spec.device
        task.fingerprint_ = task._fingerprint()
        return task

    # ------------------------------------------------------------------ scikit-learn's conventions

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return verbs.get_params(self)

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments by name."""
        verbs.set_params(self, params)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        inputs, target = InputTags(allow_nan=True), TargetTags(required=False)
        return Tags(estimator_type=None, target_tags=target, input_tags=inputs)

    def predict(self, X: Any, *, ahead: Any = None) -> NDArray[np.float64]:
        """The next rows (K, C) after X; `ahead` as in `apply`."""
        return self.apply(X, ahead=ahead).mean

    def score(self, X: Any, y: object = None) -> float:
        """Minus the mean squared error of a backtest on X, in spreads: bigger is better, as scikit-learn has it."""
        return -self.backtest(X).errors[windowed.OURS][0]

    # ------------------------------------------------------------------ settings

    @property
    def lookback_(self) -> int:
        """Rows back that a forecast rests on."""
        self._fitted()
        return self.model_.form.lookback

    @property
    def verdict_(self) -> str:
        """Whether it beat every simple rule on held-out rows, in a sentence."""
        self._fitted()
        return verbs.dated(verdict(self.errors_, self.against_), self.notes_)

    def _fitted(self) -> None:
        verbs.require_fitted(self, "model_")

    def _form(self, series: Series, channels: int, beside: Beside) -> Form:
        net = verbs.chosen(self, FORECASTING)
        if not isinstance(self.held_out, float) or not 0 < self.held_out < 1:
            raise SettingError(f"held_out is {self.held_out}", wanted="a share of the history, between 0 and 1")
        lookback = max(4, min(LOOKBACK, len(series) // 3)) if self.lookback is None else self.lookback
        return Form(
            channels=channels, horizon=self.horizon, lookback=lookback, net=net, models=segments.MODELS,
            joint=beside.joint, known=len(beside.known), calendar=coming.cycles(series) if beside.calendar else (),
        )  # fmt: skip

    def _levels(self) -> NDArray[np.float64]:
        levels = np.array(self.levels, dtype=np.float64)
        if (
            levels.ndim != 1
            or len(levels) < 2
            or not (levels[0] > 0 and levels[-1] < 1 and (np.diff(levels) > 0).all())
        ):
            raise SettingError(f"levels of {self.levels}", wanted="two or more between 0 and 1, each above the last")
        return levels


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constructor's arguments, as a file holds them."""

    horizon: int
    lookback: int | None
    held_out: float
    levels: tuple[float, ...]
    cell: str
    size: Size
    network: Network | None
    training: Training | None
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
    notes: list[str]
    errors: dict[str, tuple[float, float]]
    form: Form
    share: float
    known: tuple[str, ...] = ()
    follows: float = 0.0
    against: dict[str, tuple[float, float]] = {}
    times: tuple[int, int] | None = None


def _implied(spec: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    form, count = spec.form, len(spec.params.levels)
    table: dict[str, tuple[tuple[int, ...], str]] = {
        f"network/{name}": ((form.models, *shape), "float32") for name, shape in segments.shapes(form).items()
    }
    table |= dict.fromkeys(("scale/center", "scale/spread"), ((form.channels,), "float64"))
    table |= {"rules/period": ((1,), "int64"), "rules/linear": ((form.horizon, form.lookback), "float32")}
    if form.features:
        table |= dict.fromkeys(("coming/scale/center", "coming/scale/spread"), ((form.known,), "float64"))
        table |= {"coming/effect": ((form.features, form.channels), "float64")}
    table |= {"usual": ((form.channels,), "float64")} if spec.follows else {}
    return table | {"levels": ((count,), "float64"), "bands": ((count, form.horizon, form.channels), "float64")}
