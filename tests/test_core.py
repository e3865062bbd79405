"""The compiled core against the reference, on every instruction set here: values, gradients, last states, bits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tidegate import cells
from tidegate.errors import SettingError
from tidegate.kernels import _core, cpu, reference
from tidegate.kernels._core import Live
from tidegate.kernels.stacked import Plan, Run

CELLS = tuple(cells.STEPS)
GIVEN = tuple(np.zeros(size, np.float32) for size in ((1, 15, 4), (1, 15, 5), (1, 15), (1, 15)))


pytestmark = pytest.mark.usefixtures("isa")  # every test runs on every instruction set


def drawn(
    cell: str, models: int, rows: int, steps: int, inputs: int, hidden: int, bias: bool = True, seed: int = 0
) -> tuple[Any, Any, Any]:
    """Input, first state and weights at the sizes at which layers start to learn."""
    rng, gates = np.random.default_rng(seed), cells.GATES[cell] * hidden
    bound = 1 / np.sqrt(hidden)

    def array(*shape: int) -> Any:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    weights = (array(models, gates, inputs), array(models, gates, hidden))
    weights += (array(models, gates), array(models, gates)) if bias else (None, None)
    x = rng.uniform(-1, 1, (models, rows, steps, inputs)).astype(np.float32)
    return x, array(cells.PARTS[cell], models, rows, hidden), weights


def truth(cell: str, x: Any, state: Any, weights: Any, lengths: Any, reverse: bool) -> tuple[Any, Any]:
    """The reference in float64, one model and one row at a time, each at its own length."""
    models, rows, steps, _ = x.shape
    hidden = state.shape[-1]
    y, last = np.zeros((models, rows, steps, hidden)), state.astype(np.float64)
    zero = np.zeros(cells.GATES[cell] * hidden)
    for m, n in np.ndindex(models, rows):
        length = steps if lengths is None else int(lengths[n])
        heavy = tuple(zero if w is None else w[m].astype(np.float64) for w in weights)
        told = x[m, n : n + 1, :length].astype(np.float64)[:, :: -1 if reverse else 1]
        found, last[:, m, n : n + 1] = reference.scan(cell, told, last[:, m, n : n + 1], heavy)
        y[m, n, :length] = found[0, :: -1 if reverse else 1]
    return y, last


shapes = st.tuples(
    st.sampled_from(CELLS), st.integers(1, 3), st.integers(1, 37), st.integers(1, 9), st.integers(1, 20),
    st.integers(1, 40),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(shape=shapes, ragged=st.booleans(), reverse=st.booleans(), bias=st.booleans(), seed=st.integers(0, 99))
def test_outputs_and_last_states_are_those_of_the_equations(
    shape: Any, ragged: bool, reverse: bool, bias: bool, seed: int
) -> None:
    cell, models, rows, steps, inputs, hidden = shape
    x, state, weights = drawn(cell, models, rows, steps, inputs, hidden, bias, seed)
    lengths = np.random.default_rng(seed).integers(0, steps + 1, rows) if ragged else None
    y, last = cpu.scan(cell, x, state, weights, lengths, reverse)
    wanted, end = truth(cell, x, state, weights, lengths, reverse)
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=5e-7)
    np.testing.assert_allclose(last, end, rtol=1e-6, atol=5e-7)


def went(
    cell: str, x: Any, state: Any, weights: Any, lengths: Any = None, reverse: bool = False, keep: bool = False,
    count: int = 1,
) -> tuple[Run, Any, Any]:  # fmt: skip
    """A run forward of one layer, its outputs and last state."""
    run = Run(Plan(cell, lengths=lengths, reverse=reverse), list(weights), count)
    y, last = run.forward(x, state[:, None], keep)
    return run, y, last[:, 0]


def gradients(cell: str, x: Any, state: Any, weights: Any, lengths: Any, dy: Any, dlast: Any, **how: Any) -> Any:
    """The core's gradients of everything."""
    run, _, _ = went(cell, x, state, weights, lengths, keep=True, **how)
    dx, dstate, dweights = run.backward(dy, None if dlast is None else dlast[:, None], (True, True, [True] * 4))
    return dx, dstate[:, 0], *dweights


