"""The links of a chain of origin, and what was found about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["holds", "broken", "not checked"]


@dataclass(frozen=True)
class Link:
    """One thing that was checked, or could not be."""

    subject: str
    """What it is about: an artifact, a version in the registry, a base model, a source."""
    check: str
    """What was checked, in a few words."""
    status: Status
    detail: str
    """What was found, in a sentence."""
    file: str = ""
    """The file, or the place in the registry, that is broken."""
    expected: str = ""
    found: str = ""


@dataclass
class Findings:
    """All that was found on the way, in the order of the walk."""

    links: list[Link] = field(default_factory=list[Link])

    def holds(self, subject: str, check: str, detail: str) -> None:
        """The link is whole."""
        self.links.append(Link(subject, check, "holds", detail))

    def not_checked(self, subject: str, check: str, why: str) -> None:
        """Nobody knows: what it would be compared with is not here."""
        self.links.append(Link(subject, check, "not checked", why))

    def broken(
        self,
        subject: str,
        check: str,
        detail: str,
        *,
        file: str,
        expected: str = "",
        found: str = "",
    ) -> None:
        """Something is not what it was."""
        self.links.append(Link(subject, check, "broken", detail, file, expected, found))

    def compare(
        self, subject: str, check: str, detail: str, *, file: str, expected: object, found: object
    ) -> bool:
        """Whether two values are the same; the link holds or is broken."""
        if expected == found:
            self.holds(subject, check, detail)
            return True
        self.broken(
            subject, check, f"not so: {detail}", file=file, expected=str(expected), found=str(found)
        )
        return False


@dataclass(frozen=True)
class Verified:
    """The outcome of a walk."""

    subject: str
    links: Sequence[Link]

    @property
    def first_broken(self) -> Link | None:
        """The first broken link, nearest to where the walk began."""
        return next((link for link in self.links if link.status == "broken"), None)

    @property
    def passed(self) -> bool:
        """Whether no link is broken. Some may be unchecked: ``count`` tells."""
        return self.first_broken is None

    def count(self, status: Status) -> int:
        """How many links there are of a status."""
        return sum(link.status == status for link in self.links)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = self.first_broken
        return {
            "subject": self.subject,
            "passed": self.passed,
            "first_broken": None if first is None else asdict(first),
            "holds": self.count("holds"),
            "broken": self.count("broken"),
            "not_checked": self.count("not checked"),
            "links": [asdict(link) for link in self.links],
        }
