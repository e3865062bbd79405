"""The completer: what was observed stays, what is filled is sure to a stated degree, and streams give the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidegate as tg
from tidegate import kernels, save
from tidegate.series import SECOND, Series, check
from tidegate.settings import Network
from tidegate.tasks import filling, hiding
from tidegate.tasks.around import Around, Recipe, around

pytest.importorskip("torch")
SMALL: dict[str, Any] = {"network": tg.Network(hidden=6), "training": tg.Training(epochs=1, batches=3, batch=4)}


def holed(rows: int = 400, channels: int = 3, share: float = 0.15, seed: int = 0) -> Series:
    """Sines that share their causes, with points, a stretch, whole rows and a hole in time missing."""
    rng, t = np.random.default_rng(seed), np.arange(rows)
    causes = np.column_stack([np.sin(2 * np.pi * t / 24), np.sin(2 * np.pi * t / 37 + 1)])
    mix = np.array([[1.0, 0.5, -1.0], [0.3, -1.0, 0.8]])[:, :channels]
    values = (causes @ mix + 0.01 * rng.standard_normal((rows, channels))) * [1, 10, 100][:channels] + 5.0
    values[rng.random(values.shape) < share] = np.nan
    values[60:90, 0] = values[120:124] = values[:3] = values[-2:] = np.nan
    times = t * SECOND
    times[200:] += 7 * SECOND
    return check(values, times, ["a", "b", "c"][:channels], name="holed")


@pytest.fixture(scope="module")
def both() -> tg.Completer:
    return tg.Completer(**SMALL).fit(holed())


@pytest.fixture(scope="module")
def past() -> tg.Completer:
    return tg.Completer(direction="past", **SMALL).fit(holed())


@pytest.fixture(scope="module")
def learned() -> tg.Completer:
    """Trained long enough to be good on those sines."""
    training = tg.Training(epochs=10, batches=40, batch=16, learning_rate=5e-3)
    return tg.Completer(network=tg.Network(hidden=24), training=training).fit(holed(rows=1600))


def known(rows: int = 400, seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with nothing missing, which cells to hide, and the rows without them."""
    values = holed(rows + 200, share=0.0, seed=seed).values[150 : rows + 150]
    hidden = np.random.default_rng(1).random(values.shape) < 0.15
    hidden[100:110, 1] = True
    return values, hidden, np.where(hidden, np.nan, values)


# --- what lies around a hole ----------------------------------------------------------------------------------------


def facts(values: list[float], times: list[float], direction: str = "both") -> Around:
    recipe = Recipe(channels=1, net=Network(), direction=direction, length=10)  # type: ignore[arg-type]
    ticks = (np.array(times) * SECOND).astype(np.int64)
    return around(np.array(values)[None, :, None], ticks[None], recipe, interval=1.0)


def test_a_guess_is_linear_by_the_clock_and_never_uses_the_cell_itself() -> None:
    nan = np.nan
    assert facts([nan, 1.0, nan, 4.0, nan], [0, 1, 2, 4, 9]).guess.ravel().tolist() == [1.0, 4.0, 2.0, 1.0, 4.0]
    assert facts([nan, 1.0, nan, 4.0], [0, 1, 2, 4], "past").guess.ravel().tolist() == [0.0, 0.0, 1.0, 1.0]
    assert facts([nan, nan], [0, 1]).lone.all()


def test_the_guess_is_numpys_interpolation_wherever_that_is_defined() -> None:
    series = holed()
    got = around(
        series.values[None], series.times[None], Recipe(channels=3, net=Network(), direction="none", length=9), 1.0
    ).guess[0]
    for c in range(3):
        seen = ~np.isnan(series.values[:, c])
        wanted = np.interp(series.times, series.times[seen], series.values[seen, c])
        np.testing.assert_allclose(got[~seen, c], wanted[~seen], rtol=1e-12)


