"""What ails one pod: it is not placed, does not start, was taken away, or is over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ft_assets.cluster import causes
from ft_assets.cluster.causes import Cause
from ft_assets.cluster.findings import Finding, finding
from ft_assets.cluster.refusals import is_of_the_registry, why_not_placed
from ft_assets.cluster.watched import (
    Object,
    at,
    condition,
    containers,
    events_on,
    items,
    name_of,
)

_SIGNALS = {137: "SIGKILL", 143: "SIGTERM"}
_OWN_LIMIT = re.compile(r"exceeds the (total )?limit|exceeded its local ephemeral storage limit")
_PULLS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable")
_WAITS = {
    "InvalidImageName": causes.IMAGE_NAME_INVALID,
    "CreateContainerConfigError": causes.CONTAINER_CONFIG,
    "CreateContainerError": causes.CONTAINER_START,
    "RunContainerError": causes.CONTAINER_START,
    "CrashLoopBackOff": causes.CONTAINER_RESTARTS,
}
_REASONS = {
    "Preempting": causes.PREEMPTED,
    "NodeLost": causes.NODE_LOST,
    "Shutdown": causes.EVICTED,
    "NodeShutdown": causes.EVICTED,
    "Terminated": causes.EVICTED,  # by the shutdown of its node
    "DeadlineExceeded": causes.DEADLINE,
}
_TAKEN = ("Preempted", "Preempting", "Evicted", "TaintManagerEviction", "NodeNotReady")


def ailments(pod: Object, events: Sequence[Object], *, interrupted: bool) -> Iterator[Finding]:
    """What ails a pod; nothing where it runs or ended well."""
    phase = at(pod, "status", "phase")
    if phase == "Failed":
        yield _failed(pod, events, interrupted=interrupted)
    elif at(pod, "metadata", "deletionTimestamp") is not None:
        yield _being_deleted(pod, events)
    elif phase == "Pending" and not at(pod, "spec", "nodeName"):
        yield _not_placed(pod, events)
    elif phase == "Pending":
        yield _lost_node(pod, events) or _not_started(pod, events)
    elif phase in ("Running", "Unknown"):
        ended = _ended(pod)
        lost = _lost_node(pod, events)
        yield from [found for found in (ended, lost) if found is not None]


def taken_away(pod: Object, events: Sequence[Object]) -> tuple[Cause, str] | None:
    """Who took a pod away, and why: its own status says it, or the events about it do."""
    return _status_says(pod) or _condition_says(pod) or _events_say(pod, events)


def _failed(pod: Object, events: Sequence[Object], *, interrupted: bool) -> Finding:
    """A pod that is over and did not end well."""
    if (taken := taken_away(pod, events)) is not None:
        return finding(*taken, pod, final=True)
    ended = _ended(pod)
    if ended is not None and not (interrupted and ended.cause is causes.CRASHED):
        return ended
    if at(pod, "metadata", "deletionTimestamp") is not None:
        return finding(causes.POD_DELETED, "the pod was deleted", pod, final=True)
    if interrupted:
        return finding(causes.KILLED, "SIGTERM ended the step's process", pod, final=True)
    said = at(pod, "status", "message") or at(pod, "status", "reason") or "the pod failed"
    return finding(causes.CRASHED, str(said), pod, final=True)


def _ended(pod: Object) -> Finding | None:
    """A container that ended badly."""
    ended = [(s, s["state"]["terminated"]) for s in containers(pod) if at(s, "state", "terminated")]
    for status, state in ended:
        if state.get("reason") == "OOMKilled":
            limit = _memory_limit(pod, str(status.get("name")))
            detail = f"the container {status.get('name')} needed more memory than {limit}"
            return finding(causes.OUT_OF_MEMORY, detail, pod, final=True)
    for status, state in ended:
        code, said = state.get("exitCode"), state.get("message")
        if code == 0:
            continue
        if state.get("reason") in ("ContainerCannotRun", "StartError"):
            return finding(causes.CONTAINER_START, str(said), pod, final=True)
        if code in _SIGNALS:
            detail = f"{_SIGNALS[code]} ended the container {status.get('name')}"
            return finding(causes.KILLED, detail, pod, final=True)
        detail = f"the container {status.get('name')} ended with exit code {code}"
        return finding(causes.CRASHED, f"{detail}: {said}" if said else detail, pod, final=True)
    return None


def _being_deleted(pod: Object, events: Sequence[Object]) -> Finding:
    cause, detail = taken_away(pod, events) or (causes.POD_DELETED, "the pod is being deleted")
    running = any(at(status, "state", "running") for status in containers(pod))
    return finding(cause, detail, pod, final=not running)


def _not_placed(pod: Object, events: Sequence[Object]) -> Finding:
    placed = condition(pod, "PodScheduled") or {}
    if placed.get("reason") == "SchedulingGated":
        return finding(causes.SUSPENDED, "the pod has a scheduling gate", pod)
    message = placed.get("message") if placed.get("reason") == "Unschedulable" else None
    if not message:
        said = events_on(events, name_of(pod), "FailedScheduling")
        message = said[-1].get("message") if said else None
    if not message:
        return finding(causes.QUEUED, "no scheduler has looked at the pod yet", pod)
    cause, remedy = why_not_placed(str(message))
    return finding(cause, str(message), pod, remedy=remedy)


def _not_started(pod: Object, events: Sequence[Object]) -> Finding:
    """A pod on a node whose containers do not run yet."""
    for status in containers(pod):
        waiting: Object = at(status, "state", "waiting") or {}
        reason, message = waiting.get("reason"), str(waiting.get("message") or "")
        if reason in _PULLS:
            return _pull(pod, events, reason, message, str(status.get("image")))
        if reason in _WAITS:
            image = f"{status.get('image')}: " if reason == "InvalidImageName" else ""
            return finding(_WAITS[reason], f"{image}{message or reason}", pod)
    mounts = events_on(events, name_of(pod), "FailedMount", "FailedAttachVolume")
    if mounts:
        said = str(mounts[-1].get("message"))
        missing = re.search(r"not found|non-existent|references non", said)
        return finding(causes.MOUNT_MISSING if missing else causes.MOUNT_WAITS, said, pod)
    sandbox = events_on(events, name_of(pod), "FailedCreatePodSandBox")
    if sandbox:
        return finding(causes.SANDBOX, str(sandbox[-1].get("message")), pod)
    pulling = " (pulling the image)" if events_on(events, name_of(pod), "Pulling") else ""
    detail = f"the node {at(pod, 'spec', 'nodeName')} has not started the pod yet{pulling}"
    return finding(causes.STARTING, detail, pod)


def _pull(pod: Object, events: Sequence[Object], reason: str, message: str, image: str) -> Finding:
    """An image that cannot be pulled: the event says why, the status only that it waits."""
    said = [
        str(event.get("message"))
        for event in events_on(events, name_of(pod), "Failed")
        if "pull" in str(event.get("message"))
    ]
    why = said[-1] if said else message or reason
    unreachable = is_of_the_registry(f"{why} {message}")
    cause = causes.REGISTRY_UNREACHABLE if unreachable else causes.IMAGE_NOT_FOUND
    return finding(cause, why if image in why else f"{image}: {why}", pod)


def _lost_node(pod: Object, events: Sequence[Object]) -> Finding | None:
    """Whether the pod's node has fallen silent: the node controller says so, on the pod."""
    ready = condition(pod, "Ready") or {}
    if ready.get("status") == "True":
        return None
    node = at(pod, "spec", "nodeName")
    if ready.get("status") == "Unknown":
        return finding(causes.NODE_LOST, f"the node {node} does not answer", pod)
    if said := events_on(events, name_of(pod), "NodeNotReady"):
        return finding(causes.NODE_LOST, f"the node {node}: {said[-1].get('message')}", pod)
    return None


