"""Learning on from a stream: the answer first, then a step, all in the state; what is abnormal is not learned."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tidegate as tg
from tidegate.kernels.traced import Traced, gradients
from tidegate.series import SECOND, Series
from tidegate.settings import Onward
from tidegate.tasks import corrected, hindsight, keeping, onward, recall

pytest.importorskip("torch")

SMALL: dict[str, Any] = {"network": tg.Network(hidden=5), "training": tg.Training(epochs=1, batches=2, batch=4)}
PACE = Onward(every=3, back=32, learning_rate=1e-3)
Bits = dict[str, bytes]


LEARNS = ["anomaly", "forecast", "complete"]  # streams; the classifier has its own sentences below


def new(name: str) -> Any:
    if name == "forecast":
        return tg.Forecaster(horizon=5, lookback=24, **SMALL)
    return tg.Completer(direction="past", **SMALL) if name == "complete" else tg.AnomalyDetector(**SMALL)


every_task = pytest.mark.parametrize("name", LEARNS)


@pytest.fixture(scope="module")
def tasks(normal: Series) -> dict[str, Any]:
    """Each task, fitted, and its network believed, however little it has learned."""
    found = {name: new(name).fit(normal) for name in LEARNS}
    model = found["complete"].model_
    found["complete"].linear_ = ()
    found["complete"]._remember(msgspec.structs.replace(model, trust=np.ones_like(model.trust)))
    return found


def traced(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: Traced(w) for name, w in weights.items()}


def bits(state: tg.State) -> Bits:
    return {name: array.tobytes() for name, array in state.arrays.items()}


def same(ours: Any, theirs: Any) -> None:
    """Two answers, but for the state that they carry."""
    names = getattr(ours, "__struct_fields__", None) or vars(ours)
    for name in set(names) - {"state"}:
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.tobytes() == other.tobytes() if isinstance(one, np.ndarray) else repr(one) == repr(other)


def onwards(task: Any, rows: Series, state: tg.State | None = None, learn: Any = PACE) -> tuple[Any, tg.State]:
    """The last answer and the state after learning from rows."""
    answer, state = None, task.start() if state is None else state
    for values, time in zip(rows.values, rows.times, strict=True):
        answer, state = task.step(values, state, time=int(time), learn=learn)
    return answer, state


# --- every task -------------------------------------------------------------------------------------------------------


@every_task
def test_the_first_answers_are_those_of_the_fitted_model(name: str, tasks: dict[str, Any], later: Series) -> None:
    task, state, learning = tasks[name], tasks[name].start(), tasks[name].start()
    for values in later.values[:5]:
        answer, state = task.step(values, state)
        ours, learning = task.step(values, learning, learn=Onward())
        same(ours, answer)
    assert {n: b for n, b in bits(learning).items() if not n.startswith("online/")} == bits(state)


@every_task
def test_it_learns_in_the_state_and_nowhere_else(name: str, tasks: dict[str, Any], later: Series) -> None:
    task = tasks[name]
    fitted, given = {n: w.copy() for n, w in task.model_.weights.items()}, onwards(task, later[:180])[1]
    before = bits(given)
    _, state = onwards(task, later[180:], given)
    assert bits(given) == before
    assert state.arrays["online/steps"][0] > given.arrays["online/steps"][0] > 0
    for n, w in task.model_.weights.items():
        np.testing.assert_array_equal(w, fitted[n])
    moved = [n for n, w in fitted.items() if not np.array_equal(w, state.arrays[f"online/weights/{n}"])]
    assert len(moved) > len(fitted) // 2


@every_task
def test_learning_goes_on_after_a_restart_bit_for_bit(
    name: str, tasks: dict[str, Any], later: Series, tmp_path: Path
) -> None:
    task = tasks[name]
    _, state = onwards(task, later[:150])
    task.save(tmp_path / "model")
    state.save(tmp_path / "state")
    again = tg.load(tmp_path / "model")
    ours, theirs = onwards(task, later[150:], state), onwards(again, later[150:], again.load_state(tmp_path / "state"))
    assert bits(ours[1]) == bits(theirs[1]) == bits(onwards(task, later)[1])
    same(ours[0], theirs[0])
    rest = tg.synth.machine(rows=950, channels=3, seed=0)[900:]
    same(task.apply(rest, ours[1]), again.apply(rest, theirs[1]))


@every_task
def test_what_was_learned_answers_also_where_it_does_not_go_on_learning(
    name: str, tasks: dict[str, Any], later: Series
) -> None:
    task = tasks[name]
    _, state = onwards(task, later[:190])
    whole, one = task.apply(later[190:], state), state
    for values, time in zip(later.values[190:], later.times[190:], strict=True):
        _, one = task.step(values, one, time=int(time))
    assert bits(one) == bits(whole.state)
    fitted = {**state.arrays, **{f"online/weights/{n}": w for n, w in task.model_.weights.items()}}
    unlearned = task.apply(later[190:], tg.State(fitted, state.model))
    moved = [n for n, b in bits(whole.state).items() if b != bits(unlearned.state)[n] and "/weights/" not in n]
    assert moved or not whole.to_frame().equals(unlearned.to_frame())


@every_task
def test_what_was_learned_can_be_saved_as_the_model(
    name: str, tasks: dict[str, Any], later: Series, tmp_path: Path
) -> None:
    task = tasks[name]
    _, state = onwards(task, later)
    task.save(tmp_path / "learned", state=state)
    learned = tg.load(tmp_path / "learned")
    for n, w in learned.model_.weights.items():
        np.testing.assert_array_equal(w, state.arrays[f"online/weights/{n}"])
    assert "learned on from 200 readings" in learned.notes_[-1]
    assert learned.notes_[-1].endswith("quality figures, bands and probabilities are of the model before it learned on")
    if name == "forecast":
        assert learned.verdict_ == f"{task.verdict_} (before it learned on)"
    with pytest.raises(tg.ModelFileError, match="another model"):
        learned.step(later.values[0], state)
    task.save(tmp_path / "plain", state=task.start())
    task.save(tmp_path / "same")
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "same").read_bytes()


@every_task
def test_learning_needs_no_torch(name: str, tasks: dict[str, Any], later: Series, tmp_path: Path) -> None:
    tasks[name].save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", later.values)
    program = """
