"""Forest plots are valid SVG whatever the numbers, and the small one always fits into the page."""

from __future__ import annotations

import base64
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.forest import Difference, forest_chart, forest_markdown

INLINE_LIMIT = 1000

numbers = st.none() | st.floats()
lines = st.builds(
    Difference,
    label=st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=80),
    value=numbers,
    low=numbers,
    high=numbers,
    higher_is_better=st.booleans(),
    passed=st.none() | st.booleans(),
)


def line(value: float | None, low=None, high=None, *, higher=True, passed=None, label="t/acc"):
    return Difference(label, value, low, high, higher_is_better=higher, passed=passed)


def drawn(chart: str) -> tuple[float, float, float]:
    """Low end, dot and high end of the only line, in pixels."""
    svg = ElementTree.fromstring(chart)
    (dot,) = [element for element in svg.iter() if element.tag.endswith("circle")]
    (bar,) = [e for e in svg.iter() if e.tag.endswith("path") and "class" not in e.attrib]
    low, high = bar.attrib["d"].removeprefix("M").replace(" ", "H").split("H")[::2]
    return float(low), float(dot.attrib["cx"]), float(high)


ZERO = 455


@given(st.lists(lines, max_size=60))
def test_the_small_plot_is_short_enough_to_be_shown_inline(differences):
    said = forest_markdown(differences, "differences")
    assert len(said) < INLINE_LIMIT
    if said.startswith("!["):
        picture = said.partition("base64,")[2].removesuffix(")")
        ElementTree.fromstring(base64.b64decode(picture))


@given(st.lists(lines, max_size=20))
def test_the_whole_plot_is_valid_xml_whatever_the_numbers(differences):
    ElementTree.fromstring(forest_chart(differences, title="a < b & c"))


def test_better_is_to_the_right_whichever_way_the_score_goes():
    for chart in (
        forest_chart([line(0.1, 0.05, 0.15)], title=""),
        forest_chart([line(-0.1, -0.15, -0.05, higher=False)], title=""),
    ):
        low, dot, high = drawn(chart)
        assert ZERO < low < dot < high


def test_an_interval_that_holds_zero_is_drawn_across_the_zero_line():
    low, dot, high = drawn(forest_chart([line(0.1, -0.1, 0.3)], title=""))
    assert low < ZERO < dot < high


def test_the_colour_says_what_the_court_says():
    won, lost, unjudged = (
        forest_chart([line(0.1, passed=passed)], title="") for passed in (True, False, None)
    )
    assert "#15803d" in won
    assert "#c2410c" in lost
    assert "#71717a" in unjudged


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_difference_that_is_not_known_is_said_in_words(value):
    chart = forest_chart([line(value)], title="")
    assert "circle" not in chart
    assert "not known" in chart or "nan" in chart or "inf" in chart
    assert forest_markdown([line(value)], "differences") == "differences: no difference is known"


def test_nothing_compared_is_said_in_words():
    assert "nothing was compared" in forest_chart([], title="")


def test_a_label_cannot_break_out_of_the_picture():
    chart = forest_chart([line(1.0, label="</text><script>alert(1)</script>")], title="<b>")
    assert "<script" not in chart
    assert "<b>" not in chart
