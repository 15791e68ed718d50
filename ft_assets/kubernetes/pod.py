"""A pod of the ``kubernetes`` block in Kubernetes' own words (camelCase).

Belongs here: which parameter becomes which field of the pod. Does not belong here: jobs (``step``)
and whether a value is valid (``ft_assets.config.kubernetes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ft_assets.config.kubernetes import KubernetesConfig, PodConfig
from ft_assets.config.kubernetes.storage import volume_of_claim
from ft_assets.kubernetes.names import MANAGED

_SHARED_MEMORY = "/dev/shm"  # noqa: S108
_TEMPORARY = "/tmp"  # noqa: S108
NODE = "node"
"""The container's name, which is the one that Kubeflow's runtimes give the training."""


def pod_template(config: KubernetesConfig, hf_token_env: str) -> dict[str, Any]:
    """The pod of one worker of a TrainJob: a ``V1PodTemplateSpec`` with one container.

    Args:
        config: the effective ``kubernetes`` block.
        hf_token_env: the variable in which the training looks for the hub token.
    """
    return template_of(config, config.gpus_per_worker, hub_token(config, hf_token_env))


def template_of(
    config: PodConfig, gpus: int, given: Mapping[str, str | Mapping[str, Any]]
) -> dict[str, Any]:
    """The ``V1PodTemplateSpec`` of a pod.

    Args:
        config: what it is made from.
        gpus: how many it asks for.
        given: variables beside those of ``env``, which go before them.
    """
    container = _container(config, gpus, given)
    spec: dict[str, Any] = {"containers": [container], **_placement(config)}
    mounts, volumes = _storage(config, gpus)
    if mounts:
        container["volumeMounts"] = mounts
        spec["volumes"] = volumes
    secrets = [*filter(None, [config.image_pull_secret]), *config.image_pull_secrets]
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(secrets)]
    spec["terminationGracePeriodSeconds"] = config.grace_seconds
    spec["securityContext"] = _pod_security(config)
    metadata: dict[str, Any] = {"labels": {**config.labels, **MANAGED}}
    if config.annotations:
        metadata["annotations"] = dict(config.annotations)
    return {"metadata": metadata, "spec": spec}


def hub_token(config: KubernetesConfig, hf_token_env: str) -> dict[str, Any]:
    """The variable with the hub token, by the secret's name; nothing where there is none."""
    if config.hf_token_secret is None:
        return {}
    return {hf_token_env: {"secretKeyRef": {"name": config.hf_token_secret, "key": "HF_TOKEN"}}}


def _container(
    config: PodConfig, gpus: int, given: Mapping[str, str | Mapping[str, Any]]
) -> dict[str, Any]:
    container: dict[str, Any] = {"name": NODE}
    variables: dict[str, str | Mapping[str, Any]] = {}
    if config.image is not None:
        container["image"] = config.image
        variables["FT_IMAGE"] = config.image  # for the provenance
    if config.image_pull_policy is not None:
        container["imagePullPolicy"] = config.image_pull_policy
    if config.read_only_root:
        variables["HOME"] = _TEMPORARY  # libraries keep their caches there
    variables |= {**given, **config.env}
    if variables:
        container["env"] = [_variable(name, value) for name, value in variables.items()]
    sources = [
        *({"secretRef": {"name": name}} for name in config.env_from_secrets),
        *({"configMapRef": {"name": name}} for name in config.env_from_config_maps),
    ]
    if sources:
        container["envFrom"] = sources
    if resources := _resources(config, gpus):
        container["resources"] = resources
    container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {
            "drop": ["ALL"],
            **({"add": list(config.add_capabilities)} if config.add_capabilities else {}),
        },
        "readOnlyRootFilesystem": config.read_only_root,
    }
    return container


def _variable(name: str, value: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": name, "value": value}
    return {"name": name, "valueFrom": dict(value)}


def _resources(config: PodConfig, gpus: int) -> dict[str, Any]:
    """What is asked for and the most that may be used; devices are always both, and alike."""
    devices = {name: str(count) for name, count in config.extended_resources.items()}
    if gpus:
        devices[config.gpu_resource] = str(gpus)
    asked = {
        "cpu": config.cpu,
        "memory": config.memory,
        "ephemeral-storage": config.ephemeral_storage,
    }
    most = {
        "cpu": config.cpu_limit,
        "memory": config.memory_limit or config.memory,
        "ephemeral-storage": config.ephemeral_storage,
    }
    made = {
        "requests": {name: text for name, text in asked.items() if text} | devices,
        "limits": {name: text for name, text in most.items() if text} | devices,
    }
    return {part: entries for part, entries in made.items() if entries}


def _placement(config: PodConfig) -> dict[str, Any]:
    """On which nodes, as whom and in which order it runs."""
    given = {
        "nodeSelector": config.node_selector,
        "tolerations": config.tolerations,
        "affinity": config.affinity,
        "priorityClassName": config.priority_class,
        "runtimeClassName": config.runtime_class,
        "schedulerName": config.scheduler,
        "serviceAccountName": config.service_account,
    }
    return {field: value for field, value in given.items() if value}


def _storage(config: PodConfig, gpus: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The mounts and the volumes: the user's, and ours where nothing of the user's stands."""
    mounts = [dict(mount) for mount in config.volume_mounts]
    volumes = [dict(volume) for volume in config.volumes]
    for claim, path in config.pvcs.items():
        name = volume_of_claim(claim)
        mounts.append({"name": name, "mountPath": path})
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
    taken = {mount["mountPath"].rstrip("/") for mount in mounts}
    # Processes of one pod exchange tensors through /dev/shm, which is 64 MiB by default.
    if (config.shared_memory or gpus > 1) and _SHARED_MEMORY not in taken:
        size = {"sizeLimit": config.shared_memory} if config.shared_memory else {}
        mounts.append({"name": "shm", "mountPath": _SHARED_MEMORY})
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", **size}})
    if config.read_only_root and _TEMPORARY not in taken:
        mounts.append({"name": "tmp", "mountPath": _TEMPORARY})
        volumes.append({"name": "tmp", "emptyDir": {}})
    return mounts, volumes


def _pod_security(config: PodConfig) -> dict[str, Any]:
    """By the restricted Pod Security Standard, unless the block says otherwise."""
    ids = {
        "runAsUser": config.run_as_user,
        "runAsGroup": config.run_as_group,
        "fsGroup": config.fs_group,
    }
    return {
        "runAsNonRoot": config.run_as_non_root,
        "seccompProfile": {"type": "RuntimeDefault"},
        **{field: number for field, number in ids.items() if number is not None},
    }
