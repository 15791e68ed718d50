"""What watching a source tells about dataset drops: values, and how a token is made.

Belongs here: what every scheme gives back. Does not belong here: how one scheme is looked at; see
``watching``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

PAGE = 1000
"""Names that one page of a listing holds at most."""


@dataclass(frozen=True)
class DropVersion:
    """One version of a dataset drop, as its source shows it without reading the rows."""

    token: str
    """64 hexadecimal digits that differ when a file came, went, or was written again."""
    files: int
    """Dataset files that it has."""
    bytes: int
    """Their size together, on the wire or on disk; 0 where the source does not say."""
    marked: bool
    """Whether its marker file is there. The marker is no data: it is not in the token."""


@dataclass(frozen=True)
class DropPage:
    """Some pages of a source's listing, seen as dataset drops."""

    drops: dict[str, DropVersion | None]
    """By partition key, in the listing's order. None: the page may hold a part of the drop only."""
    position: str
    """Where to go on: names after it have not been looked at."""
    end: bool
    """Whether nothing stands after ``position`` now."""


class DropFiles:
    """Gathers the files of one drop, in any order and in constant memory."""

    def __init__(self) -> None:
        self._sum = 0
        self.files = 0
        self.bytes = 0
        self.marked = False

    def add(self, size: int, *identity: object) -> None:
        """Count a dataset file of ``size`` bytes in; ``identity`` is what tells its versions apart.

        The digests of the files are added up, so that their order makes no difference.
        """
        line = json.dumps(identity).encode()
        self._sum += int.from_bytes(hashlib.sha256(line).digest())
        self.files += 1
        self.bytes += size

    def version(self) -> DropVersion | None:
        """What was gathered; None when there is no dataset file."""
        if not self.files:
            return None
        total = f"{self.files} {self._sum % (1 << 256):x}"
        token = hashlib.sha256(total.encode()).hexdigest()
        return DropVersion(token, self.files, self.bytes, self.marked)
