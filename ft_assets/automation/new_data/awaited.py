"""The runs that the sensor has asked for and that are not there yet, for the schedule beside it.

The daemon makes the runs of a look one after the other, and they count in no budget before. The
sensor knows them from its look (``looking.py``); the schedule, which does not look, from here.
"""

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import dagster as dg

from ft_assets.automation.new_data.accumulate import Changes, read_changes
from ft_assets.automation.new_data.base_model import base_models, newest_complete, row_of
from ft_assets.automation.new_data.ledger import Ledger, launched
from ft_assets.automation.new_data.look import AWAITED
from ft_assets.automation.new_data.observe import DATASET, Place
from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.sources import Sources


def awaited(pipeline: Pipeline, sources: Sources, instance: dg.DagsterInstance) -> list[str]:
    """Drops, or what else the ledger's rows are named by, of which a run may begin at any time.

    None where the sensor is off, and none whose data is gone, or whose base model is not watched
    any more or has no complete drop to run: nobody asks for those runs again.
    """
    if not _is_on(pipeline, instance):
        return []
    name, place = pipeline.spec.name, Place(pipeline, sources)
    unmade = [
        row
        for row, asked in Ledger(instance.run_storage, name).unseen(AWAITED).items()
        if not asked.by and not launched(instance, name, asked.run_key(row))
    ]
    return sorted({*_there(unmade, place), *_runnable(unmade, place, instance)})


def _there(rows: list[str], place: Place) -> list[str]:
    """The drops whose data is there. One that cannot be read now may be."""
    drops = [row for row in rows if row == DATASET or not row.startswith("(")]
    try:
        found = place.single(drops).versions if drops else {}
    except UserError:
        return drops
    return [drop for drop in drops if found.get(drop, "") is not None]


def _runnable(rows: list[str], place: Place, instance: dg.DagsterInstance) -> list[str]:
    """The watched base models, if they have a drop to run. Where none can be read, one may be."""
    pipeline, storage = place.pipeline, instance.run_storage
    if not pipeline.spec.automation.watch_base_model:
        return []
    models = [row for model in base_models(pipeline) if (row := row_of(model)) in rows]
    if not models:
        return []
    name, accumulate = pipeline.spec.name, pipeline.spec.dataset.accumulate
    changes = read_changes(storage, name) if accumulate else Changes()
    try:
        drop = newest_complete(place, Ledger(storage, name), changes, ())
    except UserError:
        return models
    return models if drop is not None else []


def _is_on(pipeline: Pipeline, instance: dg.DagsterInstance) -> bool:
    # It brings the whole of the remote code locations, which loading this one need not wait for.
    from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

    name = f"{pipeline.spec.name}_new_data"
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    switched = {state.status for state in states if state.name == name}
    if InstigatorStatus.RUNNING in switched:
        return True
    return InstigatorStatus.STOPPED not in switched and pipeline.spec.automation.enabled
