"""Which comparisons a candidate has to pass: the rules of the YAML, spelled out.

Belongs here: from ``promotion`` and what was measured to a list of demands. Does not belong here:
whether a demand is met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ft_assets.config.promotion import HELD_OUT, HELD_OUT_METRICS, MetricRule, split_metric
from ft_assets.court.pairing import Refused, Scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ft_assets.config.promotion import Demand, PromotionConfig
    from ft_assets.court.verdict import Check
    from ft_assets.evaluation.summary import EvaluationSummary

Model = Literal["base", "champion"]


@dataclass(frozen=True)
class Asked:
    """One comparison that the candidate has to pass."""

    metric: str
    against: Model
    rule: Literal["better", "not_worse"]
    margin: float
    """0 for ``better``."""
    check: Check


def forgetting_tasks(promotion: PromotionConfig, tasks: list[str]) -> list[str]:
    """The general tasks that must not fall."""
    return tasks if promotion.forgetting_tasks is None else promotion.forgetting_tasks


def judged_tasks(promotion: PromotionConfig, tasks: list[str]) -> list[str]:
    """The tasks that the verdict depends on, the primary one first."""
    primary = split_metric(promotion.primary)[0]
    ruled = [split_metric(name)[0] for name in promotion.metrics]
    return list(dict.fromkeys([primary, *ruled, *forgetting_tasks(promotion, tasks)]))


def demands_of_task(
    task: str,
    promotion: PromotionConfig,
    *,
    tasks: list[str],
    scores: Scores,
    directions: Mapping[str, bool | None],
    against: list[Model],
) -> list[Asked]:
    """What the candidate has to show in one task.

    Args:
        task: which.
        promotion: the rules.
        tasks: ``evaluation.tasks``.
        scores: the candidate's in this task.
        directions: per metric of this task, whether higher is better.
        against: the models that there are to compare with.

    Raises:
        Refused: the task is a general one and has no metric that the margin of forgetting fits.
    """
    ruled = [
        metric for owner, metric in map(split_metric, _named_metrics(promotion)) if owner == task
    ]
    guarded = task in forgetting_tasks(promotion, tasks) and task != HELD_OUT
    general = _general_metrics(scores, directions) if guarded else []
    if guarded and not general and not ruled:
        raise Refused(
            f"{task} has no score between 0 and 1 that promotion.forgetting_margin fits: give one "
            f"of its metrics ({', '.join(sorted(scores.columns)) or 'none'}) a rule and a margin "
            "in promotion.metrics"
        )
    return [
        asked
        for metric in dict.fromkeys([*ruled, *general])
        for model in against
        if (asked := _asked(task, metric, model, promotion, guarded=guarded)) is not None
    ]


def _named_metrics(promotion: PromotionConfig) -> list[str]:
    return [promotion.primary, *(name for name in promotion.metrics if name != promotion.primary)]


def _general_metrics(scores: Scores, directions: Mapping[str, bool | None]) -> list[str]:
    """The scores of a general task whose unit is known: between 0 and 1, with a direction."""
    return [
        name
        for name, column in sorted(scores.columns.items())
        if not column.ratio
        and directions.get(name) is not None
        and all(not (value < 0 or value > 1) for value in column.tops)  # NaN is judged later
    ]


def _asked(
    task: str, metric: str, model: Model, promotion: PromotionConfig, *, guarded: bool
) -> Asked | None:
    name = f"{task}/{metric}"
    rule = promotion.metrics.get(name, MetricRule())
    own = rule.against_base if model == "base" else rule.against_champion
    primary = name == promotion.primary
    usual: Demand = "not_worse" if guarded else "ignore"
    if primary:
        usual = "better" if model == "base" else promotion.against_champion
    demand = own or usual
    if demand == "ignore":
        return None
    check: Check = "beats_base" if model == "base" else "beats_champion"
    if demand == "not_worse" and not primary and task != HELD_OUT:
        check = "no_forgetting"
    margin = 0.0
    if demand == "not_worse":
        usual_margin = promotion.primary_margin if primary else None
        margin = rule.margin or usual_margin or promotion.forgetting_margin
    return Asked(metric=metric, against=model, rule=demand, margin=margin, check=check)


def directions_of(
    summary: EvaluationSummary, task: str, parts: list[str]
) -> dict[str, bool | None]:
    """Per metric of a task or of a group's parts, whether higher is better; None: nobody says."""
    if task == HELD_OUT:
        return {name: name != "loss" for name in HELD_OUT_METRICS}
    found: dict[str, bool | None] = {}
    for name in (*parts, task):
        found.update(summary.higher_is_better.get(name, {}))
    return found
