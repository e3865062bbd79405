"""The pages of the tasks beside the anomaly task: what they say, what they embed, and that a browser draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import tidegate as tg
from tidegate.errors import DataError, NotFittedError, SettingError
from tidegate.evaluate import Evaluation
from tidegate.pages import charts, classify, complete, forecast, frame, packed, tag
from tidegate.series import Series, check
from tidegate.tasks import TASKS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("torch")
pytest.importorskip("plotly")
HOSTILE = ("<script>window.taken = 1</script>", "</script><b>&amp;", "流量 «é»")
SMALL = tg.Training(epochs=2, batches=4, batch=8)


def renamed(series: Series, names: tuple[str, ...]) -> Series:
    return msgspec.structs.replace(series, channels=names)


def holed(series: Series, seed: int = 0) -> Series:
    """The same with points and stretches missing, and a channel of which nothing is."""
    rng, values = np.random.default_rng(seed), series.values.copy()
    values[:, :2][rng.random((len(values), 2)) < 0.1] = np.nan
    values[60:90, 0] = np.nan
    return msgspec.structs.replace(series, values=values)


@pytest.fixture(scope="module")
def forecaster(normal: Series) -> tg.Forecaster:
    return tg.Forecaster(horizon=6, lookback=24, network=tg.Network(hidden=8), training=SMALL).fit(normal)


@pytest.fixture(scope="module")
def completer(normal: Series) -> tg.Completer:
    return tg.Completer(network=tg.Network(hidden=8), training=SMALL).fit(normal)


@pytest.fixture(scope="module")
def hostile(normal: Series) -> tuple[tg.Forecaster, tg.Completer, Series]:
    """Tasks without a clock whose channels have hostile names, and later rows with holes and a missing end."""
    bare = check(normal.values, None, HOSTILE)
    made = tg.Forecaster(horizon=6, lookback=24, network=tg.Network(hidden=8), training=SMALL).fit(bare)
    later = holed(bare[:200])
    later.values[-30:, 2] = np.nan
    return made, tg.Completer(network=tg.Network(hidden=8), training=SMALL).fit(bare), later


def words(page: str) -> str:
    """What stands between head and scripts."""
    return page[page.index("<body>") : page.index('<script type="application/json"')]


# ---- the way in


def test_every_task_has_a_page_and_nothing_else_has() -> None:
    with pytest.raises(SettingError, match=r"a report of dict\n.*AnomalyDetector, Forecaster"):
        tg.report.page({})
    with pytest.raises(NotFittedError):
        tg.report.page(tg.Forecaster())


def test_a_detector_without_what_it_found_is_refused(detector: tg.AnomalyDetector) -> None:
    with pytest.raises(SettingError, match="without what it found"):
        tg.report.page(detector)


def test_pages_ask_for_nothing_and_are_of_a_bounded_size(forecaster: tg.Forecaster, later: Series) -> None:
    page = tg.report.page(forecaster, forecaster.apply(later))
    assert "default-src 'none'" in page
    assert not any(word in words(page) for word in ("http:", "https:", "src=", "href=", "url(", "@import"))
    assert len(page) < 5_500_000  # of which plotly is 4.9


# ---- training


def test_where_losses_part_is_said_and_marked() -> None:
    parted = frame.Learned(history=[(1, 0.9, 0.8), (2, 0.5, 0.6), (3, 0.3, 0.9)])
    assert "After epoch 2 the two part" in frame.parted(parted)
    chart = frame.losses(parted)
    assert chart is not None
    (mark,) = chart.layout["shapes"]
    assert mark["x0"] == 2
    together = frame.Learned(history=[(1, 0.9, 0.8), (2, 0.5, 0.6)])
    assert frame.parted(together) == "The two did not part. The best epoch was 2 of 2; its weights were kept."
    chart = frame.losses(together)
    assert chart is not None
    assert not chart.layout["shapes"]


def test_of_several_models_it_is_said_how_many_parted() -> None:
    good, bad = [(1, 0.9, 0.8), (2, 0.5, 0.6)], [(1, 0.9, 0.8), (2, 0.5, 0.9)]
    learned = frame.Learned(history=good, models=[good, bad, bad])
    assert frame.parted(learned).startswith("In 2 of 3 models the two part, in the median after epoch 1: ")
    assert "did not part" in frame.parted(frame.Learned(history=good, models=[good, good]))


def test_without_held_out_rows_no_curve_is_claimed() -> None:
    learned = frame.Learned(history=[(1, 0.9, math.nan), (2, 0.5, math.nan)])
    assert "No later rows were set aside" in frame.parted(learned)
    chart = frame.losses(learned)
    assert chart is not None
    assert len(chart.traces) == 1
    assert frame.losses(frame.Learned()) is None


# ---- forecast


def test_a_forecast_page_says_what_the_backtest_says(forecaster: tg.Forecaster, later: Series) -> None:
    test = forecaster.backtest(later)
    page = tg.report.page(forecaster, forecaster.apply(later), test)
    said = words(page)
    assert f"{test.verdict[1:]}." in said
    assert f"{100 * test.coverage(0.9):.1f}".removesuffix(".0") in said
    for part in ("a linear map", "seasonal naive", "How the training went", "inside the 90", "8 units", "24 rows"):
        assert part in said


def test_a_rule_that_wins_opens_the_page(forecaster: tg.Forecaster, later: Series) -> None:
    test = forecaster.backtest(later)
    errors = {name: ((0.1, 0.1) if name == "drift" else (1.0, 1.0)) for name in test.errors}
    lost = dict.fromkeys(test.against, (1.0, 0.001))
    page = words(tg.report.page(forecaster, None, replace(test, errors=errors, against=lost)))
    assert "<h1>Drift forecasts better here</h1>" in page
    assert 'class="lead warn">Drift did better than the forecaster' in page


def test_what_is_drawn_are_the_rows_that_came_and_the_forecasts(forecaster: tg.Forecaster, later: Series) -> None:
    now, test = forecaster.apply(later), forecaster.backtest(later)
    ahead = forecast.drawn(forecaster, now, test, [])
    np.testing.assert_array_equal(ahead.times, later.times[24:])  # the rows before the first forecast are not in it
    np.testing.assert_allclose(ahead.values, later.values[24:], rtol=1e-12)
    assert ahead.real == len(ahead.moments) - 1
    assert ahead.moments[-1] == later.times[-1]
    np.testing.assert_array_equal(ahead.mean[-1], now.mean)
    assert ahead.held == [0.5, 0.8, 0.9, 0.95]
    np.testing.assert_allclose(now.mean + ahead.breadth[-1] * ahead.bands[-1], now.quantile(0.975))
    np.testing.assert_allclose(now.mean + ahead.breadth[-1] * ahead.bands[1], now.quantile(0.05))
    with_past = forecast.drawn(forecaster, now, test, [later])
    np.testing.assert_array_equal(with_past.times, later.times)
    alone = forecast.drawn(forecaster, now, None, [])
    np.testing.assert_array_equal(alone.times, later.times[-24:])


def test_errors_by_step_are_those_of_the_backtest(forecaster: tg.Forecaster, later: Series) -> None:
    test = forecaster.backtest(later)
    found = forecast.misses(forecaster, test, forecast.drawn(forecaster, None, test, [later]))
    assert set(found) == {"forecaster", "the last value", "drift", "seasonal naive", "a linear map"}
    for name, (_, mae) in test.errors.items():
        shown = found[forecast.WORDS.get(name, name)]
        assert shown.mean() == pytest.approx(mae, rel=1e-5)


def test_coverage_by_step_and_channel_is_that_of_the_backtest(forecaster: tg.Forecaster, later: Series) -> None:
    test = forecaster.backtest(later)
    assert forecast.cover(test, 0.9, (0, 1, 2)) == pytest.approx(test.coverage(0.9))
    assert forecast.cover(test, 0.9, (0, 2)).mean() == pytest.approx(test.coverage(0.9))
    assert np.isnan(forecast.cover(test, 0.999, (0, 2))).all()  # never measured


def test_a_forecaster_that_has_only_learned_has_a_page(forecaster: tg.Forecaster) -> None:
    page = words(tg.report.page(forecaster))
    assert "What was learned, and from which rows" in page
    assert 'id="record"' not in page


def test_a_long_backtest_is_thinned_and_says_so(
    forecaster: tg.Forecaster, later: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "CELLS", 600)
    monkeypatch.setattr(packed, "limit", lambda channels: 50)
    page = tg.report.page(forecaster, forecaster.backtest(later))
    assert "thinned to keep this page small" in page
    assert "forecasts of 171 can be looked at" in words(page)


def test_a_table_of_the_command_line_stands_in_place_of_ours(forecaster: tg.Forecaster, later: Series) -> None:
    rows = [
        frame.Row(name="mine", metrics={"MSE": 0.5}, baseline=False),
        frame.Row(name="theirs", metrics={"MSE": 0.4}),
    ]
    table = Evaluation(rows, "of March", "theirs is better", True)
    page = words(tg.report.page(forecaster, forecaster.backtest(later), table))
    assert "of March" in page
    assert 'class="lead warn">Theirs is better.' in page


# ---- complete


def test_a_completion_page_says_what_was_filled_and_how_well(completer: tg.Completer, later: Series) -> None:
    found = completer.apply(holed(later))
    page = words(tg.report.page(completer, found, truth=later))
    assert f"{int(found.filled.sum()):,} values filled of {found.filled.size:,}" in page
    assert "whose truth is known" in page
    assert "How errors grow with the hole" in page
    assert "30 rows" in page  # the longest hole
    untold = words(tg.report.page(completer, found))
    assert "whose truth is known" not in untold
    assert "How errors grow with the hole" not in untold


def test_errors_where_truth_is_known_are_those_of_the_fills(completer: tg.Completer, later: Series) -> None:
    found = completer.apply(holed(later))
    right = np.where(found.filled, later.values, np.nan)
    line = complete.lines(completer, found, right)[0]
    at = found.filled[:, 0]
    assert line["missed"] == pytest.approx(np.abs(found.values - later.values)[at, 0].mean())
    assert line["rule"] == pytest.approx(np.abs(found.linear - later.values)[at, 0].mean())
    assert line["count"] == at.sum()


def test_a_channel_that_is_only_interpolated_is_named_with_the_figures(completer: tg.Completer, later: Series) -> None:
    doubtful = tg.Completer()
    doubtful.__dict__ |= completer.__dict__ | {"linear_": (later.channels[1],)}
    doubtful.by_channel_ = completer.by_channel_ | {
        later.channels[1]: {"network": 0.3, "linear": 0.3, "decided network": 0.4567, "decided linear": 0.4321}
    }
    page = words(tg.report.page(doubtful, doubtful.apply(holed(later))))
    assert f"because the network was no better there: {later.channels[1]}." in page
    assert "(0.457 against 0.432)" in page


def test_a_completer_saved_and_loaded_has_the_same_page(
    completer: tg.Completer, later: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completer.save(tmp_path / "model.safetensors")
    again = tg.load(tmp_path / "model.safetensors", tg.Completer)
    monkeypatch.setattr("time.strftime", lambda *_: "now")
    found = completer.apply(holed(later))
    assert tg.report.page(again, found, truth=later) == tg.report.page(completer, found, truth=later)


def test_a_truth_of_other_rows_is_refused(completer: tg.Completer, later: Series) -> None:
    with pytest.raises(DataError, match="a truth of 150 rows"):
        tg.report.page(completer, completer.apply(holed(later)), truth=later[:150])


def test_nothing_missing_and_nothing_filled_are_pages(completer: tg.Completer, later: Series) -> None:
    assert "Nothing was missing" in words(tg.report.page(completer, completer.apply(later), truth=later))
    assert "Channel by channel" in words(tg.report.page(completer))


def test_the_completer_that_reads_the_past_speaks_of_the_last_value(normal: Series, later: Series) -> None:
    past = tg.Completer(direction="past", network=tg.Network(hidden=8), training=SMALL).fit(normal)
    page = words(tg.report.page(past, past.apply(holed(later))))
    assert "the last value" in page
    assert "linear interpolation" not in page


# ---- classify


@pytest.fixture(scope="module")
def taught() -> tuple[tg.Classifier, NDArray[np.float64], NDArray[np.str_]]:
    """A classifier of spikes whose classes have hostile names, and what it learned from."""
    X, y = tg.synth.spikes(120, seed=0)
    names = np.where(np.asarray(y) > 0, HOSTILE[0], HOSTILE[1])
    return tg.Classifier(training=tg.Training(epochs=3, batches=4, noise=0.1)).fit(X, names), X, names


Taught = tuple[tg.Classifier, NDArray[np.float64], NDArray[np.str_]]


def test_the_page_of_a_classifier_tells_what_it_held_out(taught: Taught) -> None:
    classifier, X, _ = taught
    page = words(tg.report.page(classifier, data=X))
    chance = classifier.verdict_
    assert "Can the labels be predicted at all?" in page
    assert f"of {chance.rows:,}</dd>" in page
    for number in classifier.confusion_.ravel().tolist():
        assert not number or f">{number:,}</td>" in page
    assert page.count("<figcaption>") == min(8, len(classifier.judged_.wrong)) + min(8, len(classifier.judged_.right))
    assert "held out of learning" in page
    assert "each of the 5 models" in page


def test_labels_that_cannot_be_predicted_are_the_headline(taught: Taught) -> None:
    classifier, X, _ = taught
    chance = msgspec.structs.replace(classifier.verdict_, p_value=0.4, detectable=0.7)
    doubtful = tg.Classifier()
    doubtful.__dict__ |= classifier.__dict__ | {"verdict_": chance}
    assert "<h1>No better than chance</h1>" in tg.report.page(doubtful, data=X)
    few = msgspec.structs.replace(chance, detectable=None)
    doubtful.__dict__ |= {"verdict_": few}
    assert "<h1>Too few rows to tell from chance</h1>" in tg.report.page(doubtful)


def test_labelled_sequences_are_judged_by_their_labels(taught: Taught) -> None:
    classifier, X, names = taught
    result, right = classifier.apply(X), names.copy()
    right[:3] = "never heard of"
    told = classify.of(classifier, result, right)
    assert told.classes == [*classify.names(classifier), "never heard of"]
    assert told.chance.accuracy == pytest.approx((result.label == right).mean())
    page = words(tg.report.page(classifier, result, data=X, truth=right))
    assert "not known to the classifier" in page
    assert "held-out rows" not in page[: page.index("Can the labels")]
    with pytest.raises(DataError, match="119 labels for 120 sequences"):
        tg.report.page(classifier, result, data=X, truth=right[1:])
    with pytest.raises(DataError, match="5 sequences beside 120 answers"):
        tg.report.page(classifier, result, data=X[:5])


def test_after_learning_the_page_does_not_judge_rows_that_were_learned_from(taught: Taught) -> None:
    from tidegate import measures

    classifier, X, names = taught
    held = measures.classifier_held_out(classifier)
    page = words(tg.report.page(classifier, classifier.apply(X), held, data=X, truth=names))
    assert f"· {classifier.verdict_.rows} held-out sequences ·" in page
    assert "held out of learning" in page


def test_without_labels_the_page_counts_what_was_named(taught: Taught) -> None:
    classifier, X, _ = taught
    page = words(tg.report.page(classifier, classifier.apply(X), data=X))
    assert "<h1>120 sequences named</h1>" in page
    assert "Least sure" in page
    assert page.count("<figcaption>") == 16


def test_sketches_break_where_readings_are_missing(taught: Taught) -> None:
    classifier, X, _ = taught
    broken = X[0].copy()
    broken[20:25] = np.nan
    (line,) = classify.sketch(classifier, broken[:, None], (-3.0, 3.0))
    assert line.count("M") == 2
    assert "nan" not in line
    assert classify.sketch(classifier, np.full((9, 1), np.nan), (-3.0, 3.0)) == [""]


def test_many_classes_are_a_chart(taught: Taught) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(150, 12)), np.arange(150) % 15
    classifier = tg.Classifier(training=tg.Training(epochs=1, batches=1)).fit(X, y)
    assert 'id="confusion"' in tg.report.page(classifier)
    assert 'id="confusion"' not in tg.report.page(taught[0])


# ---- tag

Tagging = tuple[tg.Tagger, Series, NDArray[np.str_]]


@pytest.fixture(scope="module")
def tagging(normal: Series, later: Series) -> Tagging:
    """A tagger of two states with hostile names, later rows, and their labels, some of them not known."""

    def states(series: Series) -> NDArray[np.str_]:
        return np.where(series.values[:, 0] > np.median(normal.values[:, 0]), HOSTILE[0], HOSTILE[2])

    tagger = tg.Tagger(smooth=True, network=tg.Network(hidden=8), training=SMALL).fit(normal, states(normal))
    right = states(later).astype(object)
    right[50:60] = None
    right[100:110] = np.where(right[100:110] == HOSTILE[0], HOSTILE[2], HOSTILE[0])
    return tagger, later, right


def test_the_page_of_a_tagger_counts_what_was_right(tagging: Tagging) -> None:
    tagger, later, right = tagging
    found = tagger.apply(later)
    told = tag.gathered(tagger, found, later, right, learned_from=False)
    assert told.judged.sum() == 190
    known = np.array([label is not None for label in right])
    share = (found.label == right)[known].mean()
    assert tag.measured(tagger, told)["accuracy"] == pytest.approx(share)
    assert tag.confusion(tagger, told).sum() == 190
    page = words(tg.report.page(tagger, found, data=later, truth=right))
    assert f"{100 * share:.1f}".removesuffix(".0") + "\u00a0% of rows named right" in page
    assert "How far to believe a probability" in page


def test_mistakes_are_where_label_and_truth_differ(tagging: Tagging) -> None:
    tagger, later, right = tagging
    found = tagger.apply(later)
    told = tag.gathered(tagger, found, later, right, learned_from=False)
    payload = tag.payload(tagger, told)
    wrong = np.array([a is not None and a != b for a, b in zip(right, found.label.tolist(), strict=True)])
    covered = np.zeros(len(later), dtype=bool)
    for start, end, _ in payload["places"]:
        covered |= (later.times / 1e6 >= start) & (later.times / 1e6 <= end)
    np.testing.assert_array_equal(covered, wrong)
    assert [strip["name"] for strip in payload["labels"]["strips"]] == ["true", "named", "raw"]


def test_of_the_history_only_rows_that_chose_nothing_judge(tagging: Tagging, normal: Series) -> None:
    tagger = tagging[0]
    found = tagger.apply(normal)
    told = tag.gathered(tagger, found, normal, found.label, learned_from=True)
    assert told.judged.sum() == tagger.split_["judge"]
    assert told.judged[-1]
    assert not told.judged[0]
    ours = frame.Row(name="tagger", metrics={"accuracy": 0.9}, baseline=False)
    held = Evaluation([ours], "of the end", "fine", False)
    page = words(tg.report.page(tagger, found, held, data=normal, truth=found.label))
    assert "90\u00a0% of held-out rows named right" in page
    assert "learned from" in page


def test_a_tagger_without_truth_without_data_and_without_a_result(tagging: Tagging) -> None:
    tagger, later, _ = tagging
    found = tagger.apply(later)
    page = words(tg.report.page(tagger, found, data=later))
    assert "<h1>200 rows tagged</h1>" in page
    assert "Previous mistake" not in page
    bare = tag.payload(tagger, tag.gathered(tagger, found, None, None, learned_from=False))
    assert bare["sensors"] == []
    assert "held-out rows named right" in words(tg.report.page(tagger))
    with pytest.raises(DataError, match="other rows than the result"):
        tg.report.page(tagger, found, data=later[:100])


def test_many_sequences_stand_one_after_the_other(tagging: Tagging) -> None:
    tagger, later, right = tagging
    parts, labels = [later[:80], later[80:]], [right[:80], right[80:]]
    found = tagger.apply(parts)
    told = tag.gathered(tagger, found, parts, labels, learned_from=False)
    payload = tag.payload(tagger, told)
    assert payload["axis"] == "row, all sequences in turn"
    assert told.begins.tolist() == [0, 80]
    assert "many sequences" in tg.report.page(tagger, found, data=parts, truth=labels)


def test_a_tagger_of_values_sets_what_was_said_against_what_was_true(normal: Series, later: Series) -> None:
    tagger = tg.Tagger(target="value", network=tg.Network(hidden=8), training=SMALL).fit(normal, normal.values[:, :2])
    found, right = tagger.apply(later), later.values[:, :2].copy()
    right[:9] = np.nan
    told = tag.gathered(tagger, found, later, right, learned_from=False)
    off = np.abs(found.value - right)[9:].mean()
    assert tag.measured(tagger, told)["MAE"] == pytest.approx(off)
    page = words(tg.report.page(tagger, found, data=later, truth=right))
    assert "What was said against what was true" in page
    assert "What is mistaken for what" not in page


# ---- hostile names, no clock


def test_hostile_names_stay_text(
    hostile: tuple[tg.Forecaster, tg.Completer, Series], taught: Taught, tagging: Tagging
) -> None:
    made, filler, later = hostile
    classifier, X, names = taught
    tagger, rows, right = tagging
    for page in (
        tg.report.page(tagger, tagger.apply(rows), data=rows, truth=right, title=HOSTILE[0]),
        tg.report.page(made, made.apply(later), made.backtest(later), title=HOSTILE[0]),
        tg.report.page(filler, filler.apply(later), title=HOSTILE[0]),
        tg.report.page(classifier, classifier.apply(X), data=X, truth=names, title=HOSTILE[0]),
    ):
        assert "<script>window" not in page
        assert "</script><b>" not in page
        assert "&lt;script&gt;window" in page


def test_texts_of_charts_are_plain() -> None:
    chart = charts.diagonal({"all": [(0.5, 0.4)], HOSTILE[0]: [(0.5, 0.4)]}, "asked", "held")
    assert not any("<script" in trace["name"] + trace["text"][0] for trace in chart.traces)


# ---- in a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    import browser

    browser.need()
    with browser.started() as running:
        yield running


CHARTS = {
    "forecast": {"#record .scatterlayer .trace": 6, "#steps": 1, "#coverage": 1, "#covered": 1, "#losses": 1},
    "complete": {"#record .scatterlayer .trace": 4, "#losses": 1},
    "tag": {"#record .heatmaplayer image": 2, "#record .scatterlayer .trace": 4, "#reliability": 1, "#losses": 1},
    "classify": {"#reliability": 1, "#losses .scatterlayer .trace": 12, ".examples path": 9},
}


@pytest.fixture(scope="module")
def build(
    hostile: tuple[tg.Forecaster, tg.Completer, Series], taught: Taught, tagging: Tagging
) -> dict[str, Callable[[], str]]:
    tagger, rows, right = tagging
    made, filler, later = hostile
    classifier, X, _ = taught
    return {
        "forecast": lambda: tg.report.page(made, made.apply(later), made.backtest(later)),
        "complete": lambda: tg.report.page(filler, filler.apply(later)),
        "tag": lambda: tg.report.page(tagger, tagger.apply(rows), data=rows, truth=right),
        "classify": lambda: tg.report.page(classifier, data=X),
    }


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("task", sorted(CHARTS))
def test_every_chart_is_drawn_and_the_console_stays_silent(
    chromium: Browser, build: dict[str, Callable[[], str]], task: str, width: int, tmp_path: Path
) -> None:
    import browser

    frame.write(tmp_path / "page.html", build[task]())
    with browser.visit(chromium, tmp_path / "page.html", width=width, dark=width < 600) as visit:
        visit.until("!document.querySelector('.chart:not(.js-plotly-plot)')")
        for selector, least in CHARTS[task].items():
            assert visit.page.locator(selector).count() >= least, selector
        for move in ("all", "next", "previous", "in", "later"):
            button = visit.page.locator(f"[data-move={move}]")
            if button.count():
                button.click()
        visit.page.click("#theme")
        visit.page.wait_for_timeout(300)
        assert visit.complaints == []
        assert len(visit.asked) == 1
        assert visit.page.evaluate("window.taken") is None
        assert not visit.page.locator("#problem").is_visible()
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_moment_that_is_chosen_is_drawn(
    chromium: Browser, build: dict[str, Callable[[], str]], tmp_path: Path
) -> None:
    import browser

    frame.write(tmp_path / "page.html", build["forecast"]())
    with browser.visit(chromium, tmp_path / "page.html") as visit:
        assert visit.page.evaluate("moment === data.real")
        visit.page.click("[data-moment=worst]")
        visit.until("record.layout.shapes[0].x0 === data.moments[data.worst]")
        assert visit.page.inner_text("#which").startswith("Forecast made at ")
        visit.page.click("[data-move=previous]")
        visit.until("moment === data.worst - 1 || data.worst === 0")


def test_one_row_ahead_has_no_chart_by_step(normal: Series, later: Series) -> None:
    one = tg.Forecaster(horizon=1, lookback=24, network=tg.Network(hidden=8), training=SMALL).fit(normal)
    page = words(tg.report.page(one, one.backtest(later)))
    assert 'id="coverage"' in page
    assert 'id="steps"' not in page


def test_every_task_has_a_page() -> None:
    assert {kind().__name__ for kind in TASKS.values()} == set(tg.report.PAGES)
