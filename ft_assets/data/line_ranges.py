"""A file of lines in ranges of whole lines, and what the rows of a range come to.

Belongs here: what can be done to one range whatever stands before it, and by whomever. Does not
belong here: who does it (:mod:`~ft_assets.data.check_workers`), what happens to one row
(:mod:`~ft_assets.data.checked_rows`).
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from ft_assets.data.rows import line_rows
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ft_assets.data.checked_rows import Checker, Part
    from ft_assets.data.fast_rows import Looked
    from ft_assets.data.rows import BadRow, RawRow

RANGE = 1024 * 1024
"""Bytes that a range has at least, where the file does not end before."""

GIANT = 4 * 1024 * 1024
"""A larger range, in bytes, holds a giant line: one is read at a time, and by nobody but the
parent."""

_PIECE = 128 * 1024  # bytes
_LOOK = 16 * 1024  # bytes, in which the end of a line is looked for


class Range(NamedTuple):
    """Whole lines of a file, in bytes."""

    start: int
    size: int


def ranges(path: Path, begin: int) -> Iterator[Range]:
    """The file's lines from ``begin`` on."""
    with path.open("rb", buffering=0) as file:
        length = os.fstat(file.fileno()).st_size
        while begin < length:
            end = _end_of_line(file, begin + RANGE - 1, length)
            yield Range(begin, end - begin)
            begin = end


def _end_of_line(file: BinaryIO, place: int, length: int) -> int:
    """Where the line that holds this byte ends."""
    while place < length:
        file.seek(place)
        piece = file.read(_LOOK)
        if not piece:
            break
        found = piece.find(b"\n")
        if found >= 0:
            return place + found + 1
        place += len(piece)
    return length


def checked(checker: Checker, path: Path, range_: Range, samples: int) -> tuple[list[Part], int]:
    """The parts of a range, and the lines in it.

    Raises:
        UserError: the file became shorter meanwhile.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(range_.start)
        block = file.read(range_.size)
    if len(block) < range_.size:
        raise _shorter(path)
    lines = 0

    def rows() -> Iterator[Looked | RawRow | BadRow]:
        nonlocal lines
        begin = 0
        for piece in _pieces(block):
            known = checker.all_known(piece)
            if known is None:  # and it is likely so with the next piece
                break
            yield known
            lines += len(known.chats)
            begin += len(piece)
        rest = io.BytesIO(block)
        rest.seek(begin)
        lines = yield from line_rows(rest, range_.size, checker.known, number=lines, offset=begin)

    return list(checker.parts(rows(), samples)), lines


def _pieces(block: bytes) -> Iterator[bytes]:
    """Whole lines, as many as a processor's cache holds when they are rows."""
    begin = 0
    while begin < len(block):
        end = block.find(b"\n", begin + _PIECE) + 1 or len(block)
        yield block[begin:end]
        begin = end


def giant_parts(
    checker: Checker, path: Path, range_: Range, samples: int
) -> tuple[Iterator[Part], int]:
    """As :func:`checked`, but the range is not held in memory."""

    def parts() -> Iterator[Part]:
        with path.open("rb", buffering=RANGE) as file:
            file.seek(range_.start)
            stream = cast("io.BufferedReader", file)
            yield from checker.parts(line_rows(stream, range_.size, checker.known), samples)

    lines = 0
    with path.open("rb", buffering=0) as file:
        file.seek(range_.start)
        left = range_.size
        while left and (piece := file.read(min(RANGE, left))):
            lines += piece.count(b"\n")
            left -= len(piece)
    if left:
        raise _shorter(path)
    return parts(), lines


def _shorter(path: Path) -> UserError:
    return UserError(f"{path.name}: the file became shorter while it was read: run it again")