@settings(max_examples=25, deadline=None)
@given(shape=shapes, ragged=st.booleans(), reverse=st.booleans(), seed=st.integers(0, 99))
def test_gradients_are_the_slopes_of_the_equations(shape: Any, ragged: bool, reverse: bool, seed: int) -> None:
    """Along a random direction, the change of a loss of the reference in float64 is what the gradients say."""
    cell, models, rows, steps, inputs, hidden = shape
    x, state, weights = drawn(cell, models, rows, steps, inputs, hidden, True, seed)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, steps + 1, rows) if ragged else None
    dy = rng.standard_normal((models, rows, steps, hidden)).astype(np.float32)
    dlast = rng.standard_normal(state.shape).astype(np.float32)
    found = gradients(cell, x, state, weights, lengths, dy, dlast, reverse=reverse)
    given_all = [a.astype(np.float64) for a in (x, state, *weights)]
    ways = [rng.standard_normal(a.shape) for a in given_all]
    slopes = []
    for step in (1e-6, -1e-6):
        moved = [a + step * way for a, way in zip(given_all, ways, strict=True)]
        y, last = truth(cell, moved[0], moved[1], tuple(moved[2:]), lengths, reverse)
        slopes.append((y * dy).sum() + (last * dlast).sum())
    slope = (slopes[0] - slopes[1]) / 2e-6
    told = sum(float((a * way).sum()) for a, way in zip(found, ways, strict=True))
    size = np.sqrt(sum(float((a.astype(np.float64) ** 2).sum()) for a in found))
    if cell != "rnn_relu":  # whose slope may change within the step; the next test has it
        assert abs(told - slope) < 1e-4 * size + 1e-4


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 40), steps=st.integers(1, 9), hidden=st.integers(1, 40), reverse=st.booleans())
def test_the_gradients_of_relu_are_torchs_whatever_the_lengths(
    rows: int, steps: int, hidden: int, reverse: bool
) -> None:
    torch = pytest.importorskip("torch")
    x, state, weights = drawn("rnn_relu", 1, rows, steps, 4, hidden)
    lengths = np.random.default_rng(rows).integers(0, steps + 1, rows)
    dy = np.random.default_rng(1).standard_normal((1, rows, steps, hidden)).astype(np.float32)
    found = gradients("rnn_relu", x, state, weights, lengths, dy, None, reverse=reverse)
    leaves = [torch.tensor(a[0], dtype=torch.float64, requires_grad=True) for a in (x, state, *weights)]
    loss = 0.0 * sum(leaf.sum() for leaf in leaves)
    for row, length in enumerate(lengths.tolist()):
        if length:
            mine = leaves[0][row : row + 1, :length]
            mine = mine.flip(1) if reverse else mine
            y, _ = torch.rnn_relu(mine, leaves[1][:, row : row + 1], leaves[2:], True, 1, 0.0, False, False, True)
            loss = loss + ((y.flip(1) if reverse else y)[0] * torch.from_numpy(dy[0, row, :length])).sum()
    for ours, theirs in zip(found, torch.autograd.grad(loss, leaves), strict=True):
        truth = theirs.numpy()
        assert np.abs(ours[0] - truth).max() <= 5e-6 * np.abs(truth).max() + 1e-6


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 33, 12, 5, 17), (1, 70, 9, 20, 32), (1, 3, 40, 1, 64)])
@pytest.mark.parametrize("cell", CELLS)
def test_every_gradient_is_torchs(cell: str, shape: tuple[int, ...]) -> None:
    """And ours are no further from float64 than torch's own float32 may be: 5e-6 of the largest."""
    torch = pytest.importorskip("torch")
    x, state, weights = drawn(cell, *shape)
    models = shape[0]
    rng = np.random.default_rng(1)
    dy = rng.standard_normal((*x.shape[:3], shape[-1])).astype(np.float32)
    dlast = rng.standard_normal(state.shape).astype(np.float32)
    found = gradients(cell, x, state, weights, None, dy, dlast, reverse=False)
    for m in range(models):
        leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True)
                  for a in (x[m], state[:, m], *(w[m] for w in weights))]  # fmt: skip
        start = leaves[1][:, None]
        hx = (start[0], start[1]) if cell == "lstm" else start[0]
        y, *last = getattr(torch, cell)(leaves[0], hx, leaves[2:], True, 1, 0.0, False, False, True)
        end = torch.cat(last)
        loss = (y * torch.tensor(dy[m])).sum() + (end * torch.tensor(dlast[:, m])).sum()
        for ours, wanted in zip(found, torch.autograd.grad(loss, leaves), strict=True):
            mine = ours[:, m] if ours is found[1] else ours[m]
            wanted = wanted.numpy()
            assert np.abs(mine - wanted).max() <= 5e-6 * max(np.abs(wanted).max(), 1e-3)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_no_bit_depends_on_threads(cell: str, ragged: bool) -> None:
    x, state, weights = drawn(cell, 3, 150, 20, 6, 24)
    lengths = np.random.default_rng(0).integers(0, 21, 150) if ragged else None
    dy, dlast = np.ones((3, 150, 20, 24), np.float32), np.ones_like(state)
    runs = []
    for count in (1, 2, 4):
        _, y, last = went(cell, x, state, weights, lengths, count=count)
        grads = gradients(cell, x, state, weights, lengths, dy, dlast, reverse=False, count=count)
        runs.append([y, last, *grads])
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@settings(max_examples=25, deadline=None)
@given(shape=shapes, cut=st.integers(0, 9), seed=st.integers(0, 99))
def test_a_row_has_its_bits_in_any_batch_in_pieces_and_under_padding(shape: Any, cut: int, seed: int) -> None:
    cell, models, rows, steps, inputs, hidden = shape
    x, state, weights = drawn(cell, models, rows, steps, inputs, hidden, True, seed)
    y, last = cpu.scan(cell, x, state, weights)
    row, cut = seed % rows, min(cut, steps)
    alone, end = cpu.scan(cell, x[:, row : row + 1], state[:, :, row : row + 1], weights)
    np.testing.assert_array_equal(alone[:, 0], y[:, row])
    np.testing.assert_array_equal(end[:, :, 0], last[:, :, row])
    first, middle = cpu.scan(cell, x[:, :, :cut], state, weights)
    rest, end = cpu.scan(cell, x[:, :, cut:], middle, weights)
    np.testing.assert_array_equal(np.concatenate([first, rest], axis=2), y)
    np.testing.assert_array_equal(end, last)
    padded = np.concatenate([x, np.full_like(x, np.nan)], axis=2)
    told, end = cpu.scan(cell, padded, state, weights, np.full(rows, steps))
    np.testing.assert_array_equal(told[:, :, :steps], y)
    np.testing.assert_array_equal(end, last)


