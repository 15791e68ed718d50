"""Why a step does not run: the causes that there are, whose they are, and what to do about each.

A remedy names the parameter of the pipeline file that changes it. Belongs here: words and whose
fault a cause is. Does not belong here: how a cause is recognized (``watchdog`` and ``refusals``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """Whose a cause is, which says what becomes of the step."""

    CONFIGURATION = "configuration"
    """A person must change something: the step fails, without another attempt."""
    CAPACITY = "capacity"
    """It may pass by itself: the step waits until its queue deadline, then fails."""
    INFRASTRUCTURE = "infrastructure"
    """The cluster took the pod away: the step is tried again."""


@dataclass(frozen=True)
class Cause:
    """One way in which a step fails to run."""

    name: str
    """One word, as Kubernetes has it where it has one."""
    fault: Fault
    remedy: str
    """One or two sentences."""
    quiet_seconds: float = 0.0
    """How long it may last before it is worth an event: much passes by itself in a moment."""


UNSCHEDULABLE = Cause(
    "Unschedulable",
    Fault.CAPACITY,
    "The step waits for room until kubernetes.queue_timeout.",
)
QUEUED = Cause(
    "Queued",
    Fault.CAPACITY,
    "Nothing has started the pod yet: look at the job with `kubectl describe job`, at the "
    "scheduler, and at the queue that admits it if there is one.",
    quiet_seconds=30.0,
)
STARTING = Cause(
    "Starting",
    Fault.CAPACITY,
    "A large image takes minutes to pull on a node that has none of it; otherwise look at the "
    "node.",
    quiet_seconds=30.0,
)
SUSPENDED = Cause(
    "Suspended",
    Fault.CAPACITY,
    "The job is suspended: a queue (Kueue) has not admitted it, or somebody suspended it.",
)
QUOTA_EXCEEDED = Cause(
    "QuotaExceeded",
    Fault.CAPACITY,
    "The step waits until others free the namespace's quota, at most kubernetes.queue_timeout; or "
    "ask for less (kubernetes.gpus_per_worker, kubernetes.memory, kubernetes.cpu).",
)
QUOTA_TOO_SMALL = Cause(
    "QuotaTooSmall",
    Fault.CONFIGURATION,
    "One pod asks for more than the namespace's whole quota: ask for less "
    "(kubernetes.gpus_per_worker, kubernetes.memory, kubernetes.cpu), or have the quota raised.",
)
QUOTA_WANTS_VALUES = Cause(
    "QuotaWantsValues",
    Fault.CONFIGURATION,
    "The namespace's quota demands a value that the pod does not state: set it in the `kubernetes` "
    "block or in the run launcher's resources, or add a LimitRange to the namespace.",
)
PRIORITY_CLASS_MISSING = Cause(
    "PriorityClassMissing",
    Fault.CONFIGURATION,
    "Create the PriorityClass, or name one that there is in kubernetes.priority_class.",
)
SERVICE_ACCOUNT_MISSING = Cause(
    "ServiceAccountMissing",
    Fault.CONFIGURATION,
    "Create the service account in the namespace, or name one that there is in "
    "kubernetes.service_account.",
)
POD_REFUSED = Cause(
    "PodRefused",
    Fault.CONFIGURATION,
    "The cluster does not accept the pod: change what the message names in the `kubernetes` block.",
)
POD_NOT_CREATED = Cause(
    "PodNotCreated",
    Fault.CAPACITY,
    "The job controller tries again; if it stays so, ask the cluster's operators about it.",
)
JOB_REFUSED = Cause(
    "JobRefused",
    Fault.CONFIGURATION,
    "The cluster does not accept the job: change what the message names in the `kubernetes` block, "
    "or have the run's service account allowed to do it.",
)
IMAGE_NOT_FOUND = Cause(
    "ImagePull",
    Fault.CONFIGURATION,
    "Correct kubernetes.image (name and tag), or give the registry's credentials in "
    "kubernetes.image_pull_secret.",
)
IMAGE_NAME_INVALID = Cause(
    "InvalidImageName",
    Fault.CONFIGURATION,
    "Correct kubernetes.image: it is no image reference.",
)
REGISTRY_UNREACHABLE = Cause(
    "RegistryUnreachable",
    Fault.INFRASTRUCTURE,
    "The node does not reach the image's registry: look at the registry and the node's network, or "
    "name a registry that it reaches in kubernetes.image.",
)
CONTAINER_CONFIG = Cause(
    "CreateContainerConfigError",
    Fault.CONFIGURATION,
    "Create the secret or config map in the namespace with the key that the message names, or "
    "correct kubernetes.env, kubernetes.hf_token_secret, or the run launcher's env_secrets and "
    "env_config_maps.",
)
CONTAINER_START = Cause(
    "ContainerCannotStart",
    Fault.CONFIGURATION,
    "The image has no such command, or the pod's security settings forbid it: correct "
    "kubernetes.image.",
)
CONTAINER_RESTARTS = Cause(
    "CrashLoopBackOff",
    Fault.CONFIGURATION,
    "A container of the pod ends again and again: read its log with `kubectl logs`.",
)
MOUNT_MISSING = Cause(
    "FailedMount",
    Fault.CONFIGURATION,
    "Create the volume's secret, config map or claim in the namespace, or correct "
    "kubernetes.volumes.",
)
MOUNT_WAITS = Cause(
    "FailedMount",
    Fault.CAPACITY,
    "The node cannot attach or mount the volume yet: look at the storage; a ReadWriteOnce volume "
    "serves the pods of one node alone (kubernetes.volumes).",
    quiet_seconds=15.0,
)
SANDBOX = Cause(
    "FailedCreatePodSandBox",
    Fault.CAPACITY,
    "The node cannot set up the pod's network or sandbox; it tries again. Have the node looked at.",
    quiet_seconds=15.0,
)
CLAIM_MISSING = Cause(
    "ClaimMissing",
    Fault.CONFIGURATION,
    "Create the persistent volume claim in the namespace, or correct kubernetes.volumes.",
)
NODE_LOST = Cause(
    "NodeLost",
    Fault.INFRASTRUCTURE,
    "The step is tried again on another node if this one does not come back.",
)
POD_DELETED = Cause(
    "PodDeleted",
    Fault.INFRASTRUCTURE,
    "Somebody or something deleted the step's pod. To stop a step, cancel its run.",
)
EVICTED = Cause(
    "Evicted",
    Fault.INFRASTRUCTURE,
    "The node ran short or was drained. Ask for as much as the step uses (kubernetes.memory) and "
    "give it a priority (kubernetes.priority_class), so that it is not the first to go.",
)
PREEMPTED = Cause(
    "Preempted",
    Fault.INFRASTRUCTURE,
    "A pod of higher priority took its place: raise kubernetes.priority_class if it should not.",
)
NODE_REFUSED = Cause(
    "NodeRefusedPod",
    Fault.INFRASTRUCTURE,
    "The node had less free than the scheduler thought; another attempt finds another place.",
)
KILLED = Cause(
    "Killed",
    Fault.INFRASTRUCTURE,
    "A signal from outside ended the step's process; no reason was given.",
    quiet_seconds=15.0,
)
CRASHED = Cause(
    "Crashed",
    Fault.INFRASTRUCTURE,
    "The step's process ended before it could say why: read the pod's log with `kubectl logs`.",
)
ENDED_SILENTLY = Cause(
    "EndedSilently",
    Fault.INFRASTRUCTURE,
    "The pod ended well without the step's having run: it was a replacement for a pod that was "
    "lost, or it did not reach Dagster's database.",
    quiet_seconds=15.0,
)
POD_LIMIT_EXCEEDED = Cause(
    "EvictedForItsLimit",
    Fault.CONFIGURATION,
    "The pod wrote more than it may: raise the size of the volume that the message names "
    "(kubernetes.volumes), or write to FT_HOME.",
)
OUT_OF_MEMORY = Cause(
    "OOMKilled",
    Fault.CONFIGURATION,
    "Raise kubernetes.memory, or need less: fewer workers for preparing data, a smaller batch, or "
    "a smaller model.",
)
DEADLINE = Cause(
    "DeadlineExceeded",
    Fault.CONFIGURATION,
    "Raise kubernetes.deadline; a training goes on from its last checkpoint in the next run.",
)
JOB_DELETED = Cause(
    "JobDeleted",
    Fault.CONFIGURATION,
    "Somebody deleted the step's job. To stop a step, cancel its run; launch the run again if that "
    "was a mistake.",
)

CAUSES = tuple(value for value in dict(globals()).values() if isinstance(value, Cause))
"""All of them."""
