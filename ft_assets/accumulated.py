"""Whether an accumulating split is still made from the data that there is of all drops before it.

Dagster's staleness knows a drop's own raw dataset only: it has no partition mapping to "all up to
this one". So the split records one digest over the raw datasets of all its drops, and who asks for
its state compares that with Dagster's latest data versions.

Belongs here: that digest, and the comparison. Does not belong here: which files a split reads
(``assets/drops_up_to.py``), and making later drops again (the new-data sensor, ``ft backfill``).
"""

from __future__ import annotations

# Dagster's internals have no complete types.
# pyright: reportUnknownMemberType=false
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from ft_assets.config import PipelineSpec
from resources.sources.partitions import natural_order

DIGEST = "raw_datasets_digest"
"""The split's metadata entry: the digest of the raw datasets of all its drops."""
_NAMED = 5


def digests_up_to(versions: Mapping[str, str]) -> dict[str, str]:
    """By drop: sha256 over the names and data versions of it and of all drops before it.

    Args:
        versions: data versions of raw datasets, by drop.
    """
    running, found = hashlib.sha256(), dict[str, str]()
    for drop in sorted(versions, key=natural_order):
        running.update(f"{drop}\0{versions[drop]}\0".encode())
        found[drop] = running.hexdigest()
    return found


def later_drops(instance: dg.DagsterInstance, spec: PipelineSpec, drop: str) -> list[str]:
    """The drops whose split was made from this drop too, in natural order."""
    here = natural_order(drop)
    made = instance.get_materialized_partitions(dg.AssetKey(spec.key("split_dataset")))
    return sorted((one for one in made if natural_order(one) > here), key=natural_order)


def named(drops: list[str]) -> str:
    """The first few, in words."""
    return ", ".join(drops[:_NAMED]) + (", ..." if len(drops) > _NAMED else "")


@dataclass
class EarlierDrops:
    """What changed before a drop since its split was made; two queries for all drops together."""

    instance: dg.DagsterInstance
    spec: PipelineSpec
    _now: dict[str, str] = field(init=False)
    _read: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Read the latest data version of each drop's raw dataset."""
        raw = dg.AssetKey(self.spec.key("raw_dataset"))
        storage = self.instance.event_log_storage
        event = dg.DagsterEventType.ASSET_MATERIALIZATION
        known = set(self.instance.get_dynamic_partitions(f"{self.spec.name}_drops"))
        tags = storage.get_latest_tags_by_partition(raw, event, [DATA_VERSION_TAG])
        versions = {drop: found.get(DATA_VERSION_TAG, "") for drop, found in tags.items()}
        self._now = digests_up_to({d: version for d, version in versions.items() if d in known})
        self._read = storage.get_latest_storage_id_by_partition(raw, event)

    def cause(self, drop: str) -> str | None:
        """Why the drop's split is stale; None where it is not, or was never made."""
        asset = dg.AssetKey(self.spec.key("split_dataset"))
        asked = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[drop])
        records = self.instance.fetch_materializations(asked, limit=1).records
        if not records or (split := records[0].asset_materialization) is None:
            return None
        made_from = split.metadata.get(DIGEST)
        if made_from is None or made_from.value == self._now.get(drop):
            return None
        here, since = natural_order(drop), records[0].storage_id
        changed = [
            one for one in self._now if natural_order(one) < here and self._read[one] > since
        ]
        return "earlier drops have changed" + (f": {named(changed)}" if changed else "")
