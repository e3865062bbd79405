"""Charts that a page draws without JavaScript of their own: plotly's traces and layout, in the page's colours.

A colour is a name of the page's palette behind a dollar sign, such as "$expect": light, dark and paper then differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def reliable(bins: Floats) -> Chart:
    """How often an answer was right against how sure it was said to be; `bins` (n, 3): mean probability, share, rows.

    Bars: what a share of so many rows may be by chance, 95 % (Wilson 1927).
    """
    sure, hit, count = bins.T
    z = 1.96
    middle = (hit + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * np.sqrt(hit * (1 - hit) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    texts = [f"said {p:.1%}, true {h:.1%} of {n:,.0f}" for p, h, n in bins]
    bars = {
        "type": "data", "symmetric": False, "array": (middle + reach - hit).tolist(), "thickness": 1,
        "arrayminus": (hit - middle + reach).tolist(), "color": "$soft", "width": 4,
    }  # fmt: skip
    points = {
        "x": sure.tolist(), "y": hit.tolist(), "mode": "lines+markers", "text": texts, "error_y": bars,
        "marker": {"size": 9, "color": "$expect"}, "line": {"color": "$expect", "width": 1.2},
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    low = max(-0.02, min(float(sure.min()), float(hit.min())) - 0.08)
    line = {"color": "$soft", **DASHED}
    same = {"type": "line", "x0": 0, "y0": 0, "x1": 1, "y1": 1, "layer": "below", "line": line}
    shares = {"tickformat": ".0%", "nticks": 7, "range": [low, 1.03]}
    titles = {"x": "probability said", "y": "share that was right"}
    axes = {f"{axis}axis": {**shares, "title": {"text": said}} for axis, said in titles.items()}
    layout = {"height": 300, "margin": MARGIN, "shapes": [same], **axes}
    return Chart(traces=[points], layout=layout)


def confused(table: NDArray[np.int64], classes: Sequence[str]) -> Chart:
    """True class against named class of many classes, as shares of the true one."""
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    names = [plain(name if len(name) < 15 else f"{name[:13]}…") for name in classes]
    texts = [[f"{plain(a)} named {plain(b)}: {n}" for b, n in zip(classes, row, strict=True)]
             for a, row in zip(classes, table.tolist(), strict=True)]  # fmt: skip
    ticks = list(range(len(names)))
    side = min(900, max(340, 16 * len(names) + 110))
    heat = {
        "type": "heatmap", "z": shares.tolist(), "text": texts, "hovertemplate": "%{text}<extra></extra>", "xgap": 1,
        "ygap": 1, "colorscale": [[0, "$raised"], [1, "$expect"]], "zmin": 0, "zmax": 1, "showscale": False,
    }  # fmt: skip
    axis = {"tickvals": ticks, "ticktext": names, "showgrid": False, "automargin": True}
    axis |= {"tickfont": {"size": 10}} if len(names) > 20 else {}
    layout = {
        "height": side, "margin": {**MARGIN, "t": 12}, "xaxis": {**axis, "title": {"text": "named"}, "tickangle": -90},
        "yaxis": {**axis, "title": {"text": "true"}, "range": [len(names) - 0.5, -0.5]},
    }  # fmt: skip
    return Chart(traces=[heat], layout=layout)


def scattered(pairs: Mapping[str, tuple[Floats, Floats]]) -> Chart:
    """What was said against what was true, a cloud for each name; equal is dashed."""
    traces = [
        {
            "type": "scattergl" if len(truth) > 20_000 else "scatter", "x": truth.tolist(), "y": said.tolist(),
            "name": plain(name), "mode": "markers", "marker": {"size": 4, "opacity": 0.45, "color": colour},
            "hovertemplate": "true %{x:.4~g}, said %{y:.4~g}<extra></extra>",
        }
        for (name, (truth, said)), colour in zip(pairs.items(), itertools.cycle(SHADES))
    ]  # fmt: skip
    ends = [float(f(side)) for pair in pairs.values() for side in pair for f in (np.nanmin, np.nanmax)]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low or 1.0)
    reach = {"range": [low - room, high + room], "nticks": 7}
    same = {"type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "layer": "below"}
    layout = {
        "height": 340, "margin": MARGIN, "showlegend": len(traces) > 1, "legend": LEGEND,
        "shapes": [{**same, "line": {"color": "$soft", **DASHED}}],
        "xaxis": {**reach, "title": {"text": "true"}}, "yaxis": {**reach, "title": {"text": "said"}},
    }  # fmt: skip
    return Chart(traces=traces, layout=layout)
