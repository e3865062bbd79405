"""The command line in a test: what a command prints and with which code it ends; series as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import polars as pl
from click.testing import CliRunner, Result

from tidegate import cli
from tidegate.series import Series


def frame(series: Series) -> pl.DataFrame:
    """A series as the table of a CSV file."""
    times = pl.Series("time", series.times).cast(pl.Datetime("ns", "UTC")).dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    return pl.DataFrame([times, *(pl.Series(name, series.values[:, i]) for i, name in enumerate(series.channels))])


def tidegate(*words: object, code: int = 0) -> Result:
    """What a command printed; its exit code must be `code`, and what went wrong must be said without a traceback."""
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    unexpected = result.exception if not isinstance(result.exception, SystemExit) else None
    assert unexpected is None, f"{words}: {unexpected!r}"
    assert result.exit_code == code, result.stderr
    return result


def commands(
    group: click.Group = cli.main, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups too."""
    for name, command in group.commands.items():
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))


def files(folder: Path) -> set[str]:
    """All names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}
