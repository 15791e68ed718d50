"""Runs that build on each other go one at a time, in order; none waits for what never ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ft_assets.automation.one_at_a_time import one_at_a_time
from ft_assets.config import Pipeline, PipelineSpec
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World, times_asked

ROWS = b'{"text": "a"}\n{"text": "b"}\n'
CHAMPION = {"start_from": "champion"}
STARTING = dg.DagsterRunStatus.STARTING
DROPS = ("drop-1", "drop-2", "drop-10")


@pytest.fixture
def world(instance, tmp_path):
    def make(**config):
        store: Any = FolderStore(tmp_path / "drops")
        return World(store, instance, {"automation": {"quiet": 0}, **config})

    return make


def _pipeline(**config) -> Pipeline:
    spec = {"name": "mine", "dataset": {"uri": "/data/{partition}.jsonl"}, **config}
    return Pipeline(PipelineSpec.model_validate(spec), Path("mine.yaml"))


def _asked(world) -> list[str]:
    return [run.tags["ft/drop"] for run in world.runs()]


def _look(world) -> str:
    world.now += 60
    world.reasons.clear()
    world.tick()
    return "".join(world.reasons)


def test_drops_that_stand_alone_run_at_the_same_time(world):
    here = world()
    assert not one_at_a_time(here.pipeline)
    for drop in DROPS:
        here.store.put(drop, "a.jsonl", ROWS)
    here.tick()
    assert sorted(_asked(here)) == sorted(DROPS)


def test_drops_that_start_from_the_champion_run_one_at_a_time_in_order(world):
    here = world(training=CHAMPION)
    for drop in reversed(DROPS):
        here.store.put(drop, "a.jsonl", ROWS)
    here.tick()
    assert _asked(here) == ["drop-1"]
    assert _look(here) == (
        "drop-2, drop-10: waits for the run of drop-1, one at a time as each starts from the "
        "champion"
    )
    for number in (2, 3):
        here.end_all()
        _look(here)
        assert _asked(here) == list(DROPS[:number])


@pytest.mark.parametrize(
    "config",
    [
        {"dataset": {"uri": "/data/{partition}.jsonl", "accumulate": True}},
        {"training": CHAMPION},
        {"recipes": {"fast": {"learning_rate": 1e-3}, "lasting": CHAMPION}},
        {"training": CHAMPION, "recipes": {"anew": {"start_from": "base"}}},
    ],
    ids=["accumulate", "the training", "one recipe", "all but one recipe"],
)
def test_one_that_builds_on_the_run_before_is_enough(config):
    assert one_at_a_time(_pipeline(**config))


def test_recipes_that_start_from_the_base_stand_alone():
    assert not one_at_a_time(_pipeline(recipes={"fast": {"learning_rate": 1e-3}}))


@pytest.mark.parametrize("config", [{"dataset": {"accumulate": True}}, {"training": CHAMPION}])
def test_a_run_that_was_never_launched_and_whose_drop_is_gone_holds_nobody_up(world, config):
    here = world(**config)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick(killed_after="created")
    here.store.delete("drop-1")
    here.store.put("drop-2", "a.jsonl", ROWS)
    _look(here)
    assert _asked(here) == ["drop-1", "drop-2"]
    assert [run.status for run in here.runs()] == [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
    ]


def test_a_run_that_was_not_launched_yet_comes_first_while_its_drop_is_there(world):
    here = world(training=CHAMPION)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick(killed_after="created")
    here.store.put("drop-0", "a.jsonl", ROWS)
    _look(here)
    assert _asked(here) == ["drop-1"]
    here.end_all()
    _look(here)
    assert _asked(here) == ["drop-1", "drop-0"]


@pytest.mark.parametrize("step", ["evaluated", "created"])
@pytest.mark.parametrize("config", [{"dataset": {"accumulate": True}}, {"training": CHAMPION}])
def test_a_drop_that_comes_back_waits_for_the_run_that_began_in_its_place(world, config, step):
    here = world(**config)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick(killed_after=step)
    here.store.delete("drop-1")
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.tick()
    here.store.put("drop-1", "a.jsonl", ROWS)
    assert _look(here).startswith("drop-1: waits for the run of drop-2, one at a time")
    here.end_all()
    _look(here)
    begun = [run.tags["ft/drop"] for run in here.runs() if run.status is STARTING]
    assert begun == ["drop-1"]


# When data accumulates


def test_accumulated_drops_run_one_at_a_time_the_oldest_first(world):
    here = world(dataset={"accumulate": True})
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
    here = world(dataset={"accumulate": True})
    for drop in ("drop-1", "drop-3", "drop-4"):
        here.store.put(drop, "a.jsonl", ROWS)
    here.rest()
    here.store.put("drop-3" if change == "changed" else "drop-2", "b.jsonl", ROWS)
    here.rest()
    expected = {"drop-1": 1, "drop-3": 2, "drop-4": 2}
    assert times_asked(here) == (expected if change == "changed" else {**expected, "drop-2": 1})
