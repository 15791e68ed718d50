"""Rows that hold a conversation: ``messages``, ``conversations`` (ShareGPT), and one's own names.

The result is OpenAI's form. What a turn says about training (``train``, ``training``, ``weight``)
and the row's ``unmask`` end up in ``train`` of the turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from ft_assets.data.formats.errors import RowError, flag_of, keys_of, present, shown, text_of
from ft_assets.data.formats.options import RowFormat
from ft_assets.data.shapes import Chat, Message, Role

_KEYS = ("messages", "conversations")
_SYSTEM = ("system", "system_prompt")
_NAMES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_TRAIN = ("train", "training", "weight")
_REASONING = ("reasoning_content", "reasoning", "thinking")
_KNOWN = (*_TRAIN, *_REASONING, "name", "tool_calls", "tool_call_id")
_THINK, _THOUGHT = "<think>", "</think>"


def find_chat(row: Mapping[str, Any], options: RowFormat) -> list[str]:
    """The keys of the row that hold turns."""
    keys = _KEYS if options.field_messages is None else (options.field_messages,)
    return [key for key in keys if row.get(key) is not None]


def chat_row(row: Mapping[str, Any], options: RowFormat) -> Chat:
    """The chat in a row.

    Raises:
        RowError: the row holds no valid chat, or two different ones.
    """
    keys = find_chat(row, options)
    if not keys:
        wanted = options.field_messages or " nor ".join(_KEYS)
        raise RowError("no_chat_key", f"there is no {wanted} (keys: {keys_of(row)})")
    chats = [chat_of(row[key], key, options, row) for key in keys]
    if chats[0] != chats[-1]:
        raise RowError(
            "two_chats", f"{' and '.join(keys)} hold different chats: remove one of them"
        )
    return chats[0]


def chat_of(
    turns: object,
    key: str,
    options: RowFormat,
    row: Mapping[str, Any] | None = None,
    *,
    context: int = 0,
) -> Chat:
    """The chat of a list of turns; ``row`` is what stands beside them.

    ``context``: so many turns at the start are there to be answered; the assistant's among them are
    not trained on, where the row does not say so.
    """
    if not isinstance(turns, list):
        raise RowError("not_a_list", f"'{key}' is not a list but a {type(turns).__name__}")
    items = cast("list[object]", turns)
    if not items:
        raise RowError("no_turns", f"'{key}' is an empty list")
    beside = row or {}
    unmask = present(beside.get("unmask")) and flag_of(beside["unmask"], "'unmask'")
    messages = [
        _message(item, f"turn {n}", key, options, unmask=unmask, context=n <= context)
        for n, item in enumerate(items, 1)
    ]
    _check_order(messages)
    return Chat(_with_system(messages, beside), _tools(beside.get("tools")))


def _with_system(messages: list[Message], row: Mapping[str, Any]) -> list[Message]:
    """The turns after the system prompt that stands beside them."""
    said = {key: text_of(row[key], f"{key!r}") for key in _SYSTEM if present(row.get(key))}
    if messages[0].role == "system":
        said = {**said, "the system turn": messages[0].content}
    if len(set(said.values())) > 1:
        raise RowError(
            "two_systems", f"{' and '.join(said)} hold different system prompts: keep one of them"
        )
    if not said or messages[0].role == "system":
        return messages
    return [Message(content=next(iter(said.values())), role="system"), *messages]


def _message(
    item: object, where: str, key: str, options: RowFormat, *, unmask: bool, context: bool
) -> Message:
    if not isinstance(item, Mapping):
        raise RowError(
            "not_a_message", f"{where} of '{key}' is not an object but a {type(item).__name__}"
        )
    turn = cast("Mapping[str, Any]", item)
    names = _names(turn, options)
    _refuse_other_keys(turn, (*names, *_KNOWN), where)
    role = _role(turn.get(names[0]), names[0], options, where)
    train = _train(turn, where)
    if train is None and unmask and role != "system":
        train = True
    if train is None and context and role == "assistant":
        train = False
    content = _content(turn.get(names[1]), names[1], role, where)
    reasoning = _reasoning(turn, where)
    if options.split_thinking and role == "assistant" and reasoning is None:
        reasoning, content = _split_thinking(content)
    calls = _tool_calls(turn.get("tool_calls"), role, where)
    said = content.strip() or reasoning or calls
    if role == "assistant" and not said and train is not False:
        raise RowError("empty_answer", f"{where} (assistant): '{names[1]}' is empty")
    return Message(
        content=content,
        name=_text_or_none(turn.get("name"), f"{where}: 'name'"),
        reasoning_content=reasoning,
        role=role,
        tool_call_id=_text_or_none(turn.get("tool_call_id"), f"{where}: 'tool_call_id'"),
        tool_calls=calls,
        train=train,
    )


def _names(turn: Mapping[str, Any], options: RowFormat) -> tuple[str, str]:
    """The turn's own keys for the role and for the content."""
    mapped = options.message_property_mappings
    sharegpt = "role" not in turn and "from" in turn
    role = mapped.get("role") or ("from" if sharegpt else "role")
    return role, mapped.get("content") or ("value" if sharegpt else "content")


