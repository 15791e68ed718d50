"""The typed record of where an artifact comes from; it travels in the artifact's manifest."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import Field

from ft_assets.provenance.builder import BuilderRecord, this_builder
from ft_assets.provenance.code import CodeRecord, this_code
from resources.record import Record

_PACKAGES = (
    "ft-assets",
    "dagster",
    "torch",
    "transformers",
    "training-hub",
    "instructlab-training",
    "rhai-innovation-mini-trainer",
    "peft",
    "lm-eval",
)


class InputRecord(Record):
    """One artifact that another was made from."""

    asset: str
    digest: str
    data_version: str
    uri: str
    partition: str | None = None


class ProvenanceRecord(Record):
    """Who made an artifact, from what, with which configuration and code."""

    pipeline: str
    recipe: str | None = None
    """None for the training block of the pipeline itself."""
    asset: str
    partition: str | None
    run_id: str
    code_version: str
    config: dict[str, Any]
    """The effective block of the pipeline file that the asset reads."""
    config_digest: str = ""
    """sha256 of ``config``'s canonical JSON."""
    spec_digest: str = ""
    """sha256 of the whole effective specification, as ``PipelineSpec.digest``."""
    inputs: list[InputRecord]
    started_at: str
    """UTC, ISO 8601."""
    python: str = Field(default_factory=platform.python_version)
    platform: str = Field(default_factory=platform.platform)
    builder: BuilderRecord = Field(default_factory=this_builder)
    code: CodeRecord = Field(default_factory=this_code)
    packages: dict[str, str] = Field(default_factory=lambda: installed(_PACKAGES))


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those packages that are installed, read without importing them."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """This moment: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
