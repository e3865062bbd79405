"""The command line: one command a verb, in the order data flows. Data goes to stdout, everything else to stderr.

Nothing but click is imported until a command runs, so that `tidegate --help` is there at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from . import __version__, inputs, outputs
from .errors import DataError
from .inputs import READING, Source
from .terminal import ANOMALY, Group, Verb, needs, progress, ready, say, show_json, show_table

if TYPE_CHECKING:
    from .evaluate import Evaluation
    from .series import Series
    from .settings import Size
    from .tasks.anomaly import AnomalyDetector

LOOKED_AT = 50_000  # rows of history in which `fit` looks for alarms: a longer one would take too long
FILE = click.Path(path_type=Path)
DATA = click.argument("data")
MODEL = click.argument("model", type=FILE)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
REPORT = click.option("--report", type=FILE, metavar="FILE.html", help="Write an HTML report.")
LABELS = click.option("--labels", metavar="COL", help="The column that says which rows are abnormal (1) or not (0).")


@click.group(
    cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}
)
@click.version_option(__version__, prog_name="tidegate")
def main() -> None:
    """Learn how a machine normally behaves; say when it does not.

    \b
      tidegate demo                                           the whole job, on a recording that ships
      tidegate fit anomaly healthy.csv -o pump.safetensors    learn what is normal
      tidegate apply pump.safetensors today.csv -o scores.csv --report today.html

    Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 anomalies found (with --fail-on-anomaly).
    """


@main.group()
def fit() -> None:
    """Learn from history, and write a model.

    \b
      tidegate fit anomaly healthy.csv -o pump.safetensors
    """


class Learner(NamedTuple):
    """What is learned, and how."""

    size: Size
    false_alarms: str
    method: str
    form: str
    cell: str
    seed: int
    device: str


class Written(NamedTuple):
    """What `fit` writes, and where training goes on from."""

    out: Path
    report: Path | None
    checkpoint: Path | None
    resume: bool


@fit.command(cls=Verb)
@DATA
@click.option("-o", "--out", required=True, type=FILE, metavar="MODEL", help="The model file to write.")
@click.option(
    "--false-alarms",
    default="1/week",
    callback=inputs.budget,
    help="How many normal running may give.",
)
@click.option("--size", type=click.Choice(["small", "medium", "large"]), default="small", help="The one dial.")
@click.option("--channels", callback=inputs.names, metavar="A,B", help="The columns to learn from, if not all.")
@click.option("--ignore", callback=inputs.names, metavar="A,B", help="Columns not to learn from.")
@LABELS
@click.option(
    "--exclude",
    multiple=True,
    callback=inputs.stretches,
    metavar="START..END",
    help="Known-bad history; may be repeated.",
)
@REPORT
@JSON
@click.option(
    "--method",
    type=click.Choice(["both", "prediction", "reconstruction"]),
    default="both",
    help="Foresee, look back, or both.",
)
@click.option("--form", type=click.Choice(["streaming", "classical"]), default="streaming", help="Of looking back.")
@click.option(
    "--cell", type=click.Choice(["gru", "lstm", "rnn_tanh", "rnn_relu"]), default="gru", help="Of the network."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="The same seed gives the same model.")
@click.option("--device", default="auto", help="Where to train; auto takes a GPU if there is one.")
@click.option("--checkpoint", type=FILE, metavar="FILE", help="Written after every epoch.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, if there is one.")
@READING
def anomaly(source: Source, learner: Learner, written: Written, exclude: list[tuple[str, str]], as_json: bool) -> None:
    """Learn what is normal, to say later what is unusual.

    \b
      tidegate fit anomaly healthy.csv -o pump.safetensors
      tidegate fit anomaly year.csv -o pump.safetensors --until 2024-03-09 --exclude 2024-02-01..2024-02-03
      tidegate fit anomaly sqlite:///plant.db --query "select * from pump" -o pump.safetensors

    DATA: a CSV, Parquet or JSON lines file of normal running, or the URL of a database.
    """
    if written.resume and not written.checkpoint:
        raise click.UsageError("--resume goes on from a checkpoint: give --checkpoint FILE too")
    ready(written.out, written.report, written.checkpoint, inputs=(source.data,))
    needs("torch", "train")
    needs("plotly", "report") if written.report else None
    series = source.series()
    bad = _known_bad(series, exclude)
    detector = _learn(series, learner, written, bad)
    detector.save(written.out)
    kept = series.outside(bad)
    evaluation = _held_out(detector, series)
    outputs.say_learned(detector, evaluation, written.out)
    found = detector.apply(series) if written.report or len(series) <= LOOKED_AT else None
    outputs.say_history(found, kept, series.clock) if found else None
    if written.report and found:
        outputs.report(written.report, detector, found, evaluation)
    if as_json:
        held = outputs.evaluated(evaluation) if evaluation else None
        show_json({"model": written.out, **outputs.about(detector), "held_out": held})


def _known_bad(series: Series, exclude: Iterable[tuple[str, str]]) -> list[tuple[Any, Any]]:
    """The stretches not to learn from: those given, and those that the labels mark."""
    from .evaluate import marked
    from .metrics import events

    given = [inputs.stretch(series, *pair) for pair in exclude]
    if series.labels is None:
        return given
    bad = events(marked(series.labels, series.name))
    return given + [inputs.stretch(series, str(first), str(after)) for first, after in bad.tolist()]


def _learn(series: Series, learner: Learner, written: Written, bad: list[tuple[Any, Any]]) -> AnomalyDetector:
    from .settings import SIZES
    from .tasks.anomaly import AnomalyDetector

    detector = AnomalyDetector(
        method=learner.method,
        form=learner.form,
        cell=learner.cell,
        size=learner.size,
        false_alarms=learner.false_alarms,
        device=learner.device,
        seed=learner.seed,
    )
    with progress(f"learning {series.name}", SIZES[learner.size][1].epochs) as show:
        return detector.fit(
            series,
            exclude=bad,
            checkpoint=written.checkpoint,
            resume=written.resume,
            on_epoch=lambda epoch: show(epoch.epoch + 1, f"loss {epoch.loss:.4f}"),
        )


def _held_out(detector: AnomalyDetector, series: Series) -> Evaluation | None:
    """What can be measured on rows that training never saw, of the series learned; nothing where they are too few."""
    from . import evaluate

    try:
        return evaluate.planted(detector, series)
    except DataError as error:
        say(f"not measured: {error.saw}")
        return None


@main.command(cls=Verb)
@MODEL
@DATA
@click.option("-o", "--out", metavar="OUT", help="Where scores go: .csv, .parquet, .jsonl; - is CSV on stdout.")
@REPORT
@click.option("--state", type=FILE, metavar="FILE", help="Go on from here, if it exists; written after.")
@click.option("--false-alarms", callback=inputs.budget, metavar="BUDGET", help="Another budget than the model's.")
@click.option("--fail-on-anomaly", is_flag=True, help=f"Exit with {ANOMALY} if there is an alarm.")
@JSON
@READING
def apply(
    model: Path,
    source: Source,
    out: str | None,
    report: Path | None,
    state: Path | None,
    false_alarms: str | None,
    fail_on_anomaly: bool,
    as_json: bool,
) -> None:
    """Score new data, raise alarms, and name the channels to blame.

    \b
      tidegate apply pump.safetensors today.csv -o scores.csv
      tidegate apply pump.safetensors today.csv --report today.html --fail-on-anomaly
      tidegate apply pump.safetensors today.csv -o today.parquet --state pump.state    and tomorrow again

    Needs no torch. With --json the alarms are printed as JSON.
    """
    if out == "-" and as_json:
        raise click.UsageError("-o - and --json both write to stdout: give the scores a file")
    if out not in (None, "-") and not str(out).lower().endswith(outputs.FORMATS):
        raise click.UsageError(f"{out} does not say in which form: end it with {', '.join(outputs.FORMATS)}")
    file = Path(out) if out and out != "-" else None
    ready(file, report, state, inputs=(model, source.data))
    needs("plotly", "report") if report else None
    detector = _load(model)
    if false_alarms:
        detector.set_params(false_alarms=false_alarms)
    series = source.series(detector)
    found = detector.apply(series, detector.load_state(state) if state and state.exists() else None)
    if out:
        outputs.scores(found, series.clock, out)
    outputs.say_found(found, series)
    if report:
        from .evaluate import beside

        outputs.report(report, detector, found, beside(detector, series, found))
    if state:
        found.state.save(state)
    if as_json:
        show_json(outputs.alarms(found, series))
    if fail_on_anomaly and found.alarms:
        sys.exit(ANOMALY)


@main.command(cls=Verb)
@MODEL
@DATA
@LABELS
@click.option("--events", type=FILE, metavar="FILE.csv", help="Known events, in columns start and end.")
@click.option("--history", metavar="DATA", help="What the model learned from: checks the split for leaks.")
@REPORT
@JSON
@READING
def evaluate(
    model: Path, source: Source, events: Path | None, history: str | None, report: Path | None, as_json: bool
) -> None:
    """Compare with what is known to have happened, baselines beside.

    \b
      tidegate evaluate pump.safetensors march.csv --labels anomaly
      tidegate evaluate pump.safetensors march.csv --events failures.csv --report march.html
      tidegate evaluate pump.safetensors march.csv --labels anomaly --history healthy.csv

    Without labels or events: how often each rule alarms.
    """
    from . import evaluate as judge

    if source.labels and events:
        raise click.UsageError("--labels and --events both say what is abnormal: give one of them")
    ready(report, inputs=(model, source.data, events, history))
    needs("plotly", "report") if report else None
    detector = _load(model)
    series = source.series(detector)
    known = inputs.events(events, series) if events else []
    past = source._replace(data=history, first=None, until=None, labels=None).series(detector) if history else None
    evaluation, found = judge.detector(detector, series, events=known, history=past)
    clean = ["no leak between the history and this data"] if past and not evaluation.notes else []
    outputs.say_notes([*series.notes, *found.notes, *evaluation.notes, *clean])
    if report:
        outputs.report(report, detector, found, evaluation)
    show_json(outputs.evaluated(evaluation)) if as_json else click.echo(str(evaluation))


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

    told = {"model": model, **outputs.about(_load(model))} if model else outputs.installed()
    told["runs on"] = kernels.BACKENDS
    if as_json:
        return show_json(told)
    for name, value in told.items():
        click.echo(f"{name:<13}{outputs.in_words(value)}")


def _load(model: Path) -> AnomalyDetector:
    from .tasks import load
    from .tasks.anomaly import AnomalyDetector

    return load(model, AnomalyDetector)


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
    say(f"{rows:,} rows in {out}")
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
