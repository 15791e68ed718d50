"""Whether an accumulating split is still made from the data that there is of all drops before it.

Dagster's staleness knows a drop's own raw dataset only: it has no partition mapping to "all up to
this one". So the split records one digest over the raw datasets of all its drops, and who asks for
its state compares that with Dagster's latest data versions.

Belongs here: that digest, the comparison, and which later drops a changed one leaves behind. Does
not belong here: which files a split reads (``assets/drops_up_to.py``), and making later drops again
(the new-data sensor, ``ft backfill``).
"""

from __future__ import annotations

# Dagster's internals have no complete types.
# pyright: reportUnknownMemberType=false
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from ft_assets.config import PipelineSpec
from resources.sources.partitions import natural_order

DIGEST = "raw_datasets_digest"
"""The split's metadata entry: the digest of the raw datasets of all its drops."""
TO_MAKE_AGAIN = "later_drops_to_make_again"
"""The raw dataset's metadata entry: the drops after it whose splits it leaves behind."""
_NAMED = 5
_AT_ONCE = 100
"""Drops that one query asks for by name."""
_MOST_PARTS = 5
"""Such queries for one cause: where all were read again, and few of them have changed."""
_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION


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


def named(drops: Sequence[str]) -> str:
    """The first few, in words."""
    return ", ".join(drops[:_NAMED]) + (", ..." if len(drops) > _NAMED else "")


class EarlierDrops:
    """Which splits are made from other raw datasets than there are now of the drops up to theirs.

    Three queries for all drops together; what is asked of one drop then costs none, but for the
    names in ``cause``.

    A drop counts while it is a partition and Dagster has a data version of its raw dataset. It has
    none where that was wiped, or reported by hand: then the splits after it are stale until the raw
    dataset has been made by a run. That costs a split too many; to pass over the drop would hide
    that it has changed.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        spec: PipelineSpec,
        coming: Mapping[str, str] | None = None,
    ) -> None:
        """Read the latest data version of each drop's raw dataset.

        Args:
            instance: Dagster's.
            spec: of a pipeline that accumulates drops.
            coming: data versions, by drop, of which Dagster is yet to be told.
        """
        self._storage = instance.event_log_storage
        self._raw = dg.AssetKey(spec.key("raw_dataset"))
        self._known = set(instance.get_dynamic_partitions(f"{spec.name}_drops"))
        versions = {**self._versions(), **(coming or {})}
        self._now = {drop: version for drop, version in versions.items() if drop in self._known}
        self._digests = digests_up_to(self._now)

    def counts(self, drop: str) -> bool:
        """Whether the drop is part of its own split and of those after it."""
        return drop in self._digests

    def is_partition(self, drop: str) -> bool:
        """Whether the drop is a partition still."""
        return drop in self._known

    def is_stale(self, drop: str, split: dg.EventLogRecord) -> bool:
        """Whether the drop's latest split is made from others, or does not say from which.

        A drop that does not count has nothing to be compared with: it is never stale by this. Else
        ``ft backfill --stale`` would run a drop whose partition was deleted, and so bring it back.

        Args:
            drop: its name.
            split: the latest materialization of its split.
        """
        return self.counts(drop) and _made_from(split) != self._digests[drop]

    def cause(self, drop: str, split: dg.EventLogRecord) -> str:
        """Why a split for which ``is_stale`` holds is so, in words."""
        if _made_from(split) is None:
            return "does not say which drops it was made from"
        changed = self._changed(drop, split.storage_id)
        if changed:
            return f"earlier drops have changed: {named(changed)}"
        return "drops up to this one were taken away or have changed"

    def _changed(self, drop: str, since: int) -> list[str]:
        """Earlier drops whose data version is not what it was: the first of those that are found.

        The split holds one digest of all: with each drop's own, 10,000 splits of up to 10,000 drops
        would fill the event log. So Dagster is asked for the data versions of that time.
        """
        found: list[str] = []
        for some in islice(_parts(self._made_since(drop, since)), _MOST_PARTS):
            then = self._versions(some, before=since)
            for one in some:
                if one not in self._now:
                    found.append(f"{one} (has no data version)")
                elif self._now[one] != then.get(one):
                    found.append(one)
                if len(found) > _NAMED:
                    return found
        return found

    def _made_since(self, drop: str, since: int) -> list[str]:
        """The earlier drops whose raw dataset was made after that event, in natural order."""
        found: list[str] = []
        for one, event in self._events.items():
            if one == drop:
                break
            if event > since:
                found.append(one)
        return found

    @cached_property
    def _events(self) -> dict[str, int]:
        """The latest materialization of each drop's raw dataset, by drop, in natural order."""
        events = self._storage.get_latest_storage_id_by_partition(self._raw, _MADE)
        return {one: events[one] for one in sorted(events, key=natural_order) if one in self._known}

    def _versions(
        self, drops: Sequence[str] | None = None, before: int | None = None
    ) -> dict[str, str]:
        """Data versions of raw datasets, by drop; of all drops, and as of now, by default."""
        tags = self._storage.get_latest_tags_by_partition(
            self._raw, _MADE, [DATA_VERSION_TAG], asset_partitions=drops, before_cursor=before
        )
        return {drop: found[DATA_VERSION_TAG] for drop, found in tags.items()}


