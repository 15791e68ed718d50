"""What is counted of the rows of a data drop while they go by.

Rows are counted in parts, some of them in other processes, and the parts added up in the order of
the rows: that gives what counting one after the other gives. So this module imports little.

Belongs here: counting in constant memory. Does not belong here: deciding what a good row is, and
the report for people (:mod:`ft_assets.data.ingest_report`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ft_assets.data.fast_rows import ROLE_OF
from ft_assets.data.redaction import excerpt
from ft_assets.data.sensitive import hidden
from ft_assets.data.shapes import Chat, Message, Row, Segments, Text, Tokens
from ft_assets.data.texts import said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ft_assets.data.fast_rows import PlainChat

SAMPLES = 3  # rows in the report

_SAMPLE_CHARACTERS = 200  # of each turn
_SAMPLE_TURNS = 20
_KEYS = 50
_KEY_CHARACTERS = 100
SHAPES: dict[type[Row], str] = {
    Chat: "chat",
    Segments: "segments",
    Text: "text",
    Tokens: "tokens",
}


@dataclass
class RowCounts:
    """The numbers of some rows."""

    wanted: int = SAMPLES
    """So many samples, the first rows."""
    finds: Counter[str] = field(default_factory=Counter[str])
    """What was found to be sensitive, by rule."""
    shapes: Counter[str] = field(default_factory=Counter[str])
    roles: Counter[str] = field(default_factory=Counter[str])
    """Turns of chats."""
    characters: int = 0
    """Of all turns, segments and texts."""
    plain_lines: int = 0
    """Rows that were seen to have the key ``messages`` alone, and not looked at for keys."""
    keys: dict[str, Counter[type]] = field(default_factory=dict[str, "Counter[type]"])
    """Per key of the source rows the Python types of its values, null left out."""
    samples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, part: RowCounts) -> None:
        """Add the numbers of the rows that come next; of their keys only the first 50 are kept."""
        self.finds.update(part.finds)
        self.shapes.update(part.shapes)
        self.roles.update(part.roles)
        self.characters += part.characters
        self.plain_lines += part.plain_lines
        for key, types in part.keys.items():
            if key in self.keys or len(self.keys) < _KEYS:
                self.keys.setdefault(key, Counter()).update(types)
        self.samples += part.samples[: self.wanted - len(self.samples)]

    def see_keys(self, row: Mapping[str, Any]) -> None:
        """Count the keys of a source row."""
        for name, value in row.items():
            key = name[:_KEY_CHARACTERS]
            types = self.keys.get(key)
            if types is None:
                types = self.keys[key] = Counter()
            if value is not None:
                types[type(value)] += 1

    def keep(self, row: Row, id_: str) -> None:
        """Count a good row."""
        self.shapes[SHAPES[type(row)]] += 1
        if isinstance(row, Chat):
            self.roles.update(message.role for message in row.messages)
            self.characters += sum(len(message.content) for message in row.messages)
        elif not isinstance(row, Tokens):
            self.characters += sum(map(len, said(row).all))
        if len(self.samples) < self.wanted:
            self.samples.append({"id": id_, "messages": _shown(row)})

    def keep_plain(self, patterns: Mapping[str, int], characters: int) -> None:
        """Count good plain chats, as :meth:`keep` would, but for the samples.

        Args:
            patterns: per sequence of roles (:data:`~ft_assets.data.fast_rows.ROLE_OF`) how many
                chats have it.
            characters: of all of them.
        """
        for pattern, chats in patterns.items():
            self.shapes["chat"] += chats
            for letter in pattern:
                self.roles[ROLE_OF[letter]] += chats
        self.characters += characters

    def show_plain(self, chat: PlainChat, id_: str) -> None:
        """Take a plain chat as a sample."""
        messages = [Message(content=turn.content, role=turn.role) for turn in chat.messages]
        self.samples.append({"id": id_, "messages": _shown(Chat(messages))})


def _shown(row: Row) -> list[dict[str, str]]:
    if isinstance(row, Chat):
        turns = [(m.role, m.content or _beside(m)) for m in row.messages]
    else:
        turns = [("text", piece) for piece in said(row).all]
    return [
        {"role": role, "content": excerpt(hidden(content), _SAMPLE_CHARACTERS)}
        for role, content in turns[:_SAMPLE_TURNS]
    ]


def _beside(message: Message) -> str:
    """What a turn without content says."""
    calls = [str(call.get("function", call)) for call in message.tool_calls or ()]
    return " ".join([message.reasoning_content or "", *calls]).strip()
