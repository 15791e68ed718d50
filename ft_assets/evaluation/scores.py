"""The score of a held-out row, and what can be said about many of them with what certainty.

A loss per token is a ratio of two sums over rows: nats over tokens. Tokens of one row are not
independent, so the row is the unit of every standard error here (a ratio estimator with the delta
method, clustered by row). Pure arithmetic: no torch, no lm-eval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnScore:
    """One assistant turn: its content and the token that ends it."""

    nll: float
    """Negative log-likelihood of the turn, in nats, summed over its tokens."""
    tokens: int
    correct: int
    """Tokens that the model would have said itself (greedy)."""


@dataclass(frozen=True, slots=True)
class RowScore:
    """One conversation of the held-out split."""

    row: int
    """Line in the file, counted from 1."""
    id: str | None
    length: int
    """Tokens of the whole conversation."""
    turns: tuple[TurnScore, ...] = ()
    """The assistant turns that were scored, in order."""
    left_out: int = 0
    """Assistant turns that were not scored, because they end beyond the model's length."""
    skipped: str | None = None
    """Why no turn was scored; None when at least one was."""

    @property
    def nll(self) -> float:
        """Nats over all scored turns."""
        return math.fsum(turn.nll for turn in self.turns)

    @property
    def tokens(self) -> int:
        """Scored tokens."""
        return sum(turn.tokens for turn in self.turns)

    @property
    def correct(self) -> int:
        """Scored tokens that the model would have said itself."""
        return sum(turn.correct for turn in self.turns)


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """One generated answer beside its reference."""

    row: int
    """Line in the file, counted from 1."""
    metrics: dict[str, float]
    """exact_match, rouge_l and chrf, each 0 to 1; none where nothing was asked."""
    answer: str | None
    reference: str
    skipped: str | None = None
    """Why the model was not asked."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its standard error; None where the rows do not suffice to say."""

    value: float | None
    stderr: float | None


Pairs = Sequence[tuple[float, float]]
"""Per row, a numerator and a denominator."""


def ratio(pairs: Pairs) -> Estimate:
    """The sum of numerators over the sum of denominators."""
    bottom = math.fsum(d for _, d in pairs)
    if bottom == 0:
        return Estimate(None, None)
    value = math.fsum(n for n, _ in pairs) / bottom
    return Estimate(value, _stderr([(n - value * d) / bottom for n, d in pairs]))


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values."""
    return ratio([(value, 1) for value in values])


def exponential(estimate: Estimate) -> Estimate:
    """``exp`` of an estimate: a perplexity from a loss. Infinite where it overflows."""
    if estimate.value is None:
        return estimate
    try:
        value = math.exp(estimate.value)
    except OverflowError:
        value = math.inf
    return Estimate(value, None if estimate.stderr is None else value * estimate.stderr)


def _stderr(residuals: Sequence[float]) -> float | None:
    count = len(residuals)
    if count < 2:  # noqa: PLR2004  (one row says nothing about the spread)
        return None
    return math.sqrt(count / (count - 1) * math.fsum(r * r for r in residuals))
