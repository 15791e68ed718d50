"""The runs that the schedule has asked for and that are not there yet, for the sensor beside it.

The daemon makes a run when the schedule's function has returned, and until then it counts in no
budget. So the schedule says it in the same statement in which it takes its turn, and the sensor
says it again when it takes one. The other way round, ``awaited.py`` tells the schedule of the
sensor's runs.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
from pydantic import ValidationError

from ft_assets.automation.new_data.ledger import Turn, launched
from resources.record import Record

MADE_WITHIN = 120.0
"""Seconds; the daemon takes a few. A run that is not there by then was only looked at, in the UI's
test of a schedule, or was lost with the daemon."""


class Scheduled(Record):
    """A run that the schedule asks for."""

    subject: str
    """Its drop, or what else a reason is to call it."""
    run_key: str
    since: float
    """When it was asked for, seconds since the epoch, by our clock."""


class _Said(Record):
    runs: tuple[Scheduled, ...]


def said(runs: Iterable[Scheduled]) -> str:
    """What to take the next turn with."""
    runs = tuple(runs)
    return _Said(runs=runs).model_dump_json() if runs else ""


def unmade(instance: dg.DagsterInstance, pipeline: str, turn: Turn, now: float) -> list[Scheduled]:
    """The runs that were said with a turn and may still begin."""
    try:
        runs = _Said.model_validate_json(turn.said).runs if turn.said else ()
    except ValidationError:
        return []
    # Whoever reads it may have looked at the clock before, and at another machine's.
    return [
        run
        for run in runs
        if abs(now - run.since) < MADE_WITHIN and not launched(instance, pipeline, run.run_key)
    ]
