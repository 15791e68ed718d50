"""The row files that ft-assets itself writes: one row per line, as ``{"id":…,SHAPE}``.

SHAPE is one of :mod:`ft_assets.data.shapes`; ``group`` and ``stratum`` follow it where the split
asks for them.

Belongs here: reading and writing those lines, and the digest that names their content. A file
appears under its name when it is complete, not before.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import orjson

from ft_assets.data.shapes import Chat, Message, Segment, Segments, Text, Tokens
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from ft_assets.data.shapes import Row


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One line of a row file."""

    id: str
    """64 hexadecimal characters: :func:`ft_assets.data.canonical.row_id` of the row."""
    row: Row
    line: bytes
    """The line as it stands in the file, with its newline."""
    group: str | None = None
    """Rows of one group are on one side of the split; only where ``dataset.group_by`` is set."""
    stratum: str | None = None
    """The sides of each stratum are counted by themselves, and a row's hash divides each by about
    the same ratio; only where ``dataset.stratify_by`` is set."""


class _Line(msgspec.Struct):
    """The keys of a line; which of them are there says which shape the row has."""

    id: str
    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    segments: list[Segment] | None = None
    text: str | None = None
    input_ids: list[int] | None = None
    labels: list[int] | None = None
    group: str | None = None
    stratum: str | None = None

    @property
    def row(self) -> Row:
        if self.messages is not None:
            return Chat(self.messages, self.tools)
        if self.segments is not None:
            return Segments(self.segments)
        if self.text is not None:
            return Text(self.text)
        if self.input_ids is not None and self.labels is not None:
            return Tokens(self.input_ids, self.labels)
        raise msgspec.ValidationError("no shape of a row")


_decode = msgspec.json.Decoder(_Line).decode


_BLOCK = 512 * 1024  # bytes, which are then passed on
_PASSED_ON = 4 * 1024 * 1024  # bytes that wait to be written


class RowWriter:
    """Writes rows and knows how many there were and what their digest is.

    Blocks are hashed and written by a thread, which needs no lock of the interpreter for it; only
    so many of them wait for it, so that memory stays constant.
    """

    def __init__(self, file: BinaryIO, thread: ThreadPoolExecutor) -> None:
        self._file = file
        self._thread = thread
        self._hash = hashlib.sha256()
        self._waiting = bytearray()
        self._passed_on: deque[tuple[int, Future[None]]] = deque()
        self._size_passed_on = 0
        self.rows = 0
        self.bytes = 0

    @property
    def digest(self) -> str:
        """SHA-256 over the lines so far, as 64 hexadecimal characters; the order counts."""
        self.flush()
        return self._hash.hexdigest()

    def write(self, line: bytes) -> None:
        """Append one line, newline included."""
        self.write_many(line, 1)

    def write_many(self, lines: bytes, rows: int) -> None:
        """Append whole lines that are in one piece already."""
        self.rows += rows
        self.bytes += len(lines)
        if len(lines) >= _BLOCK:  # as they are, not copied
            self._pass_on_waiting()
            self._pass_on(lines)
            return
        self._waiting += lines
        if len(self._waiting) >= _BLOCK:
            self._pass_on_waiting()

    def flush(self) -> None:
        """Hash and hand to the file what was written so far; what went wrong with it raises."""
        self._pass_on_waiting()
        self._settle(0)

    def _pass_on_waiting(self) -> None:
        if self._waiting:
            self._pass_on(self._waiting)
            self._waiting = bytearray()

    def _pass_on(self, block: bytes | bytearray) -> None:
        self._settle(_PASSED_ON)
        self._passed_on.append((len(block), self._thread.submit(self._put, block)))
        self._size_passed_on += len(block)

    def _settle(self, most: int) -> None:
        """Wait until at most so many bytes wait to be written."""
        while self._size_passed_on > most:
            size, written = self._passed_on.popleft()
            self._size_passed_on -= size
            written.result()

    def _put(self, block: bytes | bytearray) -> None:
        self._hash.update(block)
        self._file.write(block)


@contextmanager
def writing(path: Path) -> Generator[RowWriter]:
    """A writer for ``path``, which appears when the block ends well and not at all otherwise."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file, ThreadPoolExecutor(1) as thread:
            writer = RowWriter(file, thread)
            yield writer
            writer.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def row_line(
    row_id: str, canonical: bytes, *, group: str | None = None, stratum: str | None = None
) -> bytes:
    """The line of a row, from its id and its canonical bytes (``{"messages":[…]}``)."""
    if group is None and stratum is None:
        return b'{"id":"%b",%b\n' % (row_id.encode(), canonical[1:])
    beside = {"group": group, "stratum": stratum}
    more = orjson.dumps({name: text for name, text in beside.items() if text is not None})
    return b'{"id":"%b",%b,%b\n' % (row_id.encode(), canonical[1:-1], more[1:])


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
        value = _decode(line)
        return StoredRow(value.id, value.row, line, value.group, value.stratum)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{where}: not a row that ft-assets wrote ({error}): make the raw dataset again"
        ) from error
