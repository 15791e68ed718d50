"""A world for the new-data sensor: a real store, a real Dagster instance, a daemon that can fail.

The sensor's function is the real one, its state too. The daemon does what Dagster's own does with a
sensor's result, in the same order (``dagster._daemon.sensor``), in steps between which it can be
killed: evaluate, add partitions, reserve requests and cursor in the tick, make each run unless one
with its run key is there, launch it, write the cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.utils import make_new_run_id

from ft_assets.automation.new_data.ledger import Ledger
from ft_assets.automation.new_data.sensor import new_data_sensor
from ft_assets.config import Pipeline
from ft_assets.config.pipeline import PipelineSpec
from tests.support.new_data_instance import late, wipe
from tests.support.new_data_stores import Store

NAME = "world"
SENSOR = f"{NAME}_new_data"
DAY = 24 * 3600.0
STEPS = ("evaluated", "partitions", "reserved", "created", "launched")
"""After which the daemon can be killed."""


@dataclass
class Reserved:
    """A tick whose requests are written down and not all done."""

    requests: list[dg.RunRequest]
    cursor: str | None


@dataclass
class World:
    """Everything of one sequence of events."""

    store: Store
    instance: dg.DagsterInstance
    config: dict[str, Any]
    now: float = 1_000_000.0
    cursor: str | None = None
    """Dagster's own record of the sensor's cursor."""
    old_cursors: list[str | None] = field(default_factory=list)
    interrupted: Reserved | None = None
    hidden: set[str] = field(default_factory=set)
    """Runs that the run storage does not show yet to those who look for tags."""
    reasons: list[str] = field(default_factory=list)
    looks: int = 0
    made: int = 0
    """Runs that were made because the sensor asked for them."""
    heard: list[Callable[[list[dg.RunRequest]], None]] = field(default_factory=list[Any])
    """Told what each look has asked for, before the daemon does anything about it."""

    def __post_init__(self) -> None:
        self.store.clear()
        wipe(self.instance, NAME)
        spec = PipelineSpec.model_validate(
            {
                "name": NAME,
                "dataset": {"uri": self.store.uri, **self.config.get("dataset", {})},
                "training": self.config.get("training", {}),
                "recipes": self.config.get("recipes", {}),
                "automation": self.config.get("automation", {}),
            }
        )
        self.pipeline = Pipeline(spec, Path("world.yaml"))
        job: Any = dg.define_asset_job(NAME)
        self.sensor = new_data_sensor(self.pipeline, job, clock=lambda: self.now)

    # What a look sees

    def evaluate(self, cursor: str | None) -> dg.SensorResult:
        """The sensor's function, on the real instance and store."""
        self.looks += 1
        with (
            late(self.instance, self.hidden),
            dg.build_sensor_context(self.instance, cursor=cursor) as context,
        ):
            function: Any = self.sensor._raw_fn
            result = function(context, sources=self.store.sources)
        for hears in self.heard:
            hears(list(result.run_requests or []))
        return result

    def token(self, drop: str) -> str | None:
        """The version that the drop has at its source."""
        marker = self.pipeline.spec.automation.marker
        found = self.store.sources.drop_version(self.store.uri, drop, marker=marker)
        return None if found is None else found.token

    # The daemon

    def tick(self, *, killed_after: str | None = None, from_cursor: Any = ...) -> bool:
        """One tick; False when it asked for nothing. Finishes an interrupted one first."""
        if self.interrupted is not None:
            waiting, self.interrupted = self.interrupted, None
            self.submit(waiting.requests)
            self.write_cursor(waiting.cursor)
            return True
        result = self.evaluate(self.cursor if from_cursor is ... else from_cursor)
        return self.finish(result, killed_after=killed_after)

    def finish(self, result: dg.SensorResult, *, killed_after: str | None = None) -> bool:
        """What the daemon does with a result."""
        requests = list(result.run_requests or [])
        if result.skip_reason:
            self.reasons.append(result.skip_reason.skip_message or "")
        if killed_after == "evaluated":
            return True
        for added in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(
                added.partitions_def_name, list(added.partition_keys)
            )
        if killed_after == "partitions":
            return True
        if killed_after == "reserved" and requests:
            self.interrupted = Reserved(requests, result.cursor)
            return True
        self.submit(requests, killed_after=killed_after)
        if killed_after in {"created", "launched"} and requests:
            return True
        self.write_cursor(result.cursor)
        return bool(requests)

    def write_cursor(self, cursor: str | None) -> None:
        self.old_cursors.append(self.cursor)
        self.cursor = cursor

    def submit(self, requests: list[dg.RunRequest], *, killed_after: str | None = None) -> None:
        """Make and launch the runs, each unless there is one of its key."""
        for request in requests:
            assert request.run_key
            run = self._existing(request.run_key)
            if run is None:
                tags = {
                    **request.tags,
                    "dagster/sensor_name": SENSOR,
                    "dagster/run_key": request.run_key,
                    **(
                        {"dagster/partition": request.partition_key}
                        if request.partition_key
                        else {}
                    ),
                }
                run = self.make(tags, dg.DagsterRunStatus.NOT_STARTED)
                self.made += 1
            if killed_after == "created":
                return
            if run.status is dg.DagsterRunStatus.NOT_STARTED:
                self.end(run.run_id, DagsterEventType.PIPELINE_STARTING)
            if killed_after == "launched":
                return

    def make(
        self, tags: dict[str, str], status: dg.DagsterRunStatus, parent: str | None = None
    ) -> DagsterRun:
        """A run, begun now."""
        run = DagsterRun(
            job_name=NAME,
            run_id=make_new_run_id(),
            tags=tags,
            status=status,
            parent_run_id=parent,
            root_run_id=parent,
        )
        made_at = datetime.fromtimestamp(self.now, UTC).replace(tzinfo=None)
        self.instance.run_storage.add_historical_run(run, made_at)
        return run

    def end(self, run_id: str, event: DagsterEventType) -> None:
        """Let a run come to a state."""
        self.instance.run_storage.handle_run_event(
            run_id, DagsterEvent(event_type_value=event.value, job_name=NAME)
        )

    def end_all(
        self, how: DagsterEventType = DagsterEventType.PIPELINE_SUCCESS, retried: bool = False
    ) -> None:
        """Let all runs that were launched come to an end.

        ``retried``: Dagster launches another run in the place of each, with all of its tags.
        """
        for run in self.runs(with_retries=True):
            if run.status is dg.DagsterRunStatus.STARTING:
                self.end(run.run_id, how)
                if retried:
                    self.make({**run.tags}, run.status, run.run_id)

    def _existing(self, run_key: str) -> DagsterRun | None:
        runs = self.instance.run_storage.get_runs(
            filters=dg.RunsFilter(tags={"dagster/run_key": run_key})
        )
        ours = [run for run in runs if run.tags.get("dagster/sensor_name") == SENSOR]
        return ours[0] if ours else None

    def runs(self, *, with_retries: bool = False) -> list[DagsterRun]:
        """The runs that the sensor asked for, in the order in which they were made.

        ``with_retries``: all that there are, also those in the place of others and the schedule's.
        """
        runs = self.instance.run_storage.get_runs()
        return [run for run in runs if with_retries or _is_asked_for(run)][::-1]

    def begun(self) -> list[tuple[float, DagsterRun]]:
        """All runs and when they were made, in that order."""
        records = self.instance.run_storage.get_run_records()
        return [(record.create_timestamp.timestamp(), record.dagster_run) for record in records][
            ::-1
        ]

    def rest(self, looks: int = 40) -> None:
        """Let nothing happen until the sensor has nothing more to ask for."""
        self.hidden.clear()
        automation = self.pipeline.spec.automation
        idle = 0
        for _ in range(looks):
            self.now += automation.quiet + 1 + (DAY if automation.runs_per_day else 0)
            idle = 0 if self.tick() else idle + 1
            if self.pipeline.spec.dataset.accumulate:
                self.end_all()
            if idle == 2:
                return
        raise AssertionError(f"the sensor never rests: {self.reasons[-3:]}")

    @contextmanager
    def before_the_ledger_is_written(self, happens: Callable[[], None]) -> Iterator[None]:
        """Let something happen in the middle of the next look."""
        move, waiting = Ledger.move, [happens]

        def move_late(ledger: Ledger, to: Any) -> Any:
            if to and waiting:
                waiting.pop()()
            return move(ledger, to)

        Ledger.move = move_late  # type: ignore[method-assign]
        try:
            yield
        finally:
            Ledger.move = move  # type: ignore[method-assign]


def _is_asked_for(run: DagsterRun) -> bool:
    return run.parent_run_id is None and run.tags.get("dagster/sensor_name") == SENSOR


def asked_of(runs: list[DagsterRun]) -> dict[str, list[tuple[int, str]]]:
    """The numbers and tokens that were asked for by drop, in the order of their numbers."""
    asked: dict[str, list[tuple[int, str]]] = {}
    for run in runs:
        if of_base_model(run):
            continue
        asked.setdefault(run.tags["ft/drop"], []).append((number_of(run), run.tags["ft/token"]))
    return {drop: sorted(given) for drop, given in asked.items()}


def times_asked(world: World) -> dict[str, int]:
    """How often each drop was asked for."""
    return {drop: len(given) for drop, given in asked_of(world.runs()).items()}


def of_base_model(run: DagsterRun) -> bool:
    """Whether a commit of a base model asked for the run, and no data."""
    return run.tags.get("dagster/run_key", "").startswith("(base model ")


def number_of(run: DagsterRun) -> int:
    """The number in a run's key."""
    return int(run.tags["dagster/run_key"].split(":")[1])
