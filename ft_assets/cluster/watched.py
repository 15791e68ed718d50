"""What the API server says about one step: its job, the pods of it, and the events on both.

Belongs here: the objects as plain JSON, and where things stand in them. Does not belong here: what
they mean for the step (``watchdog``), and the calls that fetch them (``api``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

Object = Mapping[str, Any]
"""An object of the API as its JSON has it, camelCase."""

_CREATED = re.compile(r"Created pod: (\S+)")


@dataclass(frozen=True)
class Observation:
    """One look at a step."""

    job: Object | None
    """None: there is no such job any more."""
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    """On the job and on its pods, oldest first."""
    interrupted: bool = False
    """Whether the step wrote that it was told to stop, which nobody of ours did."""


def at(thing: Any, *path: str) -> Any:
    """What stands at a path of keys; None where the path ends early."""
    for key in path:
        if not isinstance(thing, Mapping):
            return None
        thing = cast("Object", thing).get(key)
    return thing


def name_of(thing: Object) -> str:
    """The object's name."""
    return str(at(thing, "metadata", "name"))


def items(thing: Any, *path: str) -> list[Object]:
    """The list at a path; empty where there is none."""
    return list(at(thing, *path) or [])


def condition(thing: Object, kind: str) -> Object | None:
    """The condition of a type, whatever its status."""
    return next((c for c in items(thing, "status", "conditions") if c.get("type") == kind), None)


def containers(pod: Object) -> list[Object]:
    """The statuses of the pod's containers, those that initialize it first."""
    return [
        *items(pod, "status", "initContainerStatuses"),
        *items(pod, "status", "containerStatuses"),
    ]


def events_on(events: Sequence[Object], name: str, *reasons: str) -> list[Object]:
    """The events on the object of a name, of some reasons or of all, oldest first."""
    return [
        event
        for event in events
        if at(event, "involvedObject", "name") == name
        and (not reasons or event.get("reason") in reasons)
    ]


def is_calm(pods: Sequence[Object]) -> bool:
    """Whether the step's one pod runs and nothing speaks against it: no event need be read."""
    if len(pods) != 1:
        return False
    (pod,) = pods
    ready = condition(pod, "Ready")
    return (
        at(pod, "status", "phase") == "Running"
        and at(pod, "metadata", "deletionTimestamp") is None
        and ready is not None
        and ready.get("status") == "True"
    )


def deletion_asked_at(thing: Object) -> datetime | None:
    """When somebody asked for the object's deletion; None where nobody did.

    Its timestamp is when the grace period ends, and not when it began.
    """
    ends = at(thing, "metadata", "deletionTimestamp")
    if ends is None:
        return None
    grace = float(at(thing, "metadata", "deletionGracePeriodSeconds") or 0)
    return datetime.fromisoformat(str(ends)) - timedelta(seconds=grace)


def created_pods(job_name: str, events: Sequence[Object]) -> list[str]:
    """The names of the pods that the job controller said it created."""
    found = (
        _CREATED.match(str(event.get("message")))
        for event in events_on(events, job_name, "SuccessfulCreate")
    )
    return list(dict.fromkeys(match[1] for match in found if match))
