"""``watch_base_model``: which run a new commit of the base model asks for, and what people read."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from resources.sources import SourceUnavailableError
from tests.support.loopback_hub import LoopbackHub, Repo, commit_of, loopback_hub
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World

ROWS = b'{"text": "a"}\n{"text": "b"}\n'
OLD, NEW = {"config.json": b"{}"}, {"config.json": b"{ }"}
MOVED = "The base model org/model has a new commit: "


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Generator[LoopbackHub]:
    with loopback_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        server.models["org/model"] = Repo({"main": OLD})
        yield server


@pytest.fixture
def world(instance, hub: LoopbackHub, tmp_path: Path) -> Callable[..., World]:
    def make(dataset: dict[str, Any] | None = None, **automation: Any) -> World:
        watching = {"quiet": 0, "watch_base_model": True, **automation}
        config = {
            "automation": watching,
            "training": {"base_model": "org/model"},
            "dataset": dataset or {},
        }
        return World(FolderStore(tmp_path / "drops"), instance, config)

    return make


def _move(hub: LoopbackHub, to: dict[str, bytes] = NEW) -> None:
    hub.models["org/model"].branches["main"] = to


def _look(world: World) -> str | None:
    """What people read of one more look."""
    world.now += 1
    world.reasons.clear()
    world.tick()
    return world.reasons[-1] if world.reasons else None


def _runs(world: World) -> list[tuple[str, str]]:
    """What asked for each run, and the drop it is on."""
    return [
        (run.tags["dagster/run_key"].rpartition(":")[0], run.tags["dagster/partition"])
        for run in world.runs()
    ]


def test_without_a_drop_the_commit_is_told_and_the_first_drop_runs_once(world, hub):
    here = world()
    here.tick()
    _move(hub)
    for _ in range(2):
        assert _look(here) == f"{MOVED}no drop is complete yet"
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    assert _runs(here) == [("drop-1:1", "drop-1")]


def test_a_drop_that_is_asked_for_in_the_same_look_takes_the_new_commit(world, hub):
    here = world()
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    _move(hub)
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.rest()
    assert _runs(here) == [("drop-1:1", "drop-1"), ("drop-2:1", "drop-2")]


def test_a_source_that_does_not_answer_loses_no_commit(world, hub, monkeypatch):
    here = world()
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    _move(hub)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise SourceUnavailableError("the volume does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(type(here.store.sources), "drop_version", refuse)
        reason = _look(here)
    expected = "the source could not be looked at: the volume does not answer"
    assert reason == f"{MOVED}{expected}"
    here.rest()
    assert _runs(here)[1:] == [("(base model org/model):2", "drop-1")]


def test_a_model_that_goes_back_and_forth_runs_each_time(world, hub):
    here = world()
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    for commit in (NEW, OLD, NEW):
        _move(hub, commit)
        here.rest()
    *_, back, again = here.runs()
    assert len(here.runs()) == 4
    assert back.tags["ft/token"] == commit_of(OLD)
    assert again.tags["ft/token"] == commit_of(NEW)


def test_a_drop_whose_own_run_was_to_take_the_commit_and_that_is_gone_loses_no_commit(world, hub):
    here = world()
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    _move(hub)
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.tick(killed_after="evaluated")
    here.store.delete("drop-2")
    here.rest()
    assert _runs(here)[1:] == [("(base model org/model):3", "drop-1")]


def test_a_model_that_cannot_be_looked_at_hides_no_other_one(instance, hub, tmp_path):
    hub.models["org/other"] = Repo({"main": OLD})
    config = {
        "automation": {"quiet": 0, "watch_base_model": True},
        "training": {"base_model": "org/model"},
        "recipes": {"other": {"base_model": "org/other"}},
    }
    here = World(FolderStore(tmp_path / "drops"), instance, config)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    del hub.models["org/model"]
    hub.models["org/other"].branches["main"] = NEW
    here.rest()
    assert _runs(here)[1:] == [("(base model org/other):2", "drop-1")]
    assert here.reasons[-1].startswith("The base model could not be looked at: ")


@pytest.mark.parametrize("newest", ["unmarked", "written again", "deleted", "asked for by nobody"])
def test_it_runs_the_newest_drop_that_is_complete(world, hub, newest):
    here = world(marker="_SUCCESS")
    for drop in ("drop-9", "drop-10", "drop-11"):
        here.store.put(drop, "a.jsonl", ROWS)
        if not (drop == "drop-11" and newest == "asked for by nobody"):
            here.store.put(drop, "_SUCCESS", b"")
    here.rest()
    if newest in {"unmarked", "written again"}:
        (here.store.root / "drop-11" / "_SUCCESS").unlink()
    if newest == "written again":
        here.store.put("drop-11", "a.jsonl", ROWS * 2)
    if newest == "deleted":
        here.store.delete("drop-11")
    before = len(here.runs())
    _move(hub)
    here.rest()
    assert _runs(here)[before:] == [("(base model org/model):2", "drop-10")]


def test_a_dataset_without_drops_is_run_without_a_partition(instance, hub, tmp_path):
    store = FolderStore(tmp_path / "drops")
    store.uri = f"{tmp_path}/drops/all.jsonl"
    automation = {"quiet": 0, "watch_base_model": True}
    here = World(
        store, instance, {"automation": automation, "training": {"base_model": "org/model"}}
    )
    (store.root / "all.jsonl").write_bytes(ROWS)
    here.rest()
    _move(hub)
    here.rest()
    *_, run = here.runs()
    assert run.tags["dagster/run_key"].startswith("(base model org/model):2:")
    assert "dagster/partition" not in run.tags


# What people read


def test_a_dry_run_says_which_drop_it_would_run(world, hub):
    here = world()
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    spec = here.pipeline.spec
    dry = spec.automation.model_copy(update={"dry_run": True})
    object.__setattr__(spec, "automation", dry)
    _move(hub)
    assert _look(here) == f"{MOVED}dry run: would run drop-1"
    assert len(here.runs()) == 1


def test_a_budget_that_is_used_up_is_told_and_the_commit_waits(world, hub):
    here = world(runs_per_day=1)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick()
    _move(hub)
    used_up = "the budget of 1 automatic runs in 24 hours is used up"
    assert _look(here) == f"{MOVED}{used_up}"
    here.now += 25 * 3600
    here.rest()
    assert _runs(here)[1:] == [("(base model org/model):2", "drop-1")]


def test_a_run_for_a_commit_that_was_not_made_yet_uses_the_budget(world, hub):
    here = world(runs_per_day=2)
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.tick()
    _move(hub)
    here.tick(killed_after="evaluated")
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.tick()
    assert _runs(here)[1:] == [("(base model org/model):2", "drop-1")]
    here.rest()
    assert _runs(here)[2:] == [("drop-2:1", "drop-2")]
