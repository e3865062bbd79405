"""From residuals to how unusual a row is: three witnesses, heard at equal rates of false alarm.

The *network* says how far a row is from what it expected; *level* how far it is from where the sensor usually is;
*change* how far it moved since the last reading. The last two need no network: where it has learned little they carry
the score, and where it has learned much they keep it honest.

1. A residual is divided by its size on held-out normal rows and cut at +-8.
2. It is averaged **with its sign** over several spans of rows, before it is squared: one that keeps its sign for a
   while is a change of behaviour, one that flips is noise.
3. Each average is divided by its own size on normal rows.
4. A witness's word, for one span, is the root mean square over channels, what they usually say together taken out
   (`together.py`: sensors that move as one count once), averaged over its residuals, in units of its
   99 % point on normal rows: now a word of 1 is equally rare for all witnesses and spans.
5. A word counts at most 5, or the loudest span would drown a short event in the memory of a long one.
6. The score is the root mean square over spans and witnesses; the fast score takes the shortest span alone.

Causal, constant work a row; a missing reading leaves its averages as they are and is not heard.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import together
from .errors import DataError

Floats = NDArray[np.float64]
SPANS = (1, 8, 30, 90)  # rows
CLIP = 8.0  # one reading counts at most so many normal residuals
FLOOR = 0.1  # a normal residual is not smaller than a tenth of its channel's spread
DOUBT = 0.1  # of one imaginary reading at the clip: a channel that never moved surprises when it does, not infinitely
QUIET = 0.05  # smallest unit of a word
LOUDEST = 5.0
RARE = 0.99
FOLDS = 4  # parts of the calibration rows, each scored in the sizes of the others
CHUNK = 1024  # rows at a time: bounds the memory of a long calibration


class Normal(msgspec.Struct, frozen=True, eq=False):
    """What is usual on normal rows. Sizes: residuals (R, C), averages (spans, R, C), words (spans, witnesses), scores.

    A word's size is 0 where its witness was never heard: it is not listened to.
    """

    residual: Floats
    average: Floats
    apart: Floats
    """(spans, witnesses, C, C) the inverse correlations of averages, as `together.learn` gives them"""
    word: Floats
    score: Floats
    """(2, 2) of the score and of the fast score: with all witnesses, and where the first one is not heard"""


class Surprise(msgspec.Struct, frozen=True, eq=False):
    """How unusual each row is: `score` and `fast` (T,); what each channel adds to the score, (T, C). NaN = none."""

    score: Floats
    fast: Floats
    by_channel: Floats


def start(residuals: int, channels: int) -> Floats:
    """The averages before anything was read: zeros (spans, R, C)."""
    return np.zeros((len(SPANS), residuals, channels))


def learn(
    residuals: Floats,
    witnesses: tuple[int, ...],
    starts: NDArray[np.int64],
    held: NDArray[np.bool_],
    apart: Floats | None = None,
) -> tuple[Normal, Floats]:
    """What is normal, from the rows `held` (T,) out of training among residuals (T, R, C), and their scores.

    >>> normal, scores = learn(np.ones((50, 1, 2)), (1,), np.array([0]), np.arange(50) > 9)
    >>> normal.residual, scores.shape
    (array([[1., 1.]]), (40,))

    `witnesses` says how many of the R residuals each has. At each of `starts` the averages begin anew. NaN = missing.

    A row that helped to set the sizes looks smaller in them than a new one would. So the scores, from which thresholds
    are made, are taken in turn: each quarter of the rows in the sizes of the other three (cross-conformal prediction,
    Vovk 2015); quarters of time, so that a row's neighbours do not speak for it. Which channels go together is learned
    from the rows before, so that the sizes know how far that holds later; or it is known (`apart`). Raises DataError
    without any row.
    """
    seen_rows = ~np.isnan(residuals[held]).all(axis=(1, 2))
    if not seen_rows.any():
        raise DataError("no row in which normal can be measured", wanted="readings in the last part of the history")
    size = np.maximum(np.sqrt(_mean(residuals[held] ** 2, 0, empty=0.0)), FLOOR)
    fold = np.maximum(seen_rows.cumsum() - 1, 0) * FOLDS // seen_rows.sum()
    squares, seen = np.zeros((2, FOLDS, len(SPANS), *size.shape))
    for rows, averages in _averages(residuals, size, starts, held):
        for k in np.unique(fold[rows]):
            part = averages[fold[rows] == k]
            squares[k] += np.nansum(part**2, axis=0)
            seen[k] += (~np.isnan(part)).sum(axis=0)
    left_out = np.concatenate([1 - np.eye(FOLDS), np.ones((1, FOLDS))])  # without each quarter, and with all
    sizes = _sizes(np.tensordot(left_out, squares, 1), np.tensordot(left_out, seen, 1))
    if apart is None:
        first = int(np.argmax(held))
        early = _averages(residuals[:first], size, starts[starts < first], np.ones(first, dtype=bool))
        apart = together.learn((averages for _, averages in early), SPANS, _parts(witnesses), size.shape[1])
    ones = np.ones((len(SPANS), len(witnesses))), np.ones((2, 2))
    plain = [Normal(size, one, apart, *ones) for one in sizes]
    every = (averages for _, averages in _averages(residuals, size, starts, held))
    words = np.concatenate([np.stack([_words(a, one, witnesses)[0] for one in plain]) for a in every], axis=1)
    scores = np.full(len(fold), np.nan)
    for k in range(FOLDS):
        mine = fold == k
        word, unit = _units(words[k][~mine])
        scores[mine] = _scores(_relative(words[k][mine], word), unit)[:, 0]
    return Normal(size, sizes[-1], apart, *_units(words[-1])), scores


def _averages(
    residuals: Floats, size: Floats, starts: NDArray[np.int64], held: NDArray[np.bool_]
) -> Iterator[tuple[slice, Floats]]:
    """The signed averages of the rows held out, a piece at a time: few rows' worth of them fit in memory at once."""
    fresh, state, done = set(starts.tolist()), start(*size.shape), 0
    cuts = sorted({0, len(residuals), *fresh, *range(0, len(residuals), CHUNK)})
    for first, last in itertools.pairwise(cuts):
        state = start(*size.shape) if first in fresh else state
        averages, state = average(_scaled(residuals[first:last], size), state)
        kept = averages[held[first:last]]
        if len(kept):
            yield slice(done, done + len(kept)), kept
        done += len(kept)


