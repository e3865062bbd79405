from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tidegate import metrics
from tidegate.errors import DataError

# what bench/tsb_vus.py's oracle, TSB-AD 1.5 (NumPy 2.4.6), gives on `signal` below:
# rows, events, shift of the score, decimals kept, window -> VUS-PR, VUS-ROC
TSB_AD = [
    (400, [(50, 70), (200, 203), (350, 400)], 4, 6, 20, 0.755970987250, 0.912906877942),
    (400, [(0, 5), (30, 31), (36, 60)], -3, 2, 10, 0.497002495554, 0.821822143383),
    (600, [(100, 101)], 5, 1, 125, 0.110552699415, 0.965856333308),
    (300, [(0, 1), (299, 300)], 0, 0, 7, 0.027956610420, 0.751162747034),
    (90, [(40, 60)], 2, 6, 0, 0.707750894938, 0.912857142857),
    (500, [(100, 120), (125, 140), (150, 151), (480, 500)], 8, 1, 37, 0.591547988476, 0.874217699482),
]

fair = settings(deadline=None, max_examples=40)  # the first example may pay for an import
ranked = st.integers(2, 60).flatmap(
    lambda rows: st.tuples(
        st.lists(st.booleans(), min_size=rows, max_size=rows).filter(lambda labels: 0 < sum(labels) < len(labels)),
        st.lists(st.integers(-3, 3), min_size=rows, max_size=rows),
    )
)


