"""From source rows to the lines of the raw dataset, a part of a file at a time.

A part may be checked in another process (:mod:`~ft_assets.data.check_workers`), so this module
imports little, and what is known of a part does not depend on the rows before it.

Belongs here: what happens to one row. Does not belong here: reading files
(:mod:`~ft_assets.data.rows`), what a valid row is (:mod:`~ft_assets.data.formats`), what bad rows
lead to (:mod:`~ft_assets.data.ingest`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

import orjson

from ft_assets.data.canonical import canonical_bytes, id_of, ids_of_chats
from ft_assets.data.fast_rows import (
    Looked,
    lines_looked_at,
    looked_at,
    plain_bytes,
    plain_messages,
    row_looked_at,
)
from ft_assets.data.formats import RowError, RowFormat, normalize
from ft_assets.data.redaction import excerpt, excerpt_of_row
from ft_assets.data.row_counts import RowCounts
from ft_assets.data.row_files import row_line
from ft_assets.data.rows import BadRow, RawRow
from ft_assets.data.sensitive import may_hold, scan
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ft_assets.data.fast_rows import PlainChat
    from ft_assets.data.line_files import LineWriter
    from ft_assets.data.sensitive import Scanned
    from ft_assets.data.shapes import Row

OnSensitive = Literal["ignore", "warn", "drop", "redact"]

PLAIN = RowFormat()

_PART = 2 * 1024 * 1024  # bytes of lines, beyond which the next part begins
_BAD = 1024  # what a bad row counts for


class Elsewhere(Protocol):
    """Lines that another process holds."""

    @property
    def size(self) -> int:
        """Their bytes."""
        ...

    def write_at(self, begin: int) -> None:
        """Have them written into the rows' file, from this byte on."""
        ...


@dataclass
class Part:
    """What some rows, one after the other, came to."""

    counts: RowCounts
    lines: bytes = b""
    """Those of the good rows, ready to be written."""
    good: int = 0
    bad: list[BadRow] = field(default_factory=list[BadRow])
    elsewhere: Elsewhere | None = None
    """Who holds the lines, where they are not here."""

    def write_to(self, rows: LineWriter) -> None:
        """Append the lines, whoever holds them."""
        if self.elsewhere is None:
            rows.write_many(self.lines, self.good)
        else:
            self.elsewhere.write_at(rows.room_for(self.elsewhere.size, self.good))

    def moved(self, lines: int, offset: int) -> Part:
        """The part, when so many lines and bytes of the file stand before its own."""
        bad = [
            replace(row, number=row.number + lines, offset=(row.offset or 0) + offset)
            for row in self.bad
        ]
        return replace(self, bad=bad)


@dataclass(frozen=True)
class Checker:
    """Makes lines from rows. The options of :func:`ft_assets.data.ingest.ingest`."""

    options: RowFormat = PLAIN
    group_by: str | None = None
    stratify_by: str | None = None
    may_lack: bool = False
    sensitive: OnSensitive = "ignore"

    @property
    def known(self) -> Callable[[bytes], Looked | None]:
        """What makes plain chats of lines, where what is plain as a chat is nothing else."""
        beside = self.group_by is not None or self.stratify_by is not None
        if self.options != PLAIN or beside:
            return _none_known
        return looked_at if self.sensitive == "ignore" else _harmless

    @property
    def all_known(self) -> Callable[[bytes], Looked | None]:
        """What makes plain chats of many lines, as :attr:`known` does of each; or does not try."""
        return lines_looked_at if self.known is looked_at else _none_known

    def parts(self, rows: Iterable[Looked | RawRow | BadRow], samples: int) -> Iterator[Part]:
        """The rows in parts of a bounded size.

        Args:
            rows: those of :func:`ft_assets.data.rows.iter_rows_or` with :attr:`known`, and what
                :attr:`all_known` gives.
            samples: how many of the first rows are kept as samples.

        Raises:
            UserError: what ``rows`` raises, after a part with the rows before it.
        """
        may_be_plain = self.known is not _none_known
        part = _Growing(RowCounts(samples))
        try:
            for row in rows:
                if isinstance(row, Looked):
                    part.counts.plain_lines += len(row.chats)
                    part.add_plain(row)
                elif isinstance(row, BadRow):
                    part.add_bad(row)
                else:
                    self._check(row, part, may_be_plain=may_be_plain)
                if part.size >= _PART:
                    yield part.done()
                    part = _Growing(RowCounts(samples - len(part.counts.samples)))
        except UserError:
            yield part.done()
            raise
        yield part.done()

    def _check(self, raw: RawRow, part: _Growing, *, may_be_plain: bool) -> None:
        """A parsed row: also a plain chat that holds metadata."""
        part.counts.see_keys(raw.value)
        if may_be_plain:
            looked = row_looked_at(raw.value)
            if looked is not None and self._is_harmless(looked.chats[0]):
                part.add_plain(looked)
                return
        made = self._line(raw, part.counts)
        if isinstance(made, BadRow):
            part.add_bad(made)
        else:
            part.add_line(made)

    def _line(self, raw: RawRow, counts: RowCounts) -> bytes | BadRow:
        """The general way."""
        try:
            row: Row = normalize(raw.value, self.options)
            group = self._beside(raw, self.group_by, "group_by", "no_group")
            stratum = self._beside(raw, self.stratify_by, "stratify_by", "no_stratum")
            canonical = canonical_bytes(row)
            found = scan(row) if self.sensitive != "ignore" and may_hold(canonical) else None
        except RowError as error:
            return _bad(raw, error.kind, str(error))
        except RecursionError:
            return _bad(raw, "too_deep", "its objects are nested too deeply: flatten them")
        if found is not None:
            counts.finds.update(found.finds)
            if self.sensitive == "drop":
                return _dropped(raw, found)
            if self.sensitive == "redact":
                row, canonical = found.row, canonical_bytes(found.row)
        id_ = id_of(canonical)
        counts.keep(row, id_)
        return row_line(id_, canonical, group=group, stratum=stratum)

    def _is_harmless(self, chat: PlainChat) -> bool:
        return self.sensitive == "ignore" or not may_hold(plain_bytes(chat))

    def _beside(self, raw: RawRow, key: str | None, option: str, kind: str) -> str | None:
        """The group or the stratum of a row; None where none is asked for."""
        if key is None or (self.may_lack and _is_missing(raw.value.get(key))):
            return None
        return _value(raw.value, key, option, kind)


