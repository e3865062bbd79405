"""`bench/results.md` holds tables of several commands: each writes between its own marks and leaves the rest alone."""

from __future__ import annotations

import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from tidegate.kernels import cpu

RESULTS = Path(__file__).parent / "results.md"


def put(name: str, text: str, file: Path = RESULTS) -> None:
    """Write a section into the file, in the place of the one of that name if there is one, else at the end."""
    old = file.read_text() if file.exists() else "# Results\n"
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    new = f"{first}\n\n{text.strip()}\n\n{last}"
    held = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    file.write_text(held.sub(lambda _: new, old) if held.search(old) else f"{old.rstrip()}\n\n{new}\n")


def make(script: str, tables: dict[str, Callable[[], Iterable[str]]], how: str, keep: bool) -> None:
    """Print each table line by line and, if `keep`, write it as soon as it is whole: one that fails loses no other."""
    for name, table in tables.items():
        began, lines = time.time(), []
        for line in table():
            print(line, flush=True)
            lines.append(line)
        if keep:
            put(f"{script} {name}", "\n".join([*lines, "", made(script, how, began)]))


def made(script: str, how: str, began: float) -> str:
    """What a table was made by: the command, the machine, the versions, the seconds since `began`."""
    where = f"{platform.machine()}, {cpu.engine()}, torch {version('torch')}"
    return f"Made by `python bench/{script}.py`: {how}, {where}, commit {_commit()}, {time.time() - began:.0f} s."


def _commit() -> str:
    """What the tables were made with; "+" where the tree has changes that are not committed, but for the tables."""

    def git(*said: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *said], cwd=RESULTS.parent, capture_output=True, text=True, check=False)

    changed = git("diff", "--quiet", "HEAD", "--", ":/", f":(exclude){RESULTS.name}").returncode
    return git("rev-parse", "--short", "HEAD").stdout.strip() + "+" * bool(changed)
