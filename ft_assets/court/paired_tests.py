"""Two models on the same documents: how likely is it that the difference is chance?

Belongs here: statistics on arrays. Does not belong here: files, rules and sentences.

All tests are two-sided: ``p_value`` is twice the chance, on one side, of so good a result if the
candidate were exactly ``margin`` worse than the other (``margin`` 0: exactly as good). A claim with
``p_value <= 0.05`` therefore holds where the 95 % interval lies wholly on its side, and at most
2.5 % of candidates that are as good as the other are called better.
"""

# scipy has no stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

UNITS = 4096
"""The most units that the bootstrap draws from: of more documents, random groups are summed first,
which estimates the spread within about 1 % and bounds time and memory."""

_CELLS = 1 << 20  # counts held at once while drawing: 8 MiB


@dataclass(frozen=True)
class TestResult:
    """One paired test. Gains are oriented: above 0, the candidate is better."""

    __test__ = False  # no test of pytest's, in spite of its name

    gain: float
    low: float
    """Lower end of the confidence interval of the gain."""
    high: float
    p_value: float
    test: Literal["mcnemar", "score", "bootstrap"]


def right_or_wrong(candidate: Bools, other: Bools, *, margin: float, level: float) -> TestResult:
    """Compare answers that are right or wrong.

    McNemar's exact test for superiority; for non-inferiority at a margin Tango's score test, which
    needs no discordant documents: a hundred equal answers do not prove that the loss is below 1 %
    (T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17, 1998). The interval is Tango's.

    Args:
        candidate: per document, whether its answer is right.
        other: the same for the other model.
        margin: how much lower the share of right answers may be; 0 tests for better.
        level: the two-sided level, such as 0.05.
    """
    count = len(candidate)
    won = int(np.count_nonzero(candidate & ~other))
    lost = int(np.count_nonzero(other & ~candidate))
    low, high = _tango_interval(won, lost, count, level)
    if margin > 0:
        one_sided = _normal_tail(_tango(won, lost, count, -margin))
    elif won + lost == 0:
        one_sided = 1.0
    else:
        # The tail of the binomial distribution; scipy.stats, which wraps it, loads for seconds.
        from scipy.special import bdtrc

        one_sided = float(bdtrc(won - 1, won + lost, 0.5)) if won else 1.0
    return TestResult(
        gain=(won - lost) / count,
        low=low,
        high=high,
        p_value=min(1.0, 2 * one_sided),
        test="score" if margin > 0 else "mcnemar",
    )


def _tango(won: int, lost: int, count: int, difference: float) -> float:
    """Tango's score statistic for a difference of shares: standard normal if it is the true one."""
    a = 2 * count
    b = -won - lost + (2 * count - won + lost) * difference
    c = -lost * difference * (1 - difference)
    lost_share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = count * (2 * lost_share + difference * (1 - difference))
    distance = won - lost - count * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _tango_interval(won: int, lost: int, count: int, level: float) -> tuple[float, float]:
    critical = NormalDist().inv_cdf(1 - level / 2)
    gain = (won - lost) / count
    # The statistic falls as the supposed difference rises.
    low = _root(lambda d: _tango(won, lost, count, d) - critical, -1.0, gain)
    high = _root(lambda d: _tango(won, lost, count, d) + critical, gain, 1.0)
    return low, high


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero, by bisection: to 1e-12, and never out of bounds."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _normal_tail(statistic: float) -> float:
    return math.erfc(statistic / math.sqrt(2)) / 2