def signal(rows: int, spans: list[tuple[int, int]], shift: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and a score that rises near them; arithmetic only, so that no random generator can change it."""
    labels = np.zeros(rows, dtype=int)
    for first, stop in spans:
        labels[first:stop] = 1
    return labels, np.round((np.arange(rows) * 7919 % 1009) / 1009 + 0.7 * np.roll(labels, shift), decimals)


@pytest.mark.parametrize(("rows", "spans", "shift", "decimals", "window", "pr", "roc"), TSB_AD)
def test_vus_is_what_tsb_ad_computes(rows, spans, shift, decimals, window, pr, roc):
    labels, scores = signal(rows, spans, shift, decimals)
    assert metrics.vus_pr(labels, scores, window) == pytest.approx(pr, abs=1e-9)
    assert metrics.vus_roc(labels, scores, window) == pytest.approx(roc, abs=1e-9)


def test_vus_forgives_a_shift_that_average_precision_does_not():
    labels, scores = signal(600, [(300, 310)], 12, 6)
    assert metrics.vus_pr(labels, scores, 60) > 2 * metrics.average_precision(labels, scores)


@fair
@given(ranked)
def test_rank_metrics_are_those_of_scikit_learn(case):
    theirs = pytest.importorskip("sklearn.metrics")
    labels, scores = case
    assert metrics.auroc(labels, scores) == pytest.approx(theirs.roc_auc_score(labels, scores))
    assert metrics.average_precision(labels, scores) == pytest.approx(theirs.average_precision_score(labels, scores))


@fair
@given(ranked, st.integers(0, 20))
def test_only_the_order_of_the_scores_counts(case, window):
    labels, scores = case
    stretched = np.exp(np.array(scores, dtype=float)) * 5 - 100
    for metric in (metrics.auroc, metrics.average_precision):
        assert metric(labels, scores) == metric(labels, stretched)
    assert metrics.vus_pr(labels, scores, window) == metrics.vus_pr(labels, stretched, window)
    assert metrics.vus_roc(labels, scores, window) == metrics.vus_roc(labels, stretched, window)


@fair
@given(ranked)
def test_a_row_without_a_score_counts_as_the_lowest(case):
    labels, scores = case
    holed = np.where(np.arange(len(scores)) % 3 == 0, np.nan, np.array(scores, dtype=float))
    lowest = np.nan_to_num(holed, nan=-99.0)
    assert metrics.auroc(labels, holed) == metrics.auroc(labels, lowest)
    assert metrics.average_precision(labels, holed) == metrics.average_precision(labels, lowest)
    assert metrics.vus_pr(labels, holed, 4) == metrics.vus_pr(labels, lowest, 4)


def test_leaving_out_the_score_of_a_missed_event_costs_what_missing_it_costs():
    labels, scores = np.array([0, 0, 1, 0, 1, 0]), np.array([0.1, 0.2, np.nan, 0.3, 0.9, 0.1])
    assert metrics.auroc(labels, scores) == 0.5


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_where_only_one_kind_is_present_there_is_no_order_to_measure(labels):
    scores = [0.1, 0.2, 0.3]
    assert np.isnan(metrics.auroc(labels, scores))
    assert np.isnan(metrics.vus_pr(labels, scores, 2))
    assert np.isnan(metrics.vus_roc(labels, scores, 2))
    assert np.isnan(metrics.average_precision([0, 0, 0], scores))


def test_errors_leave_out_missing_pairs_and_say_nan_where_none_is_left():
    seen, expected = np.array([[1.0, np.nan], [3.0, 5.0]]), np.array([[2.0, 7.0], [np.nan, 8.0]])
    assert metrics.mse(seen, expected) == 5.0
    assert metrics.mae(seen, expected) == 2.0
    assert np.isnan(metrics.mse([np.nan], [1.0]))
    assert np.isnan(metrics.mae([], []))


@fair
@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30), st.floats(0.1, 10), st.floats(-50, 50))
def test_correlation_is_blind_to_scale_and_offset_and_cosine_to_scale_alone(values, factor, offset):
    x = np.array(values)
    x[0], x[1] = 2000.0, -1500.0  # moves, and is not zero
    assert metrics.correlation(x, factor * x + offset) == pytest.approx(1)
    assert metrics.correlation(x, -x) == pytest.approx(-1)
    assert metrics.cosine_similarity(x, factor * x) == pytest.approx(1)
    assert metrics.correlation(x, np.roll(x, 1)) == pytest.approx(np.corrcoef(x, np.roll(x, 1))[0, 1])


def test_a_flat_signal_has_no_correlation_and_a_zero_one_no_angle():
    assert np.isnan(metrics.correlation([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]))
    assert np.isnan(metrics.cosine_similarity([0.0, 0.0], [1.0, 2.0]))


def test_rates_count_rows_and_are_nan_where_there_are_none():
    labels, alarm = [0, 0, 0, 0, 1, 1, 1, 0], [1, 0, 0, 0, 0, 1, 1, 0]
    assert metrics.f1(labels, alarm) == pytest.approx(2 / 3)
    assert metrics.false_alarm_rate(labels, alarm) == pytest.approx(1 / 5)
    assert metrics.missed_rate(labels, alarm) == pytest.approx(1 / 3)
    assert np.isnan(metrics.missed_rate([0, 0], [0, 1]))
    assert np.isnan(metrics.false_alarm_rate([1, 1], [0, 1]))
    assert np.isnan(metrics.f1([0, 0], [0, 0]))


@fair
@given(st.lists(st.booleans(), max_size=40))
def test_events_give_back_the_labels_they_came_from(flags):
    rebuilt = np.zeros(len(flags), dtype=bool)
    spans = metrics.events(flags)
    for first, stop in spans:
        rebuilt[first:stop] = True
    assert rebuilt.tolist() == flags
    assert (np.diff(spans.ravel()) > 0).all()


@fair
@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.integers(0, 5),
)
def test_delays_are_those_of_counting_by_hand(labels, alarm, grace):
    truth, alarms = metrics.events(labels), metrics.events(alarm)
    by_hand = []
    for start, stop in truth:
        touching = [max(first - start, 0) for first, last in alarms if last > start and first < stop + grace]
        by_hand.append(touching[0] if touching else np.nan)
    np.testing.assert_array_equal(metrics.delays(truth, alarms, grace=grace), by_hand)
    away = [not any(last > start and first < stop + grace for start, stop in truth) for first, last in alarms]
    assert metrics.false_alarms(truth, alarms, grace=grace) == sum(away)


def test_recall_and_delay_by_event():
    truth = np.array([[10, 20], [50, 60], [80, 90]])
    alarms = np.array([[14, 30], [62, 64]])
    assert metrics.event_recall(truth, alarms) == pytest.approx(1 / 3)
    assert metrics.event_recall(truth, alarms, grace=5) == pytest.approx(2 / 3)
    assert metrics.mean_delay(truth, alarms, grace=5) == 8.0
    assert np.isnan(metrics.mean_delay(truth, np.empty((0, 2), dtype=int)))
    assert np.isnan(metrics.event_recall(np.empty((0, 2), dtype=int), alarms))


def test_delays_of_nanosecond_times_stay_exact():
    start = 1_700_000_000_123_456_789
    truth = np.array([[start, start + 10**10]])
    assert metrics.delays(truth, np.array([[start + 7, start + 10**9]])).tolist() == [7.0]


def test_what_cannot_be_measured_is_refused_with_the_row():
    with pytest.raises(DataError, match="row 2"):
        metrics.auroc([0, 1, 2], [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="same rows"):
        metrics.f1([0, 1], [1, 0, 0])
    with pytest.raises(DataError, match="shape"):
        metrics.events([[0, 1], [1, 0]])
    with pytest.raises(DataError, match="same shape"):
        metrics.mse([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="window is -1"):
        metrics.vus_pr([0, 1], [0.0, 1.0], -1)
    with pytest.raises(DataError, match="not intervals"):
        metrics.delays(np.array([[5, 2]]), np.array([[1, 2]]))
