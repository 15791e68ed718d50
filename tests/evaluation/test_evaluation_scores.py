"""Ratios over rows and their standard errors."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from ft_assets.evaluation.scores import Estimate, exponential, ratio


def rows(seed: int, count: int = 150) -> list[tuple[float, float]]:
    """Per row nats and tokens: rows differ in length and in how hard they are."""
    draw = random.Random(seed)
    lengths = [draw.randint(3, 60) for _ in range(count)]
    return [(tokens * draw.gauss(2.0, 0.6), tokens) for tokens in lengths]


def bootstrap(pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> float:
    """Standard error of the difference of two ratios, by drawing rows again and again."""
    draw = random.Random(7)
    values: list[float] = []
    for _ in range(2000):
        sample = draw.choices(pairs, k=len(pairs))
        first, second = zip(*sample, strict=True)
        values.append(
            sum(n for n, _ in first) / sum(d for _, d in first)
            - sum(n for n, _ in second) / sum(d for _, d in second)
        )
    return statistics.stdev(values)


def test_a_ratio_is_weighted_by_its_denominator() -> None:
    assert ratio([(10.0, 10), (30.0, 10)]).value == pytest.approx(2.0)
    assert ratio([(10.0, 10), (3.0, 1)]).value == pytest.approx(13 / 11)


def test_the_standard_error_of_a_ratio_agrees_with_a_bootstrap_over_rows() -> None:
    pairs = rows(1)
    expected = bootstrap([(pair, (0.0, 1.0)) for pair in pairs])
    assert ratio(pairs).stderr == pytest.approx(expected, rel=0.08)


def test_one_row_says_nothing_about_the_spread() -> None:
    assert ratio([(3.0, 2)]) == Estimate(1.5, None)
    assert ratio([]) == Estimate(None, None)


def test_a_perplexity_carries_its_error_over() -> None:
    assert exponential(Estimate(2.0, 0.1)) == Estimate(math.exp(2), math.exp(2) * 0.1)
    assert exponential(Estimate(1000.0, None)).value == math.inf
    assert math.isnan(exponential(Estimate(math.nan, None)).value)
