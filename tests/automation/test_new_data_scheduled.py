"""The sensor counts the run that the schedule has asked for before Dagster has made it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from ft_assets.automation.new_data.scheduled import MADE_WITHIN
from ft_assets.automation.schedules import schedule_of
from tests.support.new_data_looks import look
from tests.support.new_data_world import World, times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n'
SIX = datetime(2026, 11, 23, 6, tzinfo=UTC)
LIMITS: list[Any] = [
    ({"runs_per_day": 1}, "drop-2: the budget of 1 automatic runs in 24 hours is used up"),
    ({"cool_down": 600}, "drop-2: cools down for 600 s more after the run before"),
]
ONE_AT_A_TIME = "drop-2: waits for the run of drop-1, one at a time as data accumulates"


@pytest.fixture
def instance(tmp_path_factory):
    """On disk: a schedule opens its instance anew."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture
def here(world):
    """One drop, and a schedule beside the sensor, with these parameters."""

    def make(dataset: dict[str, Any] | None = None, **automation: Any) -> World:
        made: World = world(dataset, quiet=0, schedule="@daily", **automation)
        made.store.put("drop-1", "a.jsonl", ROWS)
        return made

    return make


def scheduled(here: World) -> dg.RunRequest:
    """What the schedule asks for at six."""
    job: Any = dg.define_asset_job("world")
    schedule: Any = schedule_of(here.pipeline, job, clock=lambda: here.now)
    with dg.build_schedule_context(here.instance, scheduled_execution_time=SIX) as context:
        request = schedule(context, sources=here.store.sources)
    assert isinstance(request, dg.RunRequest)
    return request


@pytest.mark.parametrize(("limit", "reason"), LIMITS)
def test_it_counts_in_the_limits(here, limit, reason):
    world = here(**limit)
    assert scheduled(world).partition_key == "drop-1"
    world.store.put("drop-2", "a.jsonl", ROWS)
    world.store.delete("drop-1")
    assert look(world) == reason
    assert times_asked(world) == {}


def test_what_builds_on_it_waits(here):
    world = here({"accumulate": True})
    scheduled(world)
    world.store.delete("drop-1")
    world.store.put("drop-2", "a.jsonl", ROWS)
    assert look(world) == ONE_AT_A_TIME


def test_what_the_sensor_asks_for_again_waits_too(here):
    world = here({"accumulate": True})
    world.tick(killed_after="evaluated")
    scheduled(world)
    assert look(world) == ONE_AT_A_TIME.replace("drop-2", "drop-1")


def test_once_made_it_counts_as_the_run_that_it_is(here):
    world = here({"accumulate": True})
    request = scheduled(world)
    world.submit([request])
    world.end_all()
    world.store.put("drop-2", "a.jsonl", ROWS)
    assert world.tick()


def test_one_that_is_made_and_not_launched_may_still_begin(here):
    world = here({"accumulate": True})
    world.submit([scheduled(world)], killed_after="created")
    world.store.delete("drop-1")
    world.store.put("drop-2", "a.jsonl", ROWS)
    assert look(world) == ONE_AT_A_TIME


def test_nobody_waits_long_for_one_that_was_only_looked_at(here):
    world = here({"accumulate": True})
    scheduled(world)
    assert not world.tick()
    world.now += MADE_WITHIN
    assert world.tick()


def test_nor_when_the_clock_is_put_back(here):
    world = here({"accumulate": True})
    scheduled(world)
    world.now -= 3600
    assert world.tick()


def test_the_daemon_that_was_killed_asks_for_the_same_run(here):
    world = here(runs_per_day=5)
    assert scheduled(world).run_key == scheduled(world).run_key == f"schedule:{SIX.isoformat()}"


def test_where_nothing_is_limited_nothing_waits(here):
    world = here()
    scheduled(world)
    assert world.tick()
