"""What is wrong with the pods of a job, in words: why they do not start, and how they ended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resources.launcher.trainjob.fields import conditions, entries, part, phase
from resources.launcher.trainjob.manifest import NODE

_HOPELESS = {
    "CreateContainerConfigError": "a secret or config map that it refers to, or a key of it, is "
    "not there: create it in the namespace of the job",
    "CreateContainerError": "the container cannot be made: see the pod's events",
    "ErrImagePull": "check the image's name and tag, and kubernetes.image_pull_secret",
    "ErrImageNeverPull": "the image is not on the node and may not be pulled",
    "ImagePullBackOff": "check the image's name and tag, and kubernetes.image_pull_secret",
    "InvalidImageName": "correct kubernetes.image",
    "RunContainerError": "the container cannot be started: check the image and the command",
}
"""Why a container waits that nothing but a change ends, and the remedy."""

_KILLED = 137
_TOLD_TO_END = (130, 143)
"""Status of a process after SIGINT or SIGTERM; ours say 130 to both, after their checkpoint."""
_OUT_OF_MEMORY = "OOMKilled"
_TAKEN = ("Evicted", "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated")
"""Why a pod says that it was not its work that ended it."""
_OWN_LIMIT = re.compile(r"exceeds the (total )?limit|exceeded its local ephemeral storage limit")
"""What an eviction says of a pod that wrote more than it may: the next one would too."""


def hopeless(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a job will not start whoever waits for it, with the remedy; None: it may."""
    for pod in pods:
        for status in _containers(pod):
            waiting = part(part(status, "state"), "waiting")
            if remedy := _HOPELESS.get(str(waiting.get("reason"))):
                said = f" ({waiting['message']})" if waiting.get("message") else ""
                return f"pod {_name(pod)}: {waiting['reason']}{said}: {remedy}"
    return None


def holding_up(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """What the first pod that does not run waits for; None: nothing that is known."""
    for pod in pods:
        if phase(pod) != "Pending":
            continue
        for entry in conditions(pod):
            if entry["type"] == "PodScheduled" and entry["status"] == "False":
                return f"pod {_name(pod)}: {entry.get('reason')}: {entry.get('message', '')}"
        for container in _containers(pod):
            reason = part(part(container, "state"), "waiting").get("reason")
            if reason:
                return f"pod {_name(pod)}: {reason}"
    return None


def out_of_memory(pods: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a pod was killed for want of memory."""
    return any(ended.get("reason") == _OUT_OF_MEMORY for _, ended in _ends(pods))


def first_failed(pods: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The pod that failed first: the others fail because it is gone."""
    failed = [(str(ended.get("finishedAt") or "~"), pod) for pod, ended in _ends(pods)]
    failed += [("~", pod) for pod in pods if phase(pod) == "Failed"]
    return min(failed, key=lambda one: one[0])[1] if failed else None


def taken_away(pods: Sequence[Mapping[str, Any]], nodes: int) -> bool:
    """Whether a failed job failed because the cluster took one of its pods away.

    The pod that ended first tells it: the others end because it is gone.
    """
    first = first_failed(pods)
    if first is None:
        return len(pods) < nodes or any(map(_is_leaving, pods))
    return _was_taken(first)


def _was_taken(pod: Mapping[str, Any]) -> bool:
    status = part(pod, "status")
    disrupted = [
        entry
        for entry in conditions(pod)
        if entry["type"] == "DisruptionTarget" and entry["status"] == "True"
    ]
    if any(_OWN_LIMIT.search(str(said.get("message"))) for said in (status, *disrupted)):
        return False
    ends = [ended for _, ended in _ends([pod])]
    if any(ended.get("reason") == _OUT_OF_MEMORY for ended in ends):
        return False
    signals = any(ended.get("exitCode") in (_KILLED, *_TOLD_TO_END) for ended in ends)
    return bool(disrupted) or status.get("reason") in _TAKEN or signals


def _is_leaving(pod: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def how_it_ended(pod: Mapping[str, Any]) -> str:
    """How a failed pod ended, in a line."""
    status = part(pod, "status")
    where = part(pod, "spec").get("nodeName")
    parts = [f"pod {_name(pod)}" + (f" on node {where}" if where else "")]
    for _, ended in _ends([pod]):
        code = ended.get("exitCode")
        reason = ended.get("reason")
        parts.append(f"ended with status {code}" + (f" ({reason})" if reason else ""))
        if code == _KILLED and reason != _OUT_OF_MEMORY:
            parts.append("it was killed (SIGKILL)")
        if ended.get("message"):
            parts.append(str(ended["message"]).strip())
        break
    if status.get("reason"):  # the pod's own: Evicted, NodeLost
        parts.append(f"{status['reason']}: {status.get('message', '')}".rstrip(": "))
    return ", ".join(parts)


def started(pod: Mapping[str, Any]) -> bool:
    """Whether the training container runs or ran, so that it has a log."""
    return any(
        status["name"] == NODE and {"running", "terminated"} & part(status, "state").keys()
        for status in _containers(pod)
    )


def ended(pod: Mapping[str, Any]) -> bool:
    """Whether the pod will write no more."""
    return phase(pod) in ("Succeeded", "Failed")


def _ends(
    pods: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The pods' containers that ended badly, with how."""
    for pod in pods:
        for status in _containers(pod):
            terminated = part(part(status, "state"), "terminated")
            if terminated and terminated.get("exitCode") != 0:
                yield pod, terminated


def _containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    status = part(pod, "status")
    return [*entries(status, "initContainerStatuses"), *entries(status, "containerStatuses")]


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])