import sys, numpy as np, tidegate as tg
from tidegate.settings import Onward
task, rows = tg.load(sys.argv[1]), np.load(sys.argv[2])
state = task.start()
for row in rows:
    _, state = task.step(row, state, learn=Onward(back=32))
assert state.arrays["online/steps"][0] > 0
assert not {"torch", "polars", "pandas"} & set(sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model"), str(tmp_path / "rows.npy")], check=True, timeout=120
    )


@every_task
def test_another_length_of_the_window_begins_it_anew(name: str, tasks: dict[str, Any], later: Series) -> None:
    _, state = onwards(tasks[name], later[:150])
    steps = int(state.arrays["online/steps"][0])
    _, state = onwards(tasks[name], later[150:160], state, learn=Onward(back=20, every=1))
    assert (state.arrays["online/steps"][0], state.arrays["online/filled"][0]) == (steps, 10)


@every_task
def test_rows_that_were_not_learned_from_part_what_lay_before_them_from_what_comes(
    name: str, tasks: dict[str, Any], later: Series
) -> None:
    task, begins = tasks[name], {"anomaly": "hidden", "complete": "past"}
    _, state = onwards(task, later[:150])
    steps = int(state.arrays["online/steps"][0])
    for paused in (onwards(task, later[150:153], state, learn=False)[1], task.apply(later[150:153], state).state):
        _, after = onwards(task, later[153:173], paused)
        assert (after.arrays["online/steps"][0], after.arrays["online/filled"][0]) == (steps, 20)
        rows = after.arrays["online/rows"][-20:]
        np.testing.assert_array_equal(rows, task.model_.scale.apply(later.values[153:173]))
        if name in begins:
            np.testing.assert_array_equal(after.arrays["online/first"], paused.arrays[begins[name]])


@every_task
def test_a_target_is_refused_where_nothing_is_learned(name: str, tasks: dict[str, Any], later: Series) -> None:
    with pytest.raises(tg.SettingError, match="target or an id without learn=True"):
        tasks[name].step(later.values[0], tasks[name].start(), target=later.values[0])


