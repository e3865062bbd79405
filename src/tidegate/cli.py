"""The command line: one command a verb, in the order data flows. Data goes to stdout, everything else to stderr.

Nothing but click is imported until a command runs, so that `tidegate --help` is there at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from . import __version__, fits, inputs, outputs, tellers, telling
from .errors import several
from .inputs import MANY, READING, Source
from .terminal import (
    ANOMALY,
    DATA,
    FILE,
    JSON,
    MODEL,
    REPORT,
    Group,
    Verb,
    needs,
    progress,
    ready,
    say,
    show_json,
    show_table,
)  # fmt: skip

if TYPE_CHECKING:
    from .evaluate import Evaluation

IGNORE = click.option("--ignore", callback=inputs.names, metavar="A,B", help="With --wide: columns that are no steps.")


@click.group(
    cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}
)
@click.version_option(__version__, prog_name="tidegate")
def main() -> None:
    """Learn from sensor history; say what is unusual, what comes next, what is missing, what a sequence is.

    \b
      tidegate demo                                           the whole job, on a recording that ships
      tidegate fit anomaly healthy.csv -o pump.safetensors    learn what is normal
      tidegate apply pump.safetensors today.csv -o scores.csv --report today.html

    Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 anomalies found (with --fail-on-anomaly), 130 a fit that Ctrl-C
    ended: the model holds the best so far.
    """


main.add_command(fits.fit)


class Asked(NamedTuple):
    """What `apply` is asked for beyond its answer."""

    state: Path | None
    quantiles: list[float] | None
    ahead: str | None
    false_alarms: str | None
    fail_on_anomaly: bool


@main.command(cls=Verb)
@MODEL
@DATA
@click.option(
    "-o",
    "--out",
    callback=outputs.in_form,
    metavar="OUT",
    help="Where the answer goes: .csv, .parquet, .jsonl; - is CSV on stdout.",
)
@REPORT
@JSON
@click.option("--state", type=FILE, metavar="FILE", help="Go on from here, if it exists; written after.")
@click.option("--quantiles", callback=inputs.levels, metavar="Q,Q", help="Of a forecast; else a band of 90 %.")
@click.option("--ahead", metavar="DATA", help="What a forecaster was told is known ahead: its next rows.")
@click.option("--false-alarms", callback=inputs.budget, metavar="BUDGET", help="Another budget than the detector's.")
@click.option("--fail-on-anomaly", is_flag=True, help=f"Exit with {ANOMALY} if there is an alarm.")
@MANY
@IGNORE
@READING  # fmt: skip
def apply(model: Path, source: Source, out: str | None, report: Path | None, asked: Asked, as_json: bool) -> None:
    """Score, forecast, fill, classify or tag new data, by what the model is.

    \b
      tidegate apply pump.safetensors today.csv -o scores.csv
      tidegate apply pump.safetensors today.csv --report today.html --fail-on-anomaly
      tidegate apply pump.safetensors today.csv -o today.parquet --state pump.state    and tomorrow again
      tidegate apply load.safetensors load.csv -o tomorrow.csv --quantiles 0.1,0.5,0.9
      tidegate apply load.safetensors load.csv -o tomorrow.csv --ahead weather.csv
      tidegate apply gestures.safetensors new.csv -o - --sequence id

    Needs no torch. With --json the answer is printed as JSON.
    """
    if out == "-" and as_json:
        raise click.UsageError("-o - and --json both write to stdout: give the answer a file")
    written = Path(out) if out and out != "-" else None
    ready(written, report, asked.state, inputs=(model, source.data, asked.ahead))
    task = _load(model, report)
    inputs.refuse_others(task, {**asked._asdict(), **source.about_many()})
    if asked.false_alarms:
        task.set_params(false_alarms=asked.false_alarms)
    data, told = source.given(task), tellers.told(task)
    result = _applied(task, data, asked.state, source.ahead(task, asked.ahead) if asked.ahead else None)
    if out:
        frame = told.frame(result, data)
        outputs.table(tellers.with_quantiles(frame, result, asked.quantiles) if asked.quantiles else frame, out)
    told.applied(result, data)
    if report:
        read = list(data.values()) if isinstance(data, dict) else data
        outputs.report(report, task, result, _beside(task, data, result), data=read)
    if asked.state:
        result.state.save(asked.state)
    if as_json:
        show_json(told.plain(result, data))
    if asked.fail_on_anomaly and result.alarms:
        sys.exit(ANOMALY)


def _load(model: Path, report: Path | None = None) -> Any:
    """The model of any task; where a report is asked for, what that needs is looked for before any work."""
    from .tasks import load

    task = load(model)
    needs("plotly", "report") if report else None
    return task


def _applied(task: Any, data: Any, state: Path | None, ahead: Any = None) -> Any:
    """What a task says of data; with the file of a state, as the continuation of what it has seen."""
    more = {} if ahead is None else {"ahead": ahead}
    if isinstance(data, dict):
        if state:
            raise click.UsageError("--state goes on with one series, and these are many: apply them one by one")
        return task.apply(list(data.values()))
    if not state:
        return task.apply(data, **more)
    begun = task.start()  # refused where a task has no state
    return task.apply(data, task.load_state(state) if state.exists() else begun, **more)


def _beside(task: Any, data: Any, found: Any) -> Evaluation | None:
    """What baselines say of the same rows, where that needs no truth."""
    from . import evaluate
    from .tasks.anomaly import AnomalyDetector

    return evaluate.beside(task, data, found) if isinstance(task, AnomalyDetector) else None


class Truth(NamedTuple):
    """What is known of the data, or is to be hidden in it."""

    events: Path | None
    history: str | None
    every: int | None
    hide: float | None
    pattern: str | None
    seed: int | None


@main.command(cls=Verb)
@MODEL
@DATA
@click.option("--labels", metavar="COL", help="The column of labels: abnormal (1) or not (0); what a sequence is.")
@click.option("--events", type=FILE, metavar="FILE.csv", help="Known events of a machine, in columns start and end.")
@click.option(
    "--history", metavar="DATA", help="What the model learned from: leaks are looked for, more rules stand beside."
)
@click.option("--every", type=click.IntRange(min=1), metavar="ROWS", help="Forecast only from one row in so many.")
@click.option(
    "--hide",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Of the known readings, to be filled; 0.1 if not given.",
)
@click.option(
    "--pattern",
    type=click.Choice(["points", "stretches", "rows"]),
    help="In which readings are hidden; points if not given.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of what is hidden; 0 if not given.")
@REPORT
@JSON
@MANY
@IGNORE
@READING
def evaluate(model: Path, source: Source, truth: Truth, report: Path | None, as_json: bool) -> None:
    """Compare with what is known to have happened, simple rules beside.

    \b
      tidegate evaluate pump.safetensors march.csv --labels anomaly
      tidegate evaluate pump.safetensors march.csv --events failures.csv --report march.html
      tidegate evaluate pump.safetensors march.csv --labels anomaly --history healthy.csv
      tidegate evaluate load.safetensors march.csv                            forecasts from every row
      tidegate evaluate air.safetensors march.csv --hide 0.2 --pattern stretches
      tidegate evaluate gestures.safetensors test.csv --sequence id --labels gesture

    Of a detector without labels or events: how often each rule alarms.
    """
    if source.labels and truth.events:
        raise click.UsageError("--labels and --events both say what is abnormal: give one of them")
    ready(report, inputs=(model, source.data, truth.events, truth.history))
    task = _load(model, report)
    inputs.refuse_others(task, {**truth._asdict(), **source.about_many(), "labels": source.labels})
    judged = JUDGES[type(task).__name__](task, source, truth)
    evaluation = judged.evaluation
    telling.say_notes([*judged.notes, *evaluation.notes])
    if report:
        outputs.report(report, task, judged.result, evaluation, data=judged.data, truth=judged.truth)
    show_json(outputs.evaluated(evaluation)) if as_json else click.echo(str(evaluation))


class Judged(NamedTuple):
    """A table, what was noticed, and what a report shows beside: what the task said, of which data, and the truth."""

    evaluation: Evaluation
    notes: list[str]
    result: Any
    data: Any
    truth: Any = None


def _judge_detector(task: Any, source: Source, truth: Truth) -> Judged:
    from . import evaluate as judge

    series = source.series(task)
    known = inputs.events(truth.events, series) if truth.events else []
    past = source.of(truth.history).series(task) if truth.history else None
    evaluation, found = judge.detector(task, series, events=known, history=past)
    clean = ["no leak between the history and this data"] if past and not evaluation.notes else []
    seen = [*judge.unlabelled(series), *judge.again(task, series)]
    return Judged(evaluation, [*series.notes, *seen, *found.notes, *clean], found, series)


def _again(task: Any, series: Any) -> list[str]:
    from .evaluate import again

    return again(task, series)


def _judge_forecaster(task: Any, source: Source, truth: Truth) -> Judged:
    from . import measures

    series = source.series(task)
    evaluation = measures.forecaster(task, series, every=truth.every or 1)
    return Judged(evaluation, [*series.notes, *_again(task, series)], evaluation.detail, series)


def _judge_completer(task: Any, source: Source, truth: Truth) -> Judged:
    from . import measures

    series = source.series(task)
    share, pattern, seed = truth.hide or 0.1, truth.pattern or "points", truth.seed or 0
    evaluation = measures.completer(task, series, share=share, pattern=pattern, seed=seed)
    return Judged(evaluation, [*series.notes, *_again(task, series)], evaluation.detail, None, series)


def _judge_classifier(task: Any, source: Source, truth: Truth) -> Judged:
    from . import measures

    many, right = inputs.labelled(source.many(task, labelled=True))
    past, known = dict[str, Any](), None
    if truth.history:
        past, known = inputs.labelled(source.of(truth.history, labels=True).many(task))
    read = list(many.values())
    evaluation = measures.classifier(task, read, right, history=list(past.values()) or None, known=known)
    return Judged(evaluation, [], evaluation.detail, read, right)


def _judge_tagger(task: Any, source: Source, truth: Truth) -> Judged:
    from . import measures

    data, beside = source.marked(task.target, task)
    past = source.of(truth.history, labels=True).marked(task.target, task) if truth.history else None
    evaluation = measures.tagger(task, data, beside, history=past)
    if isinstance(data, dict):
        return Judged(evaluation, [], evaluation.detail, list(data.values()), beside)
    return Judged(evaluation, [*data.notes, *_again(task, data)], evaluation.detail, data, beside[0])


JUDGES = {
    "AnomalyDetector": _judge_detector, "Forecaster": _judge_forecaster, "Completer": _judge_completer,
    "Classifier": _judge_classifier, "Tagger": _judge_tagger,
}  # fmt: skip


@main.command(cls=Verb)
@click.argument("model", required=False, type=FILE)
@JSON
def info(model: Path | None, as_json: bool) -> None:
    """Say what a model holds and what runs it.

    \b
      tidegate info pump.safetensors
      tidegate info

    Without MODEL: what is installed.
    """
    from . import kernels

    told = outputs.installed()
    if model:
        task = _load(model)
        told = {"model": model, **tellers.told(task).about(task)}
    told["runs on"] = kernels.BACKENDS
    if as_json:
        return show_json(told)
    for name, value in told.items():
        each = outputs.LINE if name == "notes" else ", "  # a note has commas of its own
        click.echo(f"{name:<13}{outputs.in_words(value, each)}")


@main.group()
def record() -> None:
    """Record sensors as a data set.

    \b
      tidegate record host -o here.csv --for 2h
    """


@record.command(cls=Verb)
@click.option("-o", "--out", required=True, type=FILE, metavar="FILE.csv", help="A new file.")
@click.option("--for", "duration", callback=inputs.span, metavar="SPAN", help="As in 90min; else until Ctrl-C.")
@click.option("--interval", callback=inputs.span, default="1s", metavar="SPAN", help="Between rows.")
@JSON
def host(out: Path, duration: str | None, interval: str, as_json: bool) -> None:
    """Record this computer's processor, memory, disk and network.

    \b
      tidegate record host -o here.csv --for 90min
    """
    from . import record as recorder
    from .settings import seconds

    ready(out)
    step, total = seconds(interval), seconds(duration) if duration else None
    readings = recorder.host(interval=step, seconds=total)
    with progress("recording", total) as show:
        rows = recorder.to_csv(out, readings, progress=lambda rows: show(rows * step, f"{rows:,} rows"))
    say(f"{several(rows, 'row')} in {out}")
    if as_json:
        show_json({"file": out, "rows": rows})


@main.command(cls=Verb)
@click.option("--seconds", type=click.FloatRange(min=0.01), default=1.0, help="For each comparison, at least.")
@click.option("--all", "every", is_flag=True, help="Every shape: some minutes instead of half a one.")
@JSON
def bench(seconds: float, every: bool, as_json: bool) -> None:
    """Measure the core beside torch and what else is installed.

    \b
      tidegate bench
      tidegate bench --all --json

    Everybody in turn: training, padding, many models at once, scoring, a reading at a time.
    """
    needs("torch", "train")
    from . import bench as measure, peers
    from .works import ALL, QUICK

    for line in peers.missing():
        say(line)
    cases = ALL if every else QUICK
    with progress("measuring", len(cases)) as show:
        rows = measure.run(cases, seconds, on_case=show)
    if as_json:
        return show_json({"machine": measure.machine(), "rows": [row.plain() for row in rows]})
    say(", ".join(f"{name} {value}" for name, value in measure.machine().items()))
    show_table(measure.COLUMNS, measure.table(rows))


@main.command(cls=Verb)
@click.option("--out", type=FILE, default="tidegate-demo", metavar="FOLDER", help="For what it writes.")
@JSON
def demo(out: Path, as_json: bool) -> None:
    """Do the main job, end to end, on the recording that ships.

    \b
      tidegate demo

    Learns from the healthy part of a recording of a computer, then looks for the faults in the rest.
    """
    from . import demo as show
    from .settings import SIZES

    needs("torch", "train")
    needs("plotly", "report")
    out.mkdir(parents=True, exist_ok=True)
    with progress("learning the healthy part", SIZES["small"][1].epochs) as bar:
        outcome = show.run(out, on_epoch=lambda epoch: bar(epoch.epoch + 1, f"loss {epoch.loss:.4f}"))
    show_json(outcome.plain()) if as_json else click.echo(str(outcome))
