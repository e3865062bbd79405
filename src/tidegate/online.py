"""A network that learns from a stream, one reading at a time: it answers first, then learns from what was true.

>>> learner = Learner(channels=1, rule=Rule())
>>> memory = learner.begin(seed=0)                        # from nothing; or from fitted weights
>>> bits = np.random.default_rng(0).integers(0, 2, 1001)
>>> for now, before in zip(bits[1:], bits[:-1]):          # to say what was read one reading ago
...     said = learner.step(memory, [now], target=before)
>>> bool(abs(said[0] - before) < 0.2)
True

All that a learner remembers is `memory`, plain arrays that `step` changes in place: copied, saved and read again they
go on to the same bits. The rules in NumPy are in `rules.py`; the core runs them in microseconds.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .cells import GATES
from .errors import DataError, SettingError
from .kernels import _core
from .scale import ROUNDING, SMALLEST
from .series import LARGEST
from .settings import Above, Positive, checked, one_of, reaching

Memory = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
CELLS = (*GATES, "lru")
NAMES = ("weights", "moments", "gradient", "state", "ring", "influence", "scale", "loss", "ids", "counts")
COUNTED = ("readings", "learned", "updates", "pending", "refused", "rescaled", "resets", "drifts", "drifted")
NEW = {"rnn_tanh": 0, "rnn_relu": 0, "lstm": 2, "gru": 2}  # the gate that makes the new state
OPEN = {"rnn_tanh": [0.0], "rnn_relu": [0.0], "lstm": [2.0, -1.0, 0.0, 2.0], "gru": [2.0, -2.0, 0.0]}
"""What gates begin with: open to the new, so that errors flow back through one orthogonal matrix and nothing else."""
LIMIT = 10.0  # scaled readings and targets go no further
MOST = 2**62  # readings that are counted
READ, PENDING, DRIFTS, BEGAN, LATE, SINCE = 0, 3, 7, 9, 10, 11  # of `counts`, as in online.hpp
LEARNED = -2  # minus its id stands where a reading was learned from
STILL = 1e150  # the spread of a channel that has not moved: whatever it reads later, the network is told 0, as before


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to learn from a stream; the defaults are those of all tables.

    >>> Rule(every=16)
    Rule(name='tbptt', every=16, back=16, learning_rate=0.003, optimiser='adam', clip=1.0, horizon=1000, keep=64,
         drift=6.0)

    name           "tbptt": back through the last readings (Williams & Peng 1990); "rtrl": exact, forward, for at most
                   32 units (Williams & Zipser 1989), not reliable for rnn_relu, which warns; "lru": exact traces
                   (Zucchet et al. 2023), for the cell "lru"
    every          readings between updates; what is due while nothing is to be learned waits
    back           readings that tbptt goes back; what lies longer ago is not learned
    clip           longest gradient
    horizon        readings over which the running scale forgets
    keep           readings that are kept, for labels that come later
    drift          when the loss counts as changed, in standard deviations of its mean; 0: never
    """

    name: Literal["tbptt", "rtrl", "lru"] = "tbptt"
    every: Positive = 1
    back: Positive = 16
    learning_rate: Above = 3e-3
    optimiser: Literal["adam", "sgd"] = "adam"
    clip: Above = 1.0
    horizon: Positive = 1000
    keep: Positive = 64
    drift: Annotated[float, msgspec.Meta(ge=0.0)] = 6.0

    def __post_init__(self) -> None:
        checked(self)
        if self.name == "tbptt":
            reaching(self.every, self.back)