@every_task
def test_what_another_task_takes_is_refused_by_name(name: str, tasks: dict[str, Any], later: Series) -> None:
    def step(learn: Any) -> Any:
        return tasks[name].step(later.values[0], tasks[name].start(), learn=learn)

    with pytest.raises(tg.SettingError, match=r"is the Tagger's; here give learn=tidegate.Onward"):
        step(tg.online.Rule())
    for learn in ("always", Onward(always=True)):
        if name == "anomaly":
            step(learn)
        else:
            with pytest.raises(tg.SettingError, match="it is the AnomalyDetector's"):
                step(learn)


def test_a_step_does_not_pass_over_readings() -> None:
    with pytest.raises(tg.SettingError, match="back >= every"):
        Onward(every=9, back=8)
    with pytest.warns(UserWarning, match="output the previous input"):
        Onward(every=1, back=1)


@every_task
def test_a_wrong_wish_is_refused(name: str, tasks: dict[str, Any], later: Series) -> None:
    with pytest.raises(tg.SettingError, match="learn='often'"):
        tasks[name].step(later.values[0], tasks[name].start(), learn="often")
    with pytest.raises(tg.SettingError, match="every"):
        Onward(every=0)


@every_task
def test_a_file_of_a_state_with_a_window_of_no_rows_is_refused(
    name: str, tasks: dict[str, Any], later: Series, tmp_path: Path
) -> None:
    _, state = onwards(tasks[name], later[:5])
    bent = {**state.arrays, "online/rows": state.arrays["online/rows"][:0]}
    tg.State(bent, state.model).save(tmp_path / "state")
    with pytest.raises(tg.ModelFileError, match="a window of shape"):
        tasks[name].load_state(tmp_path / "state")


def test_a_gradient_that_is_no_number_moves_nothing() -> None:
    arrays = onward.begin({"w": np.ones(2, np.float32)})
    same = onward.step(arrays, lambda weights: (weights["w"] * np.float32(np.inf)).sum(), PACE)
    assert same["online/weights/w"].tolist() == [1.0, 1.0]
    moved = onward.step(arrays, lambda weights: (weights["w"] * np.float32(2)).sum(), PACE)
    np.testing.assert_allclose(moved["online/weights/w"], 1.0 - 1e-3, atol=1e-6)
    assert arrays["online/steps"][0] == 0


# --- the detector: what is abnormal is not learned --------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector(steady: Series) -> Any:
    return tg.AnomalyDetector(false_alarms="1/hour", **SMALL).fit(steady[:1000])


def test_what_was_called_abnormal_is_not_learned_unless_it_is_told(detector: Any, steady: Series) -> None:
    broken = tg.synth.plant(steady[1000:], "level", 150, 200, channels=("level",), size=8.0)
    _, calm = onwards(detector, broken[:150])
    assert calm.arrays["online/told"].any()
    verdict, state = onwards(detector, broken[150:350], calm)
    assert verdict.open
    assert not state.arrays["online/told"].any()
    learned = int(state.arrays["online/steps"][0]) - int(calm.arrays["online/steps"][0])
    assert learned <= keeping.WAIT // PACE.every
    _, state = onwards(detector, broken[150:350], calm, learn="always")
    assert state.arrays["online/told"].all()


def test_who_knows_better_is_believed(detector: Any, steady: Series) -> None:
    _, state = onwards(detector, steady[1000:1150])
    told = state.arrays["online/told"]
    _, after = detector.step(steady.values[1150], state, learn=PACE, target=True)
    assert told.any()
    assert not after.arrays["online/told"].any()
    odd = steady.values[1150] + 50.0
    _, after = detector.step(odd, state, learn=PACE, target=False)
    assert after.arrays["online/told"][-1]
    assert after.arrays["online/told"].sum() >= told.sum() - 1


