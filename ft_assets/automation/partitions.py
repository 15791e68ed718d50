"""Data drops as dynamic partitions: one partition per arrival of data."""

from __future__ import annotations

import dagster as dg

from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.sources import Sources
from resources.sources.partitions import natural_order


def drops_of(pipeline: Pipeline) -> dg.DynamicPartitionsDefinition | None:
    """The partitions of a pipeline whose dataset URI holds ``{partition}``."""
    return (
        dg.DynamicPartitionsDefinition(name=f"{pipeline.spec.name}_drops")
        if pipeline.spec.partitioned
        else None
    )


def newest_drop(pipeline: Pipeline, sources: Sources, instance: dg.DagsterInstance) -> str:
    """The newest drop: the last in natural order of names (drop-2 before drop-10).

    Drops are looked for where the data lies; where that cannot be listed (https, hub), among the
    partitions that were added by hand.

    Raises:
        UserError: there is none.
    """
    known = sources.list_partitions(pipeline.spec.dataset.uri, base_dir=pipeline.folder)
    if known is None:
        added = instance.get_dynamic_partitions(f"{pipeline.spec.name}_drops")
        known = sorted(added, key=natural_order)
    if not known:
        raise UserError(
            f"pipeline {pipeline.spec.name} has no data drop yet: nothing matches "
            f"{pipeline.spec.dataset.uri}; put one there, or name it with --partition"
        )
    return known[-1]
