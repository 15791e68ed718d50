"""When a source that failed is asked again: how often, and after which wait.

Belongs here: the bounds that every scheme shares. Does not belong here: which failures are worth
another attempt; each scheme knows its own.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

ATTEMPTS = 5
"""How often one thing is asked for before it is given up."""
MAX_WAIT = 60.0
"""Seconds between two attempts, at most, whatever the server asks for."""


def wait_before_retry(failures: int, asked: float = 0.0) -> float:
    """Seconds to wait after ``failures`` in a row, the first being 1.

    The wait doubles with each failure and is shortened by chance to as little as half, so that
    many readers that failed together do not come back together. ``asked`` is what the server wants
    at least (``Retry-After``), up to ``MAX_WAIT``.
    """
    grown = 2.0 ** (failures - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
    return min(MAX_WAIT, max(asked, grown))


def retry_after(header: str) -> float:
    """The seconds that a ``Retry-After`` header asks for; 0 when it says nothing readable.

    It holds either seconds or a date.
    """
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    if until.tzinfo is None:  # the date ends in -0000
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