def test_a_row_is_learned_from_only_after_the_rows_behind_it_were_normal(detector: Any, steady: Series) -> None:
    pace = Onward(every=1, back=32)
    _, state = onwards(detector, steady[1000 : 1000 + 32 + keeping.WAIT - 1], learn=pace)
    assert state.arrays["online/steps"][0] == 0
    _, state = detector.step(steady.values[1000 + 32 + keeping.WAIT - 1], state, learn=pace)
    assert state.arrays["online/steps"][0] == 1


def test_the_window_bridges_what_the_network_bridges(detector: Any, steady: Series) -> None:
    rows, absent = steady[1000:1200], np.zeros(200, bool)
    absent[60:66] = True
    empty, state, other = np.where(absent[:, None], np.nan, rows.values), detector.start(), detector.start()
    pace = Onward(every=32, back=32, learning_rate=1e-300)  # which moves no weight
    for row, time in enumerate(rows.times.tolist()):
        _, other = detector.step(empty[row], other, time=time, learn=pace)
        if not absent[row]:
            _, state = detector.step(empty[row], state, time=time, learn=pace)
    for part in ("rows", "told", "filled", "held", "first"):
        np.testing.assert_array_equal(state.arrays[f"online/{part}"], other.arrays[f"online/{part}"])
    _, state = detector.step(rows.values[0], state, time=time + 40 * SECOND, learn=pace)
    assert state.arrays["online/filled"][0] == 1


