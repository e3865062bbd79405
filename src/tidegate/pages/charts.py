"""Charts that a page draws without JavaScript of their own: plotly's traces and layout, in the page's colours.

A colour is a name of the page's palette behind a dollar sign, such as "$expect": light, dark and paper then differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .packed import Floats


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


DASHED = {"width": 1.2, "dash": "4px,3px"}
MARGIN = {"l": 62, "r": 12, "t": 34, "b": 44}
LEGEND = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
SHADES = ("$expect", "$soft", "$event", "$alarm", "$trace")


def by_step(lines: Mapping[str, Floats], what: str, *, asked: float | None = None) -> Chart:
    """Lines over the steps ahead, the first in front; `asked` is drawn across."""
    traces: list[dict[str, Any]] = []
    for (name, line), colour in zip(lines.items(), itertools.cycle(SHADES)):
        steps, ours = np.arange(1, len(line) + 1), not traces
        style = {"color": colour, "width": 2.2} if ours else {"color": colour, **DASHED}
        mode = "lines" if len(line) > 1 else "markers"
        traces.append({"x": steps.tolist(), "y": line.tolist(), "name": plain(name), "mode": mode, "line": style})
    layout: dict[str, Any] = {
        "height": 300, "margin": MARGIN, "showlegend": len(traces) > 1, "legend": LEGEND, "hovermode": "x unified",
        "xaxis": {"title": {"text": "steps ahead"}, "nticks": 8},
        "yaxis": {"title": {"text": what}, "nticks": 6, "rangemode": "tozero", "hoverformat": ".3~g"},
    }  # fmt: skip
    if asked is not None:
        layout["shapes"] = [_across(asked)]
        layout["yaxis"] |= {"tickformat": ".0%", "hoverformat": ".1%", "rangemode": "normal"}
        low = min([asked, *(float(np.nanmin(line)) for line in lines.values() if np.isfinite(line).any())])
        layout["yaxis"]["range"] = [max(0.0, low - 0.08), 1.0]
    return Chart(traces=traces[::-1], layout=layout | {"legend": {**LEGEND, "traceorder": "reversed"}})


def _across(level: float) -> dict[str, Any]:
    line = {"color": "$soft", **DASHED}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level, "layer": "below", "line": line}


def diagonal(points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> Chart:
    """Shares asked for against shares observed: the first line in front, the others as faint points; 1 to 1 dashed."""
    traces: list[dict[str, Any]] = []
    for name, pairs in points.items():
        ours, known = not traces, [pair for pair in pairs if np.isfinite(pair[1])]
        asked, seen = [a for a, _ in known], [b for _, b in known]
        mark = {"size": 10, "color": "$expect"} if ours else {"size": 6, "color": "$soft", "opacity": 0.45}
        texts = [f"{plain(name)}: {a:.0%} {x}, {b:.1%} {y}" for a, b in known]
        traces.append({
            "x": asked, "y": seen, "name": plain(name), "mode": "lines+markers" if ours else "markers", "marker": mark,
            "line": {"color": "$expect", "width": 1.4}, "text": texts, "hovertemplate": "%{text}<extra></extra>",
        })  # fmt: skip
    low = min([0.5, *(value for trace in traces for value in (*trace["x"], *trace["y"]))])
    line = {"color": "$soft", **DASHED}
    same = {"type": "line", "x0": 0, "y0": 0, "x1": 1, "y1": 1, "layer": "below", "line": line}
    reach = {"range": [max(-0.02, low - 0.06), 1.02], "tickformat": ".0%", "nticks": 7}
    axes = {"xaxis": {**reach, "title": {"text": x}}, "yaxis": {**reach, "title": {"text": y}}}
    return Chart(traces=traces[::-1], layout={"height": 300, "margin": MARGIN, "shapes": [same], **axes})


def by_group(
    groups: Sequence[str],
    figures: Mapping[str, Sequence[float]],
    counts: Sequence[int],
    *,
    x: str,
    y: str,
    asked: float | None = None,
) -> Chart:
    """Points by group, the first figure in front, told with how many each is of; `asked` (a share) is drawn across."""
    traces: list[dict[str, Any]] = []
    form = ".1%" if asked is not None else ".3~g"
    for (name, values), colour in zip(figures.items(), ("$expect", "$soft"), strict=False):
        traces.append({
            "x": list(range(len(groups))), "y": list(values), "name": plain(name), "customdata": list(counts),
            "mode": "markers" if asked is not None else "lines+markers",
            "marker": {"size": 9 if not traces else 7, "color": colour},
            "line": {"color": colour, "width": 1.4, **({} if not traces else {"dash": "4px,3px"})},
            "hovertemplate": f"{plain(name)}: %{{y:{form}}} (of %{{customdata:,}})<extra></extra>",
        })  # fmt: skip
    short = [plain(name if len(name) < 15 else f"{name[:13]}…") for name in groups]
    layout: dict[str, Any] = {
        "height": 300, "margin": MARGIN, "showlegend": len(traces) > 1, "legend": {**LEGEND, "traceorder": "reversed"},
        "xaxis": {"title": {"text": x}, "tickvals": list(range(len(groups))), "ticktext": short,
                  "range": [-0.5, len(groups) - 0.5], "automargin": True},
        "yaxis": {"title": {"text": y}, "nticks": 6, "rangemode": "tozero"},
    }  # fmt: skip
    if asked is not None:
        low = min([asked, *(v for values in figures.values() for v in values if np.isfinite(v))])
        layout["shapes"] = [_across(asked)]
        layout["yaxis"] |= {"tickformat": ".0%", "range": [max(-0.02, low - 0.08), 1.02], "rangemode": "normal"}
    return Chart(traces=traces[::-1], layout=layout)
