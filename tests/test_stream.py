"""The streaming call: the bits of the scan, one reading at a time, for many streams and many models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate import cells
from tidegate.errors import DataError, SettingError
from tidegate.kernels import cpu
from tidegate.kernels.stream import Stepper

CELLS = tuple(cells.STEPS)
pytestmark = pytest.mark.usefixtures("isa")


def drawn(cell: str, inputs: int, hidden: int, layers: int, models: int | None = None, seed: int = 0) -> list[Any]:
    rng, gates, lead = np.random.default_rng(seed), cells.GATES[cell] * hidden, () if models is None else (models,)
    sizes = [inputs] + [hidden] * (layers - 1)
    shapes = [[(gates, size), (gates, hidden), (gates,), (gates,)] for size in sizes]
    return [tuple(rng.uniform(-0.5, 0.5, (*lead, *s)).astype(np.float32) for s in layer) for layer in shapes]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("streams", [1, 2, 70])
@pytest.mark.parametrize("cell", CELLS)
def test_one_at_a_time_has_the_bits_of_the_whole(cell: str, streams: int, layers: int) -> None:
    rng = np.random.default_rng(1)
    inputs, hidden, steps, outputs = 3, 17, 6, 5
    weights = drawn(cell, inputs, hidden, layers)
    head = rng.standard_normal((outputs, hidden)).astype(np.float32), rng.standard_normal(outputs).astype(np.float32)
    scale = rng.standard_normal(inputs), rng.uniform(0.5, 2, inputs)
    x = rng.standard_normal((streams, steps, inputs))
    h = ((x - scale[0]) / scale[1]).astype(np.float32)
    for layer in weights:
        h, _ = cpu.scan(cell, h, np.zeros((cells.PARTS[cell], streams, hidden), np.float32), layer)
    wanted = cpu.linear(h, *head)
    one = Stepper(cell, weights, streams=streams, scale=scale, head=head)
    told = np.stack([one.step(x[:, t]).copy() for t in range(steps)], axis=1)
    np.testing.assert_array_equal(told, wanted)
    many = Stepper(cell, weights, streams=streams, scale=scale, head=head)
    np.testing.assert_array_equal(many.step_many(x[:, :2]), wanted[:, :2])
    np.testing.assert_array_equal(many.step(x[:, 2]), wanted[:, 2])
    np.testing.assert_array_equal(many.step_many(x[:, 3:]), wanted[:, 3:])
    np.testing.assert_array_equal(many.state, one.state)


def test_models_are_as_many_steppers() -> None:
    weights = drawn("lstm", 2, 9, 2, models=4)
    x = np.random.default_rng(1).standard_normal((4, 3, 2))
    whole = Stepper("lstm", weights, streams=3)
    told = whole.step(x)
    for m in range(4):
        one = Stepper("lstm", [tuple(w[m] for w in layer) for layer in weights], streams=3)
        np.testing.assert_array_equal(told[m], one.step(x[m]))
    later = np.random.default_rng(2).standard_normal((4, 3, 5, 2))
    apart = np.stack([whole.step(later[:, :, t]).copy() for t in range(5)], axis=2)
    whole.state = np.zeros_like(whole.state)
    whole.step(x)
    np.testing.assert_array_equal(whole.step_many(later), apart)


def test_the_state_can_be_saved_and_set() -> None:
    weights, x = drawn("gru", 2, 9, 1), np.random.default_rng(1).standard_normal((2, 5, 2))
    first, second = (Stepper("gru", weights, streams=2) for _ in range(2))
    first.step(x[:, 0])
    second.state = first.state.copy()
    np.testing.assert_array_equal(first.step(x[:, 1]), second.step(x[:, 1]))


def test_wrong_shapes_are_named() -> None:
    weights = drawn("gru", 2, 9, 1)
    with pytest.raises(DataError, match=r"readings of shape \(3, 3\)"):
        Stepper("gru", weights, streams=3).step(np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"readings of shape \(3, 4, 3\)"):
        Stepper("gru", weights, streams=3).step_many(np.zeros((3, 4, 3)))
    with pytest.raises(DataError, match=r"a state of shape \(\)"):
        Stepper("gru", weights).state = 0
    with pytest.raises(SettingError, match="a spread of 0"):
        Stepper("gru", weights, scale=(np.zeros(2), np.zeros(2)))
    with pytest.raises(SettingError, match="0 streams"):
        Stepper("gru", weights, streams=0)
    with pytest.raises(ValueError, match="head b"):
        Stepper("gru", weights, head=(np.zeros((5, 9)), np.zeros(4)))
    with pytest.raises(ValueError, match="spread"):
        Stepper("gru", weights, scale=(np.zeros(2), np.ones(3)))
    with pytest.raises(ValueError, match="w_x"):
        Stepper("lstm", weights)
    with pytest.raises(ValueError, match="cell"):
        Stepper("elman", weights)
