"""The court as Dagster's checks: what stands between an evaluation and the registry.

Inline checks of ``eval_report``, one status per drop; each blocks ``registered_version``. Belongs
here: the verdict in Dagster's words. Does not belong here: how it is reached (``ft_assets.court``).
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.court.verdict import CHECKS, Check, CheckVerdict, Comparison, Verdict
from ft_assets.lineage import table

_DESCRIPTIONS: dict[Check, str] = {
    "complete": (
        "Everything that the rules of promotion ask for was measured, in full, on the same "
        "documents for all models, and is a finite number."
    ),
    "beats_base": (
        "The primary metric is better than the base model's beyond chance, and the rules of "
        "single metrics against it and their thresholds hold."
    ),
    "beats_champion": (
        "The primary metric is better than the champion's beyond chance, or not worse where the "
        "pipeline asks for that. Without a champion there is nothing to beat."
    ),
    "no_forgetting": (
        "No general task is worse by more than the margin, against the base model and the champion."
    ),
}


def check_specs(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> list[dg.AssetCheckSpec]:
    """The four checks as inline ones of ``eval_report``; they block ``registered_version``."""
    return [
        inline_check(
            name,
            asset_key,
            partitions,
            blocking=True,
            description=f"{_DESCRIPTIONS[name]} Without it nothing is registered.",
        )
        for name in CHECKS
    ]


def check_results(asset_key: list[str], verdict: Verdict) -> list[dg.AssetCheckResult]:
    """The verdict as Dagster's check results, one for each of ``check_specs``.

    A check that a person overruled passes with a warning that says who and why. A check that the
    verdict does not speak of fails.
    """
    said = {check.name: check for check in verdict.checks}
    return [
        _result(
            asset_key,
            said.get(name) or CheckVerdict(name=name, passed=False, reason=verdict.reason),
            verdict,
        )
        for name in CHECKS
    ]


def _result(asset_key: list[str], check: CheckVerdict, verdict: Verdict) -> dg.AssetCheckResult:
    overruled = None if check.passed else verdict.overruled
    reason = check.reason
    metadata: dict[str, Any] = {"verdict": reason}
    if overruled is not None:
        reason = f"overruled by {overruled.name} ({overruled.reason}), against: {reason}"
        metadata |= {"overruled_by": overruled.name, "overruled_because": overruled.reason}
    rows = [_row(c) for c in verdict.comparisons if c.check == check.name]
    if rows:
        metadata["comparisons"] = table(rows)
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=dg.AssetKey(asset_key),
        passed=check.passed or overruled is not None,
        severity=(dg.AssetCheckSeverity.ERROR if overruled is None else dg.AssetCheckSeverity.WARN),
        description=reason,
        metadata=metadata,
    )


def _row(comparison: Comparison) -> dict[str, str | float | None]:
    return {
        "metric": f"{comparison.task}/{comparison.metric}",
        "rule": comparison.rule,
        "against": comparison.against,
        "candidate": _rounded(comparison.candidate),
        "other": _rounded(comparison.other),
        "low": _rounded(comparison.low),
        "high": _rounded(comparison.high),
        "p": _rounded(comparison.p_adjusted),
        "passed": "yes" if comparison.passed else "no",
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
