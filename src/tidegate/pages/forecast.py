"""The forecast page: what comes next and how sure that is, and how it went from every moment of a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..series import SECOND, Series
from ..tasks import coming, naive, verbs, windowed
from ..tasks.bands import quantiles
from ..tasks.outlook import WORDS, Backtest, Forecast, verdict
from ..windows import windows
from . import frame, packed, words
from .charts import Chart, by_step, diagonal
from .frame import Page, Row, Table
from .packed import Block, Floats

if TYPE_CHECKING:
    from ..tasks.forecast import Forecaster

BANDS = (0.5, 0.8, 0.9, 0.95)
SAID = (0.5, 0.9)  # of these, which open the page
HARDLY = 0.01  # less error than this share of the best rule's is hardly better
MOMENTS, ROWS = 60, 2_000  # forecasts of a backtest that travel with the page, or those of so many rows
SAMPLED = 400  # moments from which the rules' errors by step are told
CHANNELS = 60  # lines of the table by channel
USES = {
    "train": "what the network and the linear map learned",
    "valid": "when training stopped, how smooth the linear map is",
    "calibrate": "what the bands hold, and the errors held against the simple rules",
}


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What is drawn: rows (T, C) at `times` (T,), and forecasts (M, K, C) made at `moments` (M,), UTC nanoseconds.

    `bands` (2B, K, C) are how far the ends of B bands usually lie from a forecast, the widest first and last, and
    `breadth` (M, C) how many times as far they lie from each; `real` is the forecast made after the last row, if any;
    `typical` and `worst` are those of a backtest, by mean absolute error.
    """

    times: NDArray[np.int64]
    values: Floats
    moments: NDArray[np.int64]
    mean: Floats
    bands: Floats
    breadth: Floats
    held: Sequence[float]
    real: int | None = None
    typical: int | None = None
    worst: int | None = None


def page(
    task: Forecaster,
    result: Any = None,
    evaluation: Any = None,
    *,
    data: Any = None,
    truth: Any = None,
    title: str = "",
) -> str:
    """The page about a forecaster, a forecast or a backtest or both of it, as HTML text."""
    given = (result, evaluation)
    now = next((one for one in given if isinstance(one, Forecast)), None)
    test = next((one for one in given if isinstance(one, Backtest)), None)
    known = [verbs.matched(task, one) for one in (data, truth) if one is not None]
    ahead = drawn(task, now, test, known) if now or test else None
    table = beside(task, test, evaluation)
    name = title or next((one.name for one in (test, now) if one), "what was learned")
    headline, sentences = said(task, table, now, test)
    far = None if test is None or ahead is None else misses(task, test, ahead)
    charts: dict[str, Chart | None] = {}
    if test is not None and far is not None:
        charts = {"coverage": diagonal(held(test, task.channels_), "asked for", "held")}
        if test.mean.shape[1] > 1:
            inside = {"90 % band": cover(test, 0.9, (0, 2))}
            charts["covered"] = by_step(inside, "share inside the 90 % band", asked=0.9)
            charts["steps"] = by_step(far, "mean absolute error, in spreads")
    return frame.render(
        Page(
            title=name, headline=headline, sentences=sentences, clock=task.clock_, table=table,
            learned=learned(task),
            notes=[*task.notes_, *(now.notes if now else ()), *_thinned(ahead, test)],
            template="forecast.html.j2", scripts=("record.js", "forecast.js") if ahead else (),
            charts=charts, data={} if ahead is None else payload(task, ahead),
            more={"ahead": ahead, "bands": "" if ahead is None else words.listed([f"{b:.0%}"[:-1] for b in ahead.held]),
                  "channels": [] if test is None else by_channel(task, test), "count": len(task.channels_),
                  "moments": 0 if test is None else len(test)},
        )
    )  # fmt: skip


def learned(task: Forecaster) -> frame.Learned:
    """What the forecaster is, what came of which rows, and how the training went."""
    return frame.Learned(
        facts=facts(task), split=frame.parts(task.split_, USES), history=frame.curve(task.history_),
        count=task.model_.form.models,
    )  # fmt: skip


# ---- words ---------------------------------------------------------------------------------------------------------


