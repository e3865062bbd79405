"""The fit loop on a problem small enough to know the answer: a line through points."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tidegate import save, train
from tidegate.errors import DataError, MissingExtraError, ModelFileError, SettingError
from tidegate.settings import Training
from tidegate.train import Fit, Problem

torch = pytest.importorskip("torch")

PLAIN = Training(epochs=6, batches=4, batch=8, learning_rate=0.1, weight_decay=0.0, patience=6)


def line(*, spoiled: int = 10**9, identity: str = "line") -> Problem:
    """Find slope 2 and offset -1; from the `spoiled`-th validation on, the loss only gets worse."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal(100), dtype=torch.float32)
    judged = [0]

    def loss(params: Any, rows: Any, noise: Any) -> Any:
        at = x[torch.as_tensor(rows)]
        wobble = 0 if noise is None else 0.01 * torch.randn(len(rows), generator=noise)
        total = ((params["slope"] * (at + wobble) + params["offset"] - (2 * at - 1)) ** 2).mean()
        if noise is None:
            judged[0] += 1
            total = total + max(0, judged[0] - spoiled) * 100.0
        return total

    first = {"slope": np.zeros(1, np.float32), "offset": np.zeros(1, np.float32)}
    return Problem(first, np.arange(80), np.arange(80, 100), loss, identity)


def run(problem: Problem | None = None, settings: Training = PLAIN, seed: int = 0, **how: Any) -> Fit:
    """Train to the end."""
    found = Fit({})
    for _ in train.fit(problem or line(), settings, found, seed=seed, **how):
        pass
    return found


def same(first: Fit, second: Fit) -> bool:
    """Equal in every bit, apart from how long it took."""
    records = [
        [(e.epoch, e.train_loss, e.valid_loss, e.learning_rate, e.best) for e in f.history] for f in (first, second)
    ]
    return records[0] == records[1] and all(
        first.weights[n].tobytes() == second.weights[n].tobytes() for n in first.weights
    )


def test_it_learns_the_line() -> None:
    found = run(settings=Training(epochs=30, batches=10, learning_rate=0.1, weight_decay=0.0))
    assert abs(found.weights["slope"][0] - 2) < 0.05
    assert abs(found.weights["offset"][0] + 1) < 0.05


def test_the_same_seed_gives_the_same_bits_and_another_others() -> None:
    assert same(run(), run())
    assert not same(run(), run(seed=1))


def test_the_first_weights_stay_as_they_were() -> None:
    problem = line()
    run(problem)
    assert problem.weights["slope"].tolist() == [0.0]


def test_one_record_an_epoch_with_the_best_marked() -> None:
    found = run()
    assert [e.epoch for e in found.history] == list(range(6))
    lowest = math.inf
    for epoch in found.history:
        assert epoch.best == (epoch.valid_loss < lowest)
        lowest = min(lowest, epoch.valid_loss)


def test_training_stops_after_patience_and_keeps_the_best_weights() -> None:
    settings = Training(epochs=20, batches=4, batch=8, learning_rate=0.1, weight_decay=0.0, patience=3)
    found = run(line(spoiled=5), settings)
    assert len(found.history) == 5 + 3
    assert "no better validation loss for 3 epochs" in found.stopped
    assert "the best was epoch 4" in found.stopped
    seen: list[Any] = []
    for _ in train.fit(line(), settings, fresh := Fit({}), seed=0):
        seen.append({name: w.copy() for name, w in fresh.weights.items()})
    assert found.weights["slope"].tobytes() == seen[4]["slope"].tobytes() != seen[7]["slope"].tobytes()


def test_a_loss_that_is_no_number_is_refused_with_what_to_do() -> None:
    problem = line()
    problem.loss = lambda params, rows, noise: params["slope"].sum() * float("nan")
    with pytest.raises(DataError, match="the training loss became nan") as refused:
        run(problem)
    assert "learning_rate" in str(refused.value)


def test_a_gradient_is_clipped() -> None:
    steep = line()
    plain = steep.loss
    steep.loss = lambda params, rows, noise: 1e6 * plain(params, rows, noise)
    found = run(steep, Training(epochs=1, batches=1, learning_rate=0.1, weight_decay=0.0, clip=1e-9))
    # AdamW adds 1e-8 to the size of a gradient: one clipped to 1e-9 can move a weight by a tenth of the rate at most
    assert abs(found.weights["slope"][0]) < 0.1 * 0.1


@given(st.integers(1, 50), st.integers(1, 50), st.floats(1e-6, 1.0))
def test_the_learning_rate_rises_once_and_falls_to_almost_nothing(epochs: int, batches: int, top: float) -> None:
    settings = Training(epochs=epochs, batches=batches, learning_rate=top)
    rates = [train.learning_rate(settings, step) for step in range(epochs * batches)]
    peak = int(np.argmax(rates))
    assert all(0 < rate <= top * (1 + 1e-12) for rate in rates)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_number_of_threads_is_one_while_training_and_then_as_before() -> None:
    threads, problem, seen = torch.get_num_threads(), line(), []
    plain = problem.loss

    def loss(*args: Any) -> Any:
        seen.append(torch.get_num_threads())
        return plain(*args)

    problem.loss = loss
    torch.set_num_threads(2)
    try:
        run(problem)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_the_global_random_numbers_of_torch_and_numpy_are_left_alone() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(1).item()
    torch.manual_seed(7)
    run()
    assert torch.rand(1).item() == wanted


