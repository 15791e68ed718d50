"""Why a TrainJob did not end well, as the error that the step raises."""

from __future__ import annotations

# pyright: reportMissingTypeStubs=false
import json
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from resources.errors import UserError
from resources.launcher.child import ERROR_FILE
from resources.launcher.process import ChildFailedError
from resources.launcher.trainjob import pods
from resources.launcher.trainjob.api import Api, UnreachableError
from resources.launcher.trainjob.job import Job, Look
from resources.launcher.trainjob.manifest import NODE
from resources.launcher.trainjob.state import State, condition

_LAST_LINES = 20
_TOO_LATE = "DeadlineExceeded"
_RETRIES, _RETRY_SECONDS = 2, 10.0


def why_it_ended(
    job: Job,
    state: State,
    look: Look,
    api: Api,
    *,
    nodes: int,
    run_dir: Path,
    remedies: Sequence[str],
) -> Exception:
    """The error of a job that ended otherwise than complete.

    Bad input, which a worker wrote into error.json beside the plan, is the user's. All else names
    the job's own reason, the pod that failed first, and the last lines of its log. A job that lost
    a node is worth another attempt, as a step is that lost its pod.

    Args:
        job: the job.
        state: how it ended: failed or gone.
        look: what was seen last.
        nodes: how many the job has.
        api: for the log.
        run_dir: the folder of the plan.
        remedies: what to change when a node was killed for want of memory.
    """
    if state is State.GONE or look.job is None:
        return ChildFailedError(
            f"{job} was deleted by somebody while the step followed it: the training goes on from "
            "its checkpoint when the step runs again"
        )
    refusal = run_dir / ERROR_FILE
    if refusal.exists():
        return UserError(json.loads(refusal.read_text())["message"])
    failed = condition(look.job, "Failed") or {}
    parts = [f"{job} failed ({failed.get('reason', '')}: {failed.get('message', '')})"]
    pod = pods.first_failed(look.pods)
    taken = failed.get("reason") != _TOO_LATE and pods.taken_away(look.pods, nodes)
    if pod is None:
        return _again(parts[0]) if taken else ChildFailedError(parts[0])
    parts.append(pods.how_it_ended(pod))
    if pods.out_of_memory(look.pods):
        parts.append("; or ".join(remedies) or "give the nodes more memory (kubernetes.memory)")
    text = "; ".join(parts)
    lines = _last_lines(api, job.namespace, str(pod["metadata"]["name"]))
    if lines:
        text += "; the last lines of its log:\n" + "\n".join(lines)
    return _again(text) if taken else ChildFailedError(text)


def _again(text: str) -> dg.RetryRequested:
    """Another attempt of the step, as often and as soon as the watchdog gives one."""
    again = dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=_RETRY_SECONDS)
    again.__cause__ = ChildFailedError(text)
    return again


def _last_lines(api: Api, namespace: str, pod: str) -> list[str]:
    """The end of a pod's log; nothing where its node is gone, and the log with it."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    query = {"container": NODE, "tailLines": str(_LAST_LINES)}
    try:
        return [line.decode(errors="replace") for line in api.lines(path, query)]
    except (ApiException, HTTPError, OSError):
        return []


def still_waiting(job: Job, look: Look, reason: str) -> ChildFailedError:
    """The error of a job that had its time, with what held it up."""
    held_up = pods.holding_up(look.pods)
    if held_up is None:
        try:
            complaints = job.warnings()
        except (UserError, UnreachableError) as error:  # the deadline is what counts here
            complaints = [f"its events are not known: {error}"]
        held_up = complaints[-1] if complaints else None
    return ChildFailedError(f"{job} {reason}" + (f" ({held_up})" if held_up else ""))
