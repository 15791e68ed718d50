"""From data files to the raw dataset: every row checked, written in one form, and counted.

Belongs here: what happens to good and to bad rows. Does not belong here: fetching the files,
reading their formats (:mod:`~ft_assets.data.rows`), what a valid row is
(:mod:`~ft_assets.data.formats`), what is counted (:mod:`~ft_assets.data.ingest_report`),
duplicates (:mod:`~ft_assets.data.split`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from ft_assets.data.canonical import canonical_bytes, id_of
from ft_assets.data.fast_rows import PlainChat, plain_bytes, plain_line, plain_row
from ft_assets.data.formats import RowError, RowFormat, normalize
from ft_assets.data.ingest_report import IngestReport, Tally
from ft_assets.data.redaction import excerpt, excerpt_of_row
from ft_assets.data.row_files import json_line, row_line, writing
from ft_assets.data.rows import BadRow, RawRow, iter_rows, iter_rows_or
from ft_assets.data.sensitive import may_hold, scan
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ft_assets.data.ingest_report import DroppedRow
    from ft_assets.data.sensitive import Scanned
    from ft_assets.data.shapes import Row

__all__ = ["DROPPED_FILE", "ROWS_FILE", "IngestReport", "OnSensitive", "ingest"]

OnSensitive = Literal["ignore", "warn", "drop", "redact"]

ROWS_FILE = "rows.jsonl"
DROPPED_FILE = "dropped.jsonl"

_PLAIN = RowFormat()


def ingest(
    files: Sequence[tuple[str, Path]],
    out_dir: Path,
    *,
    options: RowFormat = _PLAIN,
    on_bad_rows: Literal["fail", "drop"],
    max_bad_rows: int | None,
    group_by: str | None = None,
    stratify_by: str | None = None,
    may_lack: bool = False,
    sensitive: OnSensitive = "ignore",
) -> IngestReport:
    """Check every row of ``files`` and write ``rows.jsonl`` and ``dropped.jsonl`` to ``out_dir``.

    Args:
        files: pairs of the name the user knows a file by, and where it lies.
        out_dir: the folder to write to; made when it does not exist. A failed call leaves neither
            file behind.
        options: how the rows are to be read.
        on_bad_rows: ``fail`` at the first bad row, or ``drop`` bad rows and count them.
        max_bad_rows: with ``drop``, how many bad rows may be dropped; None means any number.
        group_by: the key of a source row whose value goes into the written row as its group; a row
            without it is bad.
        stratify_by: as ``group_by``, for the stratum.
        may_lack: rows may lack these two keys: a held-out set of the user's own often does.
        sensitive: what becomes of keys, tokens and mail addresses: not looked for, counted alone,
            their rows dropped (these never fail the call, whatever ``on_bad_rows`` and
            ``max_bad_rows`` say), or replaced by the names of their rules.

    Raises:
        UserError: a file cannot be read, a row is bad and ``on_bad_rows`` is ``fail``, there are
            more bad rows than allowed, or no row is valid.
    """
    if not files:
        raise UserError("the dataset has no files: check dataset.uri")
    limit = 0 if on_bad_rows == "fail" else max_bad_rows
    reader = _Reader(options, group_by, stratify_by, may_lack, sensitive)
    tally = Tally()
    with (
        writing(out_dir / ROWS_FILE) as rows,
        writing(out_dir / DROPPED_FILE) as dropped,
    ):
        for name, path in files:
            for item in reader.read(name, path, tally):
                tally.files[name] += 1
                if isinstance(item, BadRow):
                    shown = tally.drop(name, item)
                    _refuse_too_many(tally, limit, shown, on_bad_rows)
                    dropped.write(json_line(shown.model_dump()))
                else:
                    rows.write(item)
        if rows.rows == 0:
            raise UserError(
                f"none of the {tally.files.total()} rows of {', '.join(tally.files)} is valid "
                f"({tally.reasons}): rows hold messages ([{{role, content}}]), conversations, "
                "instruction and output, segments, text or input_ids: see dataset.format"
            )
        return tally.report(rows)


@dataclass(frozen=True)
class _Reader:
    """Makes the lines of ``rows.jsonl`` from the rows of a file."""

    options: RowFormat
    group_by: str | None
    stratify_by: str | None
    may_lack: bool
    sensitive: OnSensitive

    def read(self, name: str, path: Path, tally: Tally) -> Iterator[bytes | BadRow]:
        """One line, or what is wrong, per row of the file."""
        # What is plain as a chat may be something else with options.
        may_be_plain = self.options == _PLAIN
        needs_source = self.group_by is not None or self.stratify_by is not None
        if not may_be_plain or needs_source:
            for row in iter_rows(path, name):
                yield row if isinstance(row, BadRow) else self._line(row, tally)
            return
        known = plain_line if self.sensitive == "ignore" else _harmless_line
        for row in iter_rows_or(path, name, known):
            if isinstance(row, PlainChat):
                tally.plain_lines += 1
                yield _plain_line(row, tally)
            elif isinstance(row, BadRow):
                yield row
            elif (plain := plain_row(row.value)) is not None and self._is_harmless(plain):
                tally.see_keys(row.value)
                yield _plain_line(plain, tally)
            else:
                yield self._line(row, tally)

    def _line(self, raw: RawRow, tally: Tally) -> bytes | BadRow:
        """The general way."""
        tally.see_keys(raw.value)
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
            tally.finds.update(found.finds)
            if self.sensitive == "drop":
                return _dropped(raw, found)
            if self.sensitive == "redact":
                row, canonical = found.row, canonical_bytes(found.row)
        id_ = id_of(canonical)
        tally.keep(row, id_)
        return row_line(id_, canonical, group=group, stratum=stratum)

    def _is_harmless(self, chat: PlainChat) -> bool:
        return self.sensitive == "ignore" or not may_hold(plain_bytes(chat))

    def _beside(self, raw: RawRow, key: str | None, option: str, kind: str) -> str | None:
        """The group or the stratum of a row; None where none is asked for."""
        if key is None or (self.may_lack and _is_missing(raw.value.get(key))):
            return None
        return _value(raw.value, key, option, kind)


def _harmless_line(line: bytes) -> PlainChat | None:
    """A plain chat that needs no scan; the general way scans the others."""
    chat = plain_line(line)
    if chat is None or may_hold(plain_bytes(chat) if b"\\u" in line else line):
        return None
    return chat


def _plain_line(chat: PlainChat, tally: Tally) -> bytes:
    canonical = plain_bytes(chat)
    id_ = id_of(canonical)
    tally.keep_plain(chat, id_)
    return row_line(id_, canonical)


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


def _refuse_too_many(tally: Tally, limit: int | None, row: DroppedRow, on_bad_rows: str) -> None:
    bad = tally.dropped.total() - tally.dropped["sensitive"]  # these the user asked to drop
    if limit is None or row.kind == "sensitive" or bad <= limit:
        return
    start = "" if row.offset is None else f" (the row starts at byte {row.offset})"
    where = f"{row.file}, row {row.row}: {row.reason}{start}"
    if on_bad_rows == "fail":
        raise UserError(f"{where}; fix the row or set dataset.on_bad_rows: drop")
    raise UserError(
        f"{where}; this is bad row {bad} ({tally.reasons}) and "
        f"dataset.max_bad_rows is {limit}: fix the rows or raise it"
    )
