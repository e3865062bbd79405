"""The forecaster: what it says, what it rests on, what it promises, and when a simple rule is better."""

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
from tidegate import train
from tidegate.series import SECOND, Series, check
from tidegate.tasks import bands, naive, practice, segments, windowed
from tidegate.tasks.segments import Form

torch = pytest.importorskip("torch")
descent = pytest.importorskip("tidegate.tasks.descent")

QUICK: dict[str, Any] = {
    "network": tg.Network(hidden=8, dropout=0.2),
    "training": tg.Training(epochs=2, batches=10, batch=32, weight_decay=0.0, noise=0.0),
}


def waves(rows: int = 1200, seed: int = 0) -> Series:
    """Two noisy waves of 24 rows, on trends, a reading an hour."""
    rng, t = np.random.default_rng(seed), np.arange(rows)
    values = np.column_stack([np.sin(2 * np.pi * t / 24) + 0.002 * t, 50 + 9 * np.cos(2 * np.pi * t / 24)])
    return check(values + [0.1, 0.9] * rng.standard_normal((rows, 2)), t * 3600 * SECOND, ["a", "b"], name="waves")


@pytest.fixture(scope="module")
def series() -> Series:
    return waves()


@pytest.fixture(scope="module")
def forecaster(series: Series) -> tg.Forecaster:
    return tg.Forecaster(horizon=10, lookback=48, **QUICK).fit(series[:900])


@pytest.fixture(scope="module")
def gaps(series: Series) -> Series:
    """Later rows in which readings, rows and more rows than are remembered are missing."""
    values, times = series.values[900:1100].copy(), series.times[900:1100].copy()
    values[20, 0] = values[30:40, 1] = np.nan
    values[50:53] = np.nan
    times[80:] += 7 * 3600 * SECOND
    times[140:] += 90 * 3600 * SECOND
    return check(values, times, series.channels, name="gaps")