def test_models_may_share_an_input() -> None:
    x, state, weights = drawn("gru", 3, 5, 7, 4, 9)
    one, _ = cpu.scan("gru", x[:1], state, weights)
    copied, _ = cpu.scan("gru", np.repeat(x[:1], 3, axis=0), state, weights)
    np.testing.assert_array_equal(one, copied)


@pytest.mark.parametrize("hidden", [7, 16, 33])
def test_nan_and_infinity_go_where_they_should_and_no_further(hidden: int) -> None:
    for cell in CELLS:
        x, state, weights = drawn(cell, 1, 6, 5, 3, hidden)
        clean, _ = cpu.scan(cell, x, state, weights)
        x[0, 2, 3, 1] = np.nan
        y, _ = cpu.scan(cell, x, state, weights)
        assert np.isnan(y[0, 2, 3:]).all()
        np.testing.assert_array_equal(np.delete(y, 2, axis=1), np.delete(clean, 2, axis=1))
        x[0, 2, 3, 1] = np.inf
        y, _ = cpu.scan(cell, x, state, weights)
        assert cell == "rnn_relu" or np.isfinite(y).all()


def test_the_callers_arithmetic_is_left_as_it_was() -> None:
    """Numbers too small for full precision are taken as 0 inside a call only."""
    x, state, weights = drawn("gru", 1, 2, 3, 4, 5)
    cpu.scan("gru", x, state, weights)
    assert np.float32(1e-40) * np.float32(0.5) > 0


