"""tidegate.nn against torch.nn: one drops in for the other, and what only ours has does what it says."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest

from tidegate.errors import DataError, SettingError

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from tidegate import nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("isa")
KINDS = ["RNN", "LSTM", "GRU"]
STACKS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "bias": False},
]


def pair(kind: str, **settings: Any) -> tuple[Any, Any]:
    """Our layer and torch's, drawn from the same seed."""
    layers = []
    for home in (nn, torch.nn):
        torch.manual_seed(0)
        layers.append(getattr(home, kind)(3, 7, **settings))
    return layers[0], layers[1]


def flat(states: Any) -> list[Any]:
    return list(states) if isinstance(states, tuple) else [states]


def close(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("settings", STACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_drops_in_for_torch(kind: str, settings: dict[str, Any], batch_first: bool) -> None:
    ours, theirs = pair(kind, batch_first=batch_first, **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, parameter in ours.state_dict().items():
        assert torch.equal(parameter, theirs.state_dict()[name])  # the same seed draws the same parameters
    x = torch.randn(5, 4, 3, requires_grad=True)
    rows = 5 if batch_first else 4
    count = ours.num_layers * (1 + ours.bidirectional)
    hx = [torch.randn(count, rows, 7, requires_grad=True) for _ in range(2 if kind == "LSTM" else 1)]
    found = []
    for layer in (ours, theirs):
        y, last = layer(x, tuple(hx) if kind == "LSTM" else hx[0])
        loss = (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum() + sum((s**2).sum() for s in flat(last))
        found.append([y, *flat(last), *torch.autograd.grad(loss, [x, *hx, *layer.parameters()])])
    for a, b in zip(*found, strict=True):
        close(a, b)
        assert a.is_contiguous() >= b.is_contiguous()  # .view(...) works wherever it works with torch
    assert "core" in ours.backend(x)


@pytest.mark.parametrize("settings", STACKS[1:3])
def test_relu_drops_in_too(settings: dict[str, Any]) -> None:
    test_it_drops_in_for_torch("RNN", {**settings, "nonlinearity": "relu"}, True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_that_are_pruned_or_tied_are_the_ones_that_run(dtype: Any) -> None:
    """Against torch's function, which is given what the layer's names hold now."""
    from torch.nn.utils import parametrizations, prune

    changes: list[Any] = [
        lambda layer: prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5),
        lambda layer: parametrizations.orthogonal(layer, "weight_hh_l1"),
        lambda layer: setattr(layer, "weight_hh_l1", layer.weight_hh_l0),
    ]
    for bias, change in itertools.product((True, False), changes):
        layer = nn.GRU(3, 7, num_layers=2, bias=bias, dtype=dtype)
        names = list(layer.state_dict())
        change(layer)
        x, h = torch.randn(5, 4, 3, dtype=dtype), torch.zeros(2, 4, 7, dtype=dtype)
        weights = [getattr(layer, name) for name in names]
        wanted, _ = torch.gru(x, h, weights, bias, 2, 0.0, True, False, False)
        close(layer(x)[0], wanted)


def test_what_is_kept_for_the_way_back_goes_with_it() -> None:
    layer, x = nn.GRU(3, 64, batch_first=True), torch.randn(32, 100, 3)
    loss = layer(x)[0].square().mean()
    node = loss.grad_fn.next_functions[0][0].next_functions[0][0]
    assert node.run is not None
    loss.backward()
    assert node.run is None
    with torch.no_grad():
        assert layer(x)[0].grad_fn is None


def test_lengths_changed_after_forward_change_no_gradient() -> None:
    layer, x, lengths = nn.GRU(3, 7, batch_first=True), torch.randn(2, 5, 3), torch.tensor([2, 5])
    loss = layer(x, lengths=lengths)[0].square().sum()
    first = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    lengths[:] = 1
    for a, b in zip(first, torch.autograd.grad(loss, list(layer.parameters())), strict=True):
        assert torch.equal(a, b)


def test_dropout_does_not_ask_for_the_default_type() -> None:
    layer = nn.GRU(3, 7, num_layers=2, dropout=0.5)
    torch.set_default_dtype(torch.float64)
    try:
        assert layer(torch.randn(5, 2, 3, dtype=torch.float32))[0].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_alone_and_no_first_state(kind: str) -> None:
    ours, theirs = pair(kind, bidirectional=True)
    x = torch.randn(6, 3)
    for given in ((x,), (x, ours(x)[1])):
        for a, b in zip(*([*flat(layer(*given)[1]), layer(*given)[0]] for layer in (ours, theirs)), strict=True):
            close(a, b)


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_go_in_and_come_out(kind: str, enforce_sorted: bool) -> None:
    ours, theirs = pair(kind, num_layers=2, bidirectional=True)
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    packed = pack_padded_sequence(torch.randn(6, 4, 3), lengths, enforce_sorted=enforce_sorted)
    (y, last), (wanted, ends) = ours(packed), theirs(packed)
    close(y.data, wanted.data)
    assert torch.equal(y.batch_sizes, wanted.batch_sizes)
    for a, b in zip(flat(last), flat(ends), strict=True):
        close(a, b)
    close(pad_packed_sequence(y)[0], pad_packed_sequence(wanted)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str, dtype: Any) -> None:
    layer = getattr(nn, kind)(3, 7, num_layers=2, bidirectional=True, batch_first=True, dtype=dtype)
    near = {"rtol": 0, "atol": 0 if dtype == torch.float32 else 1e-12}
    x, lengths = torch.randn(4, 6, 3, dtype=dtype), torch.tensor([6, 2, 5, 1])
    y, last = layer(x, lengths=lengths)
    y.sum().backward()
    grads = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    noisy = x.clone()
    for row, length in enumerate(lengths.tolist()):
        noisy[row, length:] = torch.nan
        alone, end = layer(x[row : row + 1, :length])
        torch.testing.assert_close(y[row : row + 1, :length], alone, **near)
        for a, b in zip(flat(last), flat(end), strict=True):
            torch.testing.assert_close(a[:, row : row + 1], b, **near)
        assert not y[row, length:].any()
    again, _ = layer(noisy, lengths=lengths)
    assert torch.equal(again, y)
    again.sum().backward()
    for a, b in zip(grads, layer.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_many_models_are_as_many_layers(kind: str, shared: bool, dtype: Any) -> None:
    models = 3
    whole = getattr(nn, kind)(3, 7, num_layers=2, bidirectional=True, batch_first=True, models=models, dtype=dtype)
    x = torch.randn(*(() if shared else (models,)), 4, 5, 3, dtype=dtype, requires_grad=True)
    lengths = torch.tensor([5, 3, 4, 2])
    y, last = whole(x, lengths=lengths)
    assert y.shape == (models, 4, 5, 14)
    (grad,) = torch.autograd.grad(y.square().sum(), [x])
    total = torch.zeros_like(x)
    for m in range(models):
        one = getattr(nn, kind)(3, 7, num_layers=2, bidirectional=True, batch_first=True, dtype=dtype)
        one.load_state_dict({name: p[m] for name, p in whole.state_dict().items()})
        mine = x if shared else x[m]
        told, end = one(mine, lengths=lengths)
        torch.testing.assert_close(y[m], told, rtol=0, atol=0 if dtype == torch.float32 else 1e-12)
        for a, b in zip(flat(last), flat(end), strict=True):
            torch.testing.assert_close(a[:, m], b, rtol=0, atol=0 if dtype == torch.float32 else 1e-12)
        total = total + torch.autograd.grad(told.square().sum(), [x])[0]
    torch.testing.assert_close(grad, total, rtol=1e-5, atol=1e-5)


def test_it_lives_with_the_rest_of_torch() -> None:
    ours, theirs = pair("GRU", batch_first=True)
    x, wanted = torch.randn(8, 6, 3), torch.randn(8, 6, 7)
    seen: list[Any] = []
    ours.register_forward_hook(lambda module, given, result: seen.append(result[0].shape))
    twin = copy.deepcopy(ours)
    for layer in (ours, theirs):
        steps = torch.optim.Adam(layer.parameters(), lr=0.01)
        for _ in range(5):
            steps.zero_grad()
            (layer(x)[0] - wanted).square().mean().backward()
            steps.step()
    close(ours(x)[0], theirs(x)[0])
    assert not torch.equal(twin.weight_hh_l0, ours.weight_hh_l0)
    assert len(seen) == 6
    with torch.no_grad():
        assert not ours(x)[0].requires_grad
    theirs.load_state_dict(ours.state_dict())
    assert "7" in repr(ours)


def test_dropout_is_between_layers_and_only_while_training() -> None:
    layer, x = nn.GRU(3, 7, num_layers=2, dropout=0.9), torch.randn(5, 2, 3)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_going_back_twice_works_and_a_second_derivative_is_refused() -> None:
    layer, x = nn.GRU(3, 7), torch.randn(5, 2, 3, requires_grad=True)
    loss = layer(x)[0].square().sum()
    first, second = (torch.autograd.grad(loss, [x], retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    for y in (layer(x)[0].square().sum(), layer(x)[0].mean()):  # whether the gradient that comes in depends on x or not
        (grad,) = torch.autograd.grad(y, [x], create_graph=True)
        assert torch.equal(grad, torch.autograd.grad(y, [x], retain_graph=True)[0])
        with pytest.raises(SettingError, match="a second derivative"):
            (y + grad.square().sum()).backward()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers is 0"),
        ({"dropout": 2.0}, "dropout is 2.0"),
        ({"models": 0}, "models is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        nn.GRU(3, 7, **settings)
    with pytest.raises(SettingError, match="proj_size is 2"):
        nn.LSTM(3, 7, proj_size=2)
    with pytest.raises(SettingError, match="nonlinearity is 'sin'"):
        nn.RNN(3, 7, nonlinearity="sin")


def test_input_that_cannot_be_is_refused() -> None:
    layer, x = nn.GRU(3, 7, batch_first=True), torch.randn(2, 5, 3)
    for given, extra, message in [
        (torch.randn(2, 5, 4), {}, "input of shape"),
        (torch.randn(3), {}, "input of shape"),
        (x, {"hx": torch.zeros(1, 3, 7)}, "hx of shape"),
        (x, {"lengths": torch.tensor([1, 6])}, r"lengths\[1\] is 6"),
        (x, {"lengths": torch.tensor([1.0, 2.0])}, "lengths of type"),
        (x, {"lengths": torch.tensor([1])}, "lengths of type"),
        (x, {"lengths": torch.tensor([True, False])}, "lengths of type"),
        (x, {"hx": torch.zeros(1, 2, 7, dtype=torch.float64)}, "hx of torch.float64"),
    ]:
        with pytest.raises(DataError, match=message):
            layer(given, **extra)
    with pytest.raises(DataError, match=r"input of torch\.float64"):
        layer(x.double())
    with pytest.raises(DataError, match="input of type ndarray"):
        layer(x.numpy())
    with pytest.raises(DataError, match="input for 2 models"):
        nn.GRU(3, 7, models=3)(torch.randn(2, 5, 4, 3))


@pytest.mark.parametrize(("rows", "steps"), [(0, 0), (0, 3), (2, 0), (2, 3)])
def test_nothing_in_is_nothing_out(rows: int, steps: int) -> None:
    layer = nn.LSTM(3, 7, batch_first=True)
    y, (h, c) = layer(torch.randn(rows, steps, 3))
    assert y.shape == (rows, steps, 7)
    assert h.shape == c.shape == (1, rows, 7)
    assert steps or not h.any()
