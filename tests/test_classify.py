"""The classifier: what its answers do not depend on, what a file keeps, and whether labels can be predicted at all."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tidegate as tg
from tidegate import chance, kernels
from tidegate.series import check
from tidegate.tasks import naming, whole
from tidegate.tasks.whole import CLASSIFYING

torch = pytest.importorskip("torch")

QUICK: dict[str, Any] = {
    "network": tg.Network(hidden=8),
    "training": tg.Training(epochs=4, batches=10, learning_rate=0.02, noise=0.1),
}


def ragged(rows: int = 90, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences of 20 to 40 steps and two channels, the second constant; three classes by their level; some missing."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    X = []
    for label in y:
        one = np.ones((int(rng.integers(20, 41)), 2))
        one[:, 0] = 2 * label + rng.standard_normal(len(one))
        one[rng.random(one.shape) < 0.1] = np.nan
        one[-1] = 1.0  # what is missing at the end would count as padding
        X.append(one)
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def learned() -> tg.Classifier:
    return tg.Classifier(**QUICK).fit(*ragged())


@pytest.fixture(scope="module")
def fresh() -> list[np.ndarray]:
    return ragged(20, seed=1)[0]


# --- the contract -----------------------------------------------------------------------------------------------------


def test_the_constructor_only_stores_and_repr_is_the_call() -> None:
    marks = {parameter: object() for parameter in inspect.signature(tg.Classifier).parameters}
    assert vars(tg.Classifier(**marks)) == marks
    names = {"Classifier": tg.Classifier, "Network": tg.Network, "Training": tg.Training}
    assert eval(repr(tg.Classifier(**QUICK)), names).get_params() == tg.Classifier(**QUICK).get_params()


def test_what_is_learned_ends_in_an_underscore(learned: tg.Classifier) -> None:
    names = vars(learned).keys() - inspect.signature(tg.Classifier).parameters.keys()
    assert names
    assert all(name.endswith("_") and not name.startswith("_") for name in names)


def test_before_fit_every_verb_says_so(fresh: list[np.ndarray], tmp_path: Path) -> None:
    task = tg.Classifier()
    for verb in (lambda: task.apply(fresh), lambda: task.predict_proba(fresh), lambda: task.save(tmp_path / "m")):
        with pytest.raises(tg.NotFittedError, match="learned nothing yet"):
            verb()


def test_it_tells_three_levels_apart_and_beats_its_baselines(learned: tg.Classifier) -> None:
    X, y = ragged(60, seed=2)
    assert learned.score(X, y) > 0.9
    assert learned.verdict_.better
    assert learned.verdict_.accuracy > learned.rivals_["largest class"]
    assert learned.confusion_.sum() == learned.verdict_.rows
    assert learned.confusion_.shape == (3, 3)


def test_what_a_report_shows_is_there_and_comes_from_rows_that_chose_nothing(learned: tg.Classifier) -> None:
    y = ragged()[1]
    judged = learned.judged_
    assert sorted(judged.rows) == sorted(np.concatenate(naming.parts(np.unique(y, return_inverse=True)[1], 0).judge))
    np.testing.assert_array_equal(learned.classes_[judged.truth], y[judged.rows])
    assert len(judged.right) == round(learned.verdict_.accuracy * learned.verdict_.rows)
    assert sorted([*judged.right, *judged.wrong]) == sorted(judged.rows)
    said, seen, rows = learned.reliability_.T
    assert (np.diff(said) >= 0).all()
    assert rows.sum() == len(judged.rows)
    assert rows @ seen == len(judged.right)
    assert len(learned.histories_) == len(learned.parted_) == naming.MODELS
    assert max(map(len, learned.histories_)) == len(learned.history_)


def test_a_sequence_has_the_same_bits_alone_as_beside_others_and_padded_as_not(
    learned: tg.Classifier, fresh: list[np.ndarray]
) -> None:
    proba = learned.apply(fresh).proba
    for i, one in enumerate(fresh):
        np.testing.assert_array_equal(learned.apply([one]).proba[0], proba[i])
    np.testing.assert_array_equal(learned.apply(fresh[::-1]).proba[::-1], proba)
    padded = np.full((len(fresh), 70, 2), np.nan)
    for row, one in zip(padded, fresh, strict=True):
        row[: len(one)] = one
    np.testing.assert_array_equal(learned.apply(padded).proba, proba)


def test_early_history_changes_a_label(learned: tg.Classifier) -> None:
    late = np.ones((30, 2))
    low, high = late.copy(), late.copy()
    low[:25, 0], high[:25, 0] = -1.0, 5.0
    assert learned.predict([low, high]).tolist() == ["a", "c"]


def test_missing_values_do_not_leak_and_the_input_is_not_changed(fresh: list[np.ndarray]) -> None:
    X, y = ragged(30)
    before = [one.copy() for one in X]
    task = tg.Classifier(**QUICK).fit(X, y)
    found = task.apply([*fresh, np.array([[np.nan, 1.0]])])
    assert np.isfinite(found.proba).all()
    np.testing.assert_allclose(found.proba.sum(axis=1), 1)
    for one, was in zip(X, before, strict=True):
        np.testing.assert_array_equal(one, was)


def test_the_same_seed_gives_the_same_numbers_and_another_others(
    learned: tg.Classifier, fresh: list[np.ndarray]
) -> None:
    again = tg.Classifier(**QUICK).fit(*ragged())
    np.testing.assert_array_equal(again.predict_proba(fresh), learned.predict_proba(fresh))
    other = tg.Classifier(seed=1, **QUICK).fit(*ragged())
    assert (other.predict_proba(fresh) != learned.predict_proba(fresh)).any()


def test_a_file_keeps_all_of_it(learned: tg.Classifier, fresh: list[np.ndarray], tmp_path: Path) -> None:
    learned.save(tmp_path / "model")
    again = tg.load(tmp_path / "model")
    assert repr(again) == repr(learned)
    assert vars(again).keys() == vars(learned).keys()
    assert (again.history_, again.notes_, again.verdict_) == (learned.history_, learned.notes_, learned.verdict_)
    assert (again.histories_, again.parted_) == (learned.histories_, learned.parted_)
    np.testing.assert_array_equal(again.confusion_, learned.confusion_)
    np.testing.assert_array_equal(again.reliability_, learned.reliability_)
    np.testing.assert_array_equal(again.judged_.wrong, learned.judged_.wrong)
    ours, theirs = again.apply(fresh), learned.apply(fresh)
    assert ours.to_frame().equals(theirs.to_frame())
    assert ours.label.dtype == theirs.label.dtype
    again.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "model").read_bytes()


@pytest.mark.parametrize("labels", [np.array([False, True]), np.array([3, 7]), np.array([0.5, 1.5])])
def test_labels_come_back_as_they_were(labels: np.ndarray, tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((20, 12))
    one = tg.Classifier(network=tg.Network(hidden=2), training=tg.Training(epochs=1, batches=1))
    one.fit(X, labels[np.arange(20) % 2]).save(tmp_path / "m")
    assert tg.load(tmp_path / "m").classes_.tolist() == labels.tolist()


def test_a_file_that_is_bent_is_refused(learned: tg.Classifier, tmp_path: Path) -> None:
    from tidegate import save

    learned.save(tmp_path / "model")
    file = save.open_file(tmp_path / "model")
    arrays = file.arrays(file.table)
    for name, changed in (
        ("network/head.weight", {**arrays, "network/head.weight": arrays["network/head.weight"][:2]}),
        ("network/head.bias", {n: a for n, a in arrays.items() if n != "network/head.bias"}),
    ):
        save.write(tmp_path / "bent", "model", file.spec, changed)
        with pytest.raises(tg.ModelFileError, match=re.escape(name)):
            tg.load(tmp_path / "bent")
    save.write(tmp_path / "bent", "model", {**file.spec, "temperature": 0.0}, arrays)
    with pytest.raises(tg.ModelFileError, match="contradicts itself"):
        tg.load(tmp_path / "bent")


def test_a_file_from_before_the_leak_answers_as_it_did(
    learned: tg.Classifier, fresh: list[np.ndarray], tmp_path: Path
) -> None:
    from tidegate import save

    learned.save(tmp_path / "model")
    file = save.open_file(tmp_path / "model")
    arrays = file.arrays(file.table)
    for name, form in (("before", {}), ("none", {"leak": 0.0}), ("bent", {"leak": 1.0})):
        kept = {key: value for key, value in file.spec["form"].items() if key != "leak"}
        save.write(tmp_path / name, "model", {**file.spec, "form": {**kept, **form}}, arrays)
    before, none = tg.load(tmp_path / "before").predict_proba(fresh), tg.load(tmp_path / "none").predict_proba(fresh)
    assert before.tobytes() == none.tobytes() != learned.predict_proba(fresh).tobytes()
    with pytest.raises(tg.TidegateError, match="leak"):
        tg.load(tmp_path / "bent")


def test_running_never_imports_torch(learned: tg.Classifier, tmp_path: Path) -> None:
    learned.save(tmp_path / "model")
    program = """
