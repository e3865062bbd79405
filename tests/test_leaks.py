from __future__ import annotations

import numpy as np
import pytest

from tidegate import leaks, scale, synth
from tidegate.errors import DataError, SettingError
from tidegate.series import SECOND, Series, check


def noise(rows: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5, 2, (rows, channels))


def timed(values: np.ndarray, first: int = 0) -> Series:
    return check(values, (first + np.arange(len(values))) * SECOND)


def kinds(found: list[leaks.Leak]) -> list[str]:
    return [leak.kind for leak in found]


def test_a_split_in_time_order_is_clean():
    history = timed(noise(1000))
    found = leaks.check(history[:600], history[600:], scale=scale.learn(history[:600].values))
    assert found == []


def test_times_on_both_sides_are_named_with_their_rows():
    history = timed(noise(1000))
    (leak,) = leaks.check(history[:600], history[550:])
    assert (leak.kind, leak.train_rows, leak.test_rows) == ("overlap", ((550, 600),), ((0, 50),))
    assert leak.sentence == (
        "50 of 450 test rows have the times of training rows: test 0:50 (1970-01-01 00:09:10 to 1970-01-01 00:09:59)"
    )


def test_readings_a_hair_apart_are_the_same_time():
    history = noise(200)
    train, test = timed(history[:100]), check(history[50:], np.arange(50, 200) * SECOND + SECOND // 10)
    assert leaks.check(train, test)[0].test_rows == ((0, 50),)


@pytest.mark.parametrize(("gap", "close"), [(0, 7), (3, 4), (7, 0), (20, 0)])
def test_rows_within_one_window_of_the_other_side_are_near(gap, close):
    history = timed(noise(400))
    found = leaks.check(history[:200], history[200 + gap :], window=8)
    assert [(leak.kind, leak.test_rows, leak.train_rows) for leak in found] == [
        ("near", ((0, close),), ((200 - close, 200),))
    ] * (close > 0)


def test_rows_excluded_from_learning_do_not_leak():
    history = timed(noise(400))
    excluded = np.zeros(400, dtype=bool)
    excluded[300:] = True
    assert leaks.check(history, history[300:], excluded=excluded) == []
    assert kinds(leaks.check(history, history[300:])) == ["overlap"]


def test_a_test_older_than_the_training_data_is_named():
    history = timed(noise(400))
    (leak,) = leaks.check(history[200:], history[:200])
    assert (leak.kind, leak.train_rows, leak.test_rows) == ("older", ((0, 200),), ((0, 200),))


def test_row_numbers_count_only_where_they_tell_two_arrays_apart():
    one, other = check(noise(300)), check(noise(300, seed=1))
    assert leaks.check(one, other) == []
    assert kinds(leaks.check(one[100:], one[:100])) == ["older"]
    assert kinds(leaks.check(one[:200], one[150:])) == ["overlap"]
    assert leaks.check(one, timed(noise(300, seed=1))) == []


def test_the_same_array_under_two_names_is_found_by_its_values():
    values = noise(300)
    (leak,) = leaks.check(check(values[:200]), check(values))
    assert (leak.kind, leak.train_rows, leak.test_rows) == ("duplicate", ((0, 200),), ((0, 200),))


def test_a_copied_stretch_is_named_wherever_it_lies():
    values = noise(2000)
    values[1500:1540], values[1700:1720] = values[300:340], values[100:120]
    values[310, 1], values[1510, 1] = np.nan, -np.nan  # the sign of a missing value is no difference
    values[311, 0], values[1511, 0] = 0.0, -0.0
    (leak,) = leaks.check(timed(values[:1000]), timed(values[1000:], first=1000))
    assert (leak.kind, leak.train_rows, leak.test_rows) == (
        "duplicate",
        ((100, 120), (300, 340)),
        ((500, 540), (700, 720)),
    )
    assert leak.sentence.startswith("40 of 1,000 test rows hold the same values as training rows 300:340: test 500:540")
    assert "2 such stretches" in leak.sentence


def test_a_copy_shorter_than_the_window_or_off_by_one_bit_is_none():
    values = noise(600)
    values[400:430] = values[100:130]
    train, test = timed(values[:300]), timed(values[300:], first=300)
    assert kinds(leaks.check(train, test, window=30)) == ["near", "duplicate"]
    assert kinds(leaks.check(train, test, window=31)) == ["near"]
    values[415, 2] = np.nextafter(values[415, 2], 99)
    assert kinds(leaks.check(train, timed(values[300:], first=300), window=20)) == ["near"]


def test_pauses_switches_and_rounded_readings_repeat_without_being_copies():
    rng = np.random.default_rng(0)
    paused = np.where(np.arange(4000) % 500 < 400, 7.0, 3.0)
    switched = (rng.random(4000) < 0.5).astype(float)
    rounded = np.round(20 + np.sin(np.arange(4000) / 300) + 0.05 * rng.normal(size=4000))
    missing = np.where(np.arange(4000) == 0, 1.0, np.nan)
    for values in (paused, switched, rounded, missing):
        series = check(values)
        assert leaks.check(series[:2000], series[2000:]) == []


def test_duplicates_are_those_of_comparing_every_pair_of_rows():
    rng = np.random.default_rng(0)
    for _ in range(20):
        there, here = rng.normal(size=(120, 1)), rng.normal(size=(150, 1))
        a, b, rows = int(rng.integers(0, 80)), int(rng.integers(0, 110)), int(rng.integers(10, 40))
        here[b : b + rows] = there[a : a + rows]
        found = leaks.check(check(there), check(here))
        copied = [((a, a + rows),), ((b, b + rows),)] if rows >= leaks.SHORTEST else []
        assert [rows for leak in found for rows in (leak.train_rows, leak.test_rows)] == copied


def test_a_scale_learned_from_later_rows_is_named_and_one_from_part_of_training_is_not():
    history = synth.machine(3000, 4)
    train, test = history[:2000], history[2000:]
    for values, said in ((history.values, "training and test rows together"), (test.values, "the test rows")):
        (leak,) = leaks.check(train, test, scale=scale.learn(values))
        assert (leak.kind, leak.train_rows, leak.test_rows) == ("scale", ((0, 2000),), ((0, 1000),))
        assert f"that of {said}," in leak.sentence
    for rows in (2000, 1500):
        assert leaks.check(train, test, scale=scale.learn(train.values[:rows])) == []


@pytest.mark.parametrize("ddof", [0, 1])
def test_values_scaled_before_the_split_are_named(ddof):
    values = noise(900)
    values[5, 0] = np.nan
    scaled = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0, ddof=ddof)
    whole = timed(scaled)
    (leak,) = leaks.check(whole[:600], whole[600:])
    assert leak.kind == "scale"
    assert "scaled before the split" in leak.sentence
    own = (values - np.nanmean(values[:600], axis=0)) / np.nanstd(values[:600], axis=0, ddof=ddof)
    assert leaks.check(timed(own[:600]), timed(own[600:], first=600)) == []


def test_channels_in_another_order_are_matched_by_name():
    values = noise(300)
    train = check(values, channels=["a", "b", "c"])
    test = check(values[:, [2, 0, 1]], channels=["c", "a", "b"])
    assert kinds(leaks.check(train, test)) == ["duplicate"]


def test_what_cannot_be_compared_is_refused():
    one = check(noise(50))
    with pytest.raises(DataError, match="on one side only: x"):
        leaks.check(one, check(noise(50, 4), channels=["c0", "c1", "c2", "x"]))
    with pytest.raises(DataError, match="excluded leaves no row"):
        leaks.check(one, one, excluded=np.ones(50, dtype=bool))
    with pytest.raises(DataError, match="a scale for 2 channels"):
        leaks.check(one, one, scale=scale.learn(noise(9, 2)))
    with pytest.raises(SettingError, match="window is 0"):
        leaks.check(one, one, window=0)


def test_fewer_rows_than_a_run_are_no_obstacle():
    assert leaks.check(timed(noise(3)), timed(noise(2), first=3), window=1) == []
