"""The fit loop on a problem small enough to know the answer: a line through points."""

from __future__ import annotations

import dataclasses
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
    assert "the best was epoch 5" in found.stopped
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
    assert "interrupted after epoch 2" in found.stopped
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
    assert save.open_file(path, "checkpoint").spec["epochs"] == 6


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
    with pytest.raises(ModelFileError, match=f"another run: {train.IDENTITY.get(name, name)} is") as refused:
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


def test_a_checkpoint_of_an_earlier_version_is_refused_saying_so(tmp_path: Path) -> None:
    path = tmp_path / "c"
    run(checkpoint=path)
    identity = save.open_file(path).spec["identity"]
    spec = {"identity": identity, "history": [], "stopped": "", "steps": 24}  # as it was before models had an axis
    save.write(path, "checkpoint", spec, {"now/slope": np.zeros(1, np.float32)})
    with pytest.raises(ModelFileError, match="a checkpoint of an earlier tidegate") as refused:
        run(checkpoint=path, resume=True)
    assert "start afresh without --resume" in str(refused.value)


# --- many models at once ----------------------------------------------------------------------------------------------


AGREES, SHORT, CONTRADICTS = np.arange(80, 100), np.arange(80, 93), np.arange(100, 120)  # what is validated on
LONG = Training(epochs=8, batches=4, batch=8, learning_rate=0.1, weight_decay=0.01, patience=3)


def lines(models: Any, *, spoiled: int = -1, sizes: list[int] | None = None, **how: Any) -> Problem:
    """A line for each model. Rows from 100 on tell the opposite: who validates there gets worse the more it learns.

    `spoiled`: the model whose loss is no number from the tenth batch on; `sizes`: gets how many models were computed.
    """
    rng, batches = np.random.default_rng(0), [0]
    x = torch.tensor(rng.standard_normal(120), dtype=torch.float32)
    y = (2 * x - 1) * torch.where(torch.arange(120) < 100, 1.0, -1.0)

    def loss(params: Any, rows: Any, noise: Any) -> Any:
        at, wanted = x[torch.as_tensor(rows)], y[torch.as_tensor(rows)]
        if noise is not None:
            at = at + 0.01 * torch.stack([torch.randn(rows.shape[1], generator=one) for one in noise])
            batches[0] += 1
            if sizes is not None:
                sizes.append(len(rows))
        told = ((params["slope"] * at + params["offset"] - wanted) ** 2).mean(1)
        wrong = torch.tensor([math.nan if m == spoiled and batches[0] > 9 else 1.0 for m in range(len(rows))])
        return told * wrong

    first = {name: np.stack([np.full(1, 0.01 * m, np.float32) for m in models]) for name in ("slope", "offset")}
    rows = {"train_rows": np.arange(80), "valid_rows": AGREES} | how
    return Problem(first, loss=loss, identity="lines", models=models, **rows)


def only(found: Fit, model: int) -> Fit:
    """One model of a run, as if it had been alone."""
    weights = {name: w[model : model + 1] for name, w in found.weights.items()}
    return Fit(weights, histories=[found.histories[model]], stops=[found.stops[model]])


MIXED: dict[str, Any] = {
    "train_rows": [np.arange(80), np.arange(40), np.arange(30, 80), np.arange(80)],
    "valid_rows": [AGREES, CONTRADICTS, SHORT, np.arange(0)],  # folds of several sizes, one of none
    "rates": (1.0, 0.5, 2.0, 0.1),
}


def part(model: int) -> dict[str, Any]:
    return {name: [given[model]] for name, given in MIXED.items()}


@pytest.mark.parametrize("model", range(4))
def test_a_model_beside_others_has_the_bits_of_the_same_model_alone(model: int) -> None:
    """Its own rows, rate, draws, best weights and end, though another stops after three epochs."""
    together = run(lines(range(4), **MIXED), LONG)
    assert len(together.histories[1]) == 4 < min(len(together.histories[m]) for m in (0, 2, 3))
    assert same(only(together, model), run(lines([model], **part(model)), LONG))
    assert [e.valid_loss is None for e in together.histories[model]].count(True) == (8 if model == 3 else 0)


def test_one_model_with_the_axis_has_the_bits_of_one_without() -> None:
    with_axis, plain = lines([0]), lines([0])
    plain.models, plain.weights = None, {name: w[0] for name, w in plain.weights.items()}

    def loss(params: Any, rows: Any, noise: Any) -> Any:
        lifted = {name: w[None] for name, w in params.items()}
        return with_axis.loss(lifted, rows[None], noise and [noise])[0]

    plain.loss = loss
    first, second = run(with_axis, LONG), run(plain, LONG)
    assert first.histories[0][0].train_loss == second.history[0].train_loss
    assert first.weights["slope"].shape == (1, 1)
    assert second.weights["slope"].shape == (1,)
    second.weights = {name: w[None] for name, w in second.weights.items()}
    assert same(first, second)


