"""What the classifier and the tagger tell: labels of sequences, labels or values of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import several
from .telling import LISTED, Many, about, counted, every, iso, numbered, say_notes, say_training, shown, sizes
from .terminal import say

if TYPE_CHECKING:
    import polars as pl

    from .series import Series
    from .tasks.classify import Classifier, Labelled
    from .tasks.tag import Tagger
    from .tasks.tagged import Tagged


# ---- a label for each sequence ---------------------------------------------------------------------------------------


def classifier_learned(task: Classifier, many: Many) -> None:
    """Which sequences, and how many of each class."""
    say(f"learned from {sizes(many)}; {len(task.classes_)} classes: {counted([label_of(s) for s in many.values()])}")
    say_training(task)


def label_of(series: Series) -> Any:
    """The one label of a whole sequence."""
    assert series.labels is not None
    return series.labels[0]


def classifier_about(task: Classifier) -> dict[str, Any]:
    """What a classifier is."""
    models = len(next(iter(task.model_.weights.values())))
    facts = {
        "classes": [str(name) for name in task.classes_.tolist()],
        "held out": str(task.verdict_),
        "models": models,
    }
    return about(task, "classify", task.model_.form.net, facts)


def labelled(result: Labelled, many: Many) -> None:
    """How many sequences got which label; which, where they are few."""
    say(f"{sizes(many)}: {counted(result.label.tolist())}")
    if len(many) <= LISTED:
        for name, label, proba in zip(many, result.label, result.proba.max(axis=1), strict=True):
            say(f"  {name}: {label} ({100 * proba:.0f} %)")


def labelled_plain(result: Labelled, many: Many) -> dict[str, Any]:
    """The label of each sequence, and how probable each class is."""
    classes = [str(name) for name in result.classes.tolist()]
    lines = [
        {"sequence": name, "label": label, "proba": dict(zip(classes, proba, strict=True))}
        for name, label, proba in zip(many, result.label.tolist(), result.proba.tolist(), strict=True)
    ]
    return {"sequences": lines}


def labelled_frame(result: Labelled, many: Many) -> pl.DataFrame:
    """A row a sequence, with its name."""
    import polars as pl

    frame = result.to_frame()
    return frame.insert_column(0, pl.Series("sequence", list(many)))


# ---- a label or values for each step ---------------------------------------------------------------------------------


def tagger_learned(task: Tagger, data: Series | Many) -> None:
    """Which data, how many rows of it served what."""
    say(f"learned from {sizes(data) if isinstance(data, dict) else shown(data)}")
    used = ", ".join(f"{part} {count:,}" for part, count in task.split_.items())
    say(f"  {used} rows; {_what(task)}: {', '.join(map(str, task.answers_[:LISTED]))}")
    say_training(task)


def _what(task: Tagger) -> str:
    return "classes" if task.target == "label" else "values"


def tagger_about(task: Tagger) -> dict[str, Any]:
    """What a tagger is."""
    facts = {
        "interval": every(task),
        _what(task): [str(name) for name in task.answers_],
        "direction": task.direction,
        "smooth": task.smooth,
        "held out": task.verdict_,
    }
    return about(task, "tag", task.model_.form.net, facts)


def _named(result: Tagged | list[Tagged], data: Series | Many) -> list[tuple[str, Tagged, Series]]:
    """Each sequence by its name; one alone has none."""
    if isinstance(data, dict):
        assert isinstance(result, list)
        return [(name, one, series) for (name, series), one in zip(data.items(), result, strict=True)]
    assert not isinstance(result, list)
    return [("", result, data)]


def tagged(result: Tagged | list[Tagged], data: Series | Many) -> None:
    """How many rows got which label, or the range of each value."""
    each = _named(result, data)
    say(sizes(data) if isinstance(data, dict) else f"{data.name}: {several(len(data), 'row')}")
    say_notes(_noticed(each))
    for name, one, _ in each[:LISTED]:
        say(f"  {name}{': ' * bool(name)}{_said(one)}")
    if len(each) > LISTED:
        say(f"  and {len(each) - LISTED} more")


def _noticed(each: list[tuple[str, Tagged, Series]]) -> list[str]:
    """What was noticed of one series; of many, what the tagger noticed."""
    return [note for name, one, series in each for note in [*(() if name else series.notes), *one.notes]]


def _said(one: Tagged) -> str:
    if one.label is not None:
        return counted(one.label.tolist())
    assert one.value is not None
    ends = zip(one.answers, one.value.min(axis=0), one.value.max(axis=0), strict=True)
    return ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, low, high in ends)


def tagged_plain(result: Tagged | list[Tagged], data: Series | Many) -> dict[str, Any]:
    """The label or the values of each row."""
    each = _named(result, data)
    lines = []
    for name, one, series in each:
        line: dict[str, Any] = {"sequence": name} if name else {"data": series.name}
        if series.clock:
            line["times"] = [iso(time) for time in one.times]
        if one.label is not None:
            line["label"] = one.label.tolist()
        elif one.value is not None:
            line |= {str(target): one.value[:, k].tolist() for k, target in enumerate(one.answers)}
        lines.append(line)
    notes = list(dict.fromkeys(_noticed(each)))
    return {"sequences": lines, "notes": notes} if isinstance(data, dict) else {**lines[0], "notes": notes}


def tagged_frame(result: Tagged | list[Tagged], data: Series | Many) -> pl.DataFrame:
    """A row a step; of many sequences with the name of each."""
    import polars as pl

    frames = [(name, numbered(one.to_frame(), series.clock)) for name, one, series in _named(result, data)]
    if not isinstance(data, dict):
        return frames[0][1]
    return pl.concat(frame.select(pl.lit(name).alias("sequence"), pl.all()) for name, frame in frames)