def test_what_the_network_is_told_of_a_hidden_cell_does_not_depend_on_what_is_in_it() -> None:
    for direction in filling.WAYS:
        one, other = (facts([1.0, 2.0, np.nan, v, 5.0], [0, 1, 2, 3, 4], direction) for v in (3.0, 30.0))
        np.testing.assert_array_equal(one.guess[0, 3], other.guess[0, 3])
    assert facts([1.0, np.nan, 4.0], [0, 1, 3]).reach.ravel()[1] == pytest.approx(2 / 3)
    assert facts([1.0, np.nan, np.nan], [0, 1, 2]).beyond.ravel().tolist() == pytest.approx([-0.0, 0.1, 0.2])
    assert facts([np.nan, 1.0, 2.0], [0, 1, 2]).beyond[0, 0, 0] == pytest.approx(-0.1)


def test_a_reading_out_of_all_bounds_is_not_felt_far_away() -> None:
    values = np.sin(np.arange(200.0))
    for direction in filling.WAYS:
        told = []
        for outlier in (100.0, 1e140):
            values[40] = outlier
            told.append(facts(values.tolist(), list(range(200)), direction).told)
        np.testing.assert_array_equal(*told)


def test_training_begins_at_the_naive_guess() -> None:
    recipe = Recipe(channels=2, net=Network(hidden=4), direction="both", length=9)
    weights = filling.first_weights(recipe, np.random.default_rng(0))
    told = np.random.default_rng(1).standard_normal((3, 5, recipe.inputs)).astype(np.float32)
    hidden = [filling.remember(weights, recipe, w, told, s)[0] for w, s in filling.start(recipe, 3).items()]
    added, _ = filling.answer(weights, hidden, told, np.ones((3, 5, 2), np.float32))
    assert not added.any()


@pytest.mark.parametrize("direction", filling.WAYS)
def test_torch_and_numpy_run_the_same_network(direction: Any) -> None:
    import torch

    recipe = Recipe(channels=2, net=Network(hidden=4, layers=2), direction=direction, length=9)
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in filling.shapes(recipe).items()}
    told, beyond = (rng.standard_normal((3, 5, k)).astype(np.float32) for k in (recipe.inputs, 2))
    answers = []
    for turn in (np.asarray, torch.as_tensor):
        params = {name: turn(w) for name, w in weights.items()}
        starts = filling.start(recipe, 3).items()
        hidden = [filling.remember(params, recipe, way, turn(told), turn(first))[0] for way, first in starts]
        answers.append([np.asarray(a) for a in filling.answer(params, hidden, turn(told), turn(beyond))])
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def test_hiding_takes_only_what_is_known() -> None:
    seen = np.random.default_rng(0).random((50, 30, 3)) < 0.5
    hidden = hiding.hide(seen, np.random.default_rng(1))
    assert hidden.any() and not (hidden & ~seen).any()
    assert (hidden.sum(axis=1) == seen.sum(axis=1)).any(), "whole channels are hidden too"


def test_the_kind_of_a_cell_is_how_far_it_is_from_what_was_read_in_time_and_in_channels() -> None:
    values = np.array([[np.nan, 1.0], [1.0, np.nan], [np.nan, np.nan], [np.nan, 2.0], [5.0, 3.0], [np.nan, 4.0]])
    recipe = Recipe(channels=2, net=Network(), direction="both", length=9)
    around_them = around(values[None], (np.arange(6) * SECOND)[None], recipe, 1.0)
    kinds = filling.kinds(around_them, recipe, ~np.isnan(values)[None])[0]
    few, reaches = np.divmod(kinds, filling.REACHES)
    assert (reaches[0, 0], reaches[5, 0]) == (1, 1), "before the first and beyond the last reading"
    assert (reaches[4, 1], reaches[2, 0], reaches[2, 1]) == (2, 2, 2), "reaches of 1/2, 3/4 and 2/3 rows"
    assert few[:, 0].tolist() == [0, 1, 1, 0, 0, 0] and few[:, 1].tolist() == [1, 0, 1, 1, 0, 1]