def paired_bootstrap(
    gains: Floats, weights: Floats, *, margin: float, level: float, draws: int, seed: list[int]
) -> TestResult:
    """Compare scores of any kind by drawing documents anew, with what both models scored there.

    The gain is ``sum(gains) / sum(weights)``: a loss per token is nats over tokens and a mean score
    has weights of 1. A document is drawn with all its tokens, because those are not independent.
    The bootstrap is studentised (bootstrap-t): each draw's deviation is divided by the draw's own
    standard error, which allows for skewed gains, where a percentile interval is too narrow (B.
    Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12;
    scipy.stats.bootstrap has percentile and BCa only). Where few of few documents differ its draws
    hold too little to tell, and Student's t is the wider of the two; each errs where the other
    does not, so both must agree (``bench/court.py`` measures it).

    Args:
        gains: per document, how much better the candidate is, in the numerator's unit.
        weights: per document, the denominator; their sum is above 0.
        margin: how much worse the candidate may be, in the unit of the quotient; 0 tests for
            better.
        level: the two-sided level, such as 0.05.
        draws: how many.
        seed: of the draws; the same draws for the same seed and number of documents.
    """
    rng = np.random.default_rng(seed)
    gains, weights = _in_groups(gains, weights, rng)
    gain = float(gains.sum() / weights.sum())
    rest = gains - gain * weights
    error = math.sqrt(float(rest @ rest)) / float(weights.sum())
    # Rounding leaves crumbs where all documents gain the same.
    if error <= 1e-12 * float(np.abs(gains).sum()) / float(weights.sum()):
        sure = gain + margin > 0
        return TestResult(gain, gain, gain, 2 / (draws + 1) if sure else 1.0, "bootstrap")
    deviations = _studentised(rest, weights, error, draws, rng)
    deviations.sort()
    distance = (gain + margin) / error
    beyond = draws - int(np.searchsorted(deviations, distance, side="left"))
    tail = max(0, math.floor(level / 2 * (draws + 1)) - 1)
    p_of_t, reach = _student(distance, len(rest), level)
    return TestResult(
        gain=gain,
        low=gain - max(float(deviations[draws - 1 - tail]), reach) * error,
        high=gain - min(float(deviations[tail]), -reach) * error,
        p_value=min(1.0, max(2 * (1 + beyond) / (draws + 1), p_of_t)),
        test="bootstrap",
    )


def _student(distance: float, units: int, level: float) -> tuple[float, float]:
    """Student's t: the two-sided p-value of a distance in standard errors, and the interval's half.

    Both in standard errors that divide by the number of units, not by one less.
    """
    from scipy.special import stdtr, stdtrit

    shrink = math.sqrt((units - 1) / units)
    p_value = 2 * float(stdtr(units - 1, -distance * shrink))
    return p_value, float(stdtrit(units - 1, 1 - level / 2)) / shrink


def _in_groups(gains: Floats, weights: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    if len(gains) <= UNITS:
        return gains, weights
    order = rng.permutation(len(gains))
    starts = np.linspace(0, len(gains), UNITS, endpoint=False).astype(np.intp)
    return np.add.reduceat(gains[order], starts), np.add.reduceat(weights[order], starts)


def _studentised(
    rest: Floats, weights: Floats, error: float, draws: int, rng: np.random.Generator
) -> Floats:
    """Per draw, the deviation of its gain from the observed one, over its own standard error.

    A draw is how often each document is in it, so that all its sums are one product of matrices.
    """
    units = len(rest)
    columns = np.stack([rest, weights, rest * rest, rest * weights, weights * weights], axis=1)
    result = np.empty(draws)
    chunk = max(1, _CELLS // units)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        places = rng.integers(0, units, (size, units), dtype=np.int32)
        places += np.arange(size, dtype=np.int32)[:, None] * units
        counts = np.bincount(places.ravel(), minlength=size * units).astype(np.float64)
        top, bottom, squares, mixed, bottoms = (counts.reshape(size, units) @ columns).T
        bottom = np.where(bottom > 0, bottom, 1.0)  # only documents without tokens were drawn
        deviation = top / bottom
        variance = squares - 2 * deviation * mixed + deviation * deviation * bottoms
        own = np.sqrt(np.maximum(variance, 0.0)) / bottom
        result[start : start + size] = deviation / np.maximum(own, error * 1e-6)
    return result
