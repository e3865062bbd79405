"""What can be set, in small frozen structs; `size` is the one dial that most people need.

Every default lives here. A struct prints as the call that makes it, and a wrong value is refused where it is given.
"""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import msgspec

from .errors import SettingError

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Above = Annotated[float, msgspec.Meta(gt=0.0)]
Cell = Literal["rnn_tanh", "rnn_relu", "lstm", "gru"]
Size = Literal["small", "medium", "large"]


def checked(setting: msgspec.Struct) -> None:
    """Refuse a wrong value where it is given; msgspec itself checks only what it decodes."""
    for name, hint in get_type_hints(type(setting), include_extras=True).items():
        value, limits = getattr(setting, name), getattr(hint, "__metadata__", ())
        try:
            if not isinstance(value, msgspec.Struct):
                msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            what = f"{type(setting).__name__}({name}={value!r})"
            allowed = ", ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else ""
            wanted = f"one of {allowed}" if allowed else _wanted(limits)
            raise SettingError(f"{what}: {error}", wanted=wanted, do=f"change {name}") from None


def reaching(every: int, back: int) -> None:
    """Refuse to go back over fewer rows than there are between steps; warn where nothing is learned through."""
    if back < every:
        saw = f"an update every {every} readings that goes {back} back"
        raise SettingError(saw, wanted="back >= every: else readings are passed over", do="raise back")
    if back == 1:
        warnings.warn(
            "back=1 trains the network to read its state, but nothing trains the state to keep anything: it learns "
            "'output the previous input' at best, and loses it again; give back=16",
            UserWarning,
            stacklevel=4,
        )


def _wanted(limits: tuple[msgspec.Meta, ...]) -> str:
    names = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    said = [f"{word} {getattr(m, key)}" for m in limits for key, word in names.items() if getattr(m, key) is not None]
    return " and ".join(said)


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How history is cut up: `length` rows a training window, shares of the rows for each purpose, in time order."""

    length: Annotated[int, msgspec.Meta(ge=32)] = 80  # forecasts reach 16 rows ahead, and the first 8 are unscored
    valid: Share = 0.1  # stops training in time
    calibrate: Share = 0.25  # gives scores their meaning; seen by nothing else

    def __post_init__(self) -> None:
        checked(self)


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The recurrent stack: which cell, how many layers of how many units, and what is dropped while training."""

    cell: Cell = "gru"
    layers: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    hidden: Positive = 32
    dropout: Share = 0.0

    def __post_init__(self) -> None:
        checked(self)

    @property
    def in_words(self) -> str:
        """As a sentence has it: "gru, 1 layer of 32 units"."""
        return f"{self.cell}, {self.layers} layer{'s' * (self.layers > 1)} of {self.hidden} units"


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fit loop: AdamW on random windows, learning rate up and down once, stopped when validation is at its best."""

    epochs: Positive = 10
    batches: Positive = 25  # minibatches an epoch, the unit in which progress is counted and checkpoints are written
    batch: Positive = 16
    learning_rate: Above = 5e-3
    weight_decay: Annotated[float, msgspec.Meta(ge=0.0)] = 0.01
    clip: Above = 1.0  # largest norm of a gradient
    noise: Annotated[float, msgspec.Meta(ge=0.0)] = (
        1.0  # standard deviation added to scaled inputs, so that copying the last value does not pay
    )
    patience: Positive = 8  # epochs without a better validation loss before training stops

    def __post_init__(self) -> None:
        checked(self)


class Beside(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a forecast rests on beside each channel's own past.

    known     names of columns of which the future is known when a forecast is made: prices, plans, other forecasts
    calendar  the time of the day, week and year, as far as the history has been through them twice; by UTC
    joint     each channel's past beside that of all others: for few channels of which some lead others
    """

    known: tuple[str, ...] = ()
    calendar: bool = False
    joint: bool = False

    def __post_init__(self) -> None:
        given: object = self.known
        if isinstance(given, list | str):
            msgspec.structs.force_setattr(self, "known", (given,) if isinstance(given, str) else tuple(given))
        checked(self)
        if len(set(self.known)) < len(self.known):
            raise SettingError(f"known={self.known!r}", wanted="each name once")


