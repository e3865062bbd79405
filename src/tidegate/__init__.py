"""Tidegate learns how a system normally behaves from its sensor history, then says how unusual new data is.

    import tidegate as tg

    series = tg.read("pump.csv")
    detector = tg.AnomalyDetector(false_alarms="1/week").fit(series[:"2024-03-09"])
    found = detector.apply(series["2024-03-09":])
    found.alarms

Names arrive when they are first used: `import tidegate` alone costs next to nothing, and running a model never
imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import metrics, record, synth
    from .errors import DataError, MissingExtraError, ModelFileError, NotFittedError, SettingError, TidegateError
    from .reader import read, read_many
    from .series import Series
    from .settings import Alarming, Network, Training, Window
    from .tasks import load
    from .tasks.anomaly import AnomalyDetector
    from .tasks.found import Alarm, Found, Verdict
    from .tasks.verbs import State

__version__ = "0.1.0"

# in the order data flows: name -> the module it comes from ("" = it is one)
_HOMES = {
    "TidegateError": "errors",
    "DataError": "errors",
    "SettingError": "errors",
    "ModelFileError": "errors",
    "NotFittedError": "errors",
    "MissingExtraError": "errors",
    "Window": "settings",
    "Network": "settings",
    "Training": "settings",
    "Alarming": "settings",
    "Series": "series",
    "read": "reader",
    "read_many": "reader",
    "synth": "",
    "metrics": "",
    "AnomalyDetector": "tasks.anomaly",
    "Found": "tasks.found",
    "Alarm": "tasks.found",
    "Verdict": "tasks.found",
    "State": "tasks.verbs",
    "load": "tasks",
    "record": "",
}
__all__ = [
    "Alarm",
    "Alarming",
    "AnomalyDetector",
    "DataError",
    "Found",
    "MissingExtraError",
    "ModelFileError",
    "Network",
    "NotFittedError",
    "Series",
    "SettingError",
    "State",
    "TidegateError",
    "Training",
    "Verdict",
    "Window",
    "load",
    "metrics",
    "read",
    "read_many",
    "record",
    "synth",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"tidegate has no {name!r}; it has {', '.join(_HOMES)}")
    home = _HOMES[name]
    module = import_module(f".{home or name}", __name__)
    value = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
