"""From a data file to its rows, one at a time: JSON Lines, JSON and Parquet.

Belongs here: file formats, and what is wrong with a file or with a row as such. Does not belong
here: what a row must hold, which is :mod:`ft_assets.data.formats`.

What is wrong with one row comes out as a :class:`BadRow`, so that the caller can drop it; what is
wrong with the file raises.
"""

from __future__ import annotations

import codecs
import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson

from ft_assets.data.parquet import parquet_rows
from ft_assets.data.redaction import excerpt, excerpt_of_row
from ft_assets.data.streams import COMPRESSIONS, StreamError, open_decoded
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

FORMATS = (".jsonl", ".json", ".parquet")
MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is a bad row, and is skipped without being held in memory."""
MAX_JSON_BYTES = 128 * 1024 * 1024
"""A .json file is read as a whole, so it must be at most this large when decompressed."""

_SKIP = 1024 * 1024  # bytes at a time
_EXCERPT = 1024  # bytes of a line that an excerpt is made of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as the file holds it."""

    number: int
    """Counted from 1; in line formats the line number, so blank lines count."""
    offset: int | None
    """Where the line starts in the decoded stream, in bytes; None in formats without lines."""
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that cannot be used."""

    number: int
    """As in :class:`RawRow`."""
    offset: int | None
    """As in :class:`RawRow`."""
    kind: str
    """The reason's fixed short name, for counting."""
    reason: str
    """The reason in words, with the place in the row."""
    excerpt: str
    """At most 80 characters of the row, redacted."""


def iter_rows(path: Path, name: str) -> Iterator[RawRow | BadRow]:
    """The rows of one file in order, in constant memory (but see :data:`MAX_JSON_BYTES`).

    Args:
        path: the local file. Its suffix, or else that of ``name``, says the format: ``.jsonl``,
            ``.json`` (a list of objects, or one object per line) or ``.parquet``, each also with
            ``.gz`` or ``.zst`` behind it.
        name: what the user calls the file; error messages use it.

    Raises:
        UserError: the file is missing, empty, damaged, a decompression bomb, without rows, UTF-16
            or of no known format.
    """
    return iter_rows_or(path, name, _not_known)


def iter_rows_or(
    path: Path, name: str, known: Callable[[bytes], T | None]
) -> Iterator[T | RawRow | BadRow]:
    """As :func:`iter_rows`, but a line that ``known`` makes something of comes out as that.

    ``known`` sees every line before it is parsed, also blank and broken ones, and gives None for
    those that it leaves to the general way.
    """
    suffix, compression = _format(path, name)
    number = 0
    try:
        with open_decoded(path, name, compression) as stream:
            for row in _reader(stream, name, suffix, known):
                number += 1
                yield row
    except StreamError as error:
        raise UserError(f"{name}, after row {number}: {error}") from error
    if number == 0:
        raise no_rows(name)


def lines_begin(path: Path, name: str) -> int | None:
    """At which byte the rows of an uncompressed JSON Lines file begin; None for other formats.

    Raises:
        UserError: the file is missing, empty or UTF-16, or of no known format.
    """
    if _format(path, name) != (".jsonl", ""):
        return None
    with open_decoded(path, name, "") as stream:
        return _begin(stream, name)


def line_rows(
    stream: io.BufferedIOBase,
    end: int,
    known: Callable[[bytes], T | None],
    *,
    number: int = 0,
    offset: int = 0,
) -> Generator[T | RawRow | BadRow, None, int]:
    """The rows of a stream from where it is up to a byte at which a line ends.

    Args:
        stream: where lines are read.
        end: the offset that ends it.
        known: as for :func:`iter_rows_or`.
        number: of the line before.
        offset: what the first line's is.

    Returns:
        the last line's number; empty lines count.
    """
    limit = MAX_LINE_BYTES
    while offset < end and (line := stream.readline(limit + 1)):
        number += 1
        size = len(line)
        if size > limit:
            head, line = line[:_EXCERPT], b""
            yield _too_long(head, number, offset)
            size += _skip_line(stream)
        elif (row := known(line)) is not None:
            yield row
        elif not line.isspace():
            yield _parsed(line, number, offset)
        offset += size
    return number


def no_rows(name: str) -> UserError:
    """The error for a file without rows."""
    return UserError(f"{name}: the file holds no rows: it must hold at least one")


def _not_known(line: bytes) -> None:
    """Leaves every line to the general way."""


