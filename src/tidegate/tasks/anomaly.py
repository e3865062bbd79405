"""Learn normal only; score, alarm, and blame by channel.

>>> from tidegate import synth
>>> series = synth.machine(rows=3000, channels=2, seed=0)
>>> detector = AnomalyDetector(training=Training(epochs=2), false_alarms="1/hour").fit(series[:2400])
>>> detector.apply(series[2400:]).score.shape
(600,)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import calibrate, save
from ..calibrate import AlarmState, Calibration, Threshold
from ..errors import ModelFileError
from ..save import File
from ..scale import FAR, Scale
from ..series import Series, time_text
from ..settings import SIZES, Alarming, Epoch, Network, Onward, Size, Training, Tried, Window, one_of, rate
from ..surprise import SPANS, Normal
from ..together import width
from . import expect, scoring, verbs
from .expect import Heads
from .found import Alarm, Found, Verdict, blame, name_channels
from .scoring import Model
from .verbs import State

if TYPE_CHECKING:
    from .learning import History
    from .rivals import Rival

    Measured = tuple[Calibration, list[tuple[float, float, float, float]], dict[str, Rival]]
METHODS = {"prediction": (True, False), "reconstruction": (False, True), "both": (True, True)}


class AnomalyDetector:
    """Says how unusual each reading is, when that is an alarm at the budget you set, and which channels to blame.

    >>> AnomalyDetector(false_alarms="1/day", seed=1)
    AnomalyDetector(false_alarms='1/day', seed=1)

    method        "prediction" (what comes next), "reconstruction" (what was just seen, through a bottleneck) or "both"
    form          of the reconstruction: "streaming" (constant work a reading) or "classical" (encoder and decoder)
    cell          "gru", "lstm", "rnn_tanh" or "rnn_relu"
    size          "small", "medium" or "large": the one dial; `network` and `training` replace what it stands for
    false_alarms  how many false alarms normal operation may give: "1/week"; or Alarming(...) for the finer points
    device        where training runs: "auto" takes a GPU if torch sees one. Running needs neither.

    After `fit`: `channels_`, `interval_`, `model_`, `calibration_`, `history_` (a record an epoch), `split_` (rows
    used for what), `learned_` (facts in words), `notes_` (what was noticed), `tried_` (by `tune`), `device_`.
    """

    def __init__(
        self,
        *,
        method: str = "both",
        form: str = "streaming",
        cell: str = "gru",
        size: Size = "small",
        network: Network | None = None,
        training: Training | None = None,
        window: Window | None = None,
        false_alarms: str | Alarming = "1/week",
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.method, self.form, self.cell, self.size = method, form, cell, size
        self.network, self.training, self.window = network, training, window
        self.false_alarms, self.device, self.seed = false_alarms, device, seed

    def __repr__(self) -> str:
        return verbs.shown(self)

    # ------------------------------------------------------------------ learning

    def fit(
        self,
        X: Any,
        y: object = None,
        *,
        exclude: Iterable[tuple[Any, Any]] = (),
        interval: str | float | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        tune: bool = False,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Self:
        """Learn what is normal from history; returns self.

        X           Series, array (T, C), data frame, or a path that `read` understands
        exclude     known-bad stretches (start, end), left out
        interval    seconds between rows where X has no clock ("1s" if not given)
        checkpoint  a file to which training writes after every epoch; `resume=True` goes on from it after a crash
        tune        True tries half and twice the units, a third and three times the learning rate: nine trainings, of
                    which validation rows pick one (`tried_`)
        on_epoch    called with each epoch's record
        """
        from .. import tuning  # running a model needs neither
        from . import asked

        asked.sound(self, Params, resume, checkpoint)
        series, alarming, exclude = verbs.as_series(X, interval=interval), self.alarming, list(exclude)
        rate(alarming.budget)  # a wrong budget is refused before an hour of training, not after
        from . import learning

        past = learning.history(series, exclude, self.window or Window(), alarming.gap)
        learned, z = learning.scaled(past)
        net, c = verbs.chosen(self, SIZES), len(series.channels)
        training = self.training or SIZES[self.size][1]
        found = tuning.learn(
            self,
            lambda net, device: learning.problem(past, z, self._heads(c, net), training, self.seed, device),
            net, training, checkpoint=checkpoint, resume=resume, tune=tune, on_epoch=on_epoch,
        )  # fmt: skip
        model, scores = learning.finish(past, z, learned, self._heads(c, found.net), found.run.weights, alarming)
        measured = self._measured(past, scores, series.interval)
        self.channels_, self.interval_, self.clock_ = series.channels, series.interval, series.clock
        self.history_, self.device_, self.tried_ = found.run.history, found.run.device, found.tried
        self.notes_ = [*series.notes, *filter(None, [*found.notes, found.run.stopped, past.unvalidated])]
        self._remember(series, past, model, measured, exclude)
        return self

    def _measured(self, past: History, scores: NDArray[np.float64], interval: float) -> Measured:
        from . import learning, rivals

        merge, starts, missing = self.alarming.merge, past.calibration_starts(), past.calibration_missing()
        told = calibrate.budgeted(scores, interval=interval, merge=merge, starts=starts, missing=missing)
        naive = rivals.calibrated(rivals.learn(past), past, interval, merge)
        return told, learning.checks(scores, past, interval, merge), naive

    def _remember(
        self, series: Series, past: History, model: Model, measured: Measured, exclude: list[tuple[Any, Any]]
    ) -> None:
        """All of it, now that nothing can fail any more: what was learned, and which rows were used for what."""
        from . import learning

        self.model_ = model
        self.calibration_, self.checks_, self.rivals_ = measured
        parts = {"train": past.train, "valid": past.valid, "calibrate": past.calibrate}
        self.split_ = {name: rows for name, rows in parts.items() if rows[1] > rows[0]}
        self.split_times_ = [(int(past.times[a]), int(past.times[b - 1])) for a, b in self.split_.values()]
        self.learned_ = learning.facts(series, past)
        self.left_out_ = learning.left_out(series, exclude)
        self.fingerprint_ = verbs.fingerprint(self._arrays(), {"channels": self.channels_})

    def recalibrate(
        self, normal: Any, *, exclude: Iterable[tuple[Any, Any]] = (), interval: str | float | None = None
    ) -> Self:
        """Keep the network, but measure anew what is normal, level and spread too, on later history known to be good.

        For the day when the process has settled at a new level, or a sensor was replaced: seconds, not a new training.
        What was normal before and is no longer, is unusual from now on. Which channels go together stays as it was.
        Leave out (`exclude`) what was not normal in it, or that will be normal too.
        """
        self._fitted()
        exclude = list(exclude)
        series, _ = verbs.match(verbs.as_series(normal, interval=interval), self.channels_, self.interval_, self.clock_)
        from . import learning

        past, old = learning.whole(series, exclude, self.alarming.gap, self.interval_), self.model_
        learned, z = learning.scaled(past)
        model, scores = learning.finish(past, z, learned, old.heads, old.weights, old.alarming, apart=old.normal.apart)
        first = self.learned_.get("network", f"trained on {self.learned_['data']}, not on this")
        self._remember(series, past, model, self._measured(past, scores, self.interval_), exclude)
        self.learned_["network"] = first
        return self

    # ------------------------------------------------------------------ running

    @property
    def threshold_(self) -> Threshold:
        """Where `score` becomes an alarm, for the budget in `false_alarms`; it may be changed after `fit`."""
        self._fitted()
        return calibrate.guarded(self.calibration_, rate(self.alarming.budget), unit=1.0)

    def start(self) -> State:
        """The state of a stream before its first reading."""
        self._fitted()
        ours = {"alarm": AlarmState().to_array(), "blame": np.zeros(len(self.channels_)), "peak": np.zeros(1)}
        times = np.zeros(3, dtype=np.int64)  # of the last row; of an open alarm's first and last
        arrays = {**scoring.start(self.model_.heads), **ours, "times": times}
        return State(arrays, self.fingerprint_)

    def apply(self, X: Any, state: State | None = None) -> Found:
        """Score every row; with `state`, as the continuation of what it has seen.

        Pieces give the same bits as the whole. Memory begins anew after a gap of more than `Alarming.gap` rows, and
        says so in `notes`.
        """
        self._fitted()
        series, notes = verbs.match(verbs.given(X, self.interval_), self.channels_, self.interval_, self.clock_)
        state = self.start() if state is None else verbs.stated(state)
        times = self._times(series, state)
        return self._read(series.values, times, state, name=series.name, notes=notes)

    def step(
        self, reading: Mapping[str, float] | Iterable[float] | float, state: State, *, time: Any = None,
        learn: bool | str | Onward = False, target: bool | None = None,
    ) -> tuple[Verdict, State]:  # fmt: skip
        """One reading in, one verdict out, with the state to go on from; the same bits as `apply` on the whole.

        reading  channel name -> value, or the values in the order of `channels_`; None or NaN = missing
        time     when it was read; one interval after the last if not given
        learn    True: score, then learn from what is normal (`keeping`), in the state; "always": also from what is not
        target   while learning: what is known of this reading, True = abnormal, False = normal
        """
        self._fitted()
        state = verbs.stated(state, learn)
        verbs.unasked(learn, target)
        values = verbs.row(reading, self.channels_)
        now = verbs.moment(self._ticks(state, 1)[0] if time is None else time)
        self._later(now, state)
        found = self._read(values, np.array([now], dtype=np.int64), state, name="reading", notes=[])
        if not learn:
            return found.verdict(), found.state
        from . import keeping

        return keeping.on(self, state.arrays, found, learn, target)

    def _read(
        self, values: NDArray[np.float64], times: NDArray[np.int64], state: State, *, name: str, notes: list[str]
    ) -> Found:
        verbs.same_model(state.model, self.fingerprint_)
        before, model, limit = state.arrays, verbs.running(self.model_, state.arrays), self.threshold_
        alarm = AlarmState.from_array(before["alarm"])
        missing = scoring.absent(times, self.interval_, int(before["times"][0]) if alarm.row else None)
        verdicts, cuts, arrays = scoring.run(model, values, missing, before)
        score = verdicts.surprise.score
        p_value = self.calibration_.p_value(score)
        compared, peaks, peak = calibrate.after_shock(score, float(before["peak"][0]), missing)
        over = compared > limit.value
        is_on, intervals, alarm_after = calibrate.alarms(
            compared, p_value, limit.value, merge=model.alarming.merge, state=alarm, starts=cuts
        )
        known = blame(verdicts.surprise.by_channel, over, intervals, alarm.row, before["blame"])
        opened = [times[i.first_row - alarm.row] if i.first_row >= alarm.row else before["times"][1] for i in intervals]
        ended = [times[i.last_row - alarm.row] if i.last_row >= alarm.row else before["times"][2] for i in intervals]
        listed = [
            Alarm(int(a), int(b), i.p_value, name_channels(self.channels_, k), i.first_row, i.last_row, i.open)
            for a, b, i, k in zip(opened, ended, intervals, known, strict=True)
        ]
        is_open = bool(intervals) and intervals[-1].open
        arrays |= {
            "alarm": alarm_after.to_array(),
            "peak": np.array([peak]),
            "blame": known[-1] if is_open else np.zeros(len(self.channels_)),
            "times": np.array([times[-1], *((opened[-1], ended[-1]) if is_open else (0, 0))], dtype=np.int64),
        }
        notes = notes + [f"memory began anew at {time_text(times[i])}, after a gap" for i in cuts.tolist()]
        if ((reach := np.abs(model.scale.apply(values))) > FAR).any():
            from ..noticed import beyond

            notes += beyond(values, reach, FAR, self.channels_, times)
        judged = verdicts.surprise
        return Found(
            name=name, channels=self.channels_, interval=self.interval_, times=times, values=values,
            score=score, score_fast=judged.fast, p_value=p_value, contributions=judged.by_channel,
            alarm=over, open=is_on, bar=calibrate.bar(limit.value, peaks),
            expected=verdicts.expected, low=verdicts.low, high=verdicts.high, reason_code=verdicts.reason,
            alarms=listed, threshold=limit, notes=tuple(notes), state=State(arrays, state.model),
        )  # fmt: skip

    def _times(self, series: Series, state: State) -> NDArray[np.int64]:
        if series.clock:
            self._later(int(series.times[0]), state)
            return series.times
        return self._ticks(state, len(series))

    def _ticks(self, state: State, rows: int) -> NDArray[np.int64]:
        seen, last = int(state.arrays["alarm"][0]), int(state.arrays["times"][0])
        return verbs.ticks(rows, self.interval_, seen, last if self.clock_ and seen else None)

    def _later(self, now: int, state: State) -> None:
        if state.arrays["alarm"][0]:
            verbs.later(now, int(state.arrays["times"][0]))

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
            from . import keeping, onward

            return keeping.begin(self.model_, onward.length(table))

        return verbs.load_state(path, self.start(), learning)

    def _spec(self) -> dict[str, Any]:
        from . import asked

        facts = {"channels": self.channels_, "interval": self.interval_, "clock": self.clock_, "device": self.device_}
        facts |= {"checks": self.checks_, "split_times": self.split_times_, "left_out": self.left_out_}
        facts |= {"rivals": {name: r.calibration.to_spec() for name, r in self.rivals_.items()}}
        facts |= {"shapes": {path: list(a.shape) for path, a in self._naive().items()}, "tried": self.tried_}
        facts |= {"history": self.history_, "split": self.split_, "learned": self.learned_, "notes": self.notes_}
        facts |= {"heads": self.model_.heads, "alarming": self.model_.alarming}
        facts |= {"calibration": self.calibration_.to_spec(), "params": asked.plain_params(self)}
        spec: dict[str, Any] = msgspec.to_builtins({"task": "anomaly", **facts})
        return spec

    def _arrays(self) -> verbs.Arrays:
        model = self.model_
        arrays: verbs.Arrays = {f"network/{name}": w for name, w in model.weights.items()}
        arrays |= {"scale/center": model.scale.center, "scale/spread": model.scale.spread, "band": model.band}
        arrays |= verbs.flat(model.normal, "normal")
        arrays |= {f"calibration/{name}": a for name, a in self.calibration_.to_arrays().items()}
        return arrays | self._naive()

    def _naive(self) -> verbs.Arrays:
        """The arrays of the baselines."""
        arrays: verbs.Arrays = {}
        for name, rival in self.rivals_.items():
            arrays |= verbs.flat(rival.learned, f"rivals/{name}")
            arrays |= {f"rivals/{name}/calibration/{key}": a for key, a in rival.calibration.to_arrays().items()}
        return arrays

    @classmethod
    def from_file(cls, file: File) -> Self:
        """The detector that `save` wrote; `tidegate.load` calls this."""
        from . import rivals  # no row is scored by them

        spec = verbs.decode(file, Spec)
        if spec.heads.channels != len(spec.channels):
            raise ModelFileError(
                "its specification contradicts itself about channels", where=str(file.path), do="save it again"
            )
        arrays = file.arrays(_implied(spec))
        detector = cls(**msgspec.structs.asdict(spec.params))
        scale = Scale(arrays["scale/center"], arrays["scale/spread"])
        weights, normal = verbs.under(arrays, "network"), verbs.built(Normal, arrays, "normal")
        detector.model_ = Model(spec.heads, weights, scale, normal, arrays["band"], spec.alarming)
        detector.calibration_ = Calibration.from_arrays(spec.calibration, verbs.under(arrays, "calibration"))
        detector.channels_, detector.interval_, detector.clock_ = spec.channels, spec.interval, spec.clock
        parts = ("train", "valid", "calibrate")  # in time, which a file does not keep
        detector.split_ = {name: spec.split[name] for name in parts if name in spec.split}
        detector.history_, detector.tried_, detector.learned_ = spec.history, spec.tried, spec.learned
        detector.notes_, detector.device_, detector.checks_ = spec.notes, spec.device, spec.checks
        detector.split_times_, detector.left_out_ = spec.split_times, spec.left_out
        detector.rivals_ = {name: rivals.from_file(name, known, arrays) for name, known in spec.rivals.items()}
        detector.fingerprint_ = verbs.fingerprint(detector._arrays(), {"channels": spec.channels})
        return detector

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
        return Tags(estimator_type="outlier_detector", target_tags=target, input_tags=inputs)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for a row over the bar, 1 for the others, as scikit-learn's outlier detectors."""
        return np.where(self.apply(X).alarm, -1, 1)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the score: smaller = more unusual, as scikit-learn's outlier detectors."""
        return -self.apply(X).score

    def score(self, X: Any, y: Any) -> float:
        """AUROC of the score against labels y (T,), 1 = abnormal."""
        from .. import metrics

        return metrics.auroc(np.asarray(y), self.apply(X).score)

    # ------------------------------------------------------------------ settings

    def _fitted(self) -> None:
        verbs.require_fitted(self, "model_")

    @property
    def alarming(self) -> Alarming:
        """`false_alarms` in full; a fitted detector keeps the finer points it was fitted with."""
        if isinstance(self.false_alarms, Alarming):
            return self.false_alarms
        known = self.model_.alarming if hasattr(self, "model_") else Alarming()
        return msgspec.structs.replace(known, budget=self.false_alarms)

    def _heads(self, channels: int, net: Network) -> Heads:
        ahead, back = METHODS[one_of("method", self.method, tuple(METHODS))]
        form = one_of("form", self.form, tuple(expect.WIDTHS))
        plain = Heads(channels=channels, net=net)
        return Heads(
            channels=channels, net=net, ahead=plain.ahead if ahead else (), back=plain.back if back else (), form=form
        )


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constructor's arguments, as a file holds them."""

    method: str
    form: str
    cell: str
    size: Size
    network: Network | None
    training: Training | None
    window: Window | None
    false_alarms: str | Alarming
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
    learned: dict[str, str]
    notes: list[str]
    split_times: list[tuple[int, int]]
    left_out: list[tuple[int, int]]
    """first and last time of each stretch of the history that was not learned from"""
    checks: list[tuple[float, float, float, float]]
    rivals: dict[str, dict[str, Any]]
    shapes: dict[str, tuple[int, ...]]
    """of the arrays of the baselines"""
    heads: Heads
    alarming: Alarming
    calibration: dict[str, Any]


def _implied(spec: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    c, outputs, spans = len(spec.channels), sum(spec.heads.witnesses), len(SPANS)
    table: dict[str, tuple[tuple[int, ...], str]] = {
        f"network/{name}": (shape, "float32") for name, shape in expect.shapes(spec.heads).items()
    }
    table |= dict.fromkeys(("scale/center", "scale/spread", "band"), ((c,), "float64"))
    table |= {"normal/residual": ((outputs, c), "float64"), "normal/average": ((spans, outputs, c), "float64")}
    table["normal/apart"] = (spans, len(spec.heads.witnesses), *2 * (width(c),)), "float64"
    table |= {"normal/word": ((spans, len(spec.heads.witnesses)), "float64"), "normal/score": ((2, 2), "float64")}
    table |= {name: (shape, "float64") for name, shape in spec.shapes.items() if name.startswith("rivals/")}
    lengths = spec.calibration.get("lengths", {})
    return table | {f"calibration/{name}": ((int(lengths.get(name, 0)),), "float64") for name in calibrate.ARRAYS}
