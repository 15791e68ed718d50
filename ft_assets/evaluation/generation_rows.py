"""Which held-out rows a model is asked to answer, and what it is asked.

Belongs here: choosing rows, and the prompt and reference of each. Does not belong here: tokens and
the model (:mod:`ft_assets.evaluation.generation`).
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ft_assets.data.shapes import Chat, Segments
from ft_assets.evaluation.answer_scores import canonical_call, said, without_reasoning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ft_assets.data.shapes import Message, Row
    from ft_assets.evaluation.held_out import HeldOutRows


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation up to its last answer, and that answer."""

    reference: str
    """The last answer: its words without reasoning, then its tool calls as canonical JSON."""
    messages: list[dict[str, Any]]
    """What stands before it, as chat templates know it; empty for rows without turns."""
    text: str
    """What stands before it in a row of segments, which has no template."""
    tools: list[dict[str, Any]] | None
    """JSON schemas of the functions that may be called."""
    calls: bool
    """Whether an answer may hold tool calls."""

    @property
    def shown(self) -> str:
        """What is asked, for people: without any model's template."""
        turns = [f"{m['role']}: {said(str(m['content']), _calls(m))}" for m in self.messages]
        return "\n\n".join(turns) or self.text


def question(row: Row) -> Question | None:
    """What to ask for a row; None where nothing is asked: raw text, or an answer to nothing."""
    if isinstance(row, Chat):
        return _of_chat(row)
    if isinstance(row, Segments):
        return _of_segments(row)
    return None


def chosen_rows(rows: HeldOutRows, count: int, limit: int | None) -> list[int]:
    """The numbers of at most ``count`` rows that have a question, in the order of the file.

    Rows are ordered by a digest of their id, so that every model is asked the same, and a row that
    comes or goes changes one of them at most.

    Args:
        rows: the held-out split.
        count: how many to choose.
        limit: choose among the first rows only; None for all.
    """

    def answerable() -> Iterator[tuple[bytes, int]]:
        for number in range(len(rows) if limit is None else min(limit, len(rows))):
            row = rows[number]
            if question(row.content) is not None:
                yield hashlib.sha256(f"generate {row.key}".encode()).digest(), number

    if not count:
        return []
    return sorted(number for _, number in heapq.nsmallest(count, answerable()))


def _of_chat(chat: Chat) -> Question | None:
    places = [n for n, message in enumerate(chat.messages) if message.role == "assistant"]
    if not places or places[-1] == 0:
        return None
    before, last = chat.messages[: places[-1]], chat.messages[places[-1]]
    reference = _spoken(last)
    if not reference:
        return None
    return Question(
        reference=reference,
        messages=[message.for_template() for message in before],
        text="",
        tools=chat.tools,
        calls=bool(chat.tools or last.tool_calls),
    )


def _of_segments(row: Segments) -> Question | None:
    labelled = [n for n, segment in enumerate(row.segments) if segment.label]
    if not labelled:
        return None
    # Labelled segments that follow each other are one answer.
    start = labelled[-1]
    while start and row.segments[start - 1].label:
        start -= 1
    before = "".join(segment.text for segment in row.segments[:start])
    reference = without_reasoning(
        "".join(segment.text for segment in row.segments[start : labelled[-1] + 1])
    )
    if not before or not reference:
        return None
    return Question(reference=reference, messages=[], text=before, tools=None, calls=False)


def _spoken(message: Message) -> str:
    return said(without_reasoning(message.content), _calls(message.for_template()))


def _calls(message: dict[str, Any]) -> list[str]:
    return [canonical_call(call) for call in message.get("tool_calls") or ()]