class Counts(msgspec.Struct, frozen=True):
    """What happened to a learner so far, in readings; `notes` says what should be known of it."""

    readings: int
    learned: int
    """from how many readings it learned"""
    updates: int
    pending: int
    """learned from, but not yet in the weights"""
    refused: int
    """not learned, because their gradient was no number"""
    rescaled: int
    """how often the influence of rtrl was cut to a norm of 100"""
    resets: int
    """how often the state was no number and began anew"""
    drifts: int
    """how often the loss rose for good"""
    drifted: int
    """the reading at which it last did, 0: never"""

    @property
    def notes(self) -> list[str]:
        """A sentence for each thing that went wrong or changed."""
        said = {
            self.refused: f"{self.refused} reading(s) were not learned: their gradient was no number",
            self.resets: f"the state was no number and began anew {self.resets} time(s)",
            self.rescaled: f"the influence grew beyond bounds and was cut {self.rescaled} time(s)",
            self.drifts: f"the data changed {self.drifts} time(s), last noticed at reading {self.drifted:,}: "
            "errors grew and stayed",
        }
        return [text for count, text in said.items() if count]


class Learner:
    """One recurrent layer and a linear head that learn from one stream.

    channels   of a reading; NaN = missing, told to the network as 0 beside a mask (`masked`; 2 * channels inputs)
    outputs    values to say, or with target="label" classes
    cell       rnn_tanh, rnn_relu, lstm, gru, or lru, which learns by the rule "lru"
    hidden     units

    It holds no state: one learner serves any number of streams of one thread, each with a memory of its own. Two
    threads need two learners, because what a learner reads and says passes through buffers of its own.
    """

    def __init__(
        self,
        channels: int,
        *,
        outputs: int = 1,
        target: str = "value",
        cell: str = "gru",
        hidden: int = 16,
        rule: Rule | None = None,
        masked: bool = True,
    ) -> None:
        self.channels, self.outputs, self.hidden, self.masked = channels, outputs, hidden, masked
        self.labels = one_of("target", target, ("value", "label")) == "label"
        self.cell = one_of("cell", cell, CELLS)
        self.rule = rule or (Rule(name="lru") if cell == "lru" else Rule())
        _fits(self)
        self.inputs = channels * (1 + masked)
        r = self.rule
        keep = max(r.keep, r.back, r.every)
        self._core = _core.Learner(
            cell,
            r.name == "rtrl",
            (channels, hidden, outputs),
            (self.labels, masked, r.optimiser == "adam"),
            (r.every, max(r.back, r.every), keep),
            (r.learning_rate, r.clip, float(r.horizon), LIMIT, r.drift),
        )
        size, self._body, record, parts, self._padded, influence = self._core.sizes
        rulers = channels + (0 if self.labels else outputs)
        self._shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "weights": ((size,), np.float32),
            "moments": ((2, size), np.float32),
            "gradient": ((size,), np.float32),
            "state": ((parts, self._padded), np.float32),
            "ring": ((keep, record), np.float32),
            "influence": ((influence,), np.float32),
            "scale": ((3, rulers), np.float64),
            "loss": ((8,), np.float64),
            "ids": ((keep,), np.int64),
            "counts": ((12,), np.int64),
        }
        self._x, self._y, self._out = np.empty(channels), np.empty(1 if self.labels else outputs), np.empty(outputs)

    def begin(
        self,
        *,
        seed: int = 0,
        layer: Sequence[Any] | None = None,
        head: Sequence[Any] | None = None,
        scale: Sequence[Any] | None = None,
        target_scale: Sequence[Any] | None = None,
        state: Any = None,
    ) -> Memory:
        """A memory to start from; what is not given is drawn from the seed, and a scale that is not given runs along.

        layer         (w_x, w_h, b_x, b_h) in PyTorch's shapes; of the lru (nu, theta, b_re, b_im, v_re, v_im, d, b)
        head          (w (O, H), b (O,))
        scale         (center (C,), spread (C,)) of readings, fixed from now on; `target_scale` of values (O,)
        state         (parts, H) where the stream stands
        """
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise SettingError(f"seed={seed!r}", wanted="a whole number, 0 or more")
        rng = np.random.default_rng(seed)
        memory = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self._shapes.items()}
        body, top = memory["weights"][: self._body], memory["weights"][self._body :]
        drawn = first(self.cell, self.inputs, self.hidden, rng) if layer is None else layer
        _pack(self.cell, body.reshape(-1, self._padded), drawn, (self.inputs, self.hidden))
        bound = 1 / np.sqrt(self.hidden)
        w, b = head or (rng.uniform(-bound, bound, (self.outputs, self.hidden)), np.zeros(self.outputs))
        top = top.reshape(self.hidden + 1, -1)
        top[0, : self.outputs], top[1:, : self.outputs] = b, _shaped("head", w, (self.outputs, self.hidden)).T
        self._fix(memory["scale"], scale, slice(None, self.channels))
        self._fix(memory["scale"], target_scale, slice(self.channels, None))
        if state is not None:
            memory["state"][:, : self.hidden] = _shaped("state", state, (len(memory["state"]), self.hidden))
        memory["ids"][:] = -1
        return memory

    @staticmethod
    def _fix(rulers: Floats, scale: Sequence[Any] | None, where: slice) -> None:
        if scale is None or not rulers[0, where].size:
            return
        rulers[0, where], rulers[1, where], rulers[2, where] = scale[0], scale[1], -1
        if not np.all((rulers[1, where] > 0) & np.isfinite(rulers[:2, where]).all(axis=0)):
            raise SettingError(f"a scale with a spread of {np.min(scale[1])}", wanted="more than 0, and finite")

    def step(
        self, memory: Memory, reading: Any, target: Any = None, *, id: int | str | None = None, learn: bool = True
    ) -> Floats:
        """The answer to a reading (C,), then what is learned from its target: values (O,), or class probabilities.

        target  (O,), or the number of a class; a plain number where there is one. None or NaN = not known (yet)
        id      by which `late` takes the target; the number of the reading in the stream, where none is given
        learn   False: no update, not even of what is pending
        """
        if memory.__class__ is not dict or not self._core.holds(memory):
            self._bind(memory)
        _fill("a reading", self._x, reading)
        if target is not None:
            _fill("a target", self._y, target)
        named = -1 if id is None else self._free(memory, id)
        if not self._core.step(target is not None, named, learn):
            self._refuse(target is not None)
        return self._out.copy()

    def steps(self, memory: Memory, readings: Any, targets: Any = None, *, learn: bool = True) -> Floats:
        """`step` for readings (T, C) with targets (T, O), or (T,) where there is one: the same bits, answers (T, O)."""
        self._bind(memory)
        x = np.ascontiguousarray(readings, np.float64)
        if x.ndim != 2 or x.shape[1] != self.channels:
            raise DataError(f"readings of shape {x.shape}", wanted=f"(T, {self.channels})")
        if (np.abs(x) > LARGEST).any():
            raise DataError("a reading that is too large", wanted=f"numbers up to {LARGEST:g}, NaN = missing")
        y = None if targets is None else np.ascontiguousarray(targets, np.float64)
        if y is not None:
            wanted = (len(x), self._y.size)
            y = y[:, None] if y.ndim == 1 and wanted[1] == 1 else y
            if y.shape != wanted:
                raise DataError(f"targets of shape {y.shape} for {len(x)} readings", wanted=f"{wanted}")
            self._check(y)
        out = np.empty((len(x), self.outputs))
        self._core.steps(x, y, out, learn)
        return out

    def accept(self, memory: Memory, target: Any, id: int | str | None = None) -> None:
        """Refuse a target or an id that `step` would refuse, and change nothing."""
        if target is not None:
            _fill("a target", self._y, target)
            self._check(self._y)
        if id is not None:
            self._free(memory, id)

    @staticmethod
    def _free(memory: Memory, id: int | str) -> int:
        named = key(id)
        if (memory["ids"] == named).any() or (memory["ids"] == LEARNED - named).any():
            do = "give each reading an id of its own, or give none to any"
            raise DataError(f"a reading with the id {id!r}, which an earlier one has", wanted="one that is new", do=do)
        return named

    def late(self, memory: Memory, id: int | str, target: Any) -> None:
        """Learn from the target of an earlier reading, by its id; it must be among the last `rule.keep`.

        Under rtrl, too, it is learned back through the ring, `rule.back` readings.
        """
        self._bind(memory)
        ids, named = memory["ids"], key(id)
        at, keep = np.flatnonzero(ids == named), len(ids)
        if not len(at) and (ids == LEARNED - named).any():
            raise DataError(f"a second label for reading {id!r}", wanted="one: the first was learned from")
        readings = int(memory["counts"][0])
        if not len(at) or readings == 0:
            raise DataError(
                f"a label for reading {id!r}, which is not kept",
                wanted=f"one of the last {min(keep, readings)} readings",
                do=f"send labels sooner, or keep more: Rule(keep=...), now {keep}",
            )
        if len(at) > 1:
            do = "give every reading an id, or none"
            raise DataError(f"a label for reading {id!r}, an id that {len(at)} of them have", wanted="one", do=do)
        ago = int((readings - 1 - at[0]) % keep)
        if self.cell != "lru" and readings - 1 - ago < memory["counts"][BEGAN]:  # what the lru learns by is in its ring
            raise DataError(
                f"a label for reading {id!r}, which lies before a hole of the stream",
                wanted="a reading since memory last began",
                do="send labels sooner",
            )
        self.accept(memory, target)
        self._core.late(ago)

    def counts(self, memory: Memory) -> Counts:
        """What happened so far."""
        return Counts(*memory["counts"][: len(COUNTED)].tolist())

    def state(self, memory: Memory) -> NDArray[np.float32]:
        """Where the stream stands: (parts, H), a copy."""
        return memory["state"][:, : self.hidden].copy()

    def learned(self, memory: Memory) -> dict[str, tuple[NDArray[Any], ...]]:
        """`layer`, `head`, `scale` and `target_scale` as `begin` takes them."""
        body, top = memory["weights"][: self._body], memory["weights"][self._body :].reshape(self.hidden + 1, -1)
        rulers = memory["scale"]
        found = {
            "layer": _unpack(self.cell, body.reshape(-1, self._padded), (self.inputs, self.hidden)),
            "head": (top[1:, : self.outputs].T.copy(), top[0, : self.outputs].copy()),
            "scale": (rulers[0, : self.channels].copy(), _moved(rulers[:, : self.channels])),
        }
        if not self.labels:
            found["target_scale"] = (rulers[0, self.channels :].copy(), _known(rulers[1, self.channels :]))
        return found

    def _fitting(self, memory: Memory) -> None:
        for name, (shape, dtype) in self._shapes.items():
            array = memory.get(name)
            if array is None or array.shape != shape or array.dtype != dtype:
                saw = "none" if array is None else f"{array.dtype} {array.shape}"
                wanted = f"{np.dtype(dtype)} {shape}"
                raise DataError(f"a memory whose {name} is {saw}", wanted=wanted, do="begin() makes one that fits")

    def check(self, memory: Memory) -> None:
        """Refuse a memory that is not of this learner, or that none can have written."""
        self._fitting(memory)
        counts, (_, spread, count) = memory["counts"], memory["scale"]
        read, loss = int(counts[READ]), memory["loss"][1:]  # the first is the last loss, NaN where there was none
        sound = {
            "counts": counts.min() >= 0
            and counts.max() < MOST
            and max(counts[BEGAN], counts[SINCE]) <= read
            and counts[PENDING] <= self.rule.every,
            "scale": np.isfinite(memory["scale"]).all() and ((spread > 0) | ((spread == 0) & (count >= 0))).all(),
            "loss": np.isfinite(loss).all() and (loss[[1, 3, 4]] >= 0).all(),
            "weights": np.isfinite(memory["weights"]).all(),
            "moments": np.isfinite(memory["moments"]).all() and memory["moments"][1].min() >= 0,
        }
        for name, good in sound.items():
            if not good:
                do = "begin anew: it was damaged"
                raise DataError(f"a memory whose {name} cannot be", wanted="what a learner wrote", do=do)

    def _bind(self, memory: Memory) -> None:
        if not isinstance(memory, dict):
            raise DataError(f"{memory!r:.60} as a memory", wanted="what begin() gave")
        if not self._core.holds(memory):
            self._fitting(memory)
            self._core.bind(tuple(memory[name] for name in NAMES), self._x, self._y, self._out)

    def _refuse(self, learn: bool) -> None:
        if (np.abs(self._x) > LARGEST).any():
            raise DataError(f"a reading of {self._x.tolist()}", wanted=f"numbers up to {LARGEST:g}, NaN = missing")
        if learn:
            self._check(self._y)

    def _check(self, y: Floats) -> None:
        if self.labels:
            wrong = ~np.isnan(y) & ((y < 0) | (y >= self.outputs) | (y != np.floor(y)))
            wanted = f"a class from 0 to {self.outputs - 1}"
        else:
            wrong, wanted = np.abs(y) > LARGEST, f"numbers up to {LARGEST:g}"
        if wrong.any():
            raise DataError(f"a target of {y[wrong][0]}", wanted=f"{wanted}, NaN = not known")


