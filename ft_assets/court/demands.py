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
    from collections.abc import Iterable, Mapping

    from ft_assets.config.promotion import Opponent, PromotionConfig
    from ft_assets.court.verdict import Check
    from ft_assets.evaluation.summary import EvaluationSummary


@dataclass(frozen=True)
class Asked:
    """One comparison that the candidate has to pass."""

    metric: str
    against: Opponent
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
    against: list[Opponent],
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
        Refused: the task, or one of its group, is a general one and has no metric that the margin
            of forgetting fits.
    """
    ruled = [
        metric for owner, metric in map(split_metric, _named_metrics(promotion)) if owner == task
    ]
    guarded = task in forgetting_tasks(promotion, tasks) and task != HELD_OUT
    general = _general_metrics(scores, directions) if guarded else []
    if guarded:
        _refuse_unguarded(task, scores, [*ruled, *general])
    return [
        asked
        for metric in dict.fromkeys([*ruled, *general])
        for model in against
        if (asked := _asked(task, metric, model, promotion, guarded=guarded)) is not None
    ]


def _refuse_unguarded(task: str, scores: Scores, judged: list[str]) -> None:
    """Refuse a general task that could fall unseen; each task of a group counts by itself."""
    for part in scores.parts:
        if not any(scores.has(part, metric) for metric in judged):
            metrics = ", ".join(name for name in sorted(scores.columns) if scores.has(part, name))
            of_group = "" if part == task else f" (of {task})"
            raise Refused(
                f"{part}{of_group} has no score between 0 and 1 that promotion.forgetting_margin "
                f"fits: give one of its metrics ({metrics or 'none'}) a rule and a margin in "
                f"promotion.metrics, as {task}/METRIC"
            )


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
    task: str, metric: str, model: Opponent, promotion: PromotionConfig, *, guarded: bool
) -> Asked | None:
    name = f"{task}/{metric}"
    demand = promotion.demand(name, model, guarded=guarded)
    if demand == "ignore":
        return None
    rule = promotion.metrics.get(name, MetricRule())
    primary = name == promotion.primary
    check: Check = "beats_base" if model == "base" else "beats_champion"
    if demand == "not_worse" and not primary and task != HELD_OUT:
        check = "no_forgetting"
    margin = 0.0
    if demand == "not_worse":
        usual_margin = promotion.primary_margin if primary else None
        margin = rule.margin or usual_margin or promotion.forgetting_margin
    return Asked(metric=metric, against=model, rule=demand, margin=margin, check=check)


def directions_of(
    summary: EvaluationSummary, task: str, parts: list[str], metrics: Iterable[str]
) -> dict[str, bool | None]:
    """Per metric of a task, whether higher is better; None: nobody says, or parts disagree.

    lm-eval says it of a metric, and the scores carry its filter too: ``exact_match`` counts for
    ``exact_match,strict-match``.

    Args:
        summary: which says it.
        task: a task, group or tag.
        parts: the tasks that it stands for.
        metrics: as the scores name them.
    """
    if task == HELD_OUT:
        return {name: name != "loss" for name in HELD_OUT_METRICS}
    known = [summary.higher_is_better.get(part, {}) for part in (*parts, task)]
    found: dict[str, bool | None] = {}
    for metric in metrics:
        plain = metric.partition(",")[0]
        said = {
            each.get(metric, each.get(plain)) for each in known if metric in each or plain in each
        }
        found[metric] = said.pop() if len(said) == 1 else None
    return found
