"""Rows with an instruction and its answer: alpaca and its relatives, as chats.

The words of alpaca's own prompt ("Below is an instruction ...") are not added: the model's chat
template says who asks and who answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ft_assets.data.formats.chat import chat_of
from ft_assets.data.formats.errors import RowError, keys_of, present, text_of
from ft_assets.data.formats.options import RowFormat
from ft_assets.data.shapes import Chat

# Keys of the question and of the answer, most special first.
_PAIRS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("message_1", "message_2"),
    ("prompt", "completion"),
    ("prompt", "response"),
)


def is_instruction(row: Mapping[str, Any]) -> bool:
    """Whether the row has the keys of one of these formats."""
    return _pair(row) is not None


def _pair(row: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((p for p in _PAIRS if row.get(p[0]) is not None and p[1] in row), None)


def instruction_row(row: Mapping[str, Any], options: RowFormat) -> Chat:
    """The chat in a row of a question and its answer.

    Raises:
        RowError: a part is missing or is no text.
    """
    pair = _pair(row)
    if pair is None:
        raise RowError(
            "no_instruction",
            "there is no question with its answer (instruction and output, question and answer, "
            f"prompt and completion, ...): keys {keys_of(row)}",
        )
    question: object = row[pair[0]]
    answer: object = row[pair[1]]
    if isinstance(question, list) and isinstance(answer, list):
        prompt, completion = cast("list[object]", question), cast("list[object]", answer)
        return _conversational(prompt, completion, options, row)
    turns = [
        {"role": "user", "content": _asked(row, pair[0])},
        {"role": "assistant", "content": text_of(answer, f"{pair[1]!r}")},
    ]
    ours = RowFormat(split_thinking=options.split_thinking)
    return chat_of(turns, f"{pair[0]}/{pair[1]}", ours, row)


def _asked(row: Mapping[str, Any], key: str) -> str:
    """The question: of an instruction and its input, those that say something."""
    keys = [key]
    if key == "instruction" and present(row.get("input")):
        keys.append("input")
    parts = [text_of(row[key], f"{key!r}") for key in keys]
    said = [part for part in parts if part.strip()]
    if not said:
        raise RowError(
            "empty_question",
            f"there is no question in {' and '.join(map(repr, keys))}: leave the row out, or bring "
            "its answer alone as 'text'",
        )
    return "\n\n".join(said)


def _conversational(
    prompt: list[object], completion: list[object], options: RowFormat, row: Mapping[str, Any]
) -> Chat:
    """Turns on both sides, as TRL has them: what the assistant said before is context."""
    turns = [*prompt, *completion]
    return chat_of(turns, "prompt/completion", options, row, context=len(prompt))
