"""The page that all tasks share: a verdict, charts, the table of simple rules, the training, what was learned, notes.

`render(page)` gives one self-contained HTML text. It needs nothing but itself: plotly's JavaScript is copied in from
the installed package, and the page's content policy forbids any request. Names of sensors and classes are text
wherever they stand, in the HTML and in the embedded data.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from .. import __version__
from ..disk import whole
from ..errors import MissingExtraError
from ..settings import Epoch
from . import words
from .charts import Chart

NEITHER = frozenset({"in 90 % band"})  # columns of an evaluation of which neither end is better
PARTED = 1.05  # times its best that a validation loss must reach before the curves are said to part


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of rows used for one purpose: `Part(name="train", rows=(0, 900), start=0, end=900_000_000_000)`.

    `rows` is half-open; `start` and `end` are UTC nanoseconds (None: not known); `use` says in a few words what the
    rows decided.
    """

    name: str
    rows: tuple[int, int]
    start: int | None = None
    end: int | None = None
    use: str = ""


Curve = Sequence[tuple[int, float, float]]
"""epoch, training loss, validation loss (NaN where there is none) of one model"""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the model is and what it came from: `facts` (name, value), `history` (epoch, train, valid loss).

    `models` has the curves of each where several learned at once; `history` is then their mean. Where only that was
    kept, `count` says of how many.
    """

    facts: Sequence[tuple[str, str]] = ()
    split: Sequence[Part] = ()
    history: Curve = ()
    models: Sequence[Curve] = ()
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the comparison: a method's name and its figures; `baseline` marks the naive ones."""

    name: str
    metrics: Mapping[str, float]
    baseline: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """The comparison with its verdict in one sentence; that sentence opens the report where a baseline wins."""

    rows: Sequence[Row] = ()
    verdict: str = ""
    baseline_wins: bool = False
    smaller_is_better: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()
    """columns of which neither end is better"""
    what: str = ""
    """which rows the figures are of"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one page says. `template` draws the parts of its task, `scripts` are its JavaScript, `data` what that reads,
    `charts` what needs none of its own, and `more` what only its template knows."""

    title: str
    headline: str
    sentences: Sequence[str]
    template: str
    generated: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
    clock: bool = True
    learned: Learned = field(default_factory=Learned)
    table: Table = field(default_factory=Table)
    notes: Sequence[str] = ()
    charts: Mapping[str, Chart | None] = field(default_factory=dict)
    scripts: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


def write(path: str | os.PathLike[str], text: str) -> None:
    """A page on disk; the file that was there before stays whole if the disk is full or writing is not allowed."""
    with whole(Path(path)) as file:
        file.write(text.encode())


def render(page: Page) -> str:
    """The page as one HTML text; needs the extra `report` (plotly, jinja2)."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError.of((error.name or "plotly").partition(".")[0], "report") from None
    house = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, loader=FunctionLoader(_asset)
    )
    house.filters |= {"sha256": _sha256, "span": words.span, "chance": words.chance, "figure": words.figure}
    house.filters |= {"percent": words.percent, "counted": words.counted}
    house.globals |= {"best": best, "listed": words.listed, "nan": math.nan}
    charts = {name: chart for name, chart in {**page.charts, "losses": losses(page.learned)}.items() if chart}
    data = {"clock": page.clock, "charts": charts, **page.data}
    return house.get_template(page.template).render(
        page=page,
        charts=charts,
        held=any(math.isfinite(valid) for *_, valid in page.learned.history),
        parted=parted(page.learned),
        warn=page.table.baseline_wins,
        unsaid=_unsaid(page),
        time=lambda ns: words.moment(ns, page.clock).removesuffix(" UTC").removeprefix("at "),
        data=msgspec.json.encode(data, enc_hook=float).decode().replace("<", "\\u003c"),
        plotly=get_plotlyjs(),
        script="\n".join([*map(_asset, ["frame.js", *page.scripts]), "begin();"]),
        **page.more,
    )


def _unsaid(page: Page) -> str:
    """What of the verdict does not open the page."""
    opened = " ".join(page.sentences).lower()
    lines = [line for line in page.table.verdict.split("\n") if line.lower() not in opened]
    return " ".join(f"{words.opened(line)}{'' if line.endswith('.') else '.'}" for line in lines if line)


# ---- the table -----------------------------------------------------------------------------------------------------


def best(table: Table) -> dict[str, float]:
    """The best figure of each column of the comparison, to be set in bold.

    >>> ours, level = Row(name="ours", metrics={"AUROC": 0.9, "MAE": 2}), Row(name="level", metrics={"MAE": 1.0})
    >>> best(Table(rows=[ours, level], smaller_is_better=frozenset({"MAE"})))
    {'AUROC': 0.9, 'MAE': 1.0}
    """
    columns: dict[str, list[float]] = {}
    for row in table.rows:
        for name, value in row.metrics.items():
            columns.setdefault(name, []).append(value)
    found = {n: [v for v in column if math.isfinite(v) and n not in table.counts] for n, column in columns.items()}
    return {n: (min if n in table.smaller_is_better else max)(v, default=math.nan) for n, v in found.items()}


def table(evaluation: Any, smaller_is_better: frozenset[str]) -> Table:
    """The table of an `evaluate.Evaluation`."""
    rows = evaluation.rows
    return Table(
        rows=rows, verdict=evaluation.verdict, baseline_wins=evaluation.baseline_wins, what=evaluation.what,
        smaller_is_better=smaller_is_better & {name for row in rows for name in row.metrics}, counts=NEITHER,
    )  # fmt: skip


# ---- the training --------------------------------------------------------------------------------------------------


def curve(history: Sequence[Epoch]) -> Curve:
    """A task's record of its epochs as a page draws it; people count them from one."""
    return [(e.epoch + 1, e.train_loss, math.nan if e.valid_loss is None else e.valid_loss) for e in history]


