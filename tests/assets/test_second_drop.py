"""A second drop: its candidate meets the champion, on held-out rows that neither was trained on."""

from __future__ import annotations

import json

import pytest

from resources.registry import EmbeddedRegistry
from tests.conftest import Trained
from tests.support.tiny_pipeline import NAME, TinyPipeline

pytestmark = pytest.mark.slow

SECOND = ("run", NAME, "--json", "--partition", "drop-2")


@pytest.fixture(scope="module")
def second(trained: Trained, tmp_path_factory) -> Trained:
    """Half of the second drop is of the first, and with another seed some of that is held out."""
    pipeline = trained.pipeline.clone(tmp_path_factory.mktemp("second") / "drop")
    pipeline.write_drop("drop-2", start=20, rows=60).write(
        {
            "dataset": {"seed": 7},
            "promotion": {"against_champion": "not_worse", "primary_margin": 9},
        }
    )
    call = pipeline.ft(*SECOND)
    assert call.exit_code == 0, call.stderr
    return Trained(pipeline, call)


@pytest.fixture(scope="module")
def report(second: Trained):
    return second.pipeline.artifact("eval_report", "drop-2")


def _registry(pipeline: TinyPipeline) -> EmbeddedRegistry:
    return EmbeddedRegistry(path=str(pipeline.home / "registry.db"))


def _ids(file) -> list[str]:
    return [json.loads(line)["id"] for line in file.read_text().splitlines()]


def test_the_three_models_are_evaluated_on_the_same_documents(second, report):
    first = second.pipeline.artifact("finetuned_model", "drop-1")
    candidate = second.pipeline.artifact("finetuned_model", "drop-2")
    summary = report.manifest.metadata["summary"]
    assert list(summary["models"]) == ["base", "champion", "tuned"]
    assert summary["model_digests"]["champion"] == first.data_version
    assert summary["model_digests"]["tuned"] == candidate.data_version
    asked = [
        _ids(report.file(f"samples/{model}/held_out.jsonl"))
        for model in ("base", "champion", "tuned")
    ]
    assert asked[0] == asked[1] == asked[2]


def test_held_out_rows_that_the_champion_was_trained_on_are_not_asked(second, report):
    held_out = _ids(second.pipeline.artifact("split_dataset", "drop-2").file("held_out.jsonl"))
    trained_on = _ids(second.pipeline.artifact("split_dataset", "drop-1").file("train.jsonl"))
    both = set(held_out) & set(trained_on)
    assert both, "or this test says nothing"
    assert _ids(report.file("samples/tuned/held_out.jsonl")) == [
        row for row in held_out if row not in both
    ]
    scores = report.manifest.metadata["summary"]["models"]["tuned"]["held_out"]
    assert scores["left_out_rows"] == len(both)
    assert f"{len(both)} held-out rows were not asked" in report.file("report.html").read_text()


def test_the_baseline_is_of_all_held_out_rows(second):
    held_out = second.pipeline.artifact("split_dataset", "drop-2").file("held_out.jsonl")
    baseline = second.pipeline.artifact("baseline_report", "drop-2")
    assert _ids(baseline.file("samples/base/held_out.jsonl")) == _ids(held_out)


def test_the_report_names_the_champion_and_is_made_from_it(second, report):
    metadata = report.manifest.metadata
    assert metadata["champion"]["version"] == "1.0.0"
    first = second.pipeline.artifact("finetuned_model", "drop-1")
    assert first.digest in [made["digest"] for made in metadata["provenance"]["inputs"]]
    against = {item["against"] for item in metadata["verdict"]["comparisons"]}
    assert against >= {"base", "champion"}


def test_the_winner_is_the_champion_and_nothing_is_made_again(second, ft):
    versions = {
        v.version: v.stage for v in _registry(second.pipeline).list_versions("tiny-assistant")
    }
    assert versions == {"1.0.0": "archived", "1.0.1": "champion"}
    for drop in ("drop-2", "drop-1"):
        select = ("--select", "baseline_report,eval_report,registered_version")
        again = ft(second.pipeline, "run", NAME, "--json", "--partition", drop, *select)
        assert again.exit_code == 0, again.stderr
        assert "eval_report" in again.json["up_to_date"], drop


def test_other_rules_judge_the_same_scores_again_without_the_models(second, tmp_path, ft):
    pipeline = second.pipeline.clone(tmp_path / "rules")
    (pipeline.home / "registry.db").unlink()
    before = _registry(pipeline)
    assert before.champion("tiny-assistant") is None
    run = (*SECOND, "--select", "eval_report")
    assert ft(pipeline, *run).exit_code == 0, "without a champion: evaluated again, from the cache"
    first = pipeline.artifact("eval_report", "drop-2")
    assert list(first.manifest.metadata["summary"]["models"]) == ["base", "tuned"]

    pipeline.write({"dataset": {"seed": 7}, "promotion": {"min_samples": 1000}})
    again = ft(pipeline, *run)

    after = pipeline.artifact("eval_report", "drop-2")
    assert again.exit_code == 1
    assert not after.manifest.metadata["verdict"]["passed"]
    assert after.manifest.metadata["measured"] == first.manifest.metadata["measured"]
    assert after.file("results.json").read_bytes() == first.file("results.json").read_bytes()


def test_a_champion_whose_files_are_gone_stops_the_run_with_a_remedy(second, tmp_path, ft):
    pipeline = second.pipeline.clone(tmp_path / "lost")
    registry = _registry(pipeline)
    registry.set_champion("tiny-assistant", "1.0.0")
    first = pipeline.artifact("finetuned_model", "drop-1")
    (first.path.parent / "manifest.json").unlink()
    eval_report = pipeline.artifact("eval_report", "drop-2")
    assert eval_report.manifest.metadata["champion"] is not None

    forced = ft(pipeline, *SECOND, "--select", "eval_report", "--force")

    assert forced.exit_code == 1
    assert "the champion tiny-assistant 1.0.0 cannot be evaluated" in forced.json["error"]
    assert "ft registry" in forced.json["error"]
