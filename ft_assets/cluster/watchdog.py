"""What ails a step, from one look at its job, pods and events, and when that ends it; pure.

Does not belong here: the calls that look (``api``), what is written and done (``step_handler``),
and what ails a single pod (``pods``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from ft_assets.cluster import causes
from ft_assets.cluster.causes import Fault
from ft_assets.cluster.findings import Finding, Verdict, finding
from ft_assets.cluster.pods import ailments, taken_away
from ft_assets.cluster.refusals import why_not_created
from ft_assets.cluster.settings import WatchSettings
from ft_assets.cluster.watched import (
    Object,
    Observation,
    at,
    condition,
    created_pods,
    deletion_asked_at,
    events_on,
    name_of,
)

_UNBORN = re.compile(r'(Error creating: )?pods "[^"]*" is')


def examine(seen: Observation) -> list[Finding]:
    """All that ails a step; what ends it comes first. Nothing for a step that runs well."""
    job = seen.job
    if job is None:
        return [finding(causes.JOB_DELETED, "the step's job is no longer there", final=True)]
    if at(job, "metadata", "deletionTimestamp") is not None:
        return [finding(causes.JOB_DELETED, "the step's job is being deleted", final=True)]
    if _is_past_its_deadline(job, seen.pods):
        # What its pods say, that a signal ended them, is what the deadline did to them.
        seconds = at(job, "spec", "activeDeadlineSeconds")
        detail = f"the job was there for longer than its deadline of {seconds} s"
        return [finding(causes.DEADLINE, detail, final=True)]
    found = list(_job_ailments(seen, job))
    for pod in seen.pods:
        found += ailments(pod, seen.events, interrupted=seen.interrupted)
    if not found and seen.interrupted:
        found.append(finding(causes.KILLED, "SIGTERM told the step's process to stop"))
    return sorted(found, key=lambda one: not one.final)


def judge(
    findings: Sequence[Finding],
    since: Mapping[tuple[str, str | None], datetime],
    launched: datetime,
    now: datetime,
    settings: WatchSettings,
) -> Verdict | None:
    """Whether a step ends here.

    Args:
        findings: of this look.
        since: when each finding was there first, by its key.
        launched: when the job was created.
        now: the time of this look.
        settings: the deadlines.
    """
    for one in findings:
        seconds, parameter = _deadline(one, settings)
        began = launched if one.cause.fault is Fault.CAPACITY else since.get(one.key, now)
        if now - began >= timedelta(seconds=seconds):
            waited = f"{seconds:g} s ({parameter})" if seconds else ""
            return Verdict(one, one.cause.fault is Fault.INFRASTRUCTURE, waited)
    return None


def worth_saying(one: Finding, since: datetime, now: datetime) -> bool:
    """Whether a finding has lasted long enough for an event."""
    return one.final or now - since >= timedelta(seconds=one.cause.quiet_seconds)


def _deadline(one: Finding, settings: WatchSettings) -> tuple[float, str]:
    """How long a finding may last, in seconds, and what sets it."""
    if one.cause is causes.ENDED_SILENTLY:
        return settings.end_seconds, "watchdog.end_seconds of the executor"
    if one.final:
        return 0.0, ""
    if one.cause.fault is Fault.CAPACITY:
        return settings.queue_seconds, "kubernetes.queue_timeout"
    if one.cause.fault is Fault.CONFIGURATION:
        return settings.patience_seconds, "watchdog.patience_seconds of the executor"
    return settings.node_patience_seconds, "watchdog.node_patience_seconds of the executor"


def _job_ailments(seen: Observation, job: Object) -> Iterator[Finding]:
    name = name_of(job)
    lost = _lost_pods(seen, name)
    failed = _failure_of(job)
    if lost:
        yield _why_lost(lost, seen)
    elif failed is not None:
        # A failed pod tells more, and is told of by itself.
        if not any(at(pod, "status", "phase") == "Failed" for pod in seen.pods):
            detail = f"the job failed: {failed.get('message') or failed.get('reason')}"
            yield finding(causes.CRASHED, detail, final=True)
    elif _holds(job, "Complete") is not None:
        detail = f"the job {name} is complete, and the step has not said that it ended"
        yield finding(causes.ENDED_SILENTLY, detail)
    elif at(job, "spec", "suspend"):
        yield finding(causes.SUSPENDED, "the job is suspended")
    elif not seen.pods:
        yield _no_pod(seen, name)


def _is_past_its_deadline(job: Object, pods: Sequence[Object]) -> bool:
    """Whether the job says so, or a pod was deleted when it was: pods go before the job says why.

    Taken for a pod that somebody deleted, it would be tried again, for as long again.
    """
    failed = _failure_of(job)
    if failed is not None:
        return failed.get("reason") == "DeadlineExceeded"
    began, limit = at(job, "status", "startTime"), at(job, "spec", "activeDeadlineSeconds")
    if began is None or limit is None:
        return False
    over = datetime.fromisoformat(str(began)) + timedelta(seconds=float(limit))
    return any(asked >= over for asked in map(deletion_asked_at, pods) if asked is not None)


def _failure_of(job: Object) -> Object | None:
    return _holds(job, "Failed") or _holds(job, "FailureTarget")


def _holds(job: Object, kind: str) -> Object | None:
    found = condition(job, kind)
    return found if found is not None and found.get("status") == "True" else None


def _lost_pods(seen: Observation, job_name: str) -> list[str]:
    """Pods that were created and are there no more: the step does not go on in a replacement."""
    present = {name_of(pod) for pod in seen.pods}
    return [name for name in created_pods(job_name, seen.events) if name not in present]


def _why_lost(names: Sequence[str], seen: Observation) -> Finding:
    """The last words about pods that are gone."""
    for name in names:
        gone: Object = {"metadata": {"name": name}}
        if (taken := taken_away(gone, seen.events)) is not None:
            return finding(*taken, gone, final=True)
    return finding(causes.POD_DELETED, f"the pod {', '.join(names)} is gone", final=True)


def _no_pod(seen: Observation, job_name: str) -> Finding:
    refused = events_on(seen.events, job_name, "FailedCreate")
    if not refused:
        return finding(causes.QUEUED, "the job has no pod yet")
    message = str(refused[-1].get("message"))
    # Each try is made under another name, which would make it another finding.
    return finding(why_not_created(message), _UNBORN.sub("the pod is", message))
