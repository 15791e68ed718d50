"""Parts of the API's objects that may be absent, or null, read as empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def part(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of an object that is an object."""
    found: dict[str, Any] | None = of.get(name)
    return found or {}


def entries(of: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A part of an object that is a list of objects."""
    found: list[dict[str, Any]] | None = of.get(name)
    return found or []


def conditions(of: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conditions in an object's status."""
    return entries(part(of, "status"), "conditions")


def phase(pod: Mapping[str, Any]) -> str:
    """A pod's phase; one without a status is pending."""
    return str(part(pod, "status").get("phase", "Pending"))
