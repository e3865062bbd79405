"""`bench/results.md` holds tables of several commands: each writes between its own marks and leaves the rest alone."""

from __future__ import annotations

import re
from pathlib import Path

RESULTS = Path(__file__).parent / "results.md"


def put(name: str, text: str, file: Path = RESULTS) -> None:
    """Write a section into the file, in the place of the one of that name if there is one, else at the end."""
    old = file.read_text() if file.exists() else "# Results\n"
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    new = f"{first}\n\n{text.strip()}\n\n{last}"
    held = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    file.write_text(held.sub(lambda _: new, old) if held.search(old) else f"{old.rstrip()}\n\n{new}\n")
