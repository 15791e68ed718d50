"""The sensor over each kind of source, and a base model that moves; the servers are real."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.sources import Sources
from tests.support.loopback_hub import LoopbackHub, Repo, commit_of, loopback_hub, served
from tests.support.new_data_stores import FolderStore
from tests.support.new_data_world import World, asked_of, number_of

ROWS = b'{"text": "a"}\n{"text": "b"}\n'


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Generator[LoopbackHub]:
    with loopback_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@dataclass
class OneDataset:
    """A dataset without drops, which changes by itself."""

    uri: str
    sources: Sources

    def put(self, drop: str, file: str, content: bytes) -> None: ...
    def delete(self, drop: str) -> None: ...
    def clear(self) -> None: ...


def watching(instance: dg.DagsterInstance, uri: str, **config: Any) -> World:
    sources = Sources(data_roots=[], allow_private_addresses=True)
    return World(OneDataset(uri, sources), instance, {"automation": {"quiet": 0}, **config})


def numbers(world: World) -> list[int]:
    """The numbers of the runs of the one dataset."""
    return sorted(number_of(run) for run in world.runs())


def test_a_new_commit_of_a_hub_dataset_is_asked_for_once(instance, hub: LoopbackHub):
    repo = hub.datasets["org/rows"] = Repo({"main": {"train.jsonl": ROWS}})
    here = watching(instance, "hf://org/rows")
    here.rest()
    here.rest()
    assert numbers(here) == [1]
    repo.branches["main"] = {"train.jsonl": ROWS * 2}
    here.rest()
    assert numbers(here) == [1, 2]


def test_another_etag_of_a_file_over_https_is_asked_for_once(instance):
    etags = ['"a"']

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("ETag", etags[-1])
            self.send_header("Content-Length", str(len(ROWS)))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    with served(Handler) as endpoint:
        here = watching(instance, f"{endpoint}/rows.jsonl")
        here.rest()
        here.rest()
        assert numbers(here) == [1]
        etags.append('"b"')
        here.rest()
    assert numbers(here) == [1, 2]


def test_drops_on_a_volume_are_asked_for(instance, tmp_path: Path):
    store = FolderStore(tmp_path / "claims" / "rows")
    store.uri = "pvc://rows/{partition}/"
    store.sources = Sources(data_roots=[], pvc_root=str(tmp_path / "claims"))
    here = World(store, instance, {"automation": {"quiet": 0}})
    store.put("drop-1", "a.jsonl", ROWS)
    here.rest()
    assert list(asked_of(here.runs())) == ["drop-1"]


# The base model

OLD, NEW = {"config.json": b"{}"}, {"config.json": b"{ }"}


@pytest.fixture
def on_a_hub_model(instance, hub: LoopbackHub, tmp_path: Path) -> World:
    hub.models["org/model"] = Repo({"main": OLD})
    automation = {"quiet": 0, "watch_base_model": True}
    config = {"automation": automation, "training": {"base_model": "org/model"}}
    return World(FolderStore(tmp_path / "drops"), instance, config)


def test_a_new_commit_of_the_base_model_runs_the_newest_drop(
    on_a_hub_model: World, hub: LoopbackHub
):
    here = on_a_hub_model
    here.store.put("drop-1", "a.jsonl", ROWS)
    here.store.put("drop-2", "a.jsonl", ROWS)
    here.rest()
    assert len(here.runs()) == 2
    hub.models["org/model"].branches["main"] = NEW
    here.rest()
    *_, run = here.runs()
    assert run.tags["dagster/run_key"] == f"(base model org/model):2:{commit_of(NEW)[:16]}"
    assert run.tags["dagster/partition"] == "drop-2"
    here.rest()
    assert len(here.runs()) == 3


def test_a_hub_that_does_not_answer_stops_no_data(on_a_hub_model: World, hub: LoopbackHub):
    here = on_a_hub_model
    here.store.put("drop-1", "a.jsonl", ROWS)
    hub.busy.extend([{}] * 2)
    here.tick()
    assert list(asked_of(here.runs())) == ["drop-1"]
    here.reasons.clear()
    here.tick()
    assert here.reasons[-1].startswith("The base model could not be looked at: ")
    assert "503" in here.reasons[-1]