@pytest.mark.parametrize("moment", ["in a batch", "between epochs"])
def test_ctrl_c_keeps_the_best_so_far(moment: str) -> None:
    problem, calls = line(), [0]
    plain = problem.loss

    def interrupted(*args: Any) -> Any:
        calls[0] += 1
        if moment == "in a batch" and calls[0] == 13:  # 4 batches and a validation an epoch: in the third
            raise KeyboardInterrupt
        return plain(*args)

    def told(epoch: Any) -> None:
        if moment == "between epochs" and epoch.epoch == 1:
            raise KeyboardInterrupt

    problem.loss, found = interrupted, Fit({})
    train.watch(train.fit(problem, PLAIN, found, seed=0), found, told)
    assert len(found.history) == 2
    assert "interrupted after epoch 1" in found.stopped
    whole = Fit({})
    epochs = train.fit(line(), PLAIN, whole, seed=0)
    next(epochs), next(epochs)
    assert same(found, whole)


def test_ctrl_c_before_the_first_epoch_is_over_ends_the_program() -> None:
    problem = line()

    def loss(*args: Any) -> Any:
        raise KeyboardInterrupt

    problem.loss, found = loss, Fit({})
    escaped = False
    try:
        train.watch(train.fit(problem, PLAIN, found, seed=0), found, lambda epoch: None)
    except KeyboardInterrupt:
        escaped = True
    assert escaped


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, wanted in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert train.device("auto") == wanted
    assert train.device("cpu") == "cpu"


@pytest.mark.parametrize("wanted", ["abacus", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused(wanted: str) -> None:
    with pytest.raises(SettingError, match=f"device {wanted!r} cannot be used") as refused:
        train.device(wanted)
    assert "auto, cpu" in str(refused.value)


def test_without_torch_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tidegate\[train\]'"):
        train.device("auto")


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(7))
def test_a_run_resumed_after_any_epoch_has_the_bits_of_one_never_stopped(tmp_path: Path, after: int) -> None:
    path, first = tmp_path / "checkpoint", Fit({})
    epochs = train.fit(line(), PLAIN, first, seed=0, checkpoint=path)
    for _ in range(after):
        next(epochs)
    epochs.close()
    resumed = run(checkpoint=path, resume=True)
    assert same(resumed, run())
    assert save.open_file(path, "checkpoint").spec["history"][-1]["epoch"] == 5


def test_a_checkpoint_changes_nothing(tmp_path: Path) -> None:
    assert same(run(checkpoint=tmp_path / "checkpoint"), run())


def test_a_run_that_stopped_early_is_not_taken_up_again(tmp_path: Path) -> None:
    settings = Training(epochs=20, batches=4, batch=8, learning_rate=0.1, patience=2)
    first = run(line(spoiled=3), settings, checkpoint=tmp_path / "c")
    again = run(line(spoiled=3), settings, checkpoint=tmp_path / "c", resume=True)
    assert same(first, again)
    assert again.stopped == first.stopped != ""


def test_without_resume_a_checkpoint_that_is_there_is_not_read(tmp_path: Path) -> None:
    run(seed=5, checkpoint=tmp_path / "c")
    assert same(run(checkpoint=tmp_path / "c"), run())


def test_resuming_where_there_is_no_checkpoint_begins_at_the_beginning(tmp_path: Path) -> None:
    assert same(run(checkpoint=tmp_path / "c", resume=True), run())


def shifted() -> Problem:
    problem = line()
    problem.weights["slope"] = np.ones(1, np.float32)
    return problem


OTHERS = {
    "seed": {"seed": 1},
    "settings": {"settings": Training(epochs=7, batches=4, batch=8, learning_rate=0.1)},
    "problem": {"problem": line(identity="another line")},
    "weights": {"problem": shifted()},
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_naming_what_differs(tmp_path: Path, name: str) -> None:
    path = tmp_path / "c"
    run(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match=f"another run: {name} is") as refused:
        run(**{"checkpoint": path, "resume": True, **OTHERS[name]})
    assert str(path) in str(refused.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["model", "damaged"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c"
    run(checkpoint=path)
    if kind == "model":
        save.write(path, "model", {}, {})
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFileError):
        run(checkpoint=path, resume=True)


def test_a_checkpoint_without_the_arrays_of_this_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    run(checkpoint=path)
    spec = save.open_file(path).spec
    save.write(path, "checkpoint", spec, {"now/slope": np.zeros(1, np.float32)})
    with pytest.raises(ModelFileError, match="now/offset is missing"):
        run(checkpoint=path, resume=True)
