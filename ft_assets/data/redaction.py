"""A short piece of a bad row that may be shown.

A row that was dropped should be recognisable, but what could be a secret or a person's address does
not belong in a report, a log or the event store.
"""

from __future__ import annotations

import re
from typing import Any, cast

import orjson

_MASK = "***"
_URL_PRIVATE = re.compile(r"(?<=://)[^\s/@\"']+@|\?[^\s\"'<>]+(?<![,.;:)])")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# Words of 20 and more characters with a digit in them: keys, tokens, hashes, card-like numbers.
_TOKEN = re.compile(r"(?=[\w+/=-]*\d)[\w+/=-]{20,}")
_WINDOW = 8  # how many excerpts' worth of text is looked at


def excerpt(text: str, limit: int = 80) -> str:
    """At most ``limit`` characters from the start of ``text``, on one line, redacted.

    Addresses, query strings, user names in URLs, and long words that hold digits become ``***``.
    """
    window = text[: limit * _WINDOW]
    if len(text) > len(window):
        # The last word may be the start of a longer one that would have been masked.
        window = window.rpartition(" ")[0]
    window = " ".join(window.split())
    for pattern in (_URL_PRIVATE, _EMAIL, _TOKEN):
        window = pattern.sub(_MASK, window)
    return window if len(window) <= limit else window[: limit - 1] + "…"


def excerpt_of_row(value: object) -> str:
    """An :func:`excerpt` of a row as compact JSON; of its keys where JSON cannot say it."""
    try:
        text = orjson.dumps(value, default=repr).decode()
    except orjson.JSONEncodeError:  # nested too deeply, or a number beyond 64 bits
        keys = list(cast("dict[str, Any]", value)) if isinstance(value, dict) else []
        text = f"keys: {', '.join(keys)}"
    return excerpt(text)
