"""How the forecaster learns on from a stream: from windows whose future has come since.

Each window is learned from once: a step is taken on those that have become whole since the last, of all channels. What
is moved is the network, so that the answer as it is given, its mixture with the linear map, would have missed by less.
The linear map, their shares and the quantiles stay those of `fit`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import network, windows
from ..errors import SettingError
from ..kernels.traced import Traced
from ..settings import Onward
from . import coming, naive, onward, segments, windowed
from .outlook import Forecast
from .verbs import Arrays, State
from .windowed import Floats, Model

if TYPE_CHECKING:
    from .forecast import Forecaster


def on(
    task: Forecaster, before: State, said: Forecast, row: tuple[Floats, Any], learn: bool | str | Onward, target: Any
) -> tuple[Forecast, State]:
    """The forecast and the next state after one reading, its values (1, C) and time (1,), of which it was `said`."""
    if target is not None:
        raise SettingError("a target for a forecast", wanted="none", do="the truth comes with the next readings")
    pace, model, arrays = onward.asked(learn), task.model_, said.state.arrays
    rows = model.form.lookback + model.form.horizon + pace.every - 1
    c = model.form.channels
    if "online/rows" not in arrays:
        arrays = {**arrays, **begin(model, rows)}
    elif len(arrays["online/rows"]) != rows:
        arrays = {**arrays, **window(model, rows)}
    last, seen = before.arrays["clock"].tolist()
    come, _ = windows.on_grid(*row, task.interval_, last=last if seen else None, most=rows)
    scaled = np.concatenate([model.scale.apply(come[:, :c]), come[:, c:]], axis=1)
    arrays["online/rows"] = onward.pushed(arrays["online/rows"], scaled)
    arrays["online/filled"] = np.minimum(arrays["online/filled"] + len(come), rows)
    arrays["online/read"] = arrays["online/read"] + 1
    if arrays["online/filled"][0] == rows and onward.due(arrays, pace) and model.share:
        z, u = arrays["online/rows"][:, :c], features(model, arrays["online/rows"], row[1], task.interval_)
        arrays = onward.step(arrays, lambda weights: loss(weights, model, z, u), pace, many=True)
    notes = said.notes if model.share else (*said.notes, "nothing is learned: the network has no part in the answer")
    return replace(said, notes=notes), State(arrays, said.state.model)


def begin(model: Model, rows: int) -> Arrays:
    """What the state of a stream has besides, when it begins to learn with so many rows in mind."""
    return {**onward.begin(model.weights, model.form.models), **window(model, rows)}


def window(model: Model, rows: int) -> Arrays:
    """The last rows, scaled, NaN = missing, before there were any; known columns, last, in their units."""
    blank = np.full((rows, model.form.channels + model.form.known), np.nan)
    return {"online/rows": blank, "online/filled": np.zeros(1, dtype=np.int64)}


def features(model: Model, rows: Floats, now: Any, interval: float) -> Floats | None:
    """Features (n, L + K, F) of all windows in the last rows (R, C + Fk), of which the last is of `now` (1,)."""
    form = model.form
    if not form.features:
        return None
    known = windows.windows(rows[:, form.channels :], form.lookback + form.horizon)
    last = coming.after(now, -len(rows), interval)[0, form.lookback - 1 : len(rows) - form.horizon]
    return coming.features(form, model.coming.scale, known, last, interval)


def loss(weights: network.Params, model: Model, z: Floats, u: Floats | None = None) -> Traced:
    """The mean absolute error of answers to all windows in scaled rows (R, C), where something was read.

    The sum over the models of an ensemble, each with the linear map as if it were the only one.
    """
    form, whole = model.form, windows.windows(z, model.form.lookback + model.form.horizon)
    read, future = windowed.posed(form, whole[:, : form.lookback], u, model.coming.effect), whole[:, form.lookback :]
    future = future if u is None else future - coming.does(model.coming.effect, u[:, form.lookback :])
    future = future.swapaxes(1, 2).reshape(len(read.x), form.horizon)
    y = np.clip(future - read.last, -windowed.FAR, windowed.FAR).astype(np.float32)
    line, seen = naive.linear(model.rules, read.x), ~np.isnan(y)
    total: Any = np.float32(0)
    for m in range(form.models):
        own = {name: w[m] for name, w in weights.items()}
        told = segments.forward(own, form, read.wide, read.channel, ahead=read.ahead)
        said = line + np.float32(model.share) * (told - line)
        total = total + (abs(said - np.nan_to_num(y)) * seen).sum() / np.float32(max(1, seen.sum()))
    found: Traced = total
    return found