def _parts(witnesses: tuple[int, ...]) -> list[slice]:
    """Which of the residuals each witness has."""
    ends = list(itertools.accumulate(witnesses))
    return [slice(end - count, end) for end, count in zip(ends, witnesses, strict=True)]


def _sizes(squares: Floats, seen: Floats) -> Floats:
    """The usual size of each average, from sums of squares over so many rows."""
    doubt = CLIP**2 / np.array(SPANS)[:, None, None]
    return np.sqrt((squares + DOUBT * doubt) / (seen + DOUBT))


def _units(words: Floats) -> tuple[Floats, Floats]:
    """The 99 % points of each word, and of what is heard of all in these units: by all witnesses, without the first."""
    word = np.where(np.isnan(words).all(axis=0), 0.0, np.maximum(_rare(words), QUIET))
    relative = _relative(words, word)
    heard = np.stack([_rare(_heard(relative)), _rare(_heard(relative[:, :, 1:]))])
    return word, np.maximum(heard, QUIET)


def _relative(words: Floats, unit: Floats) -> Floats:
    """Words in their units; NaN for a witness that has none, because it was never heard."""
    return words / np.where(unit > 0, unit, np.nan)


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
    words = np.minimum(_relative(words, normal.word), LOUDEST)
    heard = _scores(words, normal.score)
    blame = np.einsum("tsw,tswc->tc", np.nan_to_num(words) ** 2, shares)
    return Surprise(heard[:, 0], heard[:, 1], blame), state


def _words(averages: Floats, normal: Normal, witnesses: tuple[int, ...]) -> tuple[Floats, Floats]:
    """(T, spans, witnesses) what each witness says, NaN where it saw nothing; each channel's share of it, (..., C)."""
    parts = _parts(witnesses)
    told = together.parts(averages / normal.average, normal.apart, parts)
    loud = np.sqrt(np.maximum(_mean(told, 3), 0.0))
    blame = np.maximum(np.nan_to_num(told), 0.0)
    total = blame.sum(axis=3, keepdims=True)
    shares = blame / np.where(total > 0, total, 1.0)
    words = np.stack([_mean(loud[:, :, part], 2) for part in parts], axis=2)
    return words, np.stack([shares[:, :, part].sum(axis=2) / (part.stop - part.start) for part in parts], axis=2)


def _heard(words: Floats) -> Floats:
    """(T, 2) root mean square of words over spans and witnesses, and over the shortest span; NaN: nobody speaks."""
    capped = np.minimum(words, LOUDEST) ** 2
    every = capped.reshape(len(words), words.shape[1] * words.shape[2])
    return np.sqrt(np.stack([_mean(every, 1), _mean(capped[:, 0], 1)], axis=1))


def _scores(words: Floats, unit: Floats) -> Floats:
    """(T, 2) the score and the fast one: few voices differ more than many, so each has its own unit."""
    alone = np.isnan(words[:, :, 0]).all(axis=1)
    scores: Floats = _heard(words) / unit[alone.astype(int)]
    return scores


def _rare(values: Floats) -> Floats:
    """The 99 % point over rows; 0 where nothing was seen."""
    values = values if len(values) else np.full((1, *values.shape[1:]), np.nan)
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
