"""What many tests share: small healthy data, detectors fitted in half a second, the shared data where present."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in every process that a test starts
os.environ.setdefault("MPLBACKEND", "Agg")  # the examples draw into files

import numpy as np
import pytest
from hypothesis import settings

import tidegate as tg
from tidegate.kernels import _core
from tidegate.series import SECOND, Series, check

settings.register_profile("tidegate", deadline=None)  # a busy machine is no failure
settings.load_profile("tidegate")

Fitted = Callable[..., "tg.AnomalyDetector"]


@pytest.fixture(params=_core.engines())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set of this machine, one after the other; then the one of before."""
    before = _core.engine()
    yield _core.use(request.param)
    _core.use(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def machine() -> Series:
    """A healthy machine with three sensors, one reading a minute."""
    return tg.synth.machine(rows=900, channels=3, seed=0)


@pytest.fixture(scope="session")
def normal(machine: Series) -> Series:
    """Its first 700 rows, to learn from."""
    return machine[:700]


@pytest.fixture(scope="session")
def later(machine: Series) -> Series:
    """Its last 200 rows."""
    return machine[700:]


@pytest.fixture(scope="session")
def troubled(later: Series) -> Series:
    """96 later rows in which much goes wrong: readings and rows missing, a fault, holes of all lengths, a jump."""
    values = later.values[:96].copy()
    values[5, 0] = values[20:29, 1] = np.nan
    values[30:33] = np.nan
    values[40:70, 2] += 40 * np.nanstd(values[:, 2])
    values[55] = np.nan  # inside the alarm
    values[88, 1] = 1e30
    times = later.times[:96].copy()
    for row, minutes in ((36, 5), (76, 120), (85, 40)):
        times[row:] += minutes * 60 * SECOND
    return check(values, times, later.channels, name="troubled")


@pytest.fixture(scope="session")
def fitted(normal: Series) -> Fitted:
    """A function that gives a detector fitted to `normal` with the least of training; each kind is fitted once."""

    @cache
    def fit(
        cell: str = "gru", layers: int = 1, form: str = "streaming", method: str = "both", seed: int = 0
    ) -> tg.AnomalyDetector:
        pytest.importorskip("torch")
        network = tg.Network(cell=cell, layers=layers, hidden=5)  # type: ignore[arg-type]
        training = tg.Training(epochs=1, batches=2, batch=4)
        task = tg.AnomalyDetector(
            method=method, form=form, network=network, training=training, false_alarms="1/hour", seed=seed
        )
        return task.fit(normal)

    return fit


@pytest.fixture(scope="session")
def detector(fitted: Fitted) -> tg.AnomalyDetector:
    """The plainest of them."""
    return fitted()


@pytest.fixture(scope="session")
def steady() -> Series:
    """Three sensors that mix two sines and a little noise, 1,400 rows a second apart: soon learned, never drifting."""
    rng, rows = np.random.default_rng(0), np.arange(1400)
    causes = np.column_stack([np.sin(2 * np.pi * rows / 50), np.sin(2 * np.pi * rows / 23)])
    values = causes @ np.array([[1.0, 0.5, -1.0], [0.3, -1.0, 0.8]]) + 0.1 * rng.standard_normal((len(rows), 3))
    return check(values * [1, 10, 100] + [0, 5, 500], rows * SECOND, ["flow", "level", "load"], name="steady")


@pytest.fixture(scope="session")
def learned(steady: Series) -> tg.AnomalyDetector:
    """A small detector trained on the first 1,200 of those rows, for tests of what it finds; nobody changes it."""
    pytest.importorskip("torch")
    training = tg.Training(epochs=12, batches=25, batch=8, learning_rate=1e-2)
    return tg.AnomalyDetector(network=tg.Network(hidden=16), training=training, false_alarms="1/hour").fit(
        steady[:1200]
    )
