"""The ``promotion`` block: what a candidate must show before it is registered.

Belongs here: the rules that a person sets. Does not belong here: how they are judged
(``ft_assets/court``).
"""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter

HELD_OUT = "held_out"
"""The task over the held-out split, as in the evaluation's samples and results."""

HELD_OUT_METRICS = ("loss", "token_accuracy", "exact_match", "rouge_l", "chrf")
"""What is kept of each held-out row and so can be compared row by row."""

_OVERRULE = re.compile(r"\s*(?P<name>[^:\n]*[^:\s])\s*:\s*(?P<reason>\S.*)", re.DOTALL)

MOST_DRAWS = 1_000_000

Demand = Literal["better", "not_worse", "ignore"]
Opponent = Literal["base", "champion"]


class MetricRule(Block):
    """What one metric must show. What is left out is as it would be without the rule."""

    against_base: Demand | None = parameter(
        None,
        "Against the base model: better, not_worse (by more than the margin) or ignore.",
    )
    against_champion: Demand | None = parameter(
        None,
        "Against the champion: better, not_worse (by more than the margin) or ignore.",
    )
    margin: float | None = parameter(
        None,
        "How much worse is still not worse, in the metric's own unit (0.01 of an accuracy is one "
        "point of 100); forgetting_margin when not set.",
        gt=0,
        allow_inf_nan=False,
    )
    min: float | None = parameter(
        None, "The candidate's own value must not be below this.", allow_inf_nan=False
    )
    max: float | None = parameter(
        None, "The candidate's own value must not be above this.", allow_inf_nan=False
    )

    @model_validator(mode="after")
    def _some_value_passes(self) -> MetricRule:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: no value would pass")
        return self


