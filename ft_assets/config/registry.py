"""The ``registry`` block: under which name and version the model is registered."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import field_validator

from ft_assets.config.block import Block, parameter

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


class RegistryConfig(Block):
    """Where and as what a model that has won is registered."""

    not_taken: ClassVar[dict[str, str]] = {
        "phase_04_registry_opt_port": (
            "the embedded registry, the one that this version has, listens on no port: leave this "
            "out"
        )
    }

    address: Literal[""] = parameter(
        "",
        "Address of a model registry server; empty means the embedded registry (a SQLite file "
        "under FT_HOME), the one that this version has.",
        seed=("phase_04_registry_man_address",),
    )
    name: str = parameter(
        "sft-model",
        "Name of the model in the registry.",
        seed=("phase_04_registry_man_name", "phase_04_registry_man_reg_name"),
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,249}$",
    )
    version: str = parameter(
        "auto",
        "auto: the next patch version for each new model, from base_version on; or a version "
        "major.minor.patch, which then stands for one model for ever.",
        seed=("phase_04_registry_man_version", "phase_04_registry_man_reg_version"),
    )
    base_version: str = parameter("1.0.0", "The first version that auto gives.")
    author: str = parameter(
        "pipeline",
        "Who registers the model.",
        seed=("phase_04_registry_man_author", "phase_04_registry_man_reg_author"),
        min_length=1,
    )
    description: str = parameter(
        "",
        "Description of the version; a line that names the pipeline when empty.",
        seed=("phase_04_registry_opt_description",),
        max_length=4096,
    )
    format_name: Literal["safetensors", "pytorch"] = parameter(
        "safetensors",
        "Model format to record. The files are a Hugging Face folder with safetensors weights, "
        "which pytorch (the name that the Kubeflow pipelines give it) loads too.",
        seed=("phase_04_registry_opt_format_name",),
    )
    format_version: str = parameter(
        "1.0",
        "Version of the format to record.",
        seed=("phase_04_registry_opt_format_version",),
        min_length=1,
    )

    @field_validator("version", "base_version")
    @classmethod
    def _semver(cls, version: str, info: object) -> str:
        auto = getattr(info, "field_name", "") == "version" and version == "auto"
        if not auto and not _SEMVER.fullmatch(version):
            raise ValueError(f"is {version!r}: set auto or three numbers such as 1.0.0")
        return version
