"""Layers over layers, in one direction or both, forward and back: the compiled scan as often as that takes.

NumPy in and out, everything with the model axis; `layers.py` is its face for torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cells import PARTS
from .cpu import backward, forward

Array = NDArray[np.float32]


class Plan(NamedTuple):
    """How a stack is run.

    lengths  (N,) int64, or None for all steps
    reverse  of a stack in one direction: each row from its last step to its first
    masks    what the input of each layer but the first is multiplied by (dropout), or ()
    """

    cell: str
    layers: int = 1
    ways: int = 1
    lengths: NDArray[np.int64] | None = None
    reverse: bool = False
    masks: tuple[Array, ...] = ()


class Run:
    """One way forward through a stack, and back.

    >>> weights = [np.ones(size, np.float32) for size in ((1, 3, 2), (1, 3, 1), (1, 3), (1, 3))]
    >>> y, last = Run(Plan("gru"), weights, threads=1).forward(np.zeros((1, 4, 5, 2), np.float32), None)
    >>> y.shape, last.shape
    ((1, 4, 5, 1), (1, 1, 1, 4, 1))

    weights  w_x, w_h, b_x, b_h of each layer and direction, in a row, each with the model axis
    """

    def __init__(self, plan: Plan, weights: list[Any], threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.weights = [tuple(weights[i : i + 4]) for i in range(0, len(weights), 4)]
        self.inputs: list[Any] = []
        self.tapes: list[Any] = []

    def _way(self, k: int) -> tuple[int, bool]:
        """The layer of the k-th run, and whether that goes from the last step to the first."""
        return k // self.plan.ways, self.plan.reverse or k % self.plan.ways == 1

    def forward(self, x: Any, state: Any, keep: bool = False) -> tuple[Array, Array]:
        """x (M, N, T, I), state (parts, K, M, N, H) or None for zeros -> y (M, N, T, ways * H), last state.

        K: layers times ways, as in torch. `keep` is for `backward`.
        """
        plan, w_h = self.plan, self.weights[0][1]
        models, hidden, rows = len(w_h), w_h.shape[2], x.shape[1]
        last = np.empty((PARTS[plan.cell], len(self.weights), models, rows, hidden), np.float32)
        self.inputs, self.tapes, told = [], [], [np.ascontiguousarray(x)]
        for k, weights in enumerate(self.weights):
            layer, reverse = self._way(k)
            if k % plan.ways == 0:
                x = told[0] if len(told) == 1 else np.concatenate(told, axis=-1)
                x = x * plan.masks[layer - 1] if layer and plan.masks else x
                self.inputs.append(x)
                told = []
            parts = () if state is None else tuple(state[:, k])
            y, tape = forward(
                plan.cell, x, parts, weights, plan.lengths, tuple(last[:, k]), reverse=reverse, keep=keep,
                count=self.threads,
            )  # fmt: skip
            told.append(y)
            self.tapes.append(tape)
        return told[0] if len(told) == 1 else np.concatenate(told, axis=-1), last

    def backward(self, dy: Any, dlast: Any, wanted: tuple[bool, bool, list[bool]]) -> tuple[Any, Any, list[Any]]:
        """Gradients of x, the state and the weights, each None where not `wanted`, from those of y and the last state.

        Possible once for each `forward` with `keep`.
        """
        plan, ways = self.plan, self.plan.ways
        w_h, (of_x, of_state, of_weights) = self.weights[0][1], wanted
        sides = (PARTS[plan.cell], len(self.weights), len(w_h), self.inputs[0].shape[1], w_h.shape[2])
        dstate = np.empty(sides, np.float32) if of_state else None
        dweights: list[Any] = [None] * len(of_weights)
        for layer in reversed(range(plan.layers)):
            dx: Any = None
            for way in range(ways):
                k = layer * ways + way
                found, grads = backward(
                    self.tapes[k], self.inputs[layer], self.weights[k],
                    dy if ways == 1 or dy is None else dy[..., way * sides[4] : (way + 1) * sides[4]],
                    () if dlast is None else tuple(None if part is None else part[k] for part in dlast),
                    () if dstate is None else tuple(dstate[:, k]),
                    wanted=(bool(layer) or of_x, of_weights[4 * k : 4 * k + 4]), count=self.threads,
                )  # fmt: skip
                dweights[4 * k : 4 * k + 4] = grads
                dx = found if dx is None or found is None else dx + found
            dy = dx * plan.masks[layer - 1] if layer and plan.masks else dx
        return dy, dstate, dweights
