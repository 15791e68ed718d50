"""The sensor counts the run that the schedule has asked for before Dagster has made it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from ft_assets.automation import schedules
from ft_assets.automation.new_data.scheduled import MADE_WITHIN
from tests.support.new_data_looks import look
from tests.support.new_data_schedule import Schedule
from tests.support.new_data_world import World, times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n'
SIX, SEVEN = (datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in (6, 7))
LIMITS: list[Any] = [
    ({"runs_per_day": 1}, "drop-2: the budget of 1 automatic runs in 24 hours is used up"),
    ({"cool_down": 600}, "drop-2: cools down for 600 s more after the run before"),
]
ONE_AT_A_TIME = "drop-2: waits for the run of drop-1, one at a time as data accumulates"


@pytest.fixture
def here(world):
    """One drop, and a schedule beside the sensor, with these parameters."""

    def make(dataset: dict[str, Any] | None = None, **automation: Any) -> World:
        made: World = world(dataset, quiet=0, schedule="@daily", **automation)
        made.store.put("drop-1", "a.jsonl", ROWS)
        return made

    return make


def evaluated(here: World, at: datetime = SIX) -> dg.RunRequest | dg.SkipReason:
    """What the schedule says at this time."""
    return Schedule(here).evaluate(at)


def scheduled(here: World, at: datetime = SIX) -> dg.RunRequest:
    """The run that the schedule asks for."""
    request = evaluated(here, at)
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


def test_nor_when_the_clock_is_put_back_by_hours(here):
    world = here({"accumulate": True})
    scheduled(world)
    world.now -= 3600
    assert world.tick()


def test_a_look_that_read_its_clock_a_moment_before_counts_it(here):
    world = here({"accumulate": True})
    scheduled(world)
    world.now -= 0.001
    assert not world.tick()


def test_of_two_runs_of_the_schedule_none_hides_the_other(here):
    world = here(runs_per_day=3)
    scheduled(world, at=SIX)
    scheduled(world, at=SEVEN)
    world.store.put("drop-2", "a.jsonl", ROWS)
    world.tick()
    assert times_asked(world) == {"drop-1": 1}


def test_the_sensors_own_turn_hides_it_neither(here):
    world = here(runs_per_day=2)
    scheduled(world)
    world.tick()
    world.store.put("drop-2", "a.jsonl", ROWS)
    assert look(world) == "drop-2: the budget of 2 automatic runs in 24 hours is used up"


def test_who_loses_the_turn_takes_nothing_from_who_has_it(here, monkeypatch):
    world = here(runs_per_day=1)
    decide = schedules.room

    def slowly(*given: Any) -> Any:
        monkeypatch.setattr(schedules, "room", decide)
        scheduled(world)
        return decide(*given)

    monkeypatch.setattr(schedules, "room", slowly)
    assert isinstance(evaluated(world), dg.SkipReason)
    assert not world.tick()


# A daemon that was killed evaluates the same time again


def test_before_it_made_the_run_it_asks_for_the_same(here):
    world = here(runs_per_day=1)
    assert scheduled(world).run_key == scheduled(world).run_key == f"schedule:{SIX.isoformat()}"


@pytest.mark.parametrize("limit", [{"runs_per_day": 1}, {"cool_down": 600}])
@pytest.mark.parametrize("killed_after", ["created", "launched"])
def test_after_it_made_the_run_no_limit_keeps_it_from_being_launched(here, limit, killed_after):
    world = here(**limit)
    world.submit([scheduled(world)], killed_after=killed_after)
    world.store.put("drop-2", "a.jsonl", ROWS)
    again = scheduled(world)
    assert (again.run_key, again.partition_key) == (f"schedule:{SIX.isoformat()}", "drop-1")


def test_a_run_that_began_while_the_daemon_was_away_is_not_joined_by_another(here):
    world = here({"accumulate": True})
    Schedule(world).submit(scheduled(world), killed_after="created")
    world.now += MADE_WITHIN
    world.store.put("drop-2", "a.jsonl", ROWS)
    world.tick()
    assert times_asked(world) == {"drop-1": 1}
    said = evaluated(world)
    assert isinstance(said, dg.SkipReason)
    assert (said.skip_message or "").startswith("The run of drop-1 has begun in the place of run ")


def test_the_partition_of_a_run_that_is_asked_for_again_is_there(here):
    world = here(runs_per_day=1)
    Schedule(world).submit(scheduled(world), killed_after="created")
    world.instance.delete_dynamic_partition("world_drops", "drop-1")
    scheduled(world)
    assert list(world.instance.get_dynamic_partitions("world_drops")) == ["drop-1"]


def test_where_nothing_is_limited_nothing_waits(here):
    world = here()
    scheduled(world)
    assert world.tick()
