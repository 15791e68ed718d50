"""Charts as SVG: a sparkline that fits into a table cell of the UI, and the whole curve as a file.

The UI shows a Markdown image inline when its data URI has fewer than 1,000 characters, so the
sparkline has at most 48 points and no text.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]

_INLINE_POINTS = 48
_COLOURS = ("#4f43dd", "#c2410c", "#15803d")
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 700, 310  # the area of a chart's data, in pixels


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


def line_chart(points: Points, *, title: str, x: str, y: str) -> str:
    """A chart of one line; see :func:`lines_chart`."""
    return lines_chart({"": points}, title=title, x=x, y=y)


def lines_chart(series: Mapping[str, Points], *, title: str, x: str, y: str) -> str:
    """A line chart as an SVG document of 720 by 360 pixels; NaN and infinities are left out.

    Args:
        series: lines that share both axes, by name, each (x, y) in rising x. A name is shown in
            the line's colour, the empty one not at all. A single point is a dot.
        title: what it shows.
        x: name and unit of the horizontal axis.
        y: name and unit of the vertical axis.
    """
    finite = {
        name: [(px, py) for px, py in points if math.isfinite(px) and math.isfinite(py)]
        for name, points in series.items()
    }
    everything = [point for points in finite.values() for point in points]
    if not everything:
        return _frame("", title=title, x=x, y=y)
    scaled = iter(_scaled(everything, _LEFT, _TOP, _RIGHT, _BOTTOM))
    body = ""
    for place, (name, points) in enumerate(finite.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        body += _line(list(itertools.islice(scaled, len(points))), colour)
        if name and points:
            body += _label(_RIGHT - 8, _TOP + 12 + 16 * place, name, "end", colour)
    xs, ys = [p[0] for p in everything], [p[1] for p in everything]
    return _frame(
        body + _limits(min(xs), max(xs), min(ys), max(ys)),
        title=title,
        x=x,
        y=y,
    )


def _line(points: Points, colour: str) -> str:
    if not points:
        return ""
    if len(points) == 1:
        ((px, py),) = points
        return f"<circle cx='{px:.1f}' cy='{py:.1f}' r='3' fill='{colour}'/>"
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='2'/>"


def bar_chart(bars: Sequence[tuple[int, int]], *, title: str, x: str, y: str) -> str:
    """A histogram as an SVG document of 720 by 360 pixels.

    Args:
        bars: (where the bin begins, its count), bins of equal width in rising order.
        title: what it shows.
        x: name and unit of the horizontal axis.
        y: name and unit of the vertical axis.
    """
    body = ""
    if bars:
        width = (_RIGHT - _LEFT) / len(bars)
        highest = max(count for _, count in bars) or 1
        for place, (_, count) in enumerate(bars):
            height = count / highest * (_BOTTOM - _TOP)
            body += (
                f"<rect x='{_LEFT + place * width:.1f}' y='{_BOTTOM - height:.1f}' "
                f"width='{max(width - 1, 1):.1f}' height='{height:.1f}' fill='#4f43dd'/>"
            )
        step = bars[1][0] - bars[0][0] if bars[1:] else 1
        body += _limits(bars[0][0], bars[-1][0] + step, 0, highest)
    return _frame(body, title=title, x=x, y=y)


def _limits(low_x: float, high_x: float, low_y: float, high_y: float) -> str:
    """The ends of both axes."""
    return (
        _label(_LEFT - 8, _TOP + 4, f"{high_y:.4g}", "end")
        + _label(_LEFT - 8, _BOTTOM + 4, f"{low_y:.4g}", "end")
        + _label(_LEFT, _BOTTOM + 20, f"{low_x:.4g}", "start")
        + _label(_RIGHT, _BOTTOM + 20, f"{high_x:.4g}", "end")
    )


def _frame(body: str, *, title: str, x: str, y: str) -> str:
    return (
        "<svg xmlns='http://www.w3.org/2000/svg' width='720' height='360' "
        "font-family='sans-serif' font-size='12'>"
        "<rect width='720' height='360' fill='white'/>"
        f"<path d='M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}' fill='none' stroke='#888'/>"
        + _label(360, 22, title, "middle")
        + _label((_LEFT + _RIGHT) // 2, 346, x, "middle")
        + f"<text x='16' y='{(_TOP + _BOTTOM) // 2}' text-anchor='middle' "
        f"transform='rotate(-90 16 {(_TOP + _BOTTOM) // 2})'>{_escape(y)}</text>"
        + body
        + "</svg>\n"
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


def _label(x: int, y: int, text: str, anchor: str, colour: str = "") -> str:
    fill = f" fill='{colour}'" if colour else ""
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}'{fill}>{_escape(text)}</text>"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
