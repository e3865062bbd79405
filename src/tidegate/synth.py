"""Small known signals with planted faults, for docs, tests and first tries. A seed gives the same bits each time."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import SettingError
from .series import SECOND, Series, check, instant

Floats = NDArray[np.float64]
Fault = Literal["spike", "level", "drift", "frozen", "unlinked", "noise"]


def sine(
    rows: int = 1000,
    *,
    period: float = 50.0,
    amplitude: float = 1.0,
    offset: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Series:
    """One sine wave, `period` rows long, with Gaussian noise of that standard deviation.

    >>> sine(4, period=4, offset=1.0).values[:, 0].round(12)
    array([1., 2., 1., 0.])
    """
    wave = offset + amplitude * np.sin(2 * np.pi * np.arange(rows) / period)
    return check(wave + noise * np.random.default_rng(seed).standard_normal(rows), None, ["sine"], name="sine")


def machine(rows: int = 10_000, channels: int = 8, seed: int = 0, *, freedom: float = 30.0) -> Series:
    """A healthy machine, read once a minute: channels that move together through a daily cycle and a few regimes.

    >>> machine(1440, 3)
    <Series machine: 1,440 rows x 3 channels, every 1 min, 2024-01-01 00:00:00 to 2024-01-01 23:59:00>

    Every channel mixes the same four causes (the time of day, the load regime, two slow wanderings) and adds its own
    autocorrelated noise, Student-t with `freedom` degrees (3 gives heavy tails), a tenth as strong. Each has its own
    units.
    """
    rng = np.random.default_rng(seed)
    day = np.sin(2 * np.pi * np.arange(rows) / 1440)
    slow = _wander(rng.standard_normal((rows, 2)), 0.99)
    causes = np.column_stack([day, _regimes(rng, rows), slow])
    own = 0.1 * _wander(rng.standard_t(freedom, (rows, channels)), 0.7)
    mixed = causes @ rng.normal(0.0, 0.5, (4, channels)) + own
    units = 10.0 ** rng.uniform(-1, 3, channels)
    times = instant("2024-01-01") + np.arange(rows) * (60 * SECOND)
    return check(
        units * (mixed + rng.normal(5, 2, channels)), times, [f"s{i}" for i in range(channels)], name="machine"
    )


def spikes(
    rows: int = 2000, length: int = 50, seed: int = 0, *, size: float = 2.0, noise: float = 0.25
) -> tuple[Floats, NDArray[np.int64]]:
    """Sequences to classify: X (rows, length), a sine of random phase with Gaussian noise, and y, 1 where a spike is.

    >>> X, y = spikes(200, seed=1)
    >>> X.shape, int(y.sum())
    ((200, 50), 100)

    The spike, of height `size`, is one reading at a random step. Who knew everything but the noise and the place would
    decide by the likelihood ratio, the mean over steps of exp((size r - size^2 / 2) / noise^2) for residuals r: its
    (Bayes) accuracy is `spikes_bayes(length, size, noise)`, .9996 at the defaults. No rule does better.
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(rows) % 2)
    phase = rng.uniform(0, 2 * np.pi, (rows, 1))
    X = np.sin(2 * np.pi * np.arange(length) / 25 + phase) + noise * rng.standard_normal((rows, length))
    X[np.arange(rows), rng.integers(0, length, rows)] += size * y
    return X, y


def spikes_bayes(length: int = 50, size: float = 2.0, noise: float = 0.25, *, draws: int = 100_000) -> float:
    """The accuracy of the best possible rule for `spikes`, which knows each sine's phase, from so many seeded draws.

    >>> spikes_bayes(draws=2000) > 0.998, 0.6 < spikes_bayes(noise=1.0, draws=2000) < 0.8
    (True, True)
    """
    rng = np.random.default_rng(0)
    right = 0
    for first in range(0, draws, 10_000):
        count = min(10_000, draws - first)
        y, residual = np.arange(count) % 2, noise * rng.standard_normal((count, length))
        residual[:, 0] += size * y  # any step is as good as another
        ratio = np.logaddexp.reduce((size * residual - size**2 / 2) / noise**2, axis=1) - np.log(length)
        right += int(((ratio > 0) == y).sum())
    return right / draws


