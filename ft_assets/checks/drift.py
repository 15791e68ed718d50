"""The check of a new drop: whether its rows are like those of the drop before it."""

from __future__ import annotations

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.training.drift import LENGTH_LIMIT, TOKEN_LIMIT, Drift

NAME = "like_the_drop_before"


def check_spec(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetCheckSpec:
    """The check as an inline one of ``token_report``; it warns."""
    return inline_check(
        NAME,
        asset_key,
        partitions,
        blocking=False,
        description=(
            "Rows are as long and tokens as frequent as in the drop before: Kolmogorov-Smirnov "
            f"distance of the lengths up to {LENGTH_LIMIT}, Jensen-Shannon divergence of the "
            f"tokens up to {TOKEN_LIMIT} bits, beyond the noise of few rows."
        ),
    )


def check_result(asset_key: list[str], drift: Drift | None) -> dg.AssetCheckResult:
    """The verdict on one drop; ``drift`` is None for the first one."""
    if drift is None:
        return dg.AssetCheckResult(
            check_name=NAME,
            asset_key=dg.AssetKey(asset_key),
            passed=True,
            severity=dg.AssetCheckSeverity.WARN,
            description="there is no drop before, as tokens of the same base model",
        )
    said = (
        f"against {drift.before}: lengths {drift.length_distance:.3f} apart (noise "
        f"{drift.length_noise:.3f}), tokens {drift.token_divergence:.3f} bits (noise "
        f"{drift.token_noise:.3f})"
    )
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=dg.AssetKey(asset_key),
        passed=not drift.is_other,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{said}: look at the new rows" if drift.is_other else said,
        metadata={
            "length_distance": drift.length_distance,
            "token_divergence": drift.token_divergence,
        },
    )
