"""Drops that add up, and trainings that go on from the champion: what is made, and what is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ft_assets.training.plan import TrainPlan
from resources.store import Artifact
from tests.support.tiny_pipeline import NAME, TinyPipeline

pytestmark = pytest.mark.slow

TRAIN = "raw_dataset,split_dataset,token_report,finetuned_model"
BLOCKS = {
    "dataset": {"accumulate": True},
    "training": {"start_from": "champion"},
    "promotion": {
        "min_samples": 5,
        "against_champion": "not_worse",
        "primary_margin": 9,
    },
}


@pytest.fixture(scope="module")
def story(trained, tmp_path_factory) -> TinyPipeline:
    """Drop 1 has won; drop 2 was trained on both drops, from that champion, and has won too."""
    pipeline = trained.pipeline.clone(tmp_path_factory.mktemp("story") / "drops").write(BLOCKS)
    pipeline.write_drop("drop-2", start=30).write_drop("drop-3", start=80)
    begun = pipeline.ft("run", NAME, "--json", "--partition", "drop-3", "--select", "raw_dataset")
    assert begun.exit_code == 0, begun.stderr
    second = pipeline.ft("run", NAME, "--json", "--partition", "drop-2")
    assert second.exit_code == 0, second.stdout + second.stderr
    return pipeline


def ids(split: Artifact, side: str) -> set[str]:
    lines = split.file(f"{side}.jsonl").read_text().splitlines()
    return {json.loads(line)["id"] for line in lines}


def start_of(model: Artifact) -> str | None:
    start = TrainPlan.of_manifest(model.manifest.metadata).start
    return start.digest if start is not None else None


def forget(pipeline: TinyPipeline, drop: str) -> Path:
    """Take a drop's model back, and leave the training as if it had been killed on its way."""
    model = pipeline.artifact("finetuned_model", drop)
    plan = TrainPlan.of_manifest(model.manifest.metadata)
    run_dir = pipeline.home / "runs" / f"{NAME}-finetuned_model-{drop}-{plan.fingerprint[:16]}"
    run_dir.mkdir(parents=True)
    (run_dir / "plan.json").write_text(plan.model_dump_json())
    shutil.rmtree(pipeline.home / "artifacts" / NAME / "finetuned_model" / drop)
    return run_dir


def test_a_drop_is_trained_on_with_all_before_it_and_no_held_out_row_moves(story):
    first, second = (story.artifact("split_dataset", drop) for drop in ("drop-1", "drop-2"))
    assert ids(first, "held_out") <= ids(second, "held_out")
    assert not ids(first, "held_out") & ids(second, "train")
    assert ids(first, "train") <= ids(second, "train")
    report = second.manifest.metadata["report"]
    assert report["drops"] == [{"drop": "drop-1", "rows": 40}, {"drop": "drop-2", "rows": 40}]
    assert report["rows_in"] == 80
    assert report["dropped"]["exact_duplicate"] == 10, "of the second that are in the first too"
    inputs = second.manifest.metadata["provenance"]["inputs"]
    raws = [story.artifact("raw_dataset", drop).digest for drop in ("drop-2", "drop-1")]
    assert [one["digest"] for one in inputs] == raws, "its own first"
    assert [one["partition"] for one in inputs] == ["drop-2", "drop-1"]


def test_the_training_started_from_the_champion_and_says_so(story):
    first, second = (story.artifact("finetuned_model", drop) for drop in ("drop-1", "drop-2"))
    assert start_of(first) is None
    assert start_of(second) == first.data_version
    inputs = {
        (one["asset"], one["digest"]) for one in second.manifest.metadata["provenance"]["inputs"]
    }
    assert (f"{NAME}/finetuned_model", first.digest) in inputs
    report = story.artifact("eval_report", "drop-2").manifest.metadata["summary"]
    base = TrainPlan.of_manifest(second.manifest.metadata).base_model
    assert report["model_digests"]["base"] == base.digest, "the report compares with the base model"
    assert report["model_digests"]["champion"] == first.data_version


def test_the_first_loss_is_that_of_the_champion_and_not_of_the_base_model(story):
    first, second = (
        story.artifact("finetuned_model", drop).manifest.metadata["outcome"]
        for drop in ("drop-1", "drop-2")
    )
    assert second["first_loss"] < (first["first_loss"] + first["last_loss"]) / 2


