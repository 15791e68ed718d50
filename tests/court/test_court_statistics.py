"""The tests behind a verdict: exact where they are known, symmetric, monotone, seeded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ft_assets.court.correction import holm
from ft_assets.court.paired_tests import UNITS, paired_bootstrap, right_or_wrong

SEED = [1, 2]
DRAWS = 1000
FEW = settings(max_examples=25)

right = arrays.arrays(np.bool_, st.shared(st.integers(2, 200), key="n"))
gains = arrays.arrays(
    np.float64,
    st.shared(st.integers(5, 60), key="rows"),
    elements=st.floats(-10, 10).map(lambda value: round(value, 3)),
)
tokens = arrays.arrays(
    np.float64, st.shared(st.integers(5, 60), key="rows"), elements=st.integers(1, 500).map(float)
)


def _bootstrap(gained, weights, margin=0.0, seed=SEED):
    return paired_bootstrap(gained, weights, margin=margin, level=0.05, draws=DRAWS, seed=seed)


def _counts(won: int, lost: int, both: int, margin: float = 0.0):
    candidate = np.array([True] * won + [False] * lost + [True] * both)
    other = np.array([False] * won + [True] * lost + [True] * both)
    return right_or_wrong(candidate, other, margin=margin, level=0.05)


def test_mcnemar_is_scipys_exact_binomial_test():
    from scipy.stats import binomtest

    for won, lost in [(1, 0), (9, 1), (12, 9), (30, 10), (200, 150)]:
        expected = 2 * binomtest(won, won + lost, alternative="greater").pvalue
        assert _counts(won, lost, 50).p_value == pytest.approx(min(1.0, expected))


@pytest.mark.parametrize(("won", "lost", "both"), [(1, 0, 43), (12, 4, 60), (30, 41, 300)])
def test_the_ends_of_tangos_interval_are_where_the_score_test_is_at_its_level(won, lost, both):
    from scipy.optimize import minimize_scalar

    count = won + lost + both
    result = _counts(won, lost, both)
    for end in (result.low, result.high):

        def unlikely(share: float, end: float = end) -> float:
            """Minus the log-likelihood of a share of lost pairs where the difference is ``end``."""
            cells = [(won, share + end), (lost, share), (both, 1 - 2 * share - end)]
            return -sum(n * math.log(max(p, 1e-300)) for n, p in cells if n)

        bounds = (max(0.0, -end), (1 - end) / 2)
        share = minimize_scalar(unlikely, bounds=bounds, options={"xatol": 1e-12}).x
        error = math.sqrt((2 * share + end - end**2) / count)
        assert abs(result.gain - end) / error == pytest.approx(1.96, abs=0.01)


def test_equal_answers_prove_nothing_for_few_documents():
    assert _counts(0, 0, 100, margin=0.03).p_value > 0.05
    assert _counts(0, 0, 200, margin=0.03).p_value < 0.05


@given(right, right)
def test_right_answers_swapped_flip_the_sign(one, other):
    there = right_or_wrong(one, other, margin=0.0, level=0.05)
    back = right_or_wrong(other, one, margin=0.0, level=0.05)
    assert there.gain == -back.gain
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert not (there.p_value <= 0.05 and back.p_value <= 0.05)


@given(right, st.data())
def test_one_more_right_answer_never_hurts(one, data):
    other = data.draw(arrays.arrays(np.bool_, len(one)))
    better = one.copy()
    better[data.draw(st.integers(0, len(one) - 1))] = True
    for margin in (0.0, 0.05):
        before = right_or_wrong(one, other, margin=margin, level=0.05)
        after = right_or_wrong(better, other, margin=margin, level=0.05)
        assert after.p_value <= before.p_value + 1e-12


@FEW
@given(gains, tokens)
def test_gains_swapped_flip_the_sign(gained, weights):
    there, back = _bootstrap(gained, weights), _bootstrap(-gained, weights)
    assert there.gain == pytest.approx(-back.gain, abs=1e-12)
    assert not (there.p_value <= 0.05 and back.p_value <= 0.05)


@FEW
@given(tokens)
def test_equal_samples_never_win(weights):
    assert _bootstrap(np.zeros(len(weights)), weights).p_value == 1.0
    assert _bootstrap(np.zeros(len(weights)), weights, margin=0.01).p_value < 0.05


@FEW
@given(gains, tokens, st.floats(0.001, 2))
def test_the_same_gain_on_every_token_never_hurts(gained, weights, more):
    before = _bootstrap(gained, weights)
    after = _bootstrap(gained + more * weights, weights)
    assert after.p_value <= before.p_value
    assert after.gain == pytest.approx(before.gain + more)


@FEW
@given(gains, tokens, st.floats(0.001, 1))
def test_a_margin_never_hurts_and_the_interval_agrees_with_the_test(gained, weights, margin):
    strict, lenient = _bootstrap(gained, weights), _bootstrap(gained, weights, margin)
    assert lenient.p_value <= strict.p_value
    if strict.low != strict.high and abs(strict.low) > 1e-9:
        assert (strict.p_value <= 0.05) == (strict.low > 0)


@FEW
@given(gains, tokens, st.floats(0.01, 100))
def test_the_unit_of_the_gain_does_not_matter(gained, weights, unit):
    there, back = _bootstrap(gained, weights), _bootstrap(gained * unit, weights)
    assert back.gain == pytest.approx(there.gain * unit, rel=1e-6, abs=1e-9)
    assert back.p_value == pytest.approx(there.p_value, abs=0.02)


def test_the_same_seed_draws_the_same():
    rng = np.random.default_rng(0)
    gained, weights = rng.normal(0.1, 1, 80), np.ones(80)
    assert _bootstrap(gained, weights) == _bootstrap(gained, weights)
    assert _bootstrap(gained, weights).low != _bootstrap(gained, weights, seed=[3, 4]).low


def test_the_interval_is_near_scipys_on_plain_data():
    from scipy.stats import ttest_1samp

    gained = np.random.default_rng(1).normal(0.2, 1, 300)
    ours = paired_bootstrap(gained, np.ones(300), margin=0.0, level=0.05, draws=20_000, seed=SEED)
    theirs = ttest_1samp(gained, 0)
    interval = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.01)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=0.5)


def test_many_documents_are_summed_in_groups_and_say_the_same():
    rng = np.random.default_rng(2)
    weights = np.round(np.exp(rng.normal(4, 1, 6 * UNITS)))
    gained = rng.normal(0.0, 0.3, 6 * UNITS) * weights
    result = _bootstrap(gained, weights)
    error = math.sqrt(np.sum((gained - result.gain * weights) ** 2)) / weights.sum()
    assert result.gain == pytest.approx(gained.sum() / weights.sum())
    assert result.high - result.low == pytest.approx(2 * 1.96 * error, rel=0.15)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [a for _, a in pairs] == sorted(a for _, a in pairs)


def test_holm_is_that_of_his_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
