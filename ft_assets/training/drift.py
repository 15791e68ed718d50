"""Whether the rows of a drop are like those of the drop before it.

Two questions that no language has to be known for: are rows as long as before, and are the tokens
as frequent as before? Both are compared as distributions, so that the number of rows plays no part
but for the noise that few rows make.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from resources.record import Record

BUCKETS = 256
"""Token ids are counted by their remainder: enough to see other words, small enough to keep."""

LENGTH_LIMIT = 0.2
"""Kolmogorov-Smirnov distance of the lengths above which, noise aside, they are other ones."""

TOKEN_LIMIT = 0.05
"""Jensen-Shannon divergence of the tokens, in bits, above which they are other ones."""


class TokenShape(Record):
    """What of a drop's training rows is kept to compare the next drop with."""

    rows: int
    percentiles: list[int]
    """Tokens per row at 0, 1, ... 100 per cent of the rows."""
    buckets: list[int]
    """Tokens by id modulo 256."""


class Drift(Record):
    """How far a drop is from the one before it."""

    before: str
    """The drop that it is compared with."""
    length_distance: float
    """0: as long as before; 1: no length in common."""
    length_noise: float
    """The distance that so few rows of one kind would reach in one case of twenty."""
    token_divergence: float
    """In bits; 0: as frequent as before; 1: no token in common."""
    token_noise: float
    """The divergence to expect of so few tokens of one kind."""

    @property
    def is_other(self) -> bool:
        """Whether the drop is unlike the one before it."""
        longer = self.length_distance > max(LENGTH_LIMIT, self.length_noise)
        return longer or self.token_divergence > TOKEN_LIMIT + 2 * self.token_noise


def shape_of(lengths: Mapping[int, int], buckets: Sequence[int]) -> TokenShape:
    """The shape of rows, from how many rows have which length and from their tokens' buckets."""
    rows = sum(lengths.values())
    percentiles: list[int] = []
    seen, values = 0, iter(sorted(lengths))
    value = next(values)
    for percent in range(101):
        rank = max(1, math.ceil(percent / 100 * rows))
        while seen + lengths[value] < rank:
            seen += lengths[value]
            value = next(values)
        percentiles.append(value)
    return TokenShape(rows=rows, percentiles=percentiles, buckets=list(buckets))


def compare(before: TokenShape, now: TokenShape, name: str) -> Drift:
    """How far ``now`` is from ``before``, the drop called ``name``.

    The noise of the lengths is the two-sample Kolmogorov-Smirnov bound at 5 %; that of the tokens
    the mean of the divergence of two samples of one multinomial (Grosse et al., 2002,
    "Analysis of symbolic sequences using the Jensen-Shannon divergence").
    """
    few = 1 / before.rows + 1 / now.rows
    tokens = 1 / sum(before.buckets) + 1 / sum(now.buckets)
    return Drift(
        before=name,
        length_distance=_distance(before.percentiles, now.percentiles),
        length_noise=1.36 * math.sqrt(few),
        token_divergence=_divergence(before.buckets, now.buckets),
        token_noise=(BUCKETS - 1) / (8 * math.log(2)) * tokens,
    )


def _distance(one: Sequence[int], other: Sequence[int]) -> float:
    """The largest difference of the shares of rows up to some length."""

    def share(percentiles: Sequence[int], length: int) -> float:
        return sum(value <= length for value in percentiles) / len(percentiles)

    return max(abs(share(one, length) - share(other, length)) for length in {*one, *other})


def _divergence(one: Sequence[int], other: Sequence[int]) -> float:
    """Jensen-Shannon, in bits."""
    total = 0.0
    ones, others = sum(one), sum(other)
    for a, b in zip(one, other, strict=True):
        p, q = a / ones, b / others
        middle = (p + q) / 2
        total += sum(x / 2 * math.log2(x / middle) for x in (p, q) if x)
    return total
