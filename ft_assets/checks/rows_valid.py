"""The check of the raw dataset: whether every row could be used."""

from __future__ import annotations

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.data.ingest import IngestReport

NAME = "rows_valid"


def check_spec(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetCheckSpec:
    """The check as an inline one of ``raw_dataset``; it warns."""
    return inline_check(
        NAME,
        asset_key,
        partitions,
        blocking=False,
        description="No row was dropped because it could not be used (dataset.on_bad_rows: drop).",
    )


def check_result(
    asset_key: list[str], report: IngestReport, own_held_out: IngestReport | None = None
) -> dg.AssetCheckResult:
    """The verdict on the rows, and on those of a held-out set of the user's own."""
    said = [_said(report, "rows", "dropped.jsonl")]
    metadata = {"dropped": report.dropped}
    if own_held_out is not None:
        said.append(_said(own_held_out, "rows of dataset.eval_uri", "eval_dropped.jsonl"))
        metadata["held_out_dropped"] = own_held_out.dropped
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=dg.AssetKey(asset_key),
        passed=not any(metadata.values()),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(said),
        metadata=metadata,
    )


def _said(report: IngestReport, rows: str, listing: str) -> str:
    dropped = sum(report.dropped.values())
    if not dropped:
        return f"all {report.rows_read} {rows} are valid"
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
    return (
        f"{dropped} of {report.rows_read} {rows} were dropped ({reasons}): {listing} of the "
        "artifact lists them"
    )
