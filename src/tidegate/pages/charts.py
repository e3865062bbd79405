"""Charts that a page draws without JavaScript of their own: plotly's traces and layout, in the page's colours.

A colour is a name of the page's palette behind a dollar sign, such as "$expect": light, dark and paper then differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart: `traces` and `layout` are plotly's; texts from outside go through `plain`."""

    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]


def plain(text: str) -> str:
    """A text that plotly shows as it is: it reads a little markup in its texts.

    >>> plain("<b>&")
    '&lt;b>&amp;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;")
