"""From a data file to its rows, one at a time: JSON Lines, JSON and Parquet.

Belongs here: file formats, and what is wrong with a file or with a row as such. Does not belong
here: what a row must hold, which is :mod:`ft_assets.data.messages`.

What is wrong with one row comes out as a :class:`BadRow`, so that the caller can drop it; what is
wrong with the file raises.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from ft_assets.data.parquet import parquet_rows
from ft_assets.data.redaction import excerpt
from ft_assets.data.streams import COMPRESSIONS, open_decoded
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMATS = (".jsonl", ".json", ".parquet")
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_JSON_BYTES = 128 * 1024 * 1024
"""A .json file is read as a whole, so it must be at most this large when decompressed."""


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
        UserError: the file is missing, empty, damaged, without rows, not UTF-8 or of no known
            format.
    """
    suffix, compression = _format(path, name)
    found = False
    with open_decoded(path, name, compression) as stream:
        for row in _reader(stream, name, suffix):
            found = True
            yield row
    if not found:
        raise UserError(f"{name}: the file holds no rows: it must hold at least one")


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


def _reader(stream: io.BufferedReader, name: str, suffix: str) -> Iterator[RawRow | BadRow]:
    if suffix == ".parquet":
        rows = enumerate(parquet_rows(stream, name), 1)
        return (RawRow(number, None, value) for number, value in rows)
    head = stream.peek(4)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name}: the file is UTF-16: convert it to UTF-8")
    offset = len(stream.read(len(codecs.BOM_UTF8))) if head.startswith(codecs.BOM_UTF8) else 0
    if suffix == ".json":
        return _json_rows(stream, name)
    return _line_rows(stream, name, offset)


def _line_rows(stream: io.BufferedIOBase, name: str, offset: int) -> Iterator[RawRow | BadRow]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise UserError(
                f"{name}, row {number}: longer than {MAX_LINE_BYTES} bytes: "
                "JSON Lines has one object per line; split the row or the file"
            )
        if not line.isspace():
            yield _parsed(line, number, offset)
        offset += len(line)


def _parsed(line: bytes, number: int, offset: int) -> RawRow | BadRow:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _broken(line, number, error)
    if not isinstance(value, dict):
        return _not_an_object(value, number)
    return RawRow(number, offset, cast("dict[str, Any]", value))


def _broken(line: bytes, number: int, error: orjson.JSONDecodeError) -> BadRow:
    shown = excerpt(line[:1024].decode("utf-8", "replace"))
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as undecodable:
        where = f"invalid UTF-8 at byte {undecodable.start + 1} of the row"
        return BadRow(number, "invalid_utf8", where, shown)
    # Its message ends in the position, which counts from the start of the line.
    what = error.msg.partition(": line ")[0]
    return BadRow(number, "broken_json", f"broken JSON ({what}) at column {error.colno}", shown)


def _not_an_object(value: object, number: int) -> BadRow:
    kind = type(value).__name__
    shown = excerpt(orjson.dumps(value, default=repr).decode())
    return BadRow(number, "not_an_object", f"the row is not a JSON object but a {kind}", shown)


def _json_rows(stream: io.BufferedReader, name: str) -> Iterator[RawRow | BadRow]:
    """A list of objects; or one object per line, which many call .json as well."""
    text = _bounded(stream, name)
    start = text[:1024].lstrip()[:1]
    if start != b"[":
        yield from _lines_called_json(text, name)
        return
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{name}: broken JSON ({error.msg}): fix the file") from error
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield RawRow(number, None, cast("dict[str, Any]", value))
        else:
            yield _not_an_object(value, number)


def _bounded(stream: io.BufferedReader, name: str) -> bytes:
    text = stream.read(MAX_JSON_BYTES + 1)
    if len(text) > MAX_JSON_BYTES:
        raise UserError(
            f"{name}: a .json file is read as a whole and may have {MAX_JSON_BYTES} bytes: "
            "write one object per line and name the file .jsonl, which has no limit "
            "(jq -c '.[]' FILE.json > FILE.jsonl)"
        )
    return text


def _lines_called_json(text: bytes, name: str) -> Iterator[RawRow | BadRow]:
    for row in _line_rows(io.BytesIO(text), name, 0):
        if isinstance(row, BadRow) and row.kind == "broken_json" and row.number == 1:
            raise UserError(
                f"{name}: neither a list of objects nor one object per line "
                f"({row.reason}): write one object per line and name the file .jsonl"
            )
        yield row
