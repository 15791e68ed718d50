"""The sensor for new data: what it asks for, and how Dagster takes it."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.instance.types import CachingDynamicPartitionsLoader

from ft_assets.code_location import default_resources
from ft_assets.config import load_pipeline
from ft_assets.pipeline import pipeline_definitions
from resources.sources import Sources
from tests.support.new_data_looks import look
from tests.support.new_data_machine import ENDS
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World, asked_of, times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n'


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
    assert look(here) == "Nothing new: looked at 1 drop"
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


@pytest.mark.parametrize("end", ENDS)
def test_a_version_is_not_asked_for_again_however_its_run_ends(world, end):
    """The same data would fail again; what was canceled was not wanted."""
    here = world(quiet=0)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    here.end_all(*end)
    here.rest()
    assert times_asked(here) == {"drop-1": 1}
    here.store.put("drop-1", "a.jsonl", ROWS * 2)
    here.rest()
    assert times_asked(here) == {"drop-1": 2}


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
