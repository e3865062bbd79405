"""Arrays that remember how they came about: the same numbers as without, and torch's gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tidegate import kernels, network
from tidegate.kernels.traced import Traced, gradients
from tidegate.settings import Network
from tidegate.tasks import expect, filling, segments, whole
from tidegate.tasks.around import Recipe

torch = pytest.importorskip("torch")
rng = np.random.default_rng(0)
CELLS = ("gru", "lstm", "rnn_tanh", "rnn_relu")


def some(*shape: int) -> Any:
    return rng.normal(size=shape).astype(np.float32)


def agree(shapes: network.Shapes, loss: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
    """`loss` of weights, and of what makes arrays of their library: plain, traced and in torch."""
    weights = {name: 0.3 * some(*shape) for name, shape in shapes.items()}
    traced = {name: Traced(w) for name, w in weights.items()}
    told = loss(traced, lambda a: a)
    found = gradients(told, list(traced.values()))
    assert float(told.value) == float(loss(weights, lambda a: a))  # the bits of what runs
    theirs = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    loss(theirs, torch.tensor).backward()
    for name, ours in zip(weights, found, strict=True):
        wanted = theirs[name].grad.numpy()
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, wanted, atol=3e-6 * (1 + np.abs(wanted).max()), err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("form", ["streaming", "classical"])
def test_the_detectors_gradients_are_torchs(cell: str, form: str) -> None:
    heads = expect.Heads(channels=3, net=Network(cell=cell, hidden=6, layers=2), form=form)
    x, z, seen = some(2, 40, 6), some(2, 40, 3), (rng.random((2, 40, 3)) > 0.2).astype(np.float32)
    state = 0.3 * some(*network.start(heads.net, 2).shape)
    agree(expect.shapes(heads), lambda p, to: expect.loss(p, heads, to(x), to(z), to(seen), None, to(state)))


@pytest.mark.parametrize("cell", CELLS)
def test_the_forecasters_gradients_are_torchs(cell: str) -> None:
    form = segments.Form(channels=3, horizon=10, lookback=30, net=Network(cell=cell, hidden=6))
    x, channel = some(5, 30), np.array([0, 1, 2, 1, 1])
    agree(segments.shapes(form), lambda p, to: (segments.forward(p, form, to(x), to(channel)) ** 2).sum())


@pytest.mark.parametrize("cell", CELLS)
def test_the_classifiers_gradients_are_torchs(cell: str) -> None:
    form = whole.Form(
        channels=2, classes=3, net=Network(cell=cell, hidden=6, layers=2), shorten=(2, 3, 2), rough=(1, 2), leak=0.1
    )
    x, lengths = some(3, 40, 4), np.array([40, 31, 24])

    def loss(params: Any, to: Callable[[Any], Any]) -> Any:
        if to is torch.tensor:  # which trains with the model axis
            params, many = {name: w[None] for name, w in params.items()}, (x[None], lengths[None])
            return (whole.forward(params, form, *map(to, many)) ** 2).sum()
        return (whole.forward(params, form, x, lengths) ** 2).sum()

    agree(whole.shapes(form), loss)


@pytest.mark.parametrize("direction", ["past", "both", "none"])
def test_the_completers_gradients_are_torchs(direction: Any) -> None:
    recipe = Recipe(channels=2, net=Network(hidden=6), direction=direction, length=20)
    told, beyond = some(1, 20, recipe.inputs), some(1, 20, 2)

    def loss(params: Any, to: Callable[[Any], Any]) -> Any:
        x = to(told)
        hidden = [filling.remember(params, recipe, way, x, to(s))[0] for way, s in filling.start(recipe, 1).items()]
        added, logs = filling.answer(params, hidden, x, to(beyond))
        return (abs(added) + logs * logs).sum()

    agree(filling.shapes(recipe), loss)


@pytest.mark.parametrize(
    "move",
    [
        lambda x: kernels.flip(x, 0),
        lambda x: kernels.repeat(x, 2, 1),
        lambda x: kernels.join([x, x * 2.0, np.ones((4, 1))]),
        lambda x: kernels.stack([x, x], 1),
        lambda x: x[np.array([0, 0, 3])],
        lambda x: x[:, None, 1:],
        lambda x: x.reshape(2, 6).swapaxes(0, 1),
        lambda x: np.where(np.eye(4, 3, dtype=bool), x, 2.0) / x[:1],
        lambda x: (x - 1.0).clip(-0.5, 0.5) + np.exp(-x) - np.log(abs(x) + 1.0),
        lambda x: x.max(axis=0) + x.sum(axis=1, keepdims=True) * x.cumsum(axis=0),
        lambda x: kernels.relu(-x) ** 3 * np.maximum(x, 0.1),
    ],
)
def test_every_rule_against_finite_differences(move: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(1).normal(size=(4, 3))
    weight = np.random.default_rng(2).normal(size=move(x).shape)
    traced = Traced(x)
    (slope,) = gradients((move(traced) * weight).sum(), [traced])
    for at in np.ndindex(x.shape):
        more, less = x.copy(), x.copy()
        more[at] += 1e-6
        less[at] -= 1e-6
        assert slope[at] == pytest.approx(((move(more) - move(less)) * weight).sum() / 2e-6, abs=1e-5)


def test_what_takes_no_part_has_no_slope() -> None:
    used, unused = Traced(np.ones(2)), Traced(np.ones(3))
    assert gradients((used * kernels.detach(used)).sum(), [used, unused])[0].tolist() == [1.0, 1.0]
    assert gradients(used.sum(), [used, unused])[1].tolist() == [0.0, 0.0, 0.0]


def test_a_function_without_a_rule_is_refused() -> None:
    for call in (lambda x: np.sinh(x), lambda x: np.median(x), lambda x: np.add.reduce(x)):
        with pytest.raises(TypeError):
            call(Traced(np.ones(2)))
