"""Arrays that remember how they came about: the gradients of a network's forward pass, without torch.

>>> w = Traced(np.array([2.0, 3.0]))
>>> gradients((np.tanh(w) * np.array([1.0, 10.0])).sum(), [w])[0].round(4).tolist()
[0.0707, 0.0987]

A `Traced` goes where an array goes: NumPy hands its functions over to it (NEP 13, NEP 18) and `kernels` its scan and
its products, so the text that runs a network also says how it learns. What it holds are the numbers that would have
been there without it, bit for bit; each step keeps a way back for slopes, and `gradients` walks these from the last to
the first (reverse mode: Speelpenning 1980). All sums run in a fixed order: the same numbers give the same gradients.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from . import cpu, fans

Array = NDArray[Any]
Slopes = list[tuple["Traced", Array]]
_numbers = itertools.count()  # what is made later has a larger one


def _none(slope: Array) -> Slopes:
    return []


class Traced(NDArrayOperatorsMixin):
    """An array, and `back`: from the slope of the answer along it to that along each of what it was made from."""

    def __init__(self, value: Any, back: Callable[[Array], Slopes] = _none) -> None:
        self.value: Array = np.asarray(value)
        self.back, self.number = back, next(_numbers)
        self.shape, self.ndim, self.dtype = self.value.shape, self.value.ndim, self.value.dtype

    def __len__(self) -> int:
        return len(self.value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any) -> Any:
        return _local(ufunc, inputs) if method == "__call__" and ufunc in _SLOPES else NotImplemented

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is np.where:
            return _local(func, args)
        return _moved(func, args, kwargs) if func in _MOVES else NotImplemented

    def __getitem__(self, index: Any) -> Traced:
        if any(isinstance(i, np.ndarray) for i in (index if isinstance(index, tuple) else (index,))):
            return _moved(lambda a: a[index], (self,), {})

        def back(slope: Array) -> Slopes:
            whole = np.zeros(self.shape, slope.dtype)
            whole[index] = slope
            return [(self, whole)]

        return Traced(self.value[index], back)

    def reshape(self, *sides: Any) -> Traced:
        """As of an array."""
        return Traced(self.value.reshape(*sides), lambda slope: [(self, slope.reshape(self.shape))])

    def swapaxes(self, one: int, other: int) -> Traced:
        """As of an array."""
        return Traced(self.value.swapaxes(one, other), lambda slope: [(self, slope.swapaxes(one, other))])

    def repeat(self, count: int, axis: int) -> Traced:
        """As of an array."""
        return _moved(np.repeat, (self, count, axis), {})

    def sum(self, axis: Any = None, keepdims: bool = False) -> Traced:
        """As of an array."""
        kept = self.value.sum(axis, keepdims=True)
        total = kept if keepdims else self.value.sum(axis)
        return Traced(total, lambda slope: [(self, np.broadcast_to(slope.reshape(kept.shape), self.shape))])

    def cumsum(self, axis: int) -> Traced:
        """As of an array."""

        def back(slope: Array) -> Slopes:
            return [(self, np.flip(np.flip(slope, axis).cumsum(axis), axis))]

        return Traced(self.value.cumsum(axis), back)

    def max(self, axis: int) -> Traced:
        """As of an array; of equal ones the first has the slope."""
        at = np.expand_dims(self.value.argmax(axis), axis)
        return _moved(lambda a: np.take_along_axis(a, at, axis).squeeze(axis), (self,), {})

    def clip(self, low: float, high: float) -> Traced:
        """As of an array; there is no slope outside."""
        inside = (self.value >= low) & (self.value <= high)
        return Traced(self.value.clip(low, high), lambda slope: [(self, slope * inside)])

    def detach(self) -> Array:
        """The numbers alone: no slope goes through."""
        return self.value


# --- numbers that change: the slope along each operand --------------------------------------------------------------

_SLOPES: dict[Any, Callable[..., tuple[Any, ...]]] = {
    np.add: lambda y, a, b: (1, 1),
    np.subtract: lambda y, a, b: (1, -1),
    np.multiply: lambda y, a, b: (b, a),
    np.divide: lambda y, a, b: (1 / b, -y / b),
    np.negative: lambda y, a: (-1,),
    np.power: lambda y, a, k: (k * a ** (k - 1), None),  # the exponent is a plain number
    np.tanh: lambda y, a: (1 - y * y,),
    np.exp: lambda y, a: (y,),
    np.log: lambda y, a: (1 / a,),
    np.absolute: lambda y, a: (np.sign(a),),
    np.maximum: lambda y, a, b: (a > b, a <= b),
    np.where: lambda y, c, a, b: (None, c, ~c),
}


def plain(x: Any) -> Any:
    """The numbers of what may be traced."""
    return x.value if isinstance(x, Traced) else x


def _local(func: Any, operands: Sequence[Any]) -> Traced:
    """A function of each place by itself."""
    given = [plain(operand) for operand in operands]
    y = func(*given)

    def back(slope: Array) -> Slopes:
        each = zip(operands, _SLOPES[func](y, *given), strict=True)
        return [(x, _shrunk(slope * local, x.shape)) for x, local in each if isinstance(x, Traced)]

    return Traced(y, back)


def _shrunk(slope: Array, shape: tuple[int, ...]) -> Array:
    """The slope along what was stretched to the shape that `slope` has: sums over what shared its numbers."""
    if slope.shape == shape:
        return slope
    slope = slope.sum(axis=tuple(range(slope.ndim - len(shape))))
    found: Array = slope.sum(axis=tuple(i for i, side in enumerate(shape) if side == 1), keepdims=True)
    return found


# --- numbers that move: where each came from ------------------------------------------------------------------------

_MOVES = {np.concatenate, np.stack, np.flip, np.repeat, np.take_along_axis, np.pad, np.squeeze}


def _moved(move: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Traced:
    """A function that only moves numbers tells, of the numbers' places, where each came from (0: from nowhere)."""
    sources: list[Traced] = []
    edges = [1]

    def places(x: Any) -> Array:
        if not isinstance(x, Traced):
            return np.zeros(np.shape(x), np.int64)  # beside what is traced, in a list
        sources.append(x)
        edges.append(edges[-1] + x.value.size)
        return np.arange(*edges[-2:]).reshape(x.shape)

    def each(told: Callable[[Any], Any]) -> list[Any]:
        some = [isinstance(a, list) and any(isinstance(x, Traced) for x in a) for a in args]
        return [
            [told(x) for x in a] if listed else told(a) if isinstance(a, Traced) else a
            for a, listed in zip(args, some, strict=True)
        ]

    at = move(*each(places), **kwargs)

    def back(slope: Array) -> Slopes:
        total = np.bincount(at.ravel(), slope.ravel(), minlength=edges[-1]).astype(slope.dtype)
        return [(x, total[a:b].reshape(x.shape)) for x, (a, b) in zip(sources, itertools.pairwise(edges), strict=True)]

    return Traced(move(*each(plain), **kwargs), back)


