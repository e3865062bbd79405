"""How unusual a row is, told from its residuals: what any such scoring must do, whatever its formula."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tidegate as tg
from tidegate import surprise
from tidegate.surprise import Normal, Surprise

OUTPUTS, CHANNELS, ROWS = 3, 4, 2000
STARTS = np.array([0])
WITNESSES = (1, 2)  # how many of the residuals each has


def residuals(rows: int = ROWS, seed: int = 0) -> surprise.Floats:
    """Normal residuals (T, outputs, C): noise of another size in each channel."""
    return np.random.default_rng(seed).standard_normal((rows, OUTPUTS, CHANNELS)) * [0.2, 0.5, 1.0, 2.0]


@pytest.fixture(scope="module")
def normal() -> Normal:
    return surprise.learn(residuals(), WITNESSES, STARTS, np.arange(ROWS) > ROWS // 2)[0]


def judge(rows: surprise.Floats, normal: Normal) -> Surprise:
    return surprise.score(rows, normal, WITNESSES, surprise.start(OUTPUTS, CHANNELS))[0]


def test_one_normal_row_in_a_hundred_scores_above_one_and_no_channel_stands_out(normal: Normal) -> None:
    found = judge(residuals(6000, seed=1), normal)
    assert 0.001 < (found.score[200:] > 1).mean() < 0.05
    assert 0.001 < (found.fast[200:] > 1).mean() < 0.05
    each = np.nanmean(found.by_channel[200:], axis=0)
    assert (each > 0.5 * each.mean()).all()
    assert (each < 2 * each.mean()).all()


def test_no_surprise_at_all_scores_zero(normal: Normal) -> None:
    found = judge(np.zeros((50, OUTPUTS, CHANNELS)), normal)
    assert not found.score.any()
    assert not found.fast.any()


@pytest.mark.parametrize("channel", range(CHANNELS))
def test_a_lasting_shift_scores_high_and_blames_its_channel(normal: Normal, channel: int) -> None:
    rows = residuals(400, seed=1)
    rows[200:, :, channel] += 2 * [0.2, 0.5, 1.0, 2.0][channel]
    found = judge(rows, normal)
    assert found.score[300:].min() > 2 * found.score[100:200].max()
    assert (np.argmax(found.by_channel[260:], axis=1) == channel).all()


def test_a_shift_that_keeps_its_sign_is_more_unusual_than_one_that_flips(normal: Normal) -> None:
    steady = np.full((200, OUTPUTS, CHANNELS), 1.0)
    flipping = steady * np.where(np.arange(200) % 2, 1, -1)[:, None, None]
    assert judge(steady, normal).score[-1] > 2 * judge(flipping, normal).score[-1]


def test_one_spike_shows_at_once_and_is_forgotten(normal: Normal) -> None:
    rows = residuals(600, seed=1)
    quiet = judge(rows, normal)
    rows[100, :, 2] += 1e30
    found = judge(rows, normal)
    assert found.score[100] > 1.5 * quiet.score[100]
    assert found.fast[100] > 2 * quiet.fast[100]
    assert np.abs(found.score[400:] - quiet.score[400:]).max() < 0.2
    assert np.isfinite(found.score).all()


def test_the_fast_score_rises_and_falls_before_the_smooth_one(normal: Normal) -> None:
    rows = residuals(400, seed=1)
    rows[100:110] += 4.0
    found, quiet = judge(rows, normal), judge(residuals(400, seed=1), normal)
    assert found.fast[100] / quiet.fast[100] > found.score[100] / quiet.score[100]
    assert abs(found.fast[115] / quiet.fast[115] - 1) < abs(found.score[115] / quiet.score[115] - 1)


def test_a_channel_without_surprise_does_not_become_infinitely_touchy() -> None:
    rows = residuals()
    rows[:, :, 1] = 0.0
    normal = surprise.learn(rows, WITNESSES, STARTS, np.ones(ROWS, bool))[0]
    rows[1000:, :, 1] = 1e-6
    found = judge(rows, normal)
    assert np.isfinite(found.score).all()
    assert found.by_channel[1000:, 1].max() < 0.01


@settings(max_examples=30)
@given(cuts=st.sets(st.integers(1, 79), max_size=5), seed=st.integers(0, 50), hidden=st.floats(0, 0.6))
def test_in_pieces_the_bits_are_those_of_the_whole(normal: Normal, cuts: set[int], seed: int, hidden: float) -> None:
    rows = residuals(80, seed)
    rows[np.random.default_rng(seed).random(rows.shape) < hidden] = np.nan
    whole, end = surprise.score(rows, normal, WITNESSES, surprise.start(OUTPUTS, CHANNELS))
    state, parts = surprise.start(OUTPUTS, CHANNELS), []
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 80], strict=True):
        part, state = surprise.score(rows[a:b], normal, WITNESSES, state)
        parts.append(msgspec.structs.astuple(part))
    for ours, wanted in zip(zip(*parts, strict=True), msgspec.structs.astuple(whole), strict=True):
        np.testing.assert_array_equal(np.concatenate(ours), wanted)
    np.testing.assert_array_equal(state, end)


def test_nothing_given_is_changed(normal: Normal) -> None:
    rows, state = residuals(50), surprise.start(OUTPUTS, CHANNELS)
    before = [a.copy() for a in (rows, state, normal.residual, normal.average)]
    surprise.score(rows, normal, WITNESSES, state)
    for now, then in zip((rows, state, normal.residual, normal.average), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_row_without_residuals_has_no_score_and_changes_nothing_later(normal: Normal) -> None:
    rows = residuals(100, seed=1)
    holed = np.insert(rows, 50, np.nan, axis=0)
    found, plain = judge(holed, normal), judge(rows, normal)
    assert np.isnan(found.score[50])
    assert not np.nan_to_num(found.by_channel[50]).any()
    np.testing.assert_array_equal(np.delete(found.score, 50), plain.score)


def test_a_missing_channel_is_left_out_of_the_score(normal: Normal) -> None:
    rows = residuals(300, seed=1)
    rows[:, :, 0] = np.nan
    found = judge(rows, normal)
    assert np.isfinite(found.score).all()
    assert np.isnan(found.by_channel[:, 0]).all() or not found.by_channel[:, 0].any()
    assert 0.1 < found.score[200:].mean() < 1.2


def test_only_held_out_rows_say_what_is_normal() -> None:
    rows, held = residuals(), np.arange(ROWS) >= 1000
    wild = rows.copy()
    wild[:700] *= 50
    first, second = (surprise.learn(r, WITNESSES, STARTS, held)[0] for r in (rows, wild))
    np.testing.assert_allclose(second.residual, first.residual, rtol=1e-12)
    np.testing.assert_allclose(
        second.average, first.average, rtol=0.05
    )  # the averages remember a little of the rows before


def test_what_was_before_a_gap_is_not_averaged_with_what_comes_after() -> None:
    rows, held = residuals(), np.arange(ROWS) >= 1000
    wild = rows.copy()
    wild[:1000] += 5
    first, second = (surprise.learn(r, WITNESSES, np.array([0, 1000]), held)[0] for r in (rows, wild))
    np.testing.assert_array_equal(first.average, second.average)


def test_the_scores_of_the_rows_that_set_the_sizes_are_no_lower_than_those_of_new_rows() -> None:
    """Slowly wandering data: in its own sizes every twentieth new row is beyond 99 % of the calibration."""
    rng, held, beyond = np.random.default_rng(0), np.arange(700) >= 300, []
    for _ in range(12):
        rows = np.empty((2700, 1, 4))
        rows[0] = rng.standard_normal((1, 4))
        for t in range(1, len(rows)):
            rows[t] = 0.9 * rows[t - 1] + np.sqrt(1 - 0.9**2) * rng.standard_normal((1, 4))
        normal, scores = surprise.learn(rows[:700], (1,), STARTS, held)
        fresh = surprise.score(rows, normal, (1,), surprise.start(1, 4))[0].score[700:]
        beyond.append(np.mean(fresh > np.quantile(scores, 0.99)))
    assert np.mean(beyond) < 0.025


def test_where_the_first_witness_is_not_heard_one_normal_row_in_a_hundred_still_scores_above_one() -> None:
    normal, _ = surprise.learn(residuals(), WITNESSES, STARTS, np.arange(ROWS) > 100)
    rows = residuals(6000, seed=1)
    rows[:, 0] = np.nan
    found = judge(rows, normal)
    assert 0.002 < (found.score[200:] > 1).mean() < 0.03
    assert 0.002 < (found.fast[200:] > 1).mean() < 0.03


def test_rows_that_are_mostly_missing_are_shared_out_by_what_was_observed() -> None:
    rows = residuals()
    rows[1000:1750] = np.nan  # of a thousand held rows only the last quarter says anything
    _, scores = surprise.learn(rows, WITNESSES, STARTS, np.arange(ROWS) >= 1000)
    assert np.isfinite(scores).sum() == 250
    assert np.nanmax(scores) < 3


def test_a_witness_that_was_never_heard_is_not_listened_to_later() -> None:
    rows, held = residuals(), np.arange(ROWS) >= 1000
    rows[1000:, 0] = np.nan
    normal, scores = surprise.learn(rows, WITNESSES, STARTS, held)
    later = judge(residuals(2000, seed=1), normal)
    assert np.nanquantile(later.score[200:], 0.9) < 1.5 * np.nanquantile(scores, 0.9)


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_handful_of_rows_gives_sizes_and_none_are_refused(rows: int) -> None:
    normal, scores = surprise.learn(residuals(), WITNESSES, STARTS, np.arange(ROWS) >= ROWS - rows)
    assert len(scores) == rows
    assert (normal.average > 0).all()
    with pytest.raises(tg.DataError, match="no row in which normal can be measured"):
        surprise.learn(residuals(), WITNESSES, STARTS, np.zeros(ROWS, dtype=bool))


def alike(rows: int, seed: int, correlation: float = 0.98) -> surprise.Floats:
    """Residuals of four channels in two pairs that move together."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((2, rows, OUTPUTS, CHANNELS))
    return np.sqrt(correlation) * np.repeat(common[..., :2], 2, axis=2) + np.sqrt(1 - correlation) * own


