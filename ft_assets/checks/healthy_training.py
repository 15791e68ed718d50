"""The check of a finished run: whether its metrics are those of a healthy training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.lineage import table
from ft_assets.training.health import Finding
from resources.errors import UserError

NAME = "healthy_training"


def check_spec(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetCheckSpec:
    """The check as an inline one of ``finetuned_model``; an error blocks what is made of it."""
    return inline_check(
        NAME,
        asset_key,
        partitions,
        blocking=True,
        description=(
            "No number is NaN or infinite, the loss falls and is not 0, neither it nor the "
            "gradients jump or explode, the learning rate moves, the held-out loss does not rise "
            "while the training loss falls, and the speed stays. An error blocks evaluation and "
            "registration; a warning does not."
        ),
    )


def check_result(asset_key: list[str], findings: Sequence[Finding]) -> dg.AssetCheckResult:
    """The verdict on one run; advice alone passes.

    Args:
        asset_key: of the asset.
        findings: of the run, the worst first.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    warnings = [finding for finding in findings if finding.severity == "warning"]
    said = [str(finding) for finding in errors or warnings or findings]
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=dg.AssetKey(asset_key),
        passed=not errors and not warnings,
        severity=dg.AssetCheckSeverity.ERROR if errors else dg.AssetCheckSeverity.WARN,
        description="; ".join(said) or "nothing was found",
        metadata={
            "findings": table(
                [
                    {
                        "severity": finding.severity,
                        "step": finding.step,
                        "seen": finding.seen,
                        "remedy": finding.remedy,
                        "code": finding.code,
                    }
                    for finding in findings
                ]
            )
        }
        if findings
        else {},
    )


def findings_of(metadata: Mapping[str, Any]) -> list[Finding]:
    """What was found in the run of a model, from its manifest.

    Raises:
        UserError: an earlier version made it.
    """
    if "health" not in metadata:
        raise UserError(
            "the model was trained by an earlier version of this project, which did not judge its "
            "training: materialize finetuned_model again"
        )
    return [Finding.model_validate(finding) for finding in metadata["health"]]


def error_of(metadata: Mapping[str, Any]) -> str | None:
    """Why a model cannot be trusted, from its manifest; a step that runs alone asks here."""
    errors = [finding for finding in findings_of(metadata) if finding.severity == "error"]
    return str(errors[0]) if errors else None
