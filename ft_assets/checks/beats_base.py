"""The first check before registration: the tuned model is better than the one it came from.

It fails closed: what is absent, partial or not finite is not better.
"""

from __future__ import annotations

import math

import dagster as dg
from pydantic import BaseModel, ConfigDict

from ft_assets.checks.inline import inline_check
from ft_assets.evaluation.summary import EvaluationSummary

NAME = "beats_base"


class Verdict(BaseModel):
    """Whether a model may be registered, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reason: str


def judge(summary: EvaluationSummary) -> Verdict:
    """Judge an evaluation: the held-out loss must be finite and below the base model's."""
    if summary.partial:
        return Verdict(
            passed=False,
            reason="the evaluation is partial (evaluation.limit): nothing is registered on a part",
        )
    losses: dict[str, float] = {}
    for name in ("base", "tuned"):
        model = summary.models.get(name)
        loss = model.held_out.loss if model is not None and model.held_out is not None else None
        if loss is None or not math.isfinite(loss):
            return Verdict(
                passed=False, reason=f"the {name} model has no finite loss on held-out rows"
            )
        losses[name] = loss
    passed = losses["tuned"] < losses["base"]
    change = (losses["tuned"] / losses["base"] - 1) * 100
    return Verdict(
        passed=passed,
        reason=(
            f"held-out loss {losses['tuned']:.4f} against {losses['base']:.4f} of the base model "
            f"({change:+.1f} %): {'better' if passed else 'not better'}"
        ),
    )


def check_spec(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetCheckSpec:
    """The check as an inline one of ``eval_report``; it blocks ``registered_version``."""
    return inline_check(
        NAME,
        asset_key,
        partitions,
        blocking=True,
        description=(
            "The tuned model's loss on held-out rows is finite and below the base model's. "
            "Without it nothing is registered."
        ),
    )


def check_result(asset_key: list[str], verdict: Verdict) -> dg.AssetCheckResult:
    """The verdict as Dagster's check result."""
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=dg.AssetKey(asset_key),
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=verdict.reason,
        metadata={"verdict": verdict.reason},
    )
