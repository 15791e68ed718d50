"""Files of lines, written by the way and there when they are complete.

Belongs here: how lines get into a file. Does not belong here: what the lines say.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future
    from pathlib import Path

_BLOCK = 512 * 1024  # bytes, which are then passed on


class LineWriter:
    """Writes lines, and knows how many there were.

    Blocks are written by a thread, which needs no lock of the interpreter for it. The next one
    waits until one is written, so that a slow disk takes time and not memory. Other processes may
    write lines too, into room that is left for theirs.
    """

    def __init__(self, path: Path, file: BinaryIO, thread: ThreadPoolExecutor) -> None:
        self.path = path
        """Where the file is while it is written."""
        self._file = file
        self._thread = thread
        self._waiting = bytearray()
        self._waiting_begin = 0
        self._passed_on: Future[None] | None = None
        self.rows = 0
        self.bytes = 0

    def write(self, line: bytes) -> None:
        """Append one line, newline included."""
        self.write_many(line, 1)

    def write_many(self, lines: bytes, rows: int) -> None:
        """Append whole lines that are in one piece already."""
        begin = self.bytes
        self.rows += rows
        self.bytes += len(lines)
        if len(lines) >= _BLOCK:  # as they are, not copied
            self._pass_on_waiting()
            self._pass_on(lines, begin)
            return
        if not self._waiting:
            self._waiting_begin = begin
        self._waiting += lines
        if len(self._waiting) >= _BLOCK:
            self._pass_on_waiting()

    def room_for(self, size: int, rows: int) -> int:
        """Leave room for lines of so many bytes, which come from elsewhere; where it begins."""
        self._pass_on_waiting()
        begin = self.bytes
        self.rows += rows
        self.bytes += size
        return begin

    def flush(self) -> None:
        """Hand to the file what was written so far; what went wrong with it raises."""
        self._pass_on_waiting()
        self._settle()

    def _pass_on_waiting(self) -> None:
        if self._waiting:
            self._pass_on(self._waiting, self._waiting_begin)
            self._waiting = bytearray()

    def _pass_on(self, block: bytes | bytearray, begin: int) -> None:
        self._settle()
        self._passed_on = self._thread.submit(self._put, block, begin)

    def _settle(self) -> None:
        """Wait until the block that was passed on is written."""
        if self._passed_on is not None:
            self._passed_on.result()
            self._passed_on = None

    def _put(self, block: bytes | bytearray, begin: int) -> None:
        if self._file.tell() != begin:  # behind room that was left
            self._file.seek(begin)
        self._file.write(block)


@contextmanager
def writing(path: Path) -> Generator[LineWriter]:
    """A writer for ``path``, which appears when the block ends well and not at all otherwise."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file, ThreadPoolExecutor(1) as thread:
            writer = LineWriter(partial, file, thread)
            yield writer
            writer.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
