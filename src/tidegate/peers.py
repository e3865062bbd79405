"""What the core is measured beside: the same work in torch, in JAX and in ONNX Runtime, where they are installed.

Weights are (w_x, w_h, b_x, b_h) in PyTorch's shapes and order; with a leading M for M models. Each peer gets its work
in the form that suits it best, and one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import GATES, PARTS
from .train import torch_or_error

Array = NDArray[Any]
Work = Callable[[], Any]
Step = Callable[[Any], Any]  # a reading of every stream -> the answers; where the streams stand is remembered
OPTIONAL = {"jax": ("jax",), "onnxruntime": ("onnxruntime", "onnx")}
"""peer -> the packages that it takes"""

# torch stacks the gates r, z, n and i, f, g, o; ONNX wants z, r, n and i, o, f, g.
ONNX_GATES = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn_tanh": (0,)}
ONNX_NAMES = {"gru": "GRU", "lstm": "LSTM", "rnn_tanh": "RNN"}
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Chain(NamedTuple):
    """What a reading goes through: scale, layer, head; and of how many streams a reading comes at once."""

    cell: str
    weights: Sequence[Array]
    scale: tuple[Array, Array]
    head: tuple[Array, Array]
    streams: int

    @property
    def lead(self) -> tuple[int, ...]:
        """The model axis: (M,), or () for one model."""
        return self.weights[0].shape[:-2]

    @property
    def hidden(self) -> int:
        """The layer's units."""
        return int(self.weights[1].shape[-1])


def installed(peer: str) -> bool:
    """Whether everything that a peer takes is there.

    >>> installed("jax") == (not any(line.startswith("jax ") for line in missing()))
    True
    """
    return all(find_spec(package) for package in OPTIONAL[peer])


def missing() -> list[str]:
    """A sentence for each peer that cannot be measured, with what to do.

    >>> all("pip install" in line for line in missing())
    True
    """
    absent = {peer: [name for name in names if not find_spec(name)] for peer, names in OPTIONAL.items()}
    return [
        f"{peer} is not measured, {' and '.join(names)} not installed: pip install {' '.join(names)}"
        for peer, names in absent.items()
        if names
    ]


# ---- torch -----------------------------------------------------------------------------------------------------------


def torch_reading(chain: Chain) -> Step:
    """torch.nn's layer and a Linear on each reading: what most programs do.

    >>> ones = tuple(np.ones(size, np.float32) for size in ((3, 1), (3, 1), (3,), (3,)))
    >>> chain = Chain("gru", ones, (np.zeros(1), np.ones(1)), (np.ones((1, 1), np.float32), np.zeros(1, np.float32)), 2)
    >>> tuple(torch_reading(chain)(np.zeros((2, 1), np.float32)).shape)
    (2, 1)
    """
    torch = torch_or_error()
    inputs, hidden = chain.weights[0].shape[1], chain.hidden
    layer = getattr(torch.nn, ONNX_NAMES[chain.cell])(inputs, hidden, batch_first=True)
    head = torch.nn.Linear(hidden, len(chain.head[0]))
    for own, given in zip([*layer.parameters(), *head.parameters()], [*chain.weights, *chain.head], strict=True):
        own.data = torch.from_numpy(given)
    center, spread = (torch.from_numpy(part).float() for part in chain.scale)
    state: list[Any] = [None]

    def step(reading: Any) -> Any:
        with torch.inference_mode():
            x = (torch.from_numpy(reading) - center) / spread
            y, state[0] = layer(x[:, None], state[0])
            return head(y[:, 0])

    return step


def torch_models(chain: Chain) -> Step:
    """A reading of M models as a few batched products of torch: its layers know no models, and M calls take M times."""
    torch = torch_or_error()
    w_x, w_h, b_x, b_h = (torch.from_numpy(w) for w in chain.weights)
    w_o, b_o = (torch.from_numpy(part) for part in chain.head)
    center, spread = (torch.from_numpy(part).float() for part in chain.scale)
    zeros = torch.zeros(*chain.lead, chain.streams, chain.hidden)
    state = [(zeros,) * PARTS[chain.cell]]
    after = _torch_step(chain.cell)

    def step(reading: Any) -> Any:
        with torch.inference_mode():
            x = (torch.from_numpy(reading) - center) / spread
            h = state[0]
            state[0] = after(h, torch.baddbmm(b_x[:, None], x, w_x.mT), torch.baddbmm(b_h[:, None], h[0], w_h.mT))
            return torch.baddbmm(b_o[:, None], state[0][0], w_o.mT)

    return step