def ended(history: Curve) -> tuple[int, bool]:
    """Where the validation loss of a model was best, and whether it rose from there while the training loss fell on.

    >>> ended([(1, 0.9, 0.8), (2, 0.5, 0.6), (3, 0.3, 0.9)])
    (1, True)
    """
    valid = [loss if math.isfinite(loss) else math.inf for _, _, loss in history]
    at = valid.index(min(valid))
    fell = history[-1][1] < history[at][1]
    return at, fell and math.isfinite(valid[at]) and valid[-1] > PARTED * valid[at]


def parted(learned: Learned) -> str:
    """When training and validation loss parted and what was done, in a sentence; "" where nothing was recorded.

    >>> parted(Learned(history=[(1, 0.9, 0.8), (2, 0.5, 0.6), (3, 0.3, 0.9)]))
    'After epoch 2 the two part: the training loss fell on from 0.5 to 0.3, the validation loss rose ...'
    """
    models = learned.models or ([learned.history] if learned.history else [])
    if not models:
        return ""
    if not all(math.isfinite(loss) for model in models for _, _, loss in model):
        return "No later rows were set aside to stop by: all epochs were trained."
    ends = [(model, *ended(model)) for model in models]
    apart = [(m[at][0], m[at][1], m[-1][1], m[at][2], m[-1][2]) for m, at, parts in ends if parts]
    if not apart:
        kept, last = (median(epochs) for epochs in ([m[at][0] for m, at, _ in ends], [m[-1][0] for m, _, _ in ends]))
        which = "its weights were kept" if len(models) == 1 else "each model kept its own best (these are medians)"
        which = (
            f"each of the {learned.count} models kept its own best (these are means)" if learned.count > 1 else which
        )
        return f"The two did not part. The best epoch was {kept:g} of {last:g}; {which}."
    epoch, *rest = (median(each) for each in zip(*apart, strict=True))
    a, b, c, d = map(words.figure, rest)
    told = f"the training loss fell on from {a} to {b}, the validation loss rose from {c} to {d}."
    if len(models) == 1:
        done = "The weights of that epoch were kept."
        if learned.count > 1:
            done = f"These are means of {learned.count} models, each of which kept the weights of its own best epoch."
        return f"After epoch {epoch:g} the two part: {told} {done}"
    who = f"In {len(apart)} of {len(models)} models the two part, in the median after epoch {epoch:g}"
    return f"{who}: {told} Each model kept the weights of its own best epoch."