WRONG = {
    "x": [None, "text", np.zeros((1, 2, 3, 4)), np.zeros((2, 3, 4), np.float32), np.zeros((1, 2, 3, 5), np.float32),
          np.zeros((3, 2, 3, 4), np.float32), np.zeros((1, 2, 3, 8), np.float32)[..., ::2]],
    "h": [np.zeros((1, 3, 5), np.float32), np.zeros((1, 2, 5)), "text"],
    "w_x": [None, np.zeros((1, 15, 5), np.float32), np.zeros((1, 14, 4), np.float32), 3],
    "w_h": [None, np.zeros((1, 14, 5), np.float32), np.zeros((15, 5), np.float32)],
    "b_x": [np.zeros((1, 14), np.float32), np.zeros((1, 15), np.float64)],
    "b_h": [np.zeros((15,), np.float32)],
    "lengths": [np.array([1.0, np.nan]), np.array([1, 4]), np.array([-1, 1]), np.array([1]), np.ones(2, np.int32)],
    "y": [np.zeros((1, 2, 3, 4), np.float32), np.zeros((1, 2, 3, 5))],
    "last h": [np.zeros((1, 2, 4), np.float32)],
    "cell": ["elman"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_argument_is_named(name: str, value: Any) -> None:
    """Straight at the boundary of C++: shapes, types, strides and lengths that would run astray."""
    right: dict[str, Any] = {
        "cell": "gru", "x": np.zeros((1, 2, 3, 4), np.float32), "h": np.zeros((1, 2, 5), np.float32),
        "w_x": np.zeros((1, 15, 4), np.float32), "w_h": np.zeros((1, 15, 5), np.float32),
        "b_x": np.zeros((1, 15), np.float32), "b_h": np.zeros((1, 15), np.float32), "lengths": None,
        "y": np.zeros((1, 2, 3, 5), np.float32), "last h": np.zeros((1, 2, 5), np.float32),
    }  # fmt: skip

    def call(a: dict[str, Any]) -> None:
        weights = (a["w_x"], a["w_h"], a["b_x"], a["b_h"])
        _core.forward(a["cell"], a["x"], (a["h"],), weights, a["lengths"], False, a["y"], (a["last h"],), False, 1)

    call(right)
    with pytest.raises(ValueError, match=name.split()[0]):
        call({**right, name: value})


CHANGES = [lambda a: None, lambda a: "text", lambda a: a.astype(np.float64), lambda a: a[..., None], lambda a: a[:0],
           lambda a: np.repeat(a, 2, axis=-1), lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a.astype(object),
           lambda a: a.tolist(), lambda a: np.moveaxis(a, 0, -1).copy()]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["forward", "backward", "live", "bind", "linear"]), st.data())
def test_the_boundary_takes_what_it_knows_and_refuses_the_rest(call: str, data: st.DataObject) -> None:
    """One argument is made wrong in some way: an error, or an answer where it was not wrong; never a crash."""
    padded = Live("gru", [GIVEN], (), ()).padded
    f = {name: np.zeros(size, np.float32) for name, size in {
        "x": (1, 2, 3, 4), "h": (1, 2, 5), "w_x": (1, 15, 4), "w_h": (1, 15, 5), "b_x": (1, 15), "b_h": (1, 15),
        "y": (1, 2, 3, 5), "last": (1, 2, 5), "dx": (1, 2, 3, 4), "state": (1, 1, 1, 2, padded),
        "w": (7, 5), "b": (7,), "rows": (2, 5), "out": (2, 7), "head": (1, 7, 5), "said": (1, 2, 3, 7),
    }.items()}  # fmt: skip
    f["readings"] = np.zeros((1, 2, 3, 4))
    tape = _core.forward("gru", f["x"], (), GIVEN, None, False, f["y"], (f["last"],), True, 1)
    used = {"forward": "x h w_x w_h b_x b_h y last", "backward": "x w_x w_h b_x b_h y last dx",
            "linear": "rows w b out", "live": "w_x w_h b_x b_h head", "bind": "readings state said"}  # fmt: skip
    name = data.draw(st.sampled_from(used[call].split()))
    f[name] = data.draw(st.sampled_from(CHANGES))(f[name])
    weights = (f["w_x"], f["w_h"], f["b_x"], f["b_h"])
    with contextlib.suppress(ValueError, TypeError):
        if call == "forward":
            _core.forward("gru", f["x"], (f["h"],), weights, None, False, f["y"], (f["last"],), False, 1)
        elif call == "backward":
            _core.backward(tape, f["x"], weights, f["y"], (f["last"],), f["dx"], (), (None,) * 4, 1)
        elif call == "linear":
            _core.linear(f["rows"], f["w"], f["b"], f["out"])
        elif call == "live":
            Live("gru", [weights], (), (f["head"], None))
        else:
            live = Live("gru", [GIVEN], (), (f["head"], None))
            live.bind(f["readings"], f["state"], f["said"])
            live.run()


