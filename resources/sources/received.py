"""What has arrived of a file over HTTP, over several attempts, and what may be added to it.

Belongs here: which answers continue a broken download. Does not belong here: asking for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

import httpx

from resources.sources.checksums import Checksums, promised

_STRONG_AFTER_SECONDS = 60


@dataclass
class Received:
    """What has arrived of the file, over all attempts."""

    part: Path
    size: int = 0
    most: int = 0
    """The largest size that any attempt reached."""
    total: int | None = None
    etag: str | None = None
    modified: str | None = None
    validator: str | None = None
    """What If-Range may ask for: only a strong one says that the bytes before and after a break
    belong together."""
    checksums: Checksums = field(default_factory=Checksums)

    def restart(self, headers: httpx.Headers | None = None) -> None:
        """Forget what has arrived; ``headers`` are those of the answer that brings it anew."""
        headers = headers or httpx.Headers()
        length = headers.get("Content-Length", "")
        self.part.write_bytes(b"")
        self.size = 0
        self.total = int(length) if length.isdigit() else None
        self.etag, self.modified = headers.get("ETag"), headers.get("Last-Modified")
        self.validator = _strong_validator(headers)
        self.checksums = Checksums(promised(headers))

    def continues(self, headers: httpx.Headers, start: int, total: int | None) -> bool:
        """Whether a partial answer goes on with these bytes."""
        return (
            self.validator is not None
            and start == self.size
            and total == (self.total or total)
            and headers.get("ETag") == self.etag
            and headers.get("Last-Modified") == self.modified
        )

    def append(self, chunk: bytes, stream: BinaryIO) -> None:
        """Keep the next bytes."""
        stream.write(chunk)
        self.checksums.update(chunk)
        self.size += len(chunk)


def _strong_validator(headers: httpx.Headers) -> str | None:
    """A strong ETag, or a time long enough ago that no second change can hide in its second."""
    etag = headers.get("ETag")
    if etag is not None:
        return None if etag.startswith("W/") else etag
    try:
        modified = parsedate_to_datetime(headers["Last-Modified"])
        age = (parsedate_to_datetime(headers["Date"]) - modified).total_seconds()
    except (KeyError, ValueError, TypeError):  # none, unreadable, or one of two without a zone
        return None
    return headers["Last-Modified"] if age >= _STRONG_AFTER_SECONDS else None
