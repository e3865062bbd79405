"""What all commands share: options in groups, refusals without traceback, progress.

Only click is imported here: `tidegate --help` must not wait for anything else.
"""

from __future__ import annotations

import ast
import errno
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, TypeVar, get_type_hints

import click

from .errors import MissingExtraError, SettingError, TidegateError

Command = TypeVar("Command", bound=Callable[..., Any])
ANOMALY = 3  # the exit code of `apply --fail-on-anomaly`; 1 is a failure and 2 is wrong usage
INTERRUPTED = 130  # of a `fit` that Ctrl-C ended and that kept what it had: 128 + SIGINT, as shells have it
FILE = click.Path(path_type=Path)
DATA = click.argument("data")
MODEL = click.argument("model", type=FILE)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
LISTED = rf"[\[(](?:{TEXT}|[,\s])*[\])]"
ARGUMENT = re.compile(rf"\b(\w+)=({TEXT}|{LISTED}|True\b|-?\d[\d.]*\b|(?=[\s:;,.)]|$))")
"""An argument of Python in a sentence: name='text', name=["a", "b"], name=True, name=5, or the name alone: name="""
WRAPPED = re.compile(rf"(?:layout=)?\b[A-Z]\w+\(((?:\w+=(?:{TEXT}|{LISTED}|True)(?:,\s)?)+)\)")
"""Arguments in a call that makes something: layout=Layout(decimal=","), Tagger(target="label")"""
ALIASES = {"id": "sequence"}
SPOKEN = {
    "read_many gives a series each": "tidegate fit classify and tidegate fit tag learn from many series",
    ", or a shorter Window.length": "",
    "lower Training.learning_rate": "--tune tries lower learning rates too",
    "fit with Forecaster(levels=...) that reach further": "ask for some between these",
}
"""what the library says in Python -> what that is on the command line, where it is no argument"""


def page(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """An option's value that must be the name of an HTML file."""
    if value is not None and value.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"{value} would hold HTML: end its name with .html or .htm")
    return value


REPORT = click.option("--report", type=FILE, callback=page, metavar="FILE.html", help="Write an HTML report.")


class Group(click.Group):
    """Commands, listed in the order in which they are written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command of a line; where there is none of that name, the names there are."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if "Did you mean" in error.format_message():
                raise
            raise click.UsageError(f"{error.message} Give one of {', '.join(self.commands)}.", ctx) from None


class Verb(click.Command):
    """A command that takes its options in groups, and prints what Tidegate refuses as it is said, with exit code 1.

    An argument annotated with a NamedTuple gets the options that its fields name (None for those that the command does
    not have): no function needs twenty arguments.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        assert self.callback is not None
        with refusals():
            return ctx.invoke(self.callback, **grouped(ctx.params, get_type_hints(self.callback)))


