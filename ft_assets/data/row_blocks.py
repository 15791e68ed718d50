"""Row files in blocks of lines, for work that needs a row's id but not what the row says.

The id stands at a fixed place in the line (:mod:`~ft_assets.data.row_files`), so nothing is parsed.
Memory: one block, or the longest line where that is longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

    from ft_assets.data.digest_set import Keys, Mask

_BLOCK = 2 * 1024 * 1024  # bytes
_BEFORE_ID, _ID, _AFTER_ID = b'{"id":"', 64, b'",'
_HEAD = np.dtype(
    [("before", f"S{len(_BEFORE_ID)}"), ("id", f"S{_ID}"), ("after", f"S{len(_AFTER_ID)}")]
)
"""How each line begins."""
_NEWLINE = ord("\n")


class Beside(msgspec.Struct, forbid_unknown_fields=True):
    """What a line says about its row, after the row."""

    group: str | None = None
    stratum: str | None = None


class RowBlock:
    """Some lines of a row file, valid until the next block is read."""

    def __init__(self, data: bytearray, length: int, file: str, first_row: int) -> None:
        self._data = data
        edges = np.array(_edges(data, length))
        self._starts, self._ends = edges[:-1], edges[1:]
        self._file = file
        self._first_row = first_row
        heads = _heads(data, self._starts)
        digests = _digests(heads)
        if digests is None:
            rows = range(len(self))
            raise self._refusal(next(row for row in rows if _digests(heads[row : row + 1]) is None))
        self.ids: list[bytes] = heads["id"].tolist()
        """The 64 hexadecimal characters of each row."""
        self.digests: Keys = np.frombuffer(digests, ">u8").reshape(-1, 4)[:, :2].astype(np.uint64)
        """The first 16 bytes of each row's id."""

    def __len__(self) -> int:
        return len(self._ends)

    def lines(self, chosen: Mask) -> bytes:
        """The chosen lines, in order and in one piece."""
        edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
        begins = self._starts[edges[0::2]].tolist()
        ends = self._ends[edges[1::2] - 1].tolist()
        with memoryview(self._data) as data:
            return b"".join([data[begin:end] for begin, end in zip(begins, ends, strict=True)])

    def beside(self) -> list[Beside]:
        """What the end of each line says; only that end is parsed."""
        places = zip(self._starts.tolist(), self._ends.tolist(), strict=True)
        return [self._beside(start, end) for start, end in places]

    def _beside(self, start: int, end: int) -> Beside:
        # Quotes inside a string are escaped, so this is a key. It is the row's own and not one
        # inside of it when nothing but the end of the line follows its value.
        for key in (b',"group":"', b',"stratum":"'):
            place = self._data.rfind(key, start, end)
            if place >= 0:
                try:
                    return _decode_beside(b"{" + self._data[place + 1 : end])
                except msgspec.DecodeError:
                    continue
        return Beside()

    def refuse_without(self, row: int, key: str) -> UserError:
        """The error for a row that lacks its group or its stratum."""
        return UserError(
            f"{self._file}, row {self._first_row + row}: the row has no {key}: it was written "
            f"before the dataset asked for one: materialize raw_dataset again"
        )

    def _refusal(self, row: int) -> UserError:
        return UserError(
            f"{self._file}, row {self._first_row + row}: not a row that ft-assets wrote: "
            "materialize raw_dataset again"
        )


_decode_beside = msgspec.json.Decoder(Beside).decode


def _edges(data: bytearray, length: int) -> list[int]:
    """Where each line begins, and where the last one ends."""
    edges, end = [0], 0
    while end < length:
        end = data.find(_NEWLINE, end) + 1
        edges.append(end)
    return edges


def _heads(data: bytearray, starts: NDArray[np.int64]) -> NDArray[np.void]:
    """The beginnings of lines, in one piece.

    At the end of the data there may be less than a head: what is taken for one then begins before
    the line, and has the newline before it.
    """
    windows = np.ndarray(len(data) - _HEAD.itemsize + 1, f"V{_HEAD.itemsize}", data, strides=1)
    return windows[np.minimum(starts, len(windows) - 1)].view(_HEAD)


def _digests(heads: NDArray[np.void]) -> bytes | None:
    """The ids as bytes, 32 each; None when one of the heads is none of ours.

    There is no newline in one of ours, so that a line that is shorter than a head shows.
    """
    if not (np.all(heads["before"] == _BEFORE_ID) and np.all(heads["after"] == _AFTER_ID)):
        return None
    digits = heads["id"].tobytes()
    try:
        digests = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return None
    # It takes capitals, and spaces between bytes.
    return digests if digits == digits.lower() and len(digests) * 2 == len(digits) else None


def row_blocks(path: Path) -> Iterator[RowBlock]:
    """The rows of a row file in order.

    Raises:
        UserError: there is no such file, a line is not a row of ft-assets, or the last line is cut
            short.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such row file: materialize raw_dataset first")
    row = 1
    with path.open("rb", buffering=0) as file:
        for data, length in _whole_lines(file, path.name):
            block = RowBlock(data, length, path.name, row)
            row += len(block)
            yield block


def _whole_lines(file: FileIO, name: str) -> Iterator[tuple[bytearray, int]]:
    """A buffer, and how many of its bytes are whole lines; the buffer is used again."""
    buffer = bytearray(_BLOCK)
    filled = 0
    while read := _fill(file, buffer, filled):
        searched, filled = filled, filled + read
        length = buffer.rfind(b"\n", searched, filled) + 1
        if length:
            yield buffer, length
            rest = buffer[length:filled]
            buffer[: len(rest)] = rest
            filled = len(rest)
        elif filled == len(buffer):
            buffer = buffer + bytearray(len(buffer))  # the last block still looks at the old one
    if filled:
        raise UserError(f"{name}: the last line is cut short: materialize raw_dataset again")


def _fill(file: FileIO, buffer: bytearray, filled: int) -> int:
    with memoryview(buffer) as view, view[filled:] as room:
        return file.readinto(room)
