"""What a user gave to `fit`, looked at before anything is learned: of the right kind, or refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from ..errors import SettingError
from ..series import Series
from ..settings import one_of
from .verbs import get_params

Struct = TypeVar("Struct")


def sound(task: Any, params: type[msgspec.Struct], resume: bool, checkpoint: str | Path | None) -> None:
    """Refuse a constructor's argument of the wrong kind, and to go on from nowhere.

    params  a struct with the kind of each of the arguments
    """
    hints = get_type_hints(params, include_extras=True)
    for name, value in plain_params(task).items():
        if get_origin(hints[name]) is Literal:
            one_of(name, value, get_args(hints[name]))
            continue
        try:
            _fits(value, hints[name])
        except msgspec.ValidationError as error:
            raise SettingError(f"{type(task).__name__}({name}={value!r}): {error}", do=f"change {name}") from None
    if resume and checkpoint is None:
        raise SettingError("resume=True without a checkpoint", wanted="the file that training wrote", do="give both")


def _fits(value: Any, hint: Any) -> None:
    if not isinstance(value, msgspec.Struct | dict):
        msgspec.convert(value, hint)
        return
    kinds = tuple(kind for kind in get_args(hint) or (hint,) if isinstance(kind, type))
    if not isinstance(value, kinds):  # a struct is not made of a table of its parts: there is one way to write it
        names = " or ".join(kind.__name__ for kind in kinds)
        raise msgspec.ValidationError(f"Expected {names}, got {type(value).__name__}")


def plain_params(task: Any) -> dict[str, Any]:
    """The constructor's arguments as a file holds them: numbers and lists of NumPy's are Python's."""
    plain = {name: _plain(value) for name, value in get_params(task).items()}
    return {
        name: tuple(map(_plain, value)) if isinstance(value, list | tuple) else value for name, value in plain.items()
    }


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def span(given: list[Series]) -> tuple[int, int] | None:
    """The first and the last time of one history that has a clock, by which `evaluate` knows it again."""
    series = given[0]
    return (int(series.times[0]), int(series.times[-1])) if len(given) == 1 and series.clock else None


def one_kind(name: str, value: Any, kind: type[Struct]) -> Struct:
    """An argument that must be one of our structs."""
    if not isinstance(value, kind):
        raise SettingError(f"{name}={value!r:.60}", wanted=f"a tidegate.{kind.__name__}(...)")
    return value
