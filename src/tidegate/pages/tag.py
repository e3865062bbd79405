"""The page of a tagger: what was said of every row beside the readings and the truth, and what is mistaken for what."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..series import SECOND, Series
from ..tasks import marked, verbs
from ..tasks.judged import Judged
from . import frame, packed, words
from .charts import Chart, confused, reliable, scattered
from .frame import Page, Row, Table
from .packed import Block, Floats

if TYPE_CHECKING:
    from ..tasks.tag import Tagger
    from ..tasks.tagged import Tagged

CELLS = 12  # classes up to which the confusion is a table of words; more are a chart
STACKED = 8  # classes whose probabilities are drawn; the others are summed
PLACES = 300  # mistakes to look at one after the other, the longest
SCATTERED = 3_000  # rows of the chart of values
PARTS = {
    "train": "what the network learned",
    "valid": "when training stopped, how sure to be, how to smooth",
    "judge": "nothing: by these it is judged",
}

Numbers = NDArray[np.int64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was said of all sequences, one after the other, R rows: `truth` is -1 (labels) or NaN (values) if unknown.

    `begins` (S,) are their first rows, `judged` the rows by which the tagger may be judged: all that are known, or of
    the history that it learned from only those that chose nothing.
    """

    series: list[Series]
    said: list[Tagged]
    begins: Numbers
    truth: NDArray[Any] | None
    judged: Marks
    learned_from: bool


def page(
    task: Tagger,
    result: Any = None,
    evaluation: Any = None,
    *,
    data: Any = None,
    truth: Any = None,
    title: str = "",
) -> str:
    """The page about a tagger as HTML text: of the series `data` (one or many), and what stands beside them, `truth`.

    An evaluation of held-out rows (which has no `detail`) is of the history: then only rows that chose nothing judge.
    """
    learned_from = hasattr(evaluation, "rows") and getattr(evaluation, "detail", None) is None
    told = None if result is None else gathered(task, result, data, truth, learned_from)
    table = beside(task, evaluation)
    headline, sentences = said(task, table, told)
    labels = task.target == "label"
    names = [str(name) for name in task.answers_]
    matrix = confusion(task, told) if labels else np.zeros((0, 0), np.int64)
    charts = drawn(task, told)
    if len(names) > CELLS and matrix.any():
        charts["confusion"] = confused(matrix, names)
    single = told is not None and len(told.series) == 1
    return frame.render(
        Page(
            title=title or ("what was learned" if told is None else told.said[0].name if single else "many sequences"),
            headline=headline, sentences=sentences, table=table, clock=task.clock_ and single,
            template="tag.html.j2", scripts=() if told is None else ("record.js", "tag.js"), charts=charts,
            data={} if told is None else payload(task, told), notes=_notes(task, told, evaluation),
            learned=frame.Learned(facts=facts(task), split=_parts(task), history=frame.curve(task.history_)),
            more={
                "told": told, "labels": labels, "names": names, "smooth": task.smooth,
                "matrix": [] if len(names) > CELLS else shares(matrix), "any": bool(matrix.any()),
                "whole": own(told), "rows": int(matrix.sum()), "mistakes": bool(told and labels and own(told)),
                "known": told is not None and told.truth is not None,
            },
        )
    )  # fmt: skip


def gathered(task: Tagger, result: Any, data: Any, truth: Any, learned_from: bool) -> Told:
    """The sequences, what was said of them and what is true, one after the other."""
    found = list(result) if isinstance(result, list) else [result]
    if data is None:
        width = len(task.channels_)
        series = [_bare(one, task, width) for one in found]
        many, beside_ = isinstance(result, list), truth
    else:
        given, many = marked.each(data, lambda one: verbs.given(one, task.interval_))
        series = [verbs.matched(task, one) for one in given]
        has = all(one.labels is not None for one in given)
        beside_ = [one.labels for one in given] if truth is None and has and many else truth
        beside_ = given[0].labels if truth is None and has and not many else beside_
    if [len(one) for one in series] != [len(one) for one in found]:
        from ..errors import DataError

        raise DataError("data of other rows than the result", wanted="the data that was tagged")
    begins = np.cumsum([0, *(len(one) for one in found)])[:-1]
    right = None if beside_ is None else _truth(task, marked.beside(beside_, series, data, many))
    known = np.zeros(sum(map(len, found)), dtype=bool)
    if right is not None:
        known = right >= 0 if right.ndim == 1 else ~np.isnan(right).any(axis=1)
    judged = known & _held_out(task, series, right) if learned_from else known
    return Told(series=series, said=found, begins=begins, truth=right, judged=judged, learned_from=learned_from)


