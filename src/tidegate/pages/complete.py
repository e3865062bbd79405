"""The completion page: what was missing, what stands there now, how sure that is, and which rule filled it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..series import SECOND
from ..tasks import verbs
from . import frame, packed, words
from .charts import Chart, by_group
from .frame import Page, Row, Table
from .packed import Block, Floats

if TYPE_CHECKING:
    from ..tasks.complete import Completed, Completer

AT_LEVEL = 1.645  # standard deviations on either side that are meant to hold 90 %
PLACES = 300  # holes to look at one after the other, the longest
CHANNELS = 200  # lines of the table
REACHES = (1, 2, 5, 11, 23, 47)  # rows to the nearest reading, up to which fills are told together
USES = {
    "train": "what the network learned",
    "valid": "when training stopped, which channels the network fills",
    "calibrate": "how wide the bands are, and the errors held against the simple rules",
}

Marks = NDArray[np.bool_]


def page(
    task: Completer,
    result: Completed | None = None,
    evaluation: Any = None,
    *,
    data: Any = None,
    truth: Any = None,
    title: str = "",
) -> str:
    """The page about a completer and what it filled, as HTML text; `truth`: the same rows without their holes."""
    right = None if truth is None or result is None else _truth(task, result, truth)
    table = beside(task, evaluation, naive(task))
    headline, sentences = said(task, table, result, right)
    charts: dict[str, Chart | None] = {}
    if result is not None and right is not None:
        charts = {"reach": by_reach(result, right, naive(task)), "held": by_channel_held(result, right)}
    order = [] if result is None else _order(result)
    return frame.render(
        Page(
            title=title or ("what was learned" if result is None else result.name),
            headline=headline, sentences=sentences, clock=task.clock_, table=table,
            learned=frame.Learned(
                facts=facts(task), split=frame.parts(task.split_, USES), history=frame.curve(task.history_)
            ),
            notes=[*task.notes_, *([] if result is None else _notes(result))],
            template="complete.html.j2", scripts=() if result is None else ("record.js", "complete.js"),
            charts=charts, data={} if result is None else payload(task, result, right, order),
            more={"result": result, "right": right is not None, "rule": naive(task),
                  "lines": lines(task, result, right), "count": len(task.channels_)},
        )
    )  # fmt: skip


def naive(task: Completer) -> str:
    """What fills a hole where the network does not."""
    return "the last value" if task.direction == "past" else "linear interpolation"


def _truth(task: Completer, result: Completed, truth: Any) -> Floats:
    """What was right where it filled (T, C): NaN where it did not, or where that is not known."""
    series = verbs.matched(task, truth)
    if len(series) != len(result):
        from ..errors import DataError

        raise DataError(f"a truth of {len(series):,} rows", wanted=f"the {len(result):,} rows that were filled")
    found: Floats = np.where(result.filled, series.values, np.nan)
    return found


# ---- words ---------------------------------------------------------------------------------------------------------


def said(task: Completer, table: Table, result: Completed | None, right: Floats | None) -> tuple[str, list[str]]:
    """The headline and the sentences that open the page."""
    errors, sentences = task.held_out_, [f"{words.opened(table.verdict)}."]
    if result is None:
        better = 1 - errors["network"] / errors["linear"] if errors["linear"] > 0 else np.nan
        headline = f"Fills {words.percent(better)} nearer than {naive(task)}"
        return headline if better > 0 and not table.baseline_wins else f"No nearer than {naive(task)}", sentences
    count, cells = int(result.filled.sum()), result.filled.size
    left = int(np.isnan(result.values).sum())
    headline = f"{words.counted(count, 'value')} filled of {cells:,}" if count else "Nothing was missing"
    if right is not None and np.isfinite(right).any():
        known, missed, beside_ = _missed(result, right)
        inside = float((missed[known] <= AT_LEVEL * result.std[known]).mean())
        of = words.counted(int(known.sum()), "fill")
        sentences.append(
            f"Of {of} whose truth is known, {words.percent(inside)} lie inside their 90\u00a0% band"
            f"{_nearer(task, result, missed, beside_)}."
        )
    if judged := [name for name in task.linear_ if "decided network" in task.by_channel_[name]]:
        sentences.append(
            f"Filled by {naive(task)} alone, because the network was no better there: {words.some(judged)}."
        )
    if rest := [name for name in task.linear_ if name not in judged]:
        sentences.append(
            f"Filled by {naive(task)}, for want of readings on later rows to judge by: {words.some(rest)}."
        )
    if left:
        sentences.append(f"{words.counted(left, 'value')} stayed empty: there was nothing to fill from.")
    return headline, sentences


def _nearer(task: Completer, result: Completed, missed: Floats, other: Floats) -> str:
    """How the error compares, in spreads of the channels so that none outweighs the others."""
    spread = task.model_.scale.spread
    ours, theirs = float(np.nanmean(missed / spread)), float(np.nanmean(other / spread))
    if not theirs > 0:
        return ""
    return f"; mean absolute error {words.figure(ours)} spreads, {naive(task)} {words.figure(theirs)}"


def facts(task: Completer) -> list[tuple[str, str]]:
    """What the completer is, in words."""
    ways = {"both": "before and after a hole", "past": "before a hole only", "none": "the neighbours of a hole only"}
    rows = words.counted(max(stop for _, stop in task.split_.values()), "row")
    found = frame.facts(task, "fill what is missing", rows)
    return [
        *found[:2],
        ("reads", ways[task.direction]),
        ("training windows of", f"{task.model_.recipe.length} rows"),
        *found[2:],
    ]


def beside(task: Completer, evaluation: Any, rule: str) -> Table:
    """The completer beside the simple rules: of an evaluation, or of rows held out of learning, hidden and filled."""
    if hasattr(evaluation, "rows"):
        return frame.table(evaluation, frozenset({"MAE", "MSE", "RMSE"}))
    from ..tasks import hiding

    errors = dict(sorted(task.held_out_.items(), key=lambda each: (each[0] != "network", each[1])))
    if rule == "the last value":
        errors.pop("linear", None)
    names = {"network": "the network", "linear": "linear interpolation", "last_value": "the last value"}
    rows = [Row(name=names.get(n, n), metrics={"MAE": e}, baseline=n != "network") for n, e in errors.items()]
    what = "Readings of the last rows of the history, hidden and filled; in spreads of each channel."
    smaller = frozenset({"MAE"})
    wins = not task.verdict_.startswith(hiding.WON)
    return Table(rows=rows, verdict=task.verdict_, baseline_wins=wins, smaller_is_better=smaller, what=what)


def lines(task: Completer, result: Completed | None, right: Floats | None) -> list[dict[str, Any]]:
    """Of every channel: what was filled, how far off the network and the rule were, and which of them fills it."""
    found = []
    for c, name in list(enumerate(task.channels_))[:CHANNELS]:
        blank = dict.fromkeys(("network", "linear", "decided network", "decided linear"), np.nan)
        line = {
            **blank,
            "name": name,
            **task.by_channel_[name],
            "by": naive(task) if name in task.linear_ else "the network",
        }
        if result is not None:
            filled = result.filled[:, c]
            starts, stops = _runs(filled)
            line |= {"count": int(filled.sum()), "share": float(filled.mean()),
                     "longest": int((stops - starts).max(initial=0))}  # fmt: skip
        if result is not None and right is not None:
            known = np.isfinite(right[:, c])
            missed = np.abs(result.values - right)[known, c]
            line |= {"missed": _mean(missed), "rule": _mean(np.abs(result.linear - right)[known, c]),
                     "inside": _mean(missed <= AT_LEVEL * result.std[known, c])}  # fmt: skip
        found.append(line)
    return found


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _missed(result: Completed, right: Floats) -> tuple[Marks, Floats, Floats]:
    """Where truth is known, how far off each fill is and how far off the rule would have been (NaN elsewhere)."""
    known = np.isfinite(right) & np.isfinite(result.values)
    return known, np.abs(result.values - right), np.abs(result.linear - right)


def _notes(result: Completed) -> list[str]:
    runs = sum(len(_runs(filled)[0]) for filled in result.filled.T)
    some = [f"The {PLACES} longest of {runs:,} holes can be looked at one after the other."] if runs > PLACES else []
    return [*result.notes, *some, *packed.thinned(result.times, len(result.channels))]


# ---- what is drawn -------------------------------------------------------------------------------------------------


def _runs(marks: Marks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where stretches of True begin and end (half-open).

    >>> [each.tolist() for each in _runs(np.array([True, False, True, True]))]
    [[0, 2], [1, 4]]
    """
    steps = np.diff(marks.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)