def test_a_refused_binding_leaves_the_streams_as_they_were() -> None:
    live = Live("gru", [GIVEN], (), ())
    x, y = np.ones((1, 2, 1, 4)), np.full((1, 2, 1, 5), 9, np.float32)
    state = np.zeros((1, 1, 1, 2, live.padded), np.float32)
    live.bind(x, state, y)
    with pytest.raises(ValueError, match="state"):
        live.bind(np.ones((1, 200_000, 1, 4)), state, y)
    live.run()
    assert not y.any()  # all weights are zeros


def test_a_signals_handler_may_use_the_core() -> None:
    x, state, weights = drawn("gru", 1, 64, 400, 8, 64)
    small = drawn("gru", 1, 1, 2, 3, 4)
    wanted, _ = cpu.scan("gru", x, state, weights)
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(cpu.scan("gru", *small)))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        for _ in range(20):
            y, _ = cpu.scan("gru", x, state, weights)
            np.testing.assert_array_equal(y, wanted)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen


def test_a_tape_is_good_for_one_way_back() -> None:
    x, state, weights = drawn("lstm", 1, 2, 3, 4, 5)
    run, *_ = went("lstm", x, state, weights, keep=True)
    dy = np.zeros((1, 2, 3, 5), np.float32)
    run.backward(dy, None, (True, True, [True] * 4))
    with pytest.raises(ValueError, match="run it again"):
        run.backward(dy, None, (True, True, [True] * 4))


def test_the_instruction_set_and_threads_can_be_chosen(isa: str) -> None:
    assert _core.engine() == isa
    with pytest.raises(ValueError, match=r"no instruction set sse9 .* there are: .*baseline"):
        _core.use("sse9")
    before = cpu.threads()
    assert cpu.threads(3) == cpu.threads() == 3
    cpu.threads(before)
    with pytest.raises(SettingError, match="0 threads"):
        cpu.threads(0)


LONG = """
import threading, os, signal, numpy as np, time
from tidegate.kernels import cpu
w = [np.zeros((1, 384, 8), np.float32), np.zeros((1, 384, 128), np.float32), None, None]
signal.signal(signal.SIGINT, signal.default_int_handler)  # what is begun in the background has it ignored
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    for _ in range(100):
        x, h = np.zeros((1, ROWS, 640_000 // ROWS, 8), np.float32), np.zeros((1, 1, ROWS, 128), np.float32)
        cpu.scan("gru", x, h, tuple(w))
except KeyboardInterrupt:
    print("stopped", time.monotonic() - began < 20)
"""


@pytest.mark.parametrize("rows", [1, 640])
def test_ctrl_c_ends_a_long_call(isa: str, rows: int) -> None:
    env = {**os.environ, "TIDEGATE_ISA": isa, "LD_PRELOAD": ""}  # no sanitizer: it would take minutes
    done = subprocess.run(
        [sys.executable, "-c", LONG.replace("ROWS", str(rows))],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
        check=False,
    )
    assert done.stdout.strip() == "stopped True", done.stderr
    assert done.returncode == 0 != signal.SIGINT


def test_a_child_of_a_fork_makes_its_own_threads() -> None:
    x, state, weights = drawn("gru", 4, 64, 20, 4, 32)
    _, wanted, _ = went("gru", x, state, weights, count=2)
    child = os.fork()
    if child == 0:
        _, y, _ = went("gru", x, state, weights, count=2)
        os._exit(0 if (y == wanted).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