def _bare(one: Tagged, task: Tagger, width: int) -> Series:
    """A sequence of which no reading is known."""
    empty = np.full((len(one), width), np.nan)
    return Series(empty, one.times, task.channels_, task.interval_, task.clock_, name=one.name)


def _truth(task: Tagger, beside_: list[NDArray[Any]]) -> NDArray[Any]:
    if task.target == "value":
        return np.concatenate(marked.values(beside_))
    return np.concatenate(marked.numbered(beside_, task.classes_))


def _held_out(task: Tagger, series: list[Series], right: NDArray[Any] | None) -> Marks:
    """The rows of the history that chose nothing, as they were picked when the tagger learned."""
    from ..tasks import marking

    sizes, main = [len(one) for one in series], np.zeros(len(series), dtype=np.int64)
    if right is not None and right.ndim == 1:
        cut = np.split(right, np.cumsum(sizes)[:-1])
        main = np.array([np.bincount(one[one >= 0], minlength=1).argmax() for one in cut])
    found: Marks = marking.split(sizes, main, task.held_out, task.seed) == marking.JUDGE
    return found


def own(told: Told | None) -> bool:
    """Whether there is a truth to be wrong about."""
    return told is not None and told.truth is not None and bool(told.judged.any())


# ---- words ---------------------------------------------------------------------------------------------------------


def said(task: Tagger, table: Table, told: Told | None) -> tuple[str, list[str]]:
    """The headline and the sentences that open the page."""
    verdict = [f"{words.opened(table.verdict)}."] if table.verdict else []
    ours = dict(next((row.metrics for row in table.rows if not row.baseline), {}))
    here = told is not None and own(told) and not told.learned_from
    held = "rows" if here else "held-out rows"
    if told is not None and here:
        ours = measured(task, told)
    if np.isfinite(ours.get("accuracy", np.nan)):
        headline = f"{words.percent(ours['accuracy'])} of {held} named right"
    elif "MAE" in ours:
        headline = f"Off by {words.figure(ours['MAE'])} on average{'' if here else ', on held-out rows'}"
    else:
        headline = f"Not judged: {'no held-out row has a label' if task.split_ else 'it learned from a stream'}"
    if told is not None and not own(told):
        count = words.counted(int(sum(map(len, told.said))), "row")
        headline = f"{count} tagged"
        if task.target == "label":
            verdict = [*verdict, _shares(told)]
    return headline, verdict


def _shares(told: Told) -> str:
    labels = np.concatenate([np.asarray(one.label).astype(str) for one in told.said])
    found, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return f"Named: {words.some([f'{found[i]} ({words.percent(counts[i] / len(labels))})' for i in order])}."


def facts(task: Tagger) -> list[tuple[str, str]]:
    """What the tagger is, in words."""
    ways = {"past": "what came before", "both": "what came before and after"}
    kind = "one label a row" if task.target == "label" else "values for every row"
    found = frame.facts(task, kind)
    told = [("reads", ways[task.direction])]
    if task.target == "label":
        told += [("classes", words.some([str(name) for name in task.answers_]))]
        told += [("smoothed", "yes: labels change as seldom as in training" if task.smooth else "no")]
    return [*found[:2], *told, *found[2:]]