def _order(result: Completed) -> list[int]:
    """Channel numbers, the most filled first."""
    return [int(c) for c in np.argsort(-result.filled.sum(axis=0), kind="stable")]


def payload(task: Completer, result: Completed, right: Floats | None, order: list[int]) -> dict[str, Any]:
    """What the page's own JavaScript reads: times on the x axis are ms since 1970, or seconds without a clock."""
    scale, most = 1e6 if task.clock_ else 1e9, packed.limit(len(order))
    at, middles = packed.holes(result.times)
    rows = np.insert(result.times, at, middles)

    def holed(column: Floats) -> Floats:
        return np.insert(column, at, np.nan)

    def sensor(c: int) -> Block:
        filled, values = result.filled[:, c], result.values[:, c]
        near = (
            filled | np.append(filled[1:], False) | np.append(False, filled[:-1])
        )  # a fill is joined to its neighbours
        wide = AT_LEVEL * np.nan_to_num(result.std[:, c])
        sure = near & np.isfinite(result.std[:, c])
        columns: list[packed.Column] = [
            ("seen", holed(np.where(filled, np.nan, values)), "f32"),
            ("expected", holed(np.where(near, values, np.nan)), "f32"),
            ("below", holed(np.where(sure, wide, np.nan)), "f32"),
            ("above", holed(np.where(sure, wide, np.nan)), "f32"),
            ("linear", holed(np.where(near, result.linear[:, c], np.nan)), "f32"),
            ("truth", None if right is None else holed(right[:, c]), "f32"),
        ]
        share = float(filled.mean())
        said = {"name": result.channels[c], "says": words.percent(share) if share else ""}
        return packed.track(rows / scale, columns, most) | said

    places = _places(task, result, order, scale)
    return {
        "times": packed.block(rows / scale, "f64"),
        "places": places,
        "longest": max(range(len(places)), key=lambda i: places[i][1] - places[i][0], default=None),
        "rule": naive(task),
        "sensors": [sensor(c) for c in order],
    }