import sys, numpy as np, tidegate as tg
tg.load(sys.argv[1]).apply(np.ones((3, 20, 2)))
heavy = {"torch", "polars", "pandas", "sklearn", "plotly", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model")], check=True, timeout=120)


def test_a_killed_training_goes_on_with_the_same_bits(
    learned: tg.Classifier, fresh: list[np.ndarray], tmp_path: Path
) -> None:
    def stop(epoch: Any) -> None:
        if epoch.epoch == 1:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        tg.Classifier(**QUICK).fit(*ragged(), checkpoint=tmp_path / "c", on_epoch=stop)
    again = tg.Classifier(**QUICK).fit(*ragged(), checkpoint=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(again.predict_proba(fresh), learned.predict_proba(fresh))


# --- what may be given ------------------------------------------------------------------------------------------------


def test_arrays_lists_and_series_are_the_same_data(learned: tg.Classifier) -> None:
    values = np.random.default_rng(3).standard_normal((4, 25, 2))
    proba = learned.predict_proba(values)
    np.testing.assert_array_equal(learned.predict_proba(list(values)), proba)
    X, y = ragged()
    named = tg.Classifier(**QUICK).fit([check(one, None, ["flow", "heat"]) for one in X], y)
    assert named.channels_ == ("flow", "heat")
    swapped = [check(one[:, ::-1], None, ["heat", "flow"]) for one in values]
    np.testing.assert_array_equal(named.predict_proba(swapped), proba)


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (np.full((2, 5), np.inf), "infinity"),
        ([np.ones(5), np.full(5, np.nan)], "not a single reading"),
        ([np.ones((5, 2)), np.ones((5, 3))], "sequence 1 has 3 channels"),
        (np.ones((2, 2, 2, 2)), "of shape"),
        (np.array([["x"]]), "values of type"),
        ([], "no sequences"),
        (check(np.ones((5, 2))), "one series"),
    ],
)
def test_what_cannot_be_read_is_refused_and_named(learned: tg.Classifier, X: Any, said: str) -> None:
    with pytest.raises(tg.DataError, match=said):
        learned.apply(X)


