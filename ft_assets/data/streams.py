"""The decoded bytes of a data file, plain or compressed with gzip or Zstandard.

Belongs here: decompression in constant memory, and telling a cut-short file from a whole one. Does
not belong here: what the bytes mean, which is :mod:`ft_assets.data.rows`.
"""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

COMPRESSIONS = (".gz", ".zst")
_CHUNK = 16 * 1024  # compressed bytes at a time: a run of zeros expands some 30,000-fold
_BUFFER = 1024 * 1024


@contextmanager
def open_decoded(path: Path, name: str, compression: str) -> Generator[io.BufferedReader]:
    """The bytes of ``path`` after decompression.

    Args:
        path: the local file.
        name: what the user calls the file; error messages use it.
        compression: ``.gz``, ``.zst`` or the empty string.

    Raises:
        UserError: the file does not exist or is empty; or, while it is read, the compressed stream
            is damaged or cut short.
    """
    _require_content(path, name)
    try:
        with path.open("rb") as file, closing(_decoder(file, compression)) as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise UserError(
            f"{name}: the {compression} stream is damaged or cut short ({error}): "
            "compress or fetch the file again"
        ) from error


def _require_content(path: Path, name: str) -> None:
    if not path.exists():
        raise UserError(f"{name}: there is no such file: check the dataset's URI")
    if not path.is_file():
        raise UserError(f"{name}: not a file: name a file that holds rows")
    if path.stat().st_size == 0:
        raise UserError(f"{name}: the file is empty: it must hold at least one row")


def _decoder(file: BinaryIO, compression: str) -> io.BufferedReader:
    match compression:
        case "":
            return cast("io.BufferedReader", file)
        case ".gz":
            return io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=file)), _BUFFER)
        case ".zst":
            return io.BufferedReader(_Chunks(_zstd_chunks(file)), _BUFFER)
        case _:
            raise ValueError(f"unknown compression {compression!r}")


def _zstd_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Decode frame by frame: zstandard's own stream reader takes a cut-short file for a whole one.

    Raises:
        EOFError: the last frame is not complete.
    """
    decompressor = zstandard.ZstdDecompressor()
    frame = None
    while chunk := file.read(_CHUNK):
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