def tones(
    rows: int = 400, length: int = 60, seed: int = 0, *, cycles: tuple[int, int] = (5, 9), size: float = 0.436
) -> tuple[Floats, NDArray[np.int64]]:
    """Sequences easily learned by heart: X (rows, length), one of two faint tones in noise, and y, which it is.

    >>> X, y = tones(200, seed=1)
    >>> X.shape, int(y.sum())
    ((200, 60), 100)

    A sine of `cycles[y]` whole turns and any phase, of height `size`, in Gaussian noise of standard deviation 1. What
    the best rule gets right is `tones_bayes`, .880 at the defaults; no rule does better. On 400 rows of it a plain GRU
    of 128 units, trained by Adam at 1e-3 until it has 98 % of them right, has about 75 % of new ones right: it has
    learned the noise by heart. That is what length, tones, height and rows were chosen for (with that GRU alone, before
    any other network had seen such data), so they say nothing of how common such data is.
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(rows) % 2)
    phase, turns = rng.uniform(0, 2 * np.pi, (rows, 1)), np.array(cycles)[y][:, None]
    tone = np.sin(2 * np.pi * turns * np.arange(length) / length + phase)
    return size * tone + rng.standard_normal((rows, length)), y


def tones_bayes(length: int = 60, size: float = 0.436) -> float:
    """The accuracy of the best possible rule for `tones`: 1 - exp(-size^2 length / 8) / 2.

    >>> round(tones_bayes(), 3)
    0.88

    That rule names the tone at which the Fourier transform is larger. Its errors are those of two orthogonal signals of
    unknown phase, received without coherence (Proakis, Digital Communications, 4th ed., 5.4-47).
    """
    return float(1 - np.exp(-(size**2) * length / 8) / 2)


def plant(
    series: Series,
    kind: Fault,
    start: int,
    length: int = 1,
    *,
    channels: tuple[str, ...] = (),
    size: float = 5.0,
    seed: int = 0,
) -> Series:
    """The series with one fault in rows [start, start + length), marked 1 in its labels; channels () = the first.

    >>> broken = plant(sine(100), "level", 40, 10, size=3.0)
    >>> int(broken.labels.sum()), float(broken.values[40, 0] - sine(100).values[40, 0]).__round__(3)
    (10, 2.121)

    `size` counts standard deviations of the channel. spike and level: added; drift: added bit by bit; frozen: the last
    good reading stays; unlinked: the channel's own readings of another time, so that only its link to the others
    breaks; noise: Gaussian, added. Faults can be planted one after another: the labels add up.
    """
    if not 0 <= start < start + length <= len(series):
        raise SettingError(f"a fault in rows {start} to {start + length}", wanted=f"rows inside 0 to {len(series)}")
    values, rows = series.values.copy(), slice(start, start + length)
    rng = np.random.default_rng(seed)
    for column in [series.channels.index(channel) for channel in channels or series.channels[:1]]:
        values[rows, column] = _broken(series.values[:, column], kind, rows, size, rng)
    labels = np.zeros(len(series), dtype=np.int8) if series.labels is None else series.labels.astype(np.int8)
    labels[rows] = 1
    values.setflags(write=False)
    labels.setflags(write=False)
    return msgspec.structs.replace(series, values=values, labels=labels)


def _broken(column: Floats, kind: Fault, rows: slice, size: float, rng: np.random.Generator) -> Floats:
    """What the faulty rows of one channel (T,) read."""
    spread = 0.0 if np.isnan(column).all() else float(np.nanstd(column))
    count, step, good = rows.stop - rows.start, size * spread, column[rows]
    faults: dict[Fault, Floats] = {
        "spike": good + step,
        "level": good + step,
        "drift": good + step * np.arange(1, count + 1) / count,
        "frozen": np.full(count, column[max(rows.start - 1, 0)]),
        "unlinked": np.roll(column, len(column) // 2)[rows],
        "noise": good + step * rng.standard_normal(count),
    }
    if kind not in faults:
        raise SettingError(f"a fault of kind {kind!r}", wanted=f"one of {', '.join(faults)}")
    return faults[kind]


def _wander(shocks: Floats, memory: float) -> Floats:
    """Autocorrelated noise of standard deviation 1 from independent shocks (T, C) of variance 1."""
    path, last = np.empty_like(shocks), shocks[0]
    for row, shock in enumerate(shocks * np.sqrt(1 - memory**2)):
        path[row] = last = memory * last + shock
    return path


def _regimes(rng: np.random.Generator, rows: int) -> Floats:
    """A load (T,) that stays at one of three levels for some hours, then takes another, smoothed over ten minutes."""
    switches = np.cumsum(rng.random(rows + 9) < 1 / 300)
    levels = rng.choice([-1.0, 0.0, 1.0], size=switches[-1] + 1)[switches]
    return np.convolve(levels, np.full(10, 0.1), mode="valid")
