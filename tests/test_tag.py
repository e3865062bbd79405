"""The tagger: one label or value per step, whatever way sequences and labels are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidegate as tg
from tidegate import chance
from tidegate.series import SECOND, check
from tidegate.tasks import marked, marking, steady, steps
from tidegate.tasks.tagged import Tag

pytest.importorskip("torch")

SMALL: dict[str, Any] = {
    "network": tg.Network(hidden=6),
    "training": tg.Training(epochs=2, batches=4, batch=8, learning_rate=1e-2, noise=0.1),
}
LONG: dict[str, Any] = {"training": tg.Training(epochs=8, batches=25, batch=16, learning_rate=1e-2, noise=0.1)}


def turns(rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A state that seldom changes, seen through noise: each row alone says little."""
    rng = np.random.default_rng(seed)
    state = np.cumsum(rng.random(rows) < 0.03) % 2
    return np.column_stack([state + 1.2 * rng.standard_normal(rows), rng.standard_normal(rows)]), state


def lists(count: int = 12, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sequences of different lengths."""
    found = [turns(20 + 7 * i, seed=seed + i) for i in range(count)]
    return [x for x, _ in found], [y for _, y in found]


@pytest.fixture(scope="module")
def tagger() -> tg.Tagger:
    """Learned well enough to be judged; nobody changes it."""
    return tg.Tagger(smooth=True, **LONG).fit(*turns(4000))


@pytest.fixture(scope="module")
def both() -> tg.Tagger:
    return tg.Tagger(direction="both", **SMALL).fit(*lists())


# --- what it learns -----------------------------------------------------------------------------------------------


def test_memory_beats_a_logistic_regression_row_by_row_and_the_largest_class(tagger: tg.Tagger) -> None:
    errors = tagger.errors_
    assert list(errors) == ["tagger", "tagger, not smoothed", "largest class", "logistic regression"]
    assert errors["tagger"]["rows"] < 0.9 * errors["logistic regression"]["rows"]
    assert tagger.verdict_.startswith("better than the simple rules: ")
    assert tagger.split_ == {"train": 3000, "valid": 500, "judge": 500}
    assert tagger.confusion_.sum() == 500
    assert tagger.confusion_.trace() == round(500 * (1 - errors["tagger"]["rows"]))
    assert any(note.startswith("labels change ") for note in tagger.notes_)


def test_what_it_says_carries_over_to_new_data_and_probabilities_mean_what_they_say(tagger: tg.Tagger) -> None:
    X, y = turns(2000, seed=9)
    tags = tagger.apply(X)
    assert tagger.score(X, y) == (tags.label == y).mean() > 0.8
    sure = tags.proba.max(axis=1)
    assert abs(sure.mean() - (tags.label == y).mean()) < 0.06
    np.testing.assert_allclose(tags.proba.sum(axis=1), 1)
    np.testing.assert_array_equal(tagger.predict(X), tags.label)
    np.testing.assert_array_equal(tagger.predict_proba(X), tags.proba)


def test_smoothing_takes_flicker_out_and_shows_what_it_changed(tagger: tg.Tagger) -> None:
    X, y = turns(2000, seed=9)
    tags = tagger.apply(X)
    changes = [int((one[1:] != one[:-1]).sum()) for one in (y, tags.label, tags.raw)]
    assert changes[1] < changes[2]
    assert (tags.label == y).mean() > (tags.raw == y).mean() - 0.03
    plain = tg.Tagger(**SMALL).fit(*turns(300)).apply(X)
    np.testing.assert_array_equal(plain.label, plain.raw)


def test_a_value_is_told_in_its_own_units_beside_the_mean_and_a_linear_regression() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 2))
    y = 1000 + 40 * np.convolve(x[:, 0], [0.5, 0.3, 0.2])[:1500]
    task = tg.Tagger(target="value", **LONG).fit(x, y)
    assert list(task.errors_) == ["tagger", "mean", "linear regression"]
    assert task.errors_["tagger"]["RMSE"] < 0.6 * task.errors_["linear regression"]["RMSE"]
    assert (task.targets_, task.apply(x).value.shape, task.predict(x).shape) == (("value",), (1500, 1), (1500,))
    assert 0.7 < task.score(x, y) <= 1
    two = tg.Tagger(target="value", **SMALL).fit(x, np.column_stack([y, -y]))
    assert (two.targets_, two.predict(x).shape) == (("value 0", "value 1"), (1500, 2))


def test_a_simple_rule_that_is_as_good_is_named() -> None:
    x = np.random.default_rng(0).random((400, 1))
    assert "a simple rule does better: linear regression" in tg.Tagger(target="value", **SMALL).fit(x, 1 - x).verdict_


def test_one_row_more_that_is_right_is_no_better_and_a_file_keeps_the_verdict(
    tagger: tg.Tagger, tmp_path: Path
) -> None:
    truth, ours = np.zeros(500), np.zeros(500)
    rule = ours.copy()
    rule[77] = 1.0
    against = chance.paired(np.abs(rule - truth) - np.abs(ours - truth), marking.blocks(np.zeros(500, int)))
    errors = {"tagger": {"rows": 0.0}, "largest class": {"rows": 0.002}}
    assert against[0] == 0.5
    assert marking.verdict(errors, {"largest class": against}).startswith("no better than a simple rule")
    tagger.save(tmp_path / "m")
    again = tg.load(tmp_path / "m", tg.Tagger)
    assert (again.against_, again.verdict_) == (tagger.against_, tagger.verdict_)
    assert tagger.verdict_.endswith("said wrongly about 5 % of the time")
    assert set(tagger.against_) == {"largest class", "logistic regression"}


def test_rows_that_resemble_the_last_one_do_not_make_a_verdict_wrong_much_more_often_than_it_says() -> None:
    rng = np.random.default_rng(0)
    wrong, block = 0, marking.blocks(np.zeros(600, int))
    for _ in range(1000):
        gain, drawn = np.zeros(600), rng.standard_normal(600)
        for t in range(1, 600):
            gain[t] = 0.8 * gain[t - 1] + drawn[t]
        wrong += chance.paired(gain, block)[0] < 0.05
    assert 0.03 < wrong / 1000 < 0.08  # a test that took the rows for witnesses: 0.3


def test_a_sequence_is_one_witness_and_the_gain_of_values_is_that_of_their_errors() -> None:
    sizes = np.random.default_rng(0).integers(1, 9, 30)
    sequence = np.repeat(np.arange(30), sizes)
    block = marking.blocks(sequence)
    assert len(np.unique(block)) == chance.BLOCKS
    assert all(len(np.unique(block[sequence == i])) == 1 for i in range(30))
    truth, ours, theirs = np.random.default_rng(1).standard_normal((3, 50, 2))
    truth[:20, 1] = np.nan
    apart = [marking.measured(truth, said)["RMSE"] for said in (theirs, ours)]
    np.testing.assert_allclose(marking.closer(truth, ours, theirs).sum() / 2, apart[0] - apart[1])


def test_a_score_that_nothing_can_be_said_of_is_refused_and_a_constant_target_is_met_or_not(tagger: tg.Tagger) -> None:
    X, y = turns(100)
    with pytest.raises(tg.DataError, match="no label that is known"):
        tagger.score(X, np.full(100, np.nan))
    values = tg.Tagger(target="value", **SMALL).fit(X, y * 1.0)
    assert values.score(X, np.full(100, 0.1)) == 0.0
    assert values.score(X, np.column_stack([np.full(100, 0.1)])) == 0.0
    few = np.full(100, np.nan)
    few[3] = 1.0
    with pytest.raises(tg.DataError, match="fewer than two known values"):
        values.score(X, few)


def test_labels_that_chance_could_have_said_are_called_that() -> None:
    rng = np.random.default_rng(0)
    task = tg.Tagger(held_out=0.5, **SMALL).fit(rng.standard_normal((100, 8, 1)), rng.integers(0, 2, (100, 8)))
    assert any("one row of each held-out sequence: no better than chance" in note for note in task.notes_)


def test_a_rare_class_counts_as_much_as_the_others_if_asked() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 1))
    y = (x[:, 0] + rng.standard_normal(2000) > 2.5).astype(int)  # 4 %
    plain, fair = (tg.Tagger(**LONG).fit(x, y, class_weight=w).confusion_ for w in (None, "balanced"))
    assert fair[1, 1] / fair[1].sum() > plain[1, 1] / plain[1].sum() + 0.2


def test_whole_sequences_are_held_out_each_main_class_in_turn() -> None:
    main = np.repeat([0, 1, 2], 16)
    part = marking.split([10] * 48, main, 0.25, seed=3).reshape(48, 10)
    assert (part == part[:, :1]).all()
    for name in range(3):
        counts = np.bincount(part[main == name, 0], minlength=3)
        assert counts[0] == 12
        assert counts[1:].min() >= 1
    later = marking.split([40, 40], np.zeros(2, int), 0.25, seed=3).reshape(2, 40)
    assert later.tolist() == [[0] * 30 + [1] * 5 + [2] * 5] * 2


def test_training_windows_stay_inside_what_trains_and_beginnings_count() -> None:
    begin, part = np.array([0, 700]), np.repeat([0, 1, 2, 0], [500, 100, 100, 50]).astype(np.int8)
    data = marking.Data(np.zeros((750, 2), np.float32), np.zeros(750, int), begin, part, np.ones(2))
    own = marking.windows(data, marking.TRAIN, both=False)
    assert own[:, 0].tolist() == [*range(500 - marking.LENGTH + 1), 700]
    assert (own[:, 0] + own[:, 1])[:-1].max() == 500
    assert own[[0, -1], 2].tolist() == [0, 0]
    assert set(own[1:-1, 2].tolist()) == {marking.RUN_UP}
    judged = marking.windows(data, marking.VALID, both=False)
    scored = np.concatenate([np.arange(a + front, a + n - back) for a, n, front, back in judged])
    assert sorted(scored.tolist()) == list(range(500, 600))
    many = marking.windows(msgspec_replace(data, part=np.repeat([0, 1], [10, 740]).astype(np.int8)), 1, both=True)
    scored = np.concatenate([np.arange(a + front, a + n - back) for a, n, front, back in many])
    assert set(range(10, 750)) <= set(scored.tolist())


def msgspec_replace(data: marking.Data, **changed: Any) -> marking.Data:
    return marking.Data(**{**vars(data), **changed})


def test_the_logistic_regression_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3))
    y = (x @ rng.standard_normal((3, 3)) + rng.standard_normal((500, 3))).argmax(axis=1)
    ours = marking.logistic(x, y, np.ones(3))
    theirs = linear_model.LogisticRegression(max_iter=1000).fit(x, y)
    said = (np.column_stack([x, np.ones(500)]) @ ours).argmax(axis=1)
    assert (said == theirs.predict(x)).mean() > 0.99


def test_a_smoother_waits_for_evidence_and_looks_both_ways_if_it_may() -> None:
    keep = steady.learn([np.repeat([0, 1, 0], 100)], 2)
    proba = np.array([[0.9, 0.1]] * 20 + [[0.4, 0.6]] + [[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20)
    ahead, all_rows = keep.forward(proba, keep.share), keep.both(proba)
    assert ahead[20].argmax() == 0
    assert ahead[45:].argmax(axis=1).tolist() == all_rows[45:].argmax(axis=1).tolist() == [1] * 16
    assert all_rows[41].argmax() == 1 > ahead[41].argmax()
    np.testing.assert_allclose(all_rows.sum(axis=1), 1)
    assert steady.chosen(keep, [proba], [np.full(61, -1)], both=False).power[0] == 1


# --- the laws -----------------------------------------------------------------------------------------------------


def test_single_readings_say_what_the_whole_says_to_the_bit(tagger: tg.Tagger) -> None:
    X, _ = turns(80, seed=3)
    X[5:8, 0] = X[20] = np.nan
    whole, state = tagger.apply(X), tagger.start()
    for i, row in enumerate(X):
        tag, state = tagger.step(row, state)
        assert (tag.label, tag.raw) == (whole.label[i], whole.raw[i])
        assert list(tag.proba.values()) == whole.proba[i].tolist()
    assert tag == whole.row()
    assert isinstance(tag, Tag)
    assert {n: a.tobytes() for n, a in state.arrays.items()} == {n: a.tobytes() for n, a in whole.state.arrays.items()}


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm"])
def test_pieces_are_the_whole_for_values_and_two_layers_too(cell: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 2))
    net = tg.Network(cell=cell, layers=2, hidden=5, dropout=0.2)
    task = tg.Tagger(target="value", network=net, training=SMALL["training"]).fit(x, x[:, 0])
    whole, first = task.apply(x), task.apply(x[:100])
    second = task.apply(x[100:101], first.state)
    third = task.apply(x[101:], second.state)
    np.testing.assert_array_equal(np.concatenate([p.value for p in (first, second, third)]), whole.value)


@pytest.mark.parametrize("direction", ["past", "both"])
def test_neither_padding_nor_other_sequences_change_an_answer(direction: str) -> None:
    X, y = lists()
    padded = np.full((len(X), 100, 2), np.nan)
    beside = np.full((len(X), 100), np.nan)
    for row, one, label, to in zip(padded, X, y, beside, strict=True):
        row[: len(one)], to[: len(one)] = one, label
    task = tg.Tagger(direction=direction, smooth=True, **SMALL).fit(X, y)
    again = tg.Tagger(direction=direction, smooth=True, **SMALL).fit(padded, beside)
    assert task.errors_ == again.errors_
    for one, other, alone in zip(task.apply(X), again.apply(padded), map(task.apply, X), strict=True):
        np.testing.assert_array_equal(one.proba, other.proba)
        np.testing.assert_array_equal(one.proba, alone.proba)
    assert task.score(X, y) == again.score(padded, beside)


def test_the_future_never_changes_a_causal_answer_and_does_change_the_other(tagger: tg.Tagger, both: tg.Tagger) -> None:
    X, _ = turns(60, seed=3)
    changed = X.copy()
    changed[40:] += 3
    np.testing.assert_array_equal(tagger.apply(X).proba[:40], tagger.apply(changed).proba[:40])
    assert (both.apply(X).proba[:40] != both.apply(changed).proba[:40]).any()
    earlier = X.copy()
    earlier[:5] += 3
    assert (tagger.apply(X).proba[10] != tagger.apply(earlier).proba[10]).any()


def test_what_was_saved_answers_as_what_was_not(both: tg.Tagger, tmp_path: Path) -> None:
    X, _ = turns(60, seed=3)
    both.save(tmp_path / "m")
    again = tg.load(tmp_path / "m", tg.Tagger)
    np.testing.assert_array_equal(again.apply(X).proba, both.apply(X).proba)
    assert vars(again).keys() == vars(both).keys()
    value = tg.Tagger(target="value", **SMALL).fit(np.tile(X, (2, 1)), np.tile(X, (2, 1)))
    value.save(tmp_path / "v")
    np.testing.assert_array_equal(tg.load(tmp_path / "v").apply(X).value, value.apply(X).value)


def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    X, y = turns(300)

    def stop(epoch: Any) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        tg.Tagger(**SMALL).fit(X, y, checkpoint=tmp_path / "c", on_epoch=stop)
    again = tg.Tagger(**SMALL).fit(X, y, checkpoint=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(again.apply(X).proba, tg.Tagger(**SMALL).fit(X, y).apply(X).proba)


def test_a_long_hole_ends_memory_and_is_noted(tagger: tg.Tagger, both: tg.Tagger) -> None:
    X, y = turns(400, seed=3)
    times = np.arange(400) * SECOND
    times[250:] += 1000 * SECOND
    series = check(X, times, labels=y)
    task = tg.Tagger(smooth=True, **SMALL).fit(series)
    found = task.apply(series)
    assert found.notes == ("memory began anew 1 time(s), after holes of more than 90 intervals",)
    np.testing.assert_array_equal(found.proba[250:], task.apply(series[250:]).proba)
    two = tg.Tagger(direction="both", **SMALL).fit(series)
    np.testing.assert_array_equal(two.apply(series).proba[250:], two.apply(series[250:]).proba)


# --- what may stand beside a step ---------------------------------------------------------------------------------


def test_labels_may_be_texts_numbers_or_truth_values_and_be_missing() -> None:
    for given, kind in (
        (["b", None, "a"], "U"), ([1, 2, 1], "i"), ([True, False, True], "b"), ([0.0, np.nan, 2.0], "i"),
        ([0.5, np.nan, 2.0], "f"),
    ):  # fmt: skip
        names, numbers = marked.classes([np.array(given, dtype=object), np.array(given, dtype=object)])
        assert names.dtype.kind == kind
        assert [-1 if v is None or v != v else names.tolist().index(v) for v in given] == numbers[1].tolist()


def test_missing_labels_are_neither_learned_nor_scored() -> None:
    X, y = turns(600)
    holes = y.astype(object)
    holes[100:300] = None
    wrong = holes.copy()
    wrong[100:300] = None
    task = tg.Tagger(**SMALL).fit(X, holes)
    assert task.classes_.tolist() == [0, 1]
    assert task.score(X, wrong) == (task.predict(X) == y)[np.r_[:100, 300:600]].mean()
    value = tg.Tagger(target="value", **SMALL).fit(X, np.where(np.arange(600) % 3, X[:, 0], np.nan))
    assert np.isfinite(value.apply(X).value).all()
    assert np.isfinite(value.errors_["tagger"]["RMSE"])


def test_a_column_of_a_frame_may_hold_the_labels() -> None:
    import polars as pl

    X, y = turns(200)
    frame = pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "state": [f"s{i}" for i in y]})
    series = tg.read(frame, labels="state")
    task = tg.Tagger(**SMALL).fit(series)
    assert task.classes_.tolist() == ["s0", "s1"]
    assert task.apply(series).to_frame().columns == ["time", "label", "raw", "p(s0)", "p(s1)"]
    assert set(task.step({"a": 0.1, "b": None}, task.start())[0].proba) == {"s0", "s1"}


def test_what_cannot_be_learned_is_refused_in_words() -> None:
    X, y = turns(200)
    for match, call in (
        ("no labels", lambda: tg.Tagger().fit(X)),
        ("one class only", lambda: tg.Tagger().fit(X, np.zeros(200, int))),
        ("no label at all", lambda: tg.Tagger().fit(X, [None] * 200)),
        ("labels of shape", lambda: tg.Tagger().fit(X, y[:-1])),
        ("labels for 2 sequences", lambda: tg.Tagger().fit([X, X, X], [y, y])),
        ("labels of type float, str", lambda: tg.Tagger().fit(X, np.array([*map(str, y[:-1]), 0.5], dtype=object))),
        ("targets of type", lambda: tg.Tagger(target="value").fit(X, np.array(["a"] * 200))),
        ("a target that is infinite", lambda: tg.Tagger(target="value").fit(X, np.full(200, np.inf))),
        ("no value is known", lambda: tg.Tagger(target="value").fit(X, np.full(200, np.nan))),
        ("20 rows", lambda: tg.Tagger().fit(X[:20], y[:20])),
        ("one class only, or none", lambda: tg.Tagger().fit(X, (np.arange(200) > 170))),
        ("not a single reading", lambda: tg.Tagger().fit(np.full((3, 20, 1), np.nan), np.zeros((3, 20)))),
    ):
        with pytest.raises(tg.DataError, match=match):
            call()
    for match, task in (
        ("target is 'both'", tg.Tagger(target="both")),
        ("direction is 'up'", tg.Tagger(direction="up")),
        ("labels are smoothed", tg.Tagger(target="value", smooth=True)),
        ("held_out is 1", tg.Tagger(held_out=1)),
    ):
        with pytest.raises(tg.SettingError, match=match):
            task.fit(X, y)


def test_rows_that_were_put_in_order_want_their_labels_in_the_table() -> None:
    import polars as pl

    frame = pl.DataFrame({"time": [f"2024-01-01 00:{i:02d}" for i in reversed(range(60))] * 1, "a": np.arange(60.0)})
    with pytest.raises(tg.DataError, match="put in the order of their times, y was not"):
        tg.Tagger().fit(frame, np.arange(60) % 2)


def test_a_stream_and_a_state_are_for_the_causal_form_and_for_one_sequence(both: tg.Tagger, tagger: tg.Tagger) -> None:
    with pytest.raises(tg.SettingError, match="needs what comes after"):
        both.start()
    with pytest.raises(tg.SettingError, match="a state for many sequences"):
        tagger.apply([turns(30)[0]], tagger.start())
    with pytest.raises(tg.SettingError, match="probabilities with"):
        tg.Tagger(target="value", **SMALL).fit(*turns(200)).predict_proba(turns(20)[0])
    _, state = tagger.step([0, 0], tagger.start(), time=5)
    with pytest.raises(tg.DataError, match="after one of"):
        tagger.step([0, 0], state, time=5)


def test_the_tags_of_scikit_learn_say_what_it_is() -> None:
    utils = pytest.importorskip("sklearn.utils")
    assert utils.get_tags(tg.Tagger()).estimator_type == "classifier"
    assert utils.get_tags(tg.Tagger(target="value")).estimator_type == "regressor"


def test_the_network_is_the_same_in_torch_with_padding_and_with_the_model_axis() -> None:
    import torch

    for direction in ("past", "both"):
        form = steps.Form(channels=1, outputs=2, net=tg.Network(hidden=3, layers=2), direction=direction)  # type: ignore[arg-type]
        from tidegate import network

        weights = network.init(steps.shapes(form), np.random.default_rng(0))
        x = np.random.default_rng(1).standard_normal((4, 7, 2)).astype(np.float32)
        lengths = np.array([7, 3, 5, 1])
        ours = steps.forward(weights, form, x, lengths)
        theirs = steps.forward(
            {n: torch.tensor(w)[None] for n, w in weights.items()}, form, torch.tensor(x)[None],
            torch.tensor(lengths)[None],
        )[0]  # fmt: skip
        for i, n in enumerate(lengths):
            np.testing.assert_allclose(ours[i, :n], theirs[i, :n], atol=1e-6)
            alone = steps.forward(weights, form, x[i : i + 1, :n], lengths[i : i + 1])
            np.testing.assert_array_equal(alone[0], ours[i, :n])


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_tanh", "rnn_relu"])
def test_training_begins_at_the_linear_map_of_each_row(cell: Any) -> None:
    from tidegate import network

    rng = np.random.default_rng(0)
    plain = rng.standard_normal((5, 2))
    for layers, direction in ((1, "past"), (2, "both")):
        net = tg.Network(cell=cell, layers=layers, hidden=8)
        form = steps.Form(channels=2, outputs=2, net=net, direction=direction)  # type: ignore[arg-type]
        weights = steps.begun(network.init(steps.shapes(form), rng), form, plain)
        x = 0.5 * rng.standard_normal((1, 9, 4)).astype(np.float32)
        said = steps.forward(weights, form, x, np.array([9]))
        np.testing.assert_allclose(said, x @ plain[:-1] + plain[-1], atol=0.25)
    few = steps.Form(channels=2, outputs=5, net=tg.Network(hidden=8), direction="past")
    first = network.init(steps.shapes(few), rng)
    assert all((w == first[n]).all() for n, w in steps.begun(first, few, rng.standard_normal((5, 5))).items())


def test_f1_counts_classes_that_are_named_though_none_is_there() -> None:
    """As scikit-learn's macro average: the same figure after `fit` and in `evaluate`."""
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, said = np.zeros(10, np.int64), np.array([0] * 8 + [1, 1])
    found = marking.labelled(truth, said, 3)["1 - F1"]
    assert 1 - found == pytest.approx(sklearn.f1_score(truth, said, average="macro", zero_division=0))
