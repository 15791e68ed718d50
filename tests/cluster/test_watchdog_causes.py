"""Each way in which Kubernetes keeps a step from running has a cause and a remedy."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from ft_assets.cluster.causes import CAUSES, Fault
from ft_assets.cluster.refusals import why_not_created
from ft_assets.cluster.watchdog import examine
from ft_assets.cluster.watched import Observation
from ft_assets.config.kubernetes import KubernetesConfig

JOB = "dagster-step-abc"
POD = "dagster-step-abc-x7k2p"


def a_job(*conditions: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": JOB, "uid": "1"},
        "spec": {"backoffLimit": 0, **spec},
        "status": {"active": 1, "conditions": list(conditions)},
    }


def a_pod(phase: str, *, node: str = "gpu-1", deleted: bool = False, **status: Any):
    return {
        "metadata": {
            "name": POD,
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}),
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [
                {"name": "dagster", "image": "ft:1", "resources": {"limits": {"memory": "8Gi"}}}
            ],
        },
        "status": {"phase": phase, **status},
    }


def an_event(name: str, reason: str, message: str) -> dict[str, Any]:
    return {"involvedObject": {"name": name}, "reason": reason, "message": message}


def created(name: str = POD) -> dict[str, Any]:
    return an_event(JOB, "SuccessfulCreate", f"Created pod: {name}")


def unplaced(message: str) -> Observation:
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message
    }  # fmt: skip
    return Observation(a_job(), [a_pod("Pending", node="", conditions=[condition])])


def refused(message: str) -> Observation:
    return Observation(a_job(), [], [an_event(JOB, "FailedCreate", f"Error creating: {message}")])


def waiting(reason: str, message: str, *events: dict[str, Any]) -> Observation:
    state = {"waiting": {"reason": reason, "message": message}}
    status = {"name": "dagster", "image": "ft:1", "state": state}
    return Observation(a_job(), [a_pod("Pending", containerStatuses=[status])], list(events))


def over(*, reason: str = "Error", code: int = 1, interrupted: bool = False, **status: Any):
    ended = {"name": "dagster", "state": {"terminated": {"reason": reason, "exitCode": code}}}
    failed = {
        "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
        "message": "Job has reached the specified backoff limit",
    }  # fmt: skip
    pod = a_pod("Failed", containerStatuses=[ended], **status)
    return Observation(a_job(failed), [pod], [created()], interrupted)


def past_the_deadline(*, deleted_at: str) -> Observation:
    """A job of 60 s that began at 00:00:00, and the pod that SIGTERM ended after a grace of 30."""
    job = a_job(activeDeadlineSeconds=60)
    job["status"]["startTime"] = "2026-01-01T00:00:00Z"
    ended = {"name": "dagster", "state": {"terminated": {"reason": "Error", "exitCode": 143}}}
    pod = a_pod("Failed", containerStatuses=[ended])
    ends = datetime.fromisoformat(deleted_at) + timedelta(seconds=30)
    pod["metadata"] |= {"deletionTimestamp": ends.isoformat(), "deletionGracePeriodSeconds": 30}
    return Observation(job, [pod], [created()])


def running(*conditions: dict[str, Any], deleted: bool = False) -> dict[str, Any]:
    status = {"name": "dagster", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    return a_pod(
        "Running", deleted=deleted, containerStatuses=[status], conditions=list(conditions)
    )


def taken(*events: dict[str, Any], deleted: bool = True) -> Observation:
    not_ready = {"type": "Ready", "status": "False"}
    return Observation(a_job(), [running(not_ready, deleted=deleted)], [created(), *events])


NOT_READY = an_event(POD, "NodeNotReady", "Node is not ready")
C, W, R = Fault.CONFIGURATION, Fault.CAPACITY, Fault.INFRASTRUCTURE

TABLE: dict[str, tuple[Observation, str, Fault, str]] = {
    "no GPU is free": (
        unplaced("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        "Unschedulable", W, "kubernetes.gpus_per_worker",
    ),
    "no memory is free": (
        unplaced("0/3 nodes are available: 3 Insufficient memory."),
        "Unschedulable", W, "kubernetes.memory",
    ),
    "a taint keeps pods off": (
        unplaced("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."),
        "Unschedulable", W, "kubernetes.tolerations",
    ),
    "no node has the labels": (
        unplaced("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        "Unschedulable", W, "kubernetes.node_selector",
    ),
    "a claim is missing": (
        unplaced('0/1 nodes are available: 1 persistentvolumeclaim "models" not found.'),
        "ClaimMissing", C, "kubernetes.volumes",
    ),
    "the priority class is missing": (
        refused('pods "x" is forbidden: no PriorityClass with name gold was found'),
        "PriorityClassMissing", C, "kubernetes.priority_class",
    ),
    "the service account is missing": (
        refused('error looking up service account ft/trainer: serviceaccount "trainer" not found'),
        "ServiceAccountMissing", C, "kubernetes.service_account",
    ),
    "the quota is in use": (
        refused(
            'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=4, '
            "used: requests.nvidia.com/gpu=6, limited: requests.nvidia.com/gpu=8"
        ),
        "QuotaExceeded", W, "kubernetes.queue_timeout",
    ),
    "the quota is too small for ever": (
        refused(
            'pods "x" is forbidden: exceeded quota: mem, requested: requests.memory=64Gi, '
            "used: requests.memory=0, limited: requests.memory=32Gi"
        ),
        "QuotaTooSmall", C, "kubernetes.memory",
    ),
    "the quota demands a value": (
        refused('pods "x" is forbidden: failed quota: cpus: must specify limits.cpu'),
        "QuotaWantsValues", C, "LimitRange",
    ),
    "the pod breaks a policy": (
        refused('pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'),
        "PodRefused", C, "`kubernetes` block",
    ),
    "a webhook is down": (
        refused('Internal error occurred: failed calling webhook "w": connection refused'),
        "PodNotCreated", W, "operators",
    ),
    "the image is not there": (
        waiting(
            "ImagePullBackOff", 'Back-off pulling image "ft:1"',
            an_event(POD, "Failed", 'Failed to pull image "ft:1": manifest unknown'),
        ),
        "ImagePull", C, "kubernetes.image_pull_secret",
    ),
    "the registry does not answer": (
        waiting("ErrImagePull", "dial tcp 10.0.0.1:443: i/o timeout"),
        "RegistryUnreachable", R, "kubernetes.image",
    ),
    "the image's name is none": (
        waiting("InvalidImageName", "couldn't parse image reference"),
        "InvalidImageName", C, "kubernetes.image",
    ),
    "a secret is missing": (
        waiting("CreateContainerConfigError", 'secret "hf-token" not found'),
        "CreateContainerConfigError", C, "kubernetes.hf_token_secret",
    ),
    "the image has no such command": (
        waiting("RunContainerError", 'exec: "dagster": executable file not found in $PATH'),
        "ContainerCannotStart", C, "kubernetes.image",
    ),
    "a mounted secret is missing": (
        waiting(
            "ContainerCreating", "",
            an_event(POD, "FailedMount", 'MountVolume.SetUp failed: secret "s3" not found'),
        ),
        "FailedMount", C, "kubernetes.volumes",
    ),
    "a volume hangs on another node": (
        waiting(
            "ContainerCreating", "",
            an_event(POD, "FailedAttachVolume", "Multi-Attach error for volume pvc-1"),
        ),
        "FailedMount", W, "ReadWriteOnce",
    ),
    "the pod has no network": (
        waiting(
            "ContainerCreating", "",
            an_event(POD, "FailedCreatePodSandBox", "cni plugin not initialized"),
        ),
        "FailedCreatePodSandBox", W, "network",
    ),
    "the node lets it wait": (waiting("ContainerCreating", ""), "Starting", W, "large image"),
    "nobody has looked at the job": (Observation(a_job()), "Queued", W, "kubectl describe job"),
    "a queue holds the job": (Observation(a_job(suspend=True)), "Suspended", W, "Kueue"),
    "memory ran out": (over(reason="OOMKilled", code=137), "OOMKilled", C, "kubernetes.memory"),
    "the node ran short": (
        Observation(
            a_job(),
            [a_pod("Failed", reason="Evicted", message="The node was low on resource: memory.")],
            [created()],
        ),
        "Evicted", R, "kubernetes.memory",
    ),
    "the pod filled its disk": (
        Observation(
            a_job(),
            [
                a_pod(
                    "Failed", reason="Evicted",
                    message='Usage of EmptyDir volume "shm" exceeds the limit "1Gi".',
                )
            ],
            [created()],
        ),
        "EvictedForItsLimit", C, "kubernetes.volumes",
    ),
    "the node shut down": (
        Observation(
            a_job(), [a_pod("Failed", reason="Terminated", message="node shutdown")], [created()]
        ),
        "Evicted", R, "drained",
    ),
    "the node took no more": (
        Observation(a_job(), [a_pod("Failed", reason="OutOfnvidia.com/gpu")], [created()]),
        "NodeRefusedPod", R, "another place",
    ),
    "a signal came": (over(code=137), "Killed", R, "signal"),
    "the step was told to stop": (over(code=1, interrupted=True), "Killed", R, "signal"),
    "the process crashed": (over(code=139), "Crashed", R, "kubectl logs"),
    "a more important pod came": (
        taken(an_event(POD, "Preempted", "Preempted by ft/urgent on node gpu-1")),
        "Preempted", R, "kubernetes.priority_class",
    ),
    "a more important pod came, in newer words": (
        Observation(
            a_job(),
            [
                running(
                    {
                        "type": "DisruptionTarget", "status": "True",
                        "reason": "PreemptionByScheduler", "message": "preempting to accommodate",
                    },
                    deleted=True,
                )
            ],
            [created()],
        ),
        "Preempted", R, "kubernetes.priority_class",
    ),
    "the node was drained": (
        Observation(
            a_job(),
            [
                running(
                    {
                        "type": "DisruptionTarget", "status": "True",
                        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
                    },
                    deleted=True,
                )
            ],
            [created()],
        ),
        "Evicted", R, "kubernetes.priority_class",
    ),
    "the node fell silent": (taken(NOT_READY, deleted=False), "NodeLost", R, "another node"),
    "the node fell silent, in other words": (
        Observation(a_job(), [running({"type": "Ready", "status": "Unknown"})], [created()]),
        "NodeLost", R, "another node",
    ),
    "the pod was moved off a silent node": (
        taken(an_event(POD, "TaintManagerEviction", f"Marking for deletion Pod ft/{POD}")),
        "NodeLost", R, "another node",
    ),
    "the pod is being deleted": (taken(), "PodDeleted", R, "cancel its run"),
    "the pod is gone": (Observation(a_job(), [], [created()]), "PodDeleted", R, "cancel its run"),
    "the pod is gone with a last word": (
        Observation(
            a_job(), [], [created(), an_event(POD, "Preempted", "Preempted by ft/urgent")]
        ),
        "Preempted", R, "kubernetes.priority_class",
    ),
    "another pod came in its place": (
        Observation(a_job(), [running()], [created("earlier"), created()]),
        "PodDeleted", R, "cancel its run",
    ),
    "the job's deadline passed": (
        Observation(
            a_job(
                {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"},
                activeDeadlineSeconds=60,
            ),
            [running(deleted=True)],
            [created()],
        ),
        "DeadlineExceeded", C, "kubernetes.deadline",
    ),
    "the job's deadline passed, which the job does not say yet": (
        past_the_deadline(deleted_at="2026-01-01T00:01:00Z"),
        "DeadlineExceeded", C, "kubernetes.deadline",
    ),
    "the pod was deleted before the job's deadline": (
        past_the_deadline(deleted_at="2026-01-01T00:00:59Z"),
        "Killed", R, "signal",
    ),
    "somebody deleted the job": (Observation(None), "JobDeleted", C, "cancel its run"),
    "the pod ended without a word": (
        Observation(
            a_job({"type": "Complete", "status": "True"}), [a_pod("Succeeded")], [created()]
        ),
        "EndedSilently", R, "replacement",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", TABLE)
def test_each_fault_has_its_cause_whose_it_is_and_a_remedy(fault):
    seen, cause, whose, remedy = TABLE[fault]
    first = examine(seen)[0]
    assert (first.cause.name, first.cause.fault) == (cause, whose)
    assert remedy in first.remedy


def test_a_deadline_is_one_finding_whatever_its_pods_say():
    failed = {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}
    seen = over(reason="Error", code=143)
    (found,) = examine(Observation(a_job(failed, activeDeadlineSeconds=60), seen.pods, seen.events))
    assert found.cause.name == "DeadlineExceeded"


def test_the_clusters_own_words_are_passed_on():
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    (found,) = examine(unplaced(message))
    assert message.rstrip(".") in found.sentence
    assert found.pod == POD


def test_a_pod_that_is_refused_under_another_name_is_the_same_finding():
    first, again = (
        examine(refused(f'pods "step-{suffix}" is forbidden: no PriorityClass with name gold'))[0]
        for suffix in ("4xk2p", "zz8vq")
    )
    assert first.change == again.change


def test_the_limit_that_memory_ran_into_is_named():
    (found,) = examine(over(reason="OOMKilled", code=137))
    assert "limit of 8Gi" in found.sentence


@pytest.mark.parametrize(
    "seen",
    [
        Observation(a_job(), [running({"type": "Ready", "status": "True"})], [created()]),
        Observation(a_job(), [a_pod("Succeeded")], [created()]),
        Observation(
            a_job(), [running({"type": "Ready", "status": "True"})], [created(), NOT_READY]
        ),
    ],
    ids=["it runs", "it ended well", "its node was away and is back"],
)
def test_a_step_that_runs_well_has_nothing(seen):
    assert examine(seen) == []


def test_the_end_of_a_step_comes_before_what_may_pass():
    pods = [a_pod("Pending", node=""), {**a_pod("Failed"), "metadata": {"name": "first"}}]
    found = examine(Observation(a_job(), pods))
    assert [one.final for one in found] == [True, False]


@pytest.mark.parametrize(
    ("requested", "limited", "cause"),
    [
        ("cpu=500m", "cpu=1", "QuotaExceeded"),
        ("cpu=1500m", "cpu=1", "QuotaTooSmall"),
        ("memory=1Gi", "memory=1G", "QuotaTooSmall"),
        ("pods=1,memory=1Gi", "pods=10,memory=2Gi", "QuotaExceeded"),
    ],
)
def test_a_quota_that_the_pod_alone_exceeds_is_not_waited_for(requested, limited, cause):
    used = re.sub(r"=[^,]+", "=0", limited)
    message = f"exceeded quota: q, requested: {requested}, used: {used}, limited: {limited}"
    assert why_not_created(message).name == cause


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_a_remedy_names_parameters_that_there_are(cause):
    for parameter in re.findall(r"kubernetes\.(\w+)", cause.remedy):
        assert parameter in KubernetesConfig.model_fields
