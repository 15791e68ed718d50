"""In which state a TrainJob is, from its conditions and its pods: pure.

The API has three conditions of its own (Suspended, Complete, Failed); what lies between, the pods
tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from resources.launcher.trainjob.fields import conditions, part, phase
from resources.launcher.trainjob.job import Look


class State(Enum):
    """Where a TrainJob stands; the value is for people."""

    GONE = "deleted"
    COMPLETE = "complete"
    FAILED = "failed"
    SUSPENDED = "suspended: its queue has not admitted it"
    CREATED = "created: its pods are not there yet"
    QUEUED = "queued: not all of its nodes run"
    RUNNING = "running"


ENDED = frozenset({State.GONE, State.COMPLETE, State.FAILED})


def state_of(look: Look, nodes: int) -> State:
    """The state of a job that wants so many nodes."""
    if look.job is None:
        return State.GONE
    for state in (State.COMPLETE, State.FAILED):
        if condition(look.job, state.name.capitalize()):
            return state
    if look.being_deleted:
        return State.GONE
    if look.job["spec"].get("suspend") or condition(look.job, "Suspended"):
        return State.SUSPENDED
    alive = [pod for pod in look.pods if "deletionTimestamp" not in pod["metadata"]]
    up = [pod for pod in alive if phase(pod) in ("Running", "Succeeded")]
    if len(up) >= nodes:
        return State.RUNNING
    return State.QUEUED if alive else State.CREATED


def condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """A condition of the job that holds."""
    for entry in conditions(job):
        if entry["type"] == kind and entry["status"] == "True":
            return entry
    return None


def waiting_since(look: Look) -> datetime:
    """When the present wait of a job began: its creation, or its last suspension or resumption."""
    assert look.job is not None
    began = _time(look.job["metadata"]["creationTimestamp"])
    for entry in conditions(look.job):
        if entry["type"] == "Suspended":
            began = max(began, _time(entry["lastTransitionTime"]))
    return began


def running_since(look: Look) -> datetime | None:
    """When the last of its nodes came up; None: not all of them say when."""
    started = [part(pod, "status").get("startTime") for pod in look.pods]
    if not started or not all(started):
        return None
    return max(_time(str(time)) for time in started)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
