"""The roles that a turn of a chat can have."""

from __future__ import annotations

ROLES = ("system", "user", "assistant", "tool")
