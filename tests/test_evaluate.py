"""One table, baselines beside: what is in it, from which rows, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tidegate as tg
from tidegate import chance, evaluate, measures
from tidegate.series import SECOND, Series, check

DRAW = "as far as these rows can tell"


@pytest.fixture(scope="module")
def broken(steady: Series) -> Series:
    return tg.synth.plant(steady[1200:], "level", 80, 40, size=8.0, channels=("level",))


def test_the_baselines_stand_beside_and_an_isolation_forest_where_the_history_is_given(
    learned: tg.AnomalyDetector, steady: Series, broken: Series
) -> None:
    plain, _ = evaluate.detector(learned, broken)
    assert [row.name for row in plain.rows] == ["network", "last_value", "level", "pca"]
    pytest.importorskip("sklearn")
    full, _ = evaluate.detector(learned, broken, history=steady[:1200])
    assert [row.name for row in full.rows] == ["network", "last_value", "level", "pca", "isolation_forest"]
    assert full.rows[:4] == plain.rows
    assert full.rows[4].metrics["AUROC"] > 0.6


def test_a_clean_split_has_no_notes_and_one_with_the_history_in_it_does(
    learned: tg.AnomalyDetector, steady: Series, broken: Series
) -> None:
    assert evaluate.detector(learned, broken, history=steady[:1200])[0].notes == []
    assert evaluate.detector(learned, steady[1000:], history=steady[:1200])[0].notes


def test_another_history_than_its_own_is_refused(learned: tg.AnomalyDetector, steady: Series, broken: Series) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(tg.DataError, match="lies in the stretch that calibrated"):
        evaluate.detector(learned, broken, history=steady[:300])


def test_faults_are_planted_in_the_rows_that_calibrated(learned: tg.AnomalyDetector, steady: Series) -> None:
    table = evaluate.planted(learned, steady[:1200])
    assert "planted in the 300 rows that calibrated" in table.what
    assert table.events == []
    assert table.rows[0].metrics["AUROC"] > 0.7


def test_labels_that_flicker_on_irregular_times_are_events_that_do_not_overlap(
    learned: tg.AnomalyDetector, steady: Series
) -> None:
    later = steady[1200:]
    early = later.times - np.where(np.arange(len(later)) % 2, SECOND // 3, 0)
    jittered = msgspec.structs.replace(check(later.values, early, later.channels), interval=1.0)
    table, _ = evaluate.detector(learned, jittered, labels=(np.arange(len(later)) % 4 == 0).astype(int))
    assert "50 known events" in table.what


def test_labels_that_are_text_are_refused(learned: tg.AnomalyDetector, broken: Series) -> None:
    with pytest.raises(tg.DataError, match="labels that are text: 'bad', 'fine'"):
        evaluate.detector(learned, broken, labels=np.array(["fine"] * 199 + ["bad"]))


def test_without_labels_the_table_counts_alarms_and_ranks_nobody(learned: tg.AnomalyDetector, steady: Series) -> None:
    from tidegate.pages import anomaly, frame

    table, found = evaluate.detector(learned, steady[1200:])
    assert set(table.rows[0].metrics) == {"alarms", "alarms/day"}
    page = anomaly.of(learned, found, table)
    assert all(np.isnan(figure) for figure in frame.best(page.table).values())


def test_a_detector_that_is_always_in_alarm_is_not_praised(learned: tg.AnomalyDetector, steady: Series) -> None:
    shifted = msgspec.structs.replace(steady, values=steady.values + 3 * np.ptp(steady.values, axis=0))[1200:]
    table, _ = evaluate.detector(learned, shifted, events=[("1970-01-01T00:21:40", "1970-01-01T00:22:00")])
    assert table.rows[0].metrics["events found %"] == 100
    assert "in alarm in" in table.verdict
    with pytest.raises(tg.DataError, match="before it starts"):
        evaluate.detector(learned, shifted, events=[("1970-01-01T00:22:00", "1970-01-01T00:21:40")])


def test_the_verdict_praises_nobody_who_does_no_better_than_chance() -> None:
    rows = [
        evaluate.Row(name=name, metrics={"AUROC": x}, baseline=x > 0.5)
        for name, x in (("network", 0.47), ("pca", 0.52))
    ]
    assert evaluate.judge(rows) == (
        "neither the network nor pca does better than chance here (AUROC 0.470 against 0.520)",
        False,
    )


def test_planted_faults_are_scored_by_name_and_arrays_by_place(learned: tg.AnomalyDetector, steady: Series) -> None:
    plain = evaluate.planted(learned, steady[:1200])
    turned = evaluate.planted(learned, steady[:1200].select(["load", "flow", "level"]))
    assert str(turned) == str(plain)


def test_without_a_clock_events_are_met_as_with_one(steady: Series) -> None:
    bare = check(steady.values)
    training = tg.Training(epochs=4, batches=10, batch=8)
    detector = tg.AnomalyDetector(network=tg.Network(hidden=8), training=training, false_alarms="10/h").fit(bare[:1200])
    broken = tg.synth.plant(bare[1200:], "level", 80, 40, size=8.0)
    table, found = evaluate.detector(detector, broken)
    assert found.alarms
    for row in table.rows[:1]:
        assert row.metrics["events found %"] == 100
        assert row.metrics["false alarms"] == 0


def test_only_what_was_learned_counts_as_the_history(steady: Series) -> None:
    training = tg.Training(epochs=1, batches=2, batch=4)
    detector = tg.AnomalyDetector(network=tg.Network(hidden=5), training=training)
    detector.fit(steady[:1300], exclude=[(100, 120), (1100, 1110)])
    assert detector.left_out_ == [(100 * SECOND, 119 * SECOND), (1100 * SECOND, 1109 * SECOND)]
    assert evaluate.split_notes(detector, steady, steady[1300:]) == []
    assert "planted in the 318 rows" in evaluate.planted(detector, steady).what


# --- better is more than chance: the tables of the other tasks --------------------------------------------------------


def saying(task: Any, change: Callable[[Any], Any]) -> Any:
    """A fitted task that answers as it does, but for what a test changes."""
    found = copy.copy(task)
    found.apply = lambda X: change(task.apply(X))
    return found


@pytest.fixture(scope="module")
def switched() -> tuple[np.ndarray, np.ndarray]:
    """A switch as a sensor tells it, so that each row alone says everything."""
    state = np.cumsum(np.random.default_rng(0).random(1200) < 0.03) % 2
    return (state + 0.1 * np.random.default_rng(1).standard_normal(1200))[:, None], state


@pytest.fixture(scope="module")
def tagger(switched: tuple[np.ndarray, np.ndarray]) -> tg.Tagger:
    training = tg.Training(epochs=2, batches=4, batch=8)
    return tg.Tagger(network=tg.Network(hidden=6), training=training).fit(*switched)


@pytest.fixture(scope="module")
def completer(steady: Series) -> tg.Completer:
    return tg.Completer(network=tg.Network(hidden=4), training=tg.Training(epochs=1, batches=2, batch=4)).fit(steady)


@pytest.fixture(scope="module")
def sequences() -> tuple[np.ndarray, np.ndarray]:
    """Forty sequences of two levels."""
    y = np.arange(40) % 2
    return y[:, None] + 0.1 * np.random.default_rng(0).standard_normal((40, 20)), y


@pytest.fixture(scope="module")
def classifier(sequences: tuple[np.ndarray, np.ndarray]) -> tg.Classifier:
    return tg.Classifier(network=tg.Network(hidden=4), training=tg.Training(epochs=2, batches=2)).fit(*sequences)


def test_of_the_rows_that_judged_it_a_tagger_is_told_what_fit_said(
    tagger: tg.Tagger, switched: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = switched
    last, first = tagger.split_["judge"], tagger.split_["train"]
    judged = np.where(np.arange(len(y)) < len(y) - last, np.nan, y)
    table = measures.tagger(tagger, tg.read(x), [judged], history=(tg.read(x[:first]), [y[:first]]))
    assert table.verdict == tagger.verdict_.replace("held-out rows", "these rows")
    held = measures.tagger_held_out(tagger)
    assert held.verdict == tagger.verdict_
    assert [row.name for row in held.rows] == [row.name for row in table.rows]
    assert held.baseline_wins == table.baseline_wins == (not tagger.verdict_.startswith("better than"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (slice(77, 80), f"no better than a simple rule, {DRAW}: logistic regression 100.0 % of these rows right"),
        (slice(77, 380), f"no better than a simple rule, {DRAW}: "),  # in one stretch: two witnesses or three
        (slice(None, None, 9), "a simple rule does better: logistic regression 100.0 % of these rows right, the"),
    ],
)
def test_a_few_rows_or_one_stretch_make_no_tagger_worse(
    tagger: tg.Tagger, switched: tuple[np.ndarray, np.ndarray], wrong: slice, said: str
) -> None:
    x, y = switched

    def off(found: Any) -> Any:
        label = y.copy()
        label[wrong] = 1 - label[wrong]
        return dataclasses.replace(found, label=label)

    table = measures.tagger(saying(tagger, off), tg.read(x), [y], history=(tg.read(x), [y]))
    assert table.verdict.startswith(said)
    assert table.baseline_wins
    alone = measures.tagger(saying(tagger, off), tg.read(x), [y])
    assert alone.verdict.startswith("better than the simple rules: ")
    assert "; largest class " in alone.verdict
    assert alone.verdict.endswith("said wrongly about 5 % of the time")


def test_a_sequence_is_one_witness_and_values_are_judged_alike(switched: tuple[np.ndarray, np.ndarray]) -> None:
    many, values = [np.full((40, 1), i % 2, dtype=float) for i in range(20)], [np.full(40, i % 2) for i in range(20)]
    training = tg.Training(epochs=1, batches=2, batch=4)
    task = tg.Tagger(target="value", network=tg.Network(hidden=4), training=training).fit(many, values)
    data = {f"s{i}": tg.read(one) for i, one in enumerate(many)}
    for wrong, said in ((1, f"no better than a simple rule, {DRAW}: mean "), (20, "a simple rule does better: mean ")):
        told = [dataclasses.replace(one, value=np.full((40, 1), 0.5)) for one in task.apply(many)]
        for one in told[:wrong]:
            one.value[:] = 9.0
        task.apply = lambda X, told=told: told  # type: ignore[method-assign]
        table = measures.tagger(task, data, values)
        assert table.verdict.startswith(said)
        assert "RMSE on these rows" in table.verdict


FILLS: dict[str, tuple[Callable[[Any, np.ndarray], np.ndarray], str, bool]] = {
    "as the rule does": (lambda done, truth: done.linear, f"no better than linear interpolation, {DRAW}: MAE ", True),
    "but for rounding": (
        lambda done, truth: done.linear + 1e-14 * (truth - done.linear),
        f"no better than linear interpolation, {DRAW}: MAE ", True,
    ),
    "better in one stretch": (
        lambda done, truth: np.where(np.arange(len(truth))[:, None] < 100, truth, done.linear),
        f"no better than linear interpolation, {DRAW}: MAE ", True,
    ),
    "better all over": (
        lambda done, truth: 0.9 * done.linear + 0.1 * truth,
        "the network fills better than every rule: MAE ", False,
    ),
    "worse all over": (
        lambda done, truth: 1.1 * done.linear - 0.1 * truth,
        "linear interpolation fills better than the network: MAE ", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("pattern", measures.PATTERNS)
@pytest.mark.parametrize("name", FILLS)
def test_fills_are_better_where_they_are_in_most_stretches_of_time(
    completer: tg.Completer, steady: Series, name: str, pattern: str
) -> None:
    fill, said, wins = FILLS[name]

    def other(done: Any) -> Any:
        return dataclasses.replace(done, values=np.where(done.filled, fill(done, steady.values), done.values))

    table = measures.completer(saying(completer, other), steady, pattern=pattern)
    assert table.verdict.startswith(said)
    assert table.baseline_wins == wins
    assert type(table.detail).__name__ == "Completed"
    assert set(table.units) == set(steady.channels)


def test_what_a_completer_held_out_is_judged_alike_and_a_file_keeps_it(steady: Series, tmp_path: Path) -> None:
    wild = tg.Training(epochs=1, batches=20, batch=4, learning_rate=0.5)  # far too fast: it learns nonsense
    walk = check(np.cumsum(np.random.default_rng(0).standard_normal((400, 1)), axis=0))
    task = tg.Completer(network=tg.Network(hidden=4), training=wild).fit(walk)
    assert task.held_out_["network"] == task.held_out_["linear"]
    assert task.against_["linear"] == (1.0, 1.0)
    assert task.against_["last_value"][0] < 0.05
    assert task.verdict_.startswith(f"no better than linear interpolation, {DRAW}: MAE ")
    table = measures.completer_held_out(task)
    assert (table.verdict, table.baseline_wins) == (task.verdict_, True)
    task.save(tmp_path / "m")
    again = tg.load(tmp_path / "m", tg.Completer)
    assert (again.against_, again.verdict_) == (task.against_, task.verdict_)
    past = tg.Completer(direction="past", network=tg.Network(hidden=4), training=wild).fit(walk)
    assert f" the last value, {DRAW}: " in past.verdict_
    assert [row.name for row in measures.completer_held_out(past).rows] == ["network", "last_value"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (3, f"no better than a simple rule, {DRAW}: nearest sequence 100.0 %"),
        (10, "a simple rule does better: nearest"),
    ],
)
def test_a_few_sequences_make_no_classifier_worse(
    classifier: tg.Classifier, sequences: tuple[np.ndarray, np.ndarray], wrong: int, said: str
) -> None:
    X, y = sequences

    def off(found: Any) -> Any:
        return dataclasses.replace(found, label=np.where(np.arange(40) < wrong, 1 - y, y))

    task = saying(classifier, off)
    chances, beside = measures.classifier(task, X, y, history=X, known=y).verdict.split("\n")
    assert chances.startswith("better than chance: ")
    assert beside.startswith(said)
    alone = measures.classifier(task, X, y)
    assert alone.verdict.split("\n")[1].startswith("better than the simple rules: ")
    assert not alone.baseline_wins


def test_what_a_classifier_held_out_is_judged_alike_and_a_file_keeps_it(
    classifier: tg.Classifier, tmp_path: Path
) -> None:
    from tidegate.tasks import naming

    judged = classifier.judged_
    same = {"nearest sequence": judged.said.copy(), "largest class": np.zeros_like(judged.said)}
    rivals, against = naming.compared(judged.truth, judged.said, same)
    assert against["nearest sequence"] == (1.0, 1.0)
    accuracy = classifier.verdict_.accuracy
    assert f"no better than a simple rule, {DRAW}" in naming.beside(accuracy, rivals | {"largest class": 0.0}, against)
    beside = naming.beside(accuracy, classifier.rivals_, classifier.against_)
    assert measures.classifier_held_out(classifier).verdict == f"{classifier.verdict_}\n{beside}"
    assert (beside in classifier.notes_) == (not beside.startswith("better than"))
    classifier.save(tmp_path / "m")
    assert tg.load(tmp_path / "m", tg.Classifier).against_ == classifier.against_


def test_rows_that_are_witnesses_of_their_own_are_tested_as_blocks_are() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        gain = rng.integers(-1, 2, chance.BLOCKS)
        assert chance.signed(gain) == pytest.approx(chance.paired(1.0 * gain, np.arange(chance.BLOCKS)))
    rows = 500 + rng.permutation(1000)[:300]
    stretch = chance.stretches(rows, least=120)
    for i in range(8):
        own = np.arange(500, 1500)[chance.stretches(np.arange(500, 1500), least=120) == i]
        assert len(own) >= 120
    assert stretch.max() == 7


def test_it_says_where_a_task_is_judged_on_what_it_learned_from(
    steady: Series, tmp_path: Path, classifier: tg.Classifier, sequences: tuple[np.ndarray, np.ndarray]
) -> None:
    small: dict[str, Any] = {"network": tg.Network(hidden=4), "training": tg.Training(epochs=1, batches=2, batch=4)}
    state = (steady.values[:, 0] > np.median(steady.values[:, 0])).astype(int)[:600]
    tasks = [tg.Forecaster(horizon=4, lookback=16, **small).fit(steady[:600]), tg.Completer(**small).fit(steady[:600])]
    tasks.append(tg.Tagger(**small).fit(steady[:600], state))
    for task in tasks:
        task.save(tmp_path / "m")
        for same in (task, tg.load(tmp_path / "m")):
            (note,) = evaluate.again(same, steady[500:700])
            assert note.startswith("100 of 200 rows from the time that the model learned from, ")
            assert evaluate.again(same, steady[600:]) == []
            assert evaluate.again(same, check(steady.values[:50])) == []
    X, y = sequences
    seen = measures.classifier(classifier, X[:10], y[:10], history=X[5:], known=y[5:])
    assert "5 of 10 sequences lie in the history too" in seen.notes[0]
    assert measures.classifier(classifier, X[:5], y[:5], history=X[5:], known=y[5:]).notes == []
