"""The raw datasets that a drop's split is made from: its own, or with it those of all drops before.

Belongs here: which drops these are, and their files. Does not belong here: dividing the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from ft_assets.assets.raw_dataset import EVAL_ROWS_FILE
from ft_assets.assets.run_again import run_again
from ft_assets.assets.step import Step, input_records
from ft_assets.data.ingest import ROWS_FILE
from ft_assets.data.split_report import DropRows
from ft_assets.provenance.record import InputRecord
from resources.errors import UserError
from resources.sources import Sources
from resources.sources.partitions import natural_order
from resources.store import Artifact, ArtifactStore

SHOWN = 50
"""Drops that a page names; provenance and report name all of them."""
_NAMED = 5


@dataclass(frozen=True)
class Drops:
    """Some raw datasets. Their manifests are not kept: there may be many."""

    inputs: list[InputRecord]
    """The drop's own first, then the others in natural order of names."""
    rows: list[Path]
    """Their row files in natural order, in which a first and an equal row are told apart."""
    eval_rows: list[Path]
    """Held-out sets of the user's own, each content once."""
    counts: list[DropRows]
    """Rows per drop; empty where drops are not accumulated."""


def drops_up_to(
    this: Step, store: ArtifactStore, own: Artifact, check: Callable[[Artifact], None]
) -> Drops:
    """The raw datasets of a drop's split.

    Args:
        this: the step that makes the split.
        store: where they are.
        own: the drop's own.
        check: refuses one that was read for another split.

    Raises:
        UserError: a drop before this one, which the instance knows, has none, or ``check`` refuses.
    """
    drop = this.partition
    if not this.spec.dataset.accumulate or drop is None:
        return _drops(this, [(None, own)], check)
    names = [*_before(this, drop), drop]
    found = ((name, own if name == drop else store.find(own.key, name)) for name in names)
    return _drops(this, found, check)


def _before(this: Step, drop: str) -> list[str]:
    known = this.context.instance.get_dynamic_partitions(f"{this.spec.name}_drops")
    here = natural_order(drop)
    return sorted((name for name in known if natural_order(name) < here), key=natural_order)


def _drops(this: Step, found: Any, check: Callable[[Artifact], None]) -> Drops:
    own_held_out = this.spec.dataset.eval_uri is not None
    drops, seen, absent = Drops([], [], [], []), set[str](), list[str]()
    for name, raw in found:
        if raw is None:
            absent.append(name)
            continue
        check(raw)
        drops.inputs.extend(input_records([raw]))
        drops.rows.append(raw.file(ROWS_FILE))
        about: Any = raw.manifest.metadata
        if own_held_out and about["eval_report"]["digest"] not in seen:
            seen.add(about["eval_report"]["digest"])
            drops.eval_rows.append(raw.file(EVAL_ROWS_FILE))
        if name is not None:
            drops.counts.append(DropRows(drop=name, rows=about["report"]["rows_kept"]))
    if absent:
        raise _absent(this, absent)
    drops.inputs.insert(0, drops.inputs.pop())  # its own: what a card and a registration speak of
    return drops


def never_read(this: Step, sources: Sources) -> list[str]:
    """Drops before this one that lie at the source and that Dagster does not know.

    They are no part of an accumulating split: a drop may still be on its way, and the new-data
    sensor makes all splits after it again once it is there. But a person must see it.
    """
    drop, dataset = this.partition, this.spec.dataset
    if not dataset.accumulate or drop is None:
        return []
    listed = sources.list_partitions(dataset.uri, base_dir=this.pipeline.folder) or []
    here = natural_order(drop)
    known = set(this.context.instance.get_dynamic_partitions(f"{this.spec.name}_drops"))
    before = (name for name in listed if natural_order(name) < here and name not in known)
    left_out = sorted(before, key=natural_order)
    if left_out:
        this.context.log.warning(
            f"dataset.accumulate: {_names(left_out)} at the source, before {drop}, and not in this "
            f"split, because never read: ft backfill {this.spec.name} --all takes all in order"
        )
    return left_out


def _absent(this: Step, drops: list[str]) -> UserError:
    named = _names(drops)
    if any(_is_being_made(this, drop) for drop in drops) and run_again(this.context):
        return UserError(
            f"dataset.accumulate: drop {this.partition} is made from all drops before it, and "
            f"{named} is being made: wait for it; Dagster's daemon runs this again by itself"
        )
    what = "has no raw dataset" if len(drops) == 1 else "have no raw datasets"
    return UserError(
        f"dataset.accumulate: drop {this.partition} is made from all drops before it, and {named} "
        f"{what} yet: run ft run {this.spec.name} --partition {drops[0]} --select raw_dataset, "
        "or delete the partition if that drop is not to count"
    )


def _is_being_made(this: Step, drop: str) -> bool:
    """Whether a run that has not ended reads the drop."""
    raw = dg.AssetKey(this.spec.key("raw_dataset"))
    asked = dg.RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={PARTITION_NAME_TAG: drop})
    return any(
        run.asset_selection is None or raw in run.asset_selection
        for run in this.context.instance.get_runs(asked)
    )


def _names(drops: Sequence[str]) -> str:
    return ", ".join(drops[:_NAMED]) + (", ..." if len(drops) > _NAMED else "")