def _refuse_other_keys(turn: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    other = next((key for key in turn if key not in known and present(turn[key])), None)
    if other is not None:
        raise RowError(
            "unsupported_key",
            f"{where}: the key {shown(other)} is not known: remove it, or name it with "
            "dataset.message_property_mappings",
        )


def _role(role: object, key: str, options: RowFormat, where: str) -> Role:
    if role is None:
        raise RowError("unknown_role", f"{where} has no '{key}'")
    if isinstance(role, str):
        for ours, theirs in options.roles.items():
            if role in theirs:
                return cast("Role", ours)
        if role in _NAMES:
            return _NAMES[role]
    raise RowError(
        "unknown_role",
        f"{where}: unknown role {shown(role)} (known: {', '.join(_NAMES)}): name it with "
        "dataset.roles",
    )


def _content(content: object, key: str, role: Role, where: str) -> str:
    if content is None and role == "assistant":
        return ""  # beside tool calls; else the caller sees that nothing is said
    if isinstance(content, list):
        parts = cast("list[object]", content)
        return "".join(_text_part(part, f"{where} ({role}): '{key}'") for part in parts)
    return text_of(content, f"{where} ({role}): '{key}'")


def _text_part(part: object, where: str) -> str:
    """A part of a content in parts; only text can be trained on here."""
    if isinstance(part, Mapping):
        given = cast("Mapping[str, Any]", part)
        if given.get("type") == "text":
            return text_of(given.get("text"), f"{where}, a part's 'text',")
        raise RowError(
            "content_not_text",
            f"{where} has a part of the type {shown(given.get('type'))}: only text is trained",
        )
    return text_of(part, f"{where}, a part of it,")


def _train(turn: Mapping[str, Any], where: str) -> bool | None:
    given = {key: flag_of(turn[key], f"{where}: {key!r}") for key in _TRAIN if key in turn
             and turn[key] is not None}  # fmt: skip
    if len(set(given.values())) > 1:
        raise RowError("two_flags", f"{where}: {' and '.join(given)} say different things")
    return next(iter(given.values()), None)


def _reasoning(turn: Mapping[str, Any], where: str) -> str | None:
    for key in _REASONING:
        if present(turn.get(key)):
            return text_of(turn[key], f"{where}: {key!r}")
    return None


def _split_thinking(content: str) -> tuple[str | None, str]:
    """The thought at the start of an answer, and the answer."""
    start = content.lstrip()
    if not start.startswith(_THINK) or _THOUGHT not in start:
        return None, content
    thought, _, answer = start.removeprefix(_THINK).partition(_THOUGHT)
    return thought.strip() or None, answer.lstrip()


def _tool_calls(value: object, role: Role, where: str) -> list[dict[str, Any]] | None:
    if not present(value):
        return None
    if role != "assistant":
        raise RowError("tool_calls_not_valid", f"{where} ({role}): only an assistant calls tools")
    calls = _objects(value, f"{where}: 'tool_calls'", "tool_calls_not_valid")
    return [_tool_call(call, f"{where}: tool call {n}") for n, call in enumerate(calls, 1)]


def _tool_call(call: dict[str, Any], where: str) -> dict[str, Any]:
    """A call in OpenAI's form, with its arguments as an object: templates write it themselves."""
    function: object = call.get("function") if "function" in call else call
    named = cast("dict[str, Any]", function) if isinstance(function, dict) else {}
    if not isinstance(named.get("name"), str):
        raise RowError("tool_calls_not_valid", f"{where} names no function")
    arguments: object = named.get("arguments")
    if isinstance(arguments, str):
        try:
            # As in calls that are written as objects: a null says as little as no key.
            arguments = _without_nulls(orjson.loads(arguments or "{}"))
        except orjson.JSONDecodeError as error:
            message = f"{where}: the arguments of {shown(named['name'])} are no JSON ({error.msg})"
            raise RowError("tool_calls_not_valid", message) from None
    if not isinstance(arguments, dict | None):
        raise RowError("tool_calls_not_valid", f"{where}: the arguments are no object")
    given = cast("dict[str, Any]", arguments or {})
    made: dict[str, Any] = {
        "function": {"arguments": given, "name": named["name"]},
        "type": "function",
    }
    return {**made, "id": call["id"]} if isinstance(call.get("id"), str) else made


def _tools(value: object) -> list[dict[str, Any]] | None:
    if isinstance(value, str) and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise RowError(
                "tools_not_valid", f"'tools' is a text but no JSON ({error.msg})"
            ) from None
    return _objects(value, "'tools'", "tools_not_valid") if present(value) else None


def _objects(value: object, where: str, kind: str) -> list[dict[str, Any]]:
    """A list of objects, without the nulls that Parquet puts into them."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    if not items or not all(isinstance(item, dict) for item in items):
        raise RowError(kind, f"{where} is no list of objects")
    return cast("list[dict[str, Any]]", _without_nulls(items))


def _without_nulls(value: object) -> Any:
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {key: _without_nulls(item) for key, item in entries.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in cast("list[object]", value)]
    return value


def _text_or_none(value: object, where: str) -> str | None:
    return text_of(value, where, "not_text") if present(value) else None


def _check_order(messages: Sequence[Message]) -> None:
    late = next((n for n, m in enumerate(messages) if m.role == "system" and n > 0), None)
    if late is not None:
        raise RowError(
            "system_not_first", f"turn {late + 1} is a system turn: only the first turn may be one"
        )
    if not any(m.train or (m.role == "assistant" and m.train is None) for m in messages):
        if any(m.role == "assistant" for m in messages):
            raise RowError("nothing_trained", "no turn is trained on: nothing to learn from")
        raise RowError("no_assistant_turn", "there is no assistant turn: nothing to learn from")
