"""How a network learns from one reading at a time, in NumPy: slow, readable, and what the core must agree with.

Every slope of a cell is taken by the complex step, f'(x) = Im f(x + i e) / e with e so small that nothing is lost
(Squire & Trapp 1998): exact to rounding, and independent of any formula that a faster kernel uses. States are flat
here: all parts of a cell's state, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cells, lru

Floats = NDArray[np.float64]
Weights = tuple[Floats, ...]
TINY = 1e-100


class Net:
    """A layer that learns: its weights, and one step of it as a function of plain vectors."""

    def __init__(self, cell: str, weights: Sequence[Any]) -> None:
        self.cell, self.weights = cell, tuple(np.asarray(w, np.float64) for w in weights)
        self.hidden = self.weights[0].shape[0] if cell == "lru" else self.weights[1].shape[1]
        self.parts = 2 if cell == "lru" else cells.PARTS[cell]

    def step(self, x: Any, state: Any, weights: Any = None) -> Any:
        """The next state (S,) from an input (I,) and a state (S,)."""
        given = self.weights if weights is None else weights
        run: Callable[..., Any] = lru.step if self.cell == "lru" else cells.STEPS[self.cell]
        return run(x, state.reshape(self.parts, self.hidden), given).ravel()

    def out(self, x: Any, state: Any, weights: Any = None) -> Any:
        """What the head sees (H,)."""
        given = self.weights if weights is None else weights
        parts = state.reshape(self.parts, self.hidden)
        return lru.out(x, parts, given) if self.cell == "lru" else parts[0]


def slopes(f: Callable[[Any], Any], at: Floats) -> Floats:
    """The Jacobian of f at a vector or matrix, with the sides of `at` behind those of f.

    >>> slopes(lambda x: x**2, np.array([1.0, 3.0])).tolist()
    [[2.0, 0.0], [0.0, 6.0]]
    """
    columns = []
    for i in range(at.size):
        moved = at.astype(np.complex128)
        moved.flat[i] += TINY * 1j
        columns.append(f(moved).imag / TINY)
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *at.shape)


def by_weights(f: Callable[[Any], Any], weights: Weights) -> list[Floats]:
    """The Jacobian of a function of all weights, one array a weight."""

    def one(i: int) -> Floats:
        return slopes(lambda w: f((*weights[:i], w, *weights[i + 1 :])), weights[i])

    return [one(i) for i in range(len(weights))]


class Slopes:
    """How one step of a net moves with its state and its weights."""

    def __init__(self, net: Net, x: Any, before: Floats, after: Floats) -> None:
        self.step_by_state = slopes(lambda h: net.step(x, h), before)
        self.step_by_weights = by_weights(lambda w: net.step(x, before, w), net.weights)
        self.out_by_state = slopes(lambda h: net.out(x, h), after)
        self.out_by_weights = by_weights(lambda w: net.out(x, after, w), net.weights)


def tbptt(net: Net, xs: Any, first: Any, dus: Any, back: int) -> list[Floats]:
    """Truncated backpropagation (Williams & Peng 1990): the slopes of the weights, from the last reading `back` back.

    xs (T, I) and the state before them; dus (T, H): the slope of the loss by what the head saw at each reading, zeros
    where there was none.
    """
    states = [np.asarray(first, np.float64)]
    for x in xs:
        states.append(net.step(x, states[-1]))
    total = [np.zeros_like(w) for w in net.weights]
    carried = np.zeros_like(states[0])
    for t in range(len(xs) - 1, max(-1, len(xs) - 1 - back), -1):
        here = Slopes(net, xs[t], states[t], states[t + 1])
        carried = carried + dus[t] @ here.out_by_state
        for sum_, seen, moved in zip(total, here.out_by_weights, here.step_by_weights, strict=True):
            sum_ += np.tensordot(dus[t], seen, 1) + np.tensordot(carried, moved, 1)
        carried = carried @ here.step_by_state
    return total


class Rtrl:
    """Exact recurrent learning (Williams & Zipser 1989): the influence of every weight on the state, carried forward.

    J' = D J + what this step adds, D = dstate'/dstate; the slopes of the weights are dL/dstate' J'. Of an LRU D is
    diagonal (in complex numbers), which is why its traces cost no more than its step; the numbers are these.
    """

    def __init__(self, net: Net) -> None:
        self.net, size = net, net.parts * net.hidden
        self.state: Floats = np.zeros(size)
        self.influence = [np.zeros((size, *w.shape)) for w in net.weights]

    def read(self, x: Any) -> Floats:
        """One reading (I,): carries state and influence on, and gives what the head sees (H,)."""
        after = self.net.step(x, self.state)
        self.here = Slopes(self.net, x, self.state, after)
        pairs = zip(self.influence, self.here.step_by_weights, strict=True)
        self.influence = [np.tensordot(self.here.step_by_state, old, 1) + new for old, new in pairs]
        self.state = after
        shown: Floats = self.net.out(x, after)
        return shown

    def slopes(self, du: Any) -> list[Floats]:
        """The slopes of the weights, from the loss's slope by what the head saw of the last reading."""
        carried = du @ self.here.out_by_state
        pairs = zip(self.influence, self.here.out_by_weights, strict=True)
        return [np.tensordot(carried, moved, 1) + np.tensordot(du, seen, 1) for moved, seen in pairs]
