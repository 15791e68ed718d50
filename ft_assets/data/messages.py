"""From a row, in any of the accepted shapes, to one chat.

Accepted are ``messages`` ([{role, content}]) and ``conversations`` (ShareGPT's from and value, or
role and content under that name). What training does not support yet is refused by name: nothing in
a row that would change what is trained is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

Role = Literal["system", "user", "assistant", "tool"]

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_SHAREGPT_ROLES: dict[str, Role] = {**_ROLES, "human": "user", "gpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    content: str
    name: str | None = None
    """Who speaks, for templates that show it."""

    def as_dict(self) -> dict[str, str]:
        """The keys of the message; ``name`` only when there is one."""
        plain = {"role": self.role, "content": self.content}
        return plain if self.name is None else {**plain, "name": self.name}


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation, valid for training: turns with known roles, an answer among them."""

    messages: tuple[Message, ...]

    def as_dicts(self) -> list[dict[str, str]]:
        """The turns as the training packages take them."""
        return [message.as_dict() for message in self.messages]


class RowError(Exception):
    """A row that holds no valid chat.

    ``kind`` is the reason's fixed short name, for counting; the message says it in words and names
    the turn.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def normalize(value: Mapping[str, Any]) -> Chat:
    """The chat in a row. Normalising its result again gives the same chat.

    Keys of the row other than ``messages``, ``conversations`` and ``tools`` are metadata (an id, a
    source) and are left out. Keys that are null or empty count as absent, because Parquet gives
    every row every key.

    Raises:
        RowError: the row holds no valid chat.
    """
    if _present(value.get("tools")):
        raise RowError("unsupported_key", "the key 'tools' is not supported yet")
    chats = [
        _chat(value[key], key)
        for key in ("messages", "conversations")
        if value.get(key) is not None
    ]
    if not chats:
        keys = ", ".join(repr(key) for key in list(value)[:5]) or "none"
        raise RowError(
            "no_chat_key", f"neither 'messages' nor 'conversations' is there (keys: {keys})"
        )
    if chats[0] != chats[-1]:
        raise RowError(
            "two_chats", "'messages' and 'conversations' hold different chats: remove one of them"
        )
    return chats[0]


def _present(item: object) -> bool:
    return item is not None and item not in ("", [], {}, ())


def _chat(turns: object, key: str) -> Chat:
    if not isinstance(turns, list):
        raise RowError("not_a_list", f"'{key}' is not a list but a {type(turns).__name__}")
    items = cast("list[object]", turns)
    if not items:
        raise RowError("no_turns", f"'{key}' is an empty list")
    messages = tuple(_message(item, f"turn {n}", key) for n, item in enumerate(items, 1))
    _check_order(messages)
    return Chat(messages)


def _message(item: object, where: str, key: str) -> Message:
    if not isinstance(item, Mapping):
        raise RowError(
            "not_a_message", f"{where} of '{key}' is not an object but a {type(item).__name__}"
        )
    turn = cast("Mapping[str, Any]", item)
    sharegpt = key == "conversations" and "role" not in turn
    role_key, content_key = ("from", "value") if sharegpt else ("role", "content")
    _refuse_other_keys(turn, (role_key, content_key, "name"), where)
    role = _role(turn.get(role_key), role_key, _SHAREGPT_ROLES if sharegpt else _ROLES, where)
    content = _content(turn.get(content_key), content_key, role, where)
    return Message(role, content, _name(turn.get("name"), where))


def _refuse_other_keys(turn: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    other = next((key for key in turn if key not in known and _present(turn[key])), None)
    if other is not None:
        raise RowError(
            "unsupported_key", f"{where}: the key {str(other)[:40]!r} is not supported yet"
        )


def _role(role: object, key: str, roles: Mapping[str, Role], where: str) -> Role:
    if role is None:
        raise RowError("unknown_role", f"{where} has no '{key}'")
    if not isinstance(role, str) or role not in roles:
        raise RowError(
            "unknown_role",
            f"{where}: unknown role {str(role)[:40]!r} (allowed: {', '.join(roles)})",
        )
    return roles[role]


def _content(content: object, key: str, role: Role, where: str) -> str:
    if not isinstance(content, str):
        kind = "missing" if content is None else f"not a string but a {type(content).__name__}"
        raise RowError("content_not_text", f"{where} ({role}): '{key}' is {kind}")
    if role == "assistant" and not content.strip():
        raise RowError("empty_answer", f"{where} (assistant): '{key}' is empty")
    return content


def _name(name: object, where: str) -> str | None:
    if not _present(name):
        return None
    if not isinstance(name, str):
        raise RowError("name_not_text", f"{where}: 'name' is not a string")
    return name


def _check_order(messages: Sequence[Message]) -> None:
    late = next((n for n, m in enumerate(messages) if m.role == "system" and n > 0), None)
    if late is not None:
        raise RowError(
            "system_not_first", f"turn {late + 1} is a system turn: only the first turn may be one"
        )
    if all(message.role != "assistant" for message in messages):
        raise RowError("no_assistant_turn", "there is no assistant turn: nothing to learn from")
