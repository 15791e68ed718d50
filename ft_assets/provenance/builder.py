"""Who made an artifact: the user, the kind of machine and its container image; no secrets.

Host names and addresses stay out: they say nothing about the artifact, and records travel far.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Literal

from resources.record import Record

_IMAGE_VARIABLES = ("FT_IMAGE", "DAGSTER_CURRENT_IMAGE")

HostKind = Literal["machine", "container", "kubernetes"]


class BuilderRecord(Record):
    """Who was at work, and where."""

    user: str = ""
    host: HostKind = "machine"
    image: str | None = None
    """The container image, where the environment names it (FT_IMAGE, DAGSTER_CURRENT_IMAGE)."""


def this_builder() -> BuilderRecord:
    """The builder that this process is."""
    image = next((os.environ[name] for name in _IMAGE_VARIABLES if os.environ.get(name)), None)
    return BuilderRecord(user=_user(), host=_host_kind(), image=image)


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
