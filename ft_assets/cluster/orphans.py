"""Which jobs in the cluster nobody waits for any more; pure.

Belongs here: the decision. Does not belong here: reading and deleting (``reaper``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ft_assets.cluster.watched import Object, at, condition, name_of
from ft_assets.kubernetes import MANAGED

RUN_ID = "dagster/run-id"
MANAGED_BY = ",".join(f"{label}={value}" for label, value in MANAGED.items())
"""The label selector of what is ours."""


@dataclass(frozen=True)
class Owned:
    """One job of ours that is not over: a step's, or a training's on several nodes."""

    kind: str
    """``Job`` or ``TrainJob``."""
    name: str
    uid: str
    run_id: str
    created: datetime


@dataclass(frozen=True)
class RunEnd:
    """What Dagster knows about a run."""

    over: bool
    at: datetime | None
    """When it ended; None for one that is not over, or that never said when."""


@dataclass(frozen=True)
class Orphan:
    """One that is to be deleted, and why."""

    job: Owned
    reason: str


def owned(kind: str, thing: Object) -> Owned | None:
    """The job as ours; None when it is not, when it is being deleted already, or when it goes by
    itself: a Job that is over has a time to live, so that its pods can be looked at. A TrainJob has
    none.
    """
    labels: dict[str, str] = at(thing, "metadata", "labels") or {}
    run_id = labels.get(RUN_ID)
    if run_id is None or any(labels.get(name) != value for name, value in MANAGED.items()):
        return None
    over = any(
        (condition(thing, end) or {}).get("status") == "True" for end in ("Complete", "Failed")
    )
    goes_by_itself = over and kind == "Job"
    if goes_by_itself or at(thing, "metadata", "deletionTimestamp") is not None:
        return None
    return Owned(
        kind=kind,
        name=name_of(thing),
        uid=str(at(thing, "metadata", "uid")),
        run_id=str(run_id),
        created=datetime.fromisoformat(str(at(thing, "metadata", "creationTimestamp"))),
    )


def orphans(
    jobs: Iterable[Owned],
    runs: Mapping[str, RunEnd],
    now: datetime,
    *,
    grace: timedelta,
    unknown_grace: timedelta,
) -> list[Orphan]:
    """The jobs to delete.

    Args:
        jobs: ours, of those that do not go by themselves.
        runs: what Dagster knows of their runs, by id; a run that is not there is unknown to it.
        now: the time.
        grace: how long after the end of its run a job may take to end by itself.
        unknown_grace: how old a job may become whose run Dagster does not know.
    """
    found: list[Orphan] = []
    for job in jobs:
        run = runs.get(job.run_id)
        if run is None:
            if now - job.created >= unknown_grace:
                found.append(Orphan(job, f"Dagster does not know its run {job.run_id}"))
        elif run.over and now - max(run.at or job.created, job.created) >= grace:
            found.append(Orphan(job, f"its run {job.run_id} is over"))
    return found
