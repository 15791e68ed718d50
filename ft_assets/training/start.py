"""What a training starts from when that is not the base model: a registered version.

Belongs here: what is recorded about it, in the plan and so in the manifest of what is trained. Does
not belong here: which version that is (``assets/champion_start.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resources.record import Record


class Start(Record):
    """A registered version that a training starts from."""

    model: str
    """Name of the registered model."""
    version: str
    digest: str
    """Of the model's files: the data version of its artifact."""
    asset: str
    """Key of its artifact, ``PIPELINE/finetuned_model``."""
    partition: str | None
    artifact: str
    """Digest of its artifact."""
    base_name: str
    """The base model that the line of starts began with."""
    base_digest: str
    trainings: int
    """How many trainings lie behind it, one on top of the other; 1: it was trained from a base
    model."""

    def __str__(self) -> str:
        """For people."""
        return f"{self.model} {self.version}"


def recorded_start(metadata: Mapping[str, Any]) -> tuple[str, Start | None]:
    """What a trained model was asked to start from, and what it started from, by its manifest."""
    plan: Mapping[str, Any] = metadata.get("plan") or {}
    start = plan.get("start")
    return plan.get("start_from", "base"), None if start is None else Start.model_validate(start)