def test_a_hole_longer_than_the_window_moves_its_beginning(
    detector: Any, steady: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be with WAIT rows: holes that are bridged are shorter. Here the window is 4 rows, and the hole 9."""
    assert detector.model_.heads.reach < keeping.WAIT
    monkeypatch.setattr(keeping, "WAIT", 2)
    pace, states = Onward(every=2, back=2, learning_rate=1e-300), [detector.start(), detector.start()]
    times, told = steady.times[1000:1030].tolist(), [*range(12), *range(21, 30)]
    for row, time in enumerate(times):
        empty = np.where(row in told, steady.values[1000 + row], np.nan)
        states[0] = detector.step(empty, states[0], time=time, learn=pace)[1]
        if row in told:
            states[1] = detector.step(empty, states[1], time=time, learn=pace)[1]
            if row >= 21:
                for part in ("rows", "filled", "held", "first"):
                    np.testing.assert_array_equal(*(state.arrays[f"online/{part}"] for state in states))


def test_the_state_at_the_beginning_of_the_window_is_that_of_the_stream(detector: Any, steady: Series) -> None:
    rows, pace = steady[1000:1180], Onward(every=32, back=32, learning_rate=1e-300)
    _, state = onwards(detector, rows, learn=pace)
    before = detector.apply(rows[: len(rows) - 32 - keeping.WAIT]).state
    np.testing.assert_array_equal(state.arrays["online/first"], before.arrays["hidden"])
    np.testing.assert_array_equal(state.arrays["online/held"], before.arrays["held"])


def test_it_keeps_up_with_a_process_that_drifts_without_an_alarm() -> None:
    rng, t = np.random.default_rng(0), np.arange(2600)
    moved = 0.1 * np.clip((t - 1200) / 800, 0, 1)
    phase = np.cumsum(2 * np.pi / (40 * (1 - moved)))
    rows = np.column_stack([np.sin(phase), np.sin(phase + 0.5 + 4 * moved)]) + 0.1 * rng.standard_normal((len(t), 2))
    training = tg.Training(epochs=10, batches=25, batch=8, learning_rate=1e-2)
    task = tg.AnomalyDetector(network=tg.Network(hidden=16), training=training, false_alarms="1/day")
    task.fit(rows[:1200], interval="1min")
    missed = []
    for learn in (False, Onward(every=4, learning_rate=1e-3)):
        state, expected = task.start(), []
        for row in rows[1200:]:
            verdict, state = task.step(row, state, learn=learn)
            expected.append([*verdict.expected.values()])
        missed.append(float(np.abs(np.array(expected)[-400:] - rows[-400:]).mean()))
    assert missed[1] < 0.9 * missed[0]


def test_drift_is_said_when_no_alarm_says_it() -> None:
    level: Any = np.zeros(2)
    for _ in range(keeping.SPAN - 1):
        level, notes = keeping._drift(level, 0.1, called=False)
    assert notes == ()
    level, notes = keeping._drift(level, 0.1, called=False)
    assert "recalibrate" in notes[0]
    assert "higher" in notes[0]
    for _ in range(1000):
        level, notes = keeping._drift(level, float("nan"), called=False)
        level, notes = keeping._drift(level, 0.9, called=True)  # an alarm is not drift
    assert "higher" in notes[0]
    for _ in range(1000):
        level, notes = keeping._drift(level, 0.6, called=False)
    assert notes == ()


# --- the forecaster, the completer, the classifier --------------------------------------------------------------------


def test_a_forecaster_learns_from_each_window_once(tasks: dict[str, Any], later: Series) -> None:
    task, rows = tasks["forecast"], 24 + 5 + PACE.every - 1
    assert task.model_.share > 0
    for count, steps in ((rows, 0), (33, 1), (35, 1), (36, 2)):  # every third reading, once the window is full
        assert onwards(task, later[:count])[1].arrays["online/steps"][0] == steps
    task = copy.copy(task)
    alike = {name: np.repeat(w[:1], len(w), axis=0) for name, w in task.model_.weights.items()}  # each says the mean
    task.model_ = msgspec.structs.replace(task.model_, weights=alike)
    told = hindsight.loss(traced(alike), task.model_, task.model_.scale.apply(later.values[:rows]))
    said = [task.apply(later[first : first + 24]).mean for first in range(PACE.every)]
    missed = [one - later.values[first + 24 : first + 29] for first, one in enumerate(said)]
    wanted = task.model_.form.models * np.abs(missed / task.model_.scale.spread).mean()
    assert float(told.value) == pytest.approx(wanted, rel=1e-5)


def test_a_forecast_in_which_the_network_has_no_share_teaches_nothing(tasks: dict[str, Any], later: Series) -> None:
    task = copy.copy(tasks["forecast"])
    task.model_ = msgspec.structs.replace(task.model_, share=0.0)
    said, state = onwards(task, later[:60])
    assert state.arrays["online/steps"][0] == 0
    assert said.notes[-1] == "nothing is learned: the network has no part in the answer"


def test_a_forecast_has_no_target(tasks: dict[str, Any], later: Series) -> None:
    with pytest.raises(tg.SettingError, match="a target for a forecast"):
        tasks["forecast"].step(later.values[0], tasks["forecast"].start(), learn=True, target=later.values[1])


def test_the_completers_window_begins_where_the_stream_was(tasks: dict[str, Any], later: Series) -> None:
    task, pace = tasks["complete"], Onward(every=32, back=32, learning_rate=1e-300)
    _, state = onwards(task, later[:100], learn=pace)
    before = task.apply(later[:68]).state
    for of, to in recall.STARTS.items():
        np.testing.assert_array_equal(state.arrays[f"online/{to}"], before.arrays[of])


def test_a_completer_leaves_the_channels_alone_that_it_only_interpolates(tasks: dict[str, Any], later: Series) -> None:
    task = copy.copy(tasks["complete"])
    task.linear_ = ("s1",)
    _, state = onwards(task, later[:60])
    assert state.arrays["online/steps"][0] > 0
    for name in ("add.weight", "skip.weight", "slope"):
        moved = state.arrays[f"online/weights/{name}"] != task.model_.weights[name]
        assert moved[[0, 2]].any()
        assert not moved[1].any()


def test_what_was_missing_can_be_told_later(tasks: dict[str, Any], later: Series) -> None:
    task = tasks["complete"]
    _, state = onwards(task, later[:40])
    reading = later.values[40].copy()
    reading[1] = np.nan
    filled, told = task.step(reading, state, learn=PACE, target=later.values[40])
    _, seen = task.step(later.values[40], state, learn=PACE)
    assert filled.filled["s1"]
    np.testing.assert_array_equal(told.arrays["online/rows"], seen.arrays["online/rows"])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (5, "a target of 1 values"),
        ({"s0": 1.0}, "the target lacks"),
        (["x"], "'x' in a target"),
        ([1e300] * 3, "in channel s0 of the target"),
    ],
)
def test_a_completers_target_is_refused_by_that_name(
    target: Any, said: str, tasks: dict[str, Any], later: Series
) -> None:
    with pytest.raises(tg.DataError, match=said) as error:
        tasks["complete"].step(later.values[0], tasks["complete"].start(), learn=True, target=target)
    assert error.value.do == "give the whole reading, None for what is not known"


@pytest.fixture(scope="module")
def classifier() -> tg.Classifier:
    X, y = tg.synth.spikes(120, length=20, seed=0)
    return tg.Classifier(**SMALL).fit(X, np.array(["plain", "spike"])[y])


def test_a_classifier_learns_from_the_label_it_is_told(classifier: tg.Classifier, tmp_path: Path) -> None:
    X, y = tg.synth.spikes(40, length=20, seed=1)
    labels, state = classifier.classes_[y], classifier.start()
    fitted = {n: w.copy() for n, w in classifier.model_.weights.items()}
    for i, (x, label) in enumerate(zip(X[:12], labels, strict=False)):
        if i == 6:
            state.save(tmp_path / "state")
            assert bits(classifier.load_state(tmp_path / "state")) == bits(state)
            state = classifier.load_state(tmp_path / "state")
        before = classifier.step(x, state)[0]
        said, state = classifier.step(x, state, learn=Onward(every=2, learning_rate=1e-2), target=label)
        assert said.proba.tobytes() == before.proba.tobytes()  # the answer comes first
        after = classifier.step(x, state)[0]
        if i % 2:
            assert after.proba[0, list(classifier.classes_).index(label)] > said.proba[0].max() * 0.5
    assert state.arrays["online/steps"].tolist() == [6] * 5
    assert (state.arrays["read"][0], state.arrays["online/read"][0]) == (12, 12)
    for n, w in fitted.items():
        np.testing.assert_array_equal(w, classifier.model_.weights[n])
    classifier.save(tmp_path / "learned", state=state)
    learned = tg.load(tmp_path / "learned", tg.Classifier)
    told = np.concatenate([classifier.step(x, state)[0].proba for x in X])
    assert learned.apply(X).proba.tobytes() == told.tobytes()
    assert "in 6 steps" in learned.notes_[-1]


def test_a_classifier_that_is_told_nothing_learns_nothing(classifier: tg.Classifier) -> None:
    X, _ = tg.synth.spikes(3, length=20, seed=1)
    said, state = classifier.step(X[0], classifier.start(), learn=True)
    assert sorted(state.arrays) == ["read"]
    assert said.proba.tobytes() == classifier.apply(X[:1]).proba.tobytes()
    with pytest.raises(tg.DataError, match="the label 'dip'"):
        classifier.step(X[0], state, learn=True, target="dip")


def test_each_model_of_a_classifier_goes_its_own_way_down(classifier: tg.Classifier) -> None:
    X, y = tg.synth.spikes(2, length=20, seed=1)
    block, weights = classifier.model_.block([X[0][:, None]]), classifier.model_.weights
    whole = gradients(
        corrected.loss(own := traced(weights), classifier.model_.form, *block, int(y[0])), [*own.values()]
    )
    for m in range(2):
        one = traced({name: w[m : m + 1] for name, w in weights.items()})
        part = gradients(corrected.loss(one, classifier.model_.form, *block, int(y[0])), [*one.values()])
        for ours, alone in zip(whole, part, strict=True):
            np.testing.assert_array_equal(ours[m : m + 1], alone)


def test_a_classifier_says_whether_it_learned(classifier: tg.Classifier) -> None:
    X, _ = tg.synth.spikes(3, length=20, seed=1)
    _, state = classifier.step(X[0], classifier.start(), learn=True, target="spike")
    assert (classifier.start().learned, state.learned) == (0, 1)
    for nothing in (None, float("nan"), np.float32("nan")):
        _, after = classifier.step(X[1], state, learn=True, target=nothing)
        assert after.learned == 1
    with pytest.raises(tg.SettingError, match="target or an id without learn=True"):
        classifier.step(X[1], state, target="spike")
    for learn in (tg.online.Rule(), "always"):
        with pytest.raises(tg.SettingError, match="learn="):
            classifier.step(X[1], state, learn=learn)  # type: ignore[arg-type]
