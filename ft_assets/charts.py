"""Charts as SVG: a sparkline that fits into a table cell of the UI, and the whole curve as a file.

The UI shows a Markdown image inline when its data URI has fewer than 1,000 characters, so the
sparkline has at most 48 points and no text.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Sequence

_INLINE_POINTS = 48


def sparkline_markdown(values: Sequence[float], label: str) -> str:
    """A Markdown image of a curve, 192 by 40 pixels, short enough to be shown inline."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite[1:]:
        return f"{label}: too few points for a curve"
    thinned = _thin(finite, _INLINE_POINTS)
    points = " ".join(
        f"{x:.0f},{y:.0f}" for x, y in _scaled(list(enumerate(thinned)), 2, 2, 190, 38)
    )
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' width='192' height='40'>"
        f"<polyline points='{points}' fill='none' stroke='#4f43dd' stroke-width='2'/></svg>"
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return f"![{label}](data:image/svg+xml;base64,{encoded})"


def line_chart(points: Sequence[tuple[float, float]], *, title: str, x: str, y: str) -> str:
    """A line chart as an SVG document of 720 by 360 pixels; NaN and infinities are left out.

    Args:
        points: (x, y) in rising x.
        title: what it shows.
        x: name and unit of the horizontal axis.
        y: name and unit of the vertical axis.
    """
    finite = [(px, py) for px, py in points if math.isfinite(px) and math.isfinite(py)]
    left, top, right, bottom = 70, 40, 700, 310
    body = ""
    if finite:
        line = " ".join(
            f"{px:.1f},{py:.1f}" for px, py in _scaled(finite, left, top, right, bottom)
        )
        xs, ys = [p[0] for p in finite], [p[1] for p in finite]
        body = (
            f"<polyline points='{line}' fill='none' stroke='#4f43dd' stroke-width='2'/>"
            + _label(left - 8, top + 4, f"{max(ys):.4g}", "end")
            + _label(left - 8, bottom + 4, f"{min(ys):.4g}", "end")
            + _label(left, bottom + 20, f"{min(xs):.4g}", "start")
            + _label(right, bottom + 20, f"{max(xs):.4g}", "end")
        )
    return (
        "<svg xmlns='http://www.w3.org/2000/svg' width='720' height='360' "
        "font-family='sans-serif' font-size='12'>"
        "<rect width='720' height='360' fill='white'/>"
        f"<path d='M{left} {top}V{bottom}H{right}' fill='none' stroke='#888'/>"
        + _label(360, 22, title, "middle")
        + _label((left + right) // 2, 346, x, "middle")
        + f"<text x='16' y='{(top + bottom) // 2}' text-anchor='middle' "
        f"transform='rotate(-90 16 {(top + bottom) // 2})'>{_escape(y)}</text>" + body + "</svg>\n"
    )


def _thin(values: Sequence[float], count: int) -> list[float]:
    """At most ``count`` values: the means of equal stretches."""
    if len(values) <= count:
        return list(values)
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges) if b > a]


def _scaled(
    points: Sequence[tuple[float, float]], left: int, top: int, right: int, bottom: int
) -> list[tuple[float, float]]:
    """Points in pixels; y grows upwards in the data and downwards in the picture."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    width = (max(xs) - min(xs)) or 1
    height = (max(ys) - min(ys)) or 1
    return [
        (
            left + (px - min(xs)) / width * (right - left),
            bottom - (py - min(ys)) / height * (bottom - top),
        )
        for px, py in points
    ]


def _label(x: int, y: int, text: str, anchor: str) -> str:
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}'>{_escape(text)}</text>"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
