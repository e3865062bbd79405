"""The command line: one command a verb, in the order data flows. Data goes to stdout, everything else to stderr.

Nothing but click is imported until a command runs; what the commands share is in terminal.py.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from . import __version__
from .errors import DataError, SettingError
from .terminal import ANOMALY, Verb, needs, options, progress, ready, say, show_json, whole

if TYPE_CHECKING:
    from .evaluate import Evaluation
    from .series import Series
    from .settings import Size
    from .tasks.anomaly import AnomalyDetector
    from .tasks.found import Found

LISTED = 20  # alarms named on stderr; all of them are in the output
FORMATS = (".csv", ".parquet", ".jsonl")


# ---- what is read ----------------------------------------------------------------------------------------------------


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


def _stretches(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = [text.partition("..") for text in value]
    if any(not (first and dots and last) for first, dots, last in pairs):
        raise click.BadParameter("write START..END, as in 2024-03-09T10:00..2024-03-09T12:30 or 4000..4600")
    return [(first, last) for first, _, last in pairs]


def _budget(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from .settings import rate

    return _understood(rate, value)


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from .settings import seconds

    return _understood(seconds, value)


def _understood(reader: Any, value: str | None) -> str | None:
    """The text, if `reader` can read it; else wrong usage, in the reader's words."""
    try:
        return value if value is None or reader(value) else None
    except SettingError as error:
        raise click.BadParameter(str(error)) from None


class Source(NamedTuple):
    """Where the data is, how to read it, and which part of it to take."""

    data: str
    time: str | None
    channels: list[str] | None
    labels: str | None
    query: str | None
    duplicates: Literal["error", "last"]
    missing: tuple[str, ...]
    zone: str | None
    interval: str | None
    delimiter: str | None
    decimal: Literal[".", ","] | None
    encoding: str | None
    time_format: str | None
    first: str | None
    until: str | None

    def series(self, model: AnomalyDetector | None = None) -> Series:
        """The data; for a model, its channels only, so that other columns may hold what they like."""
        from .layout import Layout
        from .read import as_series, read

        told = {"time": self.time, "labels": self.labels, "query": self.query, "zone": self.zone}
        layout = Layout(
            delimiter=self.delimiter, decimal=self.decimal, encoding=self.encoding, time_format=self.time_format
        )
        series = read(
            self.data,
            **told,  # type: ignore[arg-type]
            channels=model.channels_ if model else self.channels,
            duplicates=self.duplicates,
            missing=self.missing,
            interval=self.interval,
            layout=layout,
        )
        if model and not series.clock and self.interval is None:
            series = as_series(series, interval=model.interval_)
        return cut(series, self.first, self.until)


def cut(series: Series, first: str | None, until: str | None) -> Series:
    """The rows from `first` up to, not including, `until`: times, or row numbers where only digits are given."""
    start, stop = (int(text) if text is not None and text.isdecimal() else text for text in (first, until))
    return series if start is None and stop is None else series[start:stop]


def stretch(series: Series, first: str, until: str) -> tuple[Any, Any]:
    """The same as instants, half-open, which also say where rows of a series without a clock are."""
    import numpy as np

    times = cut(series, first, until).times
    return np.datetime64(int(times[0]), "ns"), np.datetime64(int(times[-1]) + 1, "ns")


def marked(series: Series) -> Any:
    """(T,) True where the label column says abnormal; None without labels."""
    import numpy as np

    if series.labels is None:
        return None
    try:
        return np.nan_to_num(series.labels.astype(float)) > 0
    except ValueError:
        shown = ", ".join(repr(str(text)) for text in np.unique(series.labels)[:5])
        raise DataError(f"labels that are text: {shown}", wanted="0 = normal, 1 = abnormal", where=series.name) from None