def same(a: tg.Forecast, b: tg.Forecast) -> None:
    for name in ("times", "mean", "bands", "breadth", "levels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name, array in a.state.arrays.items():
        np.testing.assert_array_equal(array, b.state.arrays[name])
    assert a.notes == b.notes


# --- what it says ---------------------------------------------------------------------------------------------------


def test_a_forecast_is_of_the_rows_that_come_next(forecaster: tg.Forecaster, series: Series) -> None:
    coming = forecaster.apply(series[900:1000])
    assert coming.mean.shape == (10, 2)
    np.testing.assert_array_equal(coming.times, series.times[1000:1010])
    assert np.abs((coming.mean - series.values[1000:1010]) / [1, 9]).max() < 0.9
    assert coming.notes == ()


def test_quantiles_rise_and_lie_around_the_forecast(forecaster: tg.Forecaster, series: Series) -> None:
    coming = forecaster.apply(series[900:1000])
    ladder = np.stack([coming.quantile(q) for q in (0.005, 0.03, 0.05, 0.3, 0.5, 0.77, 0.95, 0.995)])
    assert (np.diff(ladder, axis=0) >= 0).all()
    assert (coming.quantile(0.1) < coming.mean).all()
    assert (coming.quantile(0.9) > coming.mean).all()
    between = 0.5 * coming.quantile(0.2) + 0.5 * coming.quantile(0.3)
    np.testing.assert_allclose(coming.quantile(0.25), between, rtol=1e-12)


@pytest.mark.parametrize("q", [0.0, 0.001, 1.0, float("nan")])
def test_a_quantile_that_was_not_measured_is_refused(forecaster: tg.Forecaster, series: Series, q: float) -> None:
    with pytest.raises(tg.SettingError, match="not measured"):
        forecaster.apply(series[:60]).quantile(q)


def test_a_frame_has_a_row_for_each_step_and_channel(forecaster: tg.Forecaster, series: Series) -> None:
    frame = forecaster.apply(series[900:1000]).to_frame()
    assert frame.columns == ["time", "channel", "mean", "low", "high"]
    assert frame.shape == (20, 5)
    assert frame["channel"].to_list()[:3] == ["a", "b", "a"]
    assert (frame["low"] < frame["high"]).all()


def test_a_band_holds_what_it_says_on_later_rows() -> None:
    long = waves(6000, seed=3)
    learned = tg.Forecaster(horizon=4, lookback=48, **QUICK).fit(long[:4000])
    test = learned.backtest(long[4000 - 48 :])
    assert len(test) > 1900
    for level in (0.8, 0.9, 0.95):
        assert abs(test.coverage(level) - level) < 0.03
    rows = np.random.default_rng(0).permutation(len(test))[:400]
    within = (test.truth >= test.quantile(0.05)) & (test.truth <= test.quantile(0.95))
    assert within[rows].mean() == pytest.approx(test.coverage(0.9), abs=0.03)


def test_it_says_so_when_a_rule_is_better() -> None:
    """On a random walk nothing can beat the last value by more than chance."""
    walk = np.random.default_rng(0).standard_normal((3000, 1)).cumsum(axis=0)
    learned = tg.Forecaster(horizon=5, lookback=24, **QUICK).fit(walk[:2000])
    test = learned.backtest(walk[2000:])
    mine, last = test.errors["forecaster"][0], test.errors["last_value"][0]
    assert mine < 1.1 * last
    assert not test.verdict.startswith("the forecaster did better")
    assert test.against["last_value"][1] > 0.05
    worse = {**learned.model_.weights, "out.bias": learned.model_.weights["out.bias"] + 5.0}
    learned.model_ = msgspec.structs.replace(learned.model_, share=1.0, weights=worse)
    assert "did better than the forecaster" in learned.backtest(walk[2000:]).verdict


@pytest.mark.parametrize("horizon", [1, 24, 150])
def test_a_forecaster_that_is_as_good_is_seldom_called_better(horizon: int) -> None:
    """Forecasts of neighbouring moments share rows, and stretches of time differ: so do gains that mean nothing."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(600):
        noise = rng.standard_normal(1000 + horizon).cumsum()
        gain = (noise[horizon:] - noise[:-horizon]) / horizon
        found += windowed._paired(gain, np.arange(1000), horizon)[0] < 0.05
    assert found / 600 < 0.05 + 3 * np.sqrt(0.05 / 600)  # of moments as if independent: up to 0.4
    assert windowed._paired(np.ones(1000), np.arange(1000), 1)[0] < 0.001
    assert windowed._paired(np.ones(700), np.arange(700), 720)[0] == 0.5, "one stretch proves nothing"


def test_it_beats_every_rule_where_there_is_something_to_learn() -> None:
    """The sine of a slow sum of waves: no linear map can follow it."""
    t = np.arange(4000)
    values = np.sign(np.sin(2 * np.pi * t / 37)) * (1 + 0.5 * np.sin(2 * np.pi * t / 23)) ** 2
    training = tg.Training(epochs=8, batches=50, batch=64, learning_rate=5e-3, weight_decay=0.0, noise=0.0)
    learned = tg.Forecaster(horizon=8, lookback=48, network=tg.Network(hidden=32), training=training).fit(values[:3000])
    test = learned.backtest(values[3000:])
    assert test.verdict.startswith("the forecaster did better than every rule"), test.errors
    assert learned.model_.share > 0.5


# --- one pass, pieces, one at a time ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_tanh"])
@pytest.mark.parametrize("layers", [1, 2])
def test_whole_pieces_single_readings_and_a_restart_give_the_same_bits(
    series: Series, gaps: Series, tmp_path: Path, cell: Any, layers: int
) -> None:
    how = {**QUICK, "network": tg.Network(cell=cell, layers=layers, hidden=6)}
    task = tg.Forecaster(horizon=7, lookback=50, **how).fit(series[:900])
    for stop in (15, 52, 83, 139, 145, 200):
        whole = task.apply(gaps[:stop])
        first = task.apply(gaps[: stop // 3])
        first.state.save(tmp_path / "state")
        same(task.apply(gaps[stop // 3 : stop], task.load_state(tmp_path / "state")), whole)
        state = task.start()
        for values, time in zip(gaps.values[:stop], gaps.times[:stop], strict=True):
            one, state = task.step(values, state, time=int(time))
        same(one, whole)


def test_a_backtest_is_what_apply_would_have_said(forecaster: tg.Forecaster, gaps: Series) -> None:
    test = forecaster.backtest(gaps)
    for i in (0, 1, 40, 87, len(test) - 1):
        stop = int(np.searchsorted(gaps.times, test.times[i])) + 1
        coming = forecaster.apply(gaps[:stop])
        np.testing.assert_array_equal(test.mean[i], coming.mean)
        for q in (0.05, 0.5, 0.9):
            np.testing.assert_allclose(test.quantile(q)[i], coming.quantile(q), rtol=1e-12)
    some = forecaster.backtest(gaps, every=7)
    np.testing.assert_array_equal(some.mean, test.mean[::7])
    np.testing.assert_array_equal(some.truth, test.truth[::7])


def test_a_backtest_counts_every_window_and_its_truth(forecaster: tg.Forecaster, series: Series) -> None:
    later = series[900:]
    test = forecaster.backtest(later)
    assert len(test) == 300 - 48 - 10 + 1
    np.testing.assert_array_equal(test.times, later.times[47:-10])
    for i in (0, 100, len(test) - 1):
        np.testing.assert_array_equal(test.truth[i], later.values[48 + i : 58 + i])
    miss = (test.mean - test.truth) / forecaster.model_.scale.spread
    assert test.errors["forecaster"] == pytest.approx((np.square(miss).mean(), np.abs(miss).mean()), rel=1e-9)
    last = (later.values[47:-10][:, None] - test.truth) / forecaster.model_.scale.spread
    assert test.errors["last_value"][0] == pytest.approx(np.square(last).mean(), rel=1e-5)
    assert test.to_frame()["rule"].to_list()[0] == "forecaster"


def test_later_rows_and_rows_no_longer_remembered_change_nothing(forecaster: tg.Forecaster, series: Series) -> None:
    now = forecaster.apply(series[900:1000]).mean
    np.testing.assert_array_equal(forecaster.apply(series[952:1000]).mean, now)
    values = series.values[900:1000].copy()
    values[:52] = 1e9
    np.testing.assert_array_equal(forecaster.apply(check(values, None, series.channels)).mean, now)


def test_other_channels_and_their_order_change_nothing(forecaster: tg.Forecaster, series: Series) -> None:
    now = forecaster.apply(series[900:1000])
    np.testing.assert_array_equal(forecaster.apply(series[900:1000].select(["b", "a"])).mean, now.mean)
    values = series.values[900:1000].copy()
    values[:, 1] = 77.0
    changed = forecaster.apply(check(values, series.times[900:1000], series.channels)).mean
    np.testing.assert_array_equal(changed[:, 0], now.mean[:, 0])
    assert (changed[:, 1] != now.mean[:, 1]).any()


def test_a_new_level_moves_the_forecast_with_it(forecaster: tg.Forecaster, series: Series) -> None:
    now = forecaster.apply(series[900:1000])
    moved = check(series.values[900:1000] + np.array([100, -3000]), series.times[900:1000], series.channels)
    np.testing.assert_allclose(forecaster.apply(moved).mean - np.array([100, -3000]), now.mean, atol=1e-3)


# --- hard data ------------------------------------------------------------------------------------------------------


def test_a_silent_channel_has_no_forecast_and_says_so(forecaster: tg.Forecaster, series: Series) -> None:
    values = series.values[900:1000].copy()
    values[50:, 0] = np.nan
    coming = forecaster.apply(check(values, series.times[900:1000], series.channels))
    assert np.isnan(coming.mean[:, 0]).all()
    assert np.isfinite(coming.mean[:, 1]).all()
    assert coming.notes == ("no forecast of a: nothing was read in 48 rows",)


def test_a_short_past_is_noted_and_still_answered(forecaster: tg.Forecaster, series: Series) -> None:
    coming = forecaster.apply(series[900:903])
    assert np.isfinite(coming.mean).all()
    assert coming.notes == ("only 3 of 48 rows were read so far",)


def test_bands_are_not_narrower_where_hardly_anything_was_read(forecaster: tg.Forecaster, series: Series) -> None:
    forecaster = copy.copy(forecaster)
    forecaster.model_ = msgspec.structs.replace(forecaster.model_, follows=0.5)
    assert (forecaster.apply(series[900:903]).breadth >= 1).all()
    state, after = forecaster.apply(series[800:900]).state, int(series.times[-1]) + 100 * 3600 * SECOND
    coming, _ = forecaster.step(series.values[0], state, time=after)
    assert (coming.breadth >= 1).all()
    assert coming.notes == ("less than half of the last 48 rows were read of a, b: bands may be too narrow",)


def test_a_wild_reading_is_told_of(forecaster: tg.Forecaster, series: Series) -> None:
    values = series.values[800:900].copy()
    values[50, 1] = 1e9
    (note,) = forecaster.apply(check(values, series.times[800:900], series.channels)).notes
    assert note.startswith("b read 1e+09 at")


def test_a_cycle_longer_than_a_window_is_told_of() -> None:
    t = np.arange(1200)
    values = np.sin(2 * np.pi * t / 96)[:, None] + 0.05 * np.random.default_rng(0).standard_normal((1200, 1))
    short, long = (tg.Forecaster(horizon=12, lookback=lookback, **QUICK).fit(values) for lookback in (24, 100))
    assert any("readings repeat after about 9" in note for note in short.notes_), short.notes_
    assert not any("repeat" in note for note in long.notes_)


def test_what_stands_still_does_not_count_in_the_coverage() -> None:
    still = np.column_stack([waves(900).values, np.full(900, 5.0)])
    test = tg.Forecaster(horizon=6, lookback=24, **QUICK).fit(still[:700]).backtest(still[600:])
    inside = (test.truth >= test.quantile(0.05)) & (test.truth <= test.quantile(0.95))
    assert test.coverage(0.9) == pytest.approx(inside[:, :, :-1].mean())
    assert inside[:, :, -1].mean() != pytest.approx(inside[:, :, :-1].mean())


def test_missing_values_and_a_constant_channel_survive_training() -> None:
    values = np.column_stack([waves(900).values, np.full(900, 5.0)])
    values[np.random.default_rng(0).random(values.shape) < 0.3] = np.nan
    values[300:380] = np.nan
    before = values.copy()
    task = tg.Forecaster(horizon=6, lookback=24, **QUICK).fit(values)
    np.testing.assert_array_equal(values, before)
    coming = task.apply(values[:500])
    assert np.isfinite(coming.mean).all()
    np.testing.assert_allclose(coming.mean[:, 2], 5.0, atol=1e-6)
    test = task.backtest(values)
    assert all(np.isfinite(error).all() for error in test.errors.values())
    assert test.errors["forecaster"][0] < test.errors["drift"][0]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_data_no_answer_is_infinite(forecaster: tg.Forecaster, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((80, 2)) * 10.0 ** rng.integers(-100, 140, (80, 1))
    values[rng.random(values.shape) < rng.random()] = np.nan
    values[-1] = 1.0
    coming = forecaster.apply(check(values, None, ["a", "b"]))
    assert np.isfinite(coming.mean).all()
    assert np.isfinite(coming.quantile(0.9)).all()


def test_what_is_excluded_is_not_learned_from(series: Series) -> None:
    values = series.values[:900].copy()
    values[200:260] = 1e6
    spoilt = check(values, series.times[:900], series.channels)
    clean = np.where(np.abs(values) > 1e5, np.nan, values)
    a = tg.Forecaster(horizon=3, lookback=24, **QUICK).fit(spoilt, exclude=[(200, 260)])
    b = tg.Forecaster(horizon=3, lookback=24, **QUICK).fit(check(clean, series.times[:900], series.channels))
    np.testing.assert_array_equal(a.apply(series[900:]).mean, b.apply(series[900:]).mean)


def test_too_little_history_is_refused_with_what_is_wanted() -> None:
    with pytest.raises(tg.DataError, match="at least 171"):
        tg.Forecaster(horizon=10, lookback=96, **QUICK).fit(np.arange(150.0))
    tg.Forecaster(horizon=10, lookback=96, **QUICK).fit(np.sin(np.arange(171.0)))
    assert tg.Forecaster(horizon=10, **QUICK).fit(np.sin(np.arange(171.0))).lookback_ == 57  # a third
    with pytest.raises(tg.DataError, match="at least 58"):
        tg.Forecaster(horizon=10, lookback=48, **QUICK).fit(waves()).backtest(waves(50))


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0},
        {"horizon": 2.5},
        {"lookback": 3},
        {"held_out": 1.0},
        {"held_out": "a"},
        {"levels": (0.5, 0.1)},
        {"cell": "x"},
        {"size": "x"},
    ],
)
def test_wrong_settings_are_refused_before_anything_is_learned(wrong: dict[str, Any]) -> None:
    with pytest.raises(tg.SettingError):
        tg.Forecaster(**wrong).fit(waves(300))


def test_an_earlier_reading_is_refused(forecaster: tg.Forecaster, series: Series) -> None:
    state = forecaster.apply(series[900:1000]).state
    with pytest.raises(tg.DataError, match="order of their times"):
        forecaster.apply(series[950:1010], state)
    with pytest.raises(tg.DataError, match="order of their times"):
        forecaster.step([1.0, 2.0], state, time=int(series.times[999]))


# --- how it learns --------------------------------------------------------------------------------------------------


def test_no_future_lies_in_two_stretches() -> None:
    form = Form(channels=1, horizon=7, lookback=20, net=tg.Network())
    past = practice.History(np.zeros((300, 1)), form, practice.split(300, form, 0.3, "x"))
    last = -1
    for part in ("train", "valid", "calibrate"):
        first = past.origins(part) + form.lookback
        assert first[0] > last
        last = first[-1] + form.horizon - 1
    assert last == 299


def drawn(form: Form, rows: int) -> tuple[Any, Any, Any]:
    """First weights, windows and channels, of all models."""
    rng, shape = np.random.default_rng(1), (form.models, rows)
    weights = {
        name: w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for name, w in segments.init(form, 0).items()
    }
    return (
        weights,
        rng.standard_normal((*shape, form.lookback)).astype(np.float32),
        rng.integers(0, form.channels, shape),
    )


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_tanh"])
@pytest.mark.parametrize("layers", [1, 2])
def test_training_draws_the_forecast_that_runs(cell: Any, layers: int) -> None:
    """One text for torch and for NumPy, for one model and for many."""
    form = Form(channels=3, horizon=30, lookback=50, net=tg.Network(cell=cell, hidden=8, layers=layers), models=2)
    weights, x, number = drawn(form, 9)
    theirs = segments.forward({k: torch.tensor(w) for k, w in weights.items()}, form, torch.tensor(x), number).numpy()
    for m in range(2):
        one = {name: w[m] for name, w in weights.items()}
        ours = segments.forward(one, form, x[m], number[m])
        assert ours.shape == (9, 30)
        np.testing.assert_allclose(ours, theirs[m], atol=1e-6)
        np.testing.assert_array_equal(segments.forward(one, form, x[m, 4:5], number[m, 4:5])[0], ours[4])


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_relu"])
@pytest.mark.parametrize("missing", [False, True])
def test_the_gradient_that_is_written_out_is_that_of_the_forecast(cell: Any, missing: bool) -> None:
    """Against torch's own, of the same forecast in float64, with the same units dropped."""
    form = Form(channels=3, horizon=30, lookback=50, net=tg.Network(cell=cell, hidden=9, dropout=0.3), models=2)
    weights, x, channel = drawn(form, 40)
    rng = np.random.default_rng(2)
    y = rng.standard_normal((2, 40, 30)).astype(np.float32)
    y[rng.random(y.shape) < 0.2 * missing] = np.nan
    told = rng.integers(0, 256, (2, 40, form.answers, 9), np.uint8), 77, 1 / (1 - 77 / 256)

    exact = {name: torch.tensor(w, dtype=torch.float64).requires_grad_() for name, w in weights.items()}
    said = segments.forward(exact, form, torch.tensor(x, dtype=torch.float64), channel, lambda shape: told)
    seen, wanted = torch.tensor(~np.isnan(y)), torch.tensor(np.nan_to_num(y))
    theirs = ((said - wanted).abs() * seen).sum((-2, -1)) / seen.sum((-2, -1))
    leaves = {name: torch.tensor(w).requires_grad_() for name, w in weights.items()}
    assert descent.takes(form, leaves)
    ours = descent.loss(leaves, form, descent.Batch(x, channel, y, not missing), lambda shape: told)
    np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-5)
    slopes = torch.autograd.grad((ours * torch.tensor([1.0, 3.0])).sum(), list(leaves.values()))
    right = torch.autograd.grad((theirs * torch.tensor([1.0, 3.0])).sum(), list(exact.values()))
    for name, a, b in zip(weights, slopes, right, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1.0, float(b.abs().max())), err_msg=name)
    with torch.no_grad():
        quiet = descent.loss(leaves, form, descent.Batch(x, channel, y, not missing), lambda shape: told)
    np.testing.assert_array_equal(quiet, ours.detach())