def test_what_only_the_reader_can_be_told_is_not_asked_of_fit(tmp_path: Path) -> None:
    (tmp_path / "batches.csv").write_text("batch,kind,x\n" + "1,a,0.5\n" * 5 + "2,b,1.5\n" * 5)
    with pytest.raises(tg.DataError, match="no column that names the series") as error:
        tg.Classifier().fit(tmp_path / "batches.csv")
    assert 'id="...", where that can be said: tg.read_many(path, id=, labels=)' in error.value.do
    with pytest.raises(tg.DataError, match="cannot read it") as error:
        tg.Classifier().fit(tmp_path / "none.csv")
    assert "read_many" not in error.value.do


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.zeros(90, int), "one class only"),
        (np.zeros(3, int), "labels of shape"),
        (np.full(90, np.nan), "labels that are missing"),
        (np.array([None, "a"] * 45, dtype=object), "labels of type object"),
    ],
)
def test_labels_that_are_none_are_refused(y: np.ndarray, said: str) -> None:
    with pytest.raises(tg.DataError, match=said):
        tg.Classifier(**QUICK).fit(ragged()[0], y)


def test_other_channels_and_weights_are_refused(learned: tg.Classifier) -> None:
    with pytest.raises(tg.DataError, match="sequences of 3 channels"):
        learned.apply(np.ones((2, 10, 3)))
    with pytest.raises(tg.SettingError, match="class_weight is 'heavy'"):
        tg.Classifier(class_weight="heavy", **QUICK).fit(*ragged())


