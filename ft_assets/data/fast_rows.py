"""The short way for plain chats: from the bytes of a source row straight to the stored chat.

A plain chat says ``messages`` with ``role`` and ``content`` in the four roles' own names, and
nothing that changes what is trained. Most rows of most datasets are plain, and the general way
(:mod:`ft_assets.data.formats`) takes several times as long for them. Both ways give the same bytes:
whatever is not plainly valid here is left to the general way, which also finds the words for what
is wrong.

Belongs here: recognising plain chats. Does not belong here: a rule that the general way has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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


class Looked(NamedTuple):
    """Valid chats."""

    chats: list[PlainChat]
    patterns: dict[str, int]
    """How many have each sequence of roles, which is a word of :data:`ROLE_OF`."""
    characters: int
    """Of all contents."""


ROLE_OF: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
"""The roles by their first letters."""

_OPEN, _CLOSE = b"{}"

_decoder = msgspec.json.Decoder(PlainChat)
_decode, _decode_lines = _decoder.decode, _decoder.decode_lines
_encode = msgspec.json.Encoder().encode


def looked_at(line: bytes) -> Looked | None:
    """What is in a line that holds a plain chat and no other key; None for the general way."""
    try:
        chat = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _looked([chat])


def lines_looked_at(lines: bytes) -> Looked | None:
    """What :func:`looked_at` finds in each of some lines; None when it leaves one of them.

    Many lines at once are decoded in less time than one after the other.
    """
    number = _lines_of_one_value(lines)
    if number is None:
        return None
    try:
        chats = _decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _looked(chats) if len(chats) == number else None


def row_looked_at(row: Mapping[str, Any]) -> Looked | None:
    """What is in a parsed row that may also hold metadata; None for the general way."""
    if not _MEANINGFUL.isdisjoint(row):
        return None
    try:
        messages = msgspec.convert(row.get("messages"), list[PlainTurn])
    except msgspec.ValidationError:
        return None
    return _looked([PlainChat(messages)])


def plain_bytes(chat: PlainChat) -> bytes:
    """What :func:`ft_assets.data.canonical.canonical_bytes` gives for the same chat."""
    return _encode(chat)


def plain_messages(chat: PlainChat) -> bytes:
    """The messages in :func:`plain_bytes`."""
    return _encode(chat.messages)


def _lines_of_one_value(lines: bytes) -> int | None:
    """How many lines there are; None when the decoder might see other lines than a reader of lines.

    To it, a newline is a space: it may stand inside of a value, and two values on one line. Where
    ``}`` stands before and ``{`` behind it, it is not inside of one (there would be a comma), so
    that as many values as lines are one on each.
    """
    number = begin = 0
    while begin < len(lines):
        end = lines.find(b"\n", begin)
        if end < 0 or lines[begin] != _OPEN or lines[end - 1] != _CLOSE:
            return None
        begin = end + 1
        number += 1
    return number


def _looked(chats: list[PlainChat]) -> Looked | None:
    """One loop for what is valid and for what is counted; None when one is not valid."""
    patterns: dict[str, int] = {}
    characters = 0
    for chat in chats:
        roles = ""
        for turn in chat.messages:
            content, role = turn.content, turn.role
            if "\x00" in content:
                return None
            if role == "assistant" and (not content or content.isspace()):
                return None
            roles += role[0]
            characters += len(content)
        patterns[roles] = patterns.get(roles, 0) + 1
    # An answer in each, and a system turn at the start alone: there are fewer patterns than chats.
    if any("a" not in roles or "s" in roles[1:] for roles in patterns):
        return None
    return Looked(chats, patterns, characters)
