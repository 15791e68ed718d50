"""What the watchdog finds, and what it makes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ft_assets.cluster import causes
from ft_assets.cluster.causes import Cause
from ft_assets.cluster.watched import Object, name_of

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Finding:
    """One thing that ails a step."""

    cause: Cause
    detail: str
    """What happened, in Kubernetes' own words where it has any."""
    remedy: str
    pod: str | None = None
    final: bool = False
    """Whether it is over: no waiting changes it."""

    @property
    def key(self) -> tuple[str, str | None]:
        """What makes it the same as one of an earlier look."""
        return (self.cause.name, self.pod)

    @property
    def change(self) -> tuple[str, str | None, str, bool]:
        """What makes it worth another event."""
        # A pull that is tried again alternates between two sentences about the same, and in a large
        # cluster the numbers of nodes that do not suit a pod never stand still.
        steady = self.cause in (causes.IMAGE_NOT_FOUND, causes.REGISTRY_UNREACHABLE)
        return (*self.key, "" if steady else _NUMBER.sub("#", self.detail), self.final)

    @property
    def sentence(self) -> str:
        """For the event log."""
        return f"{self.cause.name}: {self.detail.rstrip('.')}. {self.remedy}"


@dataclass(frozen=True)
class Verdict:
    """The end of an attempt that did not end itself."""

    finding: Finding
    retry: bool
    """Whether another attempt is worth making."""
    waited: str = ""
    """Which deadline passed, in words; empty where none had to."""


def finding(
    cause: Cause, detail: str, pod: Object | None = None, *, final: bool = False, remedy: str = ""
) -> Finding:
    """A finding about a pod, or about the job; the cause's own remedy where there is no closer."""
    name = name_of(pod) if pod is not None else None
    return Finding(cause, " ".join(detail.split()), remedy or cause.remedy, name, final)
