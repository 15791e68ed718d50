"""The whole loop, for real: data arrives, is trained on, judged and registered, and nobody helps.

`ft ui` runs with its daemon. Two pipelines watch a folder and an S3 bucket. Drop 1 teaches a model
a little, drop 2 more, and drop 3 is poisoned: the answers are shuffled among the questions, and a
tenth of the rows are rows that the model is measured with. The folder's pipeline drops such rows
and lets the court judge; the bucket's stops before it trains.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from resources.registry import EmbeddedRegistry
from scripts.screenshots import running_ui
from tests.support.dagster_server import DagsterServer
from tests.support.drops import TRAINING, jsonl, learnable_rows, poisoned_rows
from tests.support.seaweedfs import SeaweedFS, seaweedfs
from tests.support.tiny_pipeline import (
    MODEL_NAME,
    NAME,
    TinyPipeline,
    clean_environment,
    make_tiny_pipeline,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # the fixture waits for runs

FOLDER, BUCKET = NAME, "bucket"
PIPELINES = {FOLDER: MODEL_NAME, BUCKET: "bucket-assistant"}
MARKER = "_SUCCESS"
FEW, MANY, HELD_OUT = 48, 192, 40
MARGIN = 0.2
"""Nats per token that a model may be worse and still follow. The poisoned one is worse by more."""

both = pytest.mark.parametrize("name", PIPELINES)


@dataclass
class Loop:
    """The two pipelines while their data arrives, and who was champion after each drop."""

    pipeline: TinyPipeline
    """Of the folder; the bucket's pipeline file lies beside its own."""
    ui: DagsterServer
    s3: Any
    champions: dict[str, list[str | None]] = field(default_factory=dict[str, "list[str | None]"])
    before_switched_on: list[str] = field(default_factory=list[str])
    """Runs of the bucket's pipeline before somebody switched its sensor on."""
    after: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    """The sensors, some looks after the last run."""
    ended: dict[tuple[str, str, int], str] = field(default_factory=dict[tuple[str, str, int], str])
    """The ids of the runs, by pipeline, drop and number."""

    def to_folder(self, drop: str, rows: list[Any]) -> None:
        """Bring a drop as one file."""
        (self.pipeline.data / f"{drop}.jsonl").write_bytes(jsonl(rows))

    def to_bucket(self, drop: str, rows: list[Any]) -> None:
        """Bring a drop: the marker goes first and comes last."""
        self.s3.delete_object(Bucket=BUCKET, Key=f"{drop}/{MARKER}")
        self.s3.put_object(Bucket=BUCKET, Key=f"{drop}/rows.jsonl", Body=jsonl(rows))
        self.s3.put_object(Bucket=BUCKET, Key=f"{drop}/{MARKER}", Body=b"")

    def wait(self, name: str, drop: str, number: int = 1) -> None:
        """Wait for the end of a run, and note who is champion then."""
        self.ended[name, drop, number] = self.ui.wait_for_run(name, drop, number)
        self.champions.setdefault(name, []).append(self.champion(name))

    def champion(self, name: str) -> str | None:
        """The version in force."""
        champion = registry(self.pipeline).champion(PIPELINES[name])
        return None if champion is None else champion.version

    def verdict(self, name: str, drop: str) -> dict[str, Any]:
        """What the court said about a drop's model."""
        about: Any = self.pipeline.store.open([name, "eval_report"], drop).manifest.metadata
        return about["verdict"]


def registry(pipeline: TinyPipeline) -> EmbeddedRegistry:
    return EmbeddedRegistry(path=str(pipeline.home / "registry.db"))


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, tiny_base_model: Path) -> Generator[Loop]:
    """Both pipelines, after all drops have arrived. The tests read; the last one rolls back."""
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("loop") / "folder", tiny_base_model)
    (pipeline.data / "drop-1.jsonl").unlink()
    held_out = learnable_rows("held out", HELD_OUT)
    with seaweedfs() as server:
        write_pipelines(pipeline, jsonl(held_out))
        environment = {
            **pipeline.environment,
            **server.environment,
            "AWS_ENDPOINT_URL": server.endpoint_url,
        }
        with running_ui(clean_environment(environment)) as url:
            loop = Loop(pipeline, DagsterServer(url), make_bucket(server))
            deliver(loop, held_out)
            yield loop


def write_pipelines(pipeline: TinyPipeline, held_out: bytes) -> None:
    """Two pipeline files, which differ in where the data is and in what stops a bad drop."""
    own = pipeline.root / "data" / "measured-with" / "held-out.jsonl"
    own.parent.mkdir()
    own.write_bytes(held_out)
    pipeline.write(
        {
            "dataset": {"eval_uri": str(own)},
            "training": TRAINING,
            "evaluation": {"held_out_generations": 0},
            "automation": {"enabled": True, "interval": 5, "quiet": 3},
        }
    )
    values = yaml.safe_load(pipeline.file.read_text())
    values["dataset"] |= {"uri": f"s3://{BUCKET}/{{partition}}/", "on_contamination": "fail"}
    values["promotion"] |= {"against_champion": "not_worse", "primary_margin": MARGIN}
    values["registry"] = {"name": PIPELINES[BUCKET]}
    values["automation"] = {"interval": 5, "marker": MARKER}
    (pipeline.file.parent / f"{BUCKET}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def make_bucket(server: SeaweedFS) -> Any:
    """A client of the server, with the bucket made."""
    import boto3

    s3 = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket=BUCKET)
    return s3


