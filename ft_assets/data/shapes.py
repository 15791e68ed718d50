"""The four shapes that a row of training data can have, whatever format it came in.

Every format becomes one of them, and everything after the raw dataset knows these alone. The
fields of each stand in alphabetical order: that is the order in which they are written down
(:mod:`ft_assets.data.canonical`).

Belongs here: what a valid row is made of. Does not belong here: how a format is read
(:mod:`ft_assets.data.formats`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]


class Message(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One turn of a chat."""

    content: str
    """What is said; may be empty beside tool calls or reasoning."""
    name: str | None = None
    """Who speaks, for templates that show it."""
    reasoning_content: str | None = None
    """What the assistant thought before it answered."""
    role: Role
    tool_call_id: str | None = None
    """In a tool's turn: the call that it answers."""
    tool_calls: list[dict[str, Any]] | None = None
    """OpenAI's form, with the arguments as an object."""
    train: bool | None = None
    """Whether this turn is trained on; None leaves it to ``training.roles_to_train``."""

    def for_template(self) -> dict[str, Any]:
        """The keys that a chat template knows; those that are absent are left out."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        shown.pop("train", None)
        return shown


class Chat(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation, rendered with the model's chat template."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    """JSON schemas of the functions that the assistant may call."""


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of text without a template."""

    label: bool
    """Whether it is trained on."""
    text: str


class Segments(msgspec.Struct, frozen=True):
    """Text in pieces, with nothing added: no template, no token at its start or end."""

    segments: list[Segment]


class Text(msgspec.Struct, frozen=True):
    """Raw text, all of it trained on and cut at the sequence length."""

    text: str


class Tokens(msgspec.Struct, frozen=True):
    """Token ids as they are; a label of -100 is not trained on."""

    input_ids: list[int]
    labels: list[int]


Row = Chat | Segments | Text | Tokens

IGNORED = -100
"""The label of a token that is not trained on, as everywhere in PyTorch."""
