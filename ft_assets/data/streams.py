"""The decoded bytes of a data file, plain or compressed with gzip or Zstandard.

Belongs here: decompression in constant memory, telling a cut-short file from a whole one, and
refusing a bomb. Does not belong here: what the bytes mean, which is :mod:`ft_assets.data.rows`.
"""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

COMPRESSIONS = (".gz", ".zst")

MAX_RATIO = 1000
"""Decoded bytes per compressed byte. Text has 3 to 20; gzip ends at 1,030, Zstandard at 32,000."""
FREE_BYTES = 64 * 1024 * 1024
"""So many decoded bytes may come out whatever the ratio is."""
MAX_DECODED_BYTES = 1024**4
"""Of one compressed file."""

_BUFFER = 1024 * 1024
_GZIP_CHUNK = 256 * 1024  # decoded bytes at a time
_ZSTD_CHUNK = 1024  # compressed bytes at a time: at most 32 MiB come out of them
_ZSTD_WINDOW = 128 * 1024 * 1024  # what `zstd` itself accepts without --long


class StreamError(Exception):
    """The compressed stream cannot be read on; the message says why and what to do."""


@contextmanager
def open_decoded(path: Path, name: str, compression: str) -> Generator[io.BufferedReader]:
    """The bytes of ``path`` after decompression.

    Args:
        path: the local file.
        name: what the user calls the file; error messages use it.
        compression: ``.gz``, ``.zst`` or the empty string.

    Raises:
        UserError: the file does not exist or is empty.
        StreamError: while it is read: the compressed stream is damaged, cut short, followed by
            something else, or expands beyond :data:`MAX_RATIO` or :data:`MAX_DECODED_BYTES`.
    """
    _require_content(path, name)
    with path.open("rb", buffering=_BUFFER) as file:
        if not compression:
            yield cast("io.BufferedReader", file)
            return
        decode = {".gz": _gzip_chunks, ".zst": _zstd_chunks}[compression]
        chunks = _bounded(decode(file), file, compression)
        with io.BufferedReader(_Chunks(chunks), _BUFFER) as stream:
            yield cast("io.BufferedReader", stream)


def _require_content(path: Path, name: str) -> None:
    if not path.exists():
        raise UserError(f"{name}: there is no such file: check the dataset's URI")
    if not path.is_file():
        raise UserError(f"{name}: not a file: name a file that holds rows")
    if path.stat().st_size == 0:
        raise UserError(f"{name}: the file is empty: it must hold at least one row")


def _bounded(chunks: Iterator[bytes], file: BinaryIO, compression: str) -> Iterator[bytes]:
    """The chunks, as long as they are plausible."""
    decoded = 0
    try:
        for chunk in chunks:
            decoded += len(chunk)
            _refuse_a_bomb(decoded, file.tell(), compression)
            yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise StreamError(
            f"the {compression} stream is damaged or cut short, or something follows its end, "
            f"after {decoded} decoded bytes ({error}): compress or fetch the file again"
        ) from error


def _refuse_a_bomb(decoded: int, compressed: int, compression: str) -> None:
    remedy = "if the file is sound, decompress it yourself and name the result"
    if decoded > FREE_BYTES and decoded > MAX_RATIO * compressed:
        raise StreamError(
            f"{compressed} bytes of the {compression} stream expand to more than {decoded} bytes, "
            f"which is beyond {MAX_RATIO} to 1 (a decompression bomb?): {remedy}"
        )
    if decoded > MAX_DECODED_BYTES:
        raise StreamError(
            f"the {compression} stream expands to more than {MAX_DECODED_BYTES} bytes: "
            f"divide the file, or, {remedy}"
        )


def _gzip_chunks(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as stream:
        while chunk := stream.read(_GZIP_CHUNK):
            yield chunk


def _zstd_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Decode frame by frame: zstandard's own stream reader takes a cut-short file for a whole one.

    Raises:
        EOFError: the last frame is not complete.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    while chunk := file.read(_ZSTD_CHUNK):
        while chunk:
            frame = frame or decompressor.decompressobj()
            if decoded := frame.decompress(chunk):
                yield decoded
            chunk = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the last frame has no end")


class _Chunks(io.RawIOBase):
    """An iterator of byte chunks as a raw stream, so that ``io`` finds the lines."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
