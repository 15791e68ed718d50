"""The ``kubernetes`` block: the training's pods, and by name those of the other steps."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Self, cast

from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from ft_assets.config.block import parameter
from ft_assets.config.kubernetes.names import dns_subdomain
from ft_assets.config.kubernetes.pod import DAY, PodConfig, unknown_name
from ft_assets.config.kubernetes.quantity import PATTERN, cpu_quantity, memory_quantity
from ft_assets.config.kubernetes.task_config import spread

TRAINING = "finetuned_model"
"""The step whose pod the block itself describes."""

OTHER_STEPS = (
    "raw_dataset",
    "split_dataset",
    "token_report",
    "baseline_report",
    "eval_report",
    "registered_version",
    "leaderboard",
)


TAKEN_OVER = (
    "annotations",
    "labels",
    "image_pull_secret",
    "image_pull_secrets",
    "service_account",
    "run_as_non_root",
    "run_as_user",
    "run_as_group",
    "fs_group",
    "read_only_root",
    "queue_timeout",
    "ttl",
)
"""What the other steps have from the block where they say nothing of their own."""


class StepPodConfig(PodConfig):
    """The pod of a step that is not the training."""

    gpus: int = parameter(0, "GPUs of the pod.", ge=0)

    @model_serializer(mode="wrap")
    def _what_is_set(self, make: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what is set, so that a copy takes over the same values from the block as this."""
        made: dict[str, Any] = make(self)
        return {name: value for name, value in made.items() if name in self.model_fields_set}


class TrainingPodConfig(PodConfig):
    """Pod of the training step. Without effect where steps do not run on Kubernetes."""

    # A frozen block is only read, so that a narrower type does no harm.
    cpu: str = parameter(  # pyright: ignore[reportIncompatibleVariableOverride]
        "4",
        "CPU per pod that is asked for, as a Kubernetes quantity (4, 500m).",
        seed=("phase_02_train_opt_cpu", "training_resource_cpu_per_worker"),
        pattern=PATTERN,
    )
    memory: str = parameter(  # pyright: ignore[reportIncompatibleVariableOverride]
        "64Gi",
        "Memory per pod, as a Kubernetes quantity (64Gi).",
        seed=("phase_02_train_opt_memory", "training_resource_memory_per_worker"),
        pattern=PATTERN,
    )
    workers: int = parameter(
        1,
        "Training pods. More than one makes a TrainJob of them, and needs storage that all of them "
        "can write.",
        seed=(
            "phase_02_train_man_workers",
            "phase_02_train_man_train_workers",
            "training_resource_num_workers",
        ),
        ge=1,
    )
    gpus_per_worker: int = parameter(
        1,
        "GPUs per pod; 0 trains on the CPU.",
        seed=(
            "phase_02_train_man_gpu",
            "phase_02_train_man_train_gpu",
            "training_resource_gpu_per_worker",
        ),
        ge=0,
    )
    procs_per_worker: str = parameter(
        "auto",
        "Training processes per pod: auto (one per GPU), or a number up to the GPUs.",
        seed=("phase_02_train_opt_num_procs", "training_resource_num_procs_per_worker"),
    )
    runtime: str = parameter(
        "training-hub",
        "With more than one worker: name of the Kubeflow Trainer's runtime, a TrainingRuntime of "
        "the namespace or a ClusterTrainingRuntime.",
        seed=("phase_02_train_opt_runtime", "training_runtime"),
    )
    launcher_cpu: str = parameter(
        "2",
        "With more than one worker: CPU of the step's own pod, which prepares the data and follows "
        "the workers. It asks for no GPU, and has the run's service account, which may make them.",
        pattern=PATTERN,
    )
    launcher_memory: str = parameter(
        "16Gi", "With more than one worker: memory of the step's own pod.", pattern=PATTERN
    )
    gpu_memory: str = parameter(
        "80Gi",
        "Memory of one GPU, as a Kubernetes quantity; what `ft plan` and the check before training "
        "compare their estimate with.",
        pattern=PATTERN,
    )
    gpu_hour_price: float = parameter(
        0.0, "Price of one GPU for one hour, in your currency, for `ft plan`; 0: not known.", ge=0.0
    )
    hf_token_secret: str | None = parameter(
        None,
        "Name of the Kubernetes secret whose key HF_TOKEN is the hub token; the pod has it in the "
        "variable that training.hf_token_env names.",
    )
    deadline: int = parameter(7 * DAY, "Seconds after which Kubernetes ends the step's job.", ge=1)
    task_config: dict[str, Any] = parameter(
        {},
        "A Kubeflow Pipelines TaskConfig as it is (affinity, env, nodeSelector, resources, "
        "serviceAccount, tolerations, volumeMounts, volumes): each part is read as the parameter "
        "that it is here.",
        seed=("kubernetes_config",),
    )

    @model_validator(mode="before")
    @classmethod
    def _parts_of_the_task_config(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = dict(cast("dict[str, Any]", values))
        if "kubernetes_config" in given and "task_config" not in given:
            given["task_config"] = given.pop("kubernetes_config")
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in cls.model_fields.items()
        }
        return spread(given, defaults)

    @field_validator("cpu", "launcher_cpu", mode="before")
    @classmethod
    def _cpu_is_needed(cls, value: object) -> object:
        return cpu_quantity(value)

    @field_validator("memory", "launcher_memory", "gpu_memory", mode="before")
    @classmethod
    def _memory_is_needed(cls, value: object) -> object:
        return memory_quantity(value)

    @field_validator("hf_token_secret")
    @classmethod
    def _secret(cls, name: str | None) -> str | None:
        return None if name is None else dns_subdomain(name)

    @field_validator("runtime")
    @classmethod
    def _runtime(cls, name: str) -> str:
        return dns_subdomain(name)

    @field_validator("procs_per_worker", mode="before")
    @classmethod
    def _auto_or_count(cls, value: object) -> str:
        text = str(value)
        if text != "auto" and not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise ValueError(f"is {text!r}: set auto or a whole number from 1")
        return text