def _places(task: Completer, result: Completed, order: list[int], scale: float) -> list[list[Any]]:
    """The longest holes in order of time: start, end, the place of their channel in `order`."""
    step, found = task.interval_ * SECOND, []
    for place, c in enumerate(order):
        starts, stops = _runs(result.filled[:, c])
        begun, ended = result.times[starts], result.times[stops - 1]
        found += [(int(b - a), int(a), int(b), place) for a, b in zip(begun, ended, strict=True)]
    longest = sorted(found, key=lambda hole: -hole[0])[:PLACES]
    return [[(a - step) / scale, (b + step) / scale, [c]] for _, a, b, c in sorted(longest, key=lambda hole: hole[1])]


# ---- how it went ---------------------------------------------------------------------------------------------------


def reach(filled: Marks) -> NDArray[np.int64]:
    """How many rows away the nearest reading of the channel is (T, C); 0 where there is one.

    >>> reach(np.array([[False], [True], [True], [True], [False], [True]])).ravel().tolist()
    [0, 1, 2, 1, 0, 1]
    """
    t = np.arange(len(filled))[:, None]
    far = 2 * len(filled) + 1
    before = np.maximum.accumulate(np.where(filled, -far, t), axis=0)
    after = np.minimum.accumulate(np.where(filled, far, t)[::-1], axis=0)[::-1]
    found: NDArray[np.int64] = np.minimum(t - before, after - t)
    return found


def by_reach(result: Completed, right: Floats, rule: str) -> Chart | None:
    """The error of fills and of the rule by how far away the nearest reading is, as shares of the rule's overall."""
    known, missed, other = _missed(result, right)
    if not known.any():
        return None
    spread = np.array([float(np.nanstd(result.values[:, c])) or 1.0 for c in range(len(result.channels))])
    missed, other, far = (missed / spread)[known], (other / spread)[known], reach(result.filled)[known]
    group = np.searchsorted(REACHES, far)
    names = _ranges(REACHES)
    there = [g for g in range(len(names)) if (group == g).any()]
    said = [f"{names[g]}" for g in there]
    counts = [int((group == g).sum()) for g in there]
    figures = {
        "the fill": [float(missed[group == g].mean()) for g in there],
        rule: [float(other[group == g].mean()) for g in there],
    }
    return by_group(said, figures, counts, x="rows to the nearest reading", y="mean absolute error, in spreads")


def _ranges(ends: tuple[int, ...]) -> list[str]:
    """
    >>> _ranges((1, 2, 5))
    ['1', '2', '3–5', 'over 5']
    """
    starts = [1, *(end + 1 for end in ends[:-1])]
    names = [str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True)]
    return [*names, f"over {ends[-1]}"]


def by_channel_held(result: Completed, right: Floats) -> Chart | None:
    """What the 90 % band of each channel held."""
    known, missed, _ = _missed(result, right)
    if not known.any():
        return None
    inside = missed <= AT_LEVEL * result.std
    there = [c for c in range(len(result.channels)) if known[:, c].any()]
    figures = {"inside the 90 % band": [float(inside[known[:, c], c].mean()) for c in there]}
    counts = [int(known[:, c].sum()) for c in there]
    names = [result.channels[c] for c in there]
    return by_group(names, figures, counts, x="", y="share inside the 90 % band", asked=0.9)
