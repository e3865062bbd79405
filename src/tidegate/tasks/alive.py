"""A tagger that goes on learning from its stream: all that it has learned since is in the state, under `online/`.

The answer comes first, by the weights as they are; then the reading is learned from, by a rule of `online`. A state
that learns is used up by `step`, and an old one says so: it holds the weights, and copying them would cost more than
learning.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import save
from ..cells import KINDS
from ..errors import DataError, ModelFileError, SettingError
from ..online import BEGAN, DRIFTS, LATE, NAMES, READ, Learner, Rule
from ..scale import Scale
from ..settings import Network, Onward
from . import marked, steady, steps, stepwise, verbs
from .steps import Form
from .stepwise import Model
from .verbs import Arrays, State

if TYPE_CHECKING:
    from .tag import Tagger

PATHS = tuple((name, f"online/{name}") for name in NAMES)
BYTES = 512  # in which a state spells its rule
FOLLOWING = 1e-4  # learning rate of a fitted tagger
UNITS = 16  # of a cold start: a stream has few readings to learn from, and each is to cost microseconds

_live = threading.local()  # learners have buffers of their own: one for each model, rule and thread


def learner(model: Model, rule: Rule) -> Learner:
    """What learns from a stream of this model by this rule."""
    form = model.form
    if form.net.layers > 1 or form.direction != "past":
        raise SettingError(
            f"a stream to learn from, and {form.net.in_words}, reading {form.direction}",
            wanted='one layer that reads the past (direction="past")',
            do='fit with size "small" or "medium", or give a Network(layers=1)',
        )
    return Learner(
        form.channels, outputs=form.outputs, target="label" if model.labels else "value",
        cell="lru" if form.lru else form.net.cell, hidden=form.net.hidden, rule=rule,
    )  # fmt: skip


def own(model: Model, arrays: Arrays) -> Learner:
    """The learner of a state, which is made once for each model, rule and thread."""
    if not hasattr(_live, "learners"):
        _live.learners = WeakKeyDictionary()
    known = _live.learners.get(model)
    if known is None:
        known = _live.learners[model] = {}
    spelled = arrays["online/rule"].tobytes()
    if spelled not in known:
        known[spelled] = learner(model, _rule(spelled))
    found: Learner = known[spelled]
    return found


def usual(model: Model) -> Rule:
    """The rule of a stream that was told none: what was fitted follows slowly, or it learns the label of the hour."""
    name: Any = "lru" if model.form.lru else "tbptt"
    if not model.running:
        return Rule(name=name, learning_rate=FOLLOWING)
    return model.rule or Rule(name=name)


def ruled(arrays: Arrays) -> Rule | None:
    """The rule by which a state learns; None if it does not."""
    return _rule(arrays["online/rule"].tobytes()) if "online/rule" in arrays else None


def _rule(spelled: bytes) -> Rule:
    return msgspec.json.decode(spelled.rstrip(b" "), type=Rule)


def ready(task: Tagger, state: State, learn: object) -> State:
    """The state, made ready to learn if it is not yet, by the rule that `learn=` means: True is the usual one."""
    if learn is True and "online/rule" in state.arrays:
        return state
    if not isinstance(learn, bool | Rule):
        own = isinstance(learn, Onward)
        do = "learn=Onward(...) is the other tasks'; here give learn=tidegate.online.Rule(...)" if own else ""
        raise SettingError(f"learn={learn!r}", wanted="False, True or a tidegate.online.Rule(...)", do=do)
    has, wanted = ruled(state.arrays), learn if isinstance(learn, Rule) else usual(task.model_)
    if has is not None and has != wanted:
        saw = f"a stream that learns by {has}, and now {wanted}"
        do = "give learn=True; a cold start takes its rule from cold_start(rule=)"
        raise SettingError(saw, wanted="one rule for one stream", do=do)
    verbs.same_model(state.model, task.fingerprint_)
    return State(begin(task.model_, state.arrays, wanted), state.model) if has is None else state


def begin(model: Model, arrays: Arrays, rule: Rule) -> Arrays:
    """The arrays of a state that learns from now on, with the model's weights."""
    w, form = model.weights, model.form
    names = steps.LRU if form.lru else tuple(f"{kind}_l0" for kind in KINDS)
    scale = None if model.running else (model.scale.center, model.scale.spread)
    target = None if model.running or model.labels else (model.target.center, model.target.spread)
    memory = learner(model, rule).begin(
        layer=[w[name] for name in names], scale=scale, target_scale=target,
        head=(w["head.weight"] / np.float32(model.temperature), w["head.bias"] / np.float32(model.temperature)),
        state=None if form.lru else arrays["memory"][0, :, 0],
    )  # fmt: skip
    spelled = np.frombuffer(msgspec.json.encode(rule).ljust(BYTES), dtype=np.uint8).copy()
    found = {name: array for name, array in arrays.items() if name != "memory"}
    found |= {f"online/{name}": array for name, array in memory.items()}
    return found | {"online/rule": spelled, "online/read": np.array([_serial(memory)])}


