"""The one way to write a chat down, so that equal chats have equal bytes and equal ids.

Text is kept as it is: no Unicode normalisation, no trimming. Two chats that differ in a space are
two chats here; :mod:`ft_assets.data.near_duplicates` sees that they are nearly one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from ft_assets.data.messages import Chat


def canonical_bytes(chat: Chat) -> bytes:
    """``{"messages":[…]}`` as UTF-8 JSON with sorted keys and no spaces."""
    return orjson.dumps({"messages": chat.as_dicts()}, option=orjson.OPT_SORT_KEYS)


def row_id(chat: Chat) -> str:
    """The SHA-256 of :func:`canonical_bytes`, as 64 hexadecimal characters."""
    return hashlib.sha256(canonical_bytes(chat)).hexdigest()