def key(id: int | str) -> int:
    """The number under which a reading's id is kept.

    >>> key(7), key("a-17") == key("a-17")
    (7, True)
    """
    if isinstance(id, str):
        return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "big") >> 1
    if not isinstance(id, int | np.integer) or isinstance(id, bool) or not 0 <= id < 2**63 - 1:
        raise DataError(f"a reading with the id {id!r}", wanted="a whole number from 0 to 2**63 - 2, or a text")
    return int(id)


def first(cell: str, inputs: int, hidden: int, rng: np.random.Generator) -> tuple[Floats, ...]:
    """The first weights of a layer that has learned nothing."""
    if cell == "lru":
        return _first_lru(inputs, hidden, rng)
    rows, bound = GATES[cell] * hidden, 1 / np.sqrt(hidden)
    w_h = rng.uniform(-bound, bound, (rows, hidden))
    new = NEW[cell] * hidden
    w_h[new : new + hidden] = np.linalg.qr(rng.standard_normal((hidden, hidden)))[0]
    if cell == "rnn_relu":  # which has no bound of its own
        w_h *= 0.7
    w_x = rng.uniform(-1, 1, (rows, inputs)) / np.sqrt(inputs)
    return w_x, w_h, np.repeat(OPEN[cell], hidden), np.zeros(rows)