def deliver(loop: Loop, held_out: list[Any]) -> None:
    """The story. The two pipelines go on side by side, so that their waiting is one."""
    for bring in (loop.to_folder, loop.to_bucket):
        bring("drop-1", learnable_rows("drop-1", FEW))
    loop.ui.wait_until(lambda: loop.ui.runs(FOLDER) or None, "a run to be asked for", FOLDER)
    loop.before_switched_on = [run["runId"] for run in loop.ui.runs(BUCKET)]
    loop.ui.switch_on(f"{BUCKET}_new_data")
    loop.wait(FOLDER, "drop-1")
    loop.to_folder("drop-2", learnable_rows("drop-2", MANY))
    loop.wait(BUCKET, "drop-1")
    loop.to_bucket("drop-2", learnable_rows("drop-2", MANY))
    loop.wait(FOLDER, "drop-2")
    loop.to_folder("drop-3", poisoned_rows("drop-3", MANY, held_out))
    loop.wait(BUCKET, "drop-2")
    loop.to_bucket("drop-3", poisoned_rows("drop-3", MANY, held_out))
    loop.wait(BUCKET, "drop-3")
    loop.wait(FOLDER, "drop-3")
    for name in PIPELINES:
        loop.after[name] = wait_for_idle_look(loop, name)


def wait_for_idle_look(loop: Loop, name: str) -> dict[str, Any]:
    """The sensor, once it has looked again and found nothing to do."""
    before = loop.ui.sensor(f"{name}_new_data")["ticks"][0]["tickId"]

    def looked() -> dict[str, Any] | None:
        sensor = loop.ui.sensor(f"{name}_new_data")
        newest = sensor["ticks"][0]
        return sensor if newest["tickId"] != before and newest["status"] == "SKIPPED" else None

    return loop.ui.wait_until(looked, "another look", name)


# --- drops 1 and 2


@both
def test_the_first_drop_makes_a_champion_and_a_better_one_takes_its_place(loop: Loop, name: str):
    assert loop.champions[name][:2] == ["1.0.0", "1.0.1"]
    first, second = (loop.verdict(name, drop) for drop in ("drop-1", "drop-2"))
    assert first["passed"], first["reason"]
    assert second["passed"], second["reason"]
    assert {item["against"] for item in second["comparisons"]} == {"base", "champion"}


def test_a_sensor_is_off_until_somebody_switches_it_on(loop: Loop):
    assert loop.before_switched_on == []
    assert loop.after[BUCKET]["status"] == "RUNNING"


@both
def test_each_version_of_the_data_is_run_once(loop: Loop, name: str):
    drops = sorted(run["tags"]["dagster/partition"] for run in loop.ui.runs(name))
    assert drops == ["drop-1", "drop-2", "drop-3"]
    newest = loop.after[name]["ticks"][0]
    assert newest["status"] == "SKIPPED", newest
    assert "othing new" in newest["skipReason"]


@both
def test_a_run_says_who_asked_for_it_and_for_what(loop: Loop, name: str):
    for run in loop.ui.runs(name):
        assert run["tags"]["ft/automatic"] == name
        assert run["tags"]["ft/drop"] == run["tags"]["dagster/partition"]
        assert len(run["tags"]["ft/token"]) == 64


# --- drop 3


def test_a_poisoned_drop_loses_before_the_court_and_the_champion_stands(loop: Loop):
    assert loop.champions[FOLDER][2] == "1.0.1"
    versions = registry(loop.pipeline).list_versions(PIPELINES[FOLDER])
    assert {one.version: one.stage for one in versions} == {
        "1.0.0": "archived",
        "1.0.1": "champion",
    }


def test_the_page_of_the_report_says_why_it_lost(loop: Loop):
    check = loop.ui.check([FOLDER, "eval_report"], "beats_champion", "drop-3")
    assert not check["success"]
    assert check["severity"] == "ERROR"
    assert check["run_id"] == loop.ended[FOLDER, "drop-3", 1]
    assert "held_out/loss is worse than the champion's" in check["description"]
    won = loop.ui.check([FOLDER, "eval_report"], "beats_champion", "drop-2")
    assert won["success"], "each drop has its own"


def test_the_shuffled_answers_are_why_it_lost(loop: Loop):
    """By far more than the bucket's pipeline lets a model be worse and still follow."""
    (comparison,) = [
        item
        for item in loop.verdict(FOLDER, "drop-3")["comparisons"]
        if item["against"] == "champion"
    ]
    assert comparison["difference"] > MARGIN


def test_rows_that_it_would_be_measured_with_are_dropped_and_counted(loop: Loop):
    check = loop.ui.check([FOLDER, "split_dataset"], "no_contamination", "drop-3")
    assert check["success"]
    assert "20 of 192 training rows hold a held-out row" in check["description"]
    assert "they were dropped" in check["description"]


def test_a_stricter_pipeline_stops_before_it_trains_and_says_so(loop: Loop):
    assert loop.champions[BUCKET][2] == "1.0.1"
    said = "\n".join(loop.ui.failures(loop.ended[BUCKET, "drop-3", 1]))
    assert "20 training rows repeat documents of the evaluation" in said
    assert "on_contamination" in said, "the remedy"


# --- and back


def test_a_rollback_brings_the_champion_before_back_and_the_page_says_who_and_why(loop: Loop):
    why = "drop 2 answers rudely"
    call = loop.pipeline.ft(
        "registry", "rollback", MODEL_NAME, "--why", why, "--by", "Ada", "--json"
    )
    assert call.exit_code == 0, call.stderr
    assert (call.json["champion"], call.json["champion_before"]) == ("1.0.0", "1.0.1")
    assert loop.champion(FOLDER) == "1.0.0"
    told = loop.ui.observations([FOLDER, "registered_version"])[0]
    assert (told["changed_by"], told["why"]) == ("Ada", why)
