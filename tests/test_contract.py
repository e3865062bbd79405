"""One contract for every task: the same sentences about each entry of the table of tasks, scikit-learn's among them."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tidegate as tg
from tidegate.series import Series, check
from tidegate.tasks import TASKS, verbs
from tidegate.tasks.classify import Labelled

pytest.importorskip("torch")

every_task = pytest.mark.parametrize("name", TASKS)
# Tasks whose `apply` goes on from a state. The classifier's reads whole sequences, each by itself.
streams = pytest.mark.parametrize("name", [name for name in TASKS if name != "classify"])
detects = pytest.mark.parametrize("name", ["anomaly"])  # what only a detector promises
CAUSAL: dict[str, dict[str, Any]] = {
    "complete": {"direction": "past"},
    "tag": {"smooth": True},
}  # the form that reads one row at a time
SMALL: dict[str, Any] = {"network": tg.Network(hidden=5), "training": tg.Training(epochs=1, batches=2, batch=4)}
LONG = 20  # rows of a sequence that the classifier is given


def asked(name: str, series: Series) -> Any:
    """A series as a task is asked about it: the classifier gets sequences, one after the other."""
    return [series[i : i + LONG] for i in range(0, len(series), LONG)] if name == "classify" else series


def shown(name: str, series: Series) -> Any:
    """A series as a task learns from it: some want to know what stands beside each row, or each sequence."""
    high = series.values[:, 0] > np.nanmedian(series.values[:, 0])
    if name == "classify":
        high = high[np.arange(len(series)) // LONG * LONG]
    return asked(name, msgspec.structs.replace(series, labels=high) if name in ("classify", "tag") else series)


def lines(name: str, task: Any, series: Series) -> list[Any]:
    """What `apply` says of every row, or of every sequence."""
    if name == "forecast":  # `apply` forecasts after the last row it is given
        return [task.apply(series[: i + 1]) for i in range(len(series))]
    said = task.apply(asked(name, series))
    if name == "classify":
        return [Labelled(said.label[[i]], said.proba[[i]], said.classes) for i in range(len(said))]
    return [said.verdict(i) if name == "anomaly" else said.row(i) for i in range(len(said))]


def stepped(name: str, task: Any, series: Series) -> tuple[list[Any], tg.State]:
    """What `step` says of every reading, or of every sequence; and the state after the last."""
    said, state, given = [], task.start(), asked(name, series)
    rows = zip(series.values, series.times.tolist(), strict=True)
    for one, when in [(one, {}) for one in given] if name == "classify" else [(v, {"time": t}) for v, t in rows]:
        answer, state = task.step(one, state, **when)
        said.append(answer)
    return said, state


def told(answer: Any) -> dict[str, Any]:
    """An answer without its name, notes and state: a row of `apply` has those of the whole, or none."""
    parts = msgspec.structs.asdict(answer) if isinstance(answer, msgspec.Struct) else vars(answer)
    return {part: value for part, value in parts.items() if part not in ("name", "notes", "state")}


def new(name: str, **params: Any) -> Any:
    """An unfitted task that learns quickly."""
    return TASKS[name]()(**{**SMALL, **CAUSAL.get(name, {}), **params})


def same(ours: Any, theirs: Any) -> None:
    """Two answers of a task: every array and every note of theirs to the bit, states too."""
    assert vars(ours).keys() == vars(theirs).keys()
    for part, value in vars(ours).items():
        other = getattr(theirs, part)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other)
        elif isinstance(value, tg.State):
            assert {n: a.tobytes() for n, a in value.arrays.items()} == {
                n: a.tobytes() for n, a in other.arrays.items()
            }
        else:
            assert value == other


@pytest.fixture(scope="module")
def tasks(normal: Series) -> dict[str, Any]:
    """Each task, fitted."""
    return {name: new(name).fit(shown(name, normal)) for name in TASKS}


@every_task
def test_it_has_the_five_verbs(name: str) -> None:
    assert all(callable(getattr(TASKS[name](), verb)) for verb in ("fit", "apply", "step", "save"))
    assert callable(tg.load)


@every_task
def test_the_constructor_only_stores_what_it_is_given(name: str) -> None:
    marks = {parameter: object() for parameter in inspect.signature(TASKS[name]()).parameters}
    task = TASKS[name]()(**marks)
    assert vars(task) == marks


@every_task
def test_what_is_learned_ends_in_an_underscore(name: str, tasks: dict[str, Any]) -> None:
    learned = vars(tasks[name]).keys() - inspect.signature(TASKS[name]()).parameters.keys()
    assert learned
    assert [attribute for attribute in learned if not attribute.endswith("_") or attribute.startswith("_")] == []


@every_task
def test_fit_returns_the_task_itself(name: str, normal: Series) -> None:
    task = new(name)
    assert task.fit(shown(name, normal)) is task


@every_task
def test_before_fit_every_verb_says_so(name: str, later: Series, tmp_path: Path) -> None:
    task = new(name)
    answers = task.predict if hasattr(task, "predict") else task.transform
    for verb in (lambda: task.apply(later), task.start, lambda: task.save(tmp_path / "m"), lambda: answers(later)):
        with pytest.raises(tg.NotFittedError, match=r"call fit\(normal\) first"):
            verb()


@every_task
def test_it_does_not_touch_what_it_is_given(name: str, tasks: dict[str, Any], normal: Series) -> None:
    values = normal.values.copy()
    values[5, 1] = np.nan
    before = values.copy()
    if name == "classify":
        blocks = values.reshape(-1, LONG, values.shape[1])
        new(name).fit(blocks, np.arange(len(blocks)) % 2).apply(blocks)
    else:
        new(name).fit(values, shown(name, normal).labels, interval="1min").apply(values)
    np.testing.assert_array_equal(values, before)


@every_task
def test_the_same_seed_gives_the_same_model_file(
    name: str, tasks: dict[str, Any], normal: Series, tmp_path: Path
) -> None:
    tasks[name].save(tmp_path / "a")
    new(name).fit(shown(name, normal)).save(tmp_path / "b")
    a, b = (re.sub(rb'(seconds\\":)[-0-9.e]+|"sha256":"\w+"', b"", (tmp_path / x).read_bytes()) for x in "ab")
    assert len(a) > 2000
    assert a[8:] == b[8:] or tg.load(tmp_path / "a").start().model == tg.load(tmp_path / "b").start().model


@every_task
def test_what_was_saved_answers_as_what_was_not(
    name: str, tasks: dict[str, Any], troubled: Series, tmp_path: Path
) -> None:
    tasks[name].save(tmp_path / "model")
    again = tg.load(tmp_path / "model")
    assert type(again) is TASKS[name]()
    assert repr(again) == repr(tasks[name])
    assert vars(again).keys() == vars(tasks[name]).keys()
    for part in ("history_", "split_", "notes_"):
        assert getattr(again, part, None) == getattr(tasks[name], part, None)
    ours, theirs = again.apply(asked(name, troubled)), tasks[name].apply(asked(name, troubled))
    same(ours, theirs)
    assert ours.to_frame().equals(theirs.to_frame(), null_equal=True)
    again.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "model").read_bytes()


@streams
def test_the_whole_is_its_pieces_and_ends_where_single_readings_end(
    name: str, tasks: dict[str, Any], troubled: Series
) -> None:
    task = tasks[name]
    whole, first = task.apply(troubled), task.apply(troubled[:33])
    last = task.apply(troubled[33:], first.state)
    for other in (last.state, stepped(name, task, troubled)[1]):
        assert {n: a.tobytes() for n, a in other.arrays.items()} == {
            n: a.tobytes() for n, a in whole.state.arrays.items()
        }
    assert last.to_frame().tail(1).equals(whole.to_frame().tail(1), null_equal=True)


@every_task
def test_apply_is_repeated_step(name: str, tasks: dict[str, Any], troubled: Series) -> None:
    whole, single = lines(name, tasks[name], troubled), stepped(name, tasks[name], troubled)[0]
    assert len(whole) == len(asked(name, troubled))
    for row, answer in zip(whole, single, strict=True):
        np.testing.assert_equal(told(answer), told(row))


@every_task
def test_apply_and_load_never_import_torch(name: str, tasks: dict[str, Any], later: Series, tmp_path: Path) -> None:
    tasks[name].save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", later.values.reshape(-1, LONG, 3) if name == "classify" else later.values)
    program = """
