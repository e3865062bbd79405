"""One self-contained HTML file that shows what a task learned and how well it does.

>>> import tidegate as tg
>>> series = tg.synth.machine(rows=1200, channels=2, seed=0)
>>> detector = tg.AnomalyDetector(training=tg.Training(epochs=1, batches=5)).fit(series[:900])
>>> page(detector, detector.apply(series[900:])).startswith("<!doctype html>")
True

`tg.report.write("report.html", detector, found)` writes it to a file, which works offline and asks for nothing:
plotly's JavaScript is copied into it. Needs the extra `report` (plotly, jinja2).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .errors import SettingError
from .pages import frame
from .pages.words import rate as rate
from .tasks import verbs


def _anomaly() -> Callable[..., str]:
    from .pages.anomaly import page

    return page


def _forecast() -> Callable[..., str]:
    from .pages.forecast import page

    return page


def _complete() -> Callable[..., str]:
    from .pages.complete import page

    return page


def _classify() -> Callable[..., str]:
    from .pages.classify import page

    return page


def _tag() -> Callable[..., str]:
    from .pages.tag import page

    return page


PAGES: dict[str, Callable[[], Callable[..., str]]] = {
    "AnomalyDetector": _anomaly,
    "Forecaster": _forecast,
    "Completer": _complete,
    "Classifier": _classify,
    "Tagger": _tag,
}


RESULTS = {
    "AnomalyDetector": ("Found",), "Forecaster": ("Forecast", "Backtest"), "Completer": ("Completed",),
    "Classifier": ("Labelled",), "Tagger": ("Tagged", "list"),
}  # fmt: skip
"""task -> the kinds of what it says"""


def page(
    task: Any, result: Any = None, evaluation: Any = None, *, data: Any = None, truth: Any = None, title: str = ""
) -> str:
    """The page about a fitted task and what it said, as one HTML text.

    task        any fitted task: what it is, what it learned from and how the training went is on its page
    result      what it said: of `apply`, or a Forecaster's `backtest`. None: only what was learned (not for anomalies)
    evaluation  the table of `tidegate evaluate` (`evaluate.Evaluation`), or a Forecaster's `backtest` where `result`
                is its `apply`
    data        what the result is about, where the result does not hold it: the sequences of a Classifier, the series
                of a Tagger, what went before a forecast
    truth       what was right, where it is known: the labels of a Classifier or Tagger, the series of a Completer
                without its holes, what came after a forecast
    title       stands over the page; the name of the data if not given

    Raises SettingError for something that is no fitted task, MissingExtraError without plotly and jinja2.
    """
    found = next((PAGES[kind.__name__] for kind in type(task).__mro__ if kind.__name__ in PAGES), None)
    if found is None:
        raise SettingError(f"a report of {type(task).__name__}", wanted=f"a fitted {', '.join(PAGES)}")
    verbs.require_fitted(task, "model_")
    _belongs(type(task).__name__, result, evaluation)
    return found()(task, result, evaluation, data=data, truth=truth, title=title)


def _belongs(task: str, result: Any, evaluation: Any) -> None:
    """Refuse what another task said: its page would be about nothing."""
    kinds = RESULTS[task]
    if result is not None and type(result).__name__ not in kinds:
        saw = f"a {type(result).__name__} as the result of a {task}"
        raise SettingError(saw, wanted=f"a {' or a '.join(kinds)}", do="give what apply said")
    if not (evaluation is None or hasattr(evaluation, "rows") or type(evaluation).__name__ == "Backtest"):
        saw = f"{type(evaluation).__name__} as an evaluation"
        raise SettingError(saw, wanted="the table of an evaluation, or a Backtest")


def write(
    path: str | os.PathLike[str],
    task: Any,
    result: Any = None,
    evaluation: Any = None,
    *,
    data: Any = None,
    truth: Any = None,
    title: str = "",
) -> None:
    """Write `page` to a file; the one that was there before stays whole if that fails."""
    frame.write(path, page(task, result, evaluation, data=data, truth=truth, title=title))
