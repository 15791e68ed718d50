"""The check before training: the rows hold tokens to train on, and most rows take part."""

from __future__ import annotations

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.training.token_report import TokenReport

NAME = "trained_tokens"
_MOST = 0.5
"""Share of the rows that must take part: below it the sequence length or the roles are wrong."""


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
            "There are tokens to train on, and no more than half of the rows are left out because "
            "they are too long or have nothing to train on."
        ),
    )


def check_result(asset_key: list[str], report: TokenReport) -> dg.AssetCheckResult:
    """The verdict on one token report."""
    left_out = report.rows_too_long + report.rows_untrained
    share = left_out / (report.rows + left_out)
    passed = report.trained_tokens > 0 and share <= _MOST
    said = (
        f"{report.trained_tokens} of {report.tokens} tokens are trained on; "
        f"{report.rows_too_long} rows are longer than training.max_seq_len ({report.max_seq_len}) "
        f"and {report.rows_untrained} have nothing to train on"
    )
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=dg.AssetKey(asset_key),
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=said if passed else f"{said}: raise max_seq_len or look at the rows",
        metadata={"rows_left_out": share},
    )