import sys, numpy as np, tidegate as tg
from tidegate.series import check
task, rows = tg.load(sys.argv[1]), np.load(sys.argv[2])
task.apply(rows if rows.ndim == 3 else check(rows, None, task.channels_))
heavy = {"torch", "polars", "pandas", "sklearn", "plotly", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model"), str(tmp_path / "rows.npy")], check=True, timeout=120
    )


@every_task
def test_a_state_comes_back_from_disk_bit_for_bit(
    name: str, tasks: dict[str, Any], troubled: Series, tmp_path: Path
) -> None:
    state = stepped(name, tasks[name], troubled[:45])[1]
    state.save(tmp_path / "state")
    again = tasks[name].load_state(tmp_path / "state")
    assert again.model == state.model
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in again.arrays.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in state.arrays.items()
    }


@every_task
def test_a_model_file_of_another_kind_or_task_is_refused(name: str, tasks: dict[str, Any], tmp_path: Path) -> None:
    tasks[name].start().save(tmp_path / "state")
    with pytest.raises(tg.ModelFileError, match="holds a state"):
        tg.load(tmp_path / "state")
    from tidegate import save

    save.write(tmp_path / "other", "model", {"task": "divination"}, {})
    with pytest.raises(tg.ModelFileError, match="a model for 'divination'"):
        tg.load(tmp_path / "other")
    save.write(tmp_path / "hollow", "model", {"task": name}, {})
    with pytest.raises(tg.ModelFileError, match="its specification is not one"):
        tg.load(tmp_path / "hollow")