def said(task: Forecaster, table: Table, now: Forecast | None, test: Backtest | None) -> tuple[str, list[str]]:
    """The headline and the sentences that open the page."""
    errors = task.errors_ if test is None else test.errors
    squared = {name: mse for name, (mse, _) in errors.items()}
    rule = min((name for name in squared if name != windowed.OURS), key=lambda name: squared[name])
    ratio = squared[windowed.OURS] / squared[rule] if squared[rule] > 0 else np.nan
    if table.verdict.startswith("no better"):
        headline = f"No better than {WORDS.get(rule, rule)}, as far as these rows can tell"
    elif table.baseline_wins:
        headline = f"{words.opened(WORDS.get(rule, rule))} forecasts better here"
    elif not ratio <= 1 - HARDLY:
        headline = f"Hardly better than {WORDS.get(rule, rule)}"
    else:
        headline = f"{words.percent(1 - ratio)} less squared error than the best simple rule"
    sentences = [f"{words.opened(table.verdict)}."] if table.verdict else []
    if test is not None:
        told = [(words.percent(test.coverage(b)), f"{100 * b:.0f}\u00a0%") for b in SAID if b in _bands(test.levels)]
        inside = [
            f"{seen}{' of what came lay' * (not i)} inside the {band} band" for i, (seen, band) in enumerate(told)
        ]
        sentences += [f"{', '.join(inside)}."] if inside else []
    if now is not None:
        last = words.moment(int(now.times[-1]), task.clock_).removeprefix("at ")
        sentences.append(f"The last forecast goes on for {words.counted(len(now), 'row')}, to {last}.")
    return headline, sentences


def facts(task: Forecaster) -> list[tuple[str, str]]:
    """What the forecaster is, in words."""
    form, share = task.model_.form, task.model_.share
    own = [
        ("models", f"{form.models} that learned side by side; the mean of their answers" if form.models > 1 else "one"),
        ("looks back", f"{words.counted(form.lookback, 'row')}"),
        ("looks ahead", f"{words.counted(form.horizon, 'row')}"),
        *coming.told(form, task.known_).items(),
        ("an answer is", f"{words.percent(share)} the network's, the rest a linear map's"),
        ("season of the naive rule", words.counted(int(task.model_.rules.period[0]), "row")),
    ]
    rows = words.counted(max(stop for _, stop in task.split_.values()), "row")
    found = frame.facts(task, "forecast", rows)
    return [*found[:2], *own, *found[2:]]


def beside(task: Forecaster, test: Backtest | None, evaluation: Any) -> Table:
    """The forecaster beside the simple rules: of an evaluation, of a backtest, or of the rows held out of learning."""
    if hasattr(evaluation, "rows"):
        return frame.table(evaluation, frozenset({"MSE", "MAE"}))
    errors = task.errors_ if test is None else test.errors
    rows = [
        Row(name=WORDS.get(name, name), metrics={"MSE": mse, "MAE": mae}, baseline=name != windowed.OURS)
        for name, (mse, mae) in sorted(errors.items(), key=lambda each: (each[0] != windowed.OURS, each[1]))
    ]
    where = "the last rows of its history" if test is None else f"{words.counted(len(test), 'moment')} of {test.name}"
    what = f"Forecasts from {where}; errors in spreads of the channels (1: the standard deviation of the history)."
    said, smaller = verdict(errors, task.against_ if test is None else test.against), frozenset({"MSE", "MAE"})
    lost = not said.startswith(windowed.WON)
    return Table(rows=rows, verdict=said, baseline_wins=lost, smaller_is_better=smaller, what=what)


def _thinned(ahead: Ahead | None, test: Backtest | None) -> list[str]:
    if ahead is None:
        return []
    some = []
    if test is not None and len(test) > len(ahead.moments):
        drawn = words.counted(len(ahead.moments), "forecast")
        some = [f"{drawn} of {len(test):,} can be looked at; the errors are those of all."]
    return some + packed.thinned(ahead.times, ahead.values.shape[1])


# ---- what is drawn -------------------------------------------------------------------------------------------------


