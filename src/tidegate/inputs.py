"""What the command line is told about data: the options, and the `Series` they mean."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from .errors import DataError, SettingError, several
from .terminal import options, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .series import Series


def names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """An option's value "a, b" as a list."""
    return None if value is None else names_of(value)


def names_of(value: str | None) -> list[str]:
    """The names in "a, b".

    >>> names_of("a, b"), names_of(None)
    (['a', 'b'], [])
    """
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def stretches(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[tuple[str, str]]:
    """An option's values "START..END" as pairs."""
    pairs = [text.partition("..") for text in value]
    if not all(all(pair) for pair in pairs):
        raise click.BadParameter("write START..END, as in 2024-03-09T10:00..2024-03-09T12:30, or 4000..4600 for rows")
    return [(str(moment(ctx, param, first)), str(moment(ctx, param, last))) for first, _, last in pairs]


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """An option's value that must be a time, or the number of a row."""
    from .series import instant

    return value if value is None or value.isdecimal() else _understood(lambda text: instant(text) or 1, value)


def budget(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """An option's value that must be a budget of alarms, as "1/week"."""
    from .settings import rate

    return _understood(rate, value)


def span(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """An option's value that must be a span of time, as "90min"."""
    from .settings import seconds

    return _understood(seconds, value)


def levels(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | None:
    """An option's value "0.1, 0.9" as numbers between 0 and 1."""
    try:
        found = [float(text) for text in names(ctx, param, value) or []]
    except ValueError:
        found = [0.0]
    if not all(0 < level < 1 for level in found):
        raise click.BadParameter("write numbers between 0 and 1, as in 0.1,0.5,0.9")
    if len(set(found)) < len(found):
        raise click.BadParameter("write each number once, as in 0.1,0.5,0.9")
    return found or None


def _understood(reader: Callable[[str], float], value: str | None) -> str | None:
    try:
        return value if value is None or reader(value) else None
    except SettingError as error:
        raise click.BadParameter(str(error)) from None


READING = options(
    click.option(
        "--from", "first", callback=moment, metavar="TIME", help="Take the rows from here on: a time, or a row number."
    ),
    click.option(
        "--until", callback=moment, metavar="TIME", help="Take the rows before this: a time, or a row number."
    ),
    click.option("--time", metavar="COL", help="The column of times, or DATE,TIME for two, if not found."),
    click.option("--time-format", metavar="FORMAT", help="How times are written, as in '%d/%m/%Y %H:%M'."),
    click.option("--zone", metavar="NAME", help="Of times without an offset, as in Europe/Rome; UTC if not given."),
    click.option("--interval", callback=span, metavar="SPAN", help="Between rows, where there are no times."),
    click.option("--duplicates", type=click.Choice(["error", "last"]), default="error", help="Rows with equal times."),
    click.option("--missing", multiple=True, metavar="TEXT", help="A spelling of a missing value, as in -200."),
    click.option("--delimiter", metavar="CHAR", help="Between columns, if it is not found."),
    click.option("--decimal", type=click.Choice([".", ","]), help="The decimal mark, if it is not found."),
    click.option("--encoding", metavar="NAME", help="Of a text file, if it is not found."),
    click.option("--query", metavar="SQL", help="What to ask the database whose URL is given as DATA."),
)
"""The options of every command that reads data; `Source` holds their values."""
SEQUENCE = click.option("--sequence", metavar="COL", help="The column that says which sequence a row belongs to.")
MANY = options(
    SEQUENCE,
    click.option("--wide", is_flag=True, default=None, help="Each row is a whole sequence, a column a step."),
)
"""The options of commands that read many sequences."""
NAMED = 8  # of what is left out, named in a note
LEFT_OUT = "left out, a channel without a single reading"
UNTIMED = "there are no times, so rows count as 1 s apart: interval='5min' (say) gives their real interval"
UNLABELLED = "give --labels COL: which column says what a sequence is"
ONLY: dict[str, tuple[str, ...]] = {
    "false_alarms": ("AnomalyDetector",),
    "fail_on_anomaly": ("AnomalyDetector",),
    "events": ("AnomalyDetector",),
    "quantiles": ("Forecaster",),
    "ahead": ("Forecaster",),
    "every": ("Forecaster",),
    "hide": ("Completer",),
    "pattern": ("Completer",),
    "seed": ("Completer",),
    "labels": ("AnomalyDetector", "Classifier", "Tagger"),
    "history": ("AnomalyDetector", "Classifier", "Tagger"),
    "state": ("AnomalyDetector", "Forecaster", "Completer", "Tagger"),
    "sequence": ("Classifier", "Tagger"),
    "wide": ("Classifier",),
    "ignore": ("Classifier",),
}
"""option -> the tasks for whose models it means something; all others are for every model"""


def refuse_others(task: Any, given: Mapping[str, object]) -> None:
    """Refuse, as wrong usage, options that mean nothing for the model that was given."""
    from .tellers import told

    kind = type(task).__name__
    for name, value in given.items():
        if value and kind not in ONLY[name]:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} means nothing for {told(task).noun}: leave it out")
    if given.get("state") and getattr(task, "direction", "past") != "past":
        raise click.UsageError(
            "--state: this model reads what comes after a row too, so a history is one piece; one that is fitted with "
            "--direction past goes on from a state"
        )


class Source(NamedTuple):
    """Where the data is, how to read it, and which part of it to take."""

    data: str
    time: str | None
    channels: list[str] | None
    ignore: list[str] | None
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
    sequence: str | None
    wide: bool | None

    def about_many(self) -> dict[str, object]:
        """What was said that only many sequences need."""
        return {"sequence": self.sequence, "wide": self.wide, "ignore": self.ignore}

    def of(self, data: str | None, *, labels: bool = False) -> Source:
        """Another source that is read in the same way, all of it."""
        return self._replace(data=data or "", first=None, until=None, labels=self.labels if labels else None)

    def given(self, task: Any) -> Series | dict[str, Series]:
        """What a fitted task reads: one series, or many sequences."""
        kind = type(task).__name__
        several = kind == "Classifier" or (kind == "Tagger" and self.several)
        return self.many(task) if several else self.series(task)

    @property
    def several(self) -> bool:
        """Whether it was said that these are many sequences."""
        return bool(self.sequence) or self._in_files

    @property
    def _in_files(self) -> bool:
        """Whether the data itself says what a sequence is: a folder, a pattern, a .ts file."""
        path = Path(self.data)
        pattern = not path.exists() and any(mark in self.data for mark in "*?[") and "://" not in self.data
        return path.is_dir() or pattern or self.data.lower().endswith((".ts", ".ts.gz"))

    def marked(self, target: str, model: Any = None) -> tuple[Any, list[NDArray[Any]]]:
        """For a tagger: one series, or many sequences by name; and what stands beside the steps of each.

        Labels are one column, values one or more columns of numbers, which are no channels then.
        """
        import numpy as np

        beside = names_of(self.labels)
        if target == "label":
            if len(beside) > 1:
                raise click.UsageError("--labels: one column of labels; --target value learns several columns")
            data = self.many(model) if self.several else self.series(model)
            if any(series.labels is None for series in _each(data)):
                raise click.UsageError("give --labels COL: which column says what goes on at each step")
            return data, [_unknown(series.labels) for series in _each(data)]
        if not beside:
            raise click.UsageError("give --labels COL, or COL,COL: which columns hold the values to learn")
        own = model.channels_ if model else self.channels
        wider = self._replace(labels=None, channels=None if own is None else [*own, *beside])
        try:
            data = wider.many(needed=beside) if self.several else wider.series(needed=beside)
        except DataError as error:
            raise _no_values(error, beside, fitted=model is not None) from None
        values = [series.select(beside).values for series in _each(data)]
        kept = [name for name in next(iter(_each(data))).channels if name not in beside]
        if not kept:
            raise click.UsageError("--labels names every column: none is left to learn from")
        if isinstance(data, dict):
            return {name: series.select(kept) for name, series in data.items()}, values
        return data.select(kept), [np.asarray(one) for one in values]

    def many(self, model: Any = None, *, labelled: bool = False, needed: Sequence[str] = ()) -> dict[str, Series]:
        """Many sequences by name, from a table, a folder or a .ts file; for a model only its channels."""
        from msgspec.structs import replace

        from .reader import NOT_READ
        from .tasks.verbs import as_series

        self._one_way(labelled)
        channels = model.channels_ if model and not self.wide else self.channels
        many: dict[str, Series] = self._read(channels, modelled=model is not None, many=True)
        pace = self.interval or getattr(model, "interval_", None)
        many = {name: as_series(series, interval=pace) for name, series in many.items()}
        for note in dict.fromkeys(note for one in many.values() for note in one.told if note.startswith(NOT_READ)):
            say(f"noticed: {note}")
        if not model:
            empty = self._empty([*many.values()], needed)
            say(f"noticed: {LEFT_OUT}: {', '.join(empty)}") if empty else None
            many = {name: _without(series, empty) for name, series in many.items()}
        if model and self.wide and len(model.channels_) == 1:  # a wide table has no name for what it holds
            many = {name: replace(series, channels=model.channels_) for name, series in many.items()}
        return many

    def _one_way(self, labelled: bool) -> None:
        """Refuse what does not say, or says twice, what a sequence is."""
        ways = {"--sequence": bool(self.sequence) and not self.wide, "--wide": bool(self.wide)}
        if self._in_files:
            useless = [way for way, said in ways.items() if said]
            if useless:
                raise click.UsageError(f"{self.data} says itself what a sequence is: leave {useless[0]} out")
        elif not any(ways.values()):
            raise click.UsageError(
                "what is a sequence? Give --sequence COL (the rows of a sequence have the same value there), --wide (a "
                "row is a sequence), a folder with a file each, or a .ts file"
            )
        elif labelled and not self.labels:
            raise click.UsageError(UNLABELLED)
        for option, value in (("--from", self.first), ("--until", self.until)):
            if value is not None:
                raise click.UsageError(f"{option} is for one series, and these are many: leave it out")

    def series(self, model: Any = None, needed: Sequence[str] = ()) -> Series:
        """The data; for a model only its channels, so that other columns may hold what they like.

        To learn from, without channels that hold nothing, unless they were asked for (`needed`, too): then refused.
        """
        from .tasks.verbs import as_series

        columns = (*model.channels_, *getattr(model, "known_", ())) if model else self.channels
        series = self._read(columns, modelled=model is not None)
        if model and not series.clock and self.interval is None:
            series = as_series(series, interval=model.interval_)
        series = cut(series, self.first, self.until)
        if model:
            return series
        if not series.clock and self.interval is None:
            series = noted(series, UNTIMED)
        empty = self._empty([series], needed)
        return noted(_without(series, empty), f"{LEFT_OUT}: {', '.join(empty)}") if empty else series

    def _empty(self, each: Sequence[Series], needed: Sequence[str] = ()) -> list[str]:
        """The channels without a reading in any series; refused where they were asked for, or are all there is."""
        import numpy as np

        gone = np.all([np.isnan(series.values).all(axis=0) for series in each], axis=0)
        empty = [name for name, none in zip(each[0].channels, gone, strict=True) if none]
        asked = {*(self.channels or ()), *names_of(self.labels), *needed}
        refused = empty if gone.all() else [name for name in empty if name in asked]
        if refused:
            saw, wanted = f"not a single reading in {', '.join(refused)}", "readings to learn from, in the rows taken"
            raise DataError(saw, wanted=wanted, do="leave it out, or take other rows", where=each[0].name)
        return empty

    def ahead(self, model: Any, data: str) -> Any:
        """What a forecaster knows ahead, from another table that is read in the same way."""
        if not model.known_:
            raise click.UsageError("--ahead: this forecaster knows nothing ahead; one that is fitted with --known does")
        return self._replace(data=data)._read(model.known_, modelled=True)

    def _read(self, channels: Sequence[str] | None, *, modelled: bool, many: bool = False) -> Any:
        """One `Series`, or many by name."""
        from functools import partial

        from .layout import Layout
        from .reader import read, read_many

        layout = Layout(
            delimiter=self.delimiter, decimal=self.decimal, encoding=self.encoding, time_format=self.time_format,
            wide=bool(self.wide), ignore=tuple(self.ignore or ()),
        )  # fmt: skip
        reader = partial(read_many, id=self.sequence) if many else partial(read, interval=self.interval)
        try:
            return reader(
                self.data,
                time=self.time.split(",") if self.time and "," in self.time else self.time,
                channels=channels,
                labels=self.labels,
                query=self.query,
                duplicates=self.duplicates,
                missing=self.missing,
                zone=self.zone,
                layout=layout,
            )
        except DataError as error:
            raise (_of_model(error, channels) if modelled and channels else error) from None


def noted(series: Series, *notes: str) -> Series:
    """The series with more notes."""
    from msgspec.structs import replace

    return replace(series, told=(*series.told, *notes))


def _without(series: Series, empty: Sequence[str]) -> Series:
    return series.select([name for name in series.channels if name not in empty]) if empty else series


def _of_model(error: DataError, channels: Sequence[str]) -> DataError:
    """A column that is missing, told to someone who did not name it: the model did."""
    if not set(error.saw.removeprefix("no column named ").split(", ")) <= set(channels):
        return error
    has = error.wanted.removeprefix("some of ")
    wanted = f"the channels of the model: {', '.join(channels)}"
    return DataError(error.saw, wanted=wanted, do=f"rename the columns; the data has {has}", where=error.where)


def _no_values(error: DataError, beside: Sequence[str], *, fitted: bool) -> DataError:
    """Texts in a column of values to learn, told to someone who wants to learn it, and not to leave it out."""
    texts = error.saw.removeprefix("columns that are not numbers: ")
    named = [name for name in beside if f", {name} (" in f", {texts}"]
    if texts == error.saw or not named:
        return error
    do = "give --labels the columns it learned" if fitted else "--target label learns names; or give other --labels"
    wanted = f"numbers in {', '.join(named)}, to learn as values"
    return DataError(error.saw, wanted=wanted, do=do, where=error.where)


def cut(series: Series, first: str | None, until: str | None) -> Series:
    """The rows from `first` up to, not including, `until`: times, or row numbers where only digits are given.

    >>> from tidegate import synth
    >>> len(cut(synth.machine(1440), "100", "2024-01-01T02:00"))
    20
    """
    start, stop = (int(text) if text is not None and text.isdecimal() else text for text in (first, until))
    return series if start is None and stop is None else series[start:stop]


def _each(data: Series | dict[str, Series]) -> Iterable[Series]:
    return data.values() if isinstance(data, dict) else [data]


def _unknown(labels: NDArray[Any] | None) -> NDArray[Any]:
    """Labels in which an empty text is None: not known."""
    import numpy as np

    told = np.asarray(labels)
    if told.dtype.kind != "U" or not (told == "").any():
        return told
    return np.array([label or None for label in told.tolist()], dtype=object)


def labelled(many: Mapping[str, Series]) -> tuple[dict[str, Series], NDArray[Any]]:
    """The sequences that have a label, and the label of each, (N,); the others are left out, and that is said.

    Refused where none has a label, or one has several.
    """
    import numpy as np
    from msgspec.structs import replace

    kept, found = dict[str, Any](), list[Any]()
    for name, series in many.items():
        if series.labels is None:
            raise click.UsageError(UNLABELLED)
        own = np.unique(series.labels)
        if len(own) != 1:
            saw = f"sequence {name} has several labels: {', '.join(map(str, own[:8]))}"
            raise DataError(saw, wanted="one label a sequence", do="tidegate fit tag learns a label for every step")
        if own[0] == own[0] and own[0] != "":
            kept[name] = series
            found.append(own[0])
    if not kept:
        do = "look whether --labels names the right column"
        raise DataError("no label at all: not one sequence has one", wanted="a label a sequence", do=do)
    left = [name for name in many if name not in kept]
    if left:
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        of = f"{len(left):,} of {several(len(many), 'sequence')}"
        say(f"noticed: left out, without a label: {of}: {', '.join(left[:NAMED])}{more}")
    labels = np.array(found)
    if labels.dtype.kind == "f" and (labels == np.rint(labels)).all():  # beside a missing one none could be whole
        labels = labels.astype(np.int64)
    told = zip(kept.items(), labels, strict=True)
    return {name: replace(series, labels=np.full(len(series), label)) for (name, series), label in told}, labels


def stretch(series: Series, first: str, until: str) -> tuple[Any, Any]:
    """The same rows as instants, half-open, which say where rows are in a series without a clock too."""
    import numpy as np

    times = cut(series, first, until).times
    return np.datetime64(int(times[0]), "ns"), np.datetime64(int(times[-1]) + 1, "ns")


def events(path: Path, series: Series) -> list[tuple[Any, Any]]:
    """Events of a CSV file (start, end) as instants of their first and last rows; any outside the data are skipped."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"start", "end"} <= rows[0].keys():
        saw = f"columns {', '.join(rows[0])}" if rows else "no events"
        raise DataError(saw, wanted="a header with start and end, and a row an event", where=str(path))
    known = []
    for number, row in enumerate(rows, 2):
        if not row["start"] or not row["end"] or _backwards(row["start"], row["end"]):
            saw = f"line {number}: an event from {row['start']!r} to {row['end']!r}"
            raise DataError(saw, wanted="a start, and an end after it", where=str(path))
        try:
            first, after = stretch(series, row["start"], row["end"])
        except DataError:
            continue
        known.append((first, after - 1))
    if not known:
        raise DataError("no event lies in the data", wanted=f"some in {series!r}", where=str(path))
    if len(known) < len(rows):
        say(f"noticed: {len(rows) - len(known)} of {len(rows)} events lie outside the data")
    return known


def _backwards(start: str, end: str) -> bool:
    """Whether an event ends before it starts; two row numbers are compared as such."""
    from .series import instant

    numbers = start.isdecimal() and end.isdecimal()
    return int(start) > int(end) if numbers else not start.isdecimal() and instant(start) > instant(end)
