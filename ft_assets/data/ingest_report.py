"""What is said about a data drop after its rows went by: numbers, and a few rows to look at.

Belongs here: counting in constant memory. Does not belong here: deciding what a good row is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ft_assets.data.redaction import excerpt
from ft_assets.data.sensitive import hidden
from ft_assets.data.shapes import Chat, Message, Row, Segments, Text, Tokens
from ft_assets.data.texts import said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ft_assets.data.fast_rows import PlainChat
    from ft_assets.data.row_files import RowWriter
    from ft_assets.data.rows import BadRow

_SAMPLES = 3  # rows in the report
_SAMPLE_CHARACTERS = 200  # of each turn
_SAMPLE_TURNS = 20
_DROPPED_SHOWN = 20
_KEYS = 50
_KEY_CHARACTERS = 100
_SHAPES: dict[type[Row], str] = {
    Chat: "chat",
    Segments: "segments",
    Text: "text",
    Tokens: "tokens",
}
_JSON_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
}


class DroppedRow(BaseModel):
    """One row that was left out; a line of ``dropped.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    row: int
    """Counted from 1; in line formats the line number."""
    offset: int | None
    """Where the row starts in the decoded file, in bytes; None in formats without lines."""
    kind: str
    """The reason's short name."""
    reason: str
    excerpt: str
    """At most 80 characters of the row, redacted."""


class SourceKey(BaseModel):
    """A key at the top of the source rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    """How many rows have it with something other than null."""
    types: list[str]
    """The JSON types of its values, null left out."""


class IngestReport(BaseModel):
    """What became of the rows of a data drop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, int]
    """Rows read per file, by the name the user gave."""
    rows_read: int
    rows_kept: int
    dropped: dict[str, int]
    """How many rows were dropped, by reason; the rows themselves are in ``dropped.jsonl``."""
    dropped_rows: list[DroppedRow]
    """The first 20 of them."""
    sensitive: dict[str, int]
    """Finds per rule of :mod:`ft_assets.data.sensitive`, those of dropped rows included; whether
    they stayed in is for ``dataset.sensitive`` to say. Empty where nothing was looked for."""
    digest: str
    """SHA-256 over the lines of ``rows.jsonl``: what they hold and their order."""
    shapes: dict[str, int]
    """Rows kept per shape: chat, segments, text, tokens."""
    source_keys: dict[str, SourceKey]
    """The schema of the source rows, dropped ones included: at most 50 keys, the first found."""
    characters: int
    """Length of all turns, segments and texts together; tokens count nothing."""
    turns: int
    """Of chats."""
    roles: dict[str, int]
    """Turns per role."""
    samples: list[dict[str, Any]]
    """The first rows as ``id`` and ``messages``, shortened and redacted; what is no chat stands
    there as turns of the role ``text``."""


@dataclass
class Tally:
    """The numbers of the report while rows go by."""

    files: Counter[str] = field(default_factory=Counter[str])
    dropped: Counter[str] = field(default_factory=Counter[str])
    finds: Counter[str] = field(default_factory=Counter[str])
    """What was found to be sensitive, by rule."""
    plain_lines: int = 0
    """Rows that were seen to have the key ``messages`` alone, and not looked at for keys."""
    _dropped_rows: list[DroppedRow] = field(default_factory=list[DroppedRow])
    _shapes: Counter[str] = field(default_factory=Counter[str])
    _roles: Counter[str] = field(default_factory=Counter[str])
    _characters: int = 0
    _keys: dict[str, Counter[type]] = field(default_factory=dict[str, "Counter[type]"])
    _samples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _plain_chats: int = 0

    @property
    def reasons(self) -> str:
        """The dropped rows in words, most frequent reason first."""
        return ", ".join(f"{kind}: {count}" for kind, count in self.dropped.most_common())

    def drop(self, file: str, row: BadRow) -> DroppedRow:
        """Count a bad row; what is written down about it."""
        shown = DroppedRow(
            file=file,
            row=row.number,
            offset=row.offset,
            kind=row.kind,
            reason=hidden(row.reason),  # may quote the row
            excerpt=hidden(row.excerpt),
        )
        self.dropped[row.kind] += 1
        if len(self._dropped_rows) < _DROPPED_SHOWN:
            self._dropped_rows.append(shown)
        return shown

    def see_keys(self, row: Mapping[str, Any]) -> None:
        """Count the keys of a source row."""
        keys = self._keys
        for name, value in row.items():
            key = name[:_KEY_CHARACTERS]
            types = keys.get(key)
            if types is None:
                if len(keys) >= _KEYS:
                    continue
                types = keys[key] = Counter()
            if value is not None:
                types[type(value)] += 1

    def keep(self, row: Row, id_: str) -> None:
        """Count a good row."""
        self._shapes[_SHAPES[type(row)]] += 1
        if isinstance(row, Chat):
            self._roles.update(message.role for message in row.messages)
            self._characters += sum(len(message.content) for message in row.messages)
        elif not isinstance(row, Tokens):
            self._characters += sum(map(len, said(row).all))
        if len(self._samples) < _SAMPLES:
            self._samples.append({"id": id_, "messages": _shown(row)})

    def keep_plain(self, chat: PlainChat, id_: str) -> None:
        """Count a good plain chat, as :meth:`keep` would."""
        roles = self._roles
        self._plain_chats += 1
        characters = 0
        for turn in chat.messages:
            roles[turn.role] += 1
            characters += len(turn.content)
        self._characters += characters
        if len(self._samples) < _SAMPLES:
            messages = [Message(content=turn.content, role=turn.role) for turn in chat.messages]
            self._samples.append({"id": id_, "messages": _shown(Chat(messages))})

    def report(self, rows: RowWriter) -> IngestReport:
        """The report, when all rows have been written to ``rows``."""
        shapes = self._shapes + Counter(chat=self._plain_chats)
        return IngestReport(
            files=dict(self.files),
            rows_read=self.files.total(),
            rows_kept=rows.rows,
            dropped=dict(self.dropped),
            dropped_rows=self._dropped_rows,
            sensitive=dict(self.finds.most_common()),
            digest=rows.digest,
            shapes=dict(shapes),
            source_keys=self._source_keys(),
            characters=self._characters,
            turns=self._roles.total(),
            roles=dict(self._roles),
            samples=self._samples,
        )

    def _source_keys(self) -> dict[str, SourceKey]:
        keys = {key: Counter(types) for key, types in self._keys.items()}
        if self.plain_lines:
            keys.setdefault("messages", Counter())[list] += self.plain_lines
        return {
            key: SourceKey(
                rows=types.total(),
                types=sorted({_JSON_TYPES.get(type_, type_.__name__) for type_ in types}),
            )
            for key, types in keys.items()
        }


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
