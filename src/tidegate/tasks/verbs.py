"""What all tasks share: the state that goes in and comes out, parameters, rows checked against the model."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import save
from ..cells import GATES
from ..errors import DataError, ModelFileError, NotFittedError, SettingError
from ..series import LARGEST, SECOND, Series, check, instant, span_text, time_text
from ..settings import Network, one_of

Arrays = dict[str, NDArray[Any]]
Spec = TypeVar("Spec")
CELLS = tuple(GATES)
Seed = Annotated[int, msgspec.Meta(ge=0)]
PACED = 10  # rows from which the pace of data can be told
BEFORE = "quality figures, bands and probabilities are of the model before it learned on"


class State(msgspec.Struct, frozen=True, eq=False):
    """Where a stream stands: plain arrays, and the fingerprint of the model they belong to.

    `apply` and `step` take one and return the next; neither changes the one it was given.
    """

    arrays: Arrays
    model: str

    @property
    def learned(self) -> int:
        """How often it has learned: a tagger's readings, the others' steps. Where it stays, a step learned nothing."""
        counts = self.arrays.get("online/counts")  # of a tagger, whose second is what was learned from
        return int(self.arrays.get("online/steps", np.zeros(1))[0] if counts is None else counts[1])

    def copy(self) -> State:
        """A state that shares nothing with this one."""
        return State({name: array.copy() for name, array in self.arrays.items()}, self.model)

    def save(self, path: str | Path) -> None:
        """Write the state to a file that `load_state` of the same model reads back bit for bit."""
        save.write(path, "state", {"model": self.model}, self.arrays)


def load_state(path: str | Path, like: State, learning: Callable[[save.Table], Arrays] | None = None) -> State:
    """Read a state written by `State.save`; `like` is any state of the model that is to go on from it.

    learning  what a state that goes on learning has besides, by what the file has; None where a task cannot
    """
    return restored(save.open_file(path, "state"), like, learning)


def restored(file: save.File, like: State, learning: Callable[[save.Table], Arrays] | None = None) -> State:
    """`load_state` from a file that is open."""
    same_model(file.spec.get("model"), like.model, where=str(file.path))
    more = learning(file.table) if learning and any(name.startswith("online/") for name in file.table) else {}
    implied = {name: (array.shape, str(array.dtype)) for name, array in {**like.arrays, **more}.items()}
    return State(file.arrays(implied), like.model)


def running(model: Any, arrays: Arrays) -> Any:
    """The model as a state has it: with the weights that it has learned since, where it has."""
    weights = under(arrays, "online/weights")
    return msgspec.structs.replace(model, weights=weights) if weights else model


def same_model(theirs: object, ours: str, where: str = "") -> None:
    """Refuse a state that another model made: its numbers mean nothing here."""
    if theirs != ours:
        raise ModelFileError("the state belongs to another model", where=where, do="use the model that made it")


def dated(verdict: str, notes: Sequence[str]) -> str:
    """A verdict on held-out rows, which says so where the model has learned on since.

    >>> dated("better than drift", [f"learned on from 9 readings; {BEFORE}"])
    'better than drift (before it learned on)'
    """
    return f"{verdict} (before it learned on)" if any(note.endswith(BEFORE) for note in notes) else verdict


def fingerprint(arrays: Arrays, spec: dict[str, Any]) -> str:
    """A short name of a model's content: equal models have equal ones."""
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted"))
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def get_params(task: Any) -> dict[str, Any]:
    """The constructor's arguments as the task stores them (scikit-learn's `get_params`)."""
    return {name: getattr(task, name) for name in inspect.signature(type(task)).parameters}


def set_params(task: Any, params: dict[str, Any]) -> None:
    """Set constructor arguments by name; an unknown name is refused with the list of known ones."""
    known = get_params(task)
    for name, value in params.items():
        if name not in known:
            raise SettingError(f"{type(task).__name__} has no parameter {name!r}", wanted=f"one of {', '.join(known)}")
        setattr(task, name, value)


def shown(task: Any) -> str:
    """The call that makes a task: its name, and the arguments that are not as usual."""
    plain = get_params(type(task)())
    changed = [f"{name}={value!r}" for name, value in get_params(task).items() if value != plain[name]]
    return f"{type(task).__name__}({', '.join(changed)})"


def chosen(task: Any, sizes: Mapping[str, tuple[Network, Any]]) -> Network:
    """The network that a task asks for: its own, or that of its size with its cell."""
    if task.network:
        own: Network = task.network
        return own
    net = sizes[one_of("size", task.size, tuple(sizes))][0]
    return msgspec.structs.replace(net, cell=one_of("cell", task.cell, CELLS))


