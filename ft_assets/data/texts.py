"""What a row says, as text: for comparing rows, for showing them and for counting.

Belongs here: one way of looking at all shapes. Does not belong here: what is trained, which
depends on the training's parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ft_assets.data.shapes import IGNORED, Chat, Segments, Text, Tokens

if TYPE_CHECKING:
    from ft_assets.data.shapes import Message, Row


class Said(NamedTuple):
    """A row as pieces of text."""

    all: list[str]
    """Everything but system turns, piece by piece (a turn, a segment, the text)."""
    answers: list[str]
    """What the model is to learn to say, as far as the row alone tells."""


def said(row: Row) -> Said:
    """What a row says. Of tokens, their numbers: equal numbers are equal text."""
    if isinstance(row, Chat):
        spoken = [m for m in row.messages if m.role != "system"]
        answers = [_turn(m) for m in spoken if m.role == "assistant"]
        return Said([_turn(m) for m in spoken], answers)
    if isinstance(row, Segments):
        return Said(
            [segment.text for segment in row.segments],
            [segment.text for segment in row.segments if segment.label],
        )
    if isinstance(row, Text):
        return Said([row.text], [])
    assert isinstance(row, Tokens)
    return Said(
        [" ".join(map(str, row.input_ids))],
        [" ".join(str(label) for label in row.labels if label != IGNORED)],
    )


def _turn(message: Message) -> str:
    """A turn's thought, words and calls."""
    calls = [str(call.get("function", call)) for call in message.tool_calls or ()]
    return "\n".join(part for part in (message.reasoning_content, message.content, *calls) if part)