def drawn(task: Forecaster, now: Forecast | None, test: Backtest | None, known: Sequence[Series]) -> Ahead:
    """The rows that are known, from whichever of these, and the forecasts to look at."""
    one = now or test
    assert one is not None
    times, values = rows(task, now, test, known)
    levels, held_ = one.levels, _bands(one.levels)
    ends = [(1 - b) / 2 for b in reversed(held_)] + [(1 + b) / 2 for b in held_]
    bands = np.stack([quantiles(levels, one.bands, q) for q in ends])
    at, typical, worst = (np.zeros(0, int), None, None) if test is None else looked_at(task, test)
    moments, mean = (
        (np.zeros(0, np.int64), np.zeros((0, *bands.shape[1:]))) if test is None else (test.times[at], test.mean[at])
    )
    breadth = np.ones((len(moments), bands.shape[2])) if test is None else test.breadth[at]
    if now is not None:
        begun = int(now.times[0]) - round(task.interval_ * SECOND)
        moments, mean = np.append(moments, begun), np.concatenate([mean, now.mean[None]])
        breadth = np.concatenate([breadth, now.breadth[None]])
    real = None if now is None else len(moments) - 1
    return Ahead(
        times=times, values=values, moments=moments, mean=mean, bands=bands, breadth=breadth, held=held_,
        real=real, typical=typical, worst=worst,
    )  # fmt: skip


def rows(
    task: Forecaster, now: Forecast | None, test: Backtest | None, known: Sequence[Series]
) -> tuple[NDArray[np.int64], Floats]:
    """Every row that is known: of series, else what came in a backtest and what a forecast remembers."""
    step, found = round(task.interval_ * SECOND), [(one.times, one.values) for one in known]
    if test is not None:
        ticks = (test.times[:, None] + step * np.arange(1, test.truth.shape[1] + 1)).ravel()
        found.append((ticks, test.truth.reshape(len(ticks), -1)))
    if now is not None:
        kept = now.state.arrays["rows"][:, : len(now.channels)]
        seen = ~np.isnan(kept).all(axis=1)
        back = kept[int(np.argmax(seen)) :] if seen.any() else kept[-1:]
        found.append((now.times[0] - step * np.arange(len(back), 0, -1), back))
    times, first = np.unique(np.concatenate([t for t, _ in found]), return_index=True)
    return times, np.concatenate([v for _, v in found])[first]


