"""tune=True: picks by validation, says what it tried, and costs nobody else a bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import tidegate as tg
from tidegate import synth, train, tuning
from tidegate.settings import Network, Training
from tidegate.tasks import TASKS

QUICK = Training(epochs=3, batches=3, batch=4)
NETWORK = Network(hidden=4)
OWN: dict[str, dict[str, Any]] = {
    "anomaly": {"window": tg.Window(length=32, valid=0.2)},  # by default it validates only long histories
    "forecast": {"horizon": 4, "lookback": 16},
}


def task(name: str, **given: Any) -> Any:
    return TASKS[name]()(**{"network": NETWORK, "training": QUICK, "seed": 3, **OWN.get(name, {}), **given})


def learn(task: Any, name: str, **given: Any) -> Any:
    if name == "classify":
        return task.fit(*synth.spikes(120, seed=0), **given)
    if name == "tag":
        series = synth.machine(rows=2000, channels=2, seed=0)
        return task.fit(series, series.values[:, 0] > np.median(series.values[:, 0]), **given)
    return task.fit(synth.machine(rows=2000, channels=2, seed=0), **given)


def weights(task: Any) -> dict[str, bytes]:
    return {name: w.tobytes() for name, w in task.model_.weights.items()}


SWEPT = ("anomaly", "forecast", "complete", "classify", "tag")


@pytest.fixture(scope="module", params=SWEPT)
def swept(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, learn(task(request.param), request.param, tune=True)


def test_three_widths_at_three_rates_are_tried_and_the_best_by_validation_is_kept(swept: tuple[str, Any]) -> None:
    _, found = swept
    rate = QUICK.learning_rate
    tried = [(one.hidden, round(one.learning_rate / rate, 3)) for one in found.tried_]
    assert tried == [(hidden, factor) for hidden in (4, 2, 8) for factor in (1.0, 0.333, 3.0)]
    best = min(found.tried_, key=lambda one: one.valid_loss)
    assert [one for one in found.tried_ if one.chosen] == [best]
    assert min(epoch.loss for epoch in found.history_) == pytest.approx(best.valid_loss, rel=0.2)  # mean of 5 models
    assert all(one.epochs == 3 for one in found.tried_)
    said = [note for note in found.notes_ if note.startswith("tune:")]
    assert len(said) == 1 and f"{best.hidden} units at a learning rate of {best.learning_rate:.3g}" in said[0]


def test_what_is_kept_is_what_that_setting_gives_by_itself(swept: tuple[str, Any]) -> None:
    name, found = swept
    best = next(one for one in found.tried_ if one.chosen)
    training = msgspec.structs.replace(QUICK, learning_rate=best.learning_rate)
    alone = learn(task(name, network=Network(hidden=best.hidden), training=training), name)
    assert alone.model_.weights.keys() == found.model_.weights.keys()
    for key, w in alone.model_.weights.items():  # torch's products may round otherwise beside others (decisions/0005)
        np.testing.assert_allclose(found.model_.weights[key], w, rtol=1e-4, atol=1e-5)
    assert alone.tried_ == []


def test_the_same_seed_gives_the_same_model_and_the_file_has_what_was_tried(
    swept: tuple[str, Any], tmp_path: Path
) -> None:
    name, found = swept
    again = learn(task(name), name, tune=True)
    assert weights(again) == weights(found) and again.tried_ == found.tried_
    found.save(tmp_path / "model")
    loaded = tg.load(tmp_path / "model")
    assert loaded.tried_ == found.tried_ and loaded.get_params() == found.get_params()


def test_a_sweep_that_was_killed_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    told: list[int] = []

    def kill(epoch: Any) -> None:
        told.append(epoch.epoch)
        if len(told) == 5:
            raise Killed

    whole, path = learn(task("complete"), "complete", tune=True), tmp_path / "sweep"
    with pytest.raises(Killed):
        learn(task("complete"), "complete", tune=True, checkpoint=path, on_epoch=kill)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sweep.2x3", "sweep.4x3"]
    again = learn(task("complete"), "complete", tune=True, checkpoint=path, resume=True, on_epoch=kill)
    assert weights(again) == weights(whole) and again.tried_ == whole.tried_
    assert len(told) == 5 + 4, "what was trained is not trained again"


def test_interrupted_it_picks_from_what_it_has() -> None:
    def interrupt(epoch: Any) -> None:
        told.append(epoch.epoch)
        if len(told) == 4:
            raise KeyboardInterrupt

    told: list[int] = []
    found = learn(task("complete"), "complete", tune=True, on_epoch=interrupt)
    assert [(one.hidden, one.epochs) for one in found.tried_] == [(4, 3)] * 3 + [(2, 1)] * 3


def test_without_rows_to_choose_by_it_trains_as_usual_and_says_so() -> None:
    series = synth.machine(rows=400, channels=2, seed=0)  # too short for the detector to validate
    found, usual = (task("anomaly").fit(series, tune=tune) for tune in (True, False))
    assert found.tried_ == [] and weights(found) == weights(usual)
    assert any("too little history to choose" in note for note in found.notes_)


# --- the sweep itself -----------------------------------------------------------------------------------------------


def line(net: Network, device: str = "cpu", *, limit: float = np.inf) -> train.Problem:
    """A slope of 3; above a limit the loss is no number."""
    torch = train.torch_or_error()
    x = torch.linspace(-1, 1, 100)

    def loss(params: Any, rows: Any, noise: Any) -> Any:
        slope = params["slope"].sum()
        return ((slope * x[rows] - 3 * x[rows]) ** 2).mean() + torch.where(slope > limit, np.nan, 0.0)

    rows = np.arange(100)
    return train.Problem({"slope": np.zeros(net.hidden, np.float32)}, rows[:80], rows[80:], loss, "a slope")


def test_a_rate_that_is_too_fast_is_left_out_and_the_others_go_on() -> None:
    swept = task("complete")
    training = Training(epochs=4, batches=5, learning_rate=0.01)
    found = tuning.learn(swept, lambda net, device: line(net, limit=1.0), NETWORK, training, tune=True)
    lost = [(one.hidden, one.learning_rate) for one in found.tried if one.valid_loss is None]
    assert lost and all(rate == pytest.approx(0.03) for _, rate in lost)
    assert len(found.tried) == 9
    kept = next(one for one in found.tried if one.chosen)
    alone = train.Fit({})
    own = msgspec.structs.replace(training, learning_rate=kept.learning_rate)
    for _ in train.fit(line(Network(hidden=kept.hidden)), own, alone, seed=3):
        pass
    assert alone.weights["slope"].tobytes() == found.run.weights["slope"].tobytes()
    with pytest.raises(tg.DataError, match="became nan"):
        tuning.learn(swept, lambda net, device: line(net, limit=-1.0), NETWORK, training, tune=True)


def test_models_that_a_problem_has_already_are_chosen_together() -> None:
    one, count = line(NETWORK), 3

    def loss(params: Any, rows: Any, noise: Any) -> Any:
        losses = [one.loss({"slope": params["slope"][i]}, row, None) for i, row in enumerate(rows)]
        return train.torch_or_error().stack(losses)

    def make(net: Network, device: str) -> train.Problem:
        rows = [np.arange(80)] * count
        first = {"slope": np.zeros((count, net.hidden), np.float32)}
        valid = [np.arange(80, 90 + m) for m in range(count)]
        return replace(one, weights=first, train_rows=rows, valid_rows=valid, loss=loss, models=range(count))

    training = Training(epochs=3, batches=4, learning_rate=0.05)
    found = tuning.learn(task("complete"), make, NETWORK, training, tune=True)
    assert len(found.run.histories) == count and found.run.weights["slope"].shape == (count, found.net.hidden)
    best = [min(e.loss for e in history) for history in found.run.histories]
    assert next(t.valid_loss for t in found.tried if t.chosen) == pytest.approx(np.mean(best))