class _Growing:
    """A part to which rows are added."""

    def __init__(self, counts: RowCounts) -> None:
        self.counts = counts
        self.size = 0
        self._pieces: list[bytes] = []
        self._good = 0
        self._bad: list[BadRow] = []
        self._patterns: dict[str, int] = {}
        self._characters = 0

    def add_plain(self, looked: Looked) -> None:
        """Add plain chats: most rows are these, so what is done for each is little."""
        messages = [plain_messages(chat) for chat in looked.chats]
        ids = ids_of_chats(messages)
        for id_, turns in zip(ids, messages, strict=True):
            # What row_line makes, but copied once: where the pieces of all rows are joined.
            self._pieces += (b'{"id":"', id_, b'","messages":', turns, b"}\n")
        self._good += len(ids)
        self.size += sum(map(len, messages))
        for roles, chats in looked.patterns.items():
            self._patterns[roles] = self._patterns.get(roles, 0) + chats
        self._characters += looked.characters
        wanted = self.counts.wanted - len(self.counts.samples)
        for chat, id_ in islice(zip(looked.chats, ids, strict=True), wanted):
            self.counts.show_plain(chat, id_.decode())

    def add_line(self, line: bytes) -> None:
        self._pieces.append(line)
        self._good += 1
        self.size += len(line)

    def add_bad(self, row: BadRow) -> None:
        self._bad.append(row)
        self.size += _BAD

    def done(self) -> Part:
        self.counts.keep_plain(self._patterns, self._characters)
        return Part(self.counts, b"".join(self._pieces), self._good, self._bad)


def _none_known(_: bytes) -> None:
    """Leaves every line to the general way."""


def _harmless(line: bytes) -> Looked | None:
    """A plain chat that needs no scan; the general way scans the others."""
    looked = looked_at(line)
    if looked is None or may_hold(plain_bytes(looked.chats[0]) if b"\\u" in line else line):
        return None
    return looked


def _bad(raw: RawRow, kind: str, reason: str) -> BadRow:
    return BadRow(raw.number, raw.offset, kind, reason, excerpt_of_row(raw.value))


def _dropped(raw: RawRow, found: Scanned) -> BadRow:
    shown = excerpt(canonical_bytes(found.row).decode())
    return BadRow(raw.number, raw.offset, "sensitive", found.where, shown)


def _is_missing(value: object) -> bool:
    """Null, or NaN, which is how pandas writes a missing value down."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _value(row: Mapping[str, Any], key: str, option: str, kind: str) -> str:
    """The value of the row's ``key`` as text."""
    value = row.get(key)
    if isinstance(value, str):
        return value
    if _is_missing(value):
        value = None
    if isinstance(value, bool | int | float) and abs(value) != math.inf:  # JSON has no infinity
        return orjson.dumps(value).decode()
    found = "missing or null" if value is None else f"a {type(value).__name__}"
    found = "infinite" if isinstance(value, float) else found
    raise RowError(
        kind,
        f"{key!r}, which dataset.{option} names, is {found}: "
        "give every row a text, a number, true or false",
    )
