"""The ``kubernetes`` block as the tag that dagster-k8s reads from an op.

``dagster-k8s/config`` on the op reaches the step's own pod, with an image of its own; steps without
it share the light image of the run and ask for no GPU.
"""

from __future__ import annotations

from typing import Any

from ft_assets.config.kubernetes import KubernetesConfig

GPU = "nvidia.com/gpu"
GPU_POOL = "gpu"
"""Dagster's pool that bounds how many steps hold GPUs at once."""

_DAY_SECONDS = 86_400


def training_op_tags(config: KubernetesConfig, hf_token_env: str) -> dict[str, Any]:
    """Tags of the training op."""
    return {"dagster-k8s/config": pod_config(config, hf_token_env)}


def pod_config(config: KubernetesConfig, hf_token_env: str) -> dict[str, Any]:
    """The pod of one training step, in dagster-k8s's words.

    The job is never restarted by Kubernetes (``backoff_limit`` 0): the replacement pod would exit
    well without running the step. Retries are Dagster's. The secret's token gets the name under
    which the training looks for it (``training.hf_token_env``).
    """
    resources = {"cpu": config.cpu, "memory": config.memory}
    limits = {"memory": config.memory}
    if config.gpus_per_worker:
        limits[GPU] = resources[GPU] = str(config.gpus_per_worker)
    container: dict[str, Any] = {"resources": {"requests": resources, "limits": limits}}
    environment: list[dict[str, Any]] = []
    if config.image is not None:
        container["image"] = config.image
        environment.append({"name": "FT_IMAGE", "value": config.image})  # for the provenance
    if config.hf_token_secret is not None:
        environment.append(
            {
                "name": hf_token_env,
                "value_from": {
                    "secret_key_ref": {"name": config.hf_token_secret, "key": "HF_TOKEN"}
                },
            }
        )
    if environment:
        container["env"] = environment
    pod: dict[str, Any] = {}
    if config.image_pull_secret is not None:
        pod["image_pull_secrets"] = [{"name": config.image_pull_secret}]
    if config.gpus_per_worker > 1:
        # Processes of one pod exchange tensors through /dev/shm, which is 64 MiB by default.
        container["volume_mounts"] = [{"name": "shm", "mount_path": "/dev/shm"}]  # noqa: S108
        pod["volumes"] = [{"name": "shm", "empty_dir": {"medium": "Memory"}}]
    tags: dict[str, Any] = {
        "container_config": container,
        "job_spec_config": {"backoff_limit": 0, "active_deadline_seconds": 7 * _DAY_SECONDS},
    }
    if pod:
        tags["pod_spec_config"] = pod
    if config.labels or config.annotations:
        tags["pod_template_spec_metadata"] = {
            "labels": config.labels,
            "annotations": config.annotations,
        }
    return tags
