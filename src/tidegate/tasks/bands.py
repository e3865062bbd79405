"""The bands of a forecast: quantiles of misses on held-out rows, wider or narrower as the window before it is.

Split conformal prediction; where it serves, misses count in terms of how widely the readings of their window are
spread (locally weighted: Lei et al. 2018, section 5.2), so that bands of a calm month are not those of a storm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BANDS, SHARES = (0.8, 0.9, 0.95), (0.0, 0.25, 0.5, 0.75)
HARDLY = 0.01  # of a score: what is no more is no reason to follow
ONE = np.ones(1)  # the usual spread of windows whose spread is in terms of it
MOMENTS, STEPS = 400, 12  # of a stretch by which it is chosen how far bands follow


def conformal(residuals: Floats, levels: Floats) -> Floats:
    """Quantiles (Q, ...) of residuals (N, ...), a little outward, so that new ones fall inside as often as is said.

    >>> conformal(np.arange(1.0, 10.0), np.array([0.1, 0.5, 0.9]))
    array([1., 5., 9.])

    The q-quantile of N residuals and the next one is the ceil((N + 1) q)-th smallest, below the middle the
    floor((N + 1) q)-th (split conformal prediction, Vovk et al. 2005; Lei et al. 2018, section 2.2). NaN = missing.
    """
    ordered = np.sort(residuals, axis=0)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=0)
    found = []
    for q in levels:
        rank = (count + 1) * q
        place = np.ceil(np.round(rank, 9)) if q >= 0.5 else np.floor(np.round(rank, 9))
        at = np.clip(place.astype(np.int64) - 1, 0, np.maximum(count - 1, 0))
        found.append(np.take_along_axis(ordered, at[None], axis=0)[0])
    return np.stack(found)


def quantiles(levels: Floats, bands: Floats, q: float) -> Floats:
    """The band (K, C) of any level between the lowest and the highest, as a line between its neighbours (Q, K, C)."""
    at = min(int(np.searchsorted(levels, q, side="right")) - 1, len(levels) - 2)
    part = (q - levels[at]) / (levels[at + 1] - levels[at])
    low, high = bands[at], bands[at + 1]
    found: Floats = low if part == 0 else high if part == 1 else low + part * (high - low)
    return found


def spread(x: NDArray[np.float32]) -> Floats:
    """The standard deviation of the readings of each window (N, L)."""
    found: Floats = x.astype(np.float64).std(axis=1)
    return found


def breadth(spreads: Floats, usual: Floats, follows: float) -> Floats:
    """How much wider than usual the bands of windows with spreads (N, C) are.

    >>> breadth(np.array([[0.0], [1.0], [4.0]]), usual=np.array([1.0]), follows=0.5).ravel().tolist()
    [0.5, 1.0, 2.5]
    """
    return 1 - follows + follows * (spreads / usual)


def follows(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> float:
    """How far bands should follow the spread of their windows, by what serves one stretch that learned on the other.

    Each is misses (N, K, C), and how their windows are spread (N, C), 1 as usual. By the interval score (Gneiting &
    Raftery 2007, section 6.2) of three bands, both ways: narrow counts, and each miss outside by its distance. Not at
    all where that is hardly worse.
    """
    one, other = some(one), some(other)
    found = [_outside(one, other, share) + _outside(other, one, share) for share in SHARES]
    best = int(np.argmin(found))
    return SHARES[best] if found[best] < (1 - HARDLY) * found[0] else SHARES[0]


def some(stretch: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Of many moments and steps ahead some, evenly spaced."""
    moments, steps = (
        np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
        for n, most in zip(stretch[0].shape, (MOMENTS, STEPS), strict=False)
    )
    return stretch[0][np.ix_(moments, steps)], stretch[1][moments]


def _outside(known: tuple[Floats, Floats], new: tuple[Floats, Floats], share: float) -> float:
    (misses, wider), (came, wide), total = known, new, 0.0
    wider, wide = (breadth(of, ONE, share)[:, None] for of in (wider, wide))
    levels = np.array([part for band in BANDS for part in ((1 - band) / 2, (1 + band) / 2)])
    ends = conformal(misses / wider, levels)
    for i, band in enumerate(BANDS):
        low, high = (end * wide for end in ends[2 * i : 2 * i + 2])
        over = np.maximum(low - came, 0) + np.maximum(came - high, 0)
        scores = (high - low + 2 / (1 - band) * over).ravel()
        scores = scores[~np.isnan(scores)]
        total += float(scores.mean()) if len(scores) else 0.0
    return total
