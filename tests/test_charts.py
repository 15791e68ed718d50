"""Charts are valid SVG whatever the numbers, and the sparkline always fits into a table cell."""

from __future__ import annotations

import base64
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.charts import line_chart, lines_chart, sparkline_markdown

INLINE_LIMIT = 1000
"""Characters from which on Dagster's UI hides a Markdown image behind a link."""

anything = st.floats(allow_nan=True, allow_infinity=True)
losses = st.floats(width=32, allow_nan=False, allow_infinity=False)


def _svg(markdown: str) -> ElementTree.Element:
    found = re.fullmatch(r"!\[loss\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found, markdown
    return ElementTree.fromstring(base64.b64decode(found[1]))


def _points(svg: ElementTree.Element) -> list[tuple[float, float]]:
    (line,) = [element for element in svg.iter() if element.tag.endswith("polyline")]
    pairs = (point.split(",") for point in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


@given(st.lists(anything, max_size=200))
def test_a_sparkline_is_short_enough_to_be_shown_inline(values):
    assert len(sparkline_markdown(values, "loss")) < INLINE_LIMIT


@given(st.lists(losses, min_size=2, max_size=200))
def test_a_sparkline_is_valid_xml_and_stays_in_its_box(values):
    points = _points(_svg(sparkline_markdown(values, "loss")))
    assert 2 <= len(points) <= 48
    assert all(0 <= x <= 192 and 0 <= y <= 40 for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_a_falling_loss_falls_in_the_picture():
    points = _points(_svg(sparkline_markdown([3.0, 2.0, 1.0], "loss")))
    assert points == [(2, 2), (96, 20), (190, 38)]


def test_a_long_curve_is_thinned_to_means_and_keeps_its_form():
    points = _points(_svg(sparkline_markdown([float(10_000 - i) for i in range(10_000)], "loss")))
    assert len(points) == 48
    assert [y for _, y in points] == sorted(y for _, y in points)


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.inf, 2.0]])
def test_too_few_points_are_said_in_words(values):
    assert sparkline_markdown(values, "loss") == "loss: too few points for a curve"


def test_a_constant_loss_is_a_level_line():
    points = _points(_svg(sparkline_markdown([1.5] * 5, "loss")))
    assert {y for _, y in points} == {38}


@given(st.lists(st.tuples(anything, anything), max_size=100))
def test_a_line_chart_is_valid_xml_whatever_the_numbers(points):
    svg = ElementTree.fromstring(line_chart(points, title="a < b & c", x="step", y="'loss'"))
    assert (svg.attrib["width"], svg.attrib["height"]) == ("720", "360")


def test_a_line_chart_leaves_out_what_is_not_finite():
    svg = ElementTree.fromstring(
        line_chart(
            [(1, 4.0), (2, math.nan), (3, math.inf), (4, 2.0)], title="t", x="step", y="loss"
        )
    )
    assert _points(svg) == [(70, 40), (700, 310)]


def test_a_line_chart_names_its_axes_and_their_ends():
    svg = ElementTree.fromstring(
        line_chart([(1, 4.25), (100, 2.5)], title="a < b", x="step", y="loss (nats)")
    )
    texts = [element.text for element in svg.iter() if element.tag.endswith("text")]
    assert texts == ["a < b", "step", "loss (nats)", "4.25", "2.5", "1", "100"]


def test_a_chart_without_points_has_axes_alone():
    svg = ElementTree.fromstring(line_chart([], title="t", x="step", y="loss"))
    assert not [element for element in svg.iter() if element.tag.endswith("polyline")]


def test_two_lines_share_their_axes_and_are_named():
    chart = lines_chart(
        {"training": [(1, 4.0), (10, 1.0)], "held out": [(5, 3.0), (10, 2.0)]},
        title="t",
        x="step",
        y="loss",
    )
    svg = ElementTree.fromstring(chart)
    lines = [element for element in svg.iter() if element.tag.endswith("polyline")]
    assert [line.attrib["points"] for line in lines] == [
        "70.0,40.0 700.0,310.0",
        "350.0,130.0 700.0,220.0",
    ]
    names = {e.text: e.attrib.get("fill") for e in svg.iter() if e.tag.endswith("text")}
    assert names["training"] == lines[0].attrib["stroke"]
    assert names["held out"] == lines[1].attrib["stroke"]
    assert names["training"] != names["held out"]


def test_a_line_without_points_is_not_named_and_a_single_point_is_a_dot():
    nothing = lines_chart({"training": [(1, 1.0), (2, 2.0)], "held out": []}, title="", x="", y="")
    assert "held out" not in nothing
    dot = lines_chart({"training": [], "held out": [(1, 1.0)]}, title="", x="", y="")
    assert "<circle" in dot


@given(st.lists(st.tuples(anything, anything), max_size=20), st.lists(st.tuples(losses, losses)))
def test_a_chart_of_two_lines_is_valid_xml_whatever_the_numbers(one, other):
    ElementTree.fromstring(lines_chart({"a<": one, "b&": other}, title="t", x="step", y="loss"))