@every_task
def test_a_model_file_that_lacks_or_bends_an_array_is_refused(name: str, tasks: dict[str, Any], tmp_path: Path) -> None:
    from tidegate import save

    tasks[name].save(tmp_path / "model")
    file = save.open_file(tmp_path / "model")
    arrays = file.arrays(file.table)
    victim = next(array for array in arrays if array.startswith("network/"))
    for changed in ({n: a for n, a in arrays.items() if n != victim}, {**arrays, victim: arrays[victim][..., None]}):
        save.write(tmp_path / "bent", "model", file.spec, changed)
        with pytest.raises(tg.ModelFileError, match=re.escape(victim)):
            tg.load(tmp_path / "bent")


# --- scikit-learn -----------------------------------------------------------------------------------------------------


@every_task
def test_the_repr_is_the_call_that_makes_it(name: str) -> None:
    kind = TASKS[name]()
    names = {kind.__name__: kind, "Network": tg.Network, "Training": tg.Training, "Window": tg.Window}
    assert repr(kind()) == f"{kind.__name__}()"
    special: dict[str, dict[str, Any]] = {
        "anomaly": {"window": tg.Window(length=40)}, "forecast": {"horizon": 7, "levels": (0.1, 0.9)},
        "complete": {"cell": "lstm"}, "tag": {"target": "value", "smooth": False},
        "classify": {"class_weight": "balanced"},
    }  # fmt: skip
    for task in (kind(seed=3), new(name), kind(**special[name])):
        assert eval(repr(task), names).get_params() == task.get_params()


@every_task
def test_parameters_can_be_read_and_set_by_name(name: str) -> None:
    task = new(name)
    assert task.set_params(seed=5, cell="lstm") is task
    assert (task.get_params()["seed"], task.cell) == (5, "lstm")
    assert task.get_params().keys() == inspect.signature(TASKS[name]()).parameters.keys()
    with pytest.raises(tg.SettingError, match="no parameter 'colour'") as refused:
        task.set_params(colour="blue")
    assert "seed" in str(refused.value)


@every_task
def test_sklearn_clones_it_unfitted(name: str, tasks: dict[str, Any]) -> None:
    base = pytest.importorskip("sklearn.base")
    copy = base.clone(tasks[name])
    assert copy is not tasks[name]
    assert copy.get_params() == tasks[name].get_params()
    assert not hasattr(copy, "model_")


@detects
def test_it_works_at_the_end_of_a_pipeline(name: str, normal: Series, later: Series) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    steps = pipeline.make_pipeline(preprocessing.StandardScaler(), new(name))
    steps.fit(normal.values)
    found = steps.predict(later.values)
    assert found.shape == (len(later),)
    assert set(np.unique(found)) <= {-1, 1}
    scores = steps.score_samples(later.values)
    assert np.isfinite(scores[20:]).all()
    np.testing.assert_array_equal(scores, -steps[-1].apply(steps[0].transform(later.values)).score)