def stated(state: Any, learn: object = False) -> State:
    """What was given as the state of a stream, if it is one; without `learn`, what is learned later begins anew.

    The window that is learned from holds neighbours in time: it must not join what lay before and after other rows.
    """
    if not isinstance(state, State):
        raise SettingError(f"{state!r:.60} as the state of a stream", wanted="that of start(), or of the last step")
    if learn or not state.arrays.get("online/filled", np.zeros(1)).any():
        return state
    return State({**state.arrays, "online/filled": np.zeros(1, np.int64)}, state.model)


def ticks(rows: int, interval: float, seen: int, last: int | None) -> NDArray[np.int64]:
    """Times of rows that come without one: intervals after `last`, or (None) their numbers in the stream.

    >>> ticks(2, 1.0, seen=5, last=None).tolist(), ticks(2, 1.0, seen=5, last=7).tolist()
    ([5000000000, 6000000000], [1000000007, 2000000007])
    """
    number, origin = (seen + np.arange(rows), 0) if last is None else (1 + np.arange(rows), last)
    found: NDArray[np.int64] = origin + np.rint(number * (interval * SECOND)).astype(np.int64)
    return found


def moment(time: Any) -> int:
    """When a reading was read, in UTC nanoseconds: a number of them, or what `series.instant` understands.

    >>> moment(5), moment("1970-01-01T00:00:01")
    (5, 1000000000)
    """
    return int(time) if isinstance(time, int | np.integer) else instant(time)


def later(now: int, last: int) -> None:
    """Refuse a reading that is not after the last one."""
    if now <= last:
        raise DataError(
            f"a reading of {time_text(now)} after one of {time_text(last)}",
            wanted="readings in the order of their times",
            do="sort them, or begin with a new state",
        )


def unasked(learn: object, *told: object) -> None:
    """Refuse to be told what only learning needs, where nothing is to be learned."""
    if not learn and any(one is not None for one in told):
        raise SettingError("a target or an id without learn=True", do="give learn=True, or leave them out")


def unknown(target: Any) -> bool:
    """Whether a target says nothing: None or NaN."""
    return target is None or (isinstance(target, float | np.floating) and target != target)


def require_fitted(task: Any, learned: str) -> None:
    """Refuse to answer before `fit`."""
    if not hasattr(task, learned):
        raise NotFittedError(
            f"this {type(task).__name__} has learned nothing yet",
            do="call fit(normal) first, or tidegate.load a model file",
        )


def as_series(data: Any, *, interval: float | str | None = None, channels: Sequence[str] | None = None) -> Series:
    """What every verb does with its data: a Series as it is, anything else through `tidegate.read`.

    >>> as_series([[1.0], [2.0]], interval="5min").interval
    300.0
    """
    if not isinstance(data, Series):
        from ..reader import read  # a program that brings its own Series never reads a file

        return read(np.asarray(data) if isinstance(data, list | tuple) else data, interval=interval, channels=channels)
    series: Series = data if channels is None else data.select(channels)
    if interval is None or series.clock:
        return series
    paced = check(series.values, None, series.channels, interval=interval)
    return msgspec.structs.replace(series, times=paced.times, interval=paced.interval)


def given(X: Any, interval: float) -> Series:
    """What the user gave, as a Series; an array without a clock ticks as the model's data did."""
    series = as_series(X)
    return series if isinstance(X, Series | str | Path) else as_series(series, interval=interval)


def matched(task: Any, X: Any) -> Series:
    """What the user gave, with a fitted task's channels in its order."""
    return match(given(X, task.interval_), task.channels_, task.interval_, task.clock_)[0]


def match(series: Series, channels: tuple[str, ...], interval: float, clock: bool) -> tuple[Series, list[str]]:
    """The series with the model's channels in the model's order, and what was noticed.

    Columns in another order are put in order; extra ones are left out with a note; a missing or renamed one is
    refused, and so is data that ticks at another pace.
    """
    missing = [name for name in channels if name not in series.channels]
    if missing and series.name == "array" and not series.clock and len(series.channels) != len(channels):
        wanted = f"{len(channels)}, in this order: {', '.join(channels[:20])}"
        raise DataError(
            f"an array of {len(series.channels)} columns", wanted=wanted, do="give a column for each channel"
        )
    extra = [name for name in series.channels if name not in channels]
    if missing and not series.clock and len(series.channels) == len(channels) and series.name == "array":
        missing, extra = [], []  # a plain array has positions, not names
    elif missing:
        raise DataError(
            f"{len(missing)} channel(s) of the model are not in the data: {', '.join(missing[:8])}",
            wanted=", ".join(channels[:20]),
            do="rename the columns, or add an empty one for a sensor that is gone"
            + (f"; the data also has {', '.join(extra[:8])}" if extra else ""),
            where=series.name,
        )
    else:
        series = series.select(channels)
    _same_pace(series, interval, clock)
    return series, [f"left out {', '.join(extra)}: the model does not know it"] if extra else []


