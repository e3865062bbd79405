"""Moments and spans of time: numbers of them, and how people write and read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np

from .errors import SettingError

When = str | date | np.datetime64

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GAP = 3.0
"""A note counts as a gap what is longer than this many intervals; each task sets its own limit with `Series.starts`."""


def instant(when: When) -> int:
    """A time as UTC nanoseconds; a date is its midnight, and a time without a zone is UTC.

    >>> instant("1970-01-02"), instant("1970-01-01T01:00+01:00")
    (86400000000000, 0)
    """
    if isinstance(when, np.datetime64):
        return int(when.astype("datetime64[ns]").astype(np.int64))
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when.strip())
        except ValueError:
            raise SettingError(
                f"cannot read {when!r} as a time", wanted="ISO 8601, as in 2024-03-09 or 2024-03-09T10:30:00+01:00"
            ) from None
    if not isinstance(when, date):
        raise SettingError(f"cannot read {when!r} as a time", wanted="a string or a datetime")
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1) * 1000


def time_text(nanoseconds: int | np.int64) -> str:
    """UTC nanoseconds as people read them, with as many decimals as needed.

    >>> time_text(1_500_000_000), time_text(0)
    ('1970-01-01 00:00:01.500', '1970-01-01 00:00:00')
    """
    number = int(nanoseconds)
    unit = next((unit for unit, size in (("s", SECOND), ("ms", 10**6), ("us", 10**3)) if number % size == 0), "ns")
    return str(np.datetime64(number, "ns").astype(f"datetime64[{unit}]")).replace("T", " ")


def span_text(seconds: float) -> str:
    """A length of time in the unit people would use.

    >>> span_text(0.25), span_text(90), span_text(10_800)
    ('250 ms', '1.5 min', '3 h')
    """
    units = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
    unit, size = next(((unit, size) for unit, size in units if seconds >= size), ("ns", 1e-9))
    return f"{seconds / size:.4g} {unit}"
