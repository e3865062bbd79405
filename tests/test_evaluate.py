"""One table, baselines beside: what is in it, from which rows, and what it refuses."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import tidegate as tg
from tidegate import evaluate
from tidegate.series import SECOND, Series, check


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