def looked_at(task: Forecaster, test: Backtest) -> tuple[NDArray[np.int64], int, int]:
    """Which forecasts of a backtest travel, in order, and the places of the typical and of the worst among them."""
    missed = np.abs(test.truth - test.mean) / task.model_.scale.spread
    each = np.nanmean(missed.reshape(len(test), -1), axis=1) if np.isfinite(missed).any() else np.zeros(len(test))
    order = np.argsort(np.where(np.isfinite(each), each, -1.0), kind="stable")
    typical, worst = int(order[len(order) // 2]), int(order[-1])
    _, horizon, channels = test.mean.shape
    most = int(np.clip(packed.CELLS // 3 // (horizon * channels), 3, max(MOMENTS, ROWS // horizon)))
    at = np.unique(np.append(np.linspace(0, len(test) - 1, min(most, len(test))).astype(int), [typical, worst]))
    return at, int(np.searchsorted(at, typical)), int(np.searchsorted(at, worst))


def payload(task: Forecaster, ahead: Ahead) -> dict[str, Any]:
    """What the page's own JavaScript reads: times on the x axis are ms since 1970, or seconds without a clock."""
    at, middles = packed.holes(ahead.times)
    times, values = np.insert(ahead.times, at, middles), np.insert(ahead.values, at, np.nan, axis=0)
    scale, most = 1e6 if task.clock_ else 1e9, packed.limit(len(task.channels_))
    ticks, step = times / scale, task.interval_ * SECOND / scale
    count = ahead.mean.shape[1]

    def sensor(c: int) -> Block:
        lines = packed.track(ticks, [("seen", values[:, c], "f32")], most)
        return lines | {"name": task.channels_[c], "mean": packed.block(ahead.mean[..., c].ravel(), "f32"),
                        "ends": packed.block(ahead.bands[..., c].ravel(), "f32"),
                        "breadth": packed.block(ahead.breadth[:, c], "f32")}  # fmt: skip

    return {
        "times": packed.block(ticks, "f64"),
        "end": max(float(ticks[-1]), float(ahead.moments[-1] / scale + count * step)),
        "moments": (ahead.moments / scale).tolist(), "ahead": count, "back": task.model_.form.lookback, "every": step,
        "held": list(ahead.held), "real": ahead.real, "typical": ahead.typical, "worst": ahead.worst,
        "sensors": [sensor(c) for c in range(len(task.channels_))],
    }  # fmt: skip


# ---- how it went ---------------------------------------------------------------------------------------------------


def _bands(levels: Floats) -> list[float]:
    """The bands whose ends were measured."""
    return [b for b in BANDS if levels[0] <= round((1 - b) / 2, 12) and round((1 + b) / 2, 12) <= levels[-1]]


def cover(test: Backtest, band: float, axes: tuple[int, ...]) -> Floats:
    """The share of what came that lay inside a band, over these axes of (N, K, C); NaN where nothing came."""
    if band not in _bands(test.levels):
        return np.full([n for axis, n in enumerate(test.mean.shape) if axis not in axes], np.nan)
    within = (test.truth >= test.quantile((1 - band) / 2)) & (test.truth <= test.quantile((1 + band) / 2))
    known = ~np.isnan(test.truth + test.mean)
    count = known.sum(axis=axes)
    return np.where(count > 0, (within & known).sum(axis=axes) / np.maximum(count, 1), np.nan)


def held(test: Backtest, channels: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """(asked for, held) of every band, of all channels together and of each."""
    bands = _bands(test.levels)
    found = {"all channels": [(b, float(cover(test, b, (0, 1, 2)))) for b in bands]}
    each = np.array([cover(test, b, (0, 1)) for b in bands]) if len(channels) > 1 else np.zeros((0, 0))
    return found | {
        name: list(zip(bands, line, strict=True)) for name, line in zip(channels, each.T.tolist(), strict=False)
    }


def misses(task: Forecaster, test: Backtest, ahead: Ahead) -> dict[str, Floats]:
    """Mean absolute error by step ahead (K,), in spreads, of the forecaster and of the rules, from the same moments."""
    model, form = task.model_, task.model_.form
    at = np.linspace(0, len(test) - 1, min(SAMPLED, len(test))).astype(int)
    step = round(task.interval_ * SECOND)
    place = np.searchsorted(ahead.times, test.times[at])
    first = place - form.lookback + 1
    past = np.maximum(first, 0)
    whole = (first >= 0) & (
        ahead.times[np.minimum(place, len(ahead.times) - 1)] - ahead.times[past] == step * (form.lookback - 1)
    )
    truth = model.scale.apply(test.truth[at])
    found = {windowed.OURS: model.scale.apply(test.mean[at])}
    if whole.any():
        at, truth, found = at[whole], truth[whole], {windowed.OURS: found[windowed.OURS][whole]}
        z = windows(model.scale.apply(ahead.values), form.lookback)[first[whole]]
        n, _, c = z.shape
        x, last = windowed.relative(np.ascontiguousarray(z.swapaxes(1, 2)).reshape(n * c, form.lookback))
        for name, y in naive.answers(model.rules, x).items():
            if name == "linear" and form.features:
                continue  # it rests on what was known ahead, which is not at hand here
            found[name] = (last + y).reshape(n, c, -1).swapaxes(1, 2)
    known = ~np.isnan(truth + found[windowed.OURS])
    count = np.maximum(known.sum(axis=(0, 2)), 1)
    return {
        WORDS.get(name, name): np.where(known, np.abs(answer - truth), 0).sum(axis=(0, 2)) / count
        for name, answer in found.items()
    }


def by_channel(task: Forecaster, test: Backtest) -> list[tuple[str, float, float, float]]:
    """Of every channel: its name, mean absolute error in its units and in spreads, and what its 90 % band held."""
    missed = np.abs(test.truth - test.mean)
    known = ~np.isnan(missed)
    count = known.sum(axis=(0, 1))
    mean = np.where(count > 0, np.where(known, missed, 0).sum(axis=(0, 1)) / np.maximum(count, 1), np.nan)
    columns = (mean, mean / task.model_.scale.spread, cover(test, 0.9, (0, 1)))
    return list(zip(task.channels_, *(column.tolist() for column in columns), strict=True))[:CHANNELS]