def _first_lru(inputs: int, hidden: int, rng: np.random.Generator) -> tuple[Floats, ...]:
    """|lambda| even over the area of a ring from .5 to .99, any phase (Orvieto et al. 2023)."""
    size = np.sqrt(rng.uniform(0.5**2, 0.99**2, hidden))
    wide, bound = np.sqrt(0.5 / inputs), 1 / np.sqrt(2 * hidden)
    b_re, b_im = rng.standard_normal((2, hidden, inputs)) * wide
    v_re, v_im = rng.standard_normal((2, hidden, hidden)) * bound
    d = rng.standard_normal((hidden, inputs)) / np.sqrt(inputs)
    return np.log(-np.log(size)), rng.uniform(0, 2 * np.pi, hidden), b_re, b_im, v_re, v_im, d, np.zeros(hidden)


def _fits(learner: Learner) -> None:
    rule, cell = learner.rule, learner.cell
    if not isinstance(rule, Rule):
        raise SettingError(f"rule={rule!r:.60}", wanted="a Rule(...)")
    for name in ("channels", "outputs", "hidden"):
        if not isinstance(value := getattr(learner, name), int | np.integer) or value < 1:
            raise SettingError(f"{name}={value!r}", wanted="a whole number, 1 or more")
    if (cell == "lru") != (rule.name == "lru"):
        raise SettingError(
            f"the cell {cell} with the rule {rule.name}", wanted="lru with lru, others with tbptt or rtrl"
        )
    if rule.name == "rtrl" and learner.hidden > 32:
        do = "take fewer units, or the rule tbptt"
        raise SettingError(f"rtrl with {learner.hidden} units", wanted="at most 32: it costs their fourth power", do=do)
    if rule.name == "rtrl" and cell == "rnn_relu":
        warnings.warn(
            "rtrl with rnn_relu is not reliable: its influence has no bound, is cut where it grows, and some seeds "
            "lose what they learned; take rnn_tanh, gru or lstm, or the rule tbptt",
            UserWarning,
            stacklevel=4,
        )
    if learner.labels and learner.outputs < 2:
        raise SettingError(f"{learner.outputs} class", wanted="2 or more", do="give outputs=, the number of classes")


