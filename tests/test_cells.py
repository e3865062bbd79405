"""The cells in NumPy are the truth, so they are held to torch.nn by value, and to themselves bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tidegate import cells
from tidegate.kernels import reference

CELLS = tuple(cells.STEPS)
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}  # sums in another order: a few roundings of numbers around 1
# (N, T, I, H): one of everything, odd sizes, a width that no vector register divides, and more than one
SHAPES = [(1, 1, 1, 1), (1, 7, 3, 5), (3, 1, 2, 9), (5, 11, 1, 17), (2, 13, 7, 1), (4, 6, 8, 16)]


def drawn(cell: str, shape: tuple[int, int, int, int], dtype: Any = np.float64, seed: int = 0) -> tuple[Any, Any, Any]:
    """Input (N, T, I), a first state (parts, N, H) that is not zero, and weights, of moderate size."""
    n, t, i, h = shape
    rng = np.random.default_rng([seed, *shape])
    rows = cells.GATES[cell] * h
    weights = [rng.uniform(-1, 1, size) / np.sqrt(h) for size in ((rows, i), (rows, h), (rows,), (rows,))]
    x, state = rng.standard_normal((n, t, i)), rng.uniform(-1, 1, (cells.PARTS[cell], n, h))
    return x.astype(dtype), state.astype(dtype), tuple(w.astype(dtype) for w in weights)


def torch_layer(cell: str, x: Any, state: Any, weights: Any) -> tuple[Any, Any]:
    """What torch.nn.RNN, LSTM or GRU makes of the same."""
    torch = pytest.importorskip("torch")
    kind, _, nonlinearity = cell.partition("_")
    extra = {"nonlinearity": nonlinearity} if nonlinearity else {}
    layer = getattr(torch.nn, kind.upper())(x.shape[-1], state.shape[-1], batch_first=True, **extra).to(
        torch.from_numpy(x).dtype
    )
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    layer.load_state_dict({name: torch.from_numpy(w) for name, w in zip(names, weights, strict=True)})
    parts = [torch.from_numpy(part)[None] for part in state]
    with torch.no_grad():
        y, last = layer(torch.from_numpy(x), tuple(parts) if cell == "lstm" else parts[0])
    return y.numpy(), np.concatenate([part.numpy() for part in (last if cell == "lstm" else (last,))])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_gives_the_outputs_and_last_state_of_torch(
    cell: str, shape: tuple[int, int, int, int], dtype: Any
) -> None:
    x, state, weights = drawn(cell, shape, dtype)
    y, last = reference.scan(cell, x, state, weights)
    wanted, wanted_last = torch_layer(cell, x, state, weights)
    assert y.dtype == last.dtype == dtype
    for ours, theirs in ((y, wanted), (last, wanted_last)):
        size = np.maximum(1, np.abs(theirs))  # rnn_relu is not bounded by 1
        assert ours.shape == theirs.shape
        assert np.max(np.abs(ours - theirs) / size) <= TOLERANCE[dtype]


@pytest.mark.parametrize("cell", CELLS)
def test_the_first_state_matters(cell: str) -> None:
    x, state, weights = drawn(cell, (2, 3, 2, 4))
    assert not np.allclose(reference.scan(cell, x, state, weights)[0], reference.scan(cell, x, 0 * state, weights)[0])


@settings(max_examples=25)
@given(
    st.sampled_from(CELLS),
    st.integers(1, 9),
    st.lists(st.integers(0, 12), max_size=4),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_scan_in_pieces_has_the_bits_of_the_whole(cell: str, hidden: int, cuts: list[int], dtype: Any) -> None:
    x, state, weights = drawn(cell, (2, 12, 3, hidden), dtype)
    whole, last = reference.scan(cell, x, state, weights)
    parts = []
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 12], strict=True):
        y, state = reference.scan(cell, x[:, a:b], state, weights)
        parts.append(y)
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    assert state.tobytes() == last.tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_is_one_step_after_another_bit_for_bit(cell: str) -> None:
    x, state, weights = drawn(cell, (3, 10, 4, 6), np.float32)
    whole, last = reference.scan(cell, x, state, weights)
    for t in range(10):
        state = cells.STEPS[cell](x[:, t], state, weights)
        assert state[0].tobytes() == whole[:, t].tobytes()
    assert state.tobytes() == last.tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_has_the_same_bits_alone_and_in_a_batch(cell: str) -> None:
    x, state, weights = drawn(cell, (33, 6, 5, 7), np.float32)
    whole, last = reference.scan(cell, x, state, weights)
    for n in (0, 16, 32):
        alone, end = reference.scan(cell, x[n : n + 1], state[:, n : n + 1], weights)
        assert alone[0].tobytes() == whole[n].tobytes()
        assert end[:, 0].tobytes() == last[:, n].tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_leaves_what_it_is_given_as_it_was(cell: str) -> None:
    x, state, weights = drawn(cell, (2, 5, 3, 4))
    before = [a.copy() for a in (x, state, *weights)]
    reference.scan(cell, x, state, weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, (x, state, *weights), strict=True))


@settings(max_examples=60)
@given(
    rows=st.integers(1, 70),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    dtype=st.sampled_from([np.float32, np.float64]),
    pick=st.integers(0, 10**6),
)
def test_linear_gives_a_row_the_same_bits_among_any_rows(
    rows: int, inputs: int, outputs: int, dtype: Any, pick: int
) -> None:
    rng = np.random.default_rng([rows, inputs, outputs])
    x, w, b = (rng.standard_normal(size).astype(dtype) for size in ((rows, inputs), (outputs, inputs), (outputs,)))
    whole, row = cells.linear(x, w, b), pick % rows
    assert np.allclose(
        whole, x @ w.T + b, rtol=1e-4 if dtype is np.float32 else 1e-10, atol=1e-4 if dtype is np.float32 else 1e-10
    )
    variants = [
        cells.linear(x[row], w, b),
        cells.linear(x[row:], w, b)[0],
        cells.linear(x[None, : row + 1], w, b)[0, -1],
        cells.linear(np.asfortranarray(x), w, b)[row],
        cells.linear(np.repeat(x, 2, axis=1)[:, ::2], w, b)[row],
        cells.linear(x[::-1], w, b)[rows - 1 - row],
        cells.linear(x[:, None, None], w, b)[row, 0, 0],
        cells.linear(np.broadcast_to(x[row], (3, inputs)), w, b)[2],
    ]
    assert [v.tobytes() for v in variants] == [whole[row].tobytes()] * len(variants)


@settings(max_examples=20)
@given(st.integers(1, 33), st.integers(1, 33), st.integers(0, 7))
def test_linear_does_not_depend_on_where_its_input_lies_in_memory(inputs: int, outputs: int, shift: int) -> None:
    rng = np.random.default_rng([inputs, outputs])
    x, w, b = (rng.standard_normal(size).astype(np.float32) for size in ((4, inputs), (outputs, inputs), (outputs,)))
    room = np.zeros(4 * inputs + shift, dtype=np.float32)
    moved = room[shift:].reshape(4, inputs)
    moved[:] = x
    assert cells.linear(moved, w, b).tobytes() == cells.linear(x, w, b).tobytes()


@settings(max_examples=200)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_sigmoid_is_one_and_never_overflows(x: float) -> None:
    y = float(cells.sigmoid(np.array(x)))
    assert 0 <= y <= 1
    if abs(x) < 700:
        assert abs(y - 1 / (1 + np.exp(-x))) < 1e-15
