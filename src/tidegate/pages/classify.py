"""The page of a classifier: can the labels be predicted at all, what is mistaken for what, and how sure to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..chance import LOST, WON, Chance, judge
from ..errors import DataError
from ..tasks import sequences
from ..tasks.judged import Judged
from . import frame, packed, words
from .charts import Chart, confused, reliable
from .frame import Page, Row, Table

if TYPE_CHECKING:
    from ..tasks.classify import Classifier, Labelled

EXAMPLES = 8  # of each kind that are drawn
LINES = 4  # channels of an example that are drawn
POINTS = 240  # of a line
CELLS = 12  # classes up to which the confusion is a table of words; more are a chart
LISTED = 60  # classes in the table


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was said of which sequences: `judged` numbers `classes`; `held` if these rows were held out of learning."""

    judged: Judged
    classes: list[str]
    held: bool
    chance: Chance


def page(
    task: Classifier,
    result: Labelled | None = None,
    evaluation: Any = None,
    *,
    data: Any = None,
    truth: Any = None,
    title: str = "",
) -> str:
    """The page about a classifier as HTML text: of sequences `data` that are labelled `truth`, or of those held out.

    An evaluation of held-out rows (which has no `detail`) is of the training sequences: then those are what is shown.
    """
    learned_from = hasattr(evaluation, "rows") and getattr(evaluation, "detail", None) is None
    told = held(task) if learned_from or result is None or truth is None else of(task, result, truth)
    given = None if data is None else sequences.each(data, task.channels_)
    if given and result is not None and not learned_from and len(given) != len(result.label):
        raise DataError(f"{len(given):,} sequences beside {len(result.label):,} answers", wanted="the same ones")
    table = beside(task, evaluation)
    headline, sentences = said(table, told)
    charts: dict[str, Chart | None] = {"reliability": reliable(told.judged.reliability())}
    if len(told.classes) > CELLS:
        charts["confusion"] = confused(told.judged.confusion(len(told.classes)), told.classes)
    count = len(told.judged.rows)
    bare = truth is None and not learned_from and result is not None
    if bare and result is not None:
        headline, own = called(result)
        sentences = [*sentences, *own] if table.baseline_wins else [*own, *sentences]  # what loses is said first
    return frame.render(
        Page(
            title=title or ("new sequences" if bare else words.counted(count, f"{'held-out ' * told.held}sequence")),
            headline=headline, sentences=sentences, table=table, template="classify.html.j2", charts=charts,
            learned=frame.Learned(
                facts=facts(task), history=frame.curve(task.history_), models=[frame.curve(h) for h in task.histories_]
            ),
            notes=_notes(task, evaluation),
            more={
                "told": told, "count": count, "rivals": task.rivals_ if told.held else {}, "listed": LISTED,
                "examples": examples(task, told, given) if given and not bare else [],
                "named": named(task, result, given) if bare and result is not None else [],
                "names": names(task), "cells": cells(told), "balance": balance(told),
            },
        )
    )  # fmt: skip


def held(task: Classifier) -> Told:
    """What was said of the rows that chose nothing, each by the one model that has not seen it."""
    return Told(judged=task.judged_, classes=names(task), held=True, chance=task.verdict_)


def of(task: Classifier, result: Labelled, truth: Any) -> Told:
    """What was said of labelled sequences; a label that the classifier does not know is a class of its own."""
    right = [str(label) for label in np.asarray(truth).tolist()]
    if len(right) != len(result.label):
        raise DataError(f"{len(right):,} labels for {len(result.label):,} sequences", wanted="one each")
    known = names(task)
    classes = known + sorted(set(right) - set(known))
    number = {name: i for i, name in enumerate(classes)}
    true = np.array([number[label] for label in right], dtype=np.int64)
    judged = Judged(np.arange(len(true)), true, result.proba.argmax(axis=1).astype(np.int64), result.proba.max(axis=1))
    return Told(judged=judged, classes=classes, held=False, chance=judge([true], [judged.said]))


