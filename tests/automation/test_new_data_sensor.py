"""The sensor for new data: what it asks for, when it waits, and what people read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.events import DagsterEventType
from dagster._core.instance.types import CachingDynamicPartitionsLoader

from ft_assets.automation.new_data import look
from ft_assets.automation.new_data.state import WATCHED
from ft_assets.code_location import default_resources
from ft_assets.config import load_pipeline
from ft_assets.pipeline import pipeline_definitions
from resources.sources import Sources, SourceUnavailableError
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World, asked_of, times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n'


@pytest.fixture
def world(instance, tmp_path):
    """``world(quiet=0, ...)``: a folder of drops and the sensor with these parameters."""

    def make(dataset=None, **automation):
        store = FolderStore(tmp_path / "drops")
        return World(store, instance, {"dataset": dataset or {}, "automation": automation})

    return make


def _look(world, after=0.0):
    world.now += after
    world.reasons.clear()
    world.tick()
    return world.reasons[-1] if world.reasons else None


# What is asked for


def test_a_new_drop_is_asked_for_with_its_partition_and_tags(world):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)
    result = here.evaluate(None)
    (request,) = result.run_requests
    token = here.token("drop-1")
    assert request.partition_key == "drop-1"
    assert request.run_key == f"drop-1:1:{token[:16]}"
    assert request.tags == {
        "pipeline": "world",
        "ft/automatic": "world",
        "ft/drop": "drop-1",
        "ft/token": token,
    }
    (added,) = result.dynamic_partitions_requests
    assert list(added.partition_keys) == ["drop-1"]


def test_the_same_version_is_not_asked_for_again(world):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick()
    assert _look(here) == "Nothing new: looked at 1 drop"
    assert times_asked(here) == {"drop-1": 1}


@pytest.mark.parametrize("change", ["overwritten", "a file more", "put again"])
def test_a_changed_drop_is_asked_for_again_under_the_next_number(world, change):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    if change == "put again":
        here.store.delete("drop-1")
    here.store.put("drop-1", "b.jsonl" if change == "a file more" else "a.jsonl", ROWS * 2)
    here.rest()
    assert [number for number, _ in asked_of(here.runs())["drop-1"]] == [1, 2]


def test_drops_are_asked_for_in_the_order_that_people_count_in(world):
    here = world(quiet=0)
    for drop in ("drop-10", "drop-9", "drop-2"):
        here.store.put(drop, "a.jsonl", ROWS)
    assert [one.partition_key for one in here.evaluate(None).run_requests] != []
    here.tick()
    assert sorted(times_asked(here)) == ["drop-10", "drop-2", "drop-9"]


def test_a_drop_whose_name_stands_before_those_that_were_seen_is_found(world):
    here = world(quiet=0)
    here.store.put("zzz", "a.jsonl", ROWS)
    here.rest()
    here.store.put("aaa", "a.jsonl", ROWS)
    here.rest()
    assert times_asked(here) == {"zzz": 1, "aaa": 1}


def test_a_run_that_was_made_and_never_launched_is_asked_for_until_it_is(world):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick(killed_after="created")
    (run,) = here.runs()
    assert run.status is dg.DagsterRunStatus.NOT_STARTED
    here.tick()
    (run,) = here.runs()
    assert run.status is dg.DagsterRunStatus.STARTING


def test_a_dataset_without_drops_is_asked_for_without_a_partition(instance, tmp_path):
    store = FolderStore(tmp_path / "drops")
    store.uri = f"{tmp_path}/drops/all.jsonl"
    here = World(store, instance, {"automation": {"quiet": 0}})
    (store.root / "all.jsonl").write_bytes(ROWS)
    result = here.evaluate(None)
    (request,) = result.run_requests
    assert request.partition_key is None
    assert request.run_key.startswith("(dataset):1:")
    assert not result.dynamic_partitions_requests


# When it waits


def test_a_drop_is_complete_when_two_looks_find_it_the_same(world):
    here = world(quiet=60)
    here.store.put("drop-1", "a.jsonl", ROWS)
    assert _look(here) == "drop-1: complete when unchanged for 60 s more"
    assert _look(here, after=20) == "drop-1: complete when unchanged for 40 s more"
    here.store.put("drop-1", "b.jsonl", ROWS)
    assert _look(here, after=45) == "drop-1: complete when unchanged for 60 s more"
    here.now += 60
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_a_clock_that_is_put_back_makes_nobody_wait_longer_than_quiet(world):
    here = world(quiet=60)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick()
    assert _look(here, after=-5000) == "drop-1: complete when unchanged for 60 s more"
    here.now += 60
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_with_a_marker_only_the_marker_completes_a_drop(world):
    here = world(marker="_SUCCESS")
    here.store.put("drop-1", "a.jsonl", ROWS)
    _look(here)
    assert _look(here, after=9000) == "drop-1: waits for the marker _SUCCESS"
    here.store.put("drop-1", "_SUCCESS", b"")
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_drops_that_never_get_a_marker_do_not_keep_others_out(world):
    here = world(marker="_SUCCESS")
    for number in range(WATCHED + 5):
        here.store.put(f"a-{number:03}", "a.jsonl", ROWS)
    _look(here)
    here.store.put("b-1", "a.jsonl", ROWS)
    here.store.put("b-1", "_SUCCESS", b"")
    _look(here)
    _look(here)
    assert times_asked(here) == {"b-1": 1}


def test_a_drop_with_too_few_rows_waits_until_it_has_grown(world):
    here = world(quiet=0, min_new_rows=5)
    here.store.put("drop-1", "a.jsonl", ROWS)
    assert _look(here) == "drop-1: 3 rows, waits for 5"
    here.store.put("drop-1", "b.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_when_data_accumulates_the_rows_of_all_that_waits_count_together(world):
    here = world({"accumulate": True}, quiet=0, min_new_rows=5)
    here.store.put("drop-1", "a.jsonl", ROWS)
    assert _look(here) == "drop-1: 3 rows, waits for 5"
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.rest()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


def test_what_exceeds_the_runs_of_a_day_waits_and_is_not_lost(world):
    here = world(quiet=0, runs_per_day=2)
    here.now = datetime.now(UTC).timestamp()
    for drop in ("drop-1", "drop-2", "drop-3"):
        here.store.put(drop, "a.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}
    reason = "drop-3: the budget of 2 automatic runs in 24 hours is used up"
    assert _look(here) == reason
    here.now += 25 * 3600
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1, "drop-3": 1}


def test_runs_cool_down(world):
    here = world(quiet=0, cool_down=600)
    here.now = datetime.now(UTC).timestamp()
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"drop-1": 1}
    assert "drop-2: cools down for " in _look(here, after=60)
    here.now += 600
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


def test_gpu_hours_of_the_last_day_are_a_budget(world):
    here = world(quiet=0, gpu_hours_per_day=2)
    here.now = datetime.now(UTC).timestamp()
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    (run,) = here.runs()
    here.instance.add_run_tags(run.run_id, {"ft/gpu_hours": "2.5"})
    here.end(run.run_id, DagsterEventType.PIPELINE_SUCCESS)
    here.store.put("drop-2", "a.jsonl", ROWS)
    assert _look(here) == "drop-2: the budget of 2 GPU hours in 24 hours is used up (2.5)"
    here.now += 25 * 3600
    here.tick()
    assert times_asked(here) == {"drop-1": 1, "drop-2": 1}


def test_a_dry_run_says_what_it_would_run_and_runs_nothing(world):
    here = world(quiet=0, dry_run=True)
    here.store.put("drop-1", "a.jsonl", ROWS)
    for _ in range(2):
        assert _look(here) == "Dry run: would run drop-1"
    assert here.runs() == []
    assert list(here.instance.get_dynamic_partitions("world_drops")) == []


# When data accumulates


def test_accumulated_drops_run_one_at_a_time_the_oldest_first(world):
    here = world({"accumulate": True}, quiet=0)
    for drop in ("drop-10", "drop-2"):
        here.store.put(drop, "a.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"drop-2": 1}
    waits = "drop-10: waits for the run of drop-2, one at a time as data accumulates"
    assert _look(here) == waits
    here.end_all()
    here.tick()
    assert times_asked(here) == {"drop-2": 1, "drop-10": 1}


@pytest.mark.parametrize("change", ["changed", "late"])
def test_a_change_makes_the_accumulated_drops_behind_it_run_again(world, change):
    here = world({"accumulate": True}, quiet=0)
    for drop in ("drop-1", "drop-3", "drop-4"):
        here.store.put(drop, "a.jsonl", ROWS)
    here.rest()
    here.store.put("drop-3" if change == "changed" else "drop-2", "b.jsonl", ROWS)
    here.rest()
    expected = {"drop-1": 1, "drop-3": 2, "drop-4": 2}
    assert times_asked(here) == (expected if change == "changed" else {**expected, "drop-2": 1})


# What goes wrong


def test_a_source_that_does_not_answer_ends_the_look_and_loses_nothing(world, monkeypatch):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)

    def refuse(*args, **kwargs):
        raise SourceUnavailableError("s3://bucket: does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(type(here.store.sources), "drop_pages", refuse)
        reason = _look(here)
    assert reason == "The source could not be looked at: s3://bucket: does not answer"
    here.tick()
    assert times_asked(here) == {"drop-1": 1}


def test_one_drop_that_cannot_be_read_does_not_hide_the_others(world, tmp_path):
    here = world(quiet=0)
    (here.store.root / "bad").symlink_to(tmp_path)
    here.store.put("good", "a.jsonl", ROWS)
    here.tick()
    assert times_asked(here) == {"good": 1}
    assert "bad: cannot be read: " in _look(here)


def test_a_cursor_that_cannot_be_read_starts_anew_and_asks_for_nothing_twice(world):
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    for broken in ("not json", '{"version": 99}', "[]"):
        here.write_cursor(broken)
        here.rest()
    assert times_asked(here) == {"drop-1": 1}


def test_the_cursor_stays_small_whatever_waits(world):
    here = world(quiet=60)
    for number in range(WATCHED + 100):
        here.store.put(f"drop-{number}", "a.jsonl", ROWS)
    here.tick()
    assert len(json.loads(here.cursor)["watched"]) == WATCHED
    assert len(here.cursor) < 32_000


def test_more_drops_than_are_watched_are_all_asked_for(world, monkeypatch):
    monkeypatch.setattr(look, "WATCHED", 5)
    here = world(quiet=60)
    for number in range(18):
        here.store.put(f"drop-{number}", "a.jsonl", ROWS)
    here.rest()
    assert len(times_asked(here)) == 18


# As Dagster sees it


def _sensor_of(tiny):
    pipeline = load_pipeline(tiny.file)
    definitions = dg.Definitions.merge(
        dg.Definitions(resources=default_resources()), pipeline_definitions(pipeline)
    )
    repository = definitions.get_repository_def()
    return repository.get_sensor_def("tiny_new_data"), repository


def test_it_is_off_until_it_is_switched_on(tiny):
    sensor, _ = _sensor_of(tiny)
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 60
    sensor, _ = _sensor_of(tiny.write({"automation": {"enabled": True, "interval": 300}}))
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 300


def test_dagster_takes_what_it_asks_for(tiny, instance):
    """The whole tick: the pipeline's own job, and a partition that is not there yet."""
    sensor, repository = _sensor_of(tiny.write({"automation": {"quiet": 0}}))
    resources = {"sources": Sources(data_roots=[str(tiny.data)])}
    with dg.build_sensor_context(
        instance, repository_def=repository, resources=resources
    ) as context:
        # As in Dagster's own server, where the context knows how to reach the instance.
        loader = CachingDynamicPartitionsLoader(instance)
        context.__dict__["caching_dynamic_partitions_loader"] = loader
        (request,) = sensor.evaluate_tick(context).run_requests
    assert request.tags["dagster/partition"] == "drop-1"
    assert request.tags["dagster/sensor_name"] == "tiny_new_data"
