"""One thing that is not what it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """A fact that differs between two versions."""

    what: str
    old: Any
    """None: there was none, or nobody knows."""
    new: Any


def changes(facts: dict[str, tuple[Any, Any]]) -> list[Change]:
    """Those of the facts that differ, in their order."""
    return [Change(what, old, new) for what, (old, new) in facts.items() if old != new]
