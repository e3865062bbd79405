"""What a forecaster knows of the future beside the past: columns that were planned, and the calendar.

All of it becomes features (T, F), a number for each row. What they do to the channels is taken away first, by a linear
map from features to channels that was learned from differences, so that trends do not pass for effects; the forecast
itself is of what is left, and what the coming features do is put back (a regression with a forecast of its errors:
Harvey 1989, section 7.3). The network reads them too, for what is not a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, SettingError
from ..scale import Scale, learn as learn_scale
from ..series import SECOND, Series, check, span_text, time_text
from ..windows import filled
from . import verbs
from .segments import Form

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Waves = tuple[tuple[float, int], ...]
CYCLES = ((86_400.0, 4), (604_800.0, 3), (31_556_952.0, 2))  # seconds of a day, week and year; waves in each at most
LAGS = 32  # distances at most from which effects are learned
FAR = 1e4  # spreads: no plan reaches further
NEVER = 1e300  # the spread of a column that never moved while it could be learned from: it is 0 whatever comes
STRENGTHS = (1e-4, 1e-2, 1.0)  # of the penalty on effects


class Coming(msgspec.Struct, frozen=True, eq=False):
    """How known columns are scaled, and what one unit of each feature does to each scaled channel (F, C)."""

    scale: Scale
    effect: Floats


def nothing(channels: int) -> Coming:
    """Where nothing is known ahead."""
    return Coming(Scale(np.zeros(0), np.ones(0)), np.zeros((0, channels)))


def waves(interval: float, span: float) -> Waves:
    """The cycles of the calendar that a history of `span` seconds has been through twice, with their waves.

    >>> waves(3600.0, 30 * 86_400.0), waves(86_400.0, 3 * 31_556_952.0)
    (((86400.0, 4), (604800.0, 3)), ((604800.0, 3), (31556952.0, 2)))

    Of a cycle of few rows only the waves that rows can draw: longer than two of them.
    """
    seen = [(cycle, most) for cycle, most in CYCLES if 2 * cycle <= span]
    found = [(cycle, min(most, int(np.ceil(cycle / (2 * interval))) - 1)) for cycle, most in seen]
    return tuple((cycle, count) for cycle, count in found if count > 0)


def calendar(cycles: Waves, times: Times) -> Floats:
    """Where in each cycle times (...) lie, as sines and cosines (..., 2 waves); by UTC.

    >>> calendar(((86_400.0, 1),), np.array([0, 6 * 3600 * SECOND])).round(9).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    found: list[Any] = []
    for cycle, count in cycles:
        length = round(cycle * SECOND)
        angle = (2 * np.pi / length) * (times % length)
        found += [wave(k * angle) for k in range(1, count + 1) for wave in (np.sin, np.cos)]
    return np.stack(found, axis=-1) if found else np.zeros((*times.shape, 0))


def after(last: Times, rows: int, interval: float) -> Times:
    """The times (..., rows) of the rows after those of `last` (...), or with fewer than 0 rows of those up to it."""
    steps = np.arange(1, rows + 1) if rows > 0 else np.arange(rows + 1, 1)
    found: Times = last[..., None] + np.rint(steps * (interval * SECOND)).astype(np.int64)
    return found


def features(form: Form, scale: Scale, known: Floats, last: Times, interval: float) -> Floats:
    """Features (N, L + K, F) of windows: known columns (N, L + K, Fk) in their units, and the calendar.

    last  (N,) the time of the last row of each past. What is missing in a past is a line between what was seen there;
    what is missing ahead begins at its last value.
    """
    back, horizon = form.lookback, form.horizon
    past, ahead = (np.ascontiguousarray(part.swapaxes(1, 2)) for part in (known[:, :back], known[:, back - 1 :]))
    shape = past.shape[:2]
    past = filled(past.reshape(-1, back)).reshape(*shape, back)
    ahead[..., 0] = past[..., -1]
    ahead = filled(ahead.reshape(-1, horizon + 1)).reshape(*shape, horizon + 1)[..., 1:]
    z = _scaled(scale, np.concatenate([past, ahead], axis=2).swapaxes(1, 2))
    if not form.calendar:
        return z
    times = np.concatenate([after(last, -back, interval), after(last, horizon, interval)], axis=1)
    return np.concatenate([z, calendar(form.calendar, times)], axis=2)


