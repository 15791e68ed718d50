"""The run that the schedule has asked for and that is not there yet, for the sensor beside it.

The daemon makes it when the schedule's function has returned, and until then it counts in no
budget. The other way round, ``awaited.py`` tells the schedule of the sensor's runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import ValidationError

from ft_assets.automation.new_data.ledger import launched
from resources.record import Record

if TYPE_CHECKING:
    from dagster._core.storage.runs import RunStorage

MADE_WITHIN = 300.0
"""Seconds; the daemon takes a few. A run that is not there by then was only looked at, in the UI's
test of a schedule, or was lost with the daemon, which asks the schedule again."""


class Scheduled(Record):
    """A run that the schedule asks for."""

    subject: str
    """Its drop, or what else a reason is to call it."""
    run_key: str
    since: float
    """When it was asked for, seconds since the epoch, by our clock."""


def announce(storage: RunStorage, pipeline: str, run: Scheduled) -> None:
    """Say it before the turn is taken: a look that begins after that knows of it."""
    storage.set_cursor_values({_key(pipeline): run.model_dump_json()})


def withdraw(storage: RunStorage, pipeline: str) -> None:
    """The schedule asks for no run after all."""
    storage.set_cursor_values({_key(pipeline): ""})


def unmade(instance: dg.DagsterInstance, pipeline: str, now: float) -> list[str]:
    """What the announced run is of, while it may still begin; else nothing."""
    said = instance.run_storage.get_cursor_values({_key(pipeline)}).get(_key(pipeline))
    try:
        run = Scheduled.model_validate_json(said or "")
    except ValidationError:
        return []
    # A clock that was put back makes nobody wait for longer.
    still = 0 <= now - run.since < MADE_WITHIN
    return [run.subject] if still and not launched(instance, pipeline, run.run_key) else []


def _key(pipeline: str) -> str:
    return f"ft/scheduled/{pipeline}"
