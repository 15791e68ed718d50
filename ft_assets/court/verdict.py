"""What the court says: kept with the evaluation as ``verdict.json`` and shown wherever it counts.

Belongs here: the records and their meaning. Does not belong here: how a verdict comes about.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ft_assets.config.promotion import PromotionConfig
from resources.record import Record

Check = Literal["complete", "beats_base", "beats_champion", "no_forgetting"]
CHECKS: tuple[Check, ...] = ("complete", "beats_base", "beats_champion", "no_forgetting")

Against = Literal["base", "champion", "threshold"]
Rule = Literal["better", "not_worse", "min", "max"]


class Comparison(Record):
    """One metric of the candidate beside another model's, document by document, or a threshold."""

    check: Check
    """The check that it belongs to."""
    task: str
    metric: str
    against: Against
    rule: Rule
    """``better``, ``not_worse`` than the other by more than ``margin``, ``min`` or ``max``."""
    margin: float | None = None
    """In the metric's unit."""
    candidate: float | None = None
    """The candidate's value over the compared documents."""
    other: float | None = None
    """The other model's over the same documents, or the threshold."""
    difference: float | None = None
    """``candidate - other``; whether more is better depends on the metric."""
    low: float | None = None
    """Lower end of the confidence interval of the difference; before any correction."""
    high: float | None = None
    """Its upper end."""
    p_value: float | None = None
    """Two-sided: twice the chance of so good a result if the rule were just not met."""
    p_adjusted: float | None = None
    """The same after the correction; at most ``1 - confidence`` where the comparison passed."""
    samples: int = 0
    """Documents that both models scored; for a threshold, those that the candidate scored."""
    test: Literal["mcnemar", "score", "bootstrap"] | None = None
    """McNemar's exact test, Tango's score test, or the paired bootstrap."""
    passed: bool = False
    reason: str
    """One sentence, with the numbers."""


class CheckVerdict(Record):
    """What one of the checks before registration says."""

    name: Check
    passed: bool
    reason: str
    """One sentence, or some with semicolons between them."""


class Overrule(Record):
    """Who promoted a candidate that the court refused."""

    name: str
    reason: str


class Settings(Record):
    """What the verdict was reached by, so that it can be reached again."""

    promotion: PromotionConfig = PromotionConfig()
    tasks: list[str] = Field(default_factory=list)
    """``evaluation.tasks`` of the pipeline."""
    held_out: bool = True
    """Whether the pipeline holds rows out."""
    champion_expected: bool = False
    """Whether the registry had a champion other than the candidate."""


class Verdict(Record):
    """Whether a candidate may be registered, and why."""

    passed: bool
    """It may be registered: it won, or a person overruled the court (see ``overruled``)."""
    reason: str
    """One sentence."""
    reasons: list[str] = Field(default_factory=list)
    """One sentence each: all that speaks against the candidate; if nothing does, all it won."""
    comparisons: list[Comparison] = Field(default_factory=list[Comparison])
    checks: list[CheckVerdict] = Field(default_factory=list[CheckVerdict])
    """One per check before registration."""
    overruled: Overrule | None = None
    """Set only where it mattered: the candidate would not have passed without it."""
    settings: Settings | None = None

    @property
    def won(self) -> bool:
        """Whether the candidate passed by itself, with nobody overruling."""
        return self.passed and self.overruled is None