def test_nothing_is_trained_on_top_of_itself(story, ft):
    """Its own model is the champion by now, and that of the first drop was replaced."""
    for drop in ("drop-2", "drop-1"):
        again = ft(story, "run", NAME, "--json", "--partition", drop, "--select", TRAIN)
        assert again.exit_code == 0, again.stderr
        assert again.json["made"] == [], drop


def test_the_whole_line_is_verified(story, ft):
    verified = ft(story, "verify", "tiny-assistant:1.0.1", "--json")
    assert verified.exit_code == 0, verified.stdout


def test_data_that_comes_back_brings_its_model_and_its_report_back(story, tmp_path, ft):
    pipeline = story.clone(tmp_path / "back").write(BLOCKS)
    before = {asset: pipeline.artifact(asset) for asset in ("finetuned_model", "eval_report")}
    run = ("run", NAME, "--json", "--partition", "drop-1", "--select")
    pipeline.write_drop("drop-1", start=100)
    changed = ft(pipeline, *run, f"{TRAIN},baseline_report,eval_report")
    assert "finetuned_model" in changed.json["made"]
    second = pipeline.artifact("finetuned_model", "drop-2")
    assert start_of(pipeline.artifact("finetuned_model")) == second.data_version

    pipeline.write_drop("drop-1")
    back = ft(pipeline, *run, f"{TRAIN},baseline_report,eval_report")

    assert back.exit_code == 0, back.stderr
    assert set(back.json["made"]) == {"raw_dataset", "split_dataset"}
    for asset, artifact in before.items():
        assert pipeline.artifact(asset) == artifact
    with pipeline.instance() as instance:
        logs = [entry.user_message for entry in instance.all_logs(back.json["run_id"])]
    again = [text for text in logs if "an earlier version is in force again" in text]
    assert len(again) == 4, "token_report, baseline_report, finetuned_model and eval_report"


def test_a_training_that_was_broken_off_goes_on_from_where_it_started(story, tmp_path, ft):
    pipeline = story.clone(tmp_path / "resumed").write(BLOCKS)
    pipeline.write_drop("drop-2", start=30)
    before = pipeline.artifact("finetuned_model", "drop-2")
    forget(pipeline, "drop-2")
    (pipeline.home / "registry.db").unlink()  # so that one begun now would start from the base

    run = ("run", NAME, "--json", "--partition", "drop-2", "--select", "finetuned_model")
    resumed = ft(pipeline, *run)

    assert resumed.exit_code == 0, resumed.stdout
    after = pipeline.artifact("finetuned_model", "drop-2")
    assert start_of(after) == pipeline.artifact("finetuned_model").data_version
    assert after.manifest.metadata["fingerprint"] == before.manifest.metadata["fingerprint"]
    assert after.data_version == before.data_version


@pytest.mark.parametrize("algorithm", ["osft"])
def test_osft_and_lora_start_from_the_champion(story, tmp_path, ft, algorithm):
    blocks = {**BLOCKS, "training": {**BLOCKS["training"], "algorithm": algorithm}}
    pipeline = story.clone(tmp_path / algorithm).write(blocks)
    pipeline.write_drop("drop-1").write_drop("drop-3", start=80)
    champion = pipeline.artifact("finetuned_model", "drop-2")
    run = ft(pipeline, "run", NAME, "--json", "--partition", "drop-3", "--select", TRAIN)
    assert run.exit_code == 0, run.stdout
    model = pipeline.artifact("finetuned_model", "drop-3")
    assert start_of(model) == champion.data_version
    assert model.manifest.metadata["outcome"]["base_model_dir"] == str(champion.path / "model")


def test_a_drop_before_without_rows_is_named_with_the_remedy(story, tmp_path, ft):
    pipeline = story.clone(tmp_path / "absent").write(BLOCKS)
    shutil.rmtree(pipeline.home / "artifacts" / NAME / "raw_dataset" / "drop-2")
    pipeline.write_drop("drop-3", start=80)
    select = ("--select", "raw_dataset,split_dataset")
    run = ft(pipeline, "run", NAME, "--json", "--partition", "drop-3", *select)
    assert run.exit_code == 1
    assert (
        "drop drop-3 is made from all drops before it, and drop-2 has no raw" in run.json["error"]
    )
    assert f"ft run {NAME} --partition drop-2 --select raw_dataset" in run.json["error"]
