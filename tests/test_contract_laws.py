"""The laws that every task obeys, in the same words for all of them: one table of cases, one test a law.

`test_contract.py` has the verbs, files and scikit-learn's conventions; here is what the numbers must not depend on.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

import tidegate as tg
from tidegate import chance, evaluate
from tidegate.pages.frame import Row
from tidegate.series import SECOND, Series, check
from tidegate.tasks import marking, outlook

pytest.importorskip("torch")

CHANNELS = ("flow", "level", "load")
SMALL: dict[str, Any] = {"network": tg.Network(hidden=6), "training": tg.Training(epochs=2, batches=4, batch=8)}
ROWS, CUT = 700, 240


def rows(seed: int, count: int, *, noise: bool = False) -> Series:
    """Three sensors with a wave and its echo, a row a second; or nothing but noise."""
    rng, t = np.random.default_rng(seed), np.arange(count) + 37 * seed
    values = rng.standard_normal((count, 3)) * (1.0 if noise else 0.1)
    if not noise:
        values += np.stack([np.sin(t / 7), np.sin((t - 3) / 7), np.cos(t / 23)], axis=1)
    return check(values * [1, 10, 100] + [0, 5, 50], t * SECOND, list(CHANNELS), name=f"machine {seed}")


def tags(series: Series) -> np.ndarray:
    """A label a row: was the first sensor high two rows ago."""
    high = np.nan_to_num(series.values[:, 0]) > 0
    return np.where(np.concatenate([high[:1], high[:1], high[:-2]]), "high", "low")


def pieces(series: Series) -> list[Series]:
    """Many short sequences."""
    return [series[i : i + 28] for i in range(0, len(series) - 28, 28)]


def kinds(series: Series) -> np.ndarray:
    """A label a sequence, by how it began."""
    return np.array(
        ["up" if one.values[:6, 0].mean() > one.values[6:12, 0].mean() else "down" for one in pieces(series)]
    )


class Case(NamedTuple):
    """One task: unfitted, what it is fitted with, and its answer to a series, a row for every row or sequence."""

    new: Callable[..., Any]
    given: Callable[[Series], tuple[Any, ...]]
    answer: Callable[[Any, Series], np.ndarray]
    causal: bool


def _forecasts(task: Any, series: Series) -> np.ndarray:
    """A line for every row: the forecast made there, NaN where none was.

    Half of it the networks', which eight steps of training leave so far behind the linear map that they are not heard.
    """
    task = copy.copy(task)
    task.model_ = msgspec.structs.replace(task.model_, share=0.5)
    test = task.backtest(series)
    lines = np.full((len(series), test.mean[0].size), np.nan)
    lines[np.searchsorted(series.times, test.times)] = test.mean.reshape(len(test.mean), -1)
    return lines


def _one(series: Series) -> tuple[Any, ...]:
    return (series,)


def _completer(direction: str) -> Case:
    return Case(
        lambda **over: tg.Completer(direction=direction, **{**SMALL, **over}),
        _one,
        lambda task, series: np.column_stack([(f := task.apply(series)).values, f.std]),
        causal=direction == "past",
    )


def _labels(direction: str) -> Case:
    return Case(
        lambda **over: tg.Tagger(direction=direction, **{**SMALL, **over}),
        lambda series: (series, tags(series)),
        lambda task, series: task.apply(series).proba,
        causal=direction == "past",
    )


CASES: dict[str, Case] = {
    "anomaly": Case(
        lambda **over: tg.AnomalyDetector(false_alarms="1/hour", **{**SMALL, **over}),
        _one,
        lambda task, series: np.column_stack([(f := task.apply(series)).score, f.score_fast, f.by_channel]),
        causal=True,
    ),
    "forecast": Case(
        lambda **over: tg.Forecaster(horizon=4, lookback=24, **{**SMALL, **over}), _one, _forecasts, causal=True
    ),
    "complete": _completer("both"),
    "complete, past": _completer("past"),
    "complete, none": _completer("none"),
    "classify": Case(
        lambda **over: tg.Classifier(**{**SMALL, **over}),
        lambda series: (pieces(series), kinds(series)),
        lambda task, series: task.apply(pieces(series)).proba,
        causal=False,
    ),
    "tag": _labels("past"),
    "tag, both": _labels("both"),
    "tag, values": Case(
        lambda **over: tg.Tagger(target="value", **{**SMALL, **over}),
        lambda series: (series, series.values[:, 0] ** 2),
        lambda task, series: task.apply(series).value,
        causal=True,
    ),
}
every = pytest.mark.parametrize("name", CASES)
causal = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.causal])
of_sequences = pytest.mark.parametrize("name", ["classify", "tag", "tag, both", "tag, values"])  # which take many


def holed(series: Series) -> Series:
    """The same with a tenth of its readings missing, and a stretch of one sensor."""
    values = series.values.copy()
    values[np.random.default_rng(5).random(values.shape) < 0.1] = np.nan
    values[100:120, 1] = np.nan
    return check(values, series.times, list(series.channels), name=series.name)


@cache
def fitted(name: str) -> Any:
    case = CASES[name]
    return case.new().fit(*case.given(rows(0, ROWS)))


def swapped(series: Series, order: tuple[int, ...]) -> Series:
    return check(series.values[:, order], series.times, [series.channels[i] for i in order], name=series.name)


@every
def test_what_is_given_is_not_changed(name: str) -> None:
    case, series = CASES[name], holed(rows(1, ROWS))
    given = case.given(series)
    before = series.values.copy()
    case.new().fit(*given)
    case.answer(fitted(name), series)
    np.testing.assert_array_equal(series.values, before)
    for one, other in zip(given[1:], case.given(series)[1:], strict=True):
        np.testing.assert_array_equal(one, other)


@every
def test_the_same_seed_gives_the_same_numbers_and_another_others(name: str) -> None:
    case, later = CASES[name], holed(rows(1, 300))
    given, ours = case.given(rows(0, ROWS)), case.answer(fitted(name), later)
    np.testing.assert_array_equal(ours, case.answer(case.new().fit(*given), later))
    assert not np.array_equal(ours, case.answer(case.new(seed=1).fit(*given), later), equal_nan=True)


@every
def test_a_restart_from_disk_changes_no_bit(name: str, tmp_path: Path) -> None:
    later = holed(rows(1, 300))
    fitted(name).save(tmp_path / "model")
    np.testing.assert_array_equal(
        CASES[name].answer(tg.load(tmp_path / "model"), later), CASES[name].answer(fitted(name), later)
    )


@every
def test_the_order_of_channels_changes_no_bit(name: str) -> None:
    case, later = CASES[name], holed(rows(1, 300))
    np.testing.assert_array_equal(
        case.answer(fitted(name), swapped(later, (2, 0, 1))), case.answer(fitted(name), later)
    )


@every
def test_missing_values_and_a_constant_channel_survive(name: str) -> None:
    case, series = CASES[name], holed(rows(2, ROWS))
    values = series.values.copy()
    values[:, 2] = 4.0
    still = check(values, series.times, list(CHANNELS), name="still")
    task = case.new().fit(*case.given(still))
    said = case.answer(task, still[:300])
    assert not np.isinf(said).any()
    assert np.isfinite(said).mean() > 0.8


@causal
def test_later_rows_never_change_an_earlier_answer(name: str) -> None:
    case, later = CASES[name], holed(rows(1, 300))
    values = later.values.copy()
    values[CUT:] = 1e4
    changed = check(values, later.times, list(CHANNELS), name=later.name)
    ours, theirs = case.answer(fitted(name), later), case.answer(fitted(name), changed)
    np.testing.assert_array_equal(ours[:CUT], theirs[:CUT])
    assert np.isfinite(ours[:CUT]).any()
    assert not np.array_equal(ours[CUT:], theirs[CUT:], equal_nan=True)


def numbers(name: str, said: Any) -> list[np.ndarray]:
    """What is said of each of many sequences."""
    return [*said.proba] if name == "classify" else [one.value if one.proba is None else one.proba for one in said]


@of_sequences
def test_early_history_changes_the_label_of_the_end(name: str) -> None:
    rng = np.random.default_rng(0)
    X, y = 0.1 * rng.standard_normal((200, 8, 1)), rng.choice([-1, 1], 200)
    X[:, 0, 0] = y  # all that tells, and only there
    y = y if name == "classify" else np.repeat(y[:, None], 8, axis=1)
    task = CASES[name].new(training=tg.Training(epochs=3, batches=20, batch=32, learning_rate=0.05)).fit(X, y)
    pair = X[[0, 0]]
    pair[:, 0, 0] = -1, 1
    assert [np.ravel(said)[-1] > 0 for said in task.predict(pair)] == [False, True]


@of_sequences
def test_other_sequences_change_no_bit(name: str) -> None:
    task = fitted(name)
    many = [rows(seed, length) for seed, length in ((3, 40), (4, 25), (5, 61))]
    for one, together in zip(many, numbers(name, task.apply(many)), strict=True):
        np.testing.assert_array_equal(numbers(name, task.apply([one]))[0], together)


@of_sequences
def test_padding_changes_no_bit_of_what_is_learned_or_said(name: str) -> None:
    many = [rows(seed, 20 + seed).values.copy() for seed in range(24)]
    for one in many:
        one[7] = one[-1, 1] = np.nan  # missing, and no padding
    y: Any = np.arange(24) % 2 if name == "classify" else [np.sign(one[:, 0]) for one in many]
    padded, beside = np.full((24, 50, 3), np.nan), np.full((24, 50), np.nan)
    for i, one in enumerate(many):
        padded[i, : len(one)], beside[i, : len(one)] = one, np.sign(one[:, 0])
    tight, wide = CASES[name].new().fit(many, y), CASES[name].new().fit(padded, y if name == "classify" else beside)
    for task, X in ((tight, padded), (wide, many)):
        for ours, theirs in zip(numbers(name, task.apply(X)), numbers(name, tight.apply(many)), strict=True):
            np.testing.assert_array_equal(ours, theirs)


LOST = {  # all that a verdict can say where nothing was won, and nothing that it says of a win
    "anomaly": r"neither .+ does better than chance .+|.+ ranks rows better than the network .+|.+ do equally well .+",
    "forecast": r".+ did better than the forecaster: MSE .+, p = .+|no better than .+, as far as .+ can tell: MSE .+",
    "complete": r"no better than (linear interpolation|the last value) on later rows, so filled by \1: .+",
    "classify": r"(no better than chance|too few rows to tell from chance): .+",
    "tag": r"no better than a simple rule, as far as these rows can tell: .+|a simple rule does better: .+",
}
NOISE_IS_SAID: dict[str, Callable[[Any], list[str]]] = {
    "anomaly": lambda task: [events(task)],
    "forecast": lambda task: [task.verdict_],
    "complete": lambda task: task.notes_,
    "complete, past": lambda task: task.notes_,
    "complete, none": lambda task: task.notes_,
    "classify": lambda task: [str(task.verdict_)],
    "tag": lambda task: [task.verdict_],
    "tag, both": lambda task: [task.verdict_],
    "tag, values": lambda task: [task.verdict_],
}


def events(task: Any) -> str:
    """A detector learns from no label, so it can only be judged where events are known: here they mean nothing."""
    labels = np.random.default_rng(0).random(ROWS) < 0.2
    return evaluate.detector(task, rows(7, ROWS, noise=True), labels=labels)[0].verdict


def lost(name: str, said: list[str]) -> bool:
    return any(re.fullmatch(LOST[name.split(",")[0]], one) for one in said)


@pytest.mark.parametrize("name", NOISE_IS_SAID)
def test_where_nothing_can_be_learned_it_says_that_a_plain_rule_does_as_well(name: str) -> None:
    case, noise = CASES[name], rows(6, ROWS, noise=True)
    given = case.given(noise)
    if len(given) > 1:
        given = (given[0], np.random.default_rng(0).permutation(given[1]))
    said = NOISE_IS_SAID[name](case.new().fit(*given))
    assert lost(name, said), said


def test_the_sentence_of_a_win_is_none_of_those() -> None:
    ours = {"tagger": {"rows": 0.1}, "largest class": {"rows": 0.3}}
    truth = np.repeat([0, 1], 40)
    won = {
        "forecast": outlook.verdict({"forecaster": (0.4, 0.6), "drift": (0.5, 0.5)}, {"drift": (0.01, 1.0)}),
        "classify": str(chance.judge([truth], [truth])),
        "tag": marking.verdict(ours, {"largest class": (0.001, 1.0)}),
        "anomaly": evaluate.judge([Row(name=n, metrics={"AUROC": a}) for n, a in (("network", 0.9), ("pca", 0.8))])[0],
    }
    assert all("better than" in said or "ahead of every baseline" in said for said in won.values())
    assert not any(lost(name, [said]) for name, said in won.items())
    assert lost("tag", [marking.verdict(ours, {"largest class": (0.2, 0.9)})])
    assert lost("tag", [marking.verdict({"tagger": {"rows": 0.4}, **dict([*ours.items()][1:])}, {})])


# --- wrong words -----------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1}, {"seed": 1.5}, {"seed": None}, {"seed": "x"}, {"training": 3}, {"training": {"epochs": 3}},
        {"network": 3}, {"network": tg.Training()}, {"cell": 3}, {"device": None}, {"size": ["small"]},
    ],
    ids=str,
)  # fmt: skip
def test_an_argument_of_the_wrong_kind_is_refused_by_its_name(name: str, wrong: dict[str, Any]) -> None:
    case, (key, value) = CASES[name], next(iter(wrong.items()))
    task = case.new(**wrong)
    assert getattr(task, key) is value, "a constructor stores"
    with pytest.raises(tg.SettingError, match=key):
        task.fit(*case.given(rows(0, ROWS)))
    assert not hasattr(task, "model_")


@every
@pytest.mark.parametrize("wrong", [None, 3, "x", {}], ids=str)
def test_what_is_no_state_is_refused_with_where_one_comes_from(name: str, wrong: Any) -> None:
    task, series = fitted(name), rows(1, 60)
    reading: Any = series[:28] if name == "classify" else series.values[0]
    with pytest.raises(tg.SettingError, match=r"as the state of a stream[\s\S]*start\(\)"):
        task.step(reading, wrong)
    if wrong is not None and name != "classify":
        said = "as the state of a stream" if CASES[name].causal else "which needs what comes after"
        with pytest.raises(tg.SettingError, match=said):
            task.apply(series, wrong)


@every
def test_numbers_of_numpy_serve_as_arguments_and_are_saved_as_pythons(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    task = case.new(seed=np.int64(2)).fit(*case.given(rows(0, ROWS)))
    task.save(tmp_path / "model")
    assert tg.load(tmp_path / "model").seed == 2


@every
def test_a_report_is_of_what_the_task_itself_said(name: str) -> None:
    pytest.importorskip("plotly")
    for wrong in (3, fitted("complete" if name == "forecast" else "forecast").apply(rows(1, 100))):
        with pytest.raises(tg.SettingError, match="as the result of"):
            tg.report.page(fitted(name), wrong)
    with pytest.raises(tg.SettingError, match="as an evaluation"):
        tg.report.page(fitted(name), None, 3)


@every
def test_an_array_of_another_width_is_refused_with_both(name: str) -> None:
    task, series = fitted(name), rows(1, 300)
    wide: Any = np.column_stack([series.values, series.values])
    given = [wide[:28], wide[28:56]] if name == "classify" else wide
    with pytest.raises(tg.DataError, match=r"6[\s\S]*3"):
        task.apply(given)


@pytest.mark.parametrize("wrong", [["x"], [("2020-01-01", "2019-01-01")], [("2020", 1, 2)], ["ab"]], ids=str)
def test_stretches_that_are_none_are_refused(wrong: Any) -> None:
    for name in ("anomaly", "forecast"):
        with pytest.raises(tg.SettingError):
            CASES[name].new().fit(rows(0, ROWS), exclude=wrong)


def test_a_row_too_soon_is_noted_in_a_forecast() -> None:
    task, series = fitted("forecast"), rows(1, 40)
    said, state = task.step(series.values[0], task.apply(series).state, time=int(series.times[-1]) + SECOND // 10)
    assert any("0.1 s after" in note or "100 ms after" in note for note in said.notes)
    said, _ = task.step(series.values[0], state, time=int(series.times[-1]) + 2 * SECOND)
    assert not said.notes


def test_levels_and_steps_that_are_no_numbers_are_refused() -> None:
    task, series = fitted("forecast"), rows(1, 200)
    with pytest.raises(tg.SettingError, match="every"):
        task.backtest(series, every=1.5)
    for level in ("x", 1.2, None, 0):
        with pytest.raises(tg.SettingError, match="band meant to hold"):
            task.backtest(series).coverage(level)
    for level in ("x", None):
        with pytest.raises(tg.SettingError, match="level"):
            task.apply(series).quantile(level)
    with pytest.raises(tg.SettingError, match="beside"):
        CASES["forecast"].new().fit(rows(0, ROWS), beside=3)


@pytest.mark.parametrize("name", ["classify", "tag"])
def test_labels_that_are_measurements_or_of_another_kind_are_refused(name: str) -> None:
    case, series = CASES[name], rows(0, ROWS)
    X, y = case.given(series)
    with pytest.raises(tg.DataError, match=r"different labels, as[\s\S]*target=\"value\""):
        case.new().fit(X, np.random.default_rng(0).random(len(y)))
    with pytest.raises(tg.DataError, match="none of which was learned"):
        fitted(name).score(X, np.arange(len(y)))
    with pytest.raises(tg.DataError, match="label"):
        fitted(name).score(X, y[:-1])


def test_sequences_by_name_in_frames_and_files_are_those_of_a_list(tmp_path: Path) -> None:
    pandas, task = pytest.importorskip("pandas"), fitted("classify")
    series = rows(1, 200)
    known = [msgspec.structs.replace(one, labels=np.repeat(label, len(one)))
             for one, label in zip(pieces(series), kinds(series), strict=True)]  # fmt: skip
    plain = task.apply(pieces(series)).proba
    for given in (
        {one.name: one for one in pieces(series)} if len({one.name for one in known}) > 1 else known,
        [pandas.DataFrame(one.values, columns=list(CHANNELS)) for one in known],
        [pandas.DataFrame(one.values, columns=list(CHANNELS))[[*reversed(CHANNELS)]] for one in known],
        dict(enumerate(known)),
    ):
        np.testing.assert_array_equal(task.apply(given).proba, plain)
    assert task.score(dict(enumerate(known))) == task.score(pieces(series), kinds(series))
    own = CASES["classify"].new().fit({str(i): one for i, one in enumerate(known)})
    np.testing.assert_array_equal(
        own.apply(known).proba, CASES["classify"].new().fit(known, kinds(series)).apply(known).proba
    )
    with pytest.raises(tg.DataError, match="no labels"):
        CASES["classify"].new().fit(pieces(series))
    turned = dict(reversed(list(enumerate(kinds(series).tolist()))))
    by_name = CASES["classify"].new().fit(dict(enumerate(known)), turned)
    np.testing.assert_array_equal(by_name.apply(known).proba, CASES["classify"].new().fit(known).apply(known).proba)
    assert by_name.score(dict(enumerate(known)), turned) == by_name.score(known)
    with pytest.raises(tg.DataError, match="names that X and y"):
        by_name.fit(dict(enumerate(known)), {**turned, "x": "up"})
    frames = [pandas.DataFrame(one.values, columns=list(CHANNELS)) for one in known]
    swapped_ = [frame[[*reversed(CHANNELS)]] if i % 2 else frame for i, frame in enumerate(frames)]
    own = CASES["classify"].new().fit(swapped_, kinds(series))
    np.testing.assert_array_equal(own.apply(frames).proba, by_name.apply(frames).proba)
    with pytest.raises(tg.DataError, match="no labels"):
        CASES["classify"].new().fit([frame.assign(labels=1) for frame in frames])
    mixed = msgspec.structs.replace(known[0], labels=np.arange(len(known[0])))
    with pytest.raises(tg.DataError, match="28 labels in"):
        CASES["classify"].new().fit([mixed, *known[1:]])
    text = "@timestamps false\n@univariate true\n@classLabel true a b\n@data\n" + "".join(
        f"{','.join(map(str, np.round(np.random.default_rng(i).normal(size=12) + i % 2, 3)))}:{'ab'[i % 2]}\n"
        for i in range(40)
    )
    (tmp_path / "x_TRAIN.ts").write_text(text)
    assert CASES["classify"].new().fit(tmp_path / "x_TRAIN.ts").classes_.tolist() == ["a", "b"]


def test_a_tagger_that_learned_from_a_stream_alone_has_a_page(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    task = tg.Tagger(seed=0).cold_start(channels=1, classes=["a", "b"])
    state = task.start()
    for _ in range(30):
        _, state = task.step([1.0], state, learn=True, target="a")
    task.save(tmp_path / "m", state=state)
    page = tg.report.page(tg.load(tmp_path / "m"))
    assert "Not judged: it learned from a stream" in page


def test_what_a_detector_is_told_is_a_truth_value() -> None:
    task, series = fitted("anomaly"), rows(1, 9)
    for wrong in ("normal", 2, [], "bad"):
        with pytest.raises(tg.SettingError, match="True = abnormal"):
            task.step(series.values[0], task.start(), learn=True, target=wrong)
    task.step(series.values[0], task.start(), learn=True, target=np.bool_(True))


def test_columns_of_one_name_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.zeros((9, 3)), columns=["a", "b", "a"])
    with pytest.raises(tg.DataError, match="more than one column has: a"):
        tg.read(frame)


def test_a_channel_without_readings_to_judge_by_says_so_and_is_no_perfect_one() -> None:
    series = rows(0, ROWS)
    values = series.values.copy()
    values[300:, 1] = np.nan
    task = CASES["complete"].new().fit(check(values, series.times, list(series.channels)))
    assert task.by_channel_["level"] == {}
    assert any("no reading on later rows to be judged by" in note and "level" in note for note in task.notes_)
    assert task.by_channel_["flow"]["network"] > 0
    filled = task.fit_transform(check(values, series.times, list(series.channels)))
    assert np.isfinite(filled).all()


def test_a_frame_with_an_irregular_clock_is_applied_as_it_was_fitted() -> None:
    pandas, series = pytest.importorskip("pandas"), rows(0, ROWS - 1)
    times = np.cumsum(np.where(np.arange(ROWS - 1) % 2, 10, 110)) * SECOND
    frame = pandas.DataFrame(series.values, columns=list(CHANNELS)).assign(time=pandas.to_datetime(times, utc=True))
    task = CASES["forecast"].new().fit(frame)
    np.testing.assert_array_equal(task.apply(frame).mean, task.apply(tg.read(frame)).mean)