DATA = click.argument("data")
MODEL = click.argument("model", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
REPORT = click.option("--report", type=click.Path(path_type=Path), metavar="FILE.html", help="Write an HTML report.")
LABELS = click.option("--labels", metavar="COL", help="The column that says what is abnormal (1) and what is not (0).")
reading = options(
    click.option("--from", "first", metavar="TIME", help="Take the rows from here on: a time, or a row number."),
    click.option("--until", metavar="TIME", help="Take the rows before this: a time, or a row number."),
    click.option("--time", metavar="COL", help="The column of times, if it is not found."),
    click.option("--time-format", metavar="FORMAT", help="How times are written, as in '%d/%m/%Y %H:%M'."),
    click.option("--zone", metavar="NAME", help="Where times without an offset are local; UTC if not given."),
    click.option("--interval", callback=_span, metavar="SPAN", help="Seconds between rows where there are no times."),
    click.option("--duplicates", type=click.Choice(["error", "last"]), default="error", help="Rows of equal times."),
    click.option("--missing", multiple=True, metavar="TEXT", help="A spelling of a missing value, as in -200."),
    click.option("--delimiter", metavar="CHAR", help="Between columns, if it is not found."),
    click.option("--decimal", type=click.Choice([".", ","]), help="The decimal mark, if it is not found."),
    click.option("--encoding", metavar="NAME", help="Of a text file, if it is not found."),
    click.option("--query", metavar="SQL", help="What to ask the database whose URL is given as DATA."),
)


# ---- commands --------------------------------------------------------------------------------------------------------


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tidegate")
def main() -> None:
    """Learn how a machine normally behaves; say when it does not.

    \b
      tidegate demo                                              the whole job, on a recording that ships
      tidegate fit anomaly healthy.csv -o pump.safetensors       learn normal
      tidegate apply pump.safetensors today.csv -o scores.csv --report today.html
      tidegate record host -o here.csv --for 2h                  this computer's own sensors

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
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="MODEL", help="The model file to write.")
@click.option("--false-alarms", default="1/week", callback=_budget, show_default=True, help="How many normal running may give.")
@click.option("--size", type=click.Choice(["small", "medium", "large"]), default="small", show_default=True, help="The one dial.")
@click.option("--channels", callback=_names, metavar="A,B", help="The columns to learn; all that are numbers if not given.")
@LABELS
@click.option("--exclude", multiple=True, callback=_stretches, metavar="START..END", help="Known-bad history; may be repeated.")
@REPORT
@JSON
@click.option("--method", type=click.Choice(["both", "prediction", "reconstruction"]), default="both", show_default=True)
@click.option("--form", type=click.Choice(["streaming", "classical"]), default="streaming", help="Of the reconstruction.")
@click.option("--cell", type=click.Choice(["gru", "lstm", "rnn_tanh", "rnn_relu"]), default="gru", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed gives the same model.")
@click.option("--device", default="auto", show_default=True, help="Where to train; auto takes a GPU if there is one.")
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="Written after every epoch.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, if there is one.")
@reading
def anomaly(source: Source, learner: Learner, written: Written, exclude: list[tuple[str, str]], as_json: bool) -> None:
    """Learn what is normal, to say later what is unusual.

    \b
      tidegate fit anomaly healthy.csv -o pump.safetensors
      tidegate fit anomaly year.csv -o pump.safetensors --until 2024-03-09 --exclude 2024-02-01..2024-02-03
      tidegate fit anomaly sqlite:///plant.db --query "select * from pump" -o pump.safetensors --false-alarms 1/day

    DATA is a CSV, Parquet or JSON lines file of normal running, or the URL of a database.
    """
    if written.resume and not written.checkpoint:
        raise click.UsageError("--resume goes on from a checkpoint: give --checkpoint FILE too")
    _can_write(written.out, written.report, inputs=(source.data,))
    ready(written.checkpoint, inputs=(source.data, written.out))
    series = source.series()
    detector = _learn(series, learner, written, _known_bad(series, exclude))
    detector.save(written.out)
    evaluation = _held_out(detector, series)
    if written.report:
        _write_report(written.report, detector, series, evaluation)
    _say_learned(detector, series, evaluation, written)
    if as_json:
        show_json({"model": written.out, **_about(detector), "held_out": evaluation, "report": written.report})


def _known_bad(series: Series, exclude: Iterable[tuple[str, str]]) -> list[tuple[Any, Any]]:
    """The stretches that are not to be learned: those given, and those that the labels mark."""
    from .metrics import events

    bad, given = marked(series), [stretch(series, *pair) for pair in exclude]
    return given if bad is None else given + [stretch(series, str(a), str(b)) for a, b in events(bad).tolist()]


def _learn(series: Series, learner: Learner, written: Written, bad: list[tuple[Any, Any]]) -> AnomalyDetector:
    from .settings import SIZES
    from .tasks.anomaly import AnomalyDetector

    needs("torch", "train")
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
            on_epoch=lambda epoch: show(epoch.epoch + 1, f"loss {epoch.valid_loss:.4f}"),
        )


@main.command(cls=Verb)
@MODEL
@DATA
@click.option("-o", "--out", metavar="OUT", help="Where scores go: .csv, .parquet, .jsonl, or - for CSV on stdout.")
@REPORT
@click.option("--state", type=click.Path(path_type=Path), metavar="FILE", help="Go on from here if it exists; written after.")
@click.option("--false-alarms", callback=_budget, help="Another budget than the model's.")
@click.option("--fail-on-anomaly", is_flag=True, help=f"Exit with {ANOMALY} if there is an alarm.")
@JSON
@reading
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
    """Score new data: how unusual each row is, the alarms, and the channels to blame.

    \b
      tidegate apply pump.safetensors today.csv -o scores.csv
      tidegate apply pump.safetensors today.csv --report today.html --fail-on-anomaly
      tidegate apply pump.safetensors monday.csv -o mon.csv --state pump.state     and on Tuesday again

    Needs no torch. With --json the alarms are printed as JSON.
    """
    if out == "-" and as_json:
        raise click.UsageError("-o - and --json both want stdout: write the scores to a file")
    if out not in (None, "-") and Path(str(out)).suffix.lower() not in FORMATS:
        raise click.UsageError(f"{out} does not say in which form: end it with {', '.join(FORMATS)}")
    path = None if out in (None, "-") else Path(str(out))
    _can_write(path, report, state, inputs=(model, source.data))
    detector = _load(model, false_alarms)
    series = source.series(detector)
    found = detector.apply(series, detector.load_state(state) if state and state.exists() else None)
    _write_scores(found, series.clock, path, stdout=out == "-")
    if report:
        _write_report(report, detector, series, found=found)
    if state:
        found.state.save(state)
    _say_found(found, series, out)
    if as_json:
        show_json(_alarms(found, series))
    if fail_on_anomaly and found.alarms:
        sys.exit(ANOMALY)


@main.command(cls=Verb)
@MODEL
@DATA
@LABELS
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE.csv", help="Known events: columns start and end.")
@REPORT
@JSON
@reading
def evaluate(model: Path, source: Source, events: Path | None, report: Path | None, as_json: bool) -> None:
    """Compare with what is known to have happened, baselines beside.

    \b
      tidegate evaluate pump.safetensors march.csv --labels anomaly
      tidegate evaluate pump.safetensors march.csv --events failures.csv --report march.html

    Without labels or events: how often each rule would have raised an alarm.
    """
    from . import evaluate as judge

    if source.labels and events:
        raise click.UsageError("--labels and --events both say what is abnormal: give one of them")
    _can_write(report, inputs=(model, source.data, events))
    detector = _load(model)
    series = source.series(detector)
    known = [] if events is None else _events(events, series)
    evaluation, found = judge.detector(detector, series, labels=marked(series), events=known)
    if report:
        _write_report(report, detector, series, evaluation, found)
        say(f"report: {report}")
    _say_notes(found.notes)
    show_json({"model": model, "data": series.name, **_plain(evaluation)}) if as_json else click.echo(str(evaluation))


def _events(path: Path, series: Series) -> list[tuple[Any, Any]]:
    """Known events as instants of the rows they cover; those that cover none are counted and left out."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"start", "end"} <= rows[0].keys():
        saw = f"columns {', '.join(rows[0])}" if rows else "no events"
        raise DataError(saw, wanted="columns start and end, and a row an event", where=str(path))
    known = []
    for row in rows:
        try:
            first, after = stretch(series, row["start"], row["end"])
            known.append((first, after - 1))
        except DataError:
            continue
    if len(known) < len(rows):
        say(f"noticed: {len(rows) - len(known)} of {len(rows)} events lie outside the data")
    return known


@main.command(cls=Verb)
@click.argument("model", required=False, type=click.Path(path_type=Path))
@JSON
def info(model: Path | None, as_json: bool) -> None:
    """Say what is inside a model and what runs it; without MODEL, what is installed.

    \b
      tidegate info pump.safetensors
      tidegate info
    """
    from . import kernels

    about = _installed() if model is None else {"model": model, **_about(_load(model))}
    about["backends"] = kernels.BACKENDS
    if as_json:
        return show_json(about)
    for name, value in about.items():
        click.echo(f"{name.replace('_', ' '):<13}{_in_words(value)}")


@main.group()
def record() -> None:
    """Record sensors as a data set.

    \b
      tidegate record host -o here.csv --for 2h
    """


@record.command(cls=Verb)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.csv", help="A new file.")
@click.option("--for", "duration", callback=_span, metavar="SPAN", help="As in 90min; until Ctrl-C if not given.")
@click.option("--interval", callback=_span, default="1s", show_default=True, metavar="SPAN", help="Between readings.")
@JSON
def host(out: Path, duration: str | None, interval: str, as_json: bool) -> None:
    """Record this computer's processor, memory, disk and network.

    \b
      tidegate record host -o here.csv --for 90min
    """
    from . import record as recorder
    from .settings import seconds

    needs("psutil", "record")
    ready(out)
    step, total = seconds(interval), None if duration is None else seconds(duration)
    readings = recorder.host(interval=step, seconds=total)
    with progress("recording", total) as show:
        rows = recorder.to_csv(out, readings, progress=lambda rows: show(rows * step, f"{rows:,} rows"))
    say(f"{rows:,} rows in {out}")
    if as_json:
        show_json({"file": out, "rows": rows})


@main.command(cls=Verb)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("tidegate-demo"), show_default=True, help="A folder.")
@JSON
def demo(out: Path, as_json: bool) -> None:
    """Do the main job, end to end, on the recording that ships.

    \b
      tidegate demo

    Learns the healthy part of a computer's own sensors, then looks for the faults in the rest. Exit code 1: one was missed.
    """
    from . import demo as show
    from .settings import SIZES

    for package, extra in (("torch", "train"), ("plotly", "report")):
        needs(package, extra)
    out.mkdir(parents=True, exist_ok=True)
    with progress("learning the healthy part", SIZES["small"][1].epochs) as bar:
        outcome = show.run(out, on_epoch=lambda epoch: bar(epoch.epoch + 1, f"loss {epoch.valid_loss:.4f}"))
    show_json(outcome.plain()) if as_json else click.echo(str(outcome))
    if outcome.missed:
        sys.exit(1)


