"""The check before training: the run fits into the memory that will be asked for."""

from __future__ import annotations

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.training.estimate import TrainingEstimate
from ft_assets.training.estimate.estimate import CLEARLY_TOO_LARGE
from ft_assets.training.estimate.world import gib

NAME = "fits_memory"


def check_spec(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetCheckSpec:
    """The check as an inline one of ``token_report``; it blocks ``finetuned_model``."""
    return inline_check(
        NAME,
        asset_key,
        partitions,
        blocking=True,
        description=(
            "The estimated peak is not above the memory of the GPU (kubernetes.gpu_memory). Above "
            f"{CLEARLY_TOO_LARGE:.0%} of it training is not started; on the CPU it is a warning, "
            "because kubernetes.memory binds a pod alone."
        ),
    )


def check_result(asset_key: list[str], estimate: TrainingEstimate | None) -> dg.AssetCheckResult:
    """The verdict on one estimate, with what to change; without one nothing is stopped."""
    if estimate is None:
        return dg.AssetCheckResult(
            check_name=NAME,
            asset_key=dg.AssetKey(asset_key),
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="nothing is known: a model of this kind cannot be estimated",
        )
    needed, limit = gib(estimate.memory.total), gib(estimate.world.memory_limit)
    where = "per GPU" if estimate.world.on_gpu else "of memory"
    source = "kubernetes.gpu_memory" if estimate.world.on_gpu else "kubernetes.memory"
    verdict = estimate.verdict.replace("_", " ")
    said = f"about {needed} GiB {where} of the {limit} GiB that {source} says ({verdict})"
    stops = estimate.verdict == "too_large" and estimate.world.on_gpu
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=dg.AssetKey(asset_key),
        passed=estimate.verdict == "fits",
        severity=dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN,
        description=": ".join([said, *estimate.remedies[:1]]),
        metadata={
            "needed_gib": needed,
            "limit_gib": limit,
            "parts_gib": dg.MetadataValue.json(
                {part: gib(count) for part, count in estimate.memory.model_dump().items()}
            ),
            "remedies": dg.MetadataValue.md(_list(estimate.remedies)),
            "warnings": dg.MetadataValue.md(_list(estimate.warnings)),
        },
    )


def _list(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "none"
