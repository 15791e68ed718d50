"""A pipeline's schedule: its job on the newest drop, at the times that its file names."""

# Without postponed annotations: Dagster reads those of the schedule's function.

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false
import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from ft_assets.automation.partitions import drops_of, newest_drop
from ft_assets.automation.tags import AUTOMATIC, DROP
from ft_assets.config import Pipeline
from resources.sources import Sources


def schedule_of(
    pipeline: Pipeline, job: UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition | None:
    """The schedule, off unless the file says ``enabled``; None where the file names none.

    Its runs have the sensor's tags, without a token: they count in the same budget.
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
    def schedule(context: dg.ScheduleEvaluationContext, sources: Sources) -> dg.RunRequest:
        tags = {"pipeline": name, AUTOMATIC: name}
        drops = drops_of(pipeline)
        if drops is None:
            return dg.RunRequest(tags=tags)
        drop = newest_drop(pipeline, sources, context.instance)
        context.instance.add_dynamic_partitions(str(drops.name), [drop])
        return dg.RunRequest(partition_key=drop, tags={**tags, DROP: drop})

    return schedule
