"""One forward pass for two array libraries: both give the same numbers, and the weights fit torch.nn as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate import network
from tidegate.cells import PARTS, STEPS
from tidegate.settings import Network
from tidegate.tasks import expect
from tidegate.tasks.expect import Heads

CELLS = tuple(STEPS)
LAYERS = (1, 2, 3)
CLOSE = 1e-5  # float32, sums in another order through up to three layers


def nets() -> list[Network]:
    return [Network(cell=cell, layers=layers, hidden=7) for cell in CELLS for layers in LAYERS]  # type: ignore[arg-type]


def named(net: Network) -> str:
    return f"{net.cell}-{net.layers}"


def drawn(net: Network, shapes: network.Shapes, inputs: int, n: int = 3, t: int = 20) -> tuple[Any, Any, Any]:
    """Weights, an input (N, T, I) and a first state that is not zero."""
    rng = np.random.default_rng(5)
    params = network.init(shapes, rng)
    params = {
        name: w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for name, w in params.items()
    }  # biases too
    state = network.start(net, n)
    return (
        params,
        rng.standard_normal((n, t, inputs)).astype(np.float32),
        state + rng.uniform(-0.5, 0.5, state.shape).astype(np.float32),
    )


def in_torch(params: Any) -> Any:
    torch = pytest.importorskip("torch")
    return {name: torch.from_numpy(w) for name, w in params.items()}


@pytest.mark.parametrize("net", nets(), ids=named)
def test_a_stack_gives_the_same_in_torch_and_numpy(net: Network) -> None:
    torch = pytest.importorskip("torch")
    params, x, state = drawn(net, network.stack_shapes(net, 4), 4)
    y, last = network.stack(params, net, x, state)
    other, other_last = network.stack(in_torch(params), net, torch.from_numpy(x), torch.from_numpy(state))
    assert y.shape == (3, 20, 7)
    assert last.shape == (net.layers, PARTS[net.cell], 3, 7)
    assert y.dtype == np.float32
    assert np.abs(y - other.numpy()).max() <= CLOSE
    assert np.abs(last - other_last.numpy()).max() <= CLOSE


@pytest.mark.parametrize("net", nets(), ids=named)
def test_the_weights_load_into_a_torch_module_by_name(net: Network) -> None:
    torch = pytest.importorskip("torch")
    params, x, _ = drawn(net, network.stack_shapes(net, 4), 4)
    kind, _, nonlinearity = net.cell.partition("_")
    extra = {"nonlinearity": nonlinearity} if nonlinearity else {}
    module = getattr(torch.nn, kind.upper())(4, 7, num_layers=net.layers, batch_first=True, **extra)
    module.load_state_dict(in_torch(params))  # strict: names and shapes are exactly torch's
    with torch.no_grad():
        wanted = module(torch.from_numpy(x))[0].numpy()
    assert np.abs(network.stack(params, net, x, network.start(net, 3))[0] - wanted).max() <= CLOSE


@pytest.mark.parametrize("form", tuple(expect.WIDTHS))
@pytest.mark.parametrize("net", nets(), ids=named)
def test_the_detectors_network_gives_the_same_in_torch_and_numpy(net: Network, form: str) -> None:
    torch = pytest.importorskip("torch")
    heads = Heads(channels=2, net=net, form=form)
    params, x, state = drawn(net, expect.shapes(heads), 4)
    answers, last = expect.forward(params, heads, x, state)
    other, other_last = expect.forward(in_torch(params), heads, torch.from_numpy(x), torch.from_numpy(state))
    assert answers.shape == (3, 20, heads.outputs, 2)
    assert answers.dtype == np.float32
    assert np.abs(answers - other.numpy()).max() <= CLOSE
    assert np.abs(last - other_last.numpy()).max() <= CLOSE


@pytest.mark.parametrize("form", tuple(expect.WIDTHS))
@pytest.mark.parametrize(("ahead", "back"), [((1, 4), ()), ((), (0, 4)), ((1,), (0,))])
def test_an_answer_depends_on_no_later_row_and_no_other_sequence(
    form: str, ahead: tuple[int, ...], back: tuple[int, ...]
) -> None:
    heads = Heads(channels=2, net=Network(hidden=7, layers=2), ahead=ahead, back=back, form=form)
    params, x, state = drawn(heads.net, expect.shapes(heads), 4)
    whole, _ = expect.forward(params, heads, x, state)
    changed = x.copy()
    changed[:, 12:], changed[1:] = 3.0, -3.0
    other, _ = expect.forward(params, heads, changed, state)
    assert other[0, :12].tobytes() == whole[0, :12].tobytes()
    assert not np.array_equal(other[0, 12:], whole[0, 12:])


def test_dropout_acts_between_layers_and_only_there() -> None:
    net, calls = Network(layers=3, hidden=7), []

    def drop(h: Any) -> Any:
        calls.append(h.shape)
        return h * 0

    params, x, state = drawn(net, network.stack_shapes(net, 4), 4)
    network.stack(params, net, x, state, drop)
    assert calls == [(3, 20, 7), (3, 20, 7)]


def test_first_weights_come_from_the_seed_alone_and_recurrence_keeps_lengths() -> None:
    shapes = network.stack_shapes(Network(cell="lstm", hidden=6), 3)
    first, again, other = (network.init(shapes, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(first[name].tobytes() == again[name].tobytes() for name in shapes)
    assert not np.array_equal(first["weight_ih_l0"], other["weight_ih_l0"])
    for square in first["weight_hh_l0"].reshape(4, 6, 6):
        np.testing.assert_allclose(square @ square.T, np.eye(6), atol=1e-6)
    assert {name: w.shape for name, w in first.items()} == shapes
    assert {w.dtype for w in first.values()} == {np.dtype(np.float32)}


def test_residuals_compare_each_answer_with_the_reading_it_was_about() -> None:
    heads = Heads(channels=1, net=Network(), ahead=(1, 3), back=(0, 2))
    z = np.arange(10.0)[:, None]  # row t reads t
    answers = np.zeros((10, 4, 1)) + z[:, None]
    answers += np.array([1.0, 3.0, 0.0, -2.0])[:, None]  # what a perfect network answers at row t
    assert (expect.residuals(heads, answers, z) == 0).all()
    answers[5, 1] += 7.0  # its forecast 3 ahead, made at row 5, meets the reading of row 8: new row 5 of 7
    found = expect.residuals(heads, answers, z)
    assert found.shape == (7, 4, 1)
    assert found[5, 1, 0] == -7.0
    assert np.count_nonzero(found) == 1


def test_a_loss_counts_only_what_was_read() -> None:
    torch = pytest.importorskip("torch")
    heads = Heads(channels=2, net=Network(hidden=7))
    params, _, _ = drawn(heads.net, expect.shapes(heads), 4)
    z = torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(0))
    x, seen = torch.cat([z, torch.ones_like(z)], dim=-1), torch.ones_like(z)
    seen[:, 20:25, 1] = 0
    wild = z.clone()
    wild[:, 20:25, 1] = 1e6
    losses = [float(expect.loss(in_torch(params), heads, x, target, seen, None)) for target in (z, wild)]
    assert losses[0] == losses[1] > 0