def _format(path: Path, name: str) -> tuple[str, str]:
    for candidate in (path.name, name):
        stem = candidate.lower()
        compression = next((c for c in COMPRESSIONS if stem.endswith(c)), "")
        stem = stem.removesuffix(compression)
        if suffix := next((f for f in FORMATS if stem.endswith(f)), ""):
            return suffix, compression
    raise UserError(
        f"{name}: unknown file format: name it {', '.join(FORMATS)}, "
        f"or one of these with {' or '.join(COMPRESSIONS)} behind it"
    )


def _reader(
    stream: io.BufferedReader, name: str, suffix: str, known: Callable[[bytes], T | None]
) -> Iterator[T | RawRow | BadRow]:
    if suffix == ".parquet":
        rows = enumerate(parquet_rows(stream, name), 1)
        return (RawRow(number, None, value) for number, value in rows)
    offset = _begin(stream, name)
    if suffix == ".json":
        return _json_rows(stream, name, offset)
    return line_rows(stream, sys.maxsize, known, offset=offset)


def _begin(stream: io.BufferedReader, name: str) -> int:
    """Read over the byte order mark; how many bytes that were."""
    head = stream.peek(4)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name}: the file is UTF-16: convert it to UTF-8")
    return len(stream.read(len(codecs.BOM_UTF8))) if head.startswith(codecs.BOM_UTF8) else 0


def _too_long(head: bytes, number: int, offset: int) -> BadRow:
    reason = (
        f"longer than {MAX_LINE_BYTES} bytes: JSON Lines has one object per line; split the row"
    )
    return BadRow(number, offset, "too_long", reason, _shown(head))


def _skip_line(stream: io.BufferedIOBase) -> int:
    """Read to the end of the line; how many bytes that were."""
    skipped = 0
    while piece := stream.readline(_SKIP):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _parsed(line: bytes, number: int, offset: int) -> RawRow | BadRow:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _broken(line, number, offset, error)
    if not isinstance(value, dict):
        return _not_an_object(value, number, offset)
    return RawRow(number, offset, cast("dict[str, Any]", value))


def _broken(line: bytes, number: int, offset: int, error: orjson.JSONDecodeError) -> BadRow:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as undecodable:
        where = f"invalid UTF-8 at byte {undecodable.start + 1} of the row"
        return BadRow(number, offset, "invalid_utf8", where, _shown(line))
    # Its message ends in the position, and its column counts from the newline at the line's end.
    what = error.msg.partition(": line ")[0]
    reason = f"broken JSON ({what}) at column {error.pos + 1}"
    if b"\r" in line.rstrip():
        reason += "; it holds a carriage return, which alone does not end a row: write newlines"
    return BadRow(number, offset, "broken_json", reason, _shown(line))


def _shown(line: bytes) -> str:
    return excerpt(line[:_EXCERPT].decode("utf-8", "replace"))


def _not_an_object(value: object, number: int, offset: int | None) -> BadRow:
    reason = f"the row is not a JSON object but a {type(value).__name__}"
    return BadRow(number, offset, "not_an_object", reason, excerpt_of_row(value))


def _json_rows(stream: io.BufferedReader, name: str, offset: int) -> Iterator[RawRow | BadRow]:
    """A list of objects; or one object per line, which many call .json as well."""
    text = _bounded(stream, name)
    start = text[:1024].lstrip()[:1]
    if start != b"[":
        yield from _lines_called_json(text, name, offset)
        return
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{name}: broken JSON ({error.msg}): fix the file") from error
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield RawRow(number, None, cast("dict[str, Any]", value))
        else:
            yield _not_an_object(value, number, None)


def _bounded(stream: io.BufferedReader, name: str) -> bytes:
    text = stream.read(MAX_JSON_BYTES + 1)
    if len(text) > MAX_JSON_BYTES:
        raise UserError(
            f"{name}: a .json file is read as a whole and may have {MAX_JSON_BYTES} bytes: "
            "write one object per line and name the file .jsonl, which has no limit "
            "(jq -c '.[]' FILE.json > FILE.jsonl)"
        )
    return text


def _lines_called_json(text: bytes, name: str, offset: int) -> Iterator[RawRow | BadRow]:
    for row in line_rows(io.BytesIO(text), sys.maxsize, _not_known, offset=offset):
        if isinstance(row, BadRow) and row.kind == "broken_json" and row.number == 1:
            raise UserError(
                f"{name}: neither a list of objects nor one object per line "
                f"({row.reason}): write one object per line and name the file .jsonl"
            )
        yield row