@pytest.fixture(scope="module")
def pairs() -> Normal:
    return surprise.learn(alike(ROWS, 0), WITNESSES, STARTS, np.arange(ROWS) > ROWS // 2)[0]


def test_a_sensor_that_leaves_its_twin_is_heard_louder_than_both_together(pairs: Normal) -> None:
    rows, together = alike(300, 1), alike(300, 1)
    rows[200:, :, 0] += 1.0
    together[200:, :, :2] += 1.0
    apart, both = judge(rows, pairs), judge(together, pairs)
    assert apart.fast[200:].mean() > 2 * both.fast[200:].mean()
    assert apart.score[230:].mean() > both.score[230:].mean()
    assert np.argmax(apart.by_channel[260:].sum(axis=0)) == 0


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_missing_sensor_does_not_make_its_twin_unusual(pairs: Normal, share: float) -> None:
    rows = alike(3000, 1)
    rows[np.random.default_rng(2).random(3000) < share, :, 0] = np.nan
    assert (judge(rows, pairs).score[200:] > 1).mean() < 0.08
    rows[1500:, :, 1] += 2.0
    assert (judge(rows, pairs).score[1600:] > 1).mean() > 0.9


def test_what_belongs_together_is_learned_from_rows_with_holes() -> None:
    holed = alike(ROWS, 0)
    holed[np.random.default_rng(2).random(ROWS) < 0.2, :, 0] = np.nan
    rows = alike(300, 1)
    rows[200:, :, 0] += 1.0
    found = judge(rows, surprise.learn(holed, WITNESSES, STARTS, np.arange(ROWS) > ROWS // 2)[0])
    assert found.score[230:].mean() > 2
    assert np.argmax(found.by_channel[260:].sum(axis=0)) == 0


def test_channels_never_seen_before_calibration_speak_for_themselves() -> None:
    rows = alike(ROWS, 0)
    rows[: ROWS // 2 + 1, :, 2] = np.nan
    normal = surprise.learn(rows, WITNESSES, STARTS, np.arange(ROWS) > ROWS // 2)[0]
    apart = np.delete(normal.apart[..., 2, :], 2, axis=-1)
    assert not apart.any()
    assert normal.apart[0, 0, 0, 1] < -5
    whole = surprise.learn(rows, WITNESSES, STARTS, np.ones(ROWS, bool))[0]
    np.testing.assert_array_equal(whole.apart, np.broadcast_to(np.eye(CHANNELS), whole.apart.shape))


def test_what_belongs_together_can_be_given(pairs: Normal) -> None:
    again, _ = surprise.learn(residuals(), WITNESSES, STARTS, np.ones(ROWS, bool), pairs.apart)
    np.testing.assert_array_equal(again.apart, pairs.apart)


def test_many_channels_speak_for_themselves() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 2, 130))
    normal, _ = surprise.learn(rows, (1, 1), STARTS, np.arange(300) > 150)
    assert normal.apart.shape == (len(surprise.SPANS), 2, 0, 0)
    assert np.isfinite(surprise.score(rows, normal, (1, 1), surprise.start(2, 130))[0].score).all()
