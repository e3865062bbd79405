"""The step of learning: torch's numbers, the same bits whatever is beside a model, and nothing hidden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tidegate.kernels import _core

torch = pytest.importorskip("torch")
layers = pytest.importorskip("tidegate.kernels.layers")


@pytest.fixture(params=_core.engines(), autouse=True)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs on every instruction set."""
    before = _core.engine()
    yield _core.use(request.param)
    _core.use(before)


def drawn(models: int, shapes: Any, steps: int, seed: int, size: float = 1.0) -> tuple[list[Any], list[list[Any]]]:
    """First weights (M, ...), and for each step a gradient of each; a model's do not depend on how many there are."""
    rngs = [np.random.default_rng([seed, m]) for m in range(models)]

    def tensors(scale: float) -> list[Any]:
        arrays = [np.stack([scale * rng.standard_normal(shape) for rng in rngs]) for shape in shapes]
        return [torch.tensor(a, dtype=torch.float32) for a in arrays]

    return tensors(1.0), [tensors(size * 10.0 ** (k % 3 - 1)) for k in range(steps)]


def torchs(weights: list[Any], grads: list[list[Any]], rates: Any, decay: float, clip: float) -> tuple[Any, Any]:
    """The weights after torch's AdamW and clipping, model by model, in float64; the norms of the last gradients."""
    after, norms = [[] for _ in weights], []
    for m, rate in enumerate(rates):
        ours = [w[m].double().clone().requires_grad_() for w in weights]
        adam = torch.optim.AdamW(ours, lr=float(rate), weight_decay=decay)
        for step in grads:
            for w, g in zip(ours, step, strict=True):
                w.grad = None if g is None else g[m].double().clone()
            norm = torch.nn.utils.clip_grad_norm_(ours, clip)
            adam.step()
        norms.append(float(norm))
        for kept, w in zip(after, ours, strict=True):
            kept.append(w.detach().numpy())
    return [np.stack(kept) for kept in after], np.array(norms)


def ours(
    weights: list[Any], grads: list[list[Any]], rates: Any, decay: float, clip: float, dtype: Any = torch.float32
) -> tuple[Any, Any, Any]:
    """The weights, the last norms, and the optimiser after the same by ours; float64 runs in torch, not in the core."""
    adam = layers.Adam([w.to(dtype).clone() for w in weights])
    for step in grads:
        given = [None if g is None else g.to(dtype) for g in step]
        norms = adam.step(given, np.asarray(rates, np.float64), decay=decay, clip=clip)
    return [w.numpy() for w in adam.weights], norms, adam


shapes = st.lists(st.lists(st.integers(1, 21), max_size=3).map(tuple), min_size=1, max_size=4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=25)
@given(
    models=st.integers(1, 4), shapes=shapes, steps=st.integers(1, 12), clip=st.sampled_from([1e-3, 1.0, 1e6]),
    decay=st.sampled_from([0.0, 0.01, 0.5]), seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_torchs_adamw_and_clipping(
    models: int, shapes: Any, steps: int, clip: float, decay: float, seed: int, dtype: str
) -> None:
    """In the core and in torch: as close to float64 as their precision allows, after a few steps of every size."""
    weights, grads = drawn(models, shapes, steps, seed)
    rates = 10.0 ** -np.arange(1, models + 1)
    wanted, length = torchs(weights, grads, rates, decay, clip)
    found, norms, adam = ours(weights, grads, rates, decay, clip, getattr(torch, dtype))
    exact = {"rtol": 2e-6, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, **exact)
    np.testing.assert_allclose(norms, length, rtol=1e-6)
    assert adam.steps.tolist() == [steps] * models


def test_it_is_as_close_to_float64_as_torchs_own_float32() -> None:
    weights, grads = drawn(1, [(64, 32), (64,)], 200, 0)
    wanted, _ = torchs(weights, grads, [1e-2], 0.01, 1.0)
    theirs = [w.clone()[0].requires_grad_() for w in weights]
    adam = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.01)
    for step in grads:
        for w, g in zip(theirs, step, strict=True):
            w.grad = g[0].clone()
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        adam.step()
    found, _, _ = ours(weights, grads, [1e-2], 0.01, 1.0)
    errors = [
        max(float(np.abs(a - b).max()) for a, b in zip(some, wanted, strict=True))
        for some in (found, [w.detach().numpy()[None] for w in theirs])
    ]
    assert errors[0] < 2 * errors[1]


