"""From residuals to how unusual a row is: three witnesses, heard at equal rates of false alarm.

The *network* says how far a row is from what it expected; *level* how far it is from where the sensor usually is;
*change* how far it moved since the last reading. The last two need no network: where it has learned little they carry
the score, and where it has learned much they keep it honest.

1. A residual is divided by its size on held-out normal rows and cut at +-8. 2. It is averaged **with its sign** over
several spans of rows, before it is squared: one that keeps its sign for a while is a change
   of behaviour, one that flips is noise.
3. Each average is divided by its own size on normal rows. A witness's word, for one span, is the root mean square
over channels, averaged over
   its residuals, in units of its 99 % point on normal rows: now a word of 1 is equally rare for all witnesses and
   spans.
4. A word counts at most 5, or the loudest span would drown a short event in the memory of a long one.
5. The score is the root mean square over spans and witnesses; the fast score takes the shortest span alone.

Causal, constant work a row; a missing reading leaves its averages as they are and is not heard.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SPANS = (1, 8, 30, 90)  # rows
CLIP = 8.0  # one reading counts at most so many normal residuals
FLOOR = 0.1  # a normal residual is not smaller than a tenth of its channel's spread
DOUBT = 0.1  # of one imaginary reading at the clip: a channel that never moved surprises when it does, not infinitely
QUIET = 0.05  # smallest unit of a word
LOUDEST = 5.0
RARE = 0.99


class Normal(msgspec.Struct, frozen=True, eq=False):
    """Sizes on held-out normal rows: residuals (R, C), averages (spans, R, C), words (spans, witnesses), the score."""

    residual: Floats
    average: Floats
    word: Floats
    score: Floats
    """(2,) of the score and of the fast score"""


class Surprise(msgspec.Struct, frozen=True, eq=False):
    """How unusual each row is: `score` and `fast` (T,); what each channel adds to the score, (T, C). NaN = none."""

    score: Floats
    fast: Floats
    by_channel: Floats


def start(residuals: int, channels: int) -> Floats:
    """The averages before anything was read: zeros (spans, R, C)."""
    return np.zeros((len(SPANS), residuals, channels))


def learn(residuals: Floats, witnesses: tuple[int, ...], starts: NDArray[np.int64], held: NDArray[np.bool_]) -> Normal:
    """What is normal, from residuals (T, R, C) of normal rows; only the rows `held` (T,) out of training count.

    >>> learn(np.ones((50, 1, 2)), (1,), np.array([0]), np.arange(50) > 9).residual
    array([[1., 1.]])

    `witnesses` says how many of the R residuals each has. At each of `starts` the averages begin anew. NaN = missing.
    """
    size = np.maximum(np.sqrt(_mean(residuals[held] ** 2, 0, empty=0.0)), FLOOR)
    pieces = np.split(_scaled(residuals, size), starts[1:])
    averages = np.concatenate([average(piece, start(*size.shape))[0] for piece in pieces])[held]
    seen = (~np.isnan(averages)).sum(axis=0)
    doubt = DOUBT * CLIP**2 / np.array(SPANS)[:, None, None]
    squares = (seen * _mean(averages**2, 0, empty=0.0) + doubt) / (seen + DOUBT)
    normal = Normal(size, np.sqrt(squares), np.ones((len(SPANS), len(witnesses))), np.ones(2))
    words = _words(averages, normal, witnesses)[0]
    normal = Normal(size, normal.average, np.maximum(_rare(words), QUIET), np.ones(2))
    heard = _heard(words / normal.word)
    return Normal(size, normal.average, normal.word, np.maximum(_rare(heard), QUIET))


def average(scaled: Floats, state: Floats) -> tuple[Floats, Floats]:
    """Signed exponential averages (T, spans, R, C) of scaled residuals (T, R, C), and the state after the last row."""
    weight = (2.0 / (np.array(SPANS) + 1.0))[:, None, None]
    seen = ~np.isnan(scaled)
    weights = np.where(seen[:, None], weight, 0.0)  # a missing residual moves nothing
    filled = np.where(seen, scaled, 0.0)[:, None]
    out = np.empty((len(scaled), *state.shape))
    for t in range(len(scaled)):
        state = state + weights[t] * (filled[t] - state)
        out[t] = state
    return np.where(seen[:, None], out, np.nan), state


def score(residuals: Floats, normal: Normal, witnesses: tuple[int, ...], state: Floats) -> tuple[Surprise, Floats]:
    """How unusual each row of residuals (T, R, C) is, and the state after the last row."""
    averages, state = average(_scaled(residuals, normal.residual), state)
    words, shares = _words(averages, normal, witnesses)
    words = np.minimum(words / normal.word, LOUDEST)
    heard = _heard(words) / normal.score
    blame = np.einsum("tsw,tswc->tc", np.nan_to_num(words) ** 2, shares)
    return Surprise(heard[:, 0], heard[:, 1], blame), state


def _words(averages: Floats, normal: Normal, witnesses: tuple[int, ...]) -> tuple[Floats, Floats]:
    """(T, spans, witnesses) what each witness says, NaN where it saw nothing; each channel's share of it, (..., C)."""
    squares = (averages / normal.average) ** 2
    loud = np.sqrt(_mean(squares, 3))
    total = np.nansum(squares, axis=3, keepdims=True)
    shares = np.nan_to_num(squares) / np.where(total > 0, total, 1.0)
    ends = np.cumsum(witnesses)
    parts = [slice(end - count, end) for end, count in zip(ends.tolist(), witnesses, strict=True)]
    words = np.stack([_mean(loud[:, :, part], 2) for part in parts], axis=2)
    return words, np.stack([shares[:, :, part].sum(axis=2) / (part.stop - part.start) for part in parts], axis=2)


def _heard(words: Floats) -> Floats:
    """(T, 2) root mean square of words over spans and witnesses, and over the shortest span; NaN: nobody speaks."""
    capped = np.minimum(words, LOUDEST) ** 2
    return np.sqrt(np.stack([_mean(capped.reshape(len(words), -1), 1), _mean(capped[:, 0], 1)], axis=1))


def _rare(values: Floats) -> Floats:
    """The 99 % point over rows; 0 where nothing was seen."""
    blank = np.isnan(values).all(axis=0)
    points: Floats = np.where(blank, 0.0, np.nanquantile(np.where(blank, 0.0, values), RARE, axis=0))
    return points


def _scaled(residuals: Floats, size: Floats) -> Floats:
    clipped: Floats = np.clip(residuals / size, -CLIP, CLIP)
    return clipped


def _mean(x: Floats, axis: int, empty: float = np.nan) -> Floats:
    """Mean over one axis of what is not NaN; `empty` where nothing is."""
    seen = ~np.isnan(x)
    count = seen.sum(axis=axis)
    total = np.where(seen, x, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), empty)
