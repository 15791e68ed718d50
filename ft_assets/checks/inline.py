"""What all checks share: they are inline, one status per drop."""

from __future__ import annotations

import warnings

import dagster as dg
from dagster._utils.warnings import PreviewWarning


def inline_check(
    name: str,
    asset_key: list[str],
    partitions: dg.PartitionsDefinition[str] | None,
    *,
    blocking: bool,
    description: str,
) -> dg.AssetCheckSpec:
    """The specification of a check that the asset's own step evaluates.

    Args:
        name: of the check.
        asset_key: of the asset.
        partitions: those of the asset; without them the check would hold one status for all drops.
        blocking: whether a failed check stops what lies downstream.
        description: what passes, shown in the UI.
    """
    with warnings.catch_warnings():
        # Dagster calls partitions of checks a preview.
        warnings.simplefilter("ignore", PreviewWarning)
        return dg.AssetCheckSpec(
            name,
            asset=dg.AssetKey(asset_key),
            blocking=blocking,
            partitions_def=partitions,
            description=description,
        )
