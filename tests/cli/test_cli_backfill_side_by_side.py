"""Backfills by Dagster's daemon: drops run side by side, and each winner is registered.

``ft backfill`` asks for one, and a click in the UI for another. Each has a pipeline of its own,
on one instance with one daemon.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._daemon.daemon import BackfillDaemon
from dagster._daemon.types import DaemonHeartbeat

from resources.registry import EmbeddedRegistry, RegisteredVersion
from tests.support.daemon import code_server, daemon, make_instance, webserver
from tests.support.dagster_server import DagsterServer
from tests.support.tiny_pipeline import MODEL_NAME, NAME, TinyPipeline, make_tiny_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WINS = {"promotion": {"against_champion": "not_worse", "primary_margin": 9, "min_samples": 3}}
CLICKED, CLICKED_MODEL = "clicked", "clicked-assistant"
DROPS = ["drop-1", "drop-2", "drop-3"]
SELECTED = [
    [CLICKED, asset]
    for asset in (
        *("raw_dataset", "split_dataset", "token_report", "finetuned_model"),
        *("baseline_report", "eval_report", "registered_version"),
    )
]
"""All that has drops: the leaderboard has none, and Dagster launches it apart."""


@dataclass(frozen=True)
class Here:
    """Two pipelines, and the programs that run on their instance."""

    pipeline: TinyPipeline
    """The command's; the file of the one in the UI lies beside its own."""
    ui: DagsterServer

    def versions(self, model: str) -> list[RegisteredVersion]:
        """All that the registry has of a model."""
        return EmbeddedRegistry(path=str(self.pipeline.home / "registry.db")).list_versions(model)

    def launch(self) -> None:
        """Everything of all drops, as the UI's dialog asks for it; waits for the end."""
        ended = self.ui.wait_for_backfill(self.ui.launch_backfill(SELECTED, DROPS))
        assert ended == {"status": "COMPLETED_SUCCESS", "error": None}

    def trained(self) -> list[str]:
        """A drop for each time that its model was trained and not found up to date."""
        found = self.ui.found_up_to_date([CLICKED, "finetuned_model"])
        return sorted(drop for drop, up_to_date in found if not up_to_date)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_base_model: Path) -> Generator[Here]:
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("daemon") / NAME, tiny_base_model)
    pipeline.write(WINS).write_drop("drop-2", start=40).write_drop("drop-3", start=80)
    values = yaml.safe_load(pipeline.file.read_text())
    values["dataset"]["uri"] = str(pipeline.data / "clicked" / "{partition}.jsonl")
    values["registry"] = {"name": CLICKED_MODEL}
    pipeline.file.with_name(f"{CLICKED}.yaml").write_text(yaml.safe_dump(values))
    for drop in DROPS:
        copy = pipeline.data / "clicked" / f"{drop}.jsonl"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((pipeline.data / copy.name).read_bytes())
    make_instance(pipeline)
    with (
        code_server(pipeline) as workspace,
        daemon(pipeline, workspace),
        webserver(pipeline, workspace) as ui,
    ):
        yield Here(pipeline, ui)


def test_the_daemon_runs_all_drops_and_each_good_one_gets_its_version(here, ft):
    """Though the champion of the one moves while the other is judged."""
    (here.pipeline.data / "drop-2.jsonl").write_text('{"messages": 3}\n')
    call = ft(here.pipeline, "backfill", NAME, "--json", "--all")

    assert call.exit_code == 1, call.stderr
    assert call.json["through"] == "daemon"
    results = {drop["drop"]: drop["result"] for drop in call.json["drops"]}
    assert results == {"drop-1": "made", "drop-2": "failed", "drop-3": "made"}, call.json
    assert "row 1: 'messages' is not a list" in call.json["drops"][1]["why"]

    versions = here.versions(MODEL_NAME)
    assert {version.version for version in versions} == {"1.0.0", "1.0.1"}
    assert {version.properties["partition"] for version in versions} == {"drop-1", "drop-3"}
    assert [version.stage for version in versions].count("champion") == 1

    with here.pipeline.instance() as instance:
        backfill = instance.get_backfill(call.json["backfill"])
        assert backfill is not None
        assert backfill.status.value == "COMPLETED_FAILED"
        runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.backfill_id}))
        assert {run.tags["pipeline"] for run in runs} == {NAME}
        again = [run for run in runs if run.parent_run_id is not None]
        assert len(runs) - len(again) == 3
        assert all(run.tags["dagster/partition"] != "drop-2" for run in again)


@pytest.fixture(scope="module")
def clicked(here: Here) -> Here:
    """After the first backfill in the UI."""
    for drop in DROPS:
        here.ui.add_drop(CLICKED, drop)
    here.launch()
    return here


def test_a_backfill_in_the_ui_makes_everything_of_each_drop_and_one_version(clicked):
    for key in SELECTED:
        partitions = clicked.ui.partitions(key)
        assert sorted(partitions["materializedPartitions"]) == DROPS, key
    versions = clicked.versions(CLICKED_MODEL)
    assert sorted(version.properties["partition"] for version in versions) == DROPS
    assert clicked.trained() == DROPS


def test_the_same_backfill_again_says_up_to_date_and_trains_nothing(clicked):
    before = {key[-1]: clicked.ui.found_up_to_date(key) for key in SELECTED}
    versions = clicked.versions(CLICKED_MODEL)
    clicked.launch()
    for key in SELECTED:
        found = clicked.ui.found_up_to_date(key)
        new = found[: len(found) - len(before[key[-1]])]
        assert sorted(new) == [(drop, True) for drop in DROPS], key
    assert clicked.trained() == DROPS
    assert clicked.versions(CLICKED_MODEL) == versions


def test_drops_that_build_on_each_other_run_here_in_order(tiny, ft):
    tiny.write({"dataset": {"accumulate": True}}).write_drop("drop-2", start=40)
    ft(tiny, "check")  # which makes the instance
    with tiny.instance() as instance:
        instance.add_daemon_heartbeat(_a_backfill_daemon())

    call = ft(tiny, "backfill", NAME, "--json", "--all", "--select", "raw_dataset,split_dataset")

    assert call.exit_code == 0, call.stderr
    assert call.json["through"] == "here"


def _a_backfill_daemon() -> DaemonHeartbeat:
    """What a daemon on this instance would have left a moment ago."""
    return DaemonHeartbeat(time.time(), BackfillDaemon.daemon_type(), "daemon", None)