def memory_of(arrays: Arrays) -> Arrays:
    """What the learner remembers, in a state that was not used up by a later step."""
    memory = {name: arrays[path] for name, path in PATHS}
    if _serial(memory) != arrays["online/read"].item(0):
        raise DataError(
            "a state from which a later step has learned on",
            wanted="the state that came last",
            do="keep state.copy() where you want to come back to one",
        )
    return memory


def _serial(memory: Arrays) -> int:
    """How often a memory was changed: by a reading, or by a label that came late."""
    counts = memory["counts"]
    return int(counts.item(READ) + counts.item(LATE))


def told(
    model: Model, arrays: Arrays, values: NDArray[np.float64], cuts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], Arrays]:
    """Answers (T, outputs) to rows (T, C), nothing learned, and the arrays after them; those given stay as they are."""
    memory = {name: array.copy() for name, array in memory_of(arrays).items()}
    found = []
    for number, piece in enumerate(np.split(values, cuts[cuts > 0])):
        if number or (len(cuts) and cuts[0] == 0):
            restart(memory)
        found.append(own(model, arrays).steps(memory, piece, learn=False))
    return np.concatenate(found), _after(arrays, memory)


def step(
    model: Model, arrays: Arrays, values: NDArray[np.float64], cut: bool, known: tuple[Any, int | str | None] | None
) -> tuple[NDArray[np.float64], Arrays, bool]:
    """The answer (1, outputs) to one row (1, C) before it is learned from, and whether the data was seen to change.

    The arrays given are used up.

    known  the target as `target` gives it, None for none; and the id of the reading. None: do not learn
    """
    memory, who = memory_of(arrays), own(model, arrays)
    goal, named = known or (None, None)
    drifts = memory["counts"].item(DRIFTS)
    if cut:
        who.accept(memory, goal, named)  # before anything is changed
        restart(memory)
    said = who.step(memory, values[0], goal, id=named, learn=known is not None)
    after = {**arrays, "online/read": np.array([_serial(memory)])}
    return said[None], after, memory["counts"].item(DRIFTS) > drifts


def restart(memory: Arrays) -> None:
    """Memory begins anew: what was read before is neither known nor learned through."""
    memory["state"][:] = 0
    memory["influence"][:] = 0
    memory["counts"][BEGAN] = memory["counts"][READ]


def _after(arrays: Arrays, memory: Arrays) -> Arrays:
    after = {name: array for name, array in arrays.items() if not name.startswith("online/")}
    after |= {f"online/{name}": array for name, array in memory.items()}
    return after | {"online/rule": arrays["online/rule"], "online/read": np.array([_serial(memory)])}