def test_each_model_learns_as_it_would_alone(series: Series) -> None:
    scaled = (series.values - series.values.mean(0)) / series.values.std(0)
    form = Form(channels=2, horizon=10, lookback=48, net=QUICK["network"], models=2)
    past = practice.History(scaled[:900], form, practice.split(900, form, 0.25, "waves"))
    whole = practice.problem(past, QUICK["training"], 0, "cpu")
    first = {name: w[1:] for name, w in whole.weights.items()}
    one = train.Problem(first, whole.train_rows, whole.valid_rows, whole.loss, "one", models=[1])
    found = []
    for problem in (whole, one):
        run = train.Fit({})
        for _ in train.fit(problem, QUICK["training"], run, seed=0):
            pass
        found.append({name: w[-1] for name, w in run.weights.items()})
    for name in first:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_conformal_quantiles_hold_for_the_next_draw() -> None:
    rng, inside = np.random.default_rng(0), []
    for _ in range(4000):
        drawn = rng.standard_normal(30)
        low, high = bands.conformal(drawn[:29], np.array([0.1, 0.9]))
        inside.append(low <= drawn[29] <= high)
    assert np.mean(inside) == pytest.approx(0.8, abs=0.02)
    missing = np.where(np.arange(40) % 4 == 0, np.nan, np.arange(40.0))
    known = missing[~np.isnan(missing)]
    levels = np.array([0.2, 0.7])
    np.testing.assert_array_equal(bands.conformal(missing, levels), bands.conformal(known, levels))