def grouped(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a command's annotations ask for, from the values of its options.

    >>> from typing import NamedTuple
    >>> Point = NamedTuple("Point", [("x", int), ("y", int)])
    >>> grouped({"x": 1, "y": 2, "name": "a"}, {"point": Point, "name": str, "return": None})
    {'point': Point(x=1, y=2), 'name': 'a'}
    """
    asked = {name: getattr(kind, "_fields", None) for name, kind in hints.items() if name != "return"}
    return {
        name: values[name] if fields is None else hints[name](*(values.get(field) for field in fields))
        for name, fields in asked.items()
    }


def options(*each: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several click options as one decorator, in the order in which the help shows them."""

    def add(command: Command) -> Command:
        for option in reversed(each):
            command = option(command)
        return command

    return add


@contextmanager
def refusals() -> Iterator[None]:
    """Turn every expected failure into one message on stderr; what is not expected keeps its traceback."""
    try:
        yield
    except TidegateError as error:
        raise click.ClickException(as_options(str(error), _known())) from error
    except MemoryError:
        raise click.ClickException("the computer ran out of memory\n  do: give fewer rows or channels") from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # `| head` has read enough; click ends quietly
            raise
        where = f"\n  where: {error.filename}" if error.filename else ""
        raise click.ClickException(f"{error.strerror or error}{where}") from error


def as_options(text: str, known: Collection[str]) -> str:
    """Advice that the library gives in Python, as the command line says it.

    >>> print(as_options("do: channels=['flow', 'oil [bar]'], or duplicates='last'", ["channels", "duplicates"]))
    do: --channels 'flow,oil [bar]', or --duplicates last
    >>> print(as_options("do: layout=Layout(ignore=('status (raw)',)), or leave interval= out", ["ignore", "interval"]))
    do: --ignore 'status (raw)', or leave --interval out
    """

    def said(found: re.Match[str]) -> str:
        name, value = ALIASES.get(found[1], found[1]), found[2]
        if name not in known:
            return found[0]
        plain = ast.literal_eval(value) if value else True
        listed = ",".join(plain) if isinstance(plain, list | tuple) else plain
        return f"--{name.replace('_', '-')}" + ("" if plain is True else f" {shlex.quote(str(listed))}")

    for python, words in SPOKEN.items():
        text = text.replace(python, words)
    return ARGUMENT.sub(said, WRAPPED.sub(r"\1", text))


def say(text: str) -> None:
    """A message for the person at the terminal: stderr, so that stdout holds data only."""
    click.echo(as_options(text, _known()), err=True)


def _known() -> list[str]:
    context = click.get_current_context(silent=True)
    return [option.name or "" for option in context.command.params] if context else []


def show_json(value: object) -> None:
    """A value as JSON on stdout; NaN becomes null."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2).decode())


def show_table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Lines of text under their columns on stdout, numbers to the right; what repeats in the first column is not said.

    >>> show_table(("work", "who", "ms"), [("a", "x", "1"), ("a", "y", "20")])
     work   who   ms
    ─────────────────
     a      x      1
            y     20
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table, before = Table(box=box.SIMPLE_HEAD, show_edge=False), ""
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right", overflow="fold")
    for first, *rest in lines:
        table.add_row("" if first == before else first, *rest)
        before = first
    wide = None if sys.stdout.isatty() else 200  # a file has no edge to fold at
    Console(file=sys.stdout, width=wide, highlight=False).print(table)


def _plain(value: Any) -> object:
    """What msgspec does not know and these commands give: NumPy numbers and paths."""
    return value.item() if hasattr(value, "item") else str(value)


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
    """A bar with the time left, if stderr is a terminal; call what it gives with how much is done and a word on it."""
    if not sys.stderr.isatty():
        yield lambda done, note: None
        return
    from rich import progress as bars
    from rich.console import Console

    shown = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[note]}"),
    )
    with bars.Progress(*shown, bars.TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Tells afterwards whether Ctrl-C came, for work that goes on with what it has until then."""
    before, came = signal.getsignal(signal.SIGINT), list[int]()

    def noted(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if callable(before):
            before(number, frame)

    ours = callable(before) and current_thread() is main_thread()  # a signal that is ignored stays so
    signal.signal(signal.SIGINT, noted) if ours else None
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before) if ours else None


def ready(*paths: Path | None, inputs: tuple[object, ...] = ()) -> None:
    """Refuse before any work what could not be written after it: no folder, no permission, an input, or one of two."""
    given = [path for path in paths if path]
    for i, path in enumerate(given):
        if any(_same(path, other) for other in given[:i]):
            raise click.UsageError(f"{path} is to hold two different things; give each a file of its own")
    for path in given:
        same = [
            name for name in inputs if os.path.exists(str(name)) and path.exists() and os.path.samefile(path, str(name))
        ]
        if same:
            raise click.UsageError(f"{path} is an input; give another name for what is written")
        if path.is_dir():
            raise click.UsageError(f"{path} is a folder; give the name of a file in it")
        if not _writable(path.parent):
            saw = "you may not write to" if path.parent.is_dir() else "there is no folder"
            do = "make it, or choose another"
            raise SettingError(f"{saw} {path.parent}", wanted="a folder for the result", do=do, where=str(path))
        if path.exists() and not _writable(path):  # a rename would not ask
            raise SettingError(f"{path} is write-protected", do="give another name, or make it writable")


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, there or not yet; a device may be written to twice."""
    if one.exists() and other.exists():
        return one.is_file() and os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def needs(package: str, extra: str) -> None:
    """Refuse before any work what lacks a package in the end."""
    if find_spec(package) is None:
        raise MissingExtraError.of(package, extra)
