"""Which champion a registered version replaced: the one that its report compared it with.

Not the champion of now, nor the version before by number: a model may have been judged against
another one, and may have been rolled back since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ft_assets.comparing.behind import REPORT, behind

if TYPE_CHECKING:
    from resources.registry import RegisteredVersion
    from resources.store import ArtifactStore


@dataclass(frozen=True)
class Replaced:
    """The name of a registered version."""

    model: str
    version: str


def replaced_champion(version: RegisteredVersion, store: ArtifactStore) -> Replaced | None:
    """The champion that a version was judged against; None where there was none, or nobody knows.

    Its own registration is looked up in its report, whatever the registry says now.
    """
    report = behind(version, store).kept.get(REPORT)
    return None if report is None else champion_in(report.metadata)


def champion_in(report: dict[str, Any]) -> Replaced | None:
    """The champion in the metadata of a report."""
    champion: Any = report.get("champion")
    return None if champion is None else Replaced(champion["model"], champion["version"])
