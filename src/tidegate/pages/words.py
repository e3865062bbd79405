"""Numbers, times and lists as a page says them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..settings import rate_text


def opened(text: str) -> str:
    """A sentence as it begins: with a capital.

    >>> opened("no better than drift")
    'No better than drift'
    """
    return text[:1].upper() + text[1:]


def listed(names: Sequence[str]) -> str:
    """Names as a phrase.

    >>> listed(["flow", "pressure", "torque"])
    'flow, pressure and torque'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names of many as a phrase, and how many are left.

    >>> some(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    left = len(names) - most
    return listed(names) if left < 1 else listed([*names[:most], f"{left} more"])


def counted(count: int, thing: str) -> str:
    """A count with its noun.

    >>> counted(1, "alarm"), counted(1200, "row")
    ('1 alarm', '1,200 rows')
    """
    return f"{count:,} {thing}{'s' * (count != 1)}"


def span(seconds: float) -> str:
    """A duration in its two largest units.

    >>> span(250), span(0.25), span(100_000)
    ('4 min 10 s', '250 ms', '1 d 3 h')
    """
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    units, left, words = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)], round(seconds), list[tuple[int, str]]()
    for position, (name, size) in enumerate(units):
        if left >= size and (not words or position - words[0][0] == 1):
            words.append((words[0][0] if words else position, f"{left // size} {name}"))
            left %= size
    return " ".join(word for _, word in words)


def rate(per_second: float) -> str:
    """False alarms a second as people say it.

    >>> rate(1 / 604_800), rate(3 / 86_400)
    ('1 false alarm per week', '3 false alarms per day')
    """
    if per_second <= 0:
        return "no false alarm at all"
    count, _, unit = rate_text(per_second).partition(" ")
    return f"{count} false alarm{'s' * (count != '1')} {unit}"


def chance(p_value: float) -> str:
    """A p-value to read.

    >>> chance(0.034), chance(3.2e-6)
    ('0.034', '3.2\\xa0×\\xa010⁻⁶')
    """
    if not 0 < p_value < 1e-3:
        return figure(p_value)
    mantissa, exponent = f"{p_value:.1e}".split("e")
    return f"{mantissa}\u00a0×\u00a010{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def figure(value: float) -> str:
    """A number with three figures, a dash where there is none.

    >>> figure(0.91234), figure(12345.6), figure(float("nan"))
    ('0.912', '12,346', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.8912), percent(0.0004), percent(float("nan"))
    ('89.1\\xa0%', '0.04\\xa0%', '–')
    """
    if not math.isfinite(share):
        return "–"
    rounded = f"{100 * share:.1f}" if share >= 0.001 or not share else f"{100 * share:.1g}"
    return f"{rounded.removesuffix('.0')}\u00a0%"


def moment(ns: int, clock: bool) -> str:
    """A time to read: UTC, or seconds since the first row where there is no clock.

    >>> moment(1_709_990_530_000_000_000, True), moment(90_500_000_000, False)
    ('2024-03-09 13:22:10 UTC', 'at 90.5 s')
    """
    if not clock:
        return f"at {ns / 1e9:,.10g} s"
    return str(np.datetime64(ns // 1_000_000, "ms")).replace("T", " ").removesuffix(".000") + " UTC"