def names(task: Classifier) -> list[str]:
    """The classes as texts."""
    return [str(name) for name in task.classes_.tolist()]


# ---- words ---------------------------------------------------------------------------------------------------------


def said(table: Table, told: Told) -> tuple[str, list[str]]:
    """The headline and the sentences that open the page."""
    chance = told.chance
    rows = words.counted(chance.rows, f"{'held-out ' * told.held}sequence")
    headline = f"{words.percent(chance.accuracy)} of {rows} named right"
    if not chance.better:
        headline = "No better than chance" if chance.detectable is not None else "Too few rows to tell from chance"
    lines = [chance.of("held-out rows" if told.held else "sequences"), *table.verdict.split("\n")]
    verdict, *own = (f"{words.opened(line)}." for line in dict.fromkeys(lines) if line)
    return headline, [*own, verdict] if table.baseline_wins else [verdict, *own]


def called(result: Labelled) -> tuple[str, list[str]]:
    """The headline and a sentence where no label is known."""
    found, counts = np.unique(result.label.astype(str), return_counts=True)
    order, sure = np.argsort(-counts, kind="stable"), float(result.proba.max(axis=1).mean())
    most = [f"{found[i]} ({counts[i]:,})" for i in order]
    rest = f" The probabilities of the named classes are {words.percent(sure)} in the mean."
    return f"{words.counted(len(result.label), 'sequence')} named", [f"Named: {words.some(most)}.{rest}"]


def facts(task: Classifier) -> list[tuple[str, str]]:
    """What the classifier is, in words."""
    models, form = len(next(iter(task.model_.weights.values()))), task.model_.form
    net = f"{form.net.in_words}, in both directions; {words.counted(models, 'model')} whose mean answers"
    weights = sum(int(np.size(w)) for w in task.model_.weights.values())
    folds, heat = "each model learned from four fifths", "not calibrated: there were too few rows"
    if any(e.valid_loss is not None for e in task.history_):
        folds += f"; of the others half ended its training, half only judged: {len(task.judged_.rows):,} in all"
        heat = f"logits divided by {task.model_.temperature:.3g}, by held-out rows"
    return [
        ("task", "one label per sequence"),
        ("network", f"{net}, {weights:,} parameters"),
        ("classes", words.some(names(task))),
        ("channels", words.some(task.channels_)),
        ("rows", folds),
        ("longest sequence", words.counted(task.n_features_in_, "row")),
        ("probabilities", heat),
        *frame.run(task),
    ]


def beside(task: Classifier, evaluation: Any) -> Table:
    """The classifier beside the naive rules: of an evaluation, or of the rows held out."""
    if hasattr(evaluation, "rows"):
        return frame.table(evaluation, frozenset())
    from ..tasks import naming

    chance = task.verdict_
    rows = [Row(name="the network", metrics={"right": 100 * chance.accuracy}, baseline=False)]
    rows += [Row(name=name, metrics={"right": 100 * share}) for name, share in task.rivals_.items()]
    verdict = naming.beside(chance.accuracy, task.rivals_, task.against_)
    what = f"{chance.rows:,} training sequences, each judged by a model that has not seen it; per cent named right."
    return Table(rows=rows, verdict=verdict, baseline_wins=not verdict.startswith(WON), what=what)


def _notes(task: Classifier, evaluation: Any) -> list[str]:
    """What was noticed, but for what stands elsewhere on the page."""
    known = (str(task.verdict_), "overfitting in", "a baseline is as good", "no better than a simple rule", LOST)
    return [note for note in [*task.notes_, *getattr(evaluation, "notes", [])] if not note.startswith(known)]


# ---- tables --------------------------------------------------------------------------------------------------------


def cells(told: Told) -> list[list[tuple[int, float]]]:
    """The confusion, a line for each true class: how often it was named what, and that as a share of the line."""
    table = told.judged.confusion(len(told.classes))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return [list(zip(*each, strict=True)) for each in zip(table.tolist(), shares.tolist(), strict=True)]


