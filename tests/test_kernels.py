"""Every kernel challenges the reference: the same outputs, last state and gradients; M models at once are M models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate import cells, kernels
from tidegate.errors import SettingError
from tidegate.kernels import reference

torch = pytest.importorskip("torch")

from tidegate.kernels import layers  # noqa: E402  (needs torch)

CELLS = tuple(cells.STEPS)
SHAPES = [(1, 1, 1, 1), (3, 9, 2, 5), (2, 1, 4, 7), (1, 12, 3, 8)]  # (N, T, I, H)


def drawn(cell: str, shape: tuple[int, int, int, int], models: tuple[int, ...] = ()) -> tuple[Any, Any, Any]:
    """Double-precision tensors that want gradients: input, first state, weights; with a leading axis of models."""
    n, t, i, h = shape
    make = torch.Generator().manual_seed(n + 10 * t + 100 * h)
    rows, parts = cells.GATES[cell] * h, cells.PARTS[cell]

    def tensor(*size: int) -> Any:
        return (torch.rand(size, generator=make, dtype=torch.float64) * 2 - 1).requires_grad_()

    weights = tuple(tensor(*models, *size) for size in ((rows, i), (rows, h), (rows,), (rows,)))
    return tensor(*models, n, t, i), tensor(parts, *models, n, h), weights


def gradients(y: Any, last: Any, leaves: list[Any]) -> list[Any]:
    """Of a loss in which every output and the last state count differently."""
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    loss = (y * weight).sum() + (last**2).sum()
    return list(torch.autograd.grad(loss, leaves, retain_graph=True))


def torch_layer(cell: str, x: Any, state: Any, weights: Any) -> tuple[Any, Any]:
    """torch.nn's own module, called with these very tensors so that gradients reach them."""
    kind, _, nonlinearity = cell.partition("_")
    extra = {"nonlinearity": nonlinearity} if nonlinearity else {}
    layer = getattr(torch.nn, kind.upper())(
        x.shape[-1], state.shape[-1], batch_first=True, dtype=torch.float64, **extra
    )
    named = dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), weights, strict=True))
    first = (state[0][None], state[1][None]) if cell == "lstm" else state[0][None]
    y, last = torch.func.functional_call(layer, named, (x, first))
    return y, torch.cat(last if cell == "lstm" else [last])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_one_model_has_the_outputs_and_every_gradient_of_torch(cell: str, shape: tuple[int, int, int, int]) -> None:
    x, state, weights = drawn(cell, shape)
    ours, theirs = layers.scan(cell, x, state, weights), torch_layer(cell, x, state, weights)
    leaves = [x, state, *weights]
    for a, b in zip([*ours, *gradients(*ours, leaves)], [*theirs, *gradients(*theirs, leaves)], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_the_torch_scan_agrees_with_the_reference(cell: str, shape: tuple[int, int, int, int]) -> None:
    x, state, weights = drawn(cell, shape)
    ours = layers.scan(cell, x, state, weights)
    truth = reference.scan(cell, *(a.detach().numpy() for a in (x, state)), tuple(w.detach().numpy() for w in weights))
    for a, b in zip(ours, truth, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_many_models_in_one_loop_are_as_many_separate_runs(
    cell: str, shape: tuple[int, int, int, int], models: int
) -> None:
    x, state, weights = drawn(cell, shape, (models,))
    y, last = layers.scan(cell, x, state, weights)
    runs = [torch_layer(cell, x[m], state[:, m], tuple(w[m] for w in weights)) for m in range(models)]
    apart = torch.stack([run[0] for run in runs]), torch.stack([run[1] for run in runs], dim=1)
    leaves = [x, state, *weights]
    for a, b in zip([y, last, *gradients(y, last, leaves)], [*apart, *gradients(*apart, leaves)], strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-11)  # a relu without bounds grows to 1e5


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_does_not_feel_the_models_beside_it(cell: str) -> None:
    x, state, weights = drawn(cell, (2, 4, 3, 5), (3,))
    y, last = layers.scan(cell, x, state, weights)
    (grad,) = torch.autograd.grad(y[1].sum() + last[:, 1].sum(), [weights[1]])
    assert not grad[0].any()
    assert grad[1].any()
    assert not grad[2].any()


@pytest.mark.parametrize("cell", CELLS)
def test_the_type_of_the_input_chooses_the_backend(cell: str) -> None:
    x, state, weights = drawn(cell, (2, 3, 2, 4))
    arrays = [a.detach().numpy() for a in (x, state, *weights)]
    y, last = kernels.scan(cell, arrays[0], arrays[1], tuple(arrays[2:]))
    assert isinstance(y, np.ndarray)
    assert isinstance(last, np.ndarray)
    y, last = kernels.scan(cell, x, state, weights)
    assert isinstance(y, torch.Tensor)
    assert isinstance(last, torch.Tensor)


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_linear_tanh_and_stack_agree_between_the_libraries(lead: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(size) for size in ((*lead, 5), (3, 5), (3,)))
    tensors = [torch.from_numpy(a) for a in (x, w, b)]
    ours, theirs = kernels.linear(x, w, b), kernels.linear(*tensors)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(kernels.tanh(ours), kernels.tanh(theirs).numpy(), rtol=0, atol=1e-15)
    stacked = kernels.stack([ours, ours + 1], axis=-1), kernels.stack([theirs, theirs + 1], axis=-1)
    np.testing.assert_allclose(stacked[0], stacked[1].numpy(), rtol=0, atol=1e-13)


def test_what_only_the_core_can_do_is_refused_elsewhere() -> None:
    x, state, weights = drawn("gru", (2, 3, 2, 4))
    with pytest.raises(SettingError, match="lengths or reverse"):
        layers.scan("gru", x, state, weights, torch.tensor([1, 2]))
    with pytest.raises(SettingError, match="lengths or reverse"):
        layers.scan("gru", x, state, weights, reverse=True)


@pytest.mark.parametrize("cell", CELLS)
def test_numpy_in_float64_knows_models(cell: str) -> None:
    x, state, weights = drawn(cell, (3, 4, 2, 5), (3,))
    arrays = [a.detach().numpy() for a in (x, state, *weights)]
    y, last = kernels.scan(cell, arrays[0], arrays[1], tuple(arrays[2:]))
    wanted, end = layers.scan(cell, x, state, weights)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(last, end.detach().numpy(), rtol=0, atol=1e-12)
