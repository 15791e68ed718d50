"""What a training on several nodes asks for, in neutral words: a frozen value.

Belongs here: the fields, their meaning, the job's name. Does not belong here: how a TrainJob says
them (``manifest``), where they come from (``ft_assets.kubernetes.train_job``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FINGERPRINT_LABEL = "ft-assets/fingerprint"
"""Label of the TrainJob and its pods: which training this is."""
RUN_LABEL = "dagster/run-id"
"""Label of the TrainJob and its pods: the Dagster run that follows it."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Kueue's own label: the queue that admits the job."""

_NAME_LENGTH = 40
"""JobSet builds host names of at most 63 characters out of a job's name."""
_DIGEST_LENGTH = 16
_LABEL_LENGTH = 63


@dataclass(frozen=True, kw_only=True)
class TrainJobRequest:
    """One training on several nodes."""

    name: str
    """Of the TrainJob: the same for the same work, so that a retry finds it (``job_name``)."""
    namespace: str
    fingerprint: str
    """Of the work, in hex; another job under our name is told from ours by it."""
    nodes: int
    """Pods."""
    procs_per_node: int
    """Training processes in each pod."""
    image: str | None = None
    """Image of the nodes; None leaves it to the runtime."""
    python: str = "python"
    """The interpreter in the image."""
    runtime: str
    """Name of the TrainingRuntime of the namespace, else of the ClusterTrainingRuntime."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the TrainJob and its pods."""
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the pods."""
    env: tuple[Mapping[str, Any], ...] = ()
    """Kubernetes' own EnvVar, camelCase: values, or references to secrets; never a secret."""
    resources: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Kubernetes' own ResourceRequirements of each node: requests and limits."""
    pod: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the pods need beside: PodSpec fields that a runtime patch may set, camelCase."""
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    """Mounts of the training container."""
    security_context: Mapping[str, Any] | None = None
    """Of the training container; None leaves it to the runtime."""
    shared_folder: str | None = None
    """A folder that all nodes must share with the step; None is not checked."""
    suspend: bool = False
    """Created suspended: a queue (Kueue) resumes it."""
    queue_seconds: float = 24 * 3600.0
    """How long it may wait, each time, until all its nodes run."""
    run_seconds: float = 7 * 24 * 3600.0
    """How long it may run, all its stretches together."""

    @property
    def all_labels(self) -> dict[str, str]:
        """The labels with those that make the job ours."""
        return {
            "app.kubernetes.io/managed-by": "ft-assets",
            **self.labels,
            FINGERPRINT_LABEL: self.fingerprint[:_LABEL_LENGTH],
        }


def job_name(pipeline: str, *identity: str) -> str:
    """The name of the TrainJob of some work: ``ft-PIPELINE-DIGEST``, a DNS label.

    Args:
        pipeline: for people; what a name may not hold becomes a hyphen.
        identity: what tells this work from any other (fingerprint, drop).
    """
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:_DIGEST_LENGTH]
    words = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")
    head = f"ft-{words}"[: _NAME_LENGTH - _DIGEST_LENGTH - 1].rstrip("-")
    return f"{head}-{digest}"
