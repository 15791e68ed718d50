"""The short way for plain chats: from the bytes of a source row straight to the stored chat.

A plain chat says ``messages`` with ``role`` and ``content`` in the four roles' own names, and
nothing that changes what is trained. Most rows of most datasets are plain, and the general way
(:mod:`ft_assets.data.formats`) takes several times as long for them. Both ways give the same bytes:
whatever is not plainly valid here is left to the general way, which also finds the words for what
is wrong.

Belongs here: recognising plain chats. Does not belong here: a rule that the general way has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ft_assets.data.shapes import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

# Keys of a row that say something about a chat in "messages"; other keys are metadata.
_MEANINGFUL = frozenset(
    {"conversations", "input_ids", "system", "system_prompt", "tools", "unmask"}
)


class PlainTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One turn; the fields in the order in which they are written down."""

    content: str
    role: Role


class PlainChat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A valid chat whose turns say a role and a content, and no more."""

    messages: list[PlainTurn]


_decode = msgspec.json.Decoder(PlainChat).decode
_encode = msgspec.json.Encoder().encode


def plain_line(line: bytes) -> PlainChat | None:
    """The chat of a line that holds a plain chat and no other key; None for the general way."""
    try:
        chat = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return chat if _is_valid(chat.messages) else None


def plain_row(row: Mapping[str, Any]) -> PlainChat | None:
    """The chat of a parsed row that may also hold metadata; None for the general way."""
    if not _MEANINGFUL.isdisjoint(row):
        return None
    try:
        messages = msgspec.convert(row.get("messages"), list[PlainTurn])
    except msgspec.ValidationError:
        return None
    return PlainChat(messages) if _is_valid(messages) else None


def plain_bytes(chat: PlainChat) -> bytes:
    """What :func:`ft_assets.data.canonical.canonical_bytes` gives for the same chat."""
    return _encode(chat)


def _is_valid(turns: list[PlainTurn]) -> bool:
    answers = 0
    for place, turn in enumerate(turns):
        content = turn.content
        if "\x00" in content:
            return False
        if turn.role == "assistant":
            if not content or content.isspace():
                return False
            answers += 1
        elif turn.role == "system" and place > 0:
            return False
    return answers > 0
