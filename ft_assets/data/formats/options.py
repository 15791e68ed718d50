"""How the rows of a dataset are to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

FormatName = Literal["auto", "chat", "instruction", "input_output", "completion", "tokens"]


@dataclass(frozen=True)
class RowFormat:
    """How the rows of a dataset are to be read; the defaults read all that is known."""

    format: FormatName = "auto"
    """auto looks at the keys of each row; a name refuses rows of another format."""
    field_messages: str | None = None
    """The key of the turns, where it is neither messages nor conversations."""
    message_property_mappings: Mapping[str, str] = field(default_factory=dict[str, str])
    """The dataset's names of a turn's keys: ``{"role": "from", "content": "value"}``."""
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Per role (system, user, assistant, tool) further names that mean it."""
    split_thinking: bool = False
    """Move what stands between <think> and </think> to reasoning_content."""