def _torch_step(cell: str) -> Callable[..., Any]:
    torch = torch_or_error()

    def gru(h: Any, from_x: Any, from_h: Any) -> Any:
        (r_x, z_x, n_x), (r_h, z_h, n_h) = from_x.chunk(3, -1), from_h.chunk(3, -1)
        return (torch.lerp(torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h), h[0], torch.sigmoid(z_x + z_h)),)

    def lstm(h: Any, from_x: Any, from_h: Any) -> Any:
        i, f, g, o = (from_x + from_h).chunk(4, -1)
        c = torch.sigmoid(f) * h[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def rnn(h: Any, from_x: Any, from_h: Any) -> Any:
        return (torch.tanh(from_x + from_h),)

    return {"gru": gru, "lstm": lstm, "rnn_tanh": rnn}[cell]


# ---- JAX -------------------------------------------------------------------------------------------------------------


def _jax() -> Any:
    """JAX on one thread, as everybody: it reads its flags once, when it is first imported."""
    os.environ.setdefault("XLA_FLAGS", ONE_THREAD)
    import jax

    config: Any = jax.config
    config.update("jax_cpu_enable_async_dispatch", False)  # a small call is quicker where it is asked for
    return jax


def jax_training(cell: str, weights: Sequence[Array], x: Array, dy: Array) -> Work:
    """Outputs and gradients of all weights by `lax.scan`, jitted; of M models by `vmap` of the same."""
    jax = _jax()
    outputs = _jax_outputs(cell)

    def loss(weights: Any, x: Any, dy: Any) -> Any:
        y = outputs(weights, x)
        return (y * dy).sum(), y

    both = jax.value_and_grad(loss, has_aux=True)
    run = jax.jit(jax.vmap(both) if x.ndim == 4 else both)
    given = jax.device_put((tuple(weights), x, dy))

    def work() -> Any:
        (_, y), grads = jax.block_until_ready(run(*given))
        return [y, *grads]

    return work


def jax_scoring(cell: str, weights: Sequence[Array], x: Array) -> Work:
    """Outputs by `lax.scan`, jitted."""
    jax = _jax()
    run, given = jax.jit(_jax_outputs(cell)), jax.device_put((tuple(weights), x))
    return lambda: [jax.block_until_ready(run(*given))]


def jax_reading(chain: Chain) -> Step:
    """A reading as one jitted function; of M models by `vmap` of it."""
    jax = _jax()
    after = _jax_step(chain.cell)
    center, spread = (jax.numpy.asarray(part, "float32") for part in chain.scale)

    def one(state: Any, reading: Any, weights: Any, head: Any) -> Any:
        w_x, w_h, b_x, b_h = weights
        state = after(state, ((reading - center) / spread) @ w_x.T + b_x, w_h, b_h)
        return state, state[0] @ head[0].T + head[1]

    run = jax.jit(jax.vmap(one) if chain.lead else one)
    weights, head = jax.device_put((tuple(chain.weights), chain.head))
    zeros = jax.numpy.zeros((*chain.lead, chain.streams, chain.hidden))
    state = [(zeros,) * PARTS[chain.cell]]

    def step(reading: Any) -> Any:
        state[0], y = run(state[0], reading, weights, head)
        return np.asarray(y)

    return step


def _jax_outputs(cell: str) -> Callable[[Any, Any], Any]:
    jax = _jax()
    after = _jax_step(cell)

    def outputs(weights: Any, x: Any) -> Any:
        w_x, w_h, b_x, b_h = weights
        gates = (x @ w_x.T + b_x).swapaxes(0, 1)  # time first, for the scan

        def one(state: Any, now: Any) -> Any:
            state = after(state, now, w_h, b_h)
            return state, state[0]

        start = (jax.numpy.zeros((len(x), w_h.shape[1])),) * PARTS[cell]
        return jax.lax.scan(one, start, gates)[1].swapaxes(0, 1)

    return outputs


def _jax_step(cell: str) -> Callable[..., Any]:
    jax = _jax()
    tanh, sigmoid, split = jax.numpy.tanh, jax.nn.sigmoid, jax.numpy.split

    def gru(h: Any, gates: Any, w: Any, b: Any) -> Any:
        (r_x, z_x, n_x), (r_h, z_h, n_h) = split(gates, 3, -1), split(h[0] @ w.T + b, 3, -1)
        n = tanh(n_x + sigmoid(r_x + r_h) * n_h)
        return (n + sigmoid(z_x + z_h) * (h[0] - n),)

    def lstm(h: Any, gates: Any, w: Any, b: Any) -> Any:
        i, f, g, o = split(gates + h[0] @ w.T + b, 4, -1)
        c = sigmoid(f) * h[1] + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def rnn(h: Any, gates: Any, w: Any, b: Any) -> Any:
        return (tanh(gates + h[0] @ w.T + b),)

    return {"gru": gru, "lstm": lstm, "rnn_tanh": rnn}[cell]


# ---- ONNX Runtime ----------------------------------------------------------------------------------------------------


def onnx_scoring(cell: str, weights: Sequence[Array], x: Array) -> Work:
    """Outputs of a graph of one recurrent node; inputs and outputs are left time first, as it wants them."""
    helper = _onnx().helper
    steps = np.ascontiguousarray(x.swapaxes(0, 1))
    constants, attributes = _onnx_weights(cell, weights)
    node = helper.make_node(ONNX_NAMES[cell], ["x", *constants], ["y"], **attributes)
    session = _onnx_session([node], {"x": steps.shape}, ["y"], constants)
    return lambda: [session.run(None, {"x": steps})[0][:, 0].swapaxes(0, 1)]


def onnx_reading(chain: Chain) -> Step:
    """A reading through a graph of scale, layer and head; the state goes in and comes out. What most programs do."""
    session, sizes = _onnx_chain(chain)
    state = {name: np.zeros(size, np.float32) for name, size in sizes.items()}

    def step(reading: Any) -> Any:
        answer, *new = session.run(None, {"reading": reading, **state})
        state.update(zip(state, new, strict=True))
        return answer

    return step


def onnx_bound(chain: Chain) -> Step:
    """The same with all memory bound ahead, which halves a call: two sets of states are input and output in turn."""
    from onnxruntime import OrtValue

    def zeros(size: Any) -> Any:
        return OrtValue.ortvalue_from_numpy(np.zeros(size, np.float32))

    session, sizes = _onnx_chain(chain)
    given, told = zeros((chain.streams, len(chain.scale[0]))), zeros((chain.streams, len(chain.head[0])))
    sets = [{name: zeros(size) for name, size in sizes.items()} for _ in range(2)]
    bindings = []
    for before, after in (sets, sets[::-1]):
        binding = session.io_binding()
        for name, value in {"reading": given, **before}.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in {"answer": told, **{f"{name} after": value for name, value in after.items()}}.items():
            binding.bind_ortvalue_output(name, value)
        bindings.append(binding)

    def step(reading: Any) -> Any:
        given.update_inplace(reading)
        session.run_with_iobinding(bindings[0])
        bindings.reverse()
        return told.numpy()

    return step


def _onnx_chain(chain: Chain) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The graph of a reading, ready to run, and the sizes of its state's parts."""
    helper = _onnx().helper
    constants, attributes = _onnx_weights(chain.cell, chain.weights)
    center, spread = (part.astype(np.float32) for part in chain.scale)
    size: tuple[int, ...] = (1, chain.streams, chain.hidden)
    state = dict.fromkeys("hc"[: PARTS[chain.cell]], size)
    after = [f"{name} after" for name in state]
    nodes = [
        helper.make_node("Sub", ["reading", "center"], ["centered"]),
        helper.make_node("Div", ["centered", "spread"], ["scaled"]),
        helper.make_node("Unsqueeze", ["scaled", "time"], ["x"]),
        helper.make_node(ONNX_NAMES[chain.cell], ["x", *constants, "", *state], ["", *after], **attributes),
        helper.make_node("Squeeze", [after[0], "time"], ["last"]),
        helper.make_node("Gemm", ["last", "w", "b"], ["answer"], transB=1),
    ]
    constants |= {"center": center, "spread": spread, "time": np.zeros(1, np.int64)}
    constants |= dict(zip("wb", chain.head, strict=True))
    sizes = {"reading": (chain.streams, len(center)), **state}
    return _onnx_session(nodes, sizes, ["answer", *after], constants), state


def _onnx_weights(cell: str, weights: Sequence[Array]) -> tuple[dict[str, Array], dict[str, int]]:
    """Weights under ONNX's names and in its order of gates, and what the node says of itself."""

    def ordered(w: Array) -> Array:
        parts = np.split(w, GATES[cell])
        return np.concatenate([parts[gate] for gate in ONNX_GATES[cell]])

    w_x, w_h, b_x, b_h = (ordered(w) for w in weights)
    attributes = {"hidden_size": w_h.shape[1]}
    if cell == "gru":
        attributes["linear_before_reset"] = 1  # the reset after the product, as in torch
    return {"W": w_x[None], "R": w_h[None], "B": np.concatenate([b_x, b_h])[None]}, attributes


def _onnx_session(nodes: list[Any], inputs: dict[str, Any], outputs: list[str], constants: dict[str, Array]) -> Any:
    import onnxruntime

    helper, real = _onnx().helper, _onnx().TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "peer",
        [helper.make_tensor_value_info(name, real, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, real, None) for name in outputs],
        [_onnx().numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _onnx() -> Any:
    import onnx

    return onnx
