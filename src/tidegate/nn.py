"""RNN, LSTM and GRU for any torch program: torch.nn's arguments, shapes and state_dict, run by the compiled core.

>>> layer, theirs = GRU(3, 8, batch_first=True), torch.nn.GRU(3, 8, batch_first=True)
>>> _ = layer.load_state_dict(theirs.state_dict())
>>> x = torch.zeros(2, 5, 3)
>>> bool(torch.allclose(layer(x)[0], theirs(x)[0], atol=1e-6)), layer.backend(x)
(True, 'core: ...')

Two things torch.nn has not. `lengths` (N,): steps of each sequence in a padded batch; padding then changes no answer
and costs almost nothing. `models=M`: M independent layers as one, every parameter with a leading axis M; input
(M, N, T, I), or (N, T, I) for all M, gives output (M, N, T, D*H) and last states (layers*D, M, N, H).

`lengths` are shared by all models; one model's weights are `{k: v[m] for k, v in layer.state_dict().items()}`.
Float32 on the processor runs in the core; other types and devices run in torch, and `backend(x)` says so. The core has
first derivatives only, and no `torch.func`, `torch.export`, `torch.jit` or projections: torch.nn's layers, which take
the same `state_dict`, are for those.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .cells import GATES, KINDS, PARTS
from .errors import DataError, SettingError
from .kernels import layers

States = Tensor | tuple[Tensor, Tensor]


class _Recurrent(torch.nn.Module):
    """What the three layers share: parameters under torch's names, and the way through the stack."""

    def _build(
        self, cell: str, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool,
        dropout: float, bidirectional: bool, models: int | None, place: dict[str, Any],
    ) -> None:  # fmt: skip
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, value in sizes.items():
            if not isinstance(value, int | np.integer) or value < 1:
                raise SettingError(f"{name} is {value!r}", wanted="a whole number, 1 or more")
        if not 0 <= dropout <= 1:
            raise SettingError(f"dropout is {dropout}", wanted="a share between 0 and 1")
        if models is not None and (not isinstance(models, int | np.integer) or models < 1):
            raise SettingError(f"models is {models}", wanted="1 or more, or None for torch's shapes")
        self.cell, self.proj_size, self.models = cell, 0, models
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        lead = () if self.models is None else (self.models,)
        rows, ways = GATES[cell] * self.hidden_size, 1 + self.bidirectional
        self._names: list[str] = []  # of the weights, in the order in which the core takes them
        for layer in range(self.num_layers):
            inputs = ways * self.hidden_size if layer else self.input_size
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs), "weight_hh": (rows, self.hidden_size)}
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
            for way in range(ways):
                self._names += [_name(kind, layer, way) for kind in KINDS]
                for kind, shape in shapes.items():
                    empty = torch.empty(*lead, *shape, **place)
                    self.register_parameter(_name(kind, layer, way), torch.nn.Parameter(empty))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew, uniform in +-1/sqrt(H), as torch.nn does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: for programs written for torch.nn, whose GPU layers want it."""

    def extra_repr(self) -> str:
        """The sizes, as torch.nn prints them."""
        plain = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        told = {name: getattr(self, name) for name, usual in (plain | {"models": None}).items()
                if getattr(self, name) != usual}  # fmt: skip
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *(f"{k}={v}" for k, v in told.items())])

    def backend(self, x: Tensor | PackedSequence) -> str:
        """What runs this layer on such an input: "core: avx2", say, or "torch" and why."""
        return layers.backend(x.data if isinstance(x, PackedSequence) else x)

    def forward(
        self, input: Tensor | PackedSequence, hx: States | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, States]:
        """The outputs of the last layer, and the last state of every layer and direction; shapes as torch.nn."""
        weights = self._weights()
        self._accepted(input.data if isinstance(input, PackedSequence) else input, weights[0])
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths, weights)
        x, alone = self._batched(input)
        turned = not self.batch_first and not alone
        rows, steps = x.shape[-2:-4:-1] if turned else x.shape[-3:-1]
        state = None if hx is None else self._state(hx, rows, alone, weights[0])
        lengths = None if lengths is None else _checked(lengths, rows, steps)
        y, *last = self._through(x, state, lengths, weights, turned)
        if alone:
            y, last = y.squeeze(-3), [part.squeeze(-2) for part in last]
        return y, (last[0], last[1]) if self.cell == "lstm" else last[0]

    def _weights(self) -> list[Any]:
        ours = self._parameters  # twice as fast as the attribute, which is asked where something took its place
        return [ours[name] if name in ours else getattr(self, name, None) for name in self._names]

    def _accepted(self, x: Any, ours: Tensor, name: str = "input") -> None:
        if not isinstance(x, Tensor):
            raise DataError(f"{name} of type {type(x).__name__}", wanted="a tensor", do="torch.as_tensor(x)")
        if x.dtype != ours.dtype or x.device != ours.device:
            saw = f"{name} of {x.dtype} on {x.device}, a layer of {ours.dtype} on {ours.device}"
            raise DataError(saw, wanted="the same for both", do=f"{name}.to(...) or layer.to(...)")

    def _packed(
        self, input: PackedSequence, hx: States | None, lengths: Tensor | None, weights: list[Any]
    ) -> tuple[PackedSequence, States]:
        if lengths is not None or self.models is not None:
            raise SettingError(
                "a packed sequence beside lengths or models",
                wanted="a padded batch with lengths",
                do="x, lengths = torch.nn.utils.rnn.pad_packed_sequence(x, batch_first=True)",
            )
        x, lengths = pad_packed_sequence(input, batch_first=True)
        state = None if hx is None else self._state(hx, len(x), False, weights[0])
        y, *last = self._through(x, state, lengths, weights, False)
        ordered = lengths if input.sorted_indices is None else lengths[input.sorted_indices.cpu()]
        told = y if input.sorted_indices is None else y[input.sorted_indices]
        packed = pack_padded_sequence(told, ordered, batch_first=True)
        data = PackedSequence(packed.data, packed.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return data, (last[0], last[1]) if self.cell == "lstm" else last[0]

    def _batched(self, x: Tensor) -> tuple[Tensor, bool]:
        """The input with sequences, and M before them (1 where all models share it); whether it was one alone."""
        sides = (2, 3) if self.models is None else (3, 4)
        if x.ndim not in sides or x.shape[-1] != self.input_size:
            wanted = f"{' or '.join(map(str, sides))} dimensions, the last of size {self.input_size}"
            raise DataError(f"input of shape {tuple(x.shape)}", wanted=wanted)
        if self.models is None:
            return (x[None], True) if x.ndim == 2 else (x, False)
        x = x[None] if x.ndim == 3 else x
        if len(x) not in (1, self.models):
            raise DataError(f"input for {len(x)} models", wanted=f"{self.models}, or one input for all")
        return x, False

    def _state(self, hx: States, rows: int, alone: bool, ours: Tensor) -> tuple[Tensor, ...]:
        """The parts of the first state, each (layers*D, [M,] N, H)."""
        parts, count = PARTS[self.cell], self.num_layers * (1 + self.bidirectional)
        lead = () if self.models is None else (self.models,)
        shape = (count, *lead, rows, self.hidden_size)
        given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        whole = tuple(part.unsqueeze(-2) if alone and part.ndim == 2 else part for part in given)
        if len(whole) != parts or any(tuple(part.shape) != shape for part in whole):
            saw = ", ".join(str(tuple(part.shape)) for part in given)
            shape = (count, self.hidden_size) if alone else shape
            raise DataError(f"hx of shape {saw}", wanted=f"(h, c), each {shape}" if parts == 2 else str(shape))
        for part in whole:
            self._accepted(part, ours, "hx")
        return whole

    def _through(
        self, x: Tensor, state: tuple[Tensor, ...] | None, lengths: Tensor | None, weights: list[Any], turned: bool
    ) -> tuple[Tensor, ...]:
        """All layers and directions: outputs, and the parts of the last states (layers*D, ..., N, H)."""
        if layers.takes(x):
            masks = self._masks(x.swapaxes(-3, -2) if turned else x)
            told = None if lengths is None else lengths.numpy()
            plan = layers.Plan(self.cell, self.num_layers, 1 + self.bidirectional, told, masks=masks)
            return layers.stack(plan, x, state, weights, turned)
        x = x.swapaxes(-3, -2) if turned else x
        if state is None:
            lead = () if self.models is None else (self.models,)
            zeros = x.new_zeros(self.num_layers * (1 + self.bidirectional), *lead, x.shape[-3], self.hidden_size)
            state = (zeros,) * PARTS[self.cell]
        y, *last = self._in_torch(x, state, lengths, weights)
        return (y.swapaxes(-3, -2) if turned else y), *last

    def _masks(self, x: Tensor) -> tuple[Any, ...]:
        """What dropout multiplies the input of each layer but the first by, with the model axis."""
        if not (self.training and self.dropout):
            return ()
        sides = (self.models or 1, *x.shape[-3:-1], (1 + self.bidirectional) * self.hidden_size)
        drop = torch.nn.functional.dropout
        ones = torch.ones(sides, dtype=x.dtype, device=x.device)
        return tuple(drop(ones, self.dropout).numpy() for _ in range(self.num_layers - 1))

    def _in_torch(
        self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None, weights: list[Any]
    ) -> tuple[Tensor, ...]:
        """The same by torch's own layers; M models one after the other."""
        if self.models is None:
            return self._one_in_torch(x, state, lengths, [w for w in weights if w is not None])
        runs = [
            self._one_in_torch(
                x[min(m, len(x) - 1)], tuple(part[:, m] for part in state), lengths,
                [w[m] for w in weights if w is not None],
            )
            for m in range(self.models)
        ]  # fmt: skip
        y, *last = zip(*runs, strict=True)
        return torch.stack(y), *(torch.stack(parts, dim=1) for parts in last)

    def _one_in_torch(
        self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None, flat: list[Tensor]
    ) -> tuple[Tensor, ...]:
        run, steps = getattr(torch, self.cell), x.shape[1]
        how = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        hx = tuple(part.contiguous() for part in state)
        start = hx if self.cell == "lstm" else hx[0]
        if lengths is None:
            found: tuple[Tensor, ...] = run(x, start, flat, *how, True)
            return found
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        sorted_hx = tuple(part[:, order] for part in hx)
        data, *last = run(
            packed.data, packed.batch_sizes, sorted_hx if self.cell == "lstm" else sorted_hx[0], flat, *how
        )
        told = PackedSequence(data, packed.batch_sizes, order, back)
        y, _ = pad_packed_sequence(told, batch_first=True, total_length=steps)
        return y, *(part[:, back] for part in last)


