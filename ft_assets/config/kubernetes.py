"""The ``kubernetes`` block: the pod in which a step that needs a GPU runs."""

from __future__ import annotations

import re

from pydantic import field_validator

from ft_assets.config.block import Block, parameter

_QUANTITY = r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)


class KubernetesConfig(Block):
    """Pod of the training step. Without effect where steps do not run on Kubernetes."""

    image: str | None = parameter(None, "Container image of the training step.")
    workers: int = parameter(
        1,
        "Training pods. More than one is refused: multi-node training is not part of this version.",
        seed=(
            "phase_02_train_man_workers",
            "phase_02_train_man_train_workers",
            "training_resource_num_workers",
        ),
        ge=1,
    )
    gpus_per_worker: int = parameter(
        1,
        "NVIDIA GPUs per pod; 0 trains on the CPU.",
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
    cpu: str = parameter(
        "4",
        "CPU per pod, as a Kubernetes quantity.",
        seed=("phase_02_train_opt_cpu", "training_resource_cpu_per_worker"),
        pattern=_QUANTITY,
    )
    memory: str = parameter(
        "64Gi",
        "Memory per pod, as a Kubernetes quantity.",
        seed=("phase_02_train_opt_memory", "training_resource_memory_per_worker"),
        pattern=_QUANTITY,
    )
    gpu_memory: str = parameter(
        "80Gi",
        "Memory of one GPU, as a Kubernetes quantity; what `ft plan` and the check before training "
        "compare their estimate with.",
        pattern=_QUANTITY,
    )
    gpu_hour_price: float = parameter(
        0.0, "Price of one GPU for one hour, in your currency, for `ft plan`; 0: not known.", ge=0.0
    )
    labels: dict[str, str] = parameter(
        {}, "Labels of the pod.", seed=("phase_02_train_opt_labels", "training_metadata_labels")
    )
    annotations: dict[str, str] = parameter(
        {},
        "Annotations of the pod.",
        seed=("phase_02_train_opt_annotations", "training_metadata_annotations"),
    )
    image_pull_secret: str | None = parameter(
        None,
        "Name of the Kubernetes secret with which the image is pulled.",
        seed=("phase_02_train_opt_pull_secret",),
    )
    hf_token_secret: str | None = parameter(
        None,
        "Name of the Kubernetes secret whose key HF_TOKEN is the hub token; the pod has it in the "
        "variable that training.hf_token_env names.",
    )

    @field_validator("procs_per_worker", mode="before")
    @classmethod
    def _auto_or_count(cls, value: object) -> str:
        text = str(value)
        if text != "auto" and not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise ValueError(f"is {text!r}: set auto or a whole number from 1")
        return text

    @field_validator("cpu", mode="before")
    @classmethod
    def _number_is_a_quantity(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value

    @field_validator("labels", "annotations")
    @classmethod
    def _keys(cls, entries: dict[str, str]) -> dict[str, str]:
        for key in entries:
            if not _LABEL_KEY.fullmatch(key):
                raise ValueError(f"{key!r} is not a Kubernetes label key ([prefix/]name)")
        return entries

    @field_validator("labels")
    @classmethod
    def _values(cls, labels: dict[str, str]) -> dict[str, str]:
        for key, value in labels.items():
            if not _LABEL_VALUE.fullmatch(value):
                raise ValueError(
                    f"{key}: {value!r} is not a label value: letters, digits, '.', '_', '-', up to "
                    "63 characters"
                )
        return labels