class Onward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a fitted task goes on learning from a stream: a step every so many readings, on a window of so many rows."""

    every: Positive = 8
    back: Positive = 64
    learning_rate: Above = 3e-4
    clip: Above = 1.0  # largest norm of a gradient
    always: bool = False  # learn from what was just called abnormal, too

    def __post_init__(self) -> None:
        checked(self)
        reaching(self.every, self.back)


class Epoch(msgspec.Struct, frozen=True):
    """What one epoch did; losses in the units of the loss, `best` if these weights are kept."""

    epoch: int
    train_loss: float
    valid_loss: float | None
    """None where there are no rows to validate on"""
    learning_rate: float
    seconds: float
    best: bool

    @property
    def loss(self) -> float:
        """The validation loss, or the training loss where there is none."""
        return self.train_loss if self.valid_loss is None else self.valid_loss


class Tried(msgspec.Struct, frozen=True):
    """One setting that `tune=True` tried; `chosen` if the model was trained with it."""

    hidden: int
    learning_rate: float
    valid_loss: float | None
    """the best of all its epochs; None where training came to no end at this rate"""
    epochs: int
    chosen: bool


class Alarming(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How scores become alarms: after how many quiet rows one closes, and how many missing rows end memory."""

    budget: str = "1/week"
    merge: Positive = 30
    gap: Positive = 90

    def __post_init__(self) -> None:
        checked(self)


SIZES: dict[str, tuple[Network, Training]] = {
    "small": (Network(hidden=32), Training()),
    "medium": (Network(hidden=64, layers=2, dropout=0.1), Training(epochs=40, batch=32, learning_rate=3e-3)),
    "large": (Network(hidden=128, layers=2, dropout=0.2), Training(epochs=80, batch=64, learning_rate=2e-3)),
}

UNITS = {
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "week": 604800.0,
    "month": 2629746.0,
    "year": 31556952.0,
}
WORDS = {
    "sec": "s",
    "second": "s",
    "m": "min",
    "minute": "min",
    "hour": "h",
    "hr": "h",
    "day": "d",
    "w": "week",
    "y": "year",
}


def seconds(text: str | float) -> float:
    """The seconds in a span of time.

    >>> seconds("250ms"), seconds("5 min"), seconds("week"), seconds(2.5)
    (0.25, 300.0, 604800.0, 2.5)
    """
    if isinstance(text, int | float):
        return _above_zero(float(text), str(text))
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*([a-zA-Z]+)\s*", text)
    word = found[2].lower() if found else ""
    plain = word if word in UNITS or word in WORDS else word.removesuffix("s")
    unit = UNITS.get(WORDS.get(plain, plain))
    if found is None or unit is None:
        raise SettingError(
            f"{text!r} is not a span of time",
            wanted=f"a number and one of {', '.join(UNITS)}",
            do="write for example 5min",
        )
    return _above_zero(float(found[1] or 1) * unit, text)


def rate(text: str) -> float:
    """Alarms a second, from a budget.

    >>> rate("1/week") == 1 / 604800, rate("3 per day") == 3 / 86400
    (True, True)
    """
    count, _, span = text.replace(" per ", "/").partition("/")
    try:
        return _above_zero(float(count), text) / seconds(span)
    except ValueError:
        raise SettingError(
            f"{text!r} is not a budget of alarms",
            wanted="a count and a span of time",
            do="write for example 1/week or 3 per day",
        ) from None


def rate_text(rate: float) -> str:
    """Alarms a second in the smallest unit of time that holds at least one.

    >>> rate_text(1 / 604800), rate_text(4.1 / 3600)
    ('1 per week', '4.1 per hour')
    """
    words = ("second", "minute", "hour", "day", "week", "year")
    unit = next((word for word in words if rate * seconds(word) >= 0.995), "year")
    return f"{rate * seconds(unit):.3g} per {unit}"


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """`value` if it is allowed; otherwise an error that lists what is.

    >>> one_of("cell", "gru", ("gru", "lstm"))
    'gru'
    """
    if value not in allowed:
        raise SettingError(
            f"{name} is {value!r}", wanted=f"one of {', '.join(allowed)}", do=f"for example {name}={allowed[0]!r}"
        )
    return str(value)


def _above_zero(number: float, text: str) -> float:
    if not 0 < number < float("inf"):
        raise SettingError(f"{text!r} is not above zero", wanted="a number above 0", do="write for example 1s")
    return number
