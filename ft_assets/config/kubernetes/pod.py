"""What the pod of any step may be given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter
from ft_assets.config.kubernetes import names, scheduling, storage
from ft_assets.config.kubernetes.environment import environment
from ft_assets.config.kubernetes.quantity import (
    PATTERN,
    cpu_quantity,
    memory_quantity,
    parse_quantity,
)

DAY = 86_400
QUEUE_SECONDS = DAY // 4
GRACE_SECONDS = 90
"""What the launcher gives a worker that shall end (60), and time to report and to publish."""


class PodConfig(Block):
    """The pod of one step: image, resources, environment, placement, volumes, limits of time."""

    image: str | None = parameter(None, "Container image; not set: that of the run's own pod.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = parameter(
        None, "When the image is pulled; not set: as the run's own pod does."
    )
    image_pull_secret: str | None = parameter(
        None,
        "Name of the Kubernetes secret with which the image is pulled.",
        seed=("phase_02_train_opt_pull_secret",),
    )
    image_pull_secrets: list[str] = parameter([], "Names of further such secrets.")
    cpu: str | None = parameter(
        None,
        "CPU per pod that is asked for, as a Kubernetes quantity (4, 500m).",
        seed=("phase_02_train_opt_cpu", "training_resource_cpu_per_worker"),
        pattern=PATTERN,
    )
    cpu_limit: str | None = parameter(
        None, "CPU per pod that it may use at most; not set: no limit.", pattern=PATTERN
    )
    memory: str | None = parameter(
        None,
        "Memory per pod, as a Kubernetes quantity (64Gi).",
        seed=("phase_02_train_opt_memory", "training_resource_memory_per_worker"),
        pattern=PATTERN,
    )
    memory_limit: str | None = parameter(
        None,
        "Memory at which the pod is killed; not set: as much as is asked for.",
        pattern=PATTERN,
    )
    ephemeral_storage: str | None = parameter(
        None, "Disk of the node for the pod's own files, asked for and at most.", pattern=PATTERN
    )
    shared_memory: str | None = parameter(
        None,
        "Size of /dev/shm, part of the memory; not set: up to the memory with more than one GPU, "
        "else 64 MiB.",
        pattern=PATTERN,
    )
    gpu_resource: str = parameter(
        "nvidia.com/gpu", "Name under which the cluster offers GPUs (amd.com/gpu, a MIG profile)."
    )
    extended_resources: dict[str, int] = parameter(
        {}, "Further devices per pod by their resource's name: {rdma/hca: 1}."
    )
    env: dict[str, str | dict[str, Any]] = parameter(
        {},
        "Environment variables: texts, or references ({secretKeyRef: {name: N, key: K}}, "
        "configMapKeyRef, fieldRef). A secret's value is refused.",
    )
    env_from_secrets: list[str] = parameter(
        [], "Kubernetes secrets of which every key becomes an environment variable."
    )
    env_from_config_maps: list[str] = parameter(
        [], "Config maps of which every key becomes an environment variable."
    )
    labels: dict[str, str] = parameter(
        {}, "Labels of the pod.", seed=("phase_02_train_opt_labels", "training_metadata_labels")
    )
    annotations: dict[str, str] = parameter(
        {},
        "Annotations of the pod.",
        seed=("phase_02_train_opt_annotations", "training_metadata_annotations"),
    )
    node_selector: dict[str, str] = parameter({}, "Labels that the node must have.")
    tolerations: list[dict[str, Any]] = parameter(
        [], "Kubernetes' tolerations: taints of nodes that the pod accepts."
    )
    affinity: dict[str, Any] = parameter(
        {}, "Kubernetes' affinity: nodeAffinity, podAffinity, podAntiAffinity."
    )
    priority_class: str | None = parameter(None, "Name of the PriorityClass.")
    runtime_class: str | None = parameter(None, "Name of the RuntimeClass (nvidia).")
    scheduler: str | None = parameter(None, "Name of the scheduler, where it is not the default.")
    service_account: str | None = parameter(
        None, "Service account of the pod; not set: that of the run's own pod."
    )
    volumes: list[dict[str, Any]] = parameter([], "Kubernetes' volumes.")
    volume_mounts: list[dict[str, Any]] = parameter(
        [], "Kubernetes' volume mounts, of the volumes that are declared here."
    )
    pvcs: dict[str, str] = parameter(
        {}, "Persistent volume claims and the folder at which each appears: {models: /mnt/models}."
    )
    run_as_non_root: bool = parameter(True, "Refuse to run as root.")
    run_as_user: int | None = parameter(None, "User id; not set: the image's.", ge=0)
    run_as_group: int | None = parameter(None, "Group id; not set: the image's.", ge=0)
    fs_group: int | None = parameter(None, "Group that owns the files of volumes.", ge=0)
    read_only_root: bool = parameter(
        True,
        "Mount the image read-only; /tmp is then an empty folder of the pod's own, and the home "
        "folder of what runs there.",
    )
    add_capabilities: list[str] = parameter(
        [], "Linux capabilities beyond none (IPC_LOCK for RDMA)."
    )
    deadline: int = parameter(DAY, "Seconds after which Kubernetes ends the step's job.", ge=1)
    queue_timeout: int | None = parameter(
        None,
        "Seconds that the pod may wait for a node before the step fails; not set: six hours, or "
        "the deadline where that is shorter.",
        ge=1,
    )
    ttl: int = parameter(
        DAY,
        "Seconds that the ended job and its pod stay, for a look at them; the executor reads its "
        "status in that time.",
        ge=60,
    )
    termination_grace: int | None = parameter(
        None,
        "Seconds between SIGTERM and SIGKILL; not set: 90, also where the training runtime says "
        "otherwise. A training that is told to end has 60 of them to save a checkpoint.",
        ge=1,
    )

    @field_validator("cpu", "cpu_limit", mode="before")
    @classmethod
    def _cpus(cls, value: object) -> object:
        return None if value is None else cpu_quantity(value)

    @field_validator("memory", "memory_limit", "ephemeral_storage", "shared_memory", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        return None if value is None else memory_quantity(value)

    @field_validator("image")
    @classmethod
    def _image(cls, image: str | None) -> str | None:
        return None if image is None else names.image(image)

    @field_validator(
        "image_pull_secret", "priority_class", "runtime_class", "scheduler", "service_account"
    )
    @classmethod
    def _object(cls, name: str | None) -> str | None:
        return None if name is None else names.dns_subdomain(name)

    @field_validator("image_pull_secrets", "env_from_secrets", "env_from_config_maps")
    @classmethod
    def _objects(cls, given: list[str]) -> list[str]:
        return [names.dns_subdomain(name) for name in given]

    @field_validator("gpu_resource")
    @classmethod
    def _resource(cls, name: str) -> str:
        return names.resource_name(name)

    @field_validator("extended_resources")
    @classmethod
    def _devices(cls, given: dict[str, int]) -> dict[str, int]:
        for name, count in given.items():
            if names.resource_name(name) and count < 1:
                raise ValueError(f"{name} is {count}: ask for at least 1, or remove it")
        return given

    @field_validator("env", mode="before")
    @classmethod
    def _env(cls, given: object) -> object:
        """Before the values' types are looked at: a message about a type shows the value."""
        return environment(given)

    @field_validator("labels")
    @classmethod
    def _labels(cls, given: dict[str, str]) -> dict[str, str]:
        for key in given:
            names.free_key(key)
        return names.label_map(given)

    @field_validator("annotations")
    @classmethod
    def _annotations(cls, given: dict[str, str]) -> dict[str, str]:
        return names.annotation_map(given)

    @field_validator("node_selector")
    @classmethod
    def _node_labels(cls, given: dict[str, str]) -> dict[str, str]:
        return names.label_map(given)

    @field_validator("tolerations", mode="before")
    @classmethod
    def _tolerations(cls, given: object) -> object:
        return scheduling.tolerations(given)

    @field_validator("affinity", mode="before")
    @classmethod
    def _affinity(cls, given: object) -> object:
        return scheduling.affinity(given)

    @field_validator("volumes", mode="before")
    @classmethod
    def _volumes(cls, given: object) -> object:
        return storage.volumes(given)

    @field_validator("volume_mounts", mode="before")
    @classmethod
    def _mounts(cls, given: object) -> object:
        return storage.volume_mounts(given)

    @field_validator("pvcs")
    @classmethod
    def _claims(cls, given: dict[str, str]) -> dict[str, str]:
        return storage.pvcs(given)

    @field_validator("add_capabilities")
    @classmethod
    def _capabilities(cls, given: list[str]) -> list[str]:
        return [names.capability(name) for name in given]

    @model_validator(mode="after")
    def _values_agree(self) -> Self:
        storage.refuse_mounts_that_do_not_fit(self.volumes, self.volume_mounts, self.pvcs)
        _refuse_a_limit_below(self.cpu, self.cpu_limit, "cpu")
        _refuse_a_limit_below(self.memory, self.memory_limit, "memory")
        most = self.memory_limit or self.memory
        if most and self.shared_memory and _more(self.shared_memory, most):
            raise ValueError(
                f"shared_memory ({self.shared_memory}) is more than the memory of the pod "
                f"({most}), of which it is a part: raise memory or lower shared_memory"
            )
        if self.gpu_resource in self.extended_resources:
            raise ValueError(
                f"extended_resources names {self.gpu_resource}, which is gpu_resource: set the "
                "number of GPUs instead"
            )
        if self.queue_timeout is not None and self.queue_timeout > self.deadline:
            raise ValueError(
                f"queue_timeout ({self.queue_timeout} s) is longer than deadline ({self.deadline} "
                "s), which counts from the creation of the job: raise deadline or lower "
                "queue_timeout"
            )
        if self.run_as_non_root and self.run_as_user == 0:
            raise ValueError("run_as_user is 0, which is root, and run_as_non_root forbids it")
        return self

    @property
    def queue_seconds(self) -> int:
        """How long the pod may wait for a node, in seconds."""
        return self.queue_timeout or min(QUEUE_SECONDS, self.deadline)

    @property
    def grace_seconds(self) -> int:
        """How long the pod has to end before it is killed, in seconds: Kubernetes' 30 are few."""
        return self.termination_grace or GRACE_SECONDS


def _refuse_a_limit_below(request: str | None, limit: str | None, name: str) -> None:
    if request and limit and _more(request, limit):
        raise ValueError(
            f"{name}_limit ({limit}) is below {name} ({request}): Kubernetes refuses a pod that "
            f"asks for more than it may use; raise {name}_limit or lower {name}"
        )


def _more(one: str, other: str) -> bool:
    return parse_quantity(one) > parse_quantity(other)


def unknown_name(block: type[Block], given: object) -> str | None:
    """What to say about the first key that a block does not take; None when it takes all."""
    if not isinstance(given, Mapping):
        return None
    for key in map(str, cast("Mapping[object, object]", given)):
        if key not in block.model_fields and key not in block.seed_names():
            guess = block.closest_name(key)
            meant = f"; did you mean {guess}?" if guess else ""
            return f"{key}: there is no such parameter{meant}"
    return None
