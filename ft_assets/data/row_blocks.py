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
_NEWLINE = 10
_BEFORE_ID, _ID, _AFTER_ID = b'{"id":"', 64, b'",'
_HEAD = len(_BEFORE_ID) + _ID + len(_AFTER_ID)
_NO_DIGIT = 255
_DIGITS = np.full(256, _NO_DIGIT, np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = range(16)


class Beside(msgspec.Struct, forbid_unknown_fields=True):
    """What a line says about its row, after the row."""

    group: str | None = None
    stratum: str | None = None


class RowBlock:
    """Some lines of a row file, valid until the next block is read."""

    def __init__(self, data: bytearray, length: int, file: str, first_row: int) -> None:
        array = np.frombuffer(data, np.uint8, length)
        self._data = data
        self._ends = np.flatnonzero(array == _NEWLINE) + 1
        self._starts = np.concatenate(([0], self._ends[:-1]))
        self._file = file
        self._first_row = first_row
        heads = self._heads(array)
        self.ids: list[bytes] = heads.view(f"S{_ID}").ravel().tolist()
        """The 64 hexadecimal characters of each row."""
        digits = _DIGITS[heads[:, :32]]
        digests = (digits[:, 0::2] << 4) | digits[:, 1::2]
        self.digests: Keys = digests.view(">u8").astype(np.uint64)
        """The first 16 bytes of each row's id."""

    def __len__(self) -> int:
        return len(self._ends)

    def _heads(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The characters of the ids, after a look at whether these are rows of ours."""
        too_short = self._ends - self._starts <= _HEAD
        if too_short.any():
            raise self._refusal(int(np.argmax(too_short)))
        heads = np.lib.stride_tricks.sliding_window_view(array, _HEAD)[self._starts]
        ids = heads[:, len(_BEFORE_ID) : len(_BEFORE_ID) + _ID]
        wrong = (_DIGITS[ids] == _NO_DIGIT).any(axis=1)
        wrong |= (heads[:, : len(_BEFORE_ID)] != np.frombuffer(_BEFORE_ID, np.uint8)).any(axis=1)
        wrong |= (heads[:, -len(_AFTER_ID) :] != np.frombuffer(_AFTER_ID, np.uint8)).any(axis=1)
        if wrong.any():
            raise self._refusal(int(np.argmax(wrong)))
        return np.ascontiguousarray(ids)

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