@detects
def test_a_grid_search_and_a_cross_validation_run_on_it(name: str, steady: Series) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    values = steady.values.copy()
    labels = np.zeros(len(values), int)
    for first in (1000, 1250):
        values[first : first + 60, 1] += 60.0
        labels[first : first + 60] = 1
    folds = [(np.arange(900), np.arange(900, 1150)), (np.arange(900), np.arange(1150, 1400))]
    scores = selection.cross_val_score(new(name), values, labels, cv=folds, error_score="raise")
    assert scores.shape == (2,)
    assert (scores > 0.7).all()
    search = selection.GridSearchCV(
        new(name), {"cell": ["gru", "rnn_tanh"]}, cv=folds[:1], error_score="raise", refit=False
    )
    search.fit(values, labels)
    assert search.best_params_["cell"] in ("gru", "rnn_tanh")
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("name", ["forecast"])
def test_a_forecaster_works_in_a_pipeline_and_in_a_grid_search(name: str, normal: Series, later: Series) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    selection = pytest.importorskip("sklearn.model_selection")
    steps = pipeline.make_pipeline(preprocessing.StandardScaler(), new(name, horizon=3)).fit(normal.values)
    assert steps.predict(later.values).shape == (3, len(normal.channels))
    folds = [(np.arange(500), np.arange(404, 700))]
    search = selection.GridSearchCV(new(name), {"lookback": [24, 96]}, cv=folds, error_score="raise", refit=False)
    search.fit(normal.values)
    assert (search.cv_results_["mean_test_score"] < 0).all()


@every_task
def test_sklearn_reads_its_tags(name: str) -> None:
    utils = pytest.importorskip("sklearn.utils")
    tags = utils.get_tags(new(name))
    assert tags.input_tags.allow_nan


@detects
def test_a_lower_score_sample_is_a_more_unusual_row(name: str, learned: Any, steady: Series) -> None:
    broken = tg.synth.plant(steady[1200:], "level", 100, 50, channels=("level",), size=4.0)
    samples = learned.score_samples(broken)
    assert np.nanmin(samples[110:150]) < np.nanmin(samples[40:100])
    assert (learned.predict(broken)[110:150] == -1).all()
    assert learned.score(broken, broken.labels) > 0.9


# --- hard data, every task --------------------------------------------------------------------------------------------


@detects
@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_data_a_row_has_a_score_or_a_reason_and_never_an_infinity(
    name: str, tasks: dict[str, Any], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((60, 3)) * 10.0 ** rng.integers(-20, 20, (60, 1))
    values[rng.random(values.shape) < rng.random()] = np.nan
    values[0, 0] = 1.0  # at least one reading
    found = tasks[name].apply(check(values, None, ["s0", "s1", "s2"]))
    assert not np.isinf(found.score).any()
    assert (np.isnan(found.score) == (found.reason != "")).all()
    assert ((found.p_value > 0) | np.isnan(found.p_value)).all()


def test_a_plain_number_is_a_reading_of_one_channel_and_refused_of_more() -> None:
    for number in (1.5, np.float64(1.5), np.array(1.5)):
        np.testing.assert_array_equal(verbs.row(number, ("a",)), [[1.5]])
        with pytest.raises(tg.DataError, match="a reading of 1 values") as refused:
            verbs.row(number, ("a", "b"))
        assert (refused.value.wanted, bool(refused.value.do)) == ("2: a, b", True)
    for text in ("12", b"12"):
        with pytest.raises(tg.DataError, match="as a reading"):
            verbs.row(text, ("a", "b"))  # type: ignore[arg-type]


def test_a_cold_start_says_what_it_wants() -> None:
    label, value = tg.Tagger(), tg.Tagger(target="value")
    for match, call in (
        ("classes=", lambda: label.cold_start(channels=2)),
        ("each once", lambda: value.cold_start(channels=["a", "a"])),
        ("a list of names", lambda: value.cold_start(channels="ab")),
        ("a list of names", lambda: value.cold_start(channels=2.5)),  # type: ignore[arg-type]
        ("classes for a tagger of values", lambda: value.cold_start(channels=1, classes=[0, 1])),
        ("targets=3 for one of labels", lambda: label.cold_start(channels=1, classes=[0, 1], targets=3)),
        ("rule=3", lambda: value.cold_start(channels=1, rule=3)),  # type: ignore[arg-type]
    ):
        with pytest.raises(tg.SettingError, match=match):
            call()
