"""What is known while a look goes on, and what it ends with. What it decides stands in ``look``."""

# Some of Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from dataclasses import dataclass, field, replace

import dagster as dg

from ft_assets.automation.new_data.accumulate import Changes
from ft_assets.automation.new_data.ledger import Asked, Ledger, Turn, launched
from ft_assets.automation.new_data.look import Seen, notice
from ft_assets.automation.new_data.observe import DATASET, Observed, Place
from ft_assets.automation.new_data.scheduled import Scheduled
from ft_assets.automation.new_data.state import Watched
from ft_assets.config import Pipeline


@dataclass(frozen=True)
class Ask:
    """A run that is asked for."""

    drop: str | None
    """None for a dataset without drops."""
    run_key: str
    token: str


def ask_for(drop: str, row: str, asked: Asked) -> Ask:
    """The run of a drop that a row of the ledger asks for: the drop's own, or a base model's."""
    return Ask(None if drop == DATASET else drop, asked.run_key(row), asked.token)


@dataclass
class Outcome:
    """What a look ends with."""

    cursor: str
    asks: list[Ask] = field(default_factory=list[Ask])
    reason: str = ""
    """Why nothing is asked for, or what else there is to say."""


@dataclass
class Looking:
    """What is known while the look goes on."""

    place: Place
    instance: dg.DagsterInstance
    ledger: Ledger
    turn: Turn
    """Of those who ask for something, the one that began from this turn first does so."""
    changes: Changes
    now: float
    watched: dict[str, Watched]
    seen: dict[str, Seen | None] = field(default_factory=dict[str, "Seen | None"])
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    awaited: list[str] = field(default_factory=list[str])
    models: dict[str, Asked] = field(default_factory=dict[str, Asked])
    """The rows of the base models."""
    again: list[Ask] = field(default_factory=list[Ask])
    """Runs for base models that an earlier look has asked for, and that were not seen."""
    through: dict[str, str] = field(default_factory=dict[str, str])
    """Versions, in short, that ``min_new_rows`` lets through in this look."""
    scheduled: list[Scheduled] = field(default_factory=list[Scheduled])
    """What the schedule has asked for and Dagster has not made."""
    full: bool = False
    unreadable: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def pipeline(self) -> Pipeline:
        """Whose data is looked at."""
        return self.place.pipeline

    @property
    def begins(self) -> list[str]:
        """The drops of all runs that were asked for and not seen: they may begin at any time."""
        again = (ask.drop or DATASET for ask in self.again)
        return [*self.awaited, *again, *self.begins_by_schedule]

    @property
    def begins_by_schedule(self) -> list[str]:
        """The drops of the runs that the schedule has asked for."""
        return [run.subject for run in self.scheduled]

    def take_in(self, found: Observed) -> dict[str, Seen | None]:
        """Notice what was read from the source, given what is known to have been asked for."""
        marker = self.pipeline.spec.automation.marker
        seen: dict[str, Seen | None] = {
            drop: None if one is None else Seen(one, self.changes.token(drop, one.token))
            for drop, one in found.versions.items()
        }
        noticed = notice(self.watched, seen, self.asked, self.now, marker)
        self.seen |= seen
        self.watched = noticed.watched
        self.awaited = sorted({*self.awaited, *noticed.awaited})
        self.full = self.full or noticed.full
        self.unreadable |= found.unreadable
        return seen

    def confirmed(self, asked: dict[str, Asked]) -> dict[str, Asked]:
        """The same, with those marked whose run is there now."""
        there = {
            row: replace(one, seen=True)
            for row, one in asked.items()
            if not one.seen and launched(self.instance, self.pipeline.spec.name, one.run_key(row))
        }
        return {**asked, **self.ledger.move(there)}