@settings(max_examples=25)
@given(models=st.integers(2, 5), shapes=shapes, seed=st.integers(0, 99))
def test_a_model_has_its_bits_alone_beside_others_and_on_every_instruction_set(
    models: int, shapes: Any, seed: int
) -> None:
    weights, grads = drawn(models, shapes, 3, seed)
    rates = np.linspace(0.01, 0.1, models)
    found, norms, adam = ours(weights, grads, rates, 0.01, 0.5)
    m = seed % models
    alone = [w[m : m + 1] for w in weights], [[g[m : m + 1] for g in step] for step in grads]
    for engine in _core.engines():
        _core.use(engine)
        lone, norm, _ = ours(*alone, rates[m : m + 1], 0.01, 0.5)
        assert norm[0] == norms[m]
        for a, b in zip(lone, found, strict=True):
            assert a[0].tobytes() == b[m].tobytes()
    some = adam.only([m])
    more = [g[m : m + 1] for g in grads[0]]
    some.step(more, rates[m : m + 1], decay=0.01, clip=0.5)
    adam.step(grads[0], rates, decay=0.01, clip=0.5)
    for a, b in zip(some.weights, adam.weights, strict=True):
        assert a[0].numpy().tobytes() == b[m].numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_weight_without_a_gradient_stays_as_it_is(dtype: str) -> None:
    weights, grads = drawn(2, [(3, 4), (5,)], 4, 0)
    kept = [[g if i == 0 else None for i, g in enumerate(step)] for step in grads]
    found, norms, _ = ours(weights, kept, [0.1, 0.1], 0.01, 1.0, getattr(torch, dtype))
    wanted, length = torchs(weights, kept, [0.1, 0.1], 0.01, 1.0)
    assert found[1].astype(np.float32).tobytes() == weights[1].numpy().tobytes()
    np.testing.assert_allclose(found[0], wanted[0], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(norms, length, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_is_told_and_stays_with_its_model(odd: float, dtype: str) -> None:
    weights, grads = drawn(3, [(9, 4), (5,)], 1, 0)
    clean, _, _ = ours(weights, grads, [0.1] * 3, 0.01, 1.0, getattr(torch, dtype))
    grads[0][0][1, 2, 3] = odd
    found, norms, _ = ours(weights, grads, [0.1] * 3, 0.01, 1.0, getattr(torch, dtype))
    assert np.isfinite(norms).tolist() == [True, False, True]
    assert np.isnan(found[0][1, 2, 3])
    assert all(np.isnan(w[1]).all() == np.isnan(odd) for w in found), "torch's clipping spoils all by NaN, by inf one"
    for a, b in zip(found, clean, strict=True):
        assert a[[0, 2]].tobytes() == b[[0, 2]].tobytes()


def test_numbers_too_small_for_full_precision_are_taken_as_0_inside_a_step_only() -> None:
    adam = layers.Adam([torch.ones(1, 8)])
    adam.step([torch.full((1, 8), 1e-37)], np.array([0.1]), decay=0.0, clip=1.0)
    for _ in range(60):
        adam.step([torch.zeros(1, 8)], np.array([0.1]), decay=0.0, clip=1.0)
    assert adam.means[0].unique().tolist() == [0.0]
    assert np.float32(1e-40) * np.float32(0.5) > 0


def test_gradients_of_any_layout_and_size_are_read_right() -> None:
    """A gradient may be a view with its sides exchanged, or one number for all; a huge one has a norm too."""
    weights, _ = drawn(2, [(6, 4)], 1, 0)
    flipped = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0)).mT
    for slope in (flipped, torch.ones(()).expand(2, 6, 4), 1e30 * flipped):
        found, norms, _ = ours(weights, [[slope]], [0.1, 0.1], 0.0, 1.0)
        wanted, length = torchs(weights, [[slope]], [0.1, 0.1], 0.0, 1.0)
        np.testing.assert_allclose(found[0], wanted[0], rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(norms, length, rtol=1e-6)


def array(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


def locked() -> Any:
    a = array(2, 3)
    a.flags.writeable = False
    return a


WRONG: dict[str, list[Any]] = {
    "weights 0": [None, "text", array(3, 3), array(), array(2, 3, dtype=np.float64), array(2, 6)[:, ::2], locked()],
    "means 0": [None, array(2, 4), array(3, 3), array(2, 3, dtype=np.float64), array(2, 6)[:, ::2], locked()],
    "squares 0": [None, array(2, 3, 1), locked()],
    "steps": [None, array(2), array(2, 1, dtype=np.int64)],
    "grads 0": ["text", array(2, 2), array(2, 3, dtype=np.float64), array(2, 6)[:, ::2]],
    "grads": [()],
    "rates": [None, array(2), array(3, dtype=np.float64)],
    "decay": [-1.0, float("nan")],
    "clip": [0.0, -1.0, float("nan")],
    "norms": [None, array(2), array(1, dtype=np.float64)],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_argument_is_named(name: str, value: Any) -> None:
    """Straight at the boundary of C++."""
    right: dict[str, Any] = {
        "weights 0": array(2, 3), "means 0": array(2, 3), "squares 0": array(2, 3), "grads 0": array(2, 3),
        "steps": array(2, dtype=np.int64), "rates": array(2, dtype=np.float64), "decay": 0.0, "clip": 1.0,
        "norms": array(2, dtype=np.float64),
    }  # fmt: skip

    def call(a: dict[str, Any]) -> None:
        adam = _core.Adam((a["weights 0"],), (a["means 0"],), (a["squares 0"],), a["steps"])
        adam.step(a.get("grads", (a["grads 0"],)), a["rates"], a["decay"], a["clip"], a["norms"])

    call(right)
    wrong = {**right, name: value}
    with pytest.raises((ValueError, TypeError), match=name):
        call(wrong)
    assert not right["weights 0"].any()
    assert right["steps"].tolist() == [1, 1], "a refused step was counted"


def test_moments_for_other_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="means 1 is no array"):
        _core.Adam((array(1, 2), array(1, 2)), (array(1, 2),), (array(1, 2), array(1, 2)), array(1, dtype=np.int64))


def test_the_memory_outlives_who_made_it() -> None:
    adam = _core.Adam((array(1, 999),), (array(1, 999),), (array(1, 999),), array(1, dtype=np.int64))
    filler = [np.full((1, 999), np.nan, np.float32) for _ in range(50)]
    norms = array(1, dtype=np.float64)
    adam.step((np.ones((1, 999), np.float32),), np.ones(1), 0.0, 1.0, norms)
    assert norms[0] == np.sqrt(999)
    assert np.isnan(filler).all()
