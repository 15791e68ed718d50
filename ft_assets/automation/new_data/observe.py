"""What one look reads from the source: a page of new names, a page of all names, single drops.

The second page rolls through the whole listing, look by look, and finds what the first one cannot:
drops that changed, came late, or have a name that stands before the newest. What a look costs does
not grow with what lies at the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ft_assets.automation.new_data.state import Cursor
from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.sources import Sources, parse_uri, substitute
from resources.sources.drops import DropPage, DropVersion
from resources.sources.uri import HttpsUri, HubUri, PackageUri

DATASET = "(dataset)"
"""Stands for the one dataset of a pipeline without drops; no drop can have this name."""
BY_HAND = 50
"""Drops that one look asks a source about, one by one, that has no listing."""


@dataclass
class Observed:
    """What was read."""

    versions: dict[str, DropVersion | None] = field(default_factory=dict[str, DropVersion | None])
    """None: nothing is there."""
    watermark: str = ""
    sweep: str = ""
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    """Drops that cannot be looked at, and why."""


@dataclass(frozen=True)
class Place:
    """Where a pipeline's data lies."""

    pipeline: Pipeline
    sources: Sources

    @property
    def partitioned(self) -> bool:
        """Whether data comes in drops."""
        return self.pipeline.spec.partitioned

    @property
    def listed(self) -> bool:
        """Whether the source can say which drops there are."""
        example = parse_uri(substitute(self.pipeline.spec.dataset.uri, "partition"))
        return not isinstance(example, HttpsUri | HubUri | PackageUri)

    def pages(self, cursor: Cursor, added: Iterable[str]) -> Observed:
        """The next new names, and the next of all names.

        Args:
            cursor: where looking stands.
            added: partitions that were added by hand, sorted; read where there is no listing.

        Raises:
            UserError: the source cannot be read; SourceUnavailableError when it does not answer.
        """
        found = Observed(watermark=cursor.watermark, sweep=cursor.sweep)
        if not self.partitioned:
            return self.single([DATASET], found)
        if not self.listed:
            names = list(added)
            behind = [name for name in names if name > cursor.sweep][:BY_HAND]
            found.sweep = behind[-1] if len(behind) == BY_HAND else ""
            return self.single(behind, found)
        new, around = self._pages(cursor.watermark, cursor.sweep)
        found.watermark = new.position
        found.sweep = "" if around.end else around.position
        pages = {**around.drops, **new.drops}
        found.versions.update({drop: one for drop, one in pages.items() if one is not None})
        return self.single([drop for drop, one in pages.items() if one is None], found)

    def _pages(self, *positions: str) -> list[DropPage]:
        return self.sources.drop_pages(
            self.pipeline.spec.dataset.uri,
            positions,
            base_dir=self.pipeline.folder,
            marker=self.pipeline.spec.automation.marker,
        )

    def single(self, drops: Iterable[str], found: Observed | None = None) -> Observed:
        """The version of each of these drops, added to ``found``.

        One that cannot be read is told and does not hide the others.

        Raises:
            UserError: the only one there is cannot be read.
        """
        found = found or Observed()
        for drop in drops:
            try:
                found.versions[drop] = self.sources.drop_version(
                    self.pipeline.spec.dataset.uri,
                    drop if self.partitioned else None,
                    base_dir=self.pipeline.folder,
                    marker=self.pipeline.spec.automation.marker,
                )
            except UserError as error:
                if not self.partitioned:
                    raise
                found.unreadable[drop] = str(error)
        return found