def _status_says(pod: Object) -> tuple[Cause, str] | None:
    reason = str(at(pod, "status", "reason") or "")
    said = str(at(pod, "status", "message") or reason)
    if reason == "Evicted":
        return _eviction(said)
    if reason.startswith("OutOf") or reason in ("UnexpectedAdmissionError", "NodeAffinity"):
        return causes.NODE_REFUSED, f"{reason}: {said}"
    cause = _REASONS.get(reason)
    return (cause, said) if cause is not None else None


def _condition_says(pod: Object) -> tuple[Cause, str] | None:
    disruption = condition(pod, "DisruptionTarget") or {}
    if disruption.get("status") != "True":
        return None
    reason = str(disruption.get("reason"))
    said = str(disruption.get("message") or reason)
    if reason.startswith("Preemption"):
        return causes.PREEMPTED, said
    if reason in ("DeletionByTaintManager", "DeletionByPodGC"):
        return causes.NODE_LOST, said
    return _eviction(said)


def _events_say(pod: Object, events: Sequence[Object]) -> tuple[Cause, str] | None:
    over = at(pod, "status", "phase") == "Failed"
    for event in reversed(events_on(events, name_of(pod), *_TAKEN)):
        reason, said = str(event.get("reason")), str(event.get("message"))
        if reason.startswith("Preempt"):
            return causes.PREEMPTED, said
        if reason == "Evicted":
            return _eviction(said)
        # A node that came back reports the pod's end itself: it was not lost then.
        if not over and "Cancelling" not in said:
            return causes.NODE_LOST, said
    return None


def _eviction(said: str) -> tuple[Cause, str]:
    return (causes.POD_LIMIT_EXCEEDED if _OWN_LIMIT.search(said) else causes.EVICTED), said


def _memory_limit(pod: Object, container: str) -> str:
    for part in (*items(pod, "spec", "initContainers"), *items(pod, "spec", "containers")):
        limit = at(part, "resources", "limits", "memory")
        if part.get("name") == container and limit:
            return f"its limit of {limit}"
    return "the node could give"
