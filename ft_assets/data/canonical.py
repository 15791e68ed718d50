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

_START = hashlib.sha256()  # copied: making one anew takes as long as hashing a short row


def canonical_bytes(row: Row) -> bytes:
    """The row as UTF-8 JSON with sorted keys, no spaces and no absent fields."""
    return _encode(row)


def row_id(row: Row) -> str:
    """The SHA-256 of :func:`canonical_bytes`, as 64 hexadecimal characters."""
    return id_of(canonical_bytes(row))


def id_of(canonical: bytes) -> str:
    """:func:`row_id` of the row with these canonical bytes."""
    return ids_of((canonical,))[0]


def ids_of(canonicals: Iterable[bytes]) -> list[str]:
    """:func:`row_id` of each row with these canonical bytes."""
    ids: list[str] = []
    for canonical in canonicals:
        hashed = _START.copy()
        hashed.update(canonical)
        ids.append(hashed.hexdigest())
    return ids