def beside(task: Tagger, evaluation: Any) -> Table:
    """The tagger beside the simple rules: of an evaluation, or of the rows held out."""
    smaller = frozenset({"RMSE", "MAE"})
    if hasattr(evaluation, "rows"):
        return frame.table(evaluation, smaller)
    rows = []
    for name, error in sorted(task.errors_.items(), key=lambda each: not each[0].startswith("tagger")):
        figures = {"accuracy": 1 - error["rows"], "F1": 1 - error["1 - F1"]} if "rows" in error else dict(error)
        rows.append(Row(name=name, metrics=figures, baseline=not name.startswith("tagger")))
    if not task.split_:
        return Table(rows=[], verdict="", what="It learned from a stream, without rows held out to judge it by.")
    what = f"{words.counted(task.split_['judge'], 'row')} of the history that chose nothing."
    lost = task.verdict_.startswith(("a simple rule", "no better"))
    found = smaller & {name for row in rows for name in row.metrics}
    return Table(rows=rows, verdict=task.verdict_, baseline_wins=lost, smaller_is_better=found, what=what)


def _parts(task: Tagger) -> list[frame.Part]:
    """The rows of each use, as counts: of many sequences they lie all over."""
    if not task.split_:
        return []
    ends = np.cumsum([0, *(task.split_[name] for name in PARTS)]).tolist()
    pairs = itertools.pairwise(ends)
    return [frame.Part(name=n, rows=pair, use=use) for (n, use), pair in zip(PARTS.items(), pairs, strict=True)]


def _notes(task: Tagger, told: Told | None, evaluation: Any) -> list[str]:
    found = [note for note in task.notes_ if note] + list(getattr(evaluation, "notes", []))
    if told is None:
        return found
    names = [one.name for one in told.said]
    found += [f"{name}: {note}" for name, one in zip(names, told.said, strict=True) for note in one.notes][:20]
    if told.learned_from:
        found.append("What is drawn is the history itself: most of these rows were learned from (shaded).")
    return found + packed.thinned(_clock(told), len(task.channels_))


# ---- how it went ---------------------------------------------------------------------------------------------------


def _named(task: Tagger, told: Told) -> Numbers:
    return np.concatenate(marked.numbered([np.asarray(one.label) for one in told.said], task.classes_))


def measured(task: Tagger, told: Told) -> dict[str, float]:
    """How well it did on the rows that may judge."""
    assert told.truth is not None
    right = told.truth[told.judged]
    if task.target == "label":
        return {"accuracy": float((_named(task, told)[told.judged] == right).mean())}
    values = np.concatenate([np.asarray(one.value) for one in told.said])[told.judged]
    return {"MAE": float(np.abs(values - right).mean())}


def confusion(task: Tagger, told: Told | None) -> Numbers:
    """(true class, named class) of the rows that may judge."""
    if told is None or told.truth is None or told.learned_from or not own(told):
        return task.confusion_
    table = np.zeros((len(task.classes_),) * 2, dtype=np.int64)
    np.add.at(table, (told.truth[told.judged], _named(task, told)[told.judged]), 1)
    return table


def shares(table: Numbers) -> list[list[tuple[int, float]]]:
    """A line for each true class: how often it was named what, and that as a share of the line."""
    parts = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return [list(zip(*each, strict=True)) for each in zip(table.tolist(), parts.tolist(), strict=True)]


