"""What is said about a data drop after its rows went by: numbers, and a few rows to look at.

Belongs here: the report. Does not belong here: counting good rows
(:mod:`ft_assets.data.row_counts`), deciding what a good row is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ft_assets.data.fast_rows import ROLE_OF
from ft_assets.data.row_counts import SHAPES, RowCounts
from ft_assets.data.sensitive import hidden
from resources.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ft_assets.data.checked_rows import Part
    from ft_assets.data.rows import BadRow

_DROPPED_SHOWN = 20
_JSON_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
}


class DroppedRow(Record):
    """One row that was left out; a line of ``dropped.jsonl``."""

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


class SourceKey(Record):
    """A key at the top of the source rows."""

    rows: int
    """How many rows have it with something other than null."""
    types: list[str]
    """The JSON types of its values, null left out."""


class IngestReport(Record):
    """What became of the rows of a data drop."""

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
    digest: str | None = None
    """SHA-256 of ``rows.jsonl``: what its lines hold and their order. Whoever publishes the file
    reads it anyhow, and says it then."""
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
    rows: RowCounts = field(default_factory=RowCounts)
    _dropped_rows: list[DroppedRow] = field(default_factory=list[DroppedRow])

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

    def add(self, file: str, part: Part) -> None:
        """Count the rows of a part; :meth:`drop` counts why the bad ones are bad."""
        self.files[file] += part.good + len(part.bad)
        self.rows.add(part.counts)

    def samples_wanted(self) -> int:
        """How many more rows there is room for in the report."""
        return self.rows.wanted - len(self.rows.samples)

    def report(self) -> IngestReport:
        """The report, when all rows have gone by."""
        counts = self.rows
        return IngestReport(
            files=dict(self.files),
            rows_read=self.files.total(),
            rows_kept=self.files.total() - self.dropped.total(),
            dropped=dict(self.dropped),
            dropped_rows=self._dropped_rows,
            sensitive=dict(counts.finds.most_common()),
            shapes=_in_order(counts.shapes, SHAPES.values()),
            source_keys=_source_keys(counts),
            characters=counts.characters,
            turns=counts.roles.total(),
            roles=_in_order(counts.roles, ROLE_OF.values()),
            samples=counts.samples,
        )


def _in_order(counts: Counter[str], names: Iterable[str]) -> dict[str, int]:
    return {name: counts[name] for name in names if name in counts}


def _source_keys(counts: RowCounts) -> dict[str, SourceKey]:
    keys = {key: Counter(types) for key, types in counts.keys.items()}
    if counts.plain_lines:
        keys.setdefault("messages", Counter())[list] += counts.plain_lines
    return {
        key: SourceKey(
            rows=types.total(),
            types=sorted({_JSON_TYPES.get(type_, type_.__name__) for type_ in types}),
        )
        for key, types in keys.items()
    }
