"""Sequences and what stands beside every step, however given -> checked series, classes, numbers of their length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..series import LARGEST, Series
from . import sequences, verbs

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Labels = NDArray[Any]


def each(X: Any, one: Callable[[Any], Series] = verbs.as_series) -> tuple[list[Series], bool]:
    """What the user gave as series, and whether it was many; `one` makes a series of what is none.

    >>> each(np.zeros((3, 2)))[1], len(each(np.zeros((5, 3, 2)))[0]), len(each([np.zeros(3)])[0])
    (False, 5, 1)

    One: a Series, (T,), (T, C), a frame or a path. Many: (N, T, C), where rows at the end without a reading are
    padding, or a list or dict of series and arrays.
    """
    if isinstance(X, dict):
        X = list(X.values())
    if isinstance(X, list | tuple) and X and not isinstance(X[0], list | int | float):
        return [one(part) for part in X], True
    if getattr(X, "ndim", 0) == 3:
        return [one(_unpadded(part, i)) for i, part in enumerate(np.asarray(X))], True
    return [one(X)], False


def _unpadded(values: NDArray[Any], number: int) -> NDArray[Any]:
    if values.dtype.kind not in "fiub":
        raise DataError(f"values of type {values.dtype}", wanted="numbers, NaN = missing")
    seen = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not len(seen):
        raise DataError("not a single reading", wanted="at least one", where=f"sequence {number}")
    return values[: seen[-1] + 1]


def beside(y: Any, given: list[Series], X: Any, many: bool) -> list[NDArray[Any]]:
    """What stands beside each step of each series, as arrays of its length: y, or the labels that a series has."""
    if y is None:
        known = [series.labels for series in given if series.labels is not None]
        if len(known) < len(given):
            do = 'give y, or name the column: read(..., labels="state")'
            raise DataError("no labels", wanted="something beside every step", do=do)
        return known
    parts = list(sequences.in_order(y, X)) if many else [y]
    if len(parts) != len(given):
        raise DataError(f"labels for {len(parts):,} sequences", wanted=f"for {len(given):,}, as X has")
    padded = many and not isinstance(X, list | tuple | dict)
    found = []
    for i, (part, series) in enumerate(zip(parts, given, strict=True)):
        part = np.asarray(part)
        part = part[: len(series)] if padded and part.ndim else part
        if part.ndim not in (1, 2) or len(part) != len(series):
            saw = f"labels of shape {part.shape} beside {len(series):,} rows"
            raise DataError(saw, wanted="one for every row; None or NaN where not known", where=f"sequence {i}")
        if any("not in order" in note or "rows dropped" in note for note in series.told):
            do = 'give the labels as a column: read(..., labels="state")'
            raise DataError("the rows were put in the order of their times, y was not", do=do, where=series.name)
        found.append(part)
    return found


def classes(found: list[NDArray[Any]]) -> tuple[Labels, list[Numbers]]:
    """The classes in order, and for each row the number of its class, -1 where it is not known.

    >>> classes([np.array(["on", None, "off"], dtype=object)])
    (array(['off', 'on'], dtype='<U3'), [array([ 1, -1,  0])])
    """
    there = known(found)
    told = [v for one, rows in zip(found, there, strict=True) for v in _flat(one)[rows].tolist()]
    kinds = {type(v) for v in told}
    if not kinds:
        do = "look whether it is the right column, and the right part of the data"
        raise DataError("no label at all: not one row has one", wanted="a label beside some rows", do=do)
    if not (kinds == {str} or kinds == {bool} or kinds <= {int, float, bool}):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(f"labels of type {names}", wanted="whole numbers, texts or truth values; None = not known")
    sequences.whole(told)
    integers = kinds != {bool} and kinds != {str} and all(float(v).is_integer() for v in told)
    named = np.array([int(v) for v in told] if integers else told)
    every, numbers = np.unique(named, return_inverse=True)
    if len(every) < 2:
        raise DataError(f"one class only: {every[0].item()!r}", wanted="at least two", do="give examples of both")
    ends, result = np.cumsum([0, *(int(rows.sum()) for rows in there)]), []
    for rows, first, last in zip(there, ends[:-1], ends[1:], strict=True):
        column = np.full(len(rows), -1, dtype=np.int64)
        column[rows] = numbers[first:last]
        result.append(column)
    return every, result


def kind(names: Labels) -> Literal["bool", "int", "float", "str"]:
    """What sort of names classes have."""
    kinds: dict[str, Literal["bool", "int", "float", "str"]] = {"b": "bool", "i": "int", "f": "float", "U": "str"}
    return kinds[names.dtype.kind]


def known(found: list[NDArray[Any]]) -> list[NDArray[np.bool_]]:
    """Which rows have a label at all."""
    return [np.array([v is not None and v == v for v in _flat(one).tolist()], dtype=bool) for one in found]


def numbered(found: list[NDArray[Any]], known: Labels) -> list[Numbers]:
    """For each row the number of its label among known classes; -1 where it is missing or none of them."""
    number = {label: i for i, label in enumerate(known.tolist())}
    return [np.array([number.get(v, -1) for v in _flat(one).tolist()], dtype=np.int64) for one in found]


def _flat(one: NDArray[Any]) -> NDArray[Any]:
    if one.ndim == 2 and one.shape[1] != 1:
        raise DataError(f"labels of shape {one.shape}", wanted="one for each row")
    return one.reshape(-1)


def target_names(count: int) -> tuple[str, ...]:
    """The names of so many targets.

    >>> target_names(1), target_names(2)
    (('value',), ('value 0', 'value 1'))
    """
    return ("value",) if count == 1 else tuple(f"value {k}" for k in range(count))


def values(found: list[NDArray[Any]]) -> list[Floats]:
    """Numbers (T, K) for each row, NaN where not known; the same K in all."""
    tables: list[Floats] = []
    for i, one in enumerate(found):
        try:
            table = one.astype(np.float64)
        except (TypeError, ValueError):
            do = 'for names of states use Tagger(target="label")'
            raise DataError(f"targets of type {one.dtype}", wanted="numbers", do=do, where=f"sequence {i}") from None
        table = table[:, None] if table.ndim == 1 else table
        if (np.abs(table) > LARGEST).any():
            raise DataError(
                "a target that is infinite", wanted="finite numbers, NaN = not known", where=f"sequence {i}"
            )
        if table.shape[1] != tables[0].shape[1] if tables else not table.shape[1]:
            raise DataError(
                f"{table.shape[1]} targets", wanted="as many as in the first sequence", where=f"sequence {i}"
            )
        tables.append(table)
    return tables
