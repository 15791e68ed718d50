"""How much may run now: cool-down, runs per day, GPU hours per day, one at a time.

Runs are counted where Dagster keeps them, by the tag that each automatic run has; nothing is
counted here, so that nothing is counted twice or lost.
"""

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from ft_assets.assets.run_tags import of_recipe
from ft_assets.automation.new_data.look import ASKS, AWAITED
from ft_assets.automation.one_at_a_time import one_at_a_time
from ft_assets.automation.tags import AUTOMATIC, DROP, GPU_HOURS
from ft_assets.config import Pipeline

_DAY = timedelta(hours=24)
_RUNS = 500
"""Most runs whose GPU hours are added up."""
_GOING_ON = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Without ``NOT_STARTED``: such a run is awaited and launched by the next look. Where it is not, as
its drop is gone by now, nobody ever launches it, and whoever waited for it would wait for ever."""


@dataclass(frozen=True)
class Room:
    """How many runs may be asked for now; without room, why."""

    runs: int
    reason: str = ""


def bounded(pipeline: Pipeline) -> bool:
    """Whether there is a bound to what may run that a look can come too late for."""
    config = pipeline.spec.automation
    return one_at_a_time(pipeline) or config.cool_down > 0 or config.runs_per_day > 0


def room(pipeline: Pipeline, instance: dg.DagsterInstance, now: float, awaited: list[str]) -> Room:
    """How many further runs may be asked for, when those of ``awaited`` may have no run yet."""
    config = pipeline.spec.automation
    if len(awaited) >= AWAITED:
        return Room(0, f"waits for the {len(awaited)} runs that were asked for")
    alone = one_at_a_time(pipeline)
    if alone and (before := awaited or going_on(pipeline, instance)):
        return Room(0, f"waits for the run of {before[0]}, one at a time {_why_alone(pipeline)}")
    runs = 1 if alone or config.cool_down else ASKS
    if config.cool_down and (left := _cools_down(pipeline, instance, now, awaited)) > 0:
        return Room(0, f"cools down for {left:.0f} s more after the run before")
    if config.runs_per_day:
        begun = _automatic_count(pipeline, instance, now) + len(awaited)
        if begun >= config.runs_per_day:
            return Room(
                0, f"the budget of {config.runs_per_day} automatic runs in 24 hours is used up"
            )
        runs = min(runs, config.runs_per_day - begun)
    if config.gpu_hours_per_day:
        used = gpu_hours(pipeline, instance, now)
        if used >= config.gpu_hours_per_day:
            return Room(
                0,
                f"the budget of {config.gpu_hours_per_day:g} GPU hours in 24 hours is used up "
                f"({used:.1f})",
            )
    return Room(min(runs, AWAITED - len(awaited)))


def _why_alone(pipeline: Pipeline) -> str:
    if pipeline.spec.dataset.accumulate:
        return "as data accumulates"
    return "as each starts from the champion"


def going_on(pipeline: Pipeline, instance: dg.DagsterInstance) -> list[str]:
    """The drop of an automatic run that was launched and is not over, if there is one."""
    filters = dg.RunsFilter(tags={AUTOMATIC: pipeline.spec.name}, statuses=_GOING_ON)
    return [run.tags.get(DROP, run.run_id) for run in instance.get_runs(filters, limit=1)]


def _cools_down(
    pipeline: Pipeline, instance: dg.DagsterInstance, now: float, awaited: list[str]
) -> float:
    """Seconds that are left; a run that was asked for and not seen begins now."""
    cool_down = pipeline.spec.automation.cool_down
    if awaited:
        return cool_down
    filters = dg.RunsFilter(tags={AUTOMATIC: pipeline.spec.name})
    newest = instance.get_run_records(filters, limit=1)
    if not newest:
        return 0
    # A clock that was put back makes nobody wait longer than for one whole cool-down.
    return min(newest[0].create_timestamp.timestamp() + cool_down - now, cool_down)


def _last_day(pipeline: Pipeline, now: float) -> dg.RunsFilter:
    return dg.RunsFilter(
        tags={AUTOMATIC: pipeline.spec.name},
        created_after=datetime.fromtimestamp(now, UTC) - _DAY,
    )


def _automatic_count(pipeline: Pipeline, instance: dg.DagsterInstance, now: float) -> int:
    return instance.get_runs_count(_last_day(pipeline, now))


def gpu_hours(pipeline: Pipeline, instance: dg.DagsterInstance, now: float) -> float:
    """GPU hours of the trainings of the last 24 hours' automatic runs, going on or over."""
    records = instance.get_run_records(_last_day(pipeline, now), limit=_RUNS)
    return sum(_used(pipeline, instance, record, now) for record in records)


def _used(
    pipeline: Pipeline, instance: dg.DagsterInstance, record: dg.RunRecord, now: float
) -> float:
    """GPU hours of one run: what its tags say, and the time of the trainings that have none.

    Tags know the trainings that were published; one that goes on or died has used its GPUs as well.
    """
    tags = record.dagster_run.tags
    gpus = pipeline.spec.kubernetes.gpus_per_worker * pipeline.spec.kubernetes.workers
    tag_of = {
        one.spec.op("finetuned_model"): of_recipe(GPU_HOURS, one.recipe)
        for one in (pipeline, *pipeline.recipes())
    }
    used = 0.0
    for step in instance.get_run_step_stats(record.dagster_run.run_id):
        if step.step_key not in tag_of or step.start_time is None:
            continue
        if (said := tags.get(tag_of[step.step_key])) is not None:
            used += float(said)
            continue
        # A step that was lost with its pod has no end: it took nothing after its run's.
        end = step.end_time or record.end_time or now
        used += gpus * max(0.0, end - step.start_time) / 3600
    return max(used, float(tags.get(GPU_HOURS, 0)))  # the run's own may be all that there is