class KubernetesConfig(TrainingPodConfig):
    """Pods of the steps. Without effect where steps do not run on Kubernetes."""

    steps: dict[str, StepPodConfig] = parameter(
        {},
        "Pods of the other steps by asset: {eval_report: {gpus: 1, memory: 32Gi, image: ...}}. "
        "They take over labels, annotations, pull secrets, service account, hub token, security "
        "and the times of queueing and keeping, and nothing else; a step that is not named has the "
        "image of the run and no GPU.",
    )

    @field_validator("steps", mode="before")
    @classmethod
    def _known_steps(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        for asset, values in cast("Mapping[str, object]", given).items():
            if asset == TRAINING:
                raise ValueError(f"{TRAINING}: its pod is the block itself; set kubernetes.NAME")
            if asset not in OTHER_STEPS:
                close = difflib.get_close_matches(str(asset), OTHER_STEPS, n=1, cutoff=0.6)
                meant = f"did you mean {close[0]}? " if close else ""
                raise ValueError(f"{asset!r} is no step: {meant}there are {', '.join(OTHER_STEPS)}")
            wrong = unknown_name(StepPodConfig, values)
            if wrong is not None:
                raise ValueError(f"{asset}.{wrong}")
        return cast("object", given)

    @model_validator(mode="after")
    def _every_step_has_a_pod(self) -> Self:
        for asset in self.steps:
            try:
                self.of_step(asset)
            except ValidationError as error:  # what it takes over and what it says disagree
                said = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"steps.{asset}: {said}") from None
        return self

    def of_step(self, asset: str) -> PodConfig:
        """The pod of a step, with what it takes over from the block.

        With more than one worker the training step's own pod only prepares the data and follows
        the workers: it has their image, environment and volumes, and neither their devices,
        nor their place, nor their service account, which need not be allowed to make them.
        """
        if asset == TRAINING:
            return self if self.workers == 1 else self._launcher()
        own = self.steps.get(asset, StepPodConfig())
        above = {name: getattr(self, name) for name in TAKEN_OVER}
        below = own.model_dump()
        for name in ("labels", "annotations"):
            below[name] = {**above[name], **below.get(name, {})}
        return StepPodConfig.model_validate({**above, **below})

    def _launcher(self) -> PodConfig:
        base = {name: getattr(self, name) for name in PodConfig.model_fields}
        # It waits for the workers, who may queue and then run for so long.
        base["deadline"] = self.queue_seconds + self.deadline
        elsewhere = {
            name: PodConfig.model_fields[name].get_default()
            for name in (
                *("cpu_limit", "memory_limit", "shared_memory", "extended_resources"),
                *("node_selector", "tolerations", "affinity", "runtime_class", "scheduler"),
                "service_account",
            )
        }
        resources = {"cpu": self.launcher_cpu, "memory": self.launcher_memory}
        return PodConfig.model_validate({**base, **elsewhere, **resources})

    def gpus_of(self, asset: str) -> int:
        """How many GPUs a step's own pod asks for."""
        if asset == TRAINING:
            return self.gpus_per_worker if self.workers == 1 else 0
        step = self.steps.get(asset)
        return step.gpus if step else 0