def test_a_kind_of_cell_in_which_the_network_is_worse_is_filled_by_the_naive_guess() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    truth, kind = rng.standard_normal(n), rng.choice([2, 5], n)
    linear = truth + 0.5 * rng.standard_normal(n)
    fill = np.where(kind == 2, truth + 0.1 * rng.standard_normal(n), truth + 2.0 * rng.standard_normal(n))
    none, row = np.zeros(n), np.sort(rng.integers(0, 500, n))
    judged = hiding.Trial(row, np.zeros(n, np.int64), truth, fill, none, linear, linear, kind)
    trust = hiding.trusted(judged, 1)[:, 0]
    assert (trust[2:4] == 1.0).all() and (trust[4:9] == 0.0).all()
    assert trust[1] == judged.best(np.ones(n, bool)), "of which there are none: as all of the channel"
    luck = hiding.Trial(row, np.zeros(n, np.int64), truth, linear + rng.standard_normal(n), none, linear, linear, kind)
    assert not hiding.trusted(luck, 1).any()


# --- what comes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["both", "past"])
def test_what_was_observed_comes_out_bit_for_bit_and_the_rest_is_filled(task: str, request: Any) -> None:
    completer, series = request.getfixturevalue(task), holed()
    before = series.values.copy()
    done = completer.apply(series)
    seen = ~np.isnan(series.values)
    np.testing.assert_array_equal(series.values, before)
    assert done.values[seen].tobytes() == series.values[seen].tobytes()
    assert np.isfinite(done.values).all() and np.isfinite(done.linear).all()
    np.testing.assert_array_equal(done.filled, ~seen)
    assert (done.std[seen] == 0).all() and (done.std[~seen] > 0).all()


def test_the_frame_has_the_fill_and_all_that_stands_beside_it(both: tg.Completer) -> None:
    series = holed()
    frame = both.apply(series).to_frame()
    assert frame.columns == ["time", *(m + c for m in ("", "std ", "filled ", "linear ") for c in "abc")]
    assert frame["filled a"].sum() == np.isnan(series.values[:, 0]).sum()


def test_it_beats_linear_interpolation_and_the_last_value_on_sines_it_has_learned(learned: tg.Completer) -> None:
    values, hidden, shown = known()
    done = learned.apply(shown)
    missed, linear = (np.abs(a - values)[hidden].mean(axis=0) for a in (done.values, done.linear))
    assert missed < 0.7 * linear
    told = learned.held_out_
    assert told["network"] < 0.8 * told["linear"] < told["last_value"]
    assert learned.linear_ == ()


def test_ninety_percent_intervals_hold_about_ninety_percent(learned: tg.Completer) -> None:
    inside = []
    for seed in range(5, 9):
        values = known(seed=seed)[0]
        hidden = hiding.hide(np.ones((5, 80, 3), bool), np.random.default_rng(seed)).reshape(values.shape)
        done = learned.apply(np.where(hidden, np.nan, values))
        inside.append((np.abs(done.values - values) <= 1.645 * done.std)[hidden])
    assert 0.84 < np.concatenate(inside).mean() < 0.96


def test_noise_is_filled_by_linear_interpolation_and_it_says_so() -> None:
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.standard_normal((500, 2)), axis=0)
    series = check(values, np.arange(500) * SECOND, ["walk", "other"])
    training = tg.Training(epochs=1, batches=30, batch=4, learning_rate=0.5)  # far too fast: it learns nonsense
    completer = tg.Completer(network=tg.Network(hidden=4), training=training).fit(series)
    assert set(completer.linear_) == {"walk", "other"}
    assert any(
        "no better than linear interpolation on later rows, so filled by linear interpolation: walk, other" in note
        for note in completer.notes_
    )
    done = completer.apply(np.where(rng.random(values.shape) < 0.2, np.nan, values))
    np.testing.assert_array_equal(done.values, done.linear)
    assert completer.held_out_["network"] == completer.held_out_["linear"]