def target(task: Tagger, given: Any) -> Any:
    """What a learner takes for this target: the number of its class, or values; None if it is not known."""
    if given is None or (task.target == "label" and verbs.unknown(given)):
        return None
    if task.target == "label":
        known = task.classes_.tolist()
        plain = given.item() if isinstance(given, np.generic) else given
        if plain not in known:
            raise DataError(f"a target of {plain!r}", wanted=f"one of {', '.join(map(str, known[:20]))}, or None")
        return known.index(plain)
    try:
        values = np.asarray(given, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise DataError(f"a target of {given!r}", wanted="numbers, or None where it is not known") from None
    if len(values) != len(task.targets_):
        raise DataError(f"{len(values)} targets", wanted=f"{len(task.targets_)}: {', '.join(task.targets_)}")
    return values


def late(task: Tagger, state: State, id: int | str, given: Any) -> State:
    """The state after the target of an earlier reading was learned from; the one given is used up."""
    if "online/rule" not in state.arrays:
        raise DataError("a state that has not learned", wanted="one of step(..., learn=True)")
    memory, wanted = memory_of(state.arrays), target(task, given)
    if wanted is not None:
        own(task.model_, state.arrays).late(memory, id, wanted)
    return State(_after(state.arrays, memory), state.model)


def load_state(path: Any, start: State, model: Model) -> State:
    """A state that `State.save` wrote, whether it learns or not, checked to be of this model."""
    file = save.open_file(path, "state")
    if "online/rule" not in file.table:
        return verbs.restored(file, start)
    verbs.same_model(file.spec.get("model"), start.model, where=str(path))
    arrays = {name: array.copy() for name, array in file.arrays(file.table).items()}
    try:
        rule = ruled(arrays)
    except msgspec.MsgspecError:
        raise ModelFileError("a state without a rule", where=str(path), do="begin with a new state") from None
    like = begin(model, stepwise.start(model, "belief" in start.arrays), rule or usual(model))
    file.arrays({name: (array.shape, str(array.dtype)) for name, array in like.items()})
    try:
        own(model, arrays).check(memory_of(arrays))
    except DataError as wrong:
        raise ModelFileError(wrong.saw, where=str(path), wanted=wrong.wanted, do="begin with a new state") from None
    return State(arrays, start.model)


def cold_start(
    task: Tagger, channels: int | Sequence[str], classes: tuple[Any, ...], targets: int, pace: tuple[float, Rule | None]
) -> None:
    """Make of a tagger one that has learned nothing yet.

    pace  seconds between readings, and the rule
    """
    labels, lru, names = task.target == "label", task.cell == "lru", _names(channels)
    if labels and not classes:
        wanted, do = 'cold_start(..., classes=["on", "off"])', 'or learn values: Tagger(target="value")'
        raise SettingError("no classes to begin with", wanted=wanted, do=do)
    if (labels and targets != 1) or (classes and not labels):
        saw = "classes for a tagger of values" if classes and not labels else f"targets={targets} for one of labels"
        raise SettingError(saw, wanted="classes= for labels, targets= for values", do="leave it out")
    if pace[1] is not None and not isinstance(pace[1], Rule):
        raise SettingError(f"rule={pace[1]!r:.60}", wanted="a tidegate.online.Rule(...)")
    if task.smooth:
        raise SettingError("smooth=True from nothing", wanted="a history, which says how seldom labels change")
    if labels:
        task.classes_, _ = marked.classes([np.array([*classes, None], dtype=object)])
    else:
        task.targets_ = marked.target_names(targets)
    net = task.network or Network(cell="gru" if lru else task.cell, hidden=UNITS)  # type: ignore[arg-type]
    outputs = len(task.classes_ if labels else task.targets_)
    form = Form(channels=len(names), outputs=outputs, net=net, direction=task.direction, lru=lru)  # type: ignore[arg-type]
    task.channels_, task.interval_, task.clock_, task.device_ = names, pace[0], False, "cpu"
    task.history_, task.tried_, task.split_, task.errors_, task.times_ = [], [], {}, {}, None
    task.against_, task.confusion_, task.notes_ = {}, np.zeros((0, 0), dtype=np.int64), []
    task._remember(_cold(form, pace[1], labels, task.seed))


def _names(channels: object) -> tuple[str, ...]:
    if isinstance(channels, int | np.integer) and not isinstance(channels, bool) and channels > 0:
        return tuple(f"c{i}" for i in range(int(channels)))
    names = tuple(channels) if isinstance(channels, list | tuple) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise SettingError(f"channels={channels!r:.60}", wanted="how many, or a list of names, each once")
    return names


def _cold(form: Form, rule: Rule | None, labels: bool, seed: int) -> Model:
    """A model with first weights, whose scales run along with the stream."""
    one = Scale(np.zeros(form.channels), np.ones(form.channels))
    many = Scale(np.zeros(0 if labels else form.outputs), np.ones(0 if labels else form.outputs))
    even = steady.learn([], form.outputs) if labels else None
    empty = Model(form, {}, one, 1.0, even, many, running=True, rule=rule)
    first = learner(empty, usual(empty))
    return replace(empty, weights=_weights(form, first.learned(first.begin(seed=seed))))


def _weights(form: Form, learned: Any) -> dict[str, NDArray[np.float32]]:
    names = steps.LRU if form.lru else tuple(f"{kind}_l0" for kind in KINDS)
    weights = dict(zip(names, learned["layer"], strict=True))
    return weights | {"head.weight": learned["head"][0], "head.bias": learned["head"][1]}


def kept(model: Model, state: State) -> tuple[Model, list[str]]:
    """The model as a state has learned it, and what to tell of that; its scales stand still from then on."""
    if "online/rule" not in state.arrays:
        return model, []
    who, memory = own(model, state.arrays), memory_of(state.arrays)
    learned, counts = who.learned(memory), who.counts(memory)
    scale, target = Scale(*learned["scale"]), model.target if model.labels else Scale(*learned["target_scale"])
    after = replace(
        model, weights=_weights(model.form, learned), scale=scale, target=target, temperature=1.0, running=False
    )
    said = (
        f"learned on from {counts.learned:,} of {counts.readings:,} readings of a stream, in {counts.updates:,} updates"
    )
    return after, [said if model.running else f"{said}; {verbs.BEFORE}", *counts.notes]