def test_a_model_that_has_stopped_costs_nothing_and_keeps_its_best_weights() -> None:
    sizes: list[int] = []
    found = run(lines(range(3), sizes=sizes, valid_rows=[AGREES, CONTRADICTS, AGREES]), LONG)
    assert sizes == 4 * 4 * [3] + 4 * 4 * [2]
    assert found.stops[0] == found.stops[2] == ""
    assert found.stops[1] == "no better validation loss for 3 epochs; the best was epoch 1"
    assert found.stopped == "network 2 of 3: no better validation loss for 3 epochs, the best was epoch 1"
    assert found.weights["slope"][1, 0] < 1 < found.weights["slope"][0, 0], "its weights are of later than its best"


def test_a_run_whose_models_all_stopped_is_over() -> None:
    found = run(lines(range(2), valid_rows=CONTRADICTS), LONG)
    assert [len(h) for h in found.histories] == [4, 4]
    assert len(found.history) == 4
    assert found.stopped.count("no better validation loss") == 2


def test_the_record_of_an_epoch_is_the_mean_over_the_models_that_trained() -> None:
    yielded = list(train.fit(lines(range(4), **MIXED), LONG, found := Fit({}), seed=0))
    assert yielded == found.history
    for epoch, told in enumerate(yielded):
        records = [h[epoch] for h in found.histories if epoch < len(h)]
        valid = [e.valid_loss for e in records if e.valid_loss is not None]
        assert (told.epoch, told.seconds) == (epoch, records[0].seconds)
        assert told.train_loss == pytest.approx(np.mean([e.train_loss for e in records]))
        assert told.valid_loss == pytest.approx(np.mean(valid))
        assert told.learning_rate == pytest.approx(np.mean([e.learning_rate for e in records]))
        assert told.best == any(e.best for e in records)


def test_each_model_has_its_rate_and_its_draws() -> None:
    found = run(lines(range(3), rates=(1.0, 0.5, 0.5)), PLAIN)
    rates = [[e.learning_rate for e in h] for h in found.histories]
    assert rates[1] == rates[2] == [0.5 * rate for rate in rates[0]]
    alike = lines(range(3))
    alike.weights = {name: np.zeros_like(w) for name, w in alike.weights.items()}
    assert len({h[0].train_loss for h in run(alike, PLAIN).histories}) == 3, "they drew the same batches"
    paired = run(lines([4, 4], rates=(1.0, 0.5)), PLAIN)
    twins = run(lines([4, 4]), PLAIN)
    assert paired.histories[0][0].train_loss == twins.histories[0][0].train_loss == twins.histories[1][0].train_loss


def test_the_validation_loss_is_the_mean_over_all_rows_whatever_the_parts() -> None:
    """Rows are judged 32 at a time: 20 and 45 of them make a part of 20, one of 32 and one of 13."""
    problem = lines(range(2), valid_rows=[AGREES, np.arange(55, 100)])
    found = run(problem, Training(epochs=1, batches=1, batch=8))
    for m, rows in enumerate(problem.valid_rows):
        params = {name: torch.tensor(w[m : m + 1]) for name, w in found.weights.items()}
        wanted = float(problem.loss(params, rows[None], None)[0])
        assert found.histories[m][0].valid_loss == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("spoiled", [0, 2])
def test_a_loss_that_is_no_number_names_its_model_and_keeps_the_others(spoiled: int) -> None:
    found = Fit({})
    with pytest.raises(DataError, match=f"the training loss of model {spoiled} became nan"):
        for _ in train.fit(lines(range(3), spoiled=spoiled), PLAIN, found, seed=0):
            pass
    whole = Fit({})
    epochs = train.fit(lines(range(3)), PLAIN, whole, seed=0)
    next(epochs), next(epochs)
    assert same(found, whole)
    assert len(found.history) == 2


