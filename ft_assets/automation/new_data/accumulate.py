"""When data accumulates, a drop's run reads all drops before it: what changed there counts too.

A drop that changes, or comes late, begins a new generation for all drops behind it. The ledger
compares a drop's own token together with its generation, so that those are pending again. Kept in
one row per pipeline in the instance's key-value table; it grows with the places where data changed,
up to a bound, and not with the drops.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from ft_assets.automation.new_data.ledger import Asked, put_forward, sql_storage
from resources.record import Record
from resources.sources.partitions import natural_order

if TYPE_CHECKING:
    from dagster._core.storage.runs import RunStorage

_PLACES = 50
"""Most places of change that are told apart."""
_REMEMBERED = 1000
"""Generations back that a drop's own token is known again in."""
_DIGITS = 10
_LET_THROUGH = 200
"""Most versions that are remembered as let through."""


class Changes(Record):
    """Where asked data has changed, as it stands in the table."""

    model_config = ConfigDict(extra="ignore")

    revision: int = 0
    newest: str = ""
    """The last drop, in natural order, that was ever asked for."""
    generation: int = 0
    places: list[tuple[str, int]] = Field(default_factory=list[tuple[str, int]])
    """A drop that changed, and the generation that begins behind it; both rise."""
    through: dict[str, str] = Field(default_factory=dict[str, str])
    """The versions, in short, that ``min_new_rows`` has let through together with others that were
    asked for before them: alone they might have too few rows."""

    def token(self, drop: str, own: str) -> str:
        """What the ledger compares."""
        if not self.places:
            return own
        behind = natural_order(drop)
        begun = [number for place, number in self.places if natural_order(place) < behind]
        return _together(own, max(begun, default=0))

    def after_asking(self, drop: str, own: str, before: Asked | None) -> Changes:
        """What they are once the drop is asked for; the same when nothing behind it is touched."""
        if not self.newest or natural_order(drop) >= natural_order(self.newest):
            return self if drop == self.newest else self.model_copy(update={"newest": drop})
        if before is not None and self.knows(own, before):
            return self  # it is asked for because of what changed before it
        number = self.generation + 1
        places = [one for one in self.places if natural_order(one[0]) < natural_order(drop)]
        places.append((drop, number))
        if len(places) > _PLACES:  # some drops between the two are asked for once more
            (first, _), (_, second), *rest = places
            places = [(first, second), *rest]
        return self.model_copy(update={"generation": number, "places": places})

    def knows(self, own: str, before: Asked) -> bool:
        """Whether a drop's own version is the one that was asked for, in whatever generation."""
        oldest = max(0, self.generation - _REMEMBERED)
        known = {_together(own, number) for number in range(oldest, self.generation + 1)}
        return before.token in {*known, own}

    def after_letting_through(self, drops: Mapping[str, str], gone: Collection[str]) -> Changes:
        """What they are once these versions are let through; drops that are gone wait no more."""
        every = {**self.through, **drops}
        left = [(drop, token) for drop, token in every.items() if drop not in gone]
        through = dict(left[-_LET_THROUGH:])
        return self if through == self.through else self.model_copy(update={"through": through})


def _together(own: str, generation: int) -> str:
    return hashlib.sha256(f"{own} {generation}".encode()).hexdigest() if generation else own


def read_changes(storage: RunStorage, pipeline: str) -> Changes:
    """As they stand."""
    row = storage.get_cursor_values({_key(pipeline)}).get(_key(pipeline))
    return Changes() if row is None else Changes.model_validate_json(row[_DIGITS:])


def write_changes(storage: RunStorage, pipeline: str, changes: Changes) -> bool:
    """Write them over those that they come from; False when another look has written since."""
    changes = changes.model_copy(update={"revision": changes.revision + 1})
    row = f"{changes.revision:0{_DIGITS}d}{changes.model_dump_json()}"
    return put_forward(sql_storage(storage), _key(pipeline), row, _DIGITS)


def _key(pipeline: str) -> str:
    return f"ft/changes/{pipeline}"
