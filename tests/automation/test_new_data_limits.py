"""How much may run: runs and GPU hours of a day, a cool-down, nothing at all in a dry run."""

from __future__ import annotations

from dagster._core.events import DagsterEventType

from tests.support.new_data_looks import look
from tests.support.new_data_world import DAY, times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n'


def test_what_exceeds_the_runs_of_a_day_waits_and_is_not_lost(world):
    here = world(quiet=0, runs_per_day=2)
    for drop in ("drop-1", "drop-2", "drop-3"):
        here.store.put(drop, "a.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}
    reason = "drop-3: the budget of 2 automatic runs in 24 hours is used up"
    assert look(here) == reason
    here.now += 25 * 3600
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1, "drop-3": 1}


def test_a_drop_that_comes_back_waits_for_the_budget_that_others_have_used(world):
    here = world(quiet=0, runs_per_day=1)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick(killed_after="evaluated")
    here.store.delete("drop-1")
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.tick()
    here.store.put("drop-1", "a.jsonl", ROWS)
    used_up = "drop-1: the budget of 1 automatic runs in 24 hours is used up"
    assert look(here) == used_up
    assert times_asked(here) == {"drop-2": 1}
    here.now += DAY
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


def test_of_two_looks_at_the_same_time_one_has_the_last_run_of_the_day(world):
    here = world(quiet=0, runs_per_day=1)
    here.store.put("drop-2", "a.jsonl", ROWS)

    def meanwhile() -> None:
        here.store.put("drop-1", "a.jsonl", ROWS)
        here.finish(here.evaluate(None))

    with here.before_the_ledger_is_written(meanwhile):
        result = here.evaluate(None)
    here.finish(result)
    assert times_asked(here) == {"drop-1": 1}
    assert here.reasons == ["Another look is going on: the next one goes on"]
    here.rest()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


def test_a_run_in_the_place_of_one_that_failed_counts_too(world):
    here = world(quiet=0, runs_per_day=2)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick()
    here.end_all(DagsterEventType.PIPELINE_FAILURE, retried=True)
    here.store.put("drop-2", "a.jsonl", ROWS)
    assert look(here) == "drop-2: the budget of 2 automatic runs in 24 hours is used up"


def test_runs_cool_down(world):
    here = world(quiet=0, cool_down=600)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"drop-1": 1}
    assert "drop-2: cools down for " in look(here, after=60)
    here.now += 600
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


def test_gpu_hours_of_the_last_day_are_a_budget(world):
    here = world(quiet=0, gpu_hours_per_day=2)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    (run,) = here.runs()
    here.instance.add_run_tags(run.run_id, {"ft/gpu_hours": "2.5"})
    here.end(run.run_id, DagsterEventType.PIPELINE_SUCCESS)
    here.store.put("drop-2", "a.jsonl", ROWS)
    assert look(here) == "drop-2: the budget of 2 GPU hours in 24 hours is used up (2.5)"
    here.now += 25 * 3600
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


def test_a_dry_run_says_what_it_would_run_and_runs_nothing(world):
    here = world(quiet=0, dry_run=True)
    here.store.put("drop-1", "a.jsonl", ROWS)
    for _ in range(2):
        assert look(here) == "Dry run: would run drop-1"
    assert here.runs() == []
    assert list(here.instance.get_dynamic_partitions("world_drops")) == []