# ---- what is written -------------------------------------------------------------------------------------------------


def _can_write(*paths: Path | None, inputs: tuple[object, ...]) -> None:
    """All that is asked before any work, so that an hour of it is never lost in the last second."""
    ready(*paths, inputs=inputs)
    if any(path and path.suffix.lower() in (".html", ".htm") for path in paths):
        needs("plotly", "report")


def _write_scores(found: Found, clock: bool, path: Path | None, *, stdout: bool) -> None:
    if path is None and not stdout:
        return
    import polars as pl

    frame = found.to_frame().with_columns(pl.col(pl.Float64).fill_nan(None))
    if not clock:
        frame = frame.drop("time").with_row_index("row")
    stamp = "%Y-%m-%dT%H:%M:%S%.fZ"
    if path is None:
        frame.write_csv(sys.stdout.buffer, datetime_format=stamp)
        return
    with whole(path) as out:
        if path.suffix.lower() == ".parquet":
            frame.write_parquet(out)
        elif path.suffix.lower() == ".jsonl":
            frame.write_ndjson(out)
        else:
            frame.write_csv(out, datetime_format=stamp)


def _write_report(
    path: Path, detector: AnomalyDetector, series: Series, evaluation: Evaluation | None = None, found: Found | None = None
) -> None:
    from . import evaluate as judge
    from . import report

    if evaluation is None:
        evaluation, _ = judge.detector(detector, series)
    report.write(path, judge.report(detector, found or detector.apply(series), evaluation))


def _held_out(detector: AnomalyDetector, series: Series) -> Evaluation | None:
    """What can be measured on the rows that training never saw; nothing where they are too few."""
    import numpy as np

    from . import evaluate as judge

    first, last = np.searchsorted(series.times, detector.split_times_[-1])
    try:
        return judge.planted(detector, series[int(first) : int(last) + 1])
    except DataError as error:
        say(f"not measured: {error.saw}")
        return None


def _load(model: Path, false_alarms: str | None = None) -> AnomalyDetector:
    from .tasks import load

    detector = load(model)
    return detector.set_params(false_alarms=false_alarms) if false_alarms else detector
