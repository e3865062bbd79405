"""What a forecaster is given beside each channel's own past: columns known ahead, the calendar, the other channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from shell import tidegate

import tidegate as tg
from tidegate.series import SECOND, Series, check
from tidegate.settings import Beside
from tidegate.tasks import coming, practice, segments, windowed
from tidegate.tasks.segments import FORECASTING, Form

torch = pytest.importorskip("torch")

HOUR = 3600 * SECOND
QUICK: dict[str, Any] = {
    "network": tg.Network(hidden=16, dropout=0.2),
    "training": tg.Training(epochs=4, batches=20, batch=32, weight_decay=0.0, noise=0.0),
}
ALL = Beside(known=("price", "open"), calendar=True, joint=True)


def market(rows: int = 1000, seed: int = 0) -> Series:
    """Load and heat, which follow a price and a shop's hours that were planned, the day, and their own noise."""
    rng, t = np.random.default_rng(seed), np.arange(rows)
    price, shop = np.repeat(rng.normal(size=rows // 5 + 1), 5)[:rows], (rng.random(rows) < 0.3) * 1.0
    noise = np.zeros((rows, 2))
    for row in range(1, rows):
        noise[row] = 0.9 * noise[row - 1] + 0.2 * rng.normal(size=2)
    load = 10 + 2 * price - 3 * shop + noise[:, 0]
    heat = 50 + 5 * np.sin(2 * np.pi * t / 24) + 4 * price + 5 * noise[:, 1]
    return check(np.column_stack([load, price, heat, shop]), t * HOUR, ["load", "price", "heat", "open"], name="market")


@pytest.fixture(scope="module")
def series() -> Series:
    return market()


@pytest.fixture(scope="module")
def forecaster(series: Series) -> tg.Forecaster:
    return tg.Forecaster(horizon=7, lookback=30, **QUICK).fit(series[:800], beside=ALL)


@pytest.fixture(scope="module")
def gaps(series: Series) -> Series:
    """Later rows in which readings, plans and rows are missing."""
    values, times = series.values[800:].copy(), series.times[800:].copy()
    values[20, 0] = values[30:36, 2] = values[38:44, 1] = np.nan
    values[50:53] = np.nan
    times[80:] += 5 * HOUR
    times[120:] += 60 * HOUR
    return check(values, times, series.channels, name="gaps")


def plans(series: Series, first: int, rows: int = 7) -> Series:
    return series[first : first + rows].select(["open", "price"])


def errors(series: Series, beside: Beside | None, **how: Any) -> dict[str, float]:
    """Squared errors on later rows."""
    task = tg.Forecaster(**{"horizon": 8, "lookback": 40, **QUICK, **how}).fit(series[:800], beside=beside)
    return {name: mse for name, (mse, _) in task.backtest(series[760:]).errors.items()}


# --- it helps, where there is something to know -----------------------------------------------------------------------


def test_what_is_known_ahead_is_used(series: Series) -> None:
    known = errors(series, Beside(known=("price", "open")))
    blind = errors(series.select(["load", "heat"]), None)
    assert known["forecaster"] < 0.3 * blind["forecaster"]
    assert known["linear"] < 0.3 * blind["linear"], "the linear map stands beside with the same knowledge"
    for rule in ("last_value", "drift"):
        assert known[rule] == pytest.approx(blind[rule]), "the naive rules know nothing"


def test_effects_are_told_from_trends(series: Series) -> None:
    """In units: what one unit of a column does; a column that trends as the channel does has none."""
    t = np.arange(len(series))
    trending = series.values.copy()
    trending[:, 0] += 0.05 * t
    trending[:, 1] += 0.5 * (t % 2)
    both = np.column_stack([trending[:, [0]], series.values[:, [3]], 7.0 + 0.05 * t[:, None]])
    data = check(both, series.times, ["load", "open", "age"])
    task = tg.Forecaster(horizon=8, lookback=40, **QUICK).fit(data, beside=Beside(known=["open", "age"]))  # type: ignore[arg-type]
    model = task.model_
    effect = model.coming.effect[:, 0] * model.scale.spread / model.coming.scale.spread
    assert effect[0] == pytest.approx(-3, abs=0.3)
    assert task.known_ == ("open", "age")


def test_the_calendar_tells_of_a_week_that_is_longer_than_the_lookback() -> None:
    rng, t = np.random.default_rng(1), np.arange(1000)
    closed = np.isin(t // 24 % 7, [2, 5]) * 3.0
    week = check(closed + np.sin(2 * np.pi * t / 24) + 0.2 * rng.normal(size=1000), t * HOUR, ["sales"])
    how = {"horizon": 24, "lookback": 30}
    told, untold = errors(week, Beside(calendar=True), **how), errors(week, None, **how)
    assert told["forecaster"] < 0.5 * untold["forecaster"]


def test_joint_channels_see_the_one_that_leads() -> None:
    rng = np.random.default_rng(2)
    lead = 0.1 * rng.normal(size=1010).cumsum()
    pair = check(np.column_stack([lead[10:], lead[:-10]]), None, ["upstream", "downstream"])
    training = tg.Training(epochs=12, batches=40, batch=64, weight_decay=0.0, noise=0.0)
    how = {"network": tg.Network(hidden=32), "training": training}
    together, alone = errors(pair, Beside(joint=True), **how), errors(pair, None, **how)
    assert together["forecaster"] < 0.75 * alone["forecaster"]


def test_where_nothing_helps_there_is_no_effect() -> None:
    rng = np.random.default_rng(3)
    noise, u = rng.normal(size=(600, 2)).cumsum(axis=0), rng.normal(size=(600, 3))
    found = coming.effects(u, noise, (0, 400), (400, 600), 5)
    assert np.abs(found).max() < 0.15
    noise[400:] *= -1  # what was learned is wrong on validation rows
    turned = np.concatenate([u[:, :1].cumsum(axis=0)[:400], -u[:, :1].cumsum(axis=0)[400:]])
    effect = coming.effects(u.cumsum(axis=0), turned, (0, 400), (400, 600), 5)
    np.testing.assert_array_equal(effect, 0)


# --- one pass, pieces, one at a time ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beside", [ALL, Beside(known=("price", "open")), Beside(calendar=True), Beside(joint=True)], ids=str
)
@pytest.mark.parametrize("layers", [1, 2])
def test_whole_pieces_single_readings_and_a_restart_give_the_same_bits(
    series: Series, gaps: Series, tmp_path: Path, beside: Beside, layers: int
) -> None:
    how = {**QUICK, "network": tg.Network(layers=layers, hidden=6)}
    task = tg.Forecaster(horizon=7, lookback=30, **how).fit(series[:800], beside=beside)
    task.save(tmp_path / "model")
    task = tg.load(tmp_path / "model", tg.Forecaster)
    names = [*task.channels_, *task.known_]
    for stop in (15, 47, 83, 119, 125, 190):
        ahead = np.arange(14.0).reshape(7, 2) if beside.known else None
        whole = task.apply(gaps[:stop], ahead=ahead)
        first = task.apply(gaps[: stop // 3], ahead=ahead)
        first.state.save(tmp_path / "state")
        again = task.apply(gaps[stop // 3 : stop], task.load_state(tmp_path / "state"), ahead=ahead)
        state = task.start()
        for values, time in zip(gaps.select(names).values[:stop], gaps.times[:stop], strict=True):
            one, state = task.step(values, state, time=int(time), ahead=ahead)
        for other in (again, one):
            np.testing.assert_array_equal(other.mean, whole.mean)
            np.testing.assert_array_equal(other.quantile(0.9), whole.quantile(0.9))
            np.testing.assert_array_equal(other.state.arrays["rows"], whole.state.arrays["rows"])


def test_a_backtest_is_what_apply_would_have_said(forecaster: tg.Forecaster, series: Series, gaps: Series) -> None:
    for data, some in ((series[800:], (0, 9, 162)), (gaps, (0, 1, 100))):
        test = forecaster.backtest(data)
        for i in some:
            stop = int(np.searchsorted(data.times, test.times[i])) + 1
            said = forecaster.apply(data[:stop], ahead=plans(data, stop))
            np.testing.assert_array_equal(test.mean[i], said.mean)


def test_only_the_plans_for_the_horizon_count_and_a_table_may_be_longer(
    forecaster: tg.Forecaster, series: Series
) -> None:
    past = series[800:860]
    said = forecaster.apply(past, ahead=plans(series, 860)).mean
    np.testing.assert_array_equal(forecaster.apply(past, ahead=series[820:900]).mean, said)
    rows = series.select(["price", "open"]).values[860:867]
    np.testing.assert_array_equal(forecaster.apply(past, ahead=rows).mean, said)
    frame = pl.DataFrame({"open": rows[:, 1], "price": rows[:, 0]})
    np.testing.assert_array_equal(forecaster.apply(past, ahead=frame).mean, said)
    other = forecaster.apply(past, ahead=rows + np.array([1.0, 0.0])).mean
    assert (np.abs(other - said) / forecaster.model_.scale.spread).min() > 0.1


def test_the_order_of_columns_and_others_beside_change_nothing(forecaster: tg.Forecaster, series: Series) -> None:
    past, ahead = series[800:860], plans(series, 860)
    assert forecaster.channels_ == ("load", "heat")
    turned = past.select(["open", "heat", "price", "load"])
    np.testing.assert_array_equal(forecaster.apply(turned, ahead=ahead).mean, forecaster.apply(past, ahead=ahead).mean)
    reading = dict(zip(series.channels, past.values[-1].tolist(), strict=True))
    _, state = forecaster.step(reading, forecaster.apply(past[:-1], ahead=plans(series, 859)).state, ahead=ahead)
    np.testing.assert_array_equal(state.arrays["rows"], forecaster.apply(past, ahead=ahead).state.arrays["rows"])


def test_a_stream_learns_on_with_what_was_known(forecaster: tg.Forecaster, series: Series, tmp_path: Path) -> None:
    state, pace = forecaster.start(), tg.Onward(every=4, learning_rate=1e-3)
    data = series[800:].select(["load", "heat", "price", "open"])
    for row in range(60):
        _, state = forecaster.step(
            data.values[row], state, time=int(data.times[row]), learn=pace, ahead=plans(data, row + 1)
        )
    assert state.learned > 0
    state.save(tmp_path / "state")
    again = forecaster.load_state(tmp_path / "state")
    for name, array in state.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
    z, u = state.arrays["online/rows"], practice_features(forecaster, data)
    assert z.shape == (30 + 7 + 3, 4)
    np.testing.assert_allclose(u, np.asarray(window_features(forecaster, z, int(data.times[59]))), atol=1e-12)


def practice_features(task: tg.Forecaster, data: Series) -> Any:
    """Features of the last windows among the first 60 rows, as a history has them."""
    form, scale = task.model_.form, task.model_.coming.scale
    u = np.concatenate([scale.apply(data.values[:, 2:]), coming.calendar(form.calendar, data.times)], axis=1)
    return np.stack([u[first : first + 37] for first in range(20, 24)])


def window_features(task: tg.Forecaster, rows: Any, now: int) -> Any:
    from tidegate.tasks import hindsight

    return hindsight.features(task.model_, rows, np.array([now]), task.interval_)


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("calendar", [(), ((86_400.0, 2),)])
def test_training_draws_the_forecast_that_runs(layers: int, calendar: Any) -> None:
    net = tg.Network(hidden=8, layers=layers)
    form = Form(channels=3, horizon=30, lookback=50, net=net, models=2, joint=True, known=2, calendar=calendar)
    rng, weights = np.random.default_rng(0), segments.init(form, 0)
    x = rng.standard_normal((2, 9, 50)).astype(np.float32)
    others, u = rng.standard_normal((2, 9, 50, 3)).astype(np.float32), rng.standard_normal((2, 9, 80, form.features))
    wide, ahead = windowed.beside(form, x, others, u)
    channel = rng.integers(0, 3, (2, 9))
    tensors = {name: torch.tensor(w) for name, w in weights.items()}
    theirs = segments.forward(tensors, form, torch.tensor(wide), channel, None, torch.tensor(ahead)).numpy()
    for m in range(2):
        one = {name: w[m] for name, w in weights.items()}
        ours = segments.forward(one, form, wide[m], channel[m], ahead=ahead[m])
        np.testing.assert_allclose(ours, theirs[m], atol=1e-6)
        alone = segments.forward(one, form, wide[m, 4:5], channel[m, 4:5], ahead=ahead[m, 4:5])
        np.testing.assert_array_equal(alone[0], ours[4])
    moved = ahead.copy()
    moved[..., 0, 0] += 1  # the first segment of the future alone
    ours = segments.forward(one, form, wide[1], channel[1], ahead=moved[1])
    changed = (ours != segments.forward(one, form, wide[1], channel[1], ahead=ahead[1])).any(axis=0)
    assert changed[: form.answer].all()
    assert not changed[form.answer :].any()


def test_what_is_read_stands_row_by_row() -> None:
    form = Form(channels=2, horizon=3, lookback=4, net=tg.Network(), joint=True, known=1)
    x, others = np.zeros((1, 4), np.float32), np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    wide, ahead = windowed.beside(form, x, others, np.arange(7.0)[None, :, None] * 10)
    np.testing.assert_array_equal(wide.reshape(4, 4), [[0, 0, 1, 0], [0, 2, 3, 10], [0, 4, 5, 20], [0, 6, 7, 30]])
    np.testing.assert_array_equal(ahead, [[[40, 50, 60]]])


def test_a_history_reads_as_the_running_model_does(series: Series) -> None:
    form = Form(channels=2, horizon=7, lookback=30, net=tg.Network(), joint=True, known=2, calendar=((86_400.0, 3),))
    columns = series.select(["load", "heat", "price", "open"]).values
    z = (columns[:, :2] - columns[:, :2].mean(0)) / columns[:, :2].std(0)
    z[100:104, 1] = np.nan
    parts = practice.split(len(z), form, 0.25, "market")
    u, known = coming.learn(form, z, columns[:, 2:], series.times, parts)
    past = practice.History(z, form, parts, u, known.effect)
    first = np.array([3, 70, 90, 400])
    pairs = (first[:, None] * 2 + [0, 1]).ravel()
    x, _, channel = past.gather(pairs)
    wide, ahead = past.read(pairs, x)
    pasts = np.stack([z[i : i + 30] for i in first])
    windows = np.stack([columns[i : i + 37, 2:] for i in first])
    told = coming.features(form, known.scale, windows, series.times[first + 29], 3600.0)
    read = windowed.posed(form, pasts, told, known.effect)
    np.testing.assert_array_equal(read.channel, channel)
    np.testing.assert_allclose(read.wide, wide, atol=1e-5)
    np.testing.assert_allclose(read.ahead, ahead, atol=1e-5)


@pytest.mark.parametrize(
    ("interval", "days", "expected"),
    [
        (60.0, 1.9, ()),
        (3600.0, 3, ((86_400.0, 4),)),
        (6 * 3600.0, 30, ((86_400.0, 1), (604_800.0, 3))),
        (86_400.0, 800, ((604_800.0, 3), (31_556_952.0, 2))),
        (604_800.0, 800, ((31_556_952.0, 2),)),
    ],
)
def test_cycles_are_those_that_rows_and_history_can_tell_of(interval: float, days: float, expected: Any) -> None:
    assert coming.waves(interval, days * 86_400) == expected


# --- wrong words -----------------------------------------------------------------------------------------------------


def test_plans_that_are_missing_are_asked_for_by_name_and_time(forecaster: tg.Forecaster, series: Series) -> None:
    past = series[800:860]
    with pytest.raises(tg.SettingError, match=r"price, open will be[\s\S]*next 7 rows"):
        forecaster.apply(past)
    with pytest.raises(tg.SettingError, match="price, open will be"):
        forecaster.predict(past)
    with pytest.raises(tg.DataError, match="nothing of price at 1970-02-05 23:00"):
        forecaster.apply(past, ahead=plans(series, 860, 3))
    with pytest.raises(tg.DataError, match="no column price"):
        forecaster.apply(past, ahead=plans(series, 860).select(["open"]))
    with pytest.raises(tg.DataError, match=r"shape \(7, 3\)"):
        forecaster.apply(past, ahead=np.zeros((7, 3)))
    hole = plans(series, 860).values.copy()
    hole[2, 0] = np.nan
    with pytest.raises(tg.DataError, match="nothing of price"):
        forecaster.apply(past, ahead=hole)


def test_what_means_nothing_is_refused(series: Series) -> None:
    plain = tg.Forecaster(horizon=7, lookback=30, **QUICK)
    for beside, wrong in ((Beside(known=("cost",)), "cost"), (Beside(known=series.channels), "all columns")):
        with pytest.raises(tg.DataError, match=wrong):
            plain.fit(series, beside=beside)
    with pytest.raises(tg.DataError, match="without times"):
        plain.fit(series.values, beside=Beside(calendar=True))
    with pytest.raises(tg.DataError, match="nothing of the calendar"):
        plain.fit(check(series.values, series.times // 3600), beside=Beside(calendar=True))
    assert Beside(known="price") == Beside(known=["price"]) == Beside(known=("price",))  # type: ignore[arg-type]
    for known in (3, ("price", "price"), (3,)):
        with pytest.raises(tg.SettingError, match="known"):
            Beside(known=known)  # type: ignore[arg-type]
    assert not hasattr(plain, "model_")
    with pytest.raises(tg.SettingError, match="knows nothing ahead"):
        plain.fit(series[:400]).apply(series[400:], ahead=np.zeros((7, 1)))


def test_missing_plans_in_the_history_are_drawn_as_lines(series: Series) -> None:
    values = series.values.copy()
    values[np.random.default_rng(0).random(len(values)) < 0.1, 1] = np.nan
    task = tg.Forecaster(horizon=7, lookback=30, **QUICK).fit(check(values, series.times, series.channels), beside=ALL)
    said = task.backtest(check(values[700:], series.times[700:], series.channels))
    assert np.isfinite(said.mean).all()
    assert said.errors["forecaster"][0] < 0.7 * said.errors["last_value"][0]


# --- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line_knows_ahead(series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORECASTING, "small", (QUICK["network"], QUICK["training"]))
    times = pl.Series("time", series.times).cast(pl.Datetime("ns", "UTC"))
    table = pl.DataFrame(series.values, schema=list(series.channels)).insert_column(0, times)
    table[:900].write_csv(tmp_path / "load.csv")
    table.drop("load", "heat")[880:].write_csv(tmp_path / "plans.csv")
    table[850:].write_csv(tmp_path / "later.csv")
    model, out = tmp_path / "m.safetensors", tmp_path / "out.csv"
    words = ["--known", "price,open", "--calendar", "--joint", "--horizon", 7, "--lookback", 30]
    page = tmp_path / "fit.html"
    tidegate("fit", "forecast", tmp_path / "load.csv", "-o", model, *words, "--report", page)
    assert "What was forecast, and what came" in page.read_text()
    told = tidegate("info", model).stdout
    assert "price, open, the time of day and week" in told
    assert "each channel beside all others" in told
    tidegate(
        "apply",
        model,
        tmp_path / "load.csv",
        "-o",
        out,
        "--ahead",
        tmp_path / "plans.csv",
        "--report",
        tmp_path / "r.html",
    )
    expected = tg.load(model, tg.Forecaster).apply(series[:900], ahead=plans(series, 900)).mean
    np.testing.assert_allclose(pl.read_csv(out)["mean"].to_numpy().reshape(7, 2), expected, rtol=1e-9)
    assert "price, open" in (tmp_path / "r.html").read_text()
    assert "forecaster" in tidegate("evaluate", model, tmp_path / "later.csv").stdout
    assert "--ahead" in tidegate("apply", model, tmp_path / "load.csv", "-o", out, code=1).stderr
    tidegate("fit", "forecast", tmp_path / "load.csv", "-o", model, "--horizon", 7, "--lookback", 30)
    refused = tidegate("apply", model, tmp_path / "load.csv", "--ahead", tmp_path / "plans.csv", code=2).stderr
    assert "knows nothing ahead" in refused


def test_a_plan_that_never_moved_says_nothing_and_one_that_is_absurd_breaks_nothing(series: Series) -> None:
    values = series.values.copy()
    values[:800, 1] = 5.0
    data = check(values, series.times, series.channels)
    task = tg.Forecaster(horizon=7, lookback=30, **QUICK).fit(data[:800], beside=Beside(known=("price", "open")))
    past, rows = data[740:800], np.column_stack([np.full(7, 5.0), series.values[800:807, 3]])
    said = task.apply(past, ahead=rows).mean
    np.testing.assert_array_equal(task.apply(past, ahead=rows * [20, 1]).mean, said)
    assert np.isfinite(task.apply(past, ahead=rows * [1, 1e60]).mean).all()


def test_a_resumed_run_must_have_the_same_plans(series: Series, tmp_path: Path) -> None:
    task = tg.Forecaster(horizon=7, lookback=30, **QUICK)
    task.fit(series[:800], beside=Beside(known="open"), checkpoint=tmp_path / "c")  # type: ignore[arg-type]
    values = series.values.copy()
    values[400, 3] = 1 - values[400, 3]
    other = check(values, series.times, series.channels)
    with pytest.raises(tg.ModelFileError, match="another"):
        task.fit(other[:800], beside=Beside(known="open"), checkpoint=tmp_path / "c", resume=True)  # type: ignore[arg-type]


def test_the_report_of_a_fit_with_plans_bears_holes(
    series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORECASTING, "small", (QUICK["network"], QUICK["training"]))
    kept = np.random.default_rng(0).random(len(series)) > 0.15
    times = pl.Series("time", series.times).cast(pl.Datetime("ns", "UTC"))
    pl.DataFrame(series.values, schema=list(series.channels)).insert_column(0, times).filter(pl.Series(kept)).write_csv(
        tmp_path / "h.csv"
    )
    words = ["--known", "price,open", "--horizon", 7, "--lookback", 30, "--report", tmp_path / "r.html"]
    tidegate("fit", "forecast", tmp_path / "h.csv", "-o", tmp_path / "m.safetensors", *words)
    assert "What was forecast, and what came" in (tmp_path / "r.html").read_text()


def test_a_plan_at_a_finer_pace_is_refused_and_not_thinned_out() -> None:
    hours = np.arange(4) * HOUR
    finer = check(np.arange(16.0)[:, None], hours[0] + np.arange(16) * HOUR // 4, ["price"], name="plan")
    with pytest.raises(tg.DataError, match="a row every 15 min") as error:
        coming.planned(finer, ("price",), hours, 3600.0, True)
    assert "every 1 h" in str(error.value)
    every = check(np.arange(4.0)[:, None], hours, ["price"], name="plan")
    np.testing.assert_array_equal(coming.planned(every, ("price",), hours, 3600.0, True)[:, 0], np.arange(4.0))
