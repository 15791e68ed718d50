"""Who made an artifact: the user, the machine and its container image; no secrets.

Host names and addresses stay out: they say nothing about the artifact, and records travel far.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from resources.record import Record

_IMAGE_VARIABLES = ("FT_IMAGE", "DAGSTER_CURRENT_IMAGE")

HostKind = Literal["machine", "container", "kubernetes"]


class BuilderRecord(Record):
    """Who was at work, and where."""

    user: str = ""
    host: HostKind = "machine"
    image: str | None = None
    """The container image, where the environment names it (FT_IMAGE, DAGSTER_CURRENT_IMAGE)."""
    processor: str = ""
    """Its model; empty in a record of an earlier release."""
    gpus: list[str] = Field(default_factory=list)
    """The model of each NVIDIA GPU that the machine, or the pod, has."""


def this_builder() -> BuilderRecord:
    """The builder that this process is."""
    image = next((os.environ[name] for name in _IMAGE_VARIABLES if os.environ.get(name)), None)
    return BuilderRecord(
        user=_user(), host=_host_kind(), image=image, processor=processor(), gpus=gpus()
    )


def processor(proc: Path = Path("/proc")) -> str:
    """The processor's model; its architecture where the system does not say more."""
    return next(_values(proc / "cpuinfo", "model name"), "") or platform.machine()


def gpus(proc: Path = Path("/proc")) -> list[str]:
    """The models of NVIDIA's GPUs, as their driver names them; torch is not needed for it."""
    cards = sorted(proc.glob("driver/nvidia/gpus/*/information"))
    return [model for card in cards for model in _values(card, "Model")]


def _values(file: Path, name: str) -> Iterator[str]:
    """The values of the lines ``name: value``; none where the file cannot be read."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            yield value.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        return f"uid-{os.getuid()}"


def _host_kind() -> HostKind:
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "container"
    return "machine"
