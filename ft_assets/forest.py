"""Forest plots as SVG: differences with their intervals, one line each, around a zero line.

Differences of several units stand in one plot, so each line has a scale of its own; to the right
of zero the candidate is better, whatever the score. Does not belong here: curves and histograms
(``charts.py``).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_GREEN, _RED, _GREY = "#15803d", "#c2410c", "#71717a"
_INLINE_LINES = 16
"""So many fit below the 1,000 characters up to which the UI shows an image inline."""
_LABELS, _PLOT, _NUMBERS = 330, 250, 210  # widths of the columns, in pixels
_LINE, _HEAD, _FOOT = 24, 44, 34  # heights, in pixels
_LABEL_CHARACTERS = 48


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of a forest plot."""

    label: str
    value: float | None
    """The candidate's score minus the other's; None where there is none."""
    low: float | None
    high: float | None
    """Ends of the interval of the value; None where it has none."""
    higher_is_better: bool
    passed: bool | None
    """What the court says about it; None where it says nothing."""


def forest_markdown(lines: Sequence[Difference], label: str) -> str:
    """A Markdown image of the first lines, without text, short enough to be shown inline."""
    shown = [line for line in lines if _places(line) is not None][:_INLINE_LINES]
    if not shown:
        return f"{label}: no difference is known"
    height = 9 * len(shown) + 4
    body = ""
    for colour in dict.fromkeys(map(_colour, shown)):
        path = "".join(
            _inline_line(line, 9 * place + 6)
            for place, line in enumerate(shown)
            if _colour(line) == colour
        )
        body += f"<path d='{path}' stroke='{colour}'/>"
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='192' height='{height}' fill='none' "
        f"stroke-width='2' stroke-linecap='round'><path d='M96 0V{height}' stroke='#aaa'/>"
        f"{body}</svg>"
    )
    return f"![{label}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def forest_chart(lines: Sequence[Difference], *, title: str) -> str:
    """The whole plot as an SVG document, with labels and numbers.

    Its classes (``forest``, ``ground``, ``zero``) let a page give it other colours.
    """
    height = _HEAD + _LINE * max(len(lines), 1) + _FOOT
    width = _LABELS + _PLOT + _NUMBERS
    zero = _LABELS + _PLOT // 2
    bottom = height - _FOOT
    body = "".join(_line(line, _HEAD + _LINE * place + 12) for place, line in enumerate(lines))
    if not lines:
        body = _text(zero, _HEAD + 16, "nothing was compared", "middle")
    return (
        f"<svg class='forest' xmlns='http://www.w3.org/2000/svg' width='{width}' "
        f"height='{height}' viewBox='0 0 {width} {height}' font-family='sans-serif' "
        "font-size='12'>"
        f"<rect class='ground' width='{width}' height='{height}' fill='white'/>"
        + _text(width // 2, 22, title, "middle")
        + f"<path class='zero' d='M{zero} {_HEAD - 8}V{bottom}' stroke='#999' fill='none' "
        "stroke-dasharray='3 3'/>"
        + body
        + _text(zero - 8, bottom + 20, "worse", "end")
        + _text(zero + 8, bottom + 20, "better", "start")
        + "</svg>\n"
    )


def number(value: float | None) -> str:
    """A score or a difference as people read it."""
    return "" if value is None else f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    """An interval as people read it; empty where one end is not known."""
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _line(line: Difference, y: int) -> str:
    label = line.label
    if len(label) > _LABEL_CHARACTERS:
        label = label[: _LABEL_CHARACTERS - 1] + "…"
    drawn = _text(_LABELS - 16, y + 4, label, "end")
    places = _places(line)
    if places is not None:
        low, value, high = (_LABELS + _PLOT / 2 * (1 + 0.92 * place) for place in places)
        colour = _colour(line)
        drawn += (
            f"<path d='M{low:.1f} {y}H{high:.1f}' stroke='{colour}' stroke-width='2'/>"
            f"<circle cx='{value:.1f}' cy='{y}' r='4' fill='{colour}'/>"
        )
    said = number(line.value) or "not known"
    between = interval(line.low, line.high)
    return drawn + _text(
        _LABELS + _PLOT + 16, y + 4, f"{said} ({between})" if between else said, "start"
    )


def _inline_line(line: Difference, y: int) -> str:
    places = _places(line)
    assert places is not None
    low, value, high = (round(96 + 90 * place) for place in places)
    return f"M{low} {y}H{high}M{value} {y - 2}v4"


def _places(line: Difference) -> tuple[float, float, float] | None:
    """Low end, value and high end between -1 (worse) and 1 (better); None without a value."""
    if line.value is None or not math.isfinite(line.value):
        return None
    ends = (
        end if end is not None and math.isfinite(end) else line.value
        for end in (line.low, line.high)
    )
    sign = 1 if line.higher_is_better else -1
    low, high = sorted(sign * end for end in ends)
    value = sign * line.value
    reach = max(abs(low), abs(value), abs(high)) or 1.0
    return low / reach, value / reach, high / reach


def _colour(line: Difference) -> str:
    if line.passed is None:
        return _GREY
    return _GREEN if line.passed else _RED


def _text(x: int, y: int, text: str, anchor: str) -> str:
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}'>{escape(text, quote=False)}</text>"