def test_a_slope_goes_on_where_no_second_neighbour_is() -> None:
    values = np.cumsum(np.random.default_rng(0).random(600))
    shown = values.copy()
    shown[300:] = np.nan
    completer = tg.Completer(training=tg.Training(epochs=3, batches=20, learning_rate=3e-3)).fit(shown[:300])
    done = completer.apply(shown)
    assert np.abs(done.values[300:, 0] - values[300:]).max() < 0.25 * np.abs(done.linear[300:, 0] - values[300:]).max()


def wave(rows: int, seed: int) -> tuple[Series, Series]:
    """Two sines at irregular times, and the same readings as if the clock were even."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.choice([0.2, 0.5, 1.0, 3.0], rows))
    values = np.column_stack([np.sin(2 * np.pi * t / 12), np.cos(2 * np.pi * t / 12)])
    ticks = (t * SECOND).astype(np.int64)
    even = np.linspace(ticks[0], ticks[-1], rows).astype(np.int64)
    return check(values, ticks, ["a", "b"]), check(values, even, ["a", "b"])


def test_on_an_irregular_clock_the_true_time_between_readings_counts() -> None:
    training = tg.Training(epochs=6, batches=30, batch=16, learning_rate=1e-2)
    missed = []
    for clock in (0, 1):
        learned = tg.Completer(network=tg.Network(hidden=16), training=training).fit(wave(1200, 0)[clock])
        later = wave(400, 1)[clock]
        hidden = np.random.default_rng(2).random(later.values.shape) < 0.15
        done = learned.apply(check(np.where(hidden, np.nan, later.values), later.times, later.channels))
        missed.append([np.abs(a - later.values)[hidden].mean() for a in (done.values, done.linear)])
    (true, line), (even, _) = missed
    assert true < 0.75 * even, "told when readings were made, it fills better than on an even clock"
    assert true < 0.75 * line


# --- one pass -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", filling.WAYS)
def test_chunks_have_the_bits_of_one_pass(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    completer, series = tg.Completer(direction=direction, **SMALL).fit(holed()), holed()
    whole = completer.apply(series)
    for chunk in (7, 133):
        monkeypatch.setattr(filling, "CHUNK", chunk)
        part = completer.apply(series)
        assert part.values.tobytes() == whole.values.tobytes()
        assert part.std.tobytes() == whole.std.tobytes()


def test_with_both_directions_a_fill_knows_what_came_after(learned: tg.Completer) -> None:
    series = holed()
    values = series.values.copy()
    values[91:100, 0] += 50.0
    later = learned.apply(check(values, series.times, series.channels))
    assert (later.values[70:90, 0] != learned.apply(series).values[70:90, 0]).all()


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_tanh"])
def test_a_stream_has_the_bits_of_the_whole_in_pieces_and_one_at_a_time(cell: str, tmp_path: Path) -> None:
    net = tg.Network(cell=cell, layers=2, hidden=5)  # type: ignore[arg-type]
    task = tg.Completer(direction="past", network=net, training=SMALL["training"]).fit(holed())
    series = holed(seed=3)
    whole = task.apply(series)
    state, values, std = task.start(), [], []
    for first, stop in ((0, 1), (1, 70), (70, 203), (203, 400)):
        piece = task.apply(series[first:stop], state)
        assert piece.state is not None
        piece.state.save(tmp_path / "state")
        state = task.load_state(tmp_path / "state")
        values.append(piece.values)
        std.append(piece.std)
    assert np.concatenate(values).tobytes() == whole.values.tobytes()
    assert np.concatenate(std).tobytes() == whole.std.tobytes()
    state = task.start()
    for i in range(60, 240):
        begun = task.apply(series[:60]).state if i == 60 else state
        filled, state = task.step(series.values[i], begun, time=int(series.times[i]))
        assert list(filled.values.values()) == whole.values[i].tolist()
        assert list(filled.std.values()) == whole.std[i].tolist()


def test_what_comes_later_does_not_change_what_a_stream_has_filled(past: tg.Completer) -> None:
    series = holed()
    values = series.values.copy()
    values[200:] += 1000.0
    later = past.apply(check(values, series.times, series.channels))
    assert later.values[:200].tobytes() == past.apply(series).values[:200].tobytes()


def test_a_stream_needs_the_form_that_reads_the_past(both: tg.Completer, past: tg.Completer) -> None:
    for verb in (both.start, lambda: both.apply(holed(), past.start())):
        with pytest.raises(tg.SettingError, match="needs what comes after a hole"):
            verb()
    _, state = past.step([1.0, None, 3.0], past.start(), time=10 * SECOND)
    with pytest.raises(tg.DataError, match="after one of"):
        past.step([1.0, 2.0, 3.0], state, time=10 * SECOND)


def test_a_stream_without_a_clock_counts_its_rows() -> None:
    values = holed().values
    task = tg.Completer(direction="past", **SMALL).fit(values, interval="5min")
    whole = task.apply(values[:50])
    first = task.apply(values[:20])
    second = task.apply(values[20:50], first.state)
    assert np.concatenate([first.values, second.values]).tobytes() == whole.values.tobytes()
    np.testing.assert_array_equal(np.concatenate([first.times, second.times]), whole.times)
    filled, _ = task.step(values[20], first.state)  # type: ignore[arg-type]
    assert filled.time == whole.times[20]


def test_a_history_of_one_row_is_answered(both: tg.Completer) -> None:
    done = both.apply(check([[1.0, np.nan, 3.0]], [0], ["a", "b", "c"]))
    assert done.values[0, [0, 2]].tolist() == [1.0, 3.0] and np.isfinite(done.values).all()


# --- hard data ------------------------------------------------------------------------------------------------------


def test_a_channel_that_is_gone_is_filled_from_the_others(learned: tg.Completer) -> None:
    values = known()[0].copy()
    values[:, 2] = np.nan
    done = learned.apply(values)
    assert np.isfinite(done.values).all() and done.filled[:, 2].all() and (done.std[:, 2] > 0).all()
    assert np.corrcoef(done.values[:, 2], known()[0][:, 2])[0, 1] > 0.7, "the others say much of what it would have"


def test_constant_empty_and_huge_channels_survive() -> None:
    values = holed().values.copy()
    values[:, 1] = np.where(np.isnan(values[:, 1]), np.nan, 7.0)
    values[:, 2] = np.nan
    values[40, 0] = 1e140
    task = tg.Completer(**SMALL).fit(values)
    done = task.apply(values)
    np.testing.assert_allclose(done.values[:, 1], 7.0, atol=0.5)
    assert np.isnan(done.values[:, 2]).all() and not done.filled[:, 2].any()
    assert "left empty, for want of a single reading here and in training: c2" in done.notes
    assert not np.isinf(done.values).any() and not np.isnan(done.values[:, :2]).any()


def test_early_or_few_rows_are_refused_with_what_to_do() -> None:
    with pytest.raises(tg.DataError, match="63 rows of history"):
        tg.Completer(**SMALL).fit(np.ones(63))
    values = np.full(200, np.nan)
    values[-3:] = 1.0
    with pytest.raises(tg.DataError, match="no reading in the first 150 rows"):
        tg.Completer(**SMALL).fit(values)
    with pytest.raises(tg.SettingError, match="direction is 'up'"):
        tg.Completer(direction="up", **SMALL).fit(holed())
    with pytest.raises(tg.SettingError, match="resume=True without"):
        tg.Completer(**SMALL).fit(holed(), resume=True)


def test_the_order_of_channels_in_the_data_does_not_matter(both: tg.Completer) -> None:
    series = holed()
    turned = both.apply(series.select(["c", "a", "b"]))
    assert turned.values.tobytes() == both.apply(series).values.tobytes()


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SMALL, "training": tg.Training(epochs=3, batches=2, batch=4)}
    whole = tg.Completer(**settings).fit(holed())

    class Killed(Exception):
        pass

    def kill(epoch: Any) -> None:
        if epoch.epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        tg.Completer(**settings).fit(holed(), checkpoint=tmp_path / "c", on_epoch=kill)
    again = tg.Completer(**settings).fit(holed(), checkpoint=tmp_path / "c", resume=True)
    assert again.fingerprint_ == whole.fingerprint_


def test_a_file_whose_parts_contradict_each_other_is_refused(both: tg.Completer, tmp_path: Path) -> None:
    both.save(tmp_path / "model")
    file = save.open_file(tmp_path / "model")
    spec = {**file.spec, "channels": ["a", "b"]}
    save.write(tmp_path / "bent", "model", spec, file.arrays(file.table))
    with pytest.raises(tg.ModelFileError, match="contradicts itself about channels"):
        tg.load(tmp_path / "bent")


def test_it_works_inside_a_pipeline() -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    steps = pipeline.make_pipeline(tg.Completer(**SMALL), preprocessing.StandardScaler())
    out = steps.fit(holed().values).transform(holed().values)
    assert out.shape == (400, 3) and np.isfinite(out).all()


def test_the_new_primitives_agree_between_numpy_and_torch() -> None:
    import torch

    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    for name, args in (("relu", ()), ("flip", (1,)), ("detach", ())):
        ours, theirs = (getattr(kernels, name)(a, *args) for a in (x, torch.as_tensor(x)))
        np.testing.assert_array_equal(ours, np.asarray(theirs))
    np.testing.assert_array_equal(kernels.join([x, x]), np.asarray(kernels.join([torch.as_tensor(x)] * 2)))


def test_beyond_the_ends_the_slope_is_judged_by_itself() -> None:
    values = np.cumsum(np.random.default_rng(0).random(600))
    completer = tg.Completer(training=tg.Training(epochs=10, batches=20)).fit(values[:300])
    trust = completer.model_.trust[:, 0].reshape(2, -1)
    assert trust[1, 1] == 1.0, "the slope of the history goes on, though between readings a line is as good"
    assert completer.linear_ == ()


@pytest.mark.parametrize("seed", [1, 2, 7])  # later rows that rise a little less than the first ones, by chance
def test_a_slope_is_followed_whole_and_its_spread_grows_from_where_it_was_measured(seed: int) -> None:
    values = np.cumsum(np.random.default_rng(seed).random(600))
    shown = np.where(np.arange(600) < 300, values, np.nan)
    completer = tg.Completer(training=tg.Training(epochs=5, batches=20), seed=seed).fit(shown[:300])
    done = completer.apply(shown)
    assert completer.model_.trust[1, 0] == 1.0
    missed = np.abs(done.values[300:, 0] - values[300:])
    assert missed.max() < 20 < np.abs(done.linear[-1, 0] - values[-1])
    assert np.mean(missed <= 1.645 * done.std[300:, 0]) > 0.9
    assert done.std[-1, 0] < 100, "wide, but of the size of what it is about"
    checked = completer.model_.recipe.checked
    np.testing.assert_allclose(done.std[310 + checked :, 0] / done.std[309 + checked : -1, 0], 1.0, atol=0.1)
    assert done.std[-1, 0] > 10 * done.std[300 + checked, 0]
    assert any("further from a reading than training could check" in note for note in done.notes)
    assert not completer.apply(shown[: 300 + checked]).notes


def test_amid_a_hole_longer_than_training_hides_it_says_that_the_spread_is_a_guess(learned: tg.Completer) -> None:
    values = holed(rows=600, share=0.0).values
    short, long = values.copy(), values.copy()
    short[300:350, 1], long[300:380, 1] = np.nan, np.nan
    assert not learned.apply(short).notes
    (note,) = learned.apply(long).notes
    assert note.endswith("a guess there: b")