class PromotionConfig(Block):
    """What a candidate must show. Whatever is absent, partial or not a number is refused."""

    primary: str = parameter(
        f"{HELD_OUT}/loss",
        "The metric that the candidate must win, as TASK/METRIC; it must be better than the "
        "base model's.",
    )
    against_champion: Literal["better", "not_worse"] = parameter(
        "better",
        "What the primary metric must show against the champion. better: only a proven gain "
        "replaces a model that is in use. not_worse: a new model of the same quality replaces it "
        "too, for teams that train again on a schedule; needs primary_margin.",
    )
    primary_margin: float | None = parameter(
        None,
        "With against_champion: not_worse, how much worse the primary metric may be, in its own "
        "unit (nats per token for the loss).",
        gt=0,
        allow_inf_nan=False,
    )
    metrics: dict[str, MetricRule] = parameter(
        {}, "Rules of single metrics, by TASK/METRIC (held_out/rouge_l, arc_easy/acc_norm)."
    )
    required_tasks: list[str] | None = parameter(
        None,
        "Tasks without which nothing is promoted: names of evaluation.tasks, or held_out. "
        "All that are evaluated when not set.",
    )
    forgetting_tasks: list[str] | None = parameter(
        None,
        "General tasks that must not fall: names of evaluation.tasks. All of them when not set; "
        "none with [].",
    )
    forgetting_margin: float = parameter(
        0.03,
        "How far a general task may fall, against the base model and against the champion: in "
        "the metric's own unit, which is 0 to 1 for accuracies.",
        gt=0,
        allow_inf_nan=False,
    )
    confidence: float = parameter(
        0.95,
        "Confidence of the intervals. A difference counts when its whole interval lies on one "
        "side: of zero for better, of the margin for not_worse.",
        gt=0.5,
        lt=1,
    )
    correction: Literal["holm", "none"] = parameter(
        "holm",
        "Correction for many comparisons: holm keeps the chance that any claim of the verdict is "
        "wrong within 1 - confidence; none does so for each claim by itself.",
    )
    bootstrap_draws: int = parameter(
        10_000, "Draws of the paired bootstrap.", ge=1_000, le=MOST_DRAWS
    )
    seed: int = parameter(42, "Seed of the bootstrap.", ge=0, le=2**32 - 1)
    min_samples: int = parameter(
        30, "Documents that both models must have scored, per comparison.", ge=2
    )
    overrule: str = parameter(
        "",
        "For one run only: NAME: REASON of a person who promotes a candidate that lost. "
        "Refused in a pipeline file; kept with the verdict.",
    )

    @field_validator("primary")
    @classmethod
    def _primary_is_a_metric(cls, primary: str) -> str:
        return _checked_metric(primary)

    @field_validator("metrics")
    @classmethod
    def _rules_are_for_metrics(cls, metrics: dict[str, MetricRule]) -> dict[str, MetricRule]:
        for name in metrics:
            _checked_metric(name)
        return metrics

    @field_validator("overrule")
    @classmethod
    def _somebody_says_why(cls, overrule: str) -> str:
        if overrule and _OVERRULE.fullmatch(overrule) is None:
            raise ValueError("must name who overrules and why: NAME: REASON")
        return overrule

    @model_validator(mode="after")
    def _draws_suffice(self) -> PromotionConfig:
        needed = draws_needed(self.confidence, comparisons=1)
        if self.bootstrap_draws < needed:
            raise ValueError(
                f"bootstrap_draws {self.bootstrap_draws} are too few for confidence "
                f"{self.confidence:g}: no difference, however large, would count: "
                f"{remedy_for_draws(needed)}"
            )
        return self

    @model_validator(mode="after")
    def _rules_say_something(self) -> PromotionConfig:
        for name, rule in self.metrics.items():
            if rule == MetricRule():
                raise ValueError(
                    f"metrics.{name} asks for nothing: set against_base, against_champion, min or "
                    "max, or remove it"
                )
            # Without forgetting_tasks all that are evaluated are guarded, and rules are for those.
            task = split_metric(name)[0]
            all_guarded = self.forgetting_tasks is None
            guarded = task != HELD_OUT and (all_guarded or task in (self.forgetting_tasks or []))
            demands = {
                self.demand(name, "base", guarded=guarded),
                self.demand(name, "champion", guarded=guarded),
            }
            if rule.margin is not None and "not_worse" not in demands:
                raise ValueError(
                    f"metrics.{name}.margin {rule.margin:g} has no effect, since nothing asks that "
                    "the metric be not_worse: set against_base or against_champion to not_worse, "
                    "or remove the margin"
                )
        return self

    @model_validator(mode="after")
    def _rules_agree(self) -> PromotionConfig:
        own = self.metrics.get(self.primary, MetricRule())
        demand = own.against_champion or self.against_champion
        if demand == "not_worse" and (own.margin or self.primary_margin) is None:
            raise ValueError(
                f"against_champion: not_worse says nothing for {self.primary} without a margin: "
                "set primary_margin, in the unit of the metric"
            )
        if own.against_base not in (None, "better"):
            raise ValueError(
                f"metrics.{self.primary}.against_base is {own.against_base}, but the primary "
                "metric must be better than the base model's: name another primary metric"
            )
        if own.against_champion == "ignore":
            raise ValueError(
                f"metrics.{self.primary}.against_champion is ignore, but the primary metric is "
                "what a candidate is compared with the champion by: set better or not_worse"
            )
        if self.primary_margin is not None and demand != "not_worse":
            raise ValueError(
                f"primary_margin {self.primary_margin:g} has no effect, since {self.primary} must "
                f"be {demand} than the champion's: set against_champion: not_worse, or remove it"
            )
        return self

    def demand(self, name: str, against: Opponent, *, guarded: bool) -> Demand:
        """What a metric must show against another model.

        Args:
            name: ``TASK/METRIC``.
            against: the other model.
            guarded: whether it is of a general task that must not fall.
        """
        rule = self.metrics.get(name, MetricRule())
        own = rule.against_base if against == "base" else rule.against_champion
        if own is not None:
            return own
        if name == self.primary:
            return "better" if against == "base" else self.against_champion
        return "not_worse" if guarded else "ignore"

    def overruled_by(self) -> tuple[str, str] | None:
        """Who overrules the court and why; None when nobody does."""
        found = _OVERRULE.fullmatch(self.overrule)
        return (found["name"].strip(), found["reason"].strip()) if found else None

    def refuse_unknown_tasks(self, tasks: list[str], *, held_out: bool) -> None:
        """Refuse rules for what the evaluation does not measure.

        Args:
            tasks: ``evaluation.tasks``.
            held_out: whether there are held-out rows.

        Raises:
            ValueError: naming the parameter, the task and the remedy.
        """
        known = [HELD_OUT, *tasks] if held_out else tasks
        named = {
            "promotion.required_tasks": self.required_tasks or [],
            "promotion.forgetting_tasks": self.forgetting_tasks or [],
            "promotion.metrics": [split_metric(name)[0] for name in self.metrics],
            "promotion.primary": [split_metric(self.primary)[0]],
        }
        for where, names in named.items():
            for task in names:
                if task == HELD_OUT and not held_out:
                    raise ValueError(
                        f"{where} names {HELD_OUT}, but dataset.split: 1.0 holds nothing out: "
                        "lower the split, or set promotion.primary to TASK/METRIC of a task"
                    )
                if task not in known:
                    raise ValueError(
                        f"{where} names the task {task!r}, which is not measured: add it to "
                        f"evaluation.tasks, or name one of {', '.join(known)}"
                    )


def draws_needed(confidence: float, *, comparisons: int) -> int:
    """Draws of the bootstrap without which nothing can pass.

    ``n`` draws show no p-value below ``2 / (n + 1)``, and the correction multiplies it.

    Args:
        confidence: of the intervals.
        comparisons: that are corrected together.
    """
    level = round(1 - confidence, 12)
    return math.ceil(round(2 * comparisons / level, 6)) - 1


def remedy_for_draws(needed: int) -> str:
    """What to do about too few draws of the bootstrap."""
    if needed > MOST_DRAWS:
        return f"lower confidence (it would need {needed} draws; {MOST_DRAWS} are the most)"
    return f"set bootstrap_draws to {needed} or more, or lower confidence"


def split_metric(name: str) -> tuple[str, str]:
    """The task and the metric of ``TASK/METRIC``."""
    task, _, metric = name.rpartition("/")
    return task, metric


def _checked_metric(name: str) -> str:
    task, metric = split_metric(name)
    if not task or not metric:
        raise ValueError(f"is {name!r}: write TASK/METRIC, as in {HELD_OUT}/loss")
    if task == HELD_OUT and metric not in HELD_OUT_METRICS:
        raise ValueError(
            f"is {name!r}: the held-out rows have the metrics {', '.join(HELD_OUT_METRICS)}"
        )
    return name