def does(effect: Floats, u: Floats) -> Floats:
    """What features (..., F) do to the channels (..., C); the sum of a row runs in one order whatever is beside it."""
    total = np.zeros((*u.shape[:-1], effect.shape[1]))
    for feature, row in enumerate(effect):
        total += u[..., feature, None] * row
    return total


def learn(
    form: Form, z: Floats, known: Floats, times: Times, parts: dict[str, tuple[int, int]]
) -> tuple[Floats | None, Coming]:
    """The features (T, F) of a history, and what they do, from its scaled rows (T, C), known columns and times (T,)."""
    if not form.features:
        return None, nothing(form.channels)
    scale = learn_scale(known[: parts["train"][1]])
    low, high = (end(known[: parts["train"][1]], axis=0, initial=None) for end in (np.fmin.reduce, np.fmax.reduce))
    scale = Scale(
        scale.center, np.where(low < high, scale.spread, NEVER)
    )  # what never moved has no weights to speak of
    z_known = _scaled(scale, filled(np.ascontiguousarray(known.T)).T)
    u = np.concatenate([z_known, calendar(form.calendar, times)], axis=1)
    return u, Coming(scale, effects(u, z, parts["train"], parts["valid"], form.horizon))


def _scaled(scale: Scale, known: Floats) -> Floats:
    found: Floats = np.clip(np.nan_to_num(scale.apply(known)), -FAR, FAR)
    return found


def effects(u: Floats, z: Floats, train: tuple[int, int], valid: tuple[int, int], horizon: int) -> Floats:
    """The effects (F, C) of features u (T, F) on scaled channels z (T, C), NaN = missing; 0 where none helped.

    Ridge regression of how far a channel moved in up to `horizon` rows on how far the features did, on the training
    rows; for each channel the penalty, or no effect at all, that misses least on the validation rows.
    """
    lags = np.unique(np.linspace(1, horizon, min(LAGS, horizon)).astype(int))
    found = np.zeros((u.shape[1], z.shape[1]))
    learned, judged = _moments(u, z, train, lags), _moments(u, z, valid, lags)
    for c in range(z.shape[1]):
        (a, b), (square, cross) = ((of[0][c], of[1][:, c]) for of in (learned, judged))
        tries = [np.zeros(len(found)), *(_ridge(a, b, strength) for strength in STRENGTHS)]
        misses = [float(v @ square @ v - 2 * v @ cross) for v in tries]  # what is less than 0 helps
        found[:, c] = tries[int(np.argmin(misses))]
    return found