def drawn(task: Tagger, told: Told | None) -> dict[str, Chart | None]:
    """Labels: how far to believe a probability. Values: what was said against what was true."""
    if told is None or told.truth is None or not own(told):
        return {}
    at = np.flatnonzero(told.judged)
    if task.target == "label":
        proba = np.concatenate([np.asarray(one.proba) for one in told.said])[at]
        best = proba.argmax(axis=1).astype(np.int64)
        return {"reliability": reliable(Judged(at, told.truth[at], best, proba.max(axis=1)).reliability())}
    values = np.concatenate([np.asarray(one.value) for one in told.said])
    some = at[:: len(at) // SCATTERED + 1]
    pairs = {str(name): (told.truth[some, k], values[some, k]) for k, name in enumerate(task.answers_)}
    return {"values": scattered(pairs)}


# ---- what is drawn -------------------------------------------------------------------------------------------------


def _clock(told: Told) -> Numbers:
    """Times of all rows: those of one series; of many, their numbers one after the other, as seconds."""
    if len(told.said) == 1:
        return told.said[0].times
    numbers = [first + i + np.arange(len(told.said[i])) for i, first in enumerate(told.begins.tolist())]  # one between
    return np.concatenate(numbers) * SECOND


def payload(task: Tagger, told: Told) -> dict[str, Any]:
    """What the page's own JavaScript reads: times on the x axis are ms since 1970, else rows or seconds."""
    single, labels = len(told.said) == 1, task.target == "label"
    clock = _clock(told)
    scale, most = (1e6 if task.clock_ and single else 1e9), packed.limit(len(task.channels_))
    at, middles = packed.holes(clock) if single else (told.begins[1:], clock[told.begins[1:]] - SECOND)
    times = np.insert(clock, at, middles) / scale

    def holed(column: NDArray[Any]) -> Floats:
        return np.insert(np.asarray(column, dtype=np.float64), at, np.nan, axis=0)

    readings = holed(np.concatenate([one.values for one in told.series]))
    sensors = [
        packed.track(times, [("seen", readings[:, c], "f32")], most) | {"name": name}
        for c, name in enumerate(task.channels_)
        if np.isfinite(readings[:, c]).any()
    ]
    return {
        "times": packed.block(times, "f64"), "sensors": sensors,
        "axis": None if single else "row, all sequences in turn",
        "labels": _labels(task, told, holed) if labels else None,
        "values": None if labels else _values(task, told, holed, times, most),
        "places": _mistakes(task, told, times, at) if labels and own(told) else [],
        "learned": _learned(task, told, clock, scale),
    }  # fmt: skip


def _labels(task: Tagger, told: Told, holed: Any) -> Block:
    """Class numbers of every row, true, named and raw, and what each class was said to be worth."""
    proba = np.concatenate([np.asarray(one.proba) for one in told.said])
    order = np.argsort(-proba.sum(axis=0), kind="stable")
    strips = {"named": _named(task, told)}
    if task.smooth:
        raw = [np.asarray(one.raw) for one in told.said]
        strips["raw"] = np.concatenate(marked.numbered(raw, task.classes_))
    if told.truth is not None:
        strips = {"true": np.where(told.truth < 0, np.nan, told.truth), **strips}
    drawn_, wide = order[:STACKED], "u8" if len(task.classes_) < 250 else "u16"
    return {
        "classes": [str(name) for name in task.classes_],
        "strips": [{"name": name, "rows": packed.block(holed(column), wide)} for name, column in strips.items()],
        "stacked": drawn_.tolist(), "others": bool(len(order) > STACKED),
        "proba": [packed.block(holed(proba[:, k]), "u8") for k in drawn_],
    }  # fmt: skip


def _values(task: Tagger, told: Told, holed: Any, times: Floats, most: int) -> list[Block]:
    values = np.concatenate([np.asarray(one.value) for one in told.said])
    found = []
    for k, name in enumerate(task.answers_):
        columns: list[packed.Column] = [
            ("said", holed(values[:, k]), "f32"),
            ("truth", None if told.truth is None else holed(told.truth[:, k]), "f32"),
        ]
        found.append(packed.track(times, columns, most) | {"name": str(name)})
    return found


def _mistakes(task: Tagger, told: Told, times: Floats, at: Numbers) -> list[list[Any]]:
    """The longest stretches of rows that were named wrong, in order of time."""
    assert told.truth is not None
    wrong = np.insert((told.truth >= 0) & (told.truth != _named(task, told)), at, False)
    steps = np.diff(wrong.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    order = np.sort(np.argsort(starts - stops, kind="stable")[:PLACES])
    return [[float(times[starts[i]]), float(times[stops[i] - 1]), []] for i in order]


def _learned(task: Tagger, told: Told, clock: Numbers, scale: float) -> list[list[float]]:
    """The stretches that the tagger learned from, where the history itself is drawn."""
    if not told.learned_from:
        return []
    free = _held_out(task, told.series, told.truth)
    steps = np.diff((~free).astype(np.int8), prepend=0, append=0)
    pairs: Sequence[tuple[int, int]] = list(
        zip(np.flatnonzero(steps == 1).tolist(), (np.flatnonzero(steps == -1) - 1).tolist(), strict=True)
    )
    return [[clock[a] / scale, clock[b] / scale] for a, b in pairs[:PLACES]]
