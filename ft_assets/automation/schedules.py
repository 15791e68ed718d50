"""A pipeline's schedule: its job on the newest drop, at the times that its file names."""

# Without postponed annotations: Dagster reads those of the schedule's function.

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false
import time
from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from ft_assets.automation.new_data.awaited import awaited
from ft_assets.automation.new_data.ledger import Ledger, made
from ft_assets.automation.new_data.limits import bounded, going_on, room
from ft_assets.automation.new_data.scheduled import Scheduled, said, unmade
from ft_assets.automation.one_at_a_time import one_at_a_time
from ft_assets.automation.partitions import drops_of, newest_drop
from ft_assets.automation.tags import AUTOMATIC, DROP
from ft_assets.config import Pipeline
from resources.sources import Sources
from resources.sources.partitions import natural_order

_TRIED = 25
"""Most drops, from the newest on, whose marker is looked for."""
_WHOLE = "the dataset"
"""What a reason calls the data of a pipeline without drops."""


def schedule_of(
    pipeline: Pipeline,
    job: UnresolvedAssetJobDefinition,
    *,
    clock: Callable[[], float] = time.time,
) -> dg.ScheduleDefinition | None:
    """The schedule, off unless the file says ``enabled``; None where the file names none.

    Its runs have the sensor's tags, without a token: they count in the same budget, and
    begin only when it has room. What the sensor has asked for counts before it is made, and the
    other way round. ``clock`` gives seconds since the epoch.
    """
    name, cron = pipeline.spec.name, pipeline.spec.automation.schedule
    if cron is None:
        return None

    @dg.schedule(
        name=f"{name}_schedule",
        cron_schedule=cron,
        job=job,
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if pipeline.spec.automation.enabled
            else dg.DefaultScheduleStatus.STOPPED
        ),
        description=f"Runs {name} on its newest data; unchanged data trains nothing.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, sources: Sources
    ) -> dg.RunRequest | dg.SkipReason:
        run_key = f"schedule:{context.scheduled_execution_time.isoformat()}"
        instance = context.instance
        if before := made(instance, name, run_key):  # by a daemon that was killed since
            return _made_before(pipeline, instance, before[0], run_key)
        drop, why_not = _newest_complete(pipeline, sources, instance)
        ledger = Ledger(instance.run_storage, name)
        turn = ledger.turn()  # before all that is decided from
        why_not = why_not or _held_back(pipeline, sources, instance, drop, clock())
        if why_not:
            return dg.SkipReason(why_not)
        if bounded(pipeline):
            run = Scheduled(subject=drop or _WHOLE, run_key=run_key, since=clock())
            others = unmade(instance, name, turn, run.since)
            others = [one for one in others if one.run_key != run_key]
            if not ledger.take(turn, said([*others, run])):
                return dg.SkipReason("Another run was asked for at the same time")
        return _request(pipeline, instance, run_key, drop)

    return schedule


def _made_before(
    pipeline: Pipeline, instance: dg.DagsterInstance, run: dg.DagsterRun, run_key: str
) -> dg.RunRequest | dg.SkipReason:
    """The same run again, which has its place in the limits: Dagster launches it, if nobody has.

    But of those that go one at a time another one may have begun while the daemon was away.
    """
    alone = one_at_a_time(pipeline) and run.status is dg.DagsterRunStatus.NOT_STARTED
    if alone and (others := going_on(pipeline, instance)):
        return dg.SkipReason(f"The run of {others[0]} has begun in the place of run {run.run_id}")
    return _request(pipeline, instance, run_key, run.tags.get(DROP))


def _request(
    pipeline: Pipeline, instance: dg.DagsterInstance, run_key: str, drop: str | None
) -> dg.RunRequest:
    tags = {"pipeline": pipeline.spec.name, AUTOMATIC: pipeline.spec.name}
    drops = drops_of(pipeline)
    if drops is None or drop is None:
        return dg.RunRequest(run_key, tags=tags)
    instance.add_dynamic_partitions(str(drops.name), [drop])
    return dg.RunRequest(run_key, partition_key=drop, tags={**tags, DROP: drop})


def _newest_complete(
    pipeline: Pipeline, sources: Sources, instance: dg.DagsterInstance
) -> tuple[str | None, str]:
    """The newest drop that has its marker, where the file names one; or why there is none.

    Raises:
        UserError: there is no drop at all, or the source cannot be read.
    """
    marker, partitioned = pipeline.spec.automation.marker, pipeline.spec.partitioned
    if marker is None:
        return (newest_drop(pipeline, sources, instance) if partitioned else None), ""
    newest_first = _newest_first(pipeline, sources, instance) if partitioned else [None]
    for drop in newest_first[:_TRIED]:
        uri, folder = pipeline.spec.dataset.uri, pipeline.folder
        version = sources.drop_version(uri, drop, base_dir=folder, marker=marker)
        if version is not None and version.marked:
            return drop, ""
    return (
        None,
        f"No complete drop yet: {newest_first[0] or 'the dataset'} waits for the marker {marker}",
    )


def _newest_first(
    pipeline: Pipeline, sources: Sources, instance: dg.DagsterInstance
) -> list[str | None]:
    listed = sources.list_partitions(pipeline.spec.dataset.uri, base_dir=pipeline.folder)
    if listed is None:
        added = instance.get_dynamic_partitions(f"{pipeline.spec.name}_drops")
        listed = sorted(added, key=natural_order)
    # Where there is none, it says what to do.
    return [*reversed(listed)] or [newest_drop(pipeline, sources, instance)]


def _held_back(
    pipeline: Pipeline,
    sources: Sources,
    instance: dg.DagsterInstance,
    drop: str | None,
    now: float,
) -> str:
    """Why no automatic run may begin now, as the sensor says it; empty when one may."""
    subject = drop or _WHOLE
    if pipeline.spec.automation.dry_run:
        return f"Dry run: would run {subject}"
    free = room(pipeline, instance, now, awaited(pipeline, sources, instance))
    return "" if free.runs else f"{subject}: {free.reason}"
