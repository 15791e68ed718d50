"""The one way to write a row down, so that equal rows have equal bytes and equal ids.

Text is kept as it is: no Unicode normalisation, no trimming. Two chats that differ in a space are
two chats here; :mod:`ft_assets.data.near_duplicates` sees that they are nearly one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ft_assets.data.shapes import Row

# The fields of a shape stand in alphabetical order; deterministic sorts the keys of plain objects.
_encode = msgspec.json.Encoder(order="deterministic").encode

_ID = 64  # hexadecimal characters
_OPEN, _CLOSE = b'{"messages":', b"}"
_START = hashlib.sha256()  # copied: making one anew takes as long as hashing a short row
_START_OF_CHAT = hashlib.sha256(_OPEN)


def canonical_bytes(row: Row) -> bytes:
    """The row as UTF-8 JSON with sorted keys, no spaces and no absent fields."""
    return _encode(row)


def row_id(row: Row) -> str:
    """The SHA-256 of :func:`canonical_bytes`, as 64 hexadecimal characters."""
    return id_of(canonical_bytes(row))


def id_of(canonical: bytes) -> str:
    """:func:`row_id` of the row with these canonical bytes."""
    hashed = _START.copy()
    hashed.update(canonical)
    return hashed.hexdigest()


def ids_of_chats(messages: Iterable[bytes]) -> list[bytes]:
    """:func:`row_id`, as ASCII, of rows with messages and no more, by their messages' bytes.

    Where they stand in :func:`canonical_bytes`; putting them there would be another copy.
    """
    digests: list[bytes] = []
    for one in messages:
        hashed = _START_OF_CHAT.copy()
        hashed.update(one)
        hashed.update(_CLOSE)
        digests.append(hashed.digest())
    digits = b"".join(digests).hex().encode()
    return [digits[place : place + _ID] for place in range(0, len(digits), _ID)]
