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

    `state` (layers, parts, M, S, H) is where the streams stand: save a copy, or set it. A NaN stays in the state
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
    ) -> None:
        if streams < 1:
            raise SettingError(f"{streams} streams", wanted="1 or more")
        self.models = None if np.ndim(layers[0][0]) == 2 else len(layers[0][0])
        lifted = [tuple(self._lifted(w) for w in layer) for layer in layers]
        last = () if head is None else tuple(self._lifted(w) for w in head)
        measure = () if scale is None else tuple(np.ascontiguousarray(part, np.float64) for part in scale)
        if measure and not np.all((measure[1] > 0) & (measure[1] < np.inf)):
            raise SettingError(f"a scale with a spread of {measure[1].min()}", wanted="more than 0, and finite")
        self._live = Live(cell, lifted, measure, last)
        models, inputs, hidden = len(lifted[0][0]), lifted[0][0].shape[2], lifted[0][1].shape[2]
        self._hidden, self._outputs = hidden, last[0].shape[1] if last else hidden
        self._state: Floats = np.zeros((len(layers), PARTS[cell], models, streams, self._live.padded), np.float32)
        self._x, self._y = self._room(np.zeros((models, streams, 1, inputs)))
        self._live.bind(self._x, self._state, self._y)
        self._in, self._out = (a[:, :, 0] if self.models else a[0, :, 0] for a in (self._x, self._y))

    def _room(self, x: Any) -> tuple[Any, Floats]:
        return x, np.empty((*x.shape[:3], self._outputs), np.float32)

    def _lifted(self, w: Any) -> Any:
        return None if w is None else np.ascontiguousarray(w if self.models else np.asarray(w)[None], np.float32)

    @property
    def state(self) -> Floats:
        """Where the streams stand (layers, parts, M, S, H): changes with every call."""
        return self._state[..., : self._hidden]

    @state.setter
    def state(self, value: Any) -> None:
        if np.shape(value) != self.state.shape:
            raise DataError(f"a state of shape {np.shape(value)}", wanted=f"{self.state.shape}")
        self._state[..., : self._hidden] = value

    def step(self, readings: Any) -> Floats:
        """The answers (S, O) to readings (S, C), valid until the next call; with models (M, S, O) to (M, S, C)."""
        if np.shape(readings) != self._in.shape:
            raise DataError(f"readings of shape {np.shape(readings)}", wanted=f"{self._in.shape}")
        self._in[...] = readings
        self._live.run()
        return self._out

    def step_many(self, readings: Any) -> Floats:
        """The answers (S, T, O) to T readings of each stream (S, T, C), the same bits as T times `step`.

        With models (M, S, T, O) to (M, S, T, C).
        """
        lead, given = self._in.shape[:-1], np.shape(readings)
        if len(given) != len(lead) + 2 or given[:-2] != lead or given[-1] != self._in.shape[-1]:
            raise DataError(f"readings of shape {given}", wanted=f"{(*lead, 'T', self._in.shape[-1])}")
        chunk = np.ascontiguousarray(readings, np.float64)
        x, y = self._room(chunk if self.models else chunk[None])
        self._live.bind(x, self._state, y)
        try:
            self._live.run()
        finally:
            self._live.bind(self._x, self._state, self._y)
        return y if self.models else y[0]
