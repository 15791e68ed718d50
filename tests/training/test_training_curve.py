"""A curve keeps its form in a bounded number of points."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.training.curve import Curve


def curve(values: list[float], most: int = 8) -> Curve:
    made = Curve(most)
    for step, value in enumerate(values, 1):
        made.add(step, value)
    return made


def test_a_short_curve_is_kept_as_it_is():
    assert curve([3.0, 2.0, 1.0]).points == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_what_is_not_finite_is_left_out():
    assert curve([3.0, math.nan, math.inf, 1.0]).points == [(1, 3.0), (4, 1.0)]


def test_a_long_curve_becomes_the_means_of_equal_stretches():
    assert curve([float(n) for n in range(1, 9)]).points == [
        (1.5, 1.5),
        (3.5, 3.5),
        (5.5, 5.5),
        (7.5, 7.5),
    ]


@given(st.integers(0, 3000), st.integers(1, 50))
def test_points_are_few_rise_in_step_and_lie_on_a_straight_line(count, thinned):
    made = curve([float(step) for step in range(1, count + 1)])
    points = made.points
    assert len(points) <= 8
    assert points == sorted(points)
    assert all(step == pytest.approx(value) for step, value in points)
    assert len(made.thinned(thinned)) == min(thinned, len(points))
    if points:
        assert points[-1][0] <= count
