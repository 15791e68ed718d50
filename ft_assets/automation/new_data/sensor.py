"""The sensor of a pipeline: looks for new data, and asks for runs of the pipeline's job."""

# Without postponed annotations: Dagster reads those of the sensor's function.

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false
import time
from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from ft_assets.automation.new_data.looking import Ask, Outcome
from ft_assets.automation.new_data.tick import tick
from ft_assets.automation.tags import AUTOMATIC, DROP, TOKEN
from ft_assets.config import Pipeline
from resources.sources import Sources


def new_data_sensor(
    pipeline: Pipeline,
    job: UnresolvedAssetJobDefinition,
    *,
    clock: Callable[[], float] = time.time,
) -> dg.SensorDefinition:
    """The sensor ``PIPELINE_new_data``; ``clock`` gives seconds since the epoch."""
    name, config = pipeline.spec.name, pipeline.spec.automation

    @dg.sensor(
        name=f"{name}_new_data",
        job=job,
        minimum_interval_seconds=config.interval,
        default_status=(
            dg.DefaultSensorStatus.RUNNING if config.enabled else dg.DefaultSensorStatus.STOPPED
        ),
        description=f"Runs {name} on each version of its data once, when it is complete.",
    )
    def new_data(context: dg.SensorEvaluationContext, sources: Sources) -> dg.SensorResult:
        done = tick(pipeline, sources, context.instance, context.cursor, clock())
        return _result(pipeline, done)

    return new_data


def _result(pipeline: Pipeline, done: Outcome) -> dg.SensorResult:
    if not done.asks:
        return dg.SensorResult(skip_reason=done.reason, cursor=done.cursor)
    drops = sorted({ask.drop for ask in done.asks if ask.drop is not None})
    partitions = dg.DynamicPartitionsDefinition(name=f"{pipeline.spec.name}_drops")
    return dg.SensorResult(
        run_requests=[_request(pipeline, ask) for ask in done.asks],
        dynamic_partitions_requests=[partitions.build_add_request(drops)] if drops else [],
        cursor=done.cursor,
    )


def _request(pipeline: Pipeline, ask: Ask) -> dg.RunRequest:
    tags = {"pipeline": pipeline.spec.name, AUTOMATIC: pipeline.spec.name, TOKEN: ask.token}
    if ask.drop is not None:
        tags[DROP] = ask.drop
    return dg.RunRequest(run_key=ask.run_key, partition_key=ask.drop, tags=tags)