def _name(kind: str, layer: int, way: int) -> str:
    return f"{kind}_l{layer}{'_reverse' * way}"


def _checked(lengths: Tensor, rows: int, steps: int) -> Tensor:
    """Lengths as the core takes them: one for each sequence, none beyond its steps."""
    lengths = torch.as_tensor(lengths)
    if lengths.dtype.is_floating_point or lengths.dtype == torch.bool or tuple(lengths.shape) != (rows,):
        saw = f"lengths of type {lengths.dtype} and shape {tuple(lengths.shape)}"
        raise DataError(saw, wanted=f"{rows} whole numbers, one a sequence")
    wrong = (lengths < 0) | (lengths > steps)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise DataError(f"lengths[{first}] is {int(lengths[first])}", wanted=f"0 to {steps}")
    return lengths.to("cpu", torch.int64, copy=True)  # a change of theirs must not reach the way back


class RNN(_Recurrent):
    """The plain recurrent layer (Elman 1990), with tanh or relu, as `torch.nn.RNN`.

    >>> RNN(3, 8, nonlinearity="relu")(torch.zeros(5, 2, 3))[0].shape
    torch.Size([5, 2, 8])
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None, *, models: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if nonlinearity not in ("tanh", "relu"):
            raise SettingError(f"nonlinearity is {nonlinearity!r}", wanted="tanh or relu")
        self.nonlinearity = nonlinearity
        self._build(
            f"rnn_{nonlinearity}", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            models, {"device": device, "dtype": dtype},
        )  # fmt: skip


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), as `torch.nn.LSTM`; without projections.

    >>> y, (h, c) = LSTM(3, 8, num_layers=2, bidirectional=True)(torch.zeros(5, 2, 3))
    >>> y.shape, h.shape
    (torch.Size([5, 2, 16]), torch.Size([4, 2, 8]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None,
        dtype: Any = None, *, models: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if proj_size:
            raise SettingError(f"proj_size is {proj_size}", wanted="0", do="put a torch.nn.Linear behind the layer")
        self._build(
            "lstm", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            models, {"device": device, "dtype": dtype},
        )  # fmt: skip


class GRU(_Recurrent):
    """The gated recurrent unit (Cho et al. 2014), as `torch.nn.GRU`.

    >>> GRU(3, 8, models=4, batch_first=True)(torch.zeros(2, 5, 3))[0].shape
    torch.Size([4, 2, 5, 8])
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None,
        *, models: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._build(
            "gru", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            models, {"device": device, "dtype": dtype},
        )  # fmt: skip