# --- what the core does ---------------------------------------------------------------------------------------------


def linear(x: Any, w: Any, b: Any) -> Traced:
    """`kernels.linear`; forward and back in the core's order of sums: no bit depends on threads."""
    told, weight = plain(x), plain(w)

    def back(slope: Array) -> Slopes:
        rows, inputs = slope.reshape(-1, len(weight)).astype(np.float32), told.reshape(-1, weight.shape[1])
        found = [(w, cpu.linear(rows.T, inputs.T, np.zeros(weight.shape[1], np.float32))), (b, rows.sum(axis=0))]
        if isinstance(x, Traced):
            found.append((x, cpu.linear(rows, weight.T, np.zeros(weight.shape[1], np.float32)).reshape(x.shape)))
        return found

    return Traced(cpu.linear(told, weight, plain(b)), back)


def scan(cell: str, x: Any, state: Any, weights: Sequence[Any]) -> tuple[Traced, Traced]:
    """`kernels.scan`, by the compiled scan and its compiled way back."""
    inputs, first = np.ascontiguousarray(plain(x)[None]), np.ascontiguousarray(plain(state)[:, None])
    heavy, last, count = tuple(plain(w)[None] for w in weights), np.empty_like(first), cpu.threads()
    y, tape = cpu.forward(cell, inputs, tuple(first), heavy, None, tuple(last), reverse=False, keep=True, count=count)

    def back(slope: Array) -> Slopes:
        told = slope.astype(np.float32)
        dy, dlast, dfirst = told[: y.size].reshape(y.shape), told[y.size :].reshape(last.shape), np.empty_like(first)
        wanted, after = (isinstance(x, Traced), [True] * 4), (tuple(dlast), tuple(dfirst))
        dx, dweights = cpu.backward(tape, inputs, heavy, dy, *after, wanted=wanted, count=count)  # type: ignore[arg-type]
        found = list(zip(weights, (d[0] for d in dweights if d is not None), strict=True))
        found += [] if dx is None else [(x, dx[0])]
        return found + ([(state, dfirst[:, 0])] if isinstance(state, Traced) else [])

    both = Traced(np.concatenate([y.ravel(), last.ravel()]), back)
    return both[: y.size].reshape(y.shape[1:]), both[y.size :].reshape(first[:, 0].shape)


def fan(cell: str, state: Any, weights: tuple[Any, Any], each: Any, own: Any, drop: tuple[()] = ()) -> Traced:
    """`fans.forward`, by its compiled way back; all of it traced, and nothing dropped."""
    parts, *given = (plain(a) for a in (state, each, own, *weights))

    def back(slope: Array) -> Slopes:
        many = [np.ascontiguousarray(a[None]) for a in (slope.astype(np.float32), *given)]
        dy, ahead, heavy = many[0], (many[1], many[2]), (many[3], many[4])
        first = tuple(np.ascontiguousarray(part[None]) for part in parts)
        deach, down, *dfirst, dw, db = fans.backward(cell, first, heavy, *ahead, (), dy, cpu.threads())
        found = zip((each, own, *weights), (deach, down, dw, db), strict=True)
        return [*((a, slope[0]) for a, slope in found), (state, np.concatenate(dfirst))]

    return Traced(fans.forward(cell, parts, (given[2], given[3]), given[0], given[1]), back)


# --- back through all of it -----------------------------------------------------------------------------------------


def gradients(answer: Traced, of: Sequence[Traced]) -> list[Array]:
    """How much one more in each number of `of` adds to `answer` (one number): an array for each, zeros if nothing."""
    slopes, made = {answer.number: np.ones_like(answer.value)}, {answer.number: answer}
    latest = [-answer.number]
    while latest:
        number = -heapq.heappop(latest)
        for source, slope in made[number].back(slopes[number]):
            if source.number in slopes:
                slopes[source.number] = slopes[source.number] + slope
            else:
                slopes[source.number], made[source.number] = slope, source
                heapq.heappush(latest, -source.number)
    return [slopes.get(x.number, np.zeros(x.shape, x.dtype)).astype(x.dtype) for x in of]