def test_the_linear_map_is_least_squares_where_the_penalty_is_small() -> None:
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((500, 8)).cumsum(axis=1)
    x, y = (raw[:, :6] - raw[:, 5:6]).astype(np.float32), (raw[:, 6:] - raw[:, 5:6]).astype(np.float32)
    ridge = naive.Ridge(6, 2)
    ridge.add(x, y)
    best = np.linalg.lstsq(x[:, :5].astype(float), y.astype(float), rcond=None)[0]
    np.testing.assert_allclose(ridge.map(1e-12)[:, :5], best.T, atol=1e-5)


def test_the_linear_map_learns_from_futures_with_holes() -> None:
    t = np.arange(300)[:, None] + np.arange(12)
    wave = np.sin(2 * np.pi * t / 40).astype(np.float32)
    wave -= wave[:, 7:8]
    holes = np.where(np.random.default_rng(0).random((300, 4)) < 0.3, np.nan, wave[:, 8:]).astype(np.float32)
    holes[:, -1] = wave[:, -1]
    ridge = naive.Ridge(8, 4)
    ridge.add(wave[:, :8], holes)
    assert np.abs(wave[:, :8] @ ridge.map(1e-6).T - wave[:, 8:]).max() < 0.05


def test_rules_say_what_their_names_say() -> None:
    rules = naive.Rules(np.array([3]), np.zeros((5, 4), np.float32))
    said = naive.answers(rules, np.array([[-6.0, -4.0, -2.0, 0.0]], np.float32))
    assert said["drift"].tolist() == [[2.0, 4.0, 6.0, 8.0, 10.0]]
    assert said["seasonal"].tolist() == [[-4.0, -2.0, 0.0, -4.0, -2.0]]
    assert said["last_value"].tolist() == [[0.0] * 5]