def left_behind(
    instance: dg.DagsterInstance, spec: PipelineSpec, drop: str, version: str
) -> list[str]:
    """The drops after this one whose splits are to be made again; if many, the first of them.

    For the step that makes a drop's raw dataset, before Dagster is told of it. Dagster's record of
    the data before counts, not the store's: a step that ended between the two has told nobody.

    Args:
        instance: Dagster's.
        spec: of a pipeline that accumulates drops.
        drop: whose raw dataset is being made.
        version: its data version.
    """
    if _is_nothing_new(instance, spec, drop, version):
        return []
    here, split = natural_order(drop), dg.AssetKey(spec.key("split_dataset"))
    events = instance.event_log_storage.get_latest_storage_id_by_partition(split, _MADE)
    later = sorted((one for one in events if natural_order(one) > here), key=natural_order)
    if not later:
        return []
    now, found = EarlierDrops(instance, spec, {drop: version}), list[str]()
    for some in _parts([one for one in later if now.counts(one)]):
        ids = [events[one] for one in some]
        asked = dg.AssetRecordsFilter(asset_key=split, storage_ids=ids)
        records = instance.fetch_materializations(asked, limit=len(ids)).records
        splits = {record.partition_key: record for record in records}
        found += [one for one in some if one in splits and now.is_stale(one, splits[one])]
        if len(found) > _NAMED:
            break
    return found


def _is_nothing_new(
    instance: dg.DagsterInstance, spec: PipelineSpec, drop: str, version: str
) -> bool:
    """Whether the drop's raw dataset was this one before, and left no drop behind then.

    Else each run of each drop would read the splits of all drops after it.
    """
    raw = dg.AssetKey(spec.key("raw_dataset"))
    asked = dg.AssetRecordsFilter(asset_key=raw, asset_partitions=[drop])
    records = instance.fetch_materializations(asked, limit=1).records
    before = records[0].asset_materialization if records else None
    if before is None or before.tags is None:
        return False
    return before.tags.get(DATA_VERSION_TAG) == version and TO_MAKE_AGAIN not in before.metadata


def _made_from(split: dg.EventLogRecord) -> object:
    """The digest that a split recorded; None in one made before there were such, or for one drop.

    Such a split is not taken for a fresh one, not even that of the first drop, before which others
    may have been deleted: it is made again once, and nothing after it if its rows are the same.
    """
    made = split.asset_materialization
    recorded = made.metadata.get(DIGEST) if made is not None else None
    return recorded.value if recorded is not None else None


def _parts(drops: Sequence[str]) -> Iterator[Sequence[str]]:
    return (drops[at : at + _AT_ONCE] for at in range(0, len(drops), _AT_ONCE))
