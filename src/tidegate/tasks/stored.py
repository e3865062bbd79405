"""The tagger as a file has it: the specification, and the arrays that follow from it alone."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelFileError
from ..online import Rule
from ..save import File
from ..scale import Scale
from ..settings import Epoch, Network, Size, Training, Tried
from . import steps, verbs
from .steady import Steady
from .steps import Form
from .stepwise import Model


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constructor's arguments, as a file holds them."""

    target: Literal["label", "value"]
    direction: str
    smooth: bool
    held_out: float
    cell: str
    size: Size
    network: Network | None
    training: Training | None
    device: str
    seed: verbs.Seed


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The specification in a model file; the arrays beside it follow from this alone (`_implied`)."""

    task: str
    params: Params
    form: Form
    temperature: float
    running: bool
    rule: Rule | None
    answers: list[bool | int | float | str]
    kind: Literal["bool", "int", "float", "str", ""]
    channels: tuple[str, ...]
    interval: float
    clock: bool
    split: dict[str, int]
    errors: dict[str, dict[str, float]]
    against: dict[str, tuple[float, float]]
    confusion: list[list[int]]
    history: list[Epoch]
    tried: list[Tried]
    notes: list[str]
    device: str
    times: tuple[int, int] | None = None


def _implied(spec: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    table = {f"network/{name}": (shape, "float32") for name, shape in steps.shapes(spec.form).items()}
    table |= dict.fromkeys(("scale/center", "scale/spread"), ((spec.form.channels,), "float64"))
    k = spec.form.outputs
    if spec.params.target == "value":
        return table | dict.fromkeys(("target/center", "target/spread"), ((k,), "float64"))
    return table | {"steady/follow": ((k, k), "float64"), "steady/share": ((k,), "float64"),
                    "steady/power": ((1,), "float64")}  # fmt: skip


def arrays(model: Model) -> verbs.Arrays:
    """The arrays of a model, by the names that a file has for them."""
    found: verbs.Arrays = {f"network/{name}": w for name, w in model.weights.items()}
    found |= verbs.flat(model.scale, "scale")
    return found | verbs.flat(model.steady or model.target, "steady" if model.steady else "target")


def square(counts: list[list[int]]) -> NDArray[np.int64]:
    """Counts of a file as a table (K, K), which may be of no class."""
    return np.array(counts, dtype=np.int64).reshape(len(counts), len(counts))


def read(file: File) -> tuple[Spec, Model]:
    """The specification of a file and the model in it, checked against each other."""
    spec = verbs.decode(file, Spec)
    labels = spec.params.target == "label"
    if (
        spec.form.channels != len(spec.channels) or spec.form.outputs != len(spec.answers)
        or not spec.temperature > 0 or labels != bool(spec.kind) or spec.form.direction != spec.params.direction
    ):  # fmt: skip
        saw = "its specification contradicts itself about channels, answers or directions"
        raise ModelFileError(saw, where=str(file.path), do="save it again")
    found = file.arrays(_implied(spec))
    scale, weights = verbs.built(Scale, found, "scale"), verbs.under(found, "network")
    steady = verbs.built(Steady, found, "steady") if labels else None
    target = Scale(np.zeros(0), np.ones(0)) if labels else verbs.built(Scale, found, "target")
    return spec, Model(
        spec.form, weights, scale, spec.temperature, steady, target, running=spec.running, rule=spec.rule
    )
