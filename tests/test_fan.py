"""One step from one state with many inputs, on every instruction set: values, gradients, bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tidegate import cells
from tidegate.errors import SettingError
from tidegate.kernels import _core, fans, reference

torch = pytest.importorskip("torch")
fanned = pytest.importorskip("tidegate.kernels.fanned")
pytestmark = pytest.mark.usefixtures("isa")
CELLS = tuple(cells.STEPS)
SIZES = [(1, 1, 1), (5, 3, 8), (37, 4, 17), (64, 2, 64), (33, 30, 40)]


def drawn(cell: str, models: int, rows: int, answers: int, hidden: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Each, own, w_h, b_h and the state's parts, with the model axis."""
    rng, gates = np.random.default_rng(seed), cells.GATES[cell] * hidden
    shapes = [(models, answers, gates), (models, rows, gates), (models, gates, hidden), (models, gates)]
    shapes += [(models, rows, hidden)] * cells.PARTS[cell]
    return [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]


def truth(cell: str, given: list[Any]) -> Any:
    """The cell itself, in float64: the inputs are the gates, through weights that are one."""
    each, own, w_h, b_h, *parts = (a.astype(np.float64) for a in given)
    models, rows, gates = own.shape
    y = []
    for m in range(models):
        x = (each[m][None] + own[m][:, None]).reshape(-1, 1, gates)
        state = np.stack([part[m].repeat(each.shape[1], axis=0) for part in parts])
        told, _ = reference.scan(cell, x, state, (np.eye(gates), w_h[m], np.zeros(gates), b_h[m]))
        y.append(told.reshape(rows, each.shape[1], -1))
    return np.stack(y)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_the_cell(cell: str, sizes: tuple[int, int, int]) -> None:
    given = drawn(cell, 2, *sizes)
    each, own, w_h, b_h, *parts = given
    y = fans.forward(cell, np.stack(parts), (w_h, b_h), each, own)
    np.testing.assert_allclose(y, truth(cell, given), atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_has_the_same_bits_in_any_batch_and_beside_any_answers(cell: str) -> None:
    each, own, w_h, b_h, *parts = (a[0] for a in drawn(cell, 1, 70, 5, 24))
    state = np.stack(parts)
    whole = fans.forward(cell, state, (w_h, b_h), each, own)
    for rows in (slice(0, 1), slice(3, 36), slice(69, 70)):
        found = fans.forward(cell, state[:, rows], (w_h, b_h), each[2:4], own[rows])
        np.testing.assert_array_equal(found, whole[rows, 2:4])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", SIZES[1:])
@pytest.mark.parametrize("dropped", [0, 77])
def test_gradients_are_those_of_the_same_in_torch(cell: str, sizes: tuple[int, int, int], dropped: int) -> None:
    given, found = drawn(cell, 2, *sizes), []
    rng = np.random.default_rng(1)
    drop = (rng.integers(0, 256, (2, *sizes), np.uint8), dropped, 1 / (1 - dropped / 256)) if dropped else ()
    weights = rng.standard_normal((2, *sizes))
    for kind in (torch.float32, torch.float64):  # the core, and torch
        leaves = [torch.tensor(a, dtype=kind).requires_grad_() for a in given]
        each, own, w_h, b_h, *parts = leaves
        y = fanned.forward(cell, torch.stack(parts), (w_h, b_h), each, own, drop)
        grads = torch.autograd.grad((y * torch.tensor(weights, dtype=kind)).sum(), leaves)
        found.append([y.detach().double().numpy(), *(g.double().numpy() for g in grads)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * max(1.0, float(np.abs(theirs).max())), rtol=2e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_threads_and_other_models_change_no_bit(cell: str) -> None:
    each, own, w_h, b_h, *parts = drawn(cell, 3, 300, 6, 32)
    drop = (np.random.default_rng(2).integers(0, 256, (3, 300, 6, 32), np.uint8), 50, 1.25)
    dy = np.random.default_rng(3).standard_normal((3, 300, 6, 32)).astype(np.float32)
    one, two = (fans.backward(cell, tuple(parts), (w_h, b_h), each, own, drop, dy, count) for count in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    told = [(each, own, *parts), (w_h, b_h), dy, drop[0]]
    (e, o, *p), w, d, bytes = (
        [a[1:2] for a in kind] if not isinstance(kind, np.ndarray) else kind[1:2] for kind in told
    )
    alone = fans.backward(cell, tuple(p), tuple(w), e, o, (bytes, *drop[1:]), d, 1)
    for a, b in zip(alone, one, strict=True):
        np.testing.assert_array_equal(a[0], b[1])


def test_a_second_derivative_is_refused() -> None:
    leaves = [torch.tensor(a).requires_grad_() for a in drawn("gru", 1, 2, 3, 4)]
    each, own, w_h, b_h, *parts = leaves
    y = fanned.forward("gru", torch.stack(parts), (w_h, b_h), each, own)
    slope = torch.autograd.grad(y.square().sum(), each, create_graph=True)[0]
    with pytest.raises(SettingError, match="second derivative"):
        slope.sum().backward()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"each": np.zeros((1, 3, 11), np.float32)}, "each is of shape"),
        ({"own": np.zeros((1, 2, 12), np.float64)}, "own is an array of another type"),
        ({"state": ()}, "h is missing"),
        ({"drop": (np.zeros((1, 2, 3, 3), np.uint8), 1, 1.0)}, "bytes is of shape"),
        ({"y": np.zeros((1, 2, 2, 4), np.float32)}, "y is of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    each, own, w_h, b_h, *parts = drawn("gru", 1, 2, 3, 4)
    given = {
        "each": each,
        "own": own,
        "state": tuple(parts),
        "drop": (),
        "y": np.zeros((1, 2, 3, 4), np.float32),
    } | change
    with pytest.raises(ValueError, match=said):
        _core.fan("gru", given["state"], (w_h, b_h), given["each"], given["own"], given["drop"], given["y"], 1)