def balance(told: Told) -> list[tuple[str, int, float, float, float]]:
    """Of each class: its name, how many there are, their share, how many were found, how many named so are right."""
    table = told.judged.confusion(len(told.classes))
    true, called, right = table.sum(axis=1), table.sum(axis=0), np.diag(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = (true / true.sum(), right / true, right / called)
    lines = list(zip(told.classes, true.tolist(), *(column.tolist() for column in columns), strict=True))
    return lines[:LISTED]


# ---- examples ------------------------------------------------------------------------------------------------------


def examples(task: Classifier, told: Told, given: Sequence[NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Sequences that were named wrong, the surest first, and right: of every class the surest, then the others."""
    judged = told.judged
    if int(judged.rows.max(initial=-1)) >= len(given):
        raise DataError(
            f"{len(given):,} sequences", wanted="those that the classifier learned from, or those that were labelled"
        )
    place = {int(row): i for i, row in enumerate(judged.rows)}
    wrong, right = ([place[int(row)] for row in rows] for rows in (judged.wrong, judged.right))
    first = [i for n, i in enumerate(right) if judged.truth[i] not in judged.truth[right[:n]]]
    right = [*first, *(i for i in right if i not in set(first))]
    picked = [(kind, at[:EXAMPLES]) for kind, at in (("wrong", wrong), ("right", right))]
    drawn = [given[judged.rows[i]] for _, at in picked for i in at]
    limits = _limits(task, drawn)
    return [
        {
            "kind": kind,
            "all": len(wrong if kind == "wrong" else right),
            "each": [
                {"true": told.classes[judged.truth[i]], "said": told.classes[judged.said[i]],
                 "proba": float(judged.proba[i]), "row": int(judged.rows[i]),
                 "lines": sketch(task, given[judged.rows[i]], limits)}
                for i in at
            ],
        }
        for kind, at in picked if at
    ]  # fmt: skip


def named(task: Classifier, result: Labelled, given: Sequence[NDArray[np.float64]] | None) -> list[dict[str, Any]]:
    """Sequences without known labels: how many were named what, and the surest and least sure of them."""
    if given is None or len(given) != len(result.label):
        return []
    sure = result.proba.max(axis=1)
    order = np.argsort(sure, kind="stable")
    picked = [("least sure", order[:EXAMPLES]), ("surest", order[::-1][:EXAMPLES])]
    limits = _limits(task, [given[i] for _, at in picked for i in at])
    return [
        {"kind": kind, "each": [{"said": str(result.label[i]), "proba": float(sure[i]), "row": int(i),
                                 "lines": sketch(task, given[i], limits)} for i in at]}
        for kind, at in picked
    ]  # fmt: skip


def _limits(task: Classifier, drawn: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """One vertical scale for all examples, in spreads of the channels."""
    if not drawn:
        return 0.0, 1.0
    z = np.concatenate([task.model_.scale.apply(one)[:, :LINES].ravel() for one in drawn])
    low, high = np.nanquantile(z, [0.001, 0.999]) if np.isfinite(z).any() else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def sketch(task: Classifier, one: NDArray[np.float64], limits: tuple[float, float]) -> list[str]:
    """A sequence (T, C) as paths of an SVG 200 wide and 60 high, one a channel, broken where readings are missing."""
    low, high = limits
    z = np.clip(task.model_.scale.apply(one)[:, :LINES], low, high)
    found = []
    for line in z.T:
        at = packed.downsample(np.arange(len(line), dtype=np.float64), line, POINTS)
        x, y = at * (200 / max(len(line) - 1, 1)), 58 - (line[at] - low) * (56 / (high - low))
        known = np.isfinite(y)
        starts = known & ~np.append(False, known[:-1])
        places = zip(x[known], y[known], starts[known], strict=True)
        found.append("".join(f"{'M' if new else 'L'}{a:.1f} {b:.1f}" for a, b, new in places))
    return found