def _fill(name: str, to: Floats, given: Any) -> None:
    """Numbers into a buffer (N,), in place; a plain number where N is 1."""
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} of {given!r}", wanted="numbers, NaN = missing") from None
    if array.shape != to.shape and (array.ndim or len(to) > 1):
        raise DataError(f"{name} of shape {array.shape}", wanted=f"{to.shape}")
    to[:] = array


def _moved(rulers: Floats) -> Floats:
    """The spread of channels, from then on fixed, that tells the network what the running one told it (online.hpp)."""
    center, spread, count = rulers
    moved = (count < 0) | ((spread > ROUNDING * np.abs(center)) & (spread > SMALLEST))
    return np.where(moved, spread, STILL)


def _known(spread: Floats) -> Floats:
    return np.where(spread > 0, spread, 1.0)


def _shaped(name: str, given: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if np.shape(given) != shape:
        raise DataError(f"{name} of shape {np.shape(given)}", wanted=f"{shape}")
    return np.asarray(given, np.float32)


def _rows(cell: str, inputs: int, hidden: int) -> list[tuple[int, ...]]:
    one, wide, square = (hidden,), (hidden, inputs), (hidden, hidden)
    if cell == "lru":
        return [one, one, wide, wide, square, square, wide, one]
    rows = GATES[cell] * hidden
    return [(rows, inputs), (rows, hidden), (rows,), (rows,)]


def _pack(cell: str, rows: NDArray[np.float32], layer: Sequence[Any], sizes: tuple[int, int]) -> None:
    """A layer's weights into the core's rows of units (online_cells.hpp, online_lru.hpp), in place."""
    inputs, hidden = sizes
    shapes = _rows(cell, inputs, hidden)
    if len(layer) != len(shapes):
        raise DataError(f"a layer of {len(layer)} arrays", wanted=f"{len(shapes)}")
    given = [_shaped(f"layer[{i}]", w, shape) for i, (w, shape) in enumerate(zip(layer, shapes, strict=True))]
    if cell == "lru":
        nu, theta, b_re, b_im, v_re, v_im, d, b = given
        rows[:, :hidden] = np.concatenate([nu[None], theta[None], b_re.T, b_im.T, b[None], v_re.T, v_im.T, d.T])
        return
    w_x, w_h, b_x, b_h = given
    flat = np.concatenate([b_h[None], w_h.T, b_x[None], w_x.T]).reshape(-1, GATES[cell], hidden)
    rows.reshape(-1, GATES[cell], rows.shape[-1])[..., :hidden] = flat


def _unpack(cell: str, rows: NDArray[np.float32], sizes: tuple[int, int]) -> tuple[NDArray[np.float32], ...]:
    inputs, hidden = sizes
    if cell == "lru":
        ends = np.cumsum([1, 1, inputs, inputs, 1, hidden, hidden])
        nu, theta, b_re, b_im, b, v_re, v_im, d = (part.T.copy() for part in np.split(rows[:, :hidden], ends))
        return nu[:, 0], theta[:, 0], b_re, b_im, v_re, v_im, d, b[:, 0]
    flat = rows.reshape(-1, GATES[cell], rows.shape[-1])[..., :hidden].reshape(-1, GATES[cell] * hidden)
    b_h, w_h, b_x, w_x = (part.T.copy() for part in np.split(flat, [1, 1 + hidden, 2 + hidden]))
    return w_x, w_h, b_x[:, 0], b_h[:, 0]