def _same_pace(series: Series, interval: float, clock: bool) -> None:
    if not series.clock or len(series) < PACED:  # too few to tell another pace from a hole
        return
    pace, slow = np.quantile(np.diff(series.times) / SECOND, (0.25, 0.75)).tolist()
    if not pace / 2 < interval < 2 * slow:  # on an irregular clock any pace between them is its own
        where = "the data the model learned from" if clock else "the array the model learned from, or 1 s if not said"
        raise DataError(
            f"the data has a row every {span_text(pace)}",
            wanted=f"every {span_text(interval)}, as in {where}",
            do="resample the data, or fit a model at this pace (interval= where there are no times)",
            where=series.name,
        )


def row(reading: Mapping[str, float] | Iterable[float] | float, channels: tuple[str, ...]) -> NDArray[np.float64]:
    """One reading as (1, C); None and NaN are missing, `inf` and unknown or missing names are refused.

    Of one channel a plain number is a reading, too.

    >>> row({"b": 2.0, "a": None}, ("a", "b"))
    array([[nan,  2.]])
    """
    if isinstance(reading, Mapping):
        if missing := [name for name in channels if name not in reading]:
            others = [str(name) for name in reading if name not in channels]
            raise DataError(
                f"the reading lacks {', '.join(missing[:8])}" + (f"; it has {', '.join(others[:8])}" if others else ""),
                wanted=", ".join(channels[:20]),
                do="give None for a sensor that said nothing",
            )
        reading = [reading[name] for name in channels]
    if isinstance(reading, str | bytes):
        raise DataError(f"{reading!r} as a reading", wanted=f"numbers: {', '.join(channels[:20])}")
    try:
        given = iter(reading)  # type: ignore[arg-type]
    except TypeError:
        given = iter([reading])  # type: ignore[list-item]
    said = [np.nan if v is None else v for v in given]
    try:
        values = np.array([said], dtype=np.float64)
    except (TypeError, ValueError):
        text = next(repr(v) for v in said if not isinstance(v, int | float | np.number))
        raise DataError(f"{text} in a reading", wanted="numbers, or None for missing") from None
    if values.shape[1] != len(channels):
        saw, wanted = f"a reading of {values.shape[1]} values", f"{len(channels)}: {', '.join(channels[:20])}"
        raise DataError(saw, wanted=wanted, do="give a value for each channel, None for a sensor that said nothing")
    if (large := np.abs(values[0]) > LARGEST).any():
        at = int(np.argmax(large))
        raise DataError(
            f"{values[0, at]} in channel {channels[at]}", wanted=f"numbers up to {LARGEST:g}, NaN = missing"
        )
    return values


def decode(file: save.File, kind: type[Spec]) -> Spec:
    """The specification of a file as a checked struct."""
    try:
        return msgspec.convert(file.spec, kind)
    except msgspec.ValidationError as error:
        raise ModelFileError(
            f"its specification is not one: {error}", where=str(file.path), do="save the model again"
        ) from None


def under(arrays: Arrays, folder: str) -> Arrays:
    """The arrays of one folder, without it in their names.

    >>> sorted(under({"network/a": np.zeros(1), "scale/b": np.zeros(1)}, "network"))
    ['a']
    """
    return {name.removeprefix(f"{folder}/"): a for name, a in arrays.items() if name.startswith(f"{folder}/")}


def flat(value: msgspec.Struct, folder: str) -> Arrays:
    """The arrays of a struct and of the structs inside it, by path; `built` is the way back.

    >>> from ..scale import Scale
    >>> sorted(flat(Scale(np.zeros(1), np.ones(1)), "scale"))
    ['scale/center', 'scale/spread']
    """
    found: Arrays = {}
    for name in value.__struct_fields__:
        part = getattr(value, name)
        found |= flat(part, f"{folder}/{name}") if isinstance(part, msgspec.Struct) else {f"{folder}/{name}": part}
    return found


def built(kind: type[Spec], arrays: Arrays, folder: str) -> Spec:
    """A struct from the arrays that `flat` made of it."""
    hints = get_type_hints(kind)
    parts = [
        arrays[f"{folder}/{name}"] if f"{folder}/{name}" in arrays else built(hints[name], arrays, f"{folder}/{name}")
        for name in hints
    ]
    return kind(*parts)
