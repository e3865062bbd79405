"""The commands of `tidegate fit`: one a task. Each learns from history, says how well it does, and writes a model.

Only click is imported until a command runs.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from . import inputs, outputs, tellers, telling
from .errors import DataError
from .inputs import MANY, READING, SEQUENCE, Source
from .terminal import (
    DATA,
    FILE,
    INTERRUPTED,
    JSON,
    REPORT,
    Group,
    Verb,
    interruptible,
    needs,
    options,
    progress,
    ready,
    say,
    show_json,
)  # fmt: skip

if TYPE_CHECKING:
    from .evaluate import Evaluation
    from .series import Series
    from .settings import Size
    from .tasks.anomaly import AnomalyDetector

WIDTHS = 3  # networks that --tune trains one after the other
LOOKED_AT = 50_000  # rows of history in which `fit anomaly` looks for alarms: a longer one would take too long
GIVEN = options(
    DATA, click.option("-o", "--out", required=True, type=FILE, metavar="MODEL", help="The model file to write.")
)
LEARNING = options(
    click.option("--size", type=click.Choice(["small", "medium", "large"]), default="small", help="The one dial."),
    click.option("--channels", callback=inputs.names, metavar="A,B", help="The columns to learn from, if not all."),
    click.option("--ignore", callback=inputs.names, metavar="A,B", help="Columns not to learn from."),
    REPORT,
    JSON,
    click.option(
        "--cell", type=click.Choice(["gru", "lstm", "rnn_tanh", "rnn_relu"]), default="gru", help="Of the network."
    ),
    click.option("--tune", is_flag=True, help="Try nine settings, and take the best by rows that do not judge."),
    click.option("--seed", type=click.IntRange(min=0), default=0, help="The same seed gives the same model."),
    click.option("--device", default="auto", help="Where to train; auto takes a GPU if there is one."),
    click.option("--checkpoint", type=FILE, metavar="FILE", help="Written after every epoch."),
    click.option("--resume", is_flag=True, help="Go on from the checkpoint, if there is one."),
)
BALANCED = click.option(
    "--balanced", "class_weight", flag_value="balanced", help="Each class counts the same, however rare."
)
EXCLUDE = click.option(
    "--exclude", multiple=True, callback=inputs.stretches, metavar="START..END", help="Known-bad history; repeatable."
)


class Learner(NamedTuple):
    """What every task is told."""

    size: Size
    cell: str
    seed: int
    device: str


class Written(NamedTuple):
    """What `fit` leaves behind, where training goes on from, whether other settings are tried; and how it went."""

    out: Path
    report: Path | None
    checkpoint: Path | None
    resume: bool
    tune: bool
    as_json: bool
    interrupted: bool | None  # no option: what `_train` says


@click.group(cls=Group)
def fit() -> None:
    """Learn from history, and write a model.

    \b
      tidegate fit anomaly healthy.csv -o pump.safetensors
      tidegate fit forecast load.csv -o load.safetensors --horizon 24
      tidegate fit complete air.csv -o air.safetensors
      tidegate fit classify gestures.csv -o gestures.safetensors --sequence id --labels gesture
      tidegate fit tag rooms.csv -o rooms.safetensors --labels occupied
    """


class Detecting(NamedTuple):
    """What a detector is told besides."""

    false_alarms: str
    method: str
    form: str


@fit.command(cls=Verb)
@GIVEN
@click.option("--false-alarms", default="1/week", callback=inputs.budget, help="How many normal running may give.")
@click.option("--labels", metavar="COL", help="The column that says which rows are abnormal (1) or not (0).")
@EXCLUDE
@click.option(
    "--method",
    type=click.Choice(["both", "prediction", "reconstruction"]),
    default="both",
    help="Foresee, look back, or both.",
)
@click.option("--form", type=click.Choice(["streaming", "classical"]), default="streaming", help="Of looking back.")
@LEARNING
@READING  # fmt: skip
def anomaly(
    source: Source, learner: Learner, detecting: Detecting, written: Written, exclude: list[tuple[str, str]]
) -> None:
    """Learn what is normal, to say later what is unusual.

    \b
      tidegate fit anomaly healthy.csv -o pump.safetensors
      tidegate fit anomaly year.csv -o pump.safetensors --until 2024-03-09 --exclude 2024-02-01..2024-02-03
      tidegate fit anomaly sqlite:///plant.db --query "select * from pump" -o pump.safetensors

    DATA: a CSV, Parquet or JSON lines file of normal running, or the URL of a database.
    """
    _before(source, written)
    from . import evaluate
    from .settings import SIZES
    from .tasks.anomaly import AnomalyDetector

    series = source.series()
    bad = _known_bad(series, exclude)
    series = inputs.noted(series, *evaluate.unlabelled(series))
    detector = AnomalyDetector(**learner._asdict(), **detecting._asdict())
    learn = partial(detector.fit, series, exclude=bad)
    written = _train(learn, source, written, SIZES[learner.size][1].epochs)
    detector.save(written.out)
    evaluation = _held_out(detector, series)
    tellers.told(detector).learned(detector, series)
    telling.say_measured(evaluation)
    tellers.say_budget(detector.threshold_)
    _say_model(written)
    found = detector.apply(series) if written.report or len(series) <= LOOKED_AT else None
    if found:
        tellers.say_history(found, series.outside(bad), series.clock)
    _after(detector, found, evaluation, written)


def _known_bad(series: Series, exclude: Iterable[tuple[str, str]]) -> list[tuple[Any, Any]]:
    """The stretches not to learn from: those given, and those that the labels mark."""
    from .evaluate import marked
    from .metrics import events

    given = [inputs.stretch(series, *pair) for pair in exclude]
    if series.labels is None:
        return given
    bad = events(marked(series.labels, series.name))
    return given + [inputs.stretch(series, str(first), str(after)) for first, after in bad.tolist()]


def _held_out(detector: AnomalyDetector, series: Series) -> Evaluation | None:
    """What can be measured on rows that training never saw, of the series learned; nothing where they are too few."""
    from . import evaluate

    try:
        return evaluate.planted(detector, series)
    except DataError as error:
        say(f"not measured: {error.saw}")
        return None


@fit.command(cls=Verb)
@GIVEN
@click.option("--horizon", type=click.IntRange(min=1), default=24, help="How many rows ahead.")
@click.option("--lookback", type=click.IntRange(min=4), help="How many rows back it rests on.")
@click.option("--known", callback=inputs.names, metavar="COL,COL", help="Columns of which the future will be known.")
@click.option("--calendar", is_flag=True, help="Rest on the time of the day, week and year, too; by UTC.")
@click.option("--joint", is_flag=True, help="Read each channel beside all others: where some lead others.")
@EXCLUDE
@LEARNING
@READING
def forecast(
    source: Source,
    learner: Learner,
    horizon: int,
    lookback: int | None,
    known: list[str] | None,
    calendar: bool,
    joint: bool,
    written: Written,
    exclude: list[tuple[str, str]],
) -> None:
    """Learn to say what comes next, and how sure that is.

    \b
      tidegate fit forecast load.csv -o load.safetensors --horizon 24
      tidegate fit forecast load.csv -o load.safetensors --horizon 24 --lookback 168 --until 2024-03-09
      tidegate fit forecast load.csv -o load.safetensors --known temperature,holiday --calendar

    DATA: a CSV, Parquet or JSON lines file, or the URL of a database. Its last quarter is not learned from: it ends
    training and measures how far forecasts miss.
    """
    _before(source, written)
    from . import measures
    from .settings import Beside
    from .tasks.forecast import Forecaster
    from .tasks.segments import FORECASTING

    series = source.series(needed=known or ())
    bad = [inputs.stretch(series, *pair) for pair in exclude]
    task = Forecaster(horizon=horizon, lookback=lookback, **learner._asdict())
    beside = Beside(known=tuple(known or ()), calendar=calendar, joint=joint)
    learn = partial(task.fit, series, exclude=bad, beside=beside)
    written = _train(learn, source, written, FORECASTING[learner.size][1].epochs)
    _done(task, series, measures.forecaster_held_out(task), written)


@fit.command(cls=Verb)
@GIVEN
@click.option(
    "--direction",
    type=click.Choice(["both", "past", "none"]),
    default="both",
    help="Read around a hole, only before it (streams), or without recurrence.",
)
@LEARNING
@READING  # fmt: skip
def complete(source: Source, learner: Learner, direction: str, written: Written) -> None:
    """Learn to fill what is missing, and how sure each fill is.

    \b
      tidegate fit complete air.csv -o air.safetensors --missing -200
      tidegate fit complete air.csv -o live.safetensors --direction past

    DATA: a history, with holes or without: a CSV, Parquet or JSON lines file, or the URL of a database.
    """
    _before(source, written)
    from . import measures
    from .tasks.complete import SIZES, Completer

    series = source.series()
    task = Completer(direction=direction, **learner._asdict())
    written = _train(partial(task.fit, series), source, written, SIZES[learner.size][1].epochs)
    _done(task, series, measures.completer_held_out(task), written)


@fit.command(cls=Verb)
@GIVEN
@click.option("--labels", metavar="COL", help="The column that says what a sequence is.")
@MANY
@BALANCED
@LEARNING
@READING
def classify(source: Source, learner: Learner, class_weight: str | None, written: Written) -> None:
    """Learn to tell what kind of sequence one is, and whether that can be told at all.

    \b
      tidegate fit classify gestures.csv -o g.safetensors --sequence id --labels gesture    a row a reading
      tidegate fit classify gestures.csv -o g.safetensors --wide --labels gesture           a row a sequence
      tidegate fit classify gestures/ -o g.safetensors            a folder a gesture, a file a sequence
      tidegate fit classify Gestures_TRAIN.ts -o g.safetensors    a file of the UEA archive

    DATA: a CSV, Parquet or JSON lines file, the URL of a database, a folder, or a .ts file.
    """
    _before(source, written)
    from . import measures
    from .tasks.classify import Classifier
    from .tasks.whole import CLASSIFYING

    many, labels = inputs.labelled(source.many(labelled=True))
    task = Classifier(class_weight=class_weight, **learner._asdict())
    learn = partial(task.fit, list(many.values()), labels)
    written = _train(learn, source, written, CLASSIFYING[learner.size][1].epochs)
    _done(task, many, measures.classifier_held_out(task), written, labels)


class Tagging(NamedTuple):
    """What a tagger is told besides."""

    target: str
    direction: str
    smooth: bool


@fit.command(cls=Verb)
@GIVEN
@click.option("--labels", metavar="COL", help="The column beside each step; COL,COL for several values.")
@click.option("--target", type=click.Choice(["label", "value"]), default="label", help="Names, or numbers.")
@click.option(
    "--direction",
    type=click.Choice(["past", "both"]),
    default="past",
    help="From what came before (streams), or from what comes after too.",
)
@click.option("--smooth", is_flag=True, help="Let labels change as seldom as they do in the data.")
@BALANCED
@SEQUENCE
@LEARNING
@READING  # fmt: skip
def tag(source: Source, learner: Learner, tagging: Tagging, class_weight: str | None, written: Written) -> None:
    """Learn to say at every step what goes on, or how much.

    \b
      tidegate fit tag rooms.csv -o rooms.safetensors --labels occupied
      tidegate fit tag engines.csv -o engines.safetensors --target value --labels hours_left --sequence unit
      tidegate fit tag walks/ -o walks.safetensors --labels activity --direction both --smooth

    DATA: a history, or many: a table with --sequence, or a folder with a file each. Where a label is empty, nothing is
    learned.
    """
    _before(source, written)
    from . import measures
    from .tasks.steps import TAGGING
    from .tasks.tag import Tagger

    data, beside = source.marked(tagging.target)
    task = Tagger(**learner._asdict(), **tagging._asdict())
    read, known = (list(data.values()), beside) if isinstance(data, dict) else (data, beside[0])
    learn = partial(task.fit, read, known, class_weight=class_weight)
    written = _train(learn, source, written, TAGGING[learner.size][1].epochs)
    if tagging.target == "value":
        task.targets_ = task.answers_ = tuple(inputs.names_of(source.labels))  # as the table calls them
    _done(task, data, measures.tagger_held_out(task), written, known)


# ---- what all of them do ---------------------------------------------------------------------------------------------


def _before(source: Source, written: Written) -> None:
    """Refuse before any work what could not be done or written after it."""
    if written.resume and not written.checkpoint:
        raise click.UsageError("--resume goes on from a checkpoint: give --checkpoint FILE too")
    both = [name for name in source.channels or () if name in (source.ignore or ())]
    if both:
        raise click.UsageError(f"--channels and --ignore both name {', '.join(both)}: leave it out of one of them")
    ready(written.out, written.report, written.checkpoint, inputs=(source.data,))
    needs("torch", "train")
    needs("plotly", "report") if written.report else None


def _train(learn: Callable[..., Any], source: Source, written: Written, epochs: int) -> Written:
    """Learn; what comes back knows whether that was interrupted."""
    done, total = itertools.count(1), WIDTHS * epochs if written.tune else epochs
    with interruptible() as interrupted, progress(f"learning {Path(source.data).name}", total) as show:
        learn(
            checkpoint=written.checkpoint,
            resume=written.resume,
            tune=written.tune,
            on_epoch=lambda epoch: show(next(done) if written.tune else epoch.epoch + 1, f"loss {epoch.loss:.4f}"),
        )
    return written._replace(interrupted=interrupted())


def _done(task: Any, data: Any, evaluation: Evaluation, written: Written, truth: Any = None) -> None:
    """Save, say what was learned and how well it does; a report shows what the model makes of what it learned from."""
    task.save(written.out)
    tellers.told(task).learned(task, data)
    telling.say_measured(evaluation)
    _say_model(written)
    read = list(data.values()) if isinstance(data, dict) else data
    _after(task, _said(task, read) if written.report else None, evaluation, written, read, truth)


def _said(task: Any, read: Any) -> Any:
    """What a task makes of what it learned from; where the future must be known, of the rows of which it is."""
    if not getattr(task, "known_", ()):
        return task.apply(read)
    from .windows import on_grid

    form, (first, _) = task.model_.form, task.split_["calibrate"]
    _, at = on_grid(read.values[:, :1], read.times, read.interval, most=form.lookback + form.horizon)
    return task.backtest(read[int(at.searchsorted(first - form.lookback)) :])


def _say_model(written: Written) -> None:
    say(f"model: {written.out} ({written.out.stat().st_size / 1000:,.0f} kB)")


def _after(
    task: Any, result: Any, evaluation: Evaluation | None, written: Written, data: Any = None, truth: Any = None
) -> None:
    if written.report:
        outputs.report(written.report, task, result, evaluation, data=data, truth=truth)
    if written.as_json:
        held = outputs.evaluated(evaluation) if evaluation else None
        told = {"model": written.out, **tellers.told(task).about(task), "held_out": held}
        show_json({**told, "interrupted": bool(written.interrupted)})
    if written.interrupted:
        say(f"interrupted: {written.out} holds the best so far, not what a whole run would have learned")
        sys.exit(INTERRUPTED)
