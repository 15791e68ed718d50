"""``min_new_rows``: which drops it lets through, whatever lies beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ft_assets.automation.new_data import look as look_module
from ft_assets.automation.new_data import rows, tick
from resources.sources import SourceUnavailableError
from tests.support.new_data_looks import look
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import STEPS, World, times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n'
DAMAGED = b"not gzip"


@pytest.fixture
def world(instance: dg.DagsterInstance, tmp_path: Path) -> Callable[..., World]:
    def make(dataset: dict[str, Any] | None = None, **automation: Any) -> World:
        config = {"dataset": dataset or {}, "automation": {"quiet": 0, **automation}}
        return World(FolderStore(tmp_path / "drops"), instance, config)

    return make


def test_a_drop_with_too_few_rows_waits_until_it_has_grown(world):
    here = world(min_new_rows=5)
    here.store.put("drop-1", "a.jsonl", ROWS)
    assert look(here) == "drop-1: 3 rows, waits for 5"
    here.store.put("drop-1", "b.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


# When data accumulates


def test_when_data_accumulates_the_rows_of_all_that_waits_count_together(world):
    here = world({"accumulate": True}, min_new_rows=5)
    here.store.put("drop-1", "a.jsonl", ROWS)
    assert look(here) == "drop-1: 3 rows, waits for 5"
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.rest()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


@pytest.fixture
def accumulated(world: Callable[..., World]) -> World:
    """Three drops of three rows, which had rows enough together."""
    here = world({"accumulate": True}, min_new_rows=7)
    for drop in ("drop-1", "drop-2", "drop-3"):
        here.store.put(drop, "a.jsonl", ROWS)
    here.rest()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1, "drop-3": 1}
    return here


def test_drops_behind_one_that_was_put_right_run_again_however_few_rows_they_have(accumulated):
    here = accumulated
    here.store.put("drop-1", "a.jsonl", ROWS * 3)
    here.rest()
    assert times_asked(here) == {"drop-1": 2, "drop-2": 2, "drop-3": 2}
    here.store.put("drop-1", "a.jsonl", ROWS * 4)
    here.rest()
    assert times_asked(here) == {"drop-1": 3, "drop-2": 3, "drop-3": 3}


def test_the_rows_of_drops_that_run_again_are_not_counted_as_new(accumulated):
    here = accumulated
    here.store.put("drop-1", "a.jsonl", ROWS * 3)
    here.tick()
    here.store.put("drop-4", "a.jsonl", ROWS)
    here.rest()
    assert times_asked(here) == {"drop-1": 2, "drop-2": 2, "drop-3": 2}
    assert here.reasons[-1] == "drop-4: 3 rows, waits for 7"


@pytest.mark.parametrize("step", STEPS)
def test_what_was_let_through_with_others_does_not_wait_after_a_look_that_was_killed(world, step):
    """The drops that are asked for first take the rows with them by which the others had enough."""
    here = world({"accumulate": True}, min_new_rows=5)
    for drop in ("drop-1", "drop-2"):
        here.store.put(drop, "a.jsonl", ROWS)
    here.tick(killed_after=step)
    here.rest()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


# Drops that cannot be read


def test_damaged_drops_do_not_keep_others_from_being_counted(world):
    here = world(min_new_rows=2)
    for number in range(rows.COUNTED + 5):
        here.store.put(f"a-{number:02}", "a.jsonl.gz", DAMAGED)
    here.store.put("b-1", "a.jsonl", ROWS)
    here.rest()
    assert times_asked(here) == {"b-1": 1}
    assert "cannot be read: " in here.reasons[-1]


def test_a_drop_that_could_not_be_read_once_is_read_again(world, monkeypatch):
    here = world(min_new_rows=2)
    for number in range(rows.COUNTED):
        here.store.put(f"a-{number:02}", "a.jsonl.gz", DAMAGED)
    here.store.put("b-1", "a.jsonl", ROWS)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise SourceUnavailableError("does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(tick, "count_rows", refuse)
        here.rest()
    assert times_asked(here) == {}
    here.rest()
    assert times_asked(here) == {"b-1": 1}


def test_damaged_drops_do_not_fill_what_is_watched(world, monkeypatch):
    monkeypatch.setattr(look_module, "WATCHED", 3)
    here = world(min_new_rows=2)
    for number in range(5):
        here.store.put(f"a-{number}", "a.jsonl.gz", DAMAGED)
    here.tick()
    here.store.put("b-1", "a.jsonl", ROWS)
    here.rest()
    assert times_asked(here) == {"b-1": 1}
