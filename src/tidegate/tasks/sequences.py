"""Many sequences as one checked block: readings and mask (N, T, 2C), lengths (N,), whatever way they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..scale import Scale
from ..series import LARGEST, Series
from . import verbs

Floats = NDArray[np.float64]
CLIP = 10.0  # scaled readings go no further
LEVELS = 20  # different numbers that may be names of classes though they are not whole
SMOOTH = 1e-4  # a channel that moves by less from reading to reading does not move


def each(X: Any, channels: Sequence[str] = ()) -> list[Floats]:
    """What the user gave as a list of sequences (T_i, C), NaN = missing, none changed.

    >>> [one.shape for one in each([[1.0, 2.0, float("nan")], [3.0, float("nan"), 4.0]])]
    [(2, 1), (3, 1)]

    X: an array (N, T) or (N, T, C) in which NaN at the end is padding; or a list of arrays (T_i,) or (T_i, C), or of
    Series and data frames, whose channels are taken by name where `channels` are known. Raises DataError, which names
    the sequence.
    """
    X = many(X)
    if isinstance(X, Series):
        raise DataError(f"one series, {X.name}", wanted="a list of series, one label each", do="classify [series]")
    if isinstance(X, list | tuple):
        series = [verbs.as_series(x) if hasattr(x, "columns") else x for x in X]
        channels = channels or (series[0].channels if series and isinstance(series[0], Series) else ())
        items = [(x.select(channels) if channels else x).values if isinstance(x, Series) else x for x in series]
    else:
        whole = _numbers(X, "X")
        if whole.ndim not in (2, 3):
            raise DataError(f"an array of shape {whole.shape}", wanted="(N, T), (N, T, C), or a list of sequences")
        items = list(whole)
    found = [_one(item, f"sequence {i}") for i, item in enumerate(items)]
    for i, one in enumerate(found):
        if one.shape[1] != found[0].shape[1]:
            saw = f"sequence {i} has {one.shape[1]} channels, sequence 0 has {found[0].shape[1]}"
            raise DataError(saw, wanted="the same number in all")
    if not found:
        raise DataError("no sequences", wanted="at least one")
    return found


def many(X: Any) -> Any:
    """Sequences as a list where they came by name, as `read_many` gives them, or in a file that it reads."""
    if isinstance(X, str | Path):
        from ..reader import read_many

        try:
            X = read_many(X)
        except DataError as error:  # what it advises are arguments of the reader: `fit` has none of them
            if "=" not in error.do:
                raise
            do = f"{error.do}, where that can be said: tg.read_many(path, id=, labels=), and give what it reads"
            raise DataError(error.saw, wanted=error.wanted, do=do, where=error.where) from None
    return list(X.values()) if isinstance(X, Mapping) else X


def in_order(y: Any, X: Any) -> Any:
    """What is known of sequences by name, in their order; what is no table of names stays as it is."""
    if not isinstance(y, Mapping) or not isinstance(X, Mapping):
        return y
    if odd := sorted(map(str, set(X) ^ set(y))):
        raise DataError(f"names that X and y do not both have: {', '.join(odd[:8])}", wanted="the same in both")
    return [y[name] for name in X]


def labels(X: Any) -> list[Any]:
    """The label that each of some series has, beside all of its rows."""
    found = []
    for one in X if isinstance(X, list | tuple) else [X]:
        told = one.labels if isinstance(one, Series) else None
        if told is not None and len(told) and all(value != value or value == "" for value in told.tolist()):
            do = "leave this sequence out, or give y, a label each"
            raise DataError(f"no label in {one.name}", wanted="one label for each sequence", do=do)
        if told is None or len(set(told.tolist())) != 1:
            what = "no labels" if told is None else f"{len(set(told.tolist()))} labels in {one.name}"
            raise DataError(what, wanted="one label for each sequence", do="give y, a label each")
        found.append(told[0])
    return found


def whole(told: list[Any]) -> None:
    """Refuse measurements as labels: numbers between whole ones, of more than a few different values."""
    parts = [value for value in told if isinstance(value, float) and not value.is_integer()]
    if parts and (count := len(set(told))) > LEVELS:
        do = 'learn values with Tagger(target="value"), or turn levels into texts'
        raise DataError(f"{count:,} different labels, as {parts[0]}", wanted="names of classes", do=do)


def met(truth: NDArray[Any], known: NDArray[Any]) -> None:
    """Refuse labels of which not one was learned: texts where classes are numbers, say."""
    told = [value for value in truth.ravel().tolist() if value is not None and value == value]
    if told and not set(told) & set(known.tolist()):
        names = ", ".join(map(repr, known.tolist()[:8]))
        raise DataError(f"labels such as {told[0]!r}, none of which was learned", wanted=f"of {names}")


def names(X: Any, count: int) -> tuple[str, ...]:
    """The names of the channels, if the sequences have any."""
    X = many(X)
    first = X[0] if isinstance(X, list | tuple) and X else None
    first = verbs.as_series(first) if hasattr(first, "columns") else first
    return first.channels if isinstance(first, Series) else tuple(f"c{i}" for i in range(count))


def _numbers(values: Any, where: str) -> Floats:
    given = np.asarray(values)
    if given.dtype.kind not in "fiub":
        raise DataError(f"values of type {given.dtype}", wanted="numbers, NaN = missing", where=where)
    if (np.abs(given.astype(np.float64)) > LARGEST).any():
        do = "leave the value empty (NaN), or repair the source"
        raise DataError(f"a number above {LARGEST:g} or an infinity", wanted="finite numbers", do=do, where=where)
    return given.astype(np.float64)


def _one(values: Any, where: str) -> Floats:
    table = _numbers(values, where)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.shape[1]:
        raise DataError(f"an array of shape {table.shape}", wanted="(T,) or (T, C)", where=where)
    seen = np.flatnonzero(~np.isnan(table).all(axis=1))
    if not len(seen):
        raise DataError("not a single reading", wanted="at least one", do="leave this sequence out", where=where)
    return table[: seen[-1] + 1]


def inputs(scale: Scale, values: Floats) -> NDArray[np.float32]:
    """Readings (T, C), NaN = missing -> scaled, 0 where missing, beside their mask (T, 2C)."""
    z, seen = np.clip(scale.apply(values), -CLIP, CLIP), ~np.isnan(values)
    return np.concatenate([np.where(seen, z, 0.0), seen], axis=-1, dtype=np.float32, casting="same_kind")


def block(sequences: list[Floats], scale: Scale, tail: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scaled readings beside their mask, (N, T, 2C), zeros where nothing was read; and the lengths (N,).

    Each length has `tail` blank steps in it, in which the network can see that and how a sequence ended.
    """
    lengths = np.array([len(one) + tail for one in sequences])
    x = np.zeros((len(sequences), int(lengths.max()), 2 * sequences[0].shape[1]), dtype=np.float32)
    for row, one in zip(x, sequences, strict=True):
        row[: len(one)] = inputs(scale, one)
    return x, lengths


def rough(sequences: list[Floats], scale: Scale) -> tuple[float, ...]:
    """By how much each scaled channel usually changes from one reading to the next: a root mean square, 1 if never.

    >>> rough([np.array([[0.0], [1.0], [0.0]])], Scale(np.zeros(1), np.ones(1)))
    (1.0,)
    """
    squares, counts = np.zeros(sequences[0].shape[1]), np.zeros(sequences[0].shape[1])
    for one in sequences:
        change = np.diff(np.clip(scale.apply(one), -CLIP, CLIP), axis=0)
        squares += np.nansum(change**2, axis=0)
        counts += (~np.isnan(change)).sum(axis=0)
    sizes = np.sqrt(squares / np.maximum(counts, 1))
    return tuple(np.where(sizes > SMOOTH, sizes, 1.0).tolist())