def test_a_period_inside_the_lookback_is_found(forecaster: tg.Forecaster) -> None:
    assert forecaster.model_.rules.period.tolist() in ([24], [48])


def test_a_killed_run_goes_on_to_the_same_bits(series: Series, tmp_path: Path) -> None:
    how = {"horizon": 5, "lookback": 24, **QUICK}

    class Killed(Exception):
        pass

    def stop(epoch: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        tg.Forecaster(**how).fit(series[:600], checkpoint=tmp_path / "run", on_epoch=stop)
    again = tg.Forecaster(**how).fit(series[:600], checkpoint=tmp_path / "run", resume=True)
    whole = tg.Forecaster(**how).fit(series[:600])
    same_weights = {k: (w == whole.model_.weights[k]).all() for k, w in again.model_.weights.items()}
    assert all(same_weights.values())
    assert len(again.history_) == 2


def test_windows_are_filled_inside_themselves_only() -> None:
    x = np.array([[np.nan, 2.0, np.nan, 4.0, np.nan]])
    relative, last = windowed.relative(x)
    assert relative.tolist() == [[-2.0, -2.0, -1.0, 0.0, 0.0]]
    assert last.tolist() == [[4.0]]


def test_a_model_file_of_another_task_is_refused_where_a_kind_is_asked(
    forecaster: tg.Forecaster, tmp_path: Path
) -> None:
    forecaster.save(tmp_path / "model")
    assert isinstance(tg.load(tmp_path / "model", tg.Forecaster), tg.Forecaster)
    with pytest.raises(tg.ModelFileError, match="a model of Forecaster"):
        tg.load(tmp_path / "model", tg.AnomalyDetector)


def test_a_backtest_needs_no_torch(forecaster: tg.Forecaster, series: Series, tmp_path: Path) -> None:
    forecaster.save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", series.values)
    program = """
import sys, numpy as np, tidegate as tg
task = tg.load(sys.argv[1], tg.Forecaster)
test = task.backtest(np.load(sys.argv[2]))
task.apply(np.load(sys.argv[2])).quantile(0.9)
assert test.coverage(0.9) > 0 and test.verdict
heavy = {"torch", "pandas", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model"), str(tmp_path / "rows.npy")], check=True)


def test_ten_thousand_origins_take_seconds(forecaster: tg.Forecaster) -> None:
    import time

    long, began = waves(10_057), time.perf_counter()
    assert len(forecaster.backtest(long)) == 10_000
    assert time.perf_counter() - began < 20


def test_it_says_that_its_held_out_rows_had_a_say_in_how_much_is_the_networks(forecaster: tg.Forecaster) -> None:
    said = f"the networks' part of the answer, {forecaster.model_.share:.2f}, was chosen on held-out rows, among them"
    assert any(note.startswith(said) for note in forecaster.notes_)


# --- bands that follow ----------------------------------------------------------------------------------------------


def weather(rows: int, seed: int, calm: float = 0.4) -> Series:
    """Noise around a wave, in spells of a hundred rows that are calm or stormy."""
    rng, t = np.random.default_rng(seed), np.arange(rows)
    size = np.where(t // 100 % 2, calm, 1.0)
    return check(0.1 * np.sin(2 * np.pi * t / 24) + size * rng.standard_normal(rows), None, ["a"])


def inside(test: tg.Backtest, rows: np.ndarray, level: float = 0.8) -> float:
    low, high = test.quantile((1 - level) / 2)[rows], test.quantile((1 + level) / 2)[rows]
    return float(((test.truth[rows] >= low) & (test.truth[rows] <= high)).mean())


def test_bands_are_wide_in_a_storm_and_narrow_in_a_calm() -> None:
    task = tg.Forecaster(horizon=6, lookback=48, held_out=0.4, **QUICK).fit(weather(3000, 0))
    assert task.model_.follows >= 0.5
    test = task.backtest(weather(1000, 1))
    place = (test.times // SECOND) % 200  # of the last row that was read
    storm, calm = (place >= 48) & (place < 93), (place >= 148) & (place < 193)
    assert test.breadth[storm].mean() > 1.6 * test.breadth[calm].mean()
    assert abs(inside(test, storm) - 0.8) < 0.1
    assert abs(inside(test, calm) - 0.8) < 0.1
    now = task.apply(weather(1000, 1)[:700])
    at = int(np.searchsorted(test.times, now.times[0] - SECOND))
    np.testing.assert_array_equal(test.breadth[at], now.breadth)
    np.testing.assert_allclose(test.quantile(0.9)[at], now.quantile(0.9), rtol=1e-12)


def test_where_noise_is_even_bands_do_not_follow(tmp_path: Path) -> None:
    task = tg.Forecaster(horizon=6, lookback=48, held_out=0.4, **QUICK).fit(weather(3000, 0, calm=1.0))
    assert task.model_.follows == 0
    assert (task.backtest(weather(500, 1, calm=1.0)).breadth == 1).all()
    task.save(tmp_path / "even")
    assert tg.load(tmp_path / "even", tg.Forecaster).model_.follows == 0


def test_how_far_bands_follow_is_what_serves_from_one_stretch_to_the_other() -> None:
    rng = np.random.default_rng(0)
    wider = rng.uniform(0.2, 3, (400, 1))
    noise = rng.standard_normal((400, 3, 1))
    follow, even = noise * wider[:, None], noise
    assert bands.follows((follow[:200], wider[:200]), (follow[200:], wider[200:])) == 0.75
    assert bands.follows((even[:200], wider[:200]), (even[200:], wider[200:])) == 0
    silent = np.full((200, 3, 1), np.nan)
    assert bands.follows((silent, wider[:200]), (silent, wider[:200])) == 0


def test_the_bands_of_a_channel_that_seldom_moves_stay_among_what_it_does() -> None:
    rng = np.random.default_rng(0)
    series = weather(3000, 0)
    rain = np.zeros(3000)
    for first in rng.integers(0, 2990, 9):
        rain[first : first + 3] = rng.uniform(1, 6, 3)
    task = tg.Forecaster(horizon=6, lookback=48, held_out=0.4, **QUICK)
    task.fit(check(np.column_stack([series.values, rain]), None, ["a", "rain"]))
    assert task.model_.follows > 0
    test = task.backtest(check(np.column_stack([series.values, rain]), None, ["a", "rain"]))
    assert np.abs(test.quantile(0.99)[..., 1]).max() < 100


def test_bands_that_follow_obey_the_law_of_pieces(tmp_path: Path) -> None:
    task = tg.Forecaster(horizon=6, lookback=48, held_out=0.4, **QUICK).fit(weather(3000, 0))
    later, state = weather(200, 1), task.start()
    for values in later.values:
        one, state = task.step(values, state)
    whole = task.apply(later)
    task.apply(later[:77]).state.save(tmp_path / "s")
    for other in (one, task.apply(later[77:], task.load_state(tmp_path / "s"))):
        np.testing.assert_array_equal(other.breadth, whole.breadth)
        np.testing.assert_array_equal(other.quantile(0.9), whole.quantile(0.9))
