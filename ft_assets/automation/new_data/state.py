"""What one look leaves for the next one: the sensor's cursor, bounded whatever the source holds.

It says how far looking has come, and nothing about what has been asked for (that is the ledger's):
a cursor that is lost, old or reset costs another look, and never a run.
"""

from __future__ import annotations

from pydantic import Field, ValidationError

from resources.record import Record

WATCHED = 200
"""Most drops that are watched at a time; the others wait at the source."""
SHORT = 16
"""Hexadecimal digits of a token that stand in a cursor and in a run key."""


class Watched(Record):
    """A drop whose version has not been asked for yet."""

    token: str
    """Its version as it was last seen, in short."""
    since: float
    """When this version was first seen, seconds since the epoch, by our clock."""
    looked: float
    """When it was last looked at."""
    rows: int | None = None
    """Rows of this version, where they were counted; counting stops at ``min_new_rows``."""
    uncounted: float = 0
    """When the rows of this version could not be counted last; 0: never."""
    enough: bool = False
    """Whether this version has been let through by ``min_new_rows``."""
    unmarked: bool = False
    """Whether its marker was missing."""

    @property
    def stuck(self) -> bool:
        """Whether it waits for its source, and for nothing of ours: it may wait for ever."""
        few = self.rows is not None and not self.enough
        return self.unmarked or few or self.uncounted > 0


class Cursor(Record):
    """Where looking stands."""

    version: int = 1
    watermark: str = ""
    """Position in the source's listing up to which all has been seen once."""
    sweep: str = ""
    """Position of the second, rolling look, which finds what changed or came in between."""
    watched: dict[str, Watched] = Field(default_factory=dict[str, Watched])
    awaited: list[str] = Field(default_factory=list)
    """Drops that were asked for and whose run has not been seen."""

    def text(self) -> str:
        """As Dagster keeps it."""
        return self.model_dump_json(exclude_defaults=True)


def read_cursor(text: str | None) -> Cursor:
    """The cursor as it was kept; one that cannot be read starts looking from the beginning."""
    if not text:
        return Cursor()
    try:
        cursor = Cursor.model_validate_json(text)
    except ValidationError:
        return Cursor()
    return cursor if cursor.version == 1 else Cursor()