@pytest.mark.parametrize("what", ["gradient", "validation loss"])
def test_whatever_else_is_no_number_is_refused_too(what: str) -> None:
    problem = lines(range(2))
    plain = problem.loss

    def loss(params: Any, rows: Any, noise: Any) -> Any:
        if noise is None and what == "validation loss":
            return plain(params, rows, noise) / torch.tensor([1.0, 0.0])
        away = (params["slope"][1] * 0).abs().sqrt()  # 0, whose slope is none
        return plain(params, rows, noise) + torch.cat(
            [torch.zeros(1), away] if what == "gradient" else [torch.zeros(2)]
        )

    problem.loss = loss
    with pytest.raises(DataError, match=f"the {what} of model 1 became (nan|inf)"):
        run(problem, PLAIN)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "rates": ({"rates": (1.0, 2.0)}, "rates for 2 models"),
    "no rate": ({"rates": (1.0, 0.0, 1.0)}, "rates of"),
    "rows": ({"train_rows": [np.arange(9)] * 2}, "train_rows for 2 models"),
    "valid": ({"valid_rows": [np.arange(9)] * 4}, "valid_rows for 4 models"),
    "weights": ({"weights": {"slope": np.zeros((2, 1), np.float32)}}, "weight slope for 2 models"),
    "no axis": ({"weights": {"slope": np.zeros((), np.float32)}}, "weight slope for 0 models"),
    "loss": ({"loss": lambda params, rows, noise: params["slope"].sum()}, r"a loss of shape \(\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_for_all_models_is_refused(name: str) -> None:
    problem, (changes, said) = lines(range(3)), WRONG[name]
    for field, value in changes.items():
        setattr(problem, field, value)
    with pytest.raises(DataError, match=said):
        run(problem, PLAIN)


@pytest.mark.parametrize("after", range(1, 9))
def test_many_models_resumed_after_any_epoch_have_the_bits_of_those_never_stopped(tmp_path: Path, after: int) -> None:
    path, problem = tmp_path / "checkpoint", lines(range(4), **MIXED)
    epochs = train.fit(problem, LONG, Fit({}), seed=0, checkpoint=path)
    for _ in range(after):
        next(epochs)
    epochs.close()
    sizes: list[int] = []
    resumed = run(lines(range(4), sizes=sizes, **MIXED), LONG, checkpoint=path, resume=True)
    all_sizes: list[int] = []
    whole = run(lines(range(4), sizes=all_sizes, **MIXED), LONG)
    for model in range(4):
        assert same(only(resumed, model), only(whole, model))
    assert resumed.stops == whole.stops
    assert sizes == all_sizes[4 * after :]


def test_models_that_all_stopped_are_not_taken_up_again(tmp_path: Path) -> None:
    path, problem = tmp_path / "c", lines(range(2), valid_rows=CONTRADICTS)
    first = run(problem, LONG, checkpoint=path)
    again = run(problem, LONG, checkpoint=path, resume=True)
    assert same(first, again)
    assert first.stops == again.stops
    assert all(first.stops)


@pytest.mark.parametrize(("name", "value"), [("models", range(1, 4)), ("rates", (1.0, 1.0, 2.0))])
def test_a_checkpoint_of_other_models_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    problem, path = lines(range(3)), tmp_path / "c"
    run(problem, PLAIN, checkpoint=path)
    setattr(problem, name, value)
    with pytest.raises(ModelFileError, match=f"another run: {train.IDENTITY[name]} is another"):
        run(problem, PLAIN, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"active": [0, 1, 7]},
        {"active": [2, 1, 0]},
        {"active": [0]},
        {"active": None},
        {"epochs": -1},
        {"epochs": 10**9},
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    problem, path = lines(range(3)), tmp_path / "c"
    run(problem, PLAIN, checkpoint=path)
    file = save.open_file(path)
    save.write(path, "checkpoint", {**file.spec, **changed}, file.arrays(file.table))
    with pytest.raises(ModelFileError):
        run(problem, PLAIN, checkpoint=path, resume=True)


def recurrent(models: Any) -> Problem:
    """Forecasts of a random walk by a small GRU for each model."""
    from tidegate import kernels, network
    from tidegate.settings import Network

    z = torch.tensor(np.random.default_rng(0).standard_normal((200, 3)).cumsum(0) / 9, dtype=torch.float32)
    shapes = network.stack_shapes(Network(hidden=3), 3)

    def loss(params: Any, rows: Any, noise: Any) -> Any:
        x = z[torch.as_tensor(rows)[..., None] + torch.arange(12)]
        h, _ = kernels.scan("gru", x, x.new_zeros(1, *x.shape[:2], 3), tuple(params.values()))
        return (h[:, :, :-1] - x[:, :, 1:]).square().mean((1, 2, 3))

    apart = [network.init(shapes, np.random.default_rng(m)) for m in models]
    first = {name: np.stack([one[name] for one in apart]) for name in shapes}
    return Problem(first, np.arange(150), np.arange(150, 180), loss, "walk", models)


def test_recurrent_models_at_once_learn_what_each_learns_alone() -> None:
    """To rounding: which sums torch splits, in the mean of a loss, is torch's affair."""
    together = run(recurrent(range(3)))
    for m in range(3):
        alone = run(recurrent([m]))
        for name, w in alone.weights.items():
            np.testing.assert_allclose(together.weights[name][m], w[0], rtol=1e-5, atol=1e-6)
        assert alone.history[-1].train_loss < alone.history[0].train_loss


def test_a_problem_that_cannot_be_is_refused_by_name() -> None:
    for change, message in (
        ({"models": 4}, "models=4"),
        ({"train_rows": np.arange(0)}, "no rows to train on"),
        ({"weights": {"slope": np.zeros(1), "offset": np.zeros(1, np.float32)}}, "weight slope of type float64"),
    ):
        with pytest.raises((DataError, SettingError), match=message):
            run(dataclasses.replace(line(), **change))  # type: ignore[arg-type]
