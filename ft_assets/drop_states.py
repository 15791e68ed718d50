"""Which drops there are, and what Dagster says of each asset of each of them.

Belongs here: missing, fresh or stale, and why, by Dagster's own stale status resolver; and for the
split of accumulated drops by those before it (``accumulated.py``), of which Dagster does not know.
Does not belong here: what lies at the source and was never read (the sensor's), and how states are
shown.
"""

from __future__ import annotations

# Dagster's internals have no complete types.
# pyright: reportUnknownMemberType=false
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleCause,
    StaleStatus,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.loader import LoadingContext
from dagster._utils.aiodataloader import BlockingDataLoader, DataLoader

from ft_assets.accumulated import EarlierDrops
from ft_assets.automation.partitions import drops_of
from ft_assets.config import Pipeline
from ft_assets.pipeline import pipeline_definitions
from resources.sources import Sources
from resources.sources.partitions import natural_order

State = Literal["missing", "fresh", "stale"]

_STATES: dict[StaleStatus, State] = {
    StaleStatus.MISSING: "missing",
    StaleStatus.FRESH: "fresh",
    StaleStatus.STALE: "stale",
}


@dataclass(frozen=True)
class AssetState:
    """What Dagster says of one asset of one drop."""

    state: State
    causes: tuple[str, ...] = ()
    """Why it is stale, in words."""


def known_drops(pipeline: Pipeline, sources: Sources, instance: dg.DagsterInstance) -> list[str]:
    """All drops, in natural order: those at the source, and those that were added as partitions."""
    drops = drops_of(pipeline)
    assert drops is not None
    listed = sources.list_partitions(pipeline.spec.dataset.uri, base_dir=pipeline.folder)
    added = instance.get_dynamic_partitions(str(drops.name))
    return sorted({*(listed or []), *added}, key=natural_order)


class DropStates:
    """The states of a pipeline's assets, asked for drop by drop.

    What was never made is known from one query per asset; the rest costs some queries per drop.
    """

    def __init__(self, pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
        """Read which assets were ever made for which drops."""
        graph = asset_graph(pipeline)
        self._keys = [
            key
            for key in graph.toposorted_asset_keys
            if graph.get(key).is_partitioned == pipeline.spec.partitioned
        ]
        self._made: dict[dg.AssetKey, set[str]] = {}
        if pipeline.spec.partitioned:
            self._made = {key: instance.get_materialized_partitions(key) for key in self._keys}
        self._resolver = CachingStaleStatusResolver(instance, graph, _Loading(instance))
        spec = pipeline.spec
        self._split = dg.AssetKey(spec.key("split_dataset"))
        accumulates = spec.partitioned and spec.dataset.accumulate
        self._earlier = EarlierDrops(instance, spec) if accumulates else None

    def of(self, drop: str | None) -> dict[str, AssetState]:
        """The state of each asset, by the name that follows the pipeline's in its key."""
        return {"/".join(key.path[1:]): self._with_causes(key, drop) for key in self._keys}

    def is_missing(self, drop: str) -> bool:
        """Whether any asset was never made for the drop."""
        return any(drop not in made for made in self._made.values())

    def is_stale(self, drop: str) -> bool:
        """Whether any asset of the drop is stale.

        Where drops accumulate, none is of a drop whose partition was deleted: to make it again
        would bring it back, and make stale all drops after it.
        """
        if self._earlier is not None and not self._earlier.is_partition(drop):
            return False
        return any(self._state(key, drop) == "stale" for key in self._made)

    def _state(self, key: dg.AssetKey, drop: str | None) -> State:
        if drop is not None and drop not in self._made[key]:
            return "missing"
        state = _STATES[self._resolver.get_status(key, drop)]
        # Where its own raw dataset has changed, Dagster says so, and the others need no look.
        earlier = self._earlier if key == self._split else None
        if state == "fresh" and earlier is not None and earlier.is_stale(*self._made_split(drop)):
            return "stale"
        return state

    def _with_causes(self, key: dg.AssetKey, drop: str | None) -> AssetState:
        state = self._state(key, drop)
        if state != "stale":
            return AssetState(state)
        causes = list(dict.fromkeys(_words(self._resolver.get_stale_causes(key, drop))))
        if not causes and self._earlier is not None:
            causes = [self._earlier.cause(*self._made_split(drop))]
        return AssetState(state, tuple(causes))

    def _made_split(self, drop: str | None) -> tuple[str, dg.EventLogRecord]:
        """The drop and its split's latest materialization, which the resolver has read already."""
        assert drop is not None
        of_drop = AssetKeyPartitionKey(self._split, drop)
        queryer = self._resolver.instance_queryer
        record = queryer.get_latest_materialization_or_observation_record(asset_partition=of_drop)
        assert record is not None  # it is fresh or stale, not missing
        return drop, record


def asset_graph(pipeline: Pipeline) -> dg.AssetGraph:
    """The graph of one pipeline, without those of the others."""
    from ft_assets.code_location import default_resources

    return dg.Definitions.merge(
        dg.Definitions(resources=default_resources()), pipeline_definitions(pipeline)
    ).resolve_asset_graph()


def _words(causes: Sequence[StaleCause]) -> Iterator[str]:
    """As the UI puts it: the asset upstream and what is new with it, or what is new with it."""
    for cause in causes:
        if cause.children:
            yield from (f"{child.asset_key.path[-1]} {child.reason}" for child in cause.children)
        else:
            yield cause.reason


class _Loading(LoadingContext):
    """What Dagster keeps between the queries of one request."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[type, tuple[DataLoader[Any, Any], BlockingDataLoader[Any, Any]]] = {}

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict[type, tuple[DataLoader[Any, Any], BlockingDataLoader[Any, Any]]]:
        return self._loaders
