"""The row files that ft-assets itself writes: one ``{"id":…,"messages":[…]}`` per line.

Belongs here: reading and writing those lines, and the digest that names their content. A file
appears under its name when it is complete, not before.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One line of a row file."""

    id: str
    """64 hexadecimal characters: :func:`ft_assets.data.canonical.row_id` of the chat."""
    messages: list[dict[str, str]]
    line: bytes
    """The line as it stands in the file, with its newline."""


class RowWriter:
    """Writes rows and knows how many there were and what their digest is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    @property
    def digest(self) -> str:
        """SHA-256 over the lines so far, as 64 hexadecimal characters; the order counts."""
        return self._hash.hexdigest()

    def write(self, line: bytes) -> None:
        """Append one line, newline included."""
        self._file.write(line)
        self._hash.update(line)
        self.rows += 1
        self.bytes += len(line)


@contextmanager
def writing(path: Path) -> Generator[RowWriter]:
    """A writer for ``path``, which appears when the block ends well and not at all otherwise."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb", buffering=1024 * 1024) as file:
            yield RowWriter(file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def row_line(row_id: str, canonical: bytes) -> bytes:
    """The line of a row, from its id and its canonical bytes (``{"messages":[…]}``)."""
    return b'{"id":"%b",%b\n' % (row_id.encode(), canonical[1:])


def json_line(value: dict[str, Any]) -> bytes:
    """A line of the files beside the rows (``dropped.jsonl``, ``near_duplicates.jsonl``)."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def read_rows(path: Path) -> Iterator[StoredRow]:
    """The rows of a row file in order, one at a time.

    Raises:
        UserError: there is no such file, or a line is not a row of ft-assets.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such row file: make the raw dataset first")
    with path.open("rb", buffering=1024 * 1024) as file:
        for number, line in enumerate(file, 1):
            yield parse_row(line, f"{path.name}, row {number}")


def parse_row(line: bytes, where: str) -> StoredRow:
    """One line of a row file; ``where`` names it in the error message."""
    try:
        value = orjson.loads(line)
        return StoredRow(value["id"], value["messages"], line)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: not a row that ft-assets wrote ({error!r}): make the raw dataset again"
        ) from error