def _moments(u: Floats, z: Floats, rows: tuple[int, int], lags: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Of each channel the squares (C, F, F) of how far features moved, and the products (F, C) with how far it did."""
    u, z = u[rows[0] : rows[1]], z[rows[0] : rows[1]]
    squares, products = np.zeros((z.shape[1], u.shape[1], u.shape[1])), np.zeros((u.shape[1], z.shape[1]))
    for lag in lags:
        moved, did = z[lag:] - z[:-lag], u[lag:] - u[:-lag]
        seen = ~np.isnan(moved)
        whole = seen.all(axis=0)
        squares[whole] += did.T @ did
        products[:, whole] += did.T @ moved[:, whole]
        for c in np.flatnonzero(~whole):
            some = did[seen[:, c]]
            squares[c] += some.T @ some
            products[:, c] += some.T @ moved[seen[:, c], c]
    return squares, products


def _ridge(a: Floats, b: Floats, strength: float) -> Floats:
    size = strength * max(float(np.trace(a)) / len(a), 1e-12)
    found: Any = np.linalg.solve(a + size * np.eye(len(a)), b)
    return np.asarray(found, np.float64)


def cycles(series: Series) -> Waves:
    """The cycles of the calendar that a history tells of."""
    if not series.clock:
        raise DataError("a calendar of rows without times", wanted="a column of times", where=series.name)
    span = float(series.times[-1] - series.times[0]) / SECOND
    if not (found := waves(series.interval, span)):
        saw = f"{span_text(span)} of history, a row every {span_text(series.interval)}, tell nothing of the calendar"
        do = "leave calendar=True out, or give a longer history"
        raise DataError(saw, wanted="a day, a week or a year of several rows, twice", do=do, where=series.name)
    return found


def times(at: NDArray[np.int64], series: Series) -> Times:
    """The time of each row on a grid, where the rows of a series stand `at` (T,) some of them."""
    rows = np.arange(at[-1] + 1)
    before = np.searchsorted(at, rows, side="right") - 1
    steps = np.rint((rows - at[before]) * (series.interval * SECOND)).astype(np.int64)
    found: Times = series.times[before] + steps
    return found


def told(form: Form, known: tuple[str, ...]) -> dict[str, str]:
    """What a forecaster rests on beside each channel's own past, in words."""
    names = {86_400.0: "day", 604_800.0: "week", 31_556_952.0: "year"}
    cycles = " and ".join(names.get(cycle, span_text(cycle)) for cycle, _ in form.calendar)
    ahead = [*known, *([f"the time of {cycles}"] if cycles else [])]
    found = {"known ahead": ", ".join(ahead)} if ahead else {}
    return found | ({"reads": "each channel beside all others"} if form.joint else {})


def hurry(times: Times, last: int | None, interval: float) -> list[str]:
    """A note where the last of some rows came much sooner after the one before it than the rows of the history did.

    >>> hurry(np.array([0, 10 * SECOND]), None, interval=60.0)
    ['the last row came 10 s after the one before it; the model knows a row every 1 min']
    """
    before = int(times[-2]) if len(times) > 1 else last
    if before is None or (apart := (int(times[-1]) - before) / SECOND) > interval / 2:
        return []
    pace = span_text(interval)
    return [f"the last row came {span_text(apart)} after the one before it; the model knows a row every {pace}"]


# ---- what a user says is coming --------------------------------------------------------------------------------------


def named(series: Series, known: tuple[str, ...]) -> tuple[str, ...]:
    """The channels that are forecast: those that are not known ahead."""
    if missing := [name for name in known if name not in series.channels]:
        saw = f"known ahead: {', '.join(missing)}, of which there is no column"
        raise DataError(saw, wanted=f"of {', '.join(series.channels[:20])}", where=series.name)
    rest = tuple(name for name in series.channels if name not in known)
    if not rest:
        raise DataError("all columns are known ahead", wanted="one or more to forecast", where=series.name)
    return rest


def planned(ahead: Any, known: tuple[str, ...], ticks: Times, interval: float, clock: bool) -> Floats:
    """The known columns (K, Fk) at the rows to come, from what the user gave: a Series, table or array.

    A table with times may begin earlier and go on longer; one without begins with the next row.
    """
    names = ", ".join(known)
    if ahead is None:
        raise SettingError(
            f"no word of what {names} will be",
            wanted=f"ahead=: the next {len(ticks)} rows of it",
            do="give what was planned, or a forecast of it (--ahead on the command line)",
        )
    series = _table(ahead, known, interval)
    times = series.times if clock and series.clock else ticks[0] + (series.times - series.times[0])
    place = np.rint((times - ticks[0]) / (interval * SECOND)).astype(np.int64)
    values = np.full((len(ticks), len(known)), np.nan)
    inside = (place >= 0) & (place < len(ticks))
    if len(place[inside]) > len(np.unique(place[inside])):
        saw = f"ahead= has a row every {span_text(series.interval)}"
        wanted = f"every {span_text(interval)}, as the history"
        raise DataError(saw, wanted=wanted, do="resample it, or give only those rows", where=series.name)
    values[place[inside]] = series.values[inside]
    if np.isnan(values).any():
        row, column = np.argwhere(np.isnan(values))[0]
        at = time_text(int(ticks[row])) if clock else f"row {row + 1} after the last"
        saw = f"ahead= says nothing of {known[column]} at {at}"
        raise DataError(saw, wanted=f"all of {names} for the next {len(ticks)} rows", where=series.name)
    return values


def _table(ahead: Any, known: tuple[str, ...], interval: float) -> Series:
    if not isinstance(ahead, Series) and isinstance(ahead, list | tuple | np.ndarray):
        try:
            rows = np.asarray(ahead, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError("ahead= holds what is not a number", wanted="numbers, a row for each step") from None
        rows = rows[:, None] if rows.ndim == 1 and len(known) == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != len(known):
            saw = f"ahead= of shape {rows.shape}"
            raise DataError(saw, wanted=f"a row for each step, a column for each of {', '.join(known)}")
        return check(rows, None, list(known), interval=interval, name="ahead")
    series = verbs.given(ahead, interval)
    if missing := [name for name in known if name not in series.channels]:
        saw, wanted = f"ahead= has no column {', '.join(missing)}", ", ".join(known)
        raise DataError(saw, wanted=wanted, do=f"it has {', '.join(series.channels[:8])}", where=series.name)
    return series.select(known)


Features = Callable[[NDArray[np.int64]], Floats | None]  # windows by their first rows -> (N, L + K, F)
