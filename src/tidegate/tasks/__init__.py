"""The table of tasks; each arrives when it is first asked for, so that one can be used without the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from .. import save
from ..errors import ModelFileError

if TYPE_CHECKING:
    from .anomaly import AnomalyDetector
    from .classify import Classifier
    from .complete import Completer
    from .forecast import Forecaster
    from .tag import Tagger

Kind = TypeVar("Kind", bound="AnomalyDetector | Forecaster | Completer | Classifier | Tagger")


def _anomaly() -> type[AnomalyDetector]:
    from .anomaly import AnomalyDetector

    return AnomalyDetector


def _forecast() -> type[Forecaster]:
    from .forecast import Forecaster

    return Forecaster


def _complete() -> type[Completer]:
    from .complete import Completer

    return Completer


def _classify() -> type[Classifier]:
    from .classify import Classifier

    return Classifier


def _tag() -> type[Tagger]:
    from .tag import Tagger

    return Tagger


TASKS: dict[str, Callable[[], Any]] = {
    "anomaly": _anomaly, "forecast": _forecast, "complete": _complete, "classify": _classify,
    "tag": _tag,
}  # fmt: skip


@overload
def load(path: str | Path) -> Any: ...
@overload
def load(path: str | Path, kind: type[Kind]) -> Kind: ...
def load(path: str | Path, kind: type[Any] | None = None) -> Any:
    """The model that a file holds, ready to run; needs no torch and runs no code from the file.

    With `kind`, say `load(path, tidegate.Forecaster)`, a model of another task is refused. Raises ModelFileError, which
    says what is wrong with the file.
    """
    file = save.open_file(path, "model")
    task = file.spec.get("task")
    if task not in TASKS:
        raise ModelFileError(
            f"a model for {task!r}", wanted=f"one of {', '.join(TASKS)}", where=str(path), do="update tidegate"
        )
    found = TASKS[task]()
    if kind not in (None, found):
        wanted = f"of {kind.__name__}" if kind else ""
        raise ModelFileError(f"a model of {found.__name__}", wanted=wanted, where=str(path), do="give another file")
    try:
        return found.from_file(file)
    except (KeyError, msgspec.ValidationError) as error:
        raise ModelFileError(f"its specification is not whole: {error}", where=str(path), do="save it again") from None
