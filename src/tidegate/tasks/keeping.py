"""How the detector keeps up with a stream: it learns from what is normal, and says when normal is not what it was.

A row is learned from only when the WAIT rows after it were normal as well: a fault that grows slowly is called one
before the network has got used to it. While an alarm is open, or the bar is still raised after one, all rows that wait
are put aside for good, and so is a row whose p-value is below UNUSUAL.

What learning changes is what the network expects. What a score means, the level and spread of every channel and the
threshold stay those of the calibration; when the p-values of rows without an alarm have left the middle for long, the
verdict says so, because only `recalibrate` on rows known to be good can change that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import network
from ..errors import SettingError
from ..kernels.traced import Traced
from ..settings import SIZES, Onward
from ..surprise import SPANS
from . import expect, onward, scoring
from .expect import Heads
from .found import Found, Verdict
from .scoring import Model
from .verbs import Arrays, State, under

if TYPE_CHECKING:
    from .anomaly import AnomalyDetector

WAIT = max(SPANS)  # rows: the longest memory of a score
UNUSUAL = 0.01  # p-values below this are not learned from
SPAN = 1000  # rows over which the p-values are averaged
DRIFTED = (0.2, 0.8)  # average p-values beyond these are said


def on(
    task: AnomalyDetector, before: Arrays, found: Found, learn: bool | str | Onward, target: Any = None
) -> tuple[Verdict, State]:
    """The verdict and the next state after one reading, which was scored: `found`, from the state `before`.

    target  what is known of the reading: True = abnormal, False = normal, None = nothing but the verdict
    """
    if not isinstance(target, bool | np.bool_ | None):
        wanted = "True = abnormal, False = normal, None = not known"
        raise SettingError(f"target={target!r}", wanted=wanted, do="say which of the two it is")
    pace, verdict, model = onward.asked(learn, alarms=True), found.verdict(), task.model_
    rows, arrays = pace.back + WAIT, found.state.arrays
    if "online/rows" not in arrays:
        arrays = {**arrays, **begin(model, rows)}
    elif len(arrays["online/rows"]) != rows:
        arrays = {**arrays, **window(model.heads, rows)}
    if not arrays["online/filled"][0]:
        arrays = {**arrays, "online/first": before["hidden"], "online/held": before["held"]}
    arrays = _moved(model, arrays, before, found)
    called = verdict.alarm or verdict.open or verdict.bar > found.threshold.value
    arrays["online/told"] = _told(arrays["online/told"], verdict, called, target, pace.always)
    arrays["online/read"] = arrays["online/read"] + 1
    full = int(arrays["online/filled"][0]) >= rows
    if full and onward.due(arrays, pace) and arrays["online/told"][: pace.back].any():
        noise = (task.training or SIZES[task.size][1]).noise
        ready, seed = arrays, [task.seed, int(arrays["online/read"][0])]
        arrays = onward.step(arrays, lambda weights: _loss(weights, model.heads, ready, pace.back, noise, seed), pace)
    level, notes = _drift(arrays["online/level"], verdict.p_value, called)
    verdict = msgspec.structs.replace(verdict, notes=(*verdict.notes, *notes))
    return verdict, State({**arrays, "online/level": level}, found.state.model)


def begin(model: Model, rows: int) -> Arrays:
    """What the state of a stream has besides, when it begins to learn with a window of so many rows."""
    return {**onward.begin(model.weights), **window(model.heads, rows), "online/level": np.zeros(2)}


def window(heads: Heads, rows: int) -> Arrays:
    """The rows that wait or are learned from, before there were any."""
    return {
        "online/rows": np.full((rows, heads.channels), np.nan),  # scaled; NaN = missing
        "online/told": np.zeros(rows, dtype=bool),  # whether to learn from it
        "online/filled": np.zeros(1, dtype=np.int64),
        "online/first": network.start(heads.net, 1),  # the network's state before the first of them
        "online/held": np.full(heads.channels, np.nan),  # the last reading of each channel by then
    }


def _moved(model: Model, arrays: Arrays, before: Arrays, found: Found) -> Arrays:
    """The window moved on by a reading and by the rows that never came before it; after a longer hole it is empty."""
    last = int(before["times"][0]) if before["alarm"][0] else None
    missing = scoring.absent(found.times, found.interval, last)
    pause, _ = scoring.pauses(found.values, missing, int(before["silent"][0]))
    if int(pause[0]) > model.heads.reach:
        arrays, missing = {**arrays, **window(model.heads, len(arrays["online/rows"]))}, missing * 0
    come = np.full((int(missing[0]) + 1, found.values.shape[1]), np.nan)
    come[-1] = model.scale.apply(found.values)[0]
    weights, filled = under(arrays, "online/weights"), int(arrays["online/filled"][0]) + len(come)
    rows, told, held, first = (arrays[f"online/{name}"] for name in ("rows", "told", "held", "first"))
    if (left := filled - len(rows)) > 0:  # what leaves the window moves the state at its beginning
        gone = np.concatenate([rows[len(rows) - filled + len(come) :], come])[:left]
        x, seen = scoring.inputs(gone, held)
        first, held = network.stack(weights, model.heads.net, x[None], first)[1], seen[-1]
    moved = {"rows": onward.pushed(rows, come), "told": onward.pushed(told, np.zeros(len(come), bool))}
    moved |= {"held": held, "first": first, "filled": np.array([min(filled, len(rows))])}
    return {**arrays, **{f"online/{name}": part for name, part in moved.items()}}


def _told(told: NDArray[np.bool_], verdict: Verdict, called: bool, target: Any, always: bool) -> NDArray[np.bool_]:
    """Which rows of the window may be learned from, now that this is said of the last one."""
    abnormal = (called and not always) if target is None else bool(target)
    if abnormal:
        return np.zeros_like(told)
    usual = verdict.p_value >= UNUSUAL or always or target is not None
    return np.append(told[:-1], usual and not verdict.reason)


def _loss(weights: network.Params, heads: Heads, arrays: Arrays, back: int, noise: float, seed: list[int]) -> Traced:
    """The loss that the network was trained with, on the oldest rows of the window; with the same noise on them."""
    z, told = arrays["online/rows"][:back], arrays["online/told"][:back]
    x = scoring.inputs(z, arrays["online/held"])[0]
    x[:, : heads.channels] += noise * np.random.default_rng(seed).standard_normal(z.shape, dtype=np.float32)
    wanted = np.nan_to_num(np.clip(z, -scoring.CLIP, scoring.CLIP)).astype(np.float32)
    seen = (~np.isnan(z) & told[:, None]).astype(np.float32)
    loss: Traced = expect.loss(weights, heads, x[None], wanted[None], seen[None], state=arrays["online/first"])
    return loss


def _drift(level: NDArray[np.float64], p_value: float, called: bool) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The average p-value of rows without an alarm, how many there were, and what to say of it."""
    mean, count = level.tolist()
    if not called and p_value == p_value:
        count = min(count + 1, SPAN)
        mean += (p_value - mean) / count
    if count < SPAN or DRIFTED[0] <= mean <= DRIFTED[1]:
        return np.array([mean, count]), ()
    where = "higher" if mean < 0.5 else "lower"
    said = f"for {SPAN:,} rows scores were {where} than those of the calibration (p-values: {mean:.2f} on average)"
    return np.array([mean, count]), (f"{said}: what is normal has drifted; recalibrate on rows known to be good",)