def test_balanced_weights_find_the_rare_class_more_often() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(300) % 10 == 0).astype(int)
    X = rng.standard_normal((300, 20)) + 0.3 * y[:, None]
    plain, balanced = (tg.Classifier(class_weight=w, **QUICK).fit(X, y).predict(X).sum() for w in (None, "balanced"))
    assert balanced > plain


# --- scikit-learn -----------------------------------------------------------------------------------------------------


def test_sklearn_clones_searches_and_cross_validates() -> None:
    base, selection = pytest.importorskip("sklearn.base"), pytest.importorskip("sklearn.model_selection")
    X, y = tg.synth.spikes(60, 20, seed=0)
    task = tg.Classifier(network=tg.Network(hidden=4), training=tg.Training(epochs=1, batches=2))
    assert base.is_classifier(task)
    assert base.clone(task.set_params(seed=3)).get_params() == task.get_params()
    assert selection.cross_val_score(task, X, y, cv=2, error_score="raise").shape == (2,)
    search = selection.GridSearchCV(task, {"seed": [0, 1]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.predict(X).shape == (60,)
    with pytest.raises(tg.SettingError, match="no parameter 'colour'"):
        task.set_params(colour="blue")


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_tanh"])
def test_the_network_is_the_same_in_torch_for_many_models_and_in_numpy(cell: Any) -> None:
    net = tg.Network(cell=cell, hidden=4, layers=2)
    form = whole.Form(channels=2, classes=3, net=net, shorten=(3, 2, 2), rough=(0.5, 2.0), leak=0.1)
    first = [whole.init(form, np.random.default_rng(seed)) for seed in range(3)]
    rng = np.random.default_rng(9)
    lengths = np.array([31, 7, 1, 20])
    x = rng.standard_normal((4, 31, 4)).astype(np.float32) * (np.arange(31) < lengths[:, None])[..., None]
    many = {name: torch.tensor(np.stack([one[name] for one in first])) for name in first[0]}
    told = whole.forward(many, form, torch.tensor(x).expand(3, -1, -1, -1), torch.tensor(lengths).expand(3, -1))
    for m, params in enumerate(first):
        np.testing.assert_allclose(whole.forward(params, form, x, lengths), told[m].numpy(), atol=2e-5)


@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_a_convolution_is_torchs_and_so_are_its_gradients(leak: float) -> None:
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(size).astype(np.float32) for size in ((1, 2, 11, 3), (1, 5, 4 * 3), (1, 5))]
    lengths = np.array([[6, 4]])
    x, w, b = (torch.tensor(part, requires_grad=True) for part in given)
    ours = kernels.conv(x, w, b, torch.tensor(lengths), stride=2, leak=leak)
    both = torch.nn.functional.conv1d(
        torch.nn.functional.pad(x[0].mT, (2, 1)), w.view(5, 4, 3).mT.contiguous(), b[0], stride=2
    ).mT
    theirs = torch.nn.functional.leaky_relu(both, leak) * kernels.inside(torch.tensor(lengths[0]), 6)[..., None]
    torch.testing.assert_close(ours[0], theirs)
    plain = kernels.conv(*(part[0] for part in given), lengths[0], stride=2, leak=leak)
    np.testing.assert_allclose(plain, theirs.detach().numpy(), atol=1e-5)
    slope = torch.tensor(rng.standard_normal(ours.shape).astype(np.float32))
    for mine, other in zip(
        torch.autograd.grad(ours, [x, w, b], slope), torch.autograd.grad(theirs, [x, w, b], slope[0]), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_turning_and_pooling_have_the_gradients_of_what_they_are() -> None:
    x = torch.randn(2, 3, 7, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    lengths = torch.tensor([[7, 1, 4], [3, 5, 6]])
    seen = kernels.inside(lengths, 7)[..., None]
    turned = torch.stack([torch.stack([_turned(x[m, n], int(lengths[m, n])) for n in range(3)]) for m in range(2)])
    last = x.gather(2, (lengths - 1)[..., None, None].expand(2, 3, 1, 4))[:, :, 0]
    largest = x.masked_fill(~seen, -float("inf")).amax(2)
    pooled = torch.cat([last, (x * seen).sum(2) / lengths[..., None], largest], -1)
    for mine, other in ((kernels.turn(x, lengths), turned), (kernels.pool(x, lengths), pooled)):
        torch.testing.assert_close(mine, other)
        slope = torch.randn(mine.shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(*(torch.autograd.grad(y, x, slope, retain_graph=True)[0] for y in (mine, other)))


def test_the_highest_of_every_few_steps_is_the_same_in_torch_and_in_numpy() -> None:
    x = np.random.default_rng(0).random((2, 3, 11, 4)).astype(np.float32)
    ours = kernels.highest(x[0], 4)
    assert ours.shape == (3, 3, 4)
    np.testing.assert_array_equal(ours[:, 2], x[0, :, 8:].max(axis=1))
    for given in (x, x - 0.5, x - 2):  # beyond the last stand zeros, as after each length
        np.testing.assert_array_equal(kernels.highest(torch.tensor(given), 4).numpy(), kernels.highest(given, 4))
    assert (kernels.highest(x - 2, 4)[..., 2, :] == 0).all()


def test_no_reading_of_a_long_sequence_is_passed_over() -> None:
    net = tg.Network(hidden=4)
    for length in (1, 40, 41, 150, 800, 5000, 30_000):
        form = whole.Form(channels=1, classes=2, net=net, shorten=whole.shorten(length), rough=(1.0,))
        first, high, second = form.shorten
        assert form.scales[0][0] >= first
        assert length / (first * high * second) <= 2 * whole.STEPS


def _turned(x: Any, length: int) -> Any:
    return torch.cat([x[:length].flip(0), x[length:]])


# --- how it learns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [12, 60, 500])
def test_no_row_serves_two_purposes_and_each_is_held_out_once(rows: int) -> None:
    y = np.random.default_rng(0).integers(0, 3, rows)
    used = naming.parts(y, seed=0)
    for parts in zip(used.train, used.stop, used.judge, strict=True):
        assert sorted(np.concatenate(parts)) == list(range(rows))
    held = np.concatenate([*used.stop, *used.judge])
    assert sorted(held) == list(range(rows))
    assert (len(used.stop[0]) > 0) == (rows >= 2 * naming.MODELS * naming.ENOUGH)


def test_overfitting_is_noticed_and_said() -> None:
    from tidegate.settings import Epoch

    def run(valid: list[float]) -> list[Epoch]:
        best = [v == min(valid[: i + 1]) for i, v in enumerate(valid)]
        return [Epoch(i, 1 / (i + 1), v, 0.1, 0.0, b) for i, (v, b) in enumerate(zip(valid, best, strict=True))]

    said = naming.overfitting([run([1.0, 0.5, 0.9, 1.2]), run([1.0, 0.8, 0.6, 0.5])])
    assert "1 of 2 models: after epoch 2" in said
    assert "rose from 0.5 to 1.2" in said
    assert naming.overfitting([run([1.0, 0.8, 0.6, 0.5])]) == ""


def test_probabilities_are_tempered_to_what_is_true() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([rng.choice(3, p=row) for row in p])
    assert 0.9 < naming.temperature(logits, y) < 1.1
    assert 1.8 < naming.temperature(2 * logits, y) < 2.2


# --- chance -----------------------------------------------------------------------------------------------------------


def test_fisher_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, said = rng.integers(0, 2, (2, int(rng.integers(5, 60))))
        table = [[int(((truth == a) & (said == b)).sum()) for b in (0, 1)] for a in (0, 1)]
        theirs = stats.fisher_exact(table, alternative="greater").pvalue
        assert chance.p_value(truth, said) == pytest.approx(theirs, rel=1e-8)


@pytest.mark.parametrize("classes", [2, 3])
def test_chance_is_called_better_in_at_most_the_stated_share(classes: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(chance, "DRAWS", 199)
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        truth = [(rng.random(30) ** 2 * classes).astype(int) for _ in range(5)]
        wrong += chance.judge(truth, [(rng.random(30) ** 2 * classes).astype(int) for _ in range(5)]).better
    assert wrong <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05)


def test_weak_but_real_signals_are_found_and_few_rows_are_called_few() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    said = np.where(rng.random(400) < 0.7, truth, 1 - truth)
    assert chance.judge(np.split(truth, 5), np.split(said, 5)).better
    forty = [np.arange(8) % 2] * 5
    assert chance.judge(forty, forty).better, "8 rows a model are enough where all are right"
    few = chance.judge([np.array([0, 1])] * 5, [np.array([0, 1])] * 5)
    assert few.detectable is None
    assert str(few).startswith("too few rows to tell")


def test_detectable_is_what_is_detected_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 2
    share = chance.detectable(truth)
    assert share is not None
    found = [chance.p_value(truth, np.where(rng.random(80) < share, truth, 1 - truth)) < 0.05 for _ in range(400)]
    assert 0.74 < np.mean(found) < 0.88


@pytest.mark.parametrize(("rows", "classes"), [(8, 2), (9, 3)])
def test_what_several_models_would_detect_together_is_detected(
    rows: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chance, "DRAWS", 999)
    rng, truth = np.random.default_rng(0), [np.arange(rows) % classes] * 5
    share = chance.judge(truth, truth).detectable
    assert share is not None
    found = [
        chance.judge(truth, [np.where(rng.random(rows) < share, t, (t + 1) % classes) for t in truth]).better
        for _ in range(100)
    ]
    assert np.mean(found) > 0.68
    monkeypatch.setattr(chance, "DRAWS", 99)  # 8 rows a model, of labels that mean nothing
    wrong = [chance.judge(truth, [rng.permutation(t) for t in truth]).better for _ in range(300)]
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 / 300)


def test_random_labels_are_called_unpredictable() -> None:
    rng = np.random.default_rng(5)
    task = tg.Classifier(**QUICK).fit(rng.standard_normal((500, 10, 5)), rng.integers(0, 2, 500))
    assert not task.verdict_.better
    assert task.notes_[0].startswith("no better than chance")
    assert task.verdict_.detectable is not None


def test_every_size_has_its_defaults() -> None:
    assert CLASSIFYING.keys() == {"small", "medium", "large"}
    with pytest.raises(tg.SettingError, match="size is 'huge'"):
        tg.Classifier(size="huge").fit(*ragged())  # type: ignore[arg-type]


def test_the_spikes_are_as_predictable_as_they_say() -> None:
    X, y = tg.synth.spikes(400, seed=3)
    assert (tg.synth.spikes(400, seed=3)[0] == X).all()
    assert abs(y.mean() - 0.5) < 0.01
    assert 0.99 < tg.synth.spikes_bayes(draws=5000) <= 1.0


def test_the_tones_are_as_predictable_as_they_say() -> None:
    X, y = tg.synth.tones(20_000, seed=4)
    assert (tg.synth.tones(20_000, seed=4)[0] == X).all()
    parts = [np.abs(X @ np.exp(2j * np.pi * turns * np.arange(60) / 60)) for turns in (5, 9)]
    assert abs(((parts[1] > parts[0]) == y).mean() - tg.synth.tones_bayes()) < 0.007
