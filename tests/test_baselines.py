from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tidegate import baselines, metrics
from tidegate.errors import DataError, MissingExtraError

RULES = baselines.present()[0]
SKAB = Path(__file__).parents[2] / "shared" / "data" / "skab" / "valve1"


def normal(rows: int, channels: int = 4, seed: int = 0) -> np.ndarray:
    """Channels that follow one cause, each in its own units, with noise of their own."""
    rng = np.random.default_rng(seed)
    cause = np.sin(np.arange(rows) / 9)[:, None] * np.linspace(1, 2, channels)
    return 100 + 10.0 ** np.arange(channels) * (cause + 0.1 * rng.normal(size=(rows, channels)))


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


def test_every_rule_scores_a_planted_fault_above_what_is_normal(rule):
    learn, score = rule
    later = normal(400, seed=1)
    labels = np.zeros(400, dtype=int)
    labels[200:230] = 1
    later[200:230, 1] += 100 * np.random.default_rng(2).normal(size=30)
    assert metrics.auroc(labels, score(learn(normal(800)), later)) > 0.85


def test_rows_appended_never_change_an_earlier_score(rule):
    learn, score = rule
    learned, later = learn(normal(300)), normal(120, seed=1)
    wild = np.vstack([later, 1e6 * np.ones((30, 4))])
    np.testing.assert_allclose(score(learned, wild)[:120], score(learned, later), rtol=1e-12)


def test_a_row_with_nothing_observed_has_no_score_and_spoils_no_other(rule):
    learn, score = rule
    train, later = normal(300), normal(100, seed=1)
    train[::7, 2] = np.nan
    later[10:20, 0] = np.nan
    later[40:43] = np.nan
    scores = score(learn(train), later)
    assert np.flatnonzero(np.isnan(scores[1:])).tolist() == [39, 40, 41]


def test_constant_and_never_seen_channels_are_no_obstacle(rule):
    learn, score = rule
    train = normal(200)
    train[:, 1], train[:, 2] = 5.0, np.nan
    later = normal(50, seed=1)
    assert np.isfinite(score(learn(train), later)[1:]).all()


def test_one_channel_is_enough(rule):
    learn, score = rule
    learned = learn(normal(200, channels=1))
    usual, far = score(learned, np.array([[100.0], [100.0], [900.0]]))[1:]
    assert far > usual


def test_the_units_of_a_channel_do_not_matter(rule):
    learn, score = rule
    train, later = normal(300), normal(80, seed=1)
    units = np.array([1.0, 1024.0, 1 / 64, 8.0])
    np.testing.assert_allclose(score(learn(train * units), later * units), score(learn(train), later), rtol=1e-6)


def test_the_last_value_is_the_last_one_observed():
    learned = baselines.learn_last_value(np.array([[0.0], [1.0]] * 50))
    gap = np.array([[0.0], [np.nan], [np.nan], [2.0], [2.0]])
    np.testing.assert_allclose(baselines.score_last_value(learned, gap), [np.nan, np.nan, np.nan, 2, 0], atol=1e-12)


def test_the_level_sees_a_small_lasting_shift_that_single_rows_hide():
    rng = np.random.default_rng(0)
    learned = baselines.learn_level(rng.normal(size=(2000, 1)))
    later = rng.normal(size=(400, 1))
    later[200:] += 1.0
    labels = np.arange(400) >= 200
    assert metrics.auroc(labels, baselines.score_level(learned, later)) > 0.9
    assert metrics.auroc(labels, np.abs(later[:, 0])) < 0.8


def test_the_level_is_measured_against_the_later_quarter_of_training():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(2000, 1))
    louder_late, louder_early = train.copy(), train.copy()
    louder_late[1500:] *= 3
    louder_early[:500] *= 3
    far = np.full((200, 1), 6.0)
    learned = [baselines.learn_level(x) for x in (louder_late, louder_early)]
    assert learned[0].normal.residual > 2 * learned[1].normal.residual
    late, early = (baselines.score_level(it, far)[0] for it in learned)
    assert late < early / 2


def test_the_average_of_a_channel_waits_where_it_is_missing():
    learned = baselines.learn_level(np.random.default_rng(0).normal(size=(500, 1)))
    level = np.full((40, 1), 3.0)
    holed = np.insert(level, 20, np.nan, axis=0)
    np.testing.assert_array_equal(
        np.delete(baselines.score_level(learned, holed), 20), baselines.score_level(learned, level)
    )


def test_the_level_forgets_one_wild_reading():
    rng = np.random.default_rng(0)
    learned = baselines.learn_level(rng.normal(size=(2000, 1)))
    later = rng.normal(size=(400, 1))
    later[100] = 1e30
    scores = baselines.score_level(learned, later)
    assert scores[100] > 2 * scores[:100].max()
    assert scores[300:].max() < scores[100] / 2


def test_pca_keeps_the_fewest_components_that_hold_nine_tenths_and_leaves_one():
    rng = np.random.default_rng(0)
    together = rng.normal(size=(500, 1)) + 0.1 * rng.normal(size=(500, 6))
    assert baselines.learn_pca(together).leading.shape == (1, 6)
    assert baselines.learn_pca(rng.normal(size=(500, 6))).leading.shape == (5, 6)
    assert baselines.learn_pca(rng.normal(size=(500, 1))).leading.shape == (0, 1)


def test_pca_sees_channels_that_no_longer_fit_together_at_values_each_has_had():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(1000, 1))
    train = np.hstack([cause, cause, cause]) + 0.05 * rng.normal(size=(1000, 3))
    fits, breaks = baselines.score_pca(baselines.learn_pca(train), np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]))
    assert breaks > 10 * fits


def test_without_scikit_learn_the_forest_is_left_out_and_that_is_said(monkeypatch):
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    rules, notes = baselines.present()
    assert list(rules) == ["last_value", "level", "pca"]
    assert notes == ("isolation_forest is left out: scikit-learn is not installed",)
    with pytest.raises(MissingExtraError, match="scikit-learn"):
        baselines.learn_isolation_forest(normal(50))


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")
def test_with_scikit_learn_every_rule_runs():
    assert baselines.present() == (baselines.BASELINES, ())


def test_normal_data_with_nothing_in_it_is_refused(rule):
    with pytest.raises(DataError, match="all missing"):
        rule[0](np.full((5, 2), np.nan))


@pytest.mark.skipif(not SKAB.exists(), reason="../shared/data/skab is not here")
def test_the_level_reaches_on_skab_what_was_measured_without_a_network():
    found = []
    for path in sorted(SKAB.glob("*.csv")):
        table = np.genfromtxt(path, delimiter=";", skip_header=1, usecols=range(1, 10))
        values, truth = table[:, :8], table[400:, 8]
        scores = baselines.score_level(baselines.learn_level(values[:400]), values)
        found.append(metrics.auroc(truth, scores[400:]))
    assert np.mean(found) == pytest.approx(0.886, abs=0.005)  # .880 before channels were told apart
