"""Calibration: p-values that mean something, and budgets that are kept or said not to be."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from tidegate.calibrate import AlarmState, Calibration, Span, alarms, learn
from tidegate.errors import DataError, SettingError

Floats = NDArray[np.float64]
NAN = float("nan")


def wander(noise: Floats, phi: float) -> Floats:
    """First-order autoregression along the first axis."""
    out, last = np.empty_like(noise), noise[0]
    for t, row in enumerate(noise):
        last = phi * last + row * math.sqrt(1 - phi * phi)
        out[t] = last
    return out


def plainly(
    scores: Floats, threshold: float, merge: int, starts: list[int]
) -> tuple[list[bool], list[tuple[int, int]]]:
    """The alarm rule, a row at a time, as a sentence would say it."""
    shown, spans, quiet, is_open = [], [], 0, False
    for row, score in enumerate(scores):
        if row in starts:
            is_open = False
        if score > threshold:
            spans = [*spans[:-1], (spans[-1][0], row)] if is_open else [*spans, (row, row)]
            is_open, quiet = True, 0
        elif not math.isnan(score) and is_open:
            quiet += 1
            is_open = quiet < merge
        shown.append(is_open)
    return shown, spans


messy = st.lists(st.sampled_from([NAN, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0]), max_size=60).map(
    lambda x: np.array(x, dtype=float)
)
gaps = st.lists(st.integers(0, 59), max_size=4)


@settings(max_examples=60)
@given(messy, st.sampled_from([0.5, 1.5, 2.5]), st.integers(1, 6), gaps)
def test_alarms_follow_the_rule_row_by_row(scores: Floats, threshold: float, merge: int, starts: list[int]) -> None:
    shown, spans, _ = alarms(scores, -scores, threshold, merge=merge, starts=[s for s in starts if s < len(scores)])
    wanted, rows = plainly(scores, threshold, merge, starts)
    assert shown.tolist() == wanted
    assert [(span.first_row, span.last_row) for span in spans] == rows
    assert [span.open for span in spans] == [False] * (len(rows) - 1) + wanted[-1:] * bool(rows)
    assert [span.p_value for span in spans] == [-np.nanmax(scores[a : b + 1]) for a, b in rows]


@settings(max_examples=60)
@given(messy, st.integers(1, 6), gaps, st.lists(st.integers(0, 60), max_size=5))
def test_alarms_in_pieces_are_the_alarms_of_the_whole(
    scores: Floats, merge: int, starts: list[int], cuts: list[int]
) -> None:
    starts = [s for s in starts if s < len(scores)]
    shown, spans, end = alarms(scores, -scores, 1.5, merge=merge, starts=starts)
    edges = sorted({0, len(scores), *(c for c in cuts if c < len(scores))})
    state, pieces, closed, last = AlarmState(), [], [], []
    for a, b in itertools.pairwise(edges):
        inside = [s - a for s in starts if a <= s < b]
        part, some, state = alarms(scores[a:b], -scores[a:b], 1.5, merge=merge, state=state, starts=inside)
        state = AlarmState.from_array(state.to_array())
        pieces += part.tolist()
        closed += [s for s in some if not s.open]
        last = [s for s in some if s.open]
    assert pieces == shown.tolist()
    assert closed + last == spans
    assert state == end


@given(messy.filter(lambda s: bool((s >= 0).any())), st.integers(1, 6), gaps)
def test_the_number_of_alarms_is_known_for_every_threshold_from_one_pass(
    scores: Floats, merge: int, starts: list[int]
) -> None:
    from tidegate.calibrate import _max_before

    valid = np.flatnonzero(~np.isnan(scores))
    before = _max_before(scores[valid], np.searchsorted(sorted(starts), valid, side="right"), merge)
    for u in (-1.0, 0.0, 0.5, 1.0, 2.0):
        counted = int(((before <= u) & (u < scores[valid])).sum())
        assert counted == len(alarms(scores, scores, u, merge=merge, starts=[s for s in starts if s < len(scores)])[1])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=20))
def test_p_values_are_conformal_then_fall_for_ever_and_never_reach_zero(seen: list[float], asked: list[float]) -> None:
    calibration, scores = learn(np.array(seen), interval=1.0, merge=3), np.sort(np.array([*asked, *seen]))
    p = calibration.p_value(scores)
    conformal = (1 + (np.array(seen)[None, :] >= scores[:, None]).sum(axis=1)) / (len(seen) + 1)
    inside = scores <= max(seen)
    assert p[inside].tolist() == conformal[inside].tolist()
    assert (np.diff(p) <= 0).all()
    assert (p > 0).all()
    assert (p <= conformal).all()


def test_p_values_join_the_tail_without_a_step_and_are_the_same_row_by_row() -> None:
    rng = np.random.default_rng(0)
    calibration = learn(rng.standard_t(3, size=30_000) ** 2, interval=1.0, merge=5)
    top = calibration.seen[-1]
    assert calibration.p_value(np.array([np.nextafter(top, np.inf)]))[0] == pytest.approx(1 / 30_001, rel=1e-9)
    scores = np.concatenate([rng.standard_t(2, size=500) ** 2, top * rng.uniform(1, 1e6, 500), [NAN, np.inf]])
    whole = calibration.p_value(scores)
    assert (
        whole.tobytes()
        == np.concatenate([calibration.p_value(scores[i : i + 1]) for i in range(len(scores))]).tobytes()
    )
    assert np.isnan(whole[-2])
    assert whole[-1] > 0


def test_p_values_of_new_normal_scores_are_uniform() -> None:
    rng = np.random.default_rng(1)
    p = learn(rng.normal(size=20_000), interval=1.0, merge=5).p_value(rng.normal(size=200_000))
    for level in (0.5, 0.1, 0.01, 0.001):
        assert (p <= level).mean() == pytest.approx(level, rel=0.05 + 0.12 / math.sqrt(20_000 * level / 100))


KINDS = {
    "AR .5 squared": lambda rng, shape: wander(rng.normal(size=shape), 0.5) ** 2,
    "AR .9 squared": lambda rng, shape: wander(rng.normal(size=shape), 0.9) ** 2,
    "t3": lambda rng, shape: wander(rng.standard_t(3, size=shape), 0.5) ** 2,
    "daily cycle": lambda rng, shape: (
        (wander(rng.normal(size=shape), 0.9) * (1 + 0.5 * np.sin(np.arange(shape[0]) / 200))[:, None]) ** 2
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_calibration_keeps_budgets_over_a_factor_of_100_inside_the_poisson_interval(kind: str) -> None:
    rows, repeats = 50_000, 4
    every = KINDS[kind](np.random.default_rng(7), (3 * rows, repeats)).T
    inside = []
    for scores in every:
        calibration = learn(scores[:rows], interval=60.0, merge=10)
        for budget in (6, 60, 600):
            limit = calibration.threshold(budget / (rows * 60.0))
            assert limit.kept == limit.asked
            run = scores[rows : rows + rows * 10 // budget]
            observed = len(alarms(run, run, limit.value, merge=10)[1])
            inside.append(4 <= observed <= 17)  # two-sided 95 % of a Poisson count of mean 10
    assert np.mean(inside) >= 0.8


def test_a_short_calibration_errs_on_the_safe_side_and_says_what_it_keeps() -> None:
    above = []
    for scores in wander(np.random.default_rng(3).standard_t(3, size=(20_000, 20)), 0.9).T ** 2:
        limit = learn(scores[:1000], interval=1.0, merge=10).threshold(1 / 86_400)
        assert limit.kept > limit.asked
        assert "of calibration can keep" in limit.note
        assert "of it would be needed" in limit.note
        run = scores[1000 : 1000 + int(12 / limit.kept)]
        above.append(len(alarms(run, run, limit.value, merge=10)[1]) > 19)  # the upper 97.5 % of a Poisson mean of 12
    assert np.mean(above) <= 0.15


def test_the_same_scores_sampled_ten_times_as_fast_alarm_ten_times_as_often() -> None:
    scores = np.random.default_rng(0).normal(size=20_000)
    slow, fast = (learn(scores, interval=i, merge=5) for i in (10.0, 1.0))
    assert slow.threshold(0.0005).value == pytest.approx(fast.threshold(0.005).value, rel=1e-12)


def test_a_smaller_budget_never_lowers_the_threshold_and_more_data_keeps_smaller_rates() -> None:
    scores = wander(np.random.default_rng(0).normal(size=40_000), 0.9)
    calibration = learn(scores, interval=1.0, merge=10)
    values = [calibration.threshold(rate).value for rate in np.geomspace(10, 1e-9, 300)]
    assert (np.diff(values) >= 0).all()
    assert calibration.threshold(1e-9).kept < learn(scores[:2000], interval=1.0, merge=10).threshold(1e-9).kept / 5


def test_scores_that_rise_are_named_and_the_later_half_is_used() -> None:
    scores = wander(np.random.default_rng(0).normal(size=8000), 0.9)
    steady, rising = (learn(s, interval=1.0, merge=10) for s in (scores, scores + np.linspace(0, 3, 8000)))
    assert steady.notes == ()
    assert steady.n == 8000
    assert "rise" in rising.threshold(0.01).note
    assert rising.n == 4000


def test_bunched_alarms_are_named() -> None:
    rng = np.random.default_rng(0)
    loud = np.where(np.arange(20_000) % 10_000 < 2500, 3.0, 1.0)
    assert any("bunch" in note for note in learn(rng.normal(size=20_000) ** 2 * loud, interval=1.0, merge=5).notes)


@pytest.mark.parametrize(
    "scores",
    [
        [3.0],
        [1.0, 2.0],
        [0.0] * 5,
        [5.0] * 5000,
        [8.0] * 500 + [1.0] * 500,
        [1.0, NAN, 2.0],
        [1e300, -1e300] * 9,
        [1e-320] * 4,
    ],
)
@pytest.mark.parametrize("rate", [1e-12, 1.0, 1e9, math.inf])
def test_little_or_odd_calibration_data_still_gives_a_finite_threshold(scores: list[float], rate: float) -> None:
    calibration = learn(np.array(scores), interval=1.0, merge=3)
    limit = calibration.threshold(rate)
    assert math.isfinite(limit.value)
    assert 0 < limit.kept < math.inf
    p = calibration.p_value(np.array([*scores, 1e301]))
    assert ((p > 0) | np.isnan([*scores, 1e301])).all()


def test_what_cannot_be_calibrated_is_refused() -> None:
    for scores in ([], [NAN, NAN], [1.0, math.inf]):
        with pytest.raises(DataError):
            learn(np.array(scores), interval=1.0, merge=3)
    for interval, merge in ((0.0, 3), (NAN, 3), (1.0, 0)):
        with pytest.raises(SettingError):
            learn(np.ones(9), interval=interval, merge=merge)
    for rate in (0.0, -1.0, NAN):
        with pytest.raises(SettingError):
            learn(np.ones(9), interval=1.0, merge=3).threshold(rate)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 9))
def test_a_saved_calibration_gives_the_same_bits(n: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=n)
    before = learn(scores, interval=0.5, merge=4)
    after = Calibration.from_arrays(json.loads(json.dumps(before.to_spec())), before.to_arrays())
    assert before.to_spec()["lengths"] == {name: len(array) for name, array in before.to_arrays().items()}
    assert after.p_value(scores * 3).tobytes() == before.p_value(scores * 3).tobytes()
    assert after.threshold(0.01) == before.threshold(0.01)


def test_a_calibration_of_a_million_scores_stays_small() -> None:
    calibration = learn(np.random.default_rng(0).normal(size=300_000), interval=1.0, merge=60)
    assert sum(array.nbytes for array in calibration.to_arrays().values()) < 64_000


def test_an_open_alarm_is_carried_and_closed_by_a_gap() -> None:
    _, spans, state = alarms([0, 9, NAN], [0.5, 0.01, NAN], 5.0, merge=2)
    assert spans == [Span(first_row=1, last_row=1, p_value=0.01, open=True)]
    shown, spans, state = alarms([0, 0, 9], [0.5, 0.5, 0.02], 5.0, merge=2, state=state, starts=[1])
    assert shown.tolist() == [True, False, True]
    assert spans == [Span(1, 1, 0.01, False), Span(5, 5, 0.02, True)]
    assert state.row == 6
