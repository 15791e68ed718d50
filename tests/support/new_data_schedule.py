"""The schedule beside the sensor of a world, and the daemon that makes its runs, or is killed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEventType
from dagster._core.storage.schedules import SqliteScheduleStorage

from ft_assets.automation.schedules import schedule_of
from resources.errors import UserError
from tests.support.new_data_world import NAME, World

STEPS = ("evaluated", "created", "launched")
"""After which the daemon can be killed."""


class Schedule:
    """The real schedule of a world's pipeline, on its instance and store."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.interrupted: datetime | None = None
        """The time at which the daemon was killed: it begins with that one again."""
        _keep_switches(world.instance)
        job: Any = dg.define_asset_job(NAME)
        schedule: Any = schedule_of(world.pipeline, job, clock=lambda: world.now)
        self._function = schedule._execution_fn.decorated_fn

    def evaluate(self, at: datetime) -> dg.RunRequest | dg.SkipReason:
        """What the schedule says at a time."""
        context = SimpleNamespace(instance=self.world.instance, scheduled_execution_time=at)
        return self._function(context, sources=self.world.store.sources)

    def fire(
        self, *, killed_after: str | None = None, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """One tick, at this time or at that of the one before which was interrupted.

        Args:
            killed_after: one of ``STEPS``.
            meanwhile: what happens between the schedule's answer and what the daemon makes of it.
        """
        at = self.interrupted or datetime.fromtimestamp(self.world.now, UTC)
        self.interrupted = at if killed_after else None
        try:
            said = self.evaluate(at)
        except UserError:  # there is no drop: the tick has failed, and is not repeated
            self.interrupted = None
            return
        meanwhile()
        if isinstance(said, dg.RunRequest) and killed_after != "evaluated":
            self.submit(said, killed_after=killed_after)

    def submit(self, request: dg.RunRequest, *, killed_after: str | None = None) -> None:
        """Make and launch the run, unless there is one of its key."""
        storage, key = self.world.instance.run_storage, str(request.run_key)
        made = storage.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": key}))
        run = made[0] if made else self._make(request, key)
        if killed_after != "created" and run.status is dg.DagsterRunStatus.NOT_STARTED:
            self.world.end(run.run_id, DagsterEventType.PIPELINE_STARTING)

    def resume(self) -> None:
        """Let the daemon end what it was killed in."""
        if self.interrupted is not None:
            self.fire()

    def unlaunched(self) -> list[dg.DagsterRun]:
        """Its runs that were made and not launched."""
        tags = {"dagster/schedule_name": f"{NAME}_schedule"}
        filters = dg.RunsFilter(tags=tags, statuses=[dg.DagsterRunStatus.NOT_STARTED])
        return list(self.world.instance.run_storage.get_runs(filters=filters))

    def _make(self, request: dg.RunRequest, key: str) -> dg.DagsterRun:
        tags = {
            **request.tags,
            "dagster/schedule_name": f"{NAME}_schedule",
            "dagster/run_key": key,
            "dagster/partition": str(request.partition_key),
        }
        return self.world.make(tags, dg.DagsterRunStatus.NOT_STARTED)


def _keep_switches(instance: dg.DagsterInstance) -> None:
    """Give an instance in memory what it lacks: where sensors and schedules are switched on."""
    if instance.schedule_storage is None:
        folder = tempfile.TemporaryDirectory(prefix="schedules-")
        storage: Any = SqliteScheduleStorage.from_local(folder.name)
        storage.folder = folder  # it goes when the storage goes
        storage.register_instance(instance)
        inner: Any = instance
        inner._schedule_storage = storage
