"""The runs that the sensor has asked for and that are not there yet, for the schedule beside it.

The daemon makes the runs of a look one after the other, and they count in no budget before. The
sensor knows them from its look (``looking.py``); the schedule, which does not look, from here.
"""

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

from ft_assets.automation.new_data.base_model import base_models, row_of
from ft_assets.automation.new_data.ledger import Ledger, launched
from ft_assets.automation.new_data.look import AWAITED
from ft_assets.automation.new_data.observe import DATASET, Place
from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.sources import Sources


def awaited(pipeline: Pipeline, sources: Sources, instance: dg.DagsterInstance) -> list[str]:
    """Drops, or what else the ledger's rows are named by, of which a run may begin at any time.

    None where the sensor is off, and none whose data is gone or whose base model is not watched any
    more: nobody asks for those runs again.
    """
    if not _is_on(pipeline, instance):
        return []
    name = pipeline.spec.name
    rows = Ledger(instance.run_storage, name).unseen(AWAITED)
    unmade = [
        row
        for row, asked in rows.items()
        if not asked.by and not launched(instance, name, asked.run_key(row))
    ]
    watched = pipeline.spec.automation.watch_base_model
    models = {row_of(model) for model in base_models(pipeline)} if watched else set[str]()
    drops = [row for row in unmade if row == DATASET or not row.startswith("(")]
    gone = _gone(drops, Place(pipeline, sources)) if drops else set[str]()
    return sorted({*drops} - gone | {*unmade} & models)


def _gone(drops: list[str], place: Place) -> set[str]:
    """One that cannot be read now may be there."""
    try:
        found = place.single(drops).versions
    except UserError:
        return set()
    return {drop for drop, version in found.items() if version is None}


def _is_on(pipeline: Pipeline, instance: dg.DagsterInstance) -> bool:
    name = f"{pipeline.spec.name}_new_data"
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    switched = {state.status for state in states if state.name == name}
    if InstigatorStatus.RUNNING in switched:
        return True
    return InstigatorStatus.STOPPED not in switched and pipeline.spec.automation.enabled
