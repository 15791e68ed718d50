"""The check of the raw dataset: whether keys, tokens or mail addresses stayed in its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import dagster as dg

from ft_assets.checks.inline import inline_check
from ft_assets.data.ingest import IngestReport, OnSensitive

NAME = "no_secrets"


def check_spec(
    asset_key: list[str], partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetCheckSpec:
    """The check as an inline one of ``raw_dataset``; it warns."""
    return inline_check(
        NAME,
        asset_key,
        partitions,
        blocking=False,
        description=(
            "No key, token, password in a URL or mail address that was found stayed in the rows "
            "(dataset.sensitive; ignore does not look for any)."
        ),
    )


def check_result(
    asset_key: list[str], sensitive: OnSensitive, reports: Sequence[IngestReport]
) -> dg.AssetCheckResult:
    """The verdict on the rows and on a held-out set of the user's own.

    Args:
        asset_key: of the asset.
        sensitive: ``dataset.sensitive``.
        reports: of all ingestions of the asset.
    """
    finds: Counter[str] = Counter()
    for report in reports:
        finds.update(report.sensitive)
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=dg.AssetKey(asset_key),
        passed=sensitive != "warn" or not finds,
        severity=dg.AssetCheckSeverity.WARN,
        description=_said(sensitive, finds),
    )


def _said(sensitive: OnSensitive, finds: Counter[str]) -> str:
    if sensitive == "ignore":
        return "nothing was looked for: dataset.sensitive is ignore"
    if not finds:
        return "no key, token, password in a URL or mail address was found"
    found = ", ".join(f"{count} {rule}" for rule, count in finds.most_common())
    if sensitive == "drop":
        return f"the rows that hold one were dropped ({found})"
    if sensitive == "redact":
        return f"each was replaced by the name of its rule ({found})"
    return f"the rows hold {found}: set dataset.sensitive to redact or drop"
