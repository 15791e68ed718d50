"""Running a pipeline on several drops: by the daemon where one is there, else here.

With a daemon it is Dagster's own backfill, as the UI starts one: it is seen, and can be stopped,
there. Without one each drop is a run in this process. Either way a drop that fails stops no other.
"""

from __future__ import annotations

# Dagster's internals have no complete types.
# pyright: reportUnknownMemberType=false
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from dagster._core.utils import make_new_backfill_id
from dagster._daemon.daemon import BackfillDaemon

from ft_assets.drop_states import asset_graph
from ft_assets.run_outcome import RunOutcome, outcome_of
from ft_assets.running import RunRequest, asset_keys, refuse, run, run_config
from resources.errors import UserError

Result = Literal["made", "up to date", "failed", "not started"]

_BEATS_EVERY = 30
"""Seconds between a daemon's signs of life, as Dagster's own default has it."""
_ENDED = (
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.COMPLETED,
    BulkActionStatus.FAILED,
    BulkActionStatus.CANCELED,
)


@dataclass(frozen=True)
class DropOutcome:
    """What became of one drop."""

    drop: str
    outcome: RunOutcome | None
    """None: there was no run."""
    why_not: str = ""
    """Why there was none."""

    @property
    def result(self) -> Result:
        """In one word."""
        if self.outcome is None:
            return "failed" if self.why_not else "not started"
        if not self.outcome.success:
            return "failed"
        return "made" if self.outcome.made else "up to date"

    @property
    def versions(self) -> list[str]:
        """The versions that its models have in the registry, with their stage."""
        if self.outcome is None:
            return []
        return [
            f"{data['registered_model']} {data['version']} ({data['stage']})"
            for data in self.outcome.materialized.values()
            if "registered_model" in data
        ]

    @property
    def why(self) -> str:
        """What a person wants to read beside the result."""
        if self.outcome is None:
            return self.why_not
        if not self.outcome.success:
            return "; ".join(self.outcome.failures) or "the run failed"
        return ", ".join(self.outcome.made) or "nothing has changed"


Watching = Callable[[str, int, int], AbstractContextManager[object]]
"""Called around the run of a drop, with its number among how many; shows progress."""


def run_here(
    instance: dg.DagsterInstance, request: RunRequest, drops: Sequence[str], watching: Watching
) -> Generator[DropOutcome]:
    """One run per drop in this process, in their order; an interrupted one is the last.

    Raises:
        UserError: the request names an asset, a drop or a parameter that there is not.
    """
    for drop in drops:
        refuse(replace(request, partition=drop))  # all of them before the first one runs
    interrupted = False
    for number, drop in enumerate(drops, 1):
        if interrupted:
            yield DropOutcome(drop, None)
            continue
        with watching(drop, number, len(drops)):
            outcome = run(instance, replace(request, partition=drop))
        interrupted = outcome.interrupted
        yield DropOutcome(drop, outcome)


def daemon_is_there(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon that carries out backfills has shown itself lately."""
    beat = instance.get_daemon_heartbeats().get(BackfillDaemon.daemon_type())
    return beat is not None and time.time() - beat.timestamp < 3 * _BEATS_EVERY


def submit(instance: dg.DagsterInstance, request: RunRequest, drops: Sequence[str]) -> str:
    """Ask the daemon for a backfill of the drops; returns its id.

    Raises:
        UserError: the request names an asset, a drop or a parameter that there is not.
    """
    for drop in drops:
        refuse(replace(request, partition=drop))
    spec = request.pipeline.spec
    ops = run_config(request).get("ops")
    backfill_id = make_new_backfill_id()
    instance.add_dynamic_partitions(f"{spec.name}_drops", list(drops))
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=backfill_id,
            asset_graph=asset_graph(request.pipeline),
            partition_names=list(drops),
            asset_selection=sorted(asset_keys(request)),
            backfill_timestamp=time.time(),
            tags={"pipeline": spec.name, **spec.tags},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config={"ops": ops} if ops else None,
        )
    )
    return backfill_id


def follow(
    instance: dg.DagsterInstance, backfill_id: str, drops: Sequence[str], every: float = 2.0
) -> Generator[DropOutcome]:
    """What becomes of each drop of a backfill, as it ends; whoever stops following stops nothing.

    Raises:
        UserError: the daemon went away before the end.
    """
    open_drops = list(drops)
    while open_drops:
        backfill = instance.get_backfill(backfill_id)
        if backfill is None:
            raise UserError(f"the backfill {backfill_id} was deleted")
        ended = backfill.status in _ENDED  # asked before its runs: they have all ended then
        runs = _last_runs(instance, backfill_id)
        for drop in list(open_drops):
            found = runs.get(drop)
            if found is not None and (ended or found.status == dg.DagsterRunStatus.SUCCESS):
                open_drops.remove(drop)
                yield DropOutcome(drop, _read(instance, found))
            elif ended:
                open_drops.remove(drop)
                said = backfill.error.message.strip() if backfill.error else ""
                yield DropOutcome(drop, None, said or f"backfill {backfill.status.value.lower()}")
        if open_drops and not daemon_is_there(instance):
            raise UserError(
                f"the daemon is gone, and the backfill {backfill_id} waits for it: start it again "
                "(ft ui), and it goes on"
            )
        if open_drops:
            time.sleep(every)


def _last_runs(instance: dg.DagsterInstance, backfill_id: str) -> dict[str, dg.DagsterRun]:
    """The last run of each drop: a run that lost its process is repeated under the same tags."""
    runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}))
    return {run.tags[PARTITION_NAME_TAG]: run for run in reversed(runs)}


def _read(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunOutcome:
    entries = instance.all_logs(run.run_id)
    return outcome_of(run.run_id, (e.dagster_event for e in entries if e.dagster_event))
