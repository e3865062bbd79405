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
    from . import metrics as metrics, online as online, record as record, report as report, synth as synth
    from .errors import (
        DataError as DataError,
        MissingExtraError as MissingExtraError,
        ModelFileError as ModelFileError,
        NotFittedError as NotFittedError,
        SettingError as SettingError,
        TidegateError as TidegateError,
    )
    from .reader import read as read, read_many as read_many
    from .series import Series as Series
    from .settings import (
        Alarming as Alarming,
        Beside as Beside,
        Network as Network,
        Onward as Onward,
        Training as Training,
        Window as Window,
    )
    from .tasks import load as load
    from .tasks.anomaly import AnomalyDetector as AnomalyDetector
    from .tasks.classify import Classifier as Classifier, Labelled as Labelled
    from .tasks.complete import Completed as Completed, Completer as Completer, Filled as Filled
    from .tasks.forecast import Forecaster as Forecaster
    from .tasks.found import Alarm as Alarm, Found as Found, Verdict as Verdict
    from .tasks.outlook import Backtest as Backtest, Forecast as Forecast
    from .tasks.tag import Tagger as Tagger
    from .tasks.tagged import Tag as Tag, Tagged as Tagged
    from .tasks.verbs import State as State

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
    "Onward": "settings",
    "Beside": "settings",
    "Series": "series",
    "read": "reader",
    "read_many": "reader",
    "synth": "",
    "metrics": "",
    "online": "",
    "AnomalyDetector": "tasks.anomaly",
    "Found": "tasks.found",
    "Alarm": "tasks.found",
    "Verdict": "tasks.found",
    "Forecaster": "tasks.forecast",
    "Forecast": "tasks.outlook",
    "Backtest": "tasks.outlook",
    "Classifier": "tasks.classify",
    "Labelled": "tasks.classify",
    "Completer": "tasks.complete",
    "Completed": "tasks.complete",
    "Filled": "tasks.complete",
    "Tagger": "tasks.tag",
    "Tagged": "tasks.tagged",
    "Tag": "tasks.tagged",
    "State": "tasks.verbs",
    "load": "tasks",
    "report": "",
    "record": "",
}
__all__ = [*_HOMES]


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
