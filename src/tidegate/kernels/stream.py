"""The streaming call: one reading of many streams at a time, through scale, recurrent layers and head, in microseconds.

No torch, nothing allocated, the same tiles as the compiled scan and so the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cells import PARTS
from ..errors import DataError, SettingError
from ._core import Live

Floats = NDArray[np.float32]


class Stepper:
    """S streams that share a model, or M models with S streams each; takes readings as they come.

    >>> weights = tuple(np.ones(size, np.float32) for size in ((3, 2), (3, 1), (3,), (3,)))
    >>> stepper = Stepper("gru", [weights], streams=2)
    >>> stepper.step(np.zeros((2, 2))).shape
    (2, 1)

    layers  of each layer (w_x, w_h, b_x, b_h), in PyTorch's shapes; with a leading M for M models
    scale   (center (C,), spread (C,)): what is read is (reading - center) / spread
    head    (w (O, H), b (O,)): the answer is w h + b; without one it is the last layer's state h
    steps   readings of each stream in one call

    `state` (layers, parts, M, S, padded) is where the streams stand: save a copy, or set it. A NaN stays in the state
    of its stream: fill what is missing before. Raises ValueError that names the argument, DataError for readings of
    another shape.
    """

    def __init__(
        self,
        cell: str,
        layers: Sequence[tuple[Any, ...]],
        *,
        streams: int = 1,
        scale: tuple[Any, Any] | None = None,
        head: tuple[Any, Any] | None = None,
        steps: int = 1,
    ) -> None:
        if streams < 1 or steps < 1:
            raise SettingError(f"{streams} streams and {steps} steps", wanted="1 or more of each")
        self.models = None if np.ndim(layers[0][0]) == 2 else len(layers[0][0])
        lifted = [tuple(self._lifted(w) for w in layer) for layer in layers]
        last = () if head is None else tuple(self._lifted(w) for w in head)
        measure = () if scale is None else tuple(np.ascontiguousarray(part, np.float64) for part in scale)
        self._live = Live(cell, lifted, measure, last)
        models, inputs, hidden = len(lifted[0][0]), lifted[0][0].shape[2], lifted[0][1].shape[2]
        self._x = np.zeros((models, streams, steps, inputs))
        self._y = np.zeros((models, streams, steps, last[0].shape[1] if last else hidden), np.float32)
        self._state: Floats = np.zeros((len(layers), PARTS[cell], models, streams, self._live.padded), np.float32)
        self._live.bind(self._x, self._state, self._y)
        cut = 0 if self.models is None else slice(None)
        at = (cut, slice(None), 0) if steps == 1 else (cut,)
        self._in, self._out = self._x[at], self._y[at]

    def _lifted(self, w: Any) -> Any:
        return None if w is None else np.ascontiguousarray(w if self.models else np.asarray(w)[None], np.float32)

    @property
    def state(self) -> Floats:
        """Where the streams stand (layers, parts, M, S, padded): changes with every call."""
        return self._state

    @state.setter
    def state(self, value: Any) -> None:
        self._state[...] = value

    def step(self, readings: Any) -> Floats:
        """The answers (S, O) to readings (S, C), valid until the next call.

        With models everything has M before S, with several steps T after it.
        """
        if np.shape(readings) != self._in.shape:
            raise DataError(f"readings of shape {np.shape(readings)}", wanted=f"{self._in.shape}")
        self._in[...] = readings
        self._live.run()
        return self._out
