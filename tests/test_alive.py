"""A tagger that goes on learning: the answer first, everything learned in the state, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidegate as tg
from tidegate.online import Rule

SMALL: dict[str, Any] = {
    "network": tg.Network(hidden=8),
    "training": tg.Training(epochs=2, batches=4, batch=8, learning_rate=1e-2, noise=0.1),
}


def bits(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, count)


def cold(**given: Any) -> tg.Tagger:
    return tg.Tagger(target="value", network=tg.Network(hidden=12), **given).cold_start(channels=1)


def run(task: tg.Tagger, x: np.ndarray, y: np.ndarray, state: tg.State, **given: Any) -> tuple[np.ndarray, tg.State]:
    said = []
    for reading, wanted in zip(x, y, strict=True):
        tag, state = task.step([reading], state, learn=True, target=wanted, **given)
        said.append(tag.value["value"] if tag.value else tag.proba[1])
    return np.array(said), state


def same(one: tg.State, other: tg.State) -> bool:
    return {n: a.tobytes() for n, a in one.arrays.items()} == {n: a.tobytes() for n, a in other.arrays.items()}


@pytest.fixture(scope="module")
def fitted() -> tg.Tagger:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 1))
    return tg.Tagger(**SMALL).fit(x, (x[:, 0] > 0).astype(int))


@pytest.mark.parametrize("cell", ["gru", "lru"])
def test_from_nothing_it_learns_to_say_the_opposite_of_the_reading_before(cell: str) -> None:
    b = bits(1500)
    task = cold(cell=cell)
    said, _ = run(task, b[1:], 1 - b[:-1], task.start())
    assert (np.abs(said[-200:] - (1 - b[:-1])[-200:]) < 0.5).mean() > 0.98
    assert (np.abs(said[:20] - (1 - b[:-1])[:20]) < 0.5).mean() < 0.9


def test_labels_too() -> None:
    b = bits(1200)
    task = tg.Tagger(network=tg.Network(hidden=12)).cold_start(channels=["bit"], classes=["no", "yes"])
    state, right = task.start(), []
    for now, before in zip(b[1:], b[:-1], strict=True):
        tag, state = task.step({"bit": now}, state, learn=True, target=("no", "yes")[before])
        right.append(tag.label == ("no", "yes")[before])
        assert sum(tag.proba.values()) == pytest.approx(1)
    assert np.mean(right[-200:]) > 0.98


def test_the_answer_is_the_one_before_learning() -> None:
    task = cold()
    _, state = run(task, bits(50), bits(50, 1), task.start())
    before, _ = task.step([1], state.copy())
    learned, _ = task.step([1], state.copy(), learn=True, target=123.0)
    assert learned.value == before.value


@pytest.mark.parametrize("given", [{}, {"rule": Rule(every=4)}, {"rule": Rule(name="rtrl")}])
def test_a_restart_from_disk_goes_on_to_the_same_bits(tmp_path: Path, given: dict[str, Any]) -> None:
    task = tg.Tagger(target="value", network=tg.Network(hidden=6)).cold_start(channels=1, **given)
    x, y = bits(200), bits(200, 1)
    whole, end = run(task, x, y, task.start())
    first, state = run(task, x[:77], y[:77], task.start())
    task.save(tmp_path / "m")
    state.save(tmp_path / "s")
    again = tg.load(tmp_path / "m")
    second, other = run(again, x[77:], y[77:], again.load_state(tmp_path / "s"))
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert same(end, other)


def test_a_fitted_tagger_goes_on_from_its_weights_and_from_where_the_stream_stands(fitted: tg.Tagger) -> None:
    x = np.random.default_rng(1).standard_normal((60, 1))
    _, state = fitted.step(x[0], fitted.start())
    offline = fitted.apply(x[1:], state)
    tag, learning = fitted.step(x[1], state, learn=True)
    np.testing.assert_allclose(list(tag.proba.values()), offline.proba[0], atol=1e-5)
    for row in x[2:]:
        tag, learning = fitted.step(row, learning, learn=True)
    np.testing.assert_allclose(list(tag.proba.values()), offline.proba[-1], atol=1e-5)
    _, after = fitted.step(x[1], state, learn=True, target=0)
    assert after.arrays["online/counts"][1] == 1
    np.testing.assert_array_equal(fitted.apply(x[1:], state).proba, offline.proba)  # the model itself is what it was


def test_a_change_of_meaning_is_learned_and_becomes_the_model(fitted: tg.Tagger, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x, state = rng.standard_normal((1500, 1)), fitted.start()
    for row in x:
        target = int(row[0] < 0)  # the other way round from now on
        _, state = fitted.step(row, state, learn=Rule(), target=target)
    fresh = rng.standard_normal((300, 1))
    fitted.save(tmp_path / "m", state=state)
    learned = tg.load(tmp_path / "m")
    assert (
        learned.score(fresh, (fresh[:, 0] < 0).astype(int)) > 0.9 > fitted.score(fresh, (fresh[:, 0] < 0).astype(int))
    )
    assert learned.notes_[-1].startswith("learned on from 1,500 of 1,500 readings of a stream")
    assert any(note.endswith("of the model before it learned on") for note in learned.notes_)
    assert learned.verdict_ == f"{fitted.verdict_} (before it learned on)"
    on = fitted.apply(fresh, state.copy())
    np.testing.assert_allclose(on.proba[20:], learned.apply(fresh).proba[20:], atol=1e-4)


def test_without_learning_a_state_that_has_learned_gives_whole_and_pieces_the_same_bits() -> None:
    task, x = cold(), bits(60).astype(float)
    _, state = run(task, bits(100), bits(100, 1), task.start())
    before = state.copy()
    whole, first = task.apply(x, state), task.apply(x[:20], state)
    assert same(state, before)
    second = task.apply(x[20:], first.state)
    np.testing.assert_array_equal(np.concatenate([first.value, second.value]), whole.value)
    assert same(second.state, whole.state)
    said = []
    for reading in x:
        tag, state = task.step([reading], state)
        said.append(tag.value["value"])
    np.testing.assert_array_equal(said, whole.value[:, 0])
    assert same(state, whole.state)


@pytest.mark.parametrize("cell", ["gru", "lru", "lstm", "rnn_tanh"])
def test_what_a_cold_start_has_learned_is_a_model_that_runs_without_it(cell: str, tmp_path: Path) -> None:
    task, x = cold(cell=cell), bits(80).astype(float)
    if cell in ("lstm", "rnn_tanh"):
        net = tg.Network(cell=cell, hidden=12)  # type: ignore[arg-type]
        task = tg.Tagger(target="value", network=net).cold_start(channels=1)
    _, state = run(task, bits(600), 1 - bits(600), task.start())
    task.save(tmp_path / "m", state=state)
    again = tg.load(tmp_path / "m")
    np.testing.assert_allclose(again.apply(x).value[:, 0], 1 - x, atol=0.3)
    assert again.start().model != state.model
    _, other = run(again, bits(10), bits(10, 1), again.start())
    assert other.arrays["online/counts"][1] == 10


def test_labels_that_come_late_are_learned_by_the_id_of_the_reading() -> None:
    task, b = cold(), bits(400)
    state = task.start()
    for i, bit in enumerate(b):
        tag, state = task.step([bit], state, learn=True, id=f"r{i}")
        if i >= 5:
            state = task.late(state, f"r{i - 5}", 1 - b[i - 5])
    assert abs(tag.value["value"] - (1 - b[-1])) < 0.2
    with pytest.raises(tg.DataError, match="is not kept"):
        task.late(state, "r3", 1.0)


def test_a_hole_ends_memory_while_learning_too() -> None:
    task = cold()
    _, state = run(task, bits(50), bits(50, 1), task.start())
    at = int(state.arrays["clock"][0])
    far, _ = task.step([1], state.copy(), time=at + 1000 * 10**9, learn=True)
    near, _ = task.step([1], state.copy(), learn=True)
    assert far.value != near.value


def test_an_old_state_says_that_it_was_used_up() -> None:
    task = cold()
    _, state = run(task, bits(5), bits(5, 1), task.start())
    task.step([1], state, learn=True, target=1)
    with pytest.raises(tg.DataError, match="a later step has learned on"):
        task.step([1], state)


def test_what_cannot_be_learned_from_is_refused_in_words(fitted: tg.Tagger, tmp_path: Path) -> None:
    value, label = cold(), tg.Tagger().cold_start(channels=1, classes=["a", "b"])
    for match, call in (
        ("a target of 'x'", lambda: value.step([1], value.start(), learn=True, target="x")),
        ("a target of inf", lambda: value.step([1], value.start(), learn=True, target=np.inf)),
        ("2 targets", lambda: value.step([1], value.start(), learn=True, target=[1, 2])),
        ("a target of 'c'", lambda: label.step([1], label.start(), learn=True, target="c")),
        ("has not learned", lambda: fitted.late(fitted.start(), "a", 0)),
        ("one class only", lambda: tg.Tagger().cold_start(channels=1, classes=["a"])),
    ):
        with pytest.raises(tg.DataError, match=match):
            call()
    deep = tg.Tagger(network=tg.Network(hidden=4, layers=2))
    for match, call in (
        ("2 layers of 4 units, reading past", lambda: deep.cold_start(channels=1, classes=[0, 1])),
        ("reading both", lambda: tg.Tagger(direction="both").cold_start(channels=1, classes=[0, 1])),
        ("without learn=True", lambda: value.step([1], value.start(), target=1.0)),
        ("learn='yes'", lambda: value.step([1], value.start(), learn="yes")),  # type: ignore[arg-type]
        ("is the other tasks'", lambda: value.step([1], value.start(), learn=tg.Onward())),  # type: ignore[arg-type]
        ("one rule for one stream", lambda: value.step([1], value.start(), learn=Rule(every=2))),
        ("which learns online only", lambda: tg.Tagger(cell="lru").fit(np.zeros((100, 1)), bits(100))),
        ("smooth=True from nothing", lambda: tg.Tagger(smooth=True).cold_start(channels=1, classes=[0, 1])),
    ):
        with pytest.raises(tg.SettingError, match=match):
            call()
    with pytest.raises(tg.NotFittedError, match="started cold"):
        value.apply(np.zeros((3, 1)))
    state = value.start()
    state.arrays["online/rule"][:] = 32
    state.save(tmp_path / "s")
    with pytest.raises(tg.ModelFileError, match="without a rule"):
        value.load_state(tmp_path / "s")


def test_a_damaged_state_is_refused_by_name(tmp_path: Path) -> None:
    task = cold()
    _, state = run(task, bits(30), bits(30, 1), task.start())
    for name, at, value in (("counts", 0, -(2**62)), ("counts", 9, 99), ("loss", 4, np.nan)):
        bent = state.copy()
        bent.arrays[f"online/{name}"][at] = value
        if (name, at) == ("counts", 0):
            bent.arrays["online/read"][0] = value
        bent.save(tmp_path / "s")
        with pytest.raises(tg.ModelFileError, match=f"whose {name} cannot be"):
            task.load_state(tmp_path / "s")


def test_a_state_is_used_up_by_a_late_label_too() -> None:
    task = cold()
    _, old = run(task, bits(5), bits(5, 1), task.start())
    _, old = task.step([1], old, learn=True)
    new = task.late(old, 5, 1.0)
    with pytest.raises(tg.DataError, match="a later step has learned on"):
        task.step([1], old)
    task.step([1], new)


def test_what_is_refused_after_a_hole_leaves_the_state_as_it_was() -> None:
    task = cold()
    _, state = run(task, bits(20), bits(20, 1), task.start())
    kept, far = state.copy(), int(state.arrays["clock"][0]) + 1000 * 10**9
    for given in ({"target": np.inf}, {"target": 1.0, "id": 19}):
        with pytest.raises(tg.DataError):
            task.step([1], state, time=far, learn=True, **given)  # type: ignore[arg-type]
        assert same(state, kept)
    _, state = task.step([1], state, learn=True)
    _, state = task.step([1], state, time=far, learn=True)
    with pytest.raises(tg.DataError, match="before a hole"):
        task.late(state, 20, 1.0)


def test_a_reading_is_learned_from_once() -> None:
    task = cold()
    _, state = run(task, bits(5), bits(5, 1), task.start())
    _, state = task.step([1], state, learn=True, id="six")
    state = task.late(state, "six", 1.0)
    for again in ("six", 3):
        with pytest.raises(tg.DataError, match="second label for reading"):
            task.late(state, again, 1.0)
    with pytest.raises(tg.DataError, match="an earlier one has"):
        task.step([1], state, learn=True, id="six")
    assert state.learned == 6


def test_a_fitted_tagger_that_learns_on_does_not_come_to_say_what_was_said_last(tmp_path: Path) -> None:
    """Labels that stay for hundreds of rows would teach a quick learner to repeat them."""
    rng = np.random.default_rng(0)
    room = np.repeat(rng.random(24) < 0.5, 150).astype(int)
    x = np.column_stack([room + 0.5 * rng.standard_normal(len(room)), rng.standard_normal(len(room))])
    task = tg.Tagger(training=tg.Training(epochs=6, batches=20, learning_rate=1e-2), seed=0).fit(x[:1800], room[:1800])
    state = task.start()
    for row, label in zip(x[1800:2400], room[1800:2400], strict=True):
        _, state = task.step(row, state, learn=True, target=int(label))
    task.save(tmp_path / "m", state=state)
    assert tg.load(tmp_path / "m", tg.Tagger).score(x[2400:], room[2400:]) > task.score(x[2400:], room[2400:]) - 0.02


def test_only_learning_moves_weights() -> None:
    task = tg.Tagger(target="value", network=tg.Network(hidden=6)).cold_start(channels=1, rule=Rule(every=16))
    _, state = run(task, bits(10), bits(10, 1), task.start())
    weights = state.arrays["online/weights"].copy()
    after = task.apply(bits(30).astype(float), state).state
    for _ in range(30):
        _, state = task.step([1], state)
    for found in (after, state):
        np.testing.assert_array_equal(found.arrays["online/weights"], weights)
        assert found.arrays["online/counts"][3] == 10
    _, state = task.step([1], state, learn=True)
    assert state.arrays["online/counts"][2:4].tolist() == [0, 0]  # ten readings, too long ago


def test_a_channel_that_only_rounds_tells_nothing_before_and_after_it_is_saved(tmp_path: Path) -> None:
    task = tg.Tagger(target="value", network=tg.Network(hidden=6)).cold_start(channels=2)
    x = np.column_stack([bits(300).astype(float), 1e9 + 1e-7 * bits(300, 2)])
    state = task.start()
    for row, wanted in zip(x, bits(300, 1), strict=True):
        _, state = task.step(row, state, learn=True, target=wanted)
    task.save(tmp_path / "m", state=state)
    again = tg.load(tmp_path / "m")
    flat = np.column_stack([x[:, 0], np.full(300, 1e9)])
    np.testing.assert_array_equal(again.apply(x).value, again.apply(flat).value)


def test_a_state_says_whether_it_learned() -> None:
    value = tg.Tagger(target="value", seed=0).cold_start(channels=1)
    label = tg.Tagger(seed=0).cold_start(channels=1, classes=["a", "b"])
    for task, known in ((value, 1.0), (label, "a")):
        state, counted = task.start(), []
        for target in (None, known, float("nan"), np.float32("nan"), known):
            _, state = task.step([1.0], state, learn=True, target=target)
            counted.append(state.learned)
        assert (task.start().learned, counted) == (0, [0, 1, 1, 1, 2])


def test_a_tag_says_that_memory_began_anew_and_that_the_data_changed() -> None:
    task, rng = tg.Tagger(target="value", seed=0).cold_start(channels=1, interval="1s"), np.random.default_rng(0)
    state, said = task.start(), []
    for n, bit in enumerate(rng.integers(0, 2, 1500).tolist()):
        tag, state = task.step([bit], state, learn=True, target=1 - bit if n < 1000 else 5 * bit)
        said.append(tag.notes)
    assert not any(said[:1000])
    told = [n for n, notes in enumerate(said) if notes]
    assert len(told) >= 1 and said[told[0]] == ("the data changed: errors grew and stayed",)
    late, _ = task.step([1], state, learn=True, target=0, time=10**9 * 100_000)
    assert late.notes[0].startswith("memory began anew after 1.1")
    assert late.notes[0].endswith("; the model knows one every 1 s")
