"""From data files to the raw dataset: every row checked, written in one form, and counted.

Belongs here: what happens to good and to bad rows. Does not belong here: fetching the files,
reading their formats (:mod:`~ft_assets.data.rows`), what a valid chat is
(:mod:`~ft_assets.data.messages`), duplicates (:mod:`~ft_assets.data.split`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.messages import Chat, RowError, normalize
from ft_assets.data.redaction import excerpt
from ft_assets.data.row_files import RowWriter, json_line, row_line, writing
from ft_assets.data.rows import BadRow, RawRow, iter_rows
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ROWS_FILE = "rows.jsonl"
DROPPED_FILE = "dropped.jsonl"

_SAMPLES = 3  # rows in the report
_SAMPLE_CHARACTERS = 200  # of each turn


class IngestReport(BaseModel):
    """What became of the rows of a data drop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, int]
    """Rows read per file, by the name the user gave."""
    rows_read: int
    rows_kept: int
    dropped: dict[str, int]
    """How many rows were dropped, by reason; the rows themselves are in ``dropped.jsonl``."""
    digest: str
    """SHA-256 over the lines of ``rows.jsonl``: what they hold and their order."""
    characters: int
    """Length of all turns together."""
    turns: int
    roles: dict[str, int]
    """Turns per role."""
    samples: list[dict[str, Any]]
    """The first rows, their turns shortened and redacted."""


@dataclass
class _Tally:
    """The numbers of the report while rows go by."""

    files: Counter[str] = field(default_factory=Counter[str])
    dropped: Counter[str] = field(default_factory=Counter[str])
    roles: Counter[str] = field(default_factory=Counter[str])
    characters: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def keep(self, chat: Chat, id_: str) -> None:
        self.roles.update(message.role for message in chat.messages)
        self.characters += sum(len(message.content) for message in chat.messages)
        if len(self.samples) < _SAMPLES:
            turns = [
                {"role": m.role, "content": excerpt(m.content, _SAMPLE_CHARACTERS)}
                for m in chat.messages
            ]
            self.samples.append({"id": id_, "messages": turns})


def ingest(
    files: Sequence[tuple[str, Path]],
    out_dir: Path,
    *,
    on_bad_rows: Literal["fail", "drop"],
    max_bad_rows: int | None,
) -> IngestReport:
    """Check every row of ``files`` and write ``rows.jsonl`` and ``dropped.jsonl`` to ``out_dir``.

    Args:
        files: pairs of the name the user knows a file by, and where it lies.
        out_dir: the folder to write to; made when it does not exist. A failed call leaves neither
            file behind.
        on_bad_rows: ``fail`` at the first bad row, or ``drop`` bad rows and count them.
        max_bad_rows: with ``drop``, how many bad rows may be dropped; None means any number.

    Raises:
        UserError: a file cannot be read, a row is bad and ``on_bad_rows`` is ``fail``, there are
            more bad rows than allowed, or no row is valid.
    """
    if not files:
        raise UserError("the dataset has no files: check dataset.uri")
    limit = 0 if on_bad_rows == "fail" else max_bad_rows
    tally = _Tally()
    with (
        writing(out_dir / ROWS_FILE) as rows,
        writing(out_dir / DROPPED_FILE) as dropped,
    ):
        for name, item in _checked(files):
            tally.files[name] += 1
            if isinstance(item, BadRow):
                tally.dropped[item.kind] += 1
                _refuse_too_many(tally, limit, name, item, on_bad_rows)
                dropped.write(_dropped_line(name, item))
            else:
                _write(rows, tally, item)
        if rows.rows == 0:
            raise UserError(
                f"none of the {tally.files.total()} rows of {', '.join(tally.files)} is valid "
                f"({_counts(tally.dropped)}): rows need 'messages' ([{{role, content}}]) or "
                "'conversations' ([{from, value}])"
            )
        return _report(tally, rows)


def _checked(files: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, Chat | BadRow]]:
    for name, path in files:
        for row in iter_rows(path, name):
            yield name, row if isinstance(row, BadRow) else _chat_or_bad(row)


def _chat_or_bad(row: RawRow) -> Chat | BadRow:
    try:
        return normalize(row.value)
    except RowError as error:
        shown = excerpt(orjson.dumps(row.value, default=repr).decode())
        return BadRow(row.number, error.kind, str(error), shown)


def _refuse_too_many(
    tally: _Tally, limit: int | None, name: str, row: BadRow, on_bad_rows: str
) -> None:
    if limit is None or tally.dropped.total() <= limit:
        return
    where = f"{name}, row {row.number}: {row.reason}"
    if on_bad_rows == "fail":
        raise UserError(f"{where}; fix the row or set dataset.on_bad_rows: drop")
    raise UserError(
        f"{where}; this is bad row {tally.dropped.total()} ({_counts(tally.dropped)}) and "
        f"dataset.max_bad_rows is {limit}: fix the rows or raise it"
    )


def _counts(dropped: Counter[str]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in dropped.most_common())


def _dropped_line(name: str, row: BadRow) -> bytes:
    return json_line(
        {
            "file": name,
            "row": row.number,
            "kind": row.kind,
            "reason": row.reason,
            "excerpt": row.excerpt,
        }
    )


def _write(rows: RowWriter, tally: _Tally, chat: Chat) -> None:
    id_ = row_id(chat)
    rows.write(row_line(id_, canonical_bytes(chat)))
    tally.keep(chat, id_)


def _report(tally: _Tally, rows: RowWriter) -> IngestReport:
    return IngestReport(
        files=dict(tally.files),
        rows_read=tally.files.total(),
        rows_kept=rows.rows,
        dropped=dict(tally.dropped),
        digest=rows.digest,
        characters=tally.characters,
        turns=tally.roles.total(),
        roles=dict(tally.roles),
        samples=tally.samples,
    )
