"""The table of tasks."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .. import save
from ..errors import ModelFileError
from .anomaly import AnomalyDetector

TASKS = {"anomaly": AnomalyDetector}


def load(path: str | Path) -> AnomalyDetector:
    """The model that a file holds, ready to run; needs no torch and runs no code from the file.

    Raises ModelFileError, which says what is wrong with the file.
    """
    file = save.open_file(path, "model")
    task = file.spec.get("task")
    if task not in TASKS:
        raise ModelFileError(
            f"a model for {task!r}", wanted=f"one of {', '.join(TASKS)}", where=str(path), do="update tidegate"
        )
    try:
        return TASKS[task].from_file(file)
    except (KeyError, msgspec.ValidationError) as error:
        raise ModelFileError(f"its specification is not whole: {error}", where=str(path), do="save it again") from None