def losses(learned: Learned) -> Chart | None:
    """Loss by epoch on the rows learned from and on later ones; of several models each, with their mean in front."""
    if not learned.history:
        return None
    mean, traces, shapes = list(learned.history), list[dict[str, Any]](), list[dict[str, Any]]()
    for model in learned.models:
        epochs, train, valid = zip(*model, strict=True)
        thin = {"mode": "lines", "hoverinfo": "skip", "opacity": 0.35, "showlegend": False}
        traces.append({"x": epochs, "y": train, **thin, "line": {"color": "$soft", "width": 1, "dash": "4px,3px"}})
        traces.append({"x": epochs, "y": valid, **thin, "line": {"color": "$expect", "width": 1}})
    epochs, train, valid = zip(*mean, strict=True)
    of = "mean, " if learned.models else ""
    mode = "lines" if len(mean) > 1 else "markers"
    dashes = {"color": "$soft", "width": 1.6, "dash": "4px,3px"}
    traces.append({"x": epochs, "y": train, "name": f"{of}learned from", "mode": mode, "line": dashes})
    known = [(model, *ended(model)) for model in learned.models or [mean] if any(math.isfinite(v) for *_, v in model)]
    if known:
        line = {"color": "$expect", "width": 1.6}
        traces.append({"x": epochs, "y": valid, "name": f"{of}later rows", "mode": mode, "line": line})
        kept = [model[at] for model, at, _ in known]
        mark = {"size": 8 if len(known) == 1 else 6, "color": "$expect"}
        dots = {"x": [e for e, _, _ in kept], "y": [v for _, _, v in kept], "mode": "markers", "marker": mark}
        traces.append({**dots, "hoverinfo": "skip", "showlegend": False})
        shapes = _where([model[at][0] for model, at, parts in known if parts])
    return Chart(traces=traces, layout=_loss_layout(mean, shapes))


def _where(epochs: list[int]) -> list[dict[str, Any]]:
    """A line where the curves part: of several models, at the median."""
    if not epochs:
        return []
    line = {"color": "$alarm", "width": 1.2, "dash": "4px,3px"}
    said = {"text": "they part", "font": {"color": "$alarm", "size": 11}, "textposition": "end", "textangle": 0}
    said |= {"xanchor": "left", "yanchor": "top"}
    at = median(epochs)
    return [{"type": "line", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": line, "label": said}]


def _loss_layout(mean: Curve, shapes: list[dict[str, Any]]) -> dict[str, Any]:
    every = [loss for _, *pair in mean for loss in pair if loss == loss]
    wide = bool(every) and max(every) > 30 * min(every) > 0
    return {
        "height": 300, "margin": {"l": 52, "r": 12, "t": 30, "b": 44}, "showlegend": True, "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}, "shapes": shapes,
        "xaxis": {"title": {"text": "epoch"}, "nticks": 8},
        "yaxis": {"title": {"text": "loss"}, "type": "log" if wide else "linear", "nticks": 6, "tickformat": ".3~g"},
    }  # fmt: skip


# ---- what was learned ----------------------------------------------------------------------------------------------


def facts(task: Any, what: str, rows: str = "") -> list[tuple[str, str]]:
    """What a page says of any fitted task."""
    count = sum(int(np.size(w)) for w in task.model_.weights.values())
    each = [
        ("task", what),
        ("network", f"{_network(task).in_words}, {count:,} parameters"),
        ("channels", words.some(task.channels_)),
        ("rows", rows),
        ("a row every", words.span(task.interval_) if getattr(task, "clock_", False) else ""),
        *run(task),
    ]
    return [(name, value) for name, value in each if value]


def run(task: Any) -> list[tuple[str, str]]:
    """How a task was trained, and by what."""
    lasted = sum(e.seconds for e in task.history_)
    trained = f"{words.counted(len(task.history_), 'epoch')}, {lasted:.1f} s on {task.device_}"
    tried = getattr(task, "tried_", [])
    tuned = [("tuned", f"the best of {len(tried)} trainings, by validation rows")] if tried else []
    return [("training", trained), *tuned, ("seed", str(task.seed)), ("tidegate", __version__)]


def _network(task: Any) -> Any:
    form = getattr(task.model_, "form", None) or task.model_.recipe
    return form.net


def parts(split: Mapping[str, tuple[int, int]], uses: Mapping[str, str]) -> list[Part]:
    """The stretches of a history that had each its use."""
    return [Part(name=name, rows=rows, use=uses.get(name, "")) for name, rows in split.items()]


def _asset(name: str) -> str:
    return files("tidegate").joinpath("pages", name).read_text("utf-8")


def _sha256(text: str) -> str:
    """What a content policy calls the script it allows to run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
