"""The job and the pod of a step, as the tag of its op that dagster-k8s reads."""

from __future__ import annotations

from typing import Any

from ft_assets.config import PipelineSpec
from ft_assets.config.kubernetes import TRAINING
from ft_assets.kubernetes.names import labels_of
from ft_assets.kubernetes.pod import hub_token, template_of

GPU_POOL = "gpu"
"""Dagster's pool that bounds how many steps hold GPUs at once."""


def step_tags(spec: PipelineSpec, asset: str) -> dict[str, Any]:
    """Tags of the op that makes an asset: its pod, as ``dagster-k8s/config``.

    Pure and the same for the same specification, so that a run's effective specification gives
    that run's pod. dagster-k8s lays it over what the instance says of all pods: what a step does
    not name (its image, cpu and memory) is the run's.
    """
    return {"dagster-k8s/config": step_pod(spec, asset)}


def step_pod(spec: PipelineSpec, asset: str) -> dict[str, Any]:
    """The value of ``dagster-k8s/config``: container, pod and job of one step.

    The job is never restarted by Kubernetes (``backoff_limit`` 0): the replacement pod would exit
    well without running the step. Retries are Dagster's.
    """
    config = spec.kubernetes.of_step(asset)
    template = template_of(
        config,
        spec.kubernetes.gpus_of(asset),
        hub_token(spec.kubernetes, spec.training.hf_token_env),
    )
    pod: dict[str, Any] = template["spec"]
    (container,) = pod.pop("containers")
    del container["name"]  # dagster-k8s gives its own
    if not _talks_to_the_cluster(spec, asset):
        pod["automountServiceAccountToken"] = False
    labels = labels_of(spec.name, asset, spec.recipe)
    metadata = template["metadata"]
    return {
        "container_config": container,
        "pod_spec_config": pod,
        "pod_template_spec_metadata": {**metadata, "labels": {**metadata["labels"], **labels}},
        "job_metadata": {"labels": labels},
        "job_spec_config": {
            "backoff_limit": 0,
            "active_deadline_seconds": config.deadline,
            "ttl_seconds_after_finished": config.ttl,
        },
    }


def _talks_to_the_cluster(spec: PipelineSpec, asset: str) -> bool:
    """Whether a step has to do with Kubernetes itself: the training that makes a TrainJob."""
    return asset == TRAINING and spec.kubernetes.workers > 1


def queue_timeout(spec: PipelineSpec, asset: str) -> int:
    """Seconds that a step's pod may wait for a node."""
    return spec.kubernetes.of_step(asset).queue_seconds
