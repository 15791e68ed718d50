"""One run of all five assets: what is made, what Dagster is told, and how it hangs together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import pytest
from safetensors.numpy import load_file

from resources.registry import EmbeddedRegistry
from tests.support.tiny_pipeline import ROWS

ASSETS = (
    "raw_dataset",
    "split_dataset",
    "token_report",
    "finetuned_model",
    "eval_report",
    "registered_version",
)
UPSTREAM = {
    "raw_dataset": [],
    "split_dataset": ["raw_dataset"],
    "token_report": ["split_dataset"],
    "finetuned_model": ["split_dataset"],  # the token report stands before it and is not read
    "eval_report": ["split_dataset", "finetuned_model"],
    "registered_version": ["finetuned_model", "eval_report"],
}


@pytest.fixture(scope="module")
def instance(trained) -> Iterator[dg.DagsterInstance]:
    with trained.pipeline.instance() as instance:
        yield instance


@pytest.fixture(scope="module")
def events(trained, instance) -> dict[str, dg.AssetMaterialization]:
    """The run's materializations, by the asset's name."""
    made = (
        entry.dagster_event.step_materialization_data.materialization
        for entry in instance.all_logs(trained.result["run_id"])
        if entry.dagster_event is not None
        and entry.dagster_event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    return {event.asset_key.path[-1]: event for event in made}


def test_every_asset_is_materialized_once_for_its_drop(events):
    assert list(events) == list(ASSETS)
    assert {event.partition for event in events.values()} == {"drop-1"}


def test_the_result_on_stdout_is_one_json_object_about_all_of_it(trained):
    result = trained.result
    assert result["success"]
    assert result["made"] == list(ASSETS)
    assert result["up_to_date"] == []
    assert result["checks"] == {
        "rows_valid": True,
        "fits_memory": True,
        "no_secrets": True,
        "no_leak": True,
        "no_contamination": True,
        "enough_rows": False,
        "trained_tokens": True,
        "like_the_drop_before": True,
        "healthy_training": True,
        "beats_base": True,
    }
    (warning,) = result["warnings"]
    assert warning.startswith("check enough_rows: ")
    assert result["rows_read"] == result["rows_kept"] == ROWS
    assert result["train_rows"] + result["eval_rows"] == ROWS
    assert result["tuned_loss"] < result["base_loss"]
    assert (result["model_name"], result["version"], result["stage"]) == (
        "tiny-assistant",
        "1.0.0",
        "champion",
    )
    for name in ("data_path", "train_path", "eval_path", "model_path", "report_path"):
        assert Path(result[name]).exists(), name


def test_what_a_person_watches_goes_to_stderr(trained):
    assert "Traceback" not in trained.call.stderr
    lines = trained.call.stderr.splitlines()
    assert [line for line in lines if line.endswith(": done")] == [f"{a}: done" for a in ASSETS]
    assert any(line.startswith("finetuned_model: train 4/4, loss ") for line in lines)


def test_the_data_version_in_dagster_is_that_of_the_artifact(events, trained):
    for asset, event in events.items():
        artifact = trained.pipeline.artifact(asset)
        assert event.tags["dagster/data_version"] == artifact.data_version, asset


def test_every_manifest_names_its_inputs_by_the_digests_that_they_have(trained):
    for asset, upstream in UPSTREAM.items():
        record = trained.pipeline.artifact(asset).manifest.metadata["provenance"]
        expected = [
            {
                "asset": f"tiny/{name}",
                "digest": trained.pipeline.artifact(name).digest,
                "data_version": trained.pipeline.artifact(name).data_version,
                "uri": trained.pipeline.artifact(name).uri,
            }
            for name in upstream
        ]
        assert record["inputs"] == expected, asset


def test_every_manifest_says_who_made_it_and_with_which_configuration(trained):
    blocks = {asset: _provenance(trained, asset) for asset in ASSETS}
    assert {record["run_id"] for record in blocks.values()} == {trained.result["run_id"]}
    assert {record["partition"] for record in blocks.values()} == {"drop-1"}
    assert blocks["split_dataset"]["config"]["split"] == 0.8
    assert blocks["finetuned_model"]["config"]["learning_rate"] == 0.01
    assert blocks["registered_version"]["config"]["name"] == "tiny-assistant"
    assert blocks["finetuned_model"]["packages"].keys() >= {"ft-assets", "dagster", "torch"}


def _provenance(trained, asset):
    return trained.pipeline.artifact(asset).manifest.metadata["provenance"]


def test_the_first_asset_says_exactly_which_file_was_read(trained):
    source = trained.pipeline.artifact("raw_dataset").manifest.metadata["source"]
    assert source["uri"] == f"{trained.pipeline.data}/drop-1.jsonl"
    (file,) = source["files"]
    assert file["name"] == "drop-1.jsonl"
    assert file["size"] == (trained.pipeline.data / "drop-1.jsonl").stat().st_size
    assert len(file["sha256"]) == 64


def test_lineage_stands_in_the_metadata_in_words(events, trained):
    for asset, upstream in UPSTREAM.items():
        metadata = events[asset].metadata
        assert metadata["artifact"].value == trained.pipeline.artifact(asset).uri
        assert metadata["digest"].value == trained.pipeline.artifact(asset).digest[:12]
        assert len(metadata["spec"].value) == 12
        rows = metadata["made_from"].value.records if upstream else []
        assert [row.data["asset"] for row in rows] == [f"tiny/{name}" for name in upstream]
        assert [row.data["data version"] for row in rows] == [
            trained.pipeline.artifact(name).data_version[:12] for name in upstream
        ]


def test_row_counts_and_losses_are_numbers_so_that_the_ui_plots_them(events):
    assert events["raw_dataset"].metadata["dagster/row_count"].value == ROWS
    model = events["finetuned_model"].metadata
    for name in ("first_loss", "last_loss", "tokens_per_second", "train_seconds"):
        assert isinstance(model[name], dg.FloatMetadataValue), name
    report = events["eval_report"].metadata
    for name in ("held_out_loss", "held_out_perplexity", "base_held_out_loss"):
        assert isinstance(report[name], dg.FloatMetadataValue), name


def test_the_loss_is_drawn_inline_on_the_assets_page(events):
    loss = events["finetuned_model"].metadata["loss"].value
    assert loss.startswith("![loss](data:image/svg+xml;base64,")
    assert len(loss) < 1000


def test_the_results_table_has_the_base_model_beside_the_tuned_one(events, trained):
    rows = [record.data for record in events["eval_report"].metadata["results"].value.records]
    loss = next(row for row in rows if row["metric"] == "loss per token (nats)")
    assert loss["base"] == pytest.approx(trained.result["base_loss"], abs=1e-4)
    assert loss["tuned"] == pytest.approx(trained.result["tuned_loss"], abs=1e-4)
    assert loss["difference"] == pytest.approx(loss["tuned"] - loss["base"], abs=1e-4)


def test_the_blocking_check_passed_and_says_why(trained, instance):
    (evaluation,) = [
        entry.dagster_event.asset_check_evaluation_data
        for entry in instance.all_logs(trained.result["run_id"])
        if entry.dagster_event is not None
        and entry.dagster_event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and entry.step_key == "tiny__eval_report"
    ]
    assert evaluation.check_name == "beats_base"
    assert evaluation.asset_key == dg.AssetKey(["tiny", "eval_report"])
    assert evaluation.passed
    assert evaluation.blocking
    assert "held-out loss" in evaluation.description


def test_the_training_reports_into_the_event_log(trained, instance):
    lines = [
        entry.user_message
        for entry in instance.all_logs(trained.result["run_id"])
        if entry.step_key == "tiny__finetuned_model" and entry.dagster_event is None
    ]
    assert any(line.startswith("base model 1/1") for line in lines)
    (last,) = [line for line in lines if line.startswith("train 4/4")]
    assert "loss " in last
    assert "tokens per second " in last


def test_the_artifact_keeps_the_metrics_of_every_step_and_the_curve(trained, events):
    model = trained.pipeline.artifact("finetuned_model")
    metrics = [json.loads(line) for line in model.file("metrics.jsonl").read_text().splitlines()]
    assert [metric["step"] for metric in metrics] == [1, 2, 3, 4]
    shown = events["finetuned_model"].metadata
    assert metrics[0]["loss"] == pytest.approx(shown["first_loss"].value, abs=1e-3)
    assert metrics[-1]["loss"] == pytest.approx(shown["last_loss"].value, abs=1e-3)
    assert ElementTree.parse(model.file("loss.svg")).getroot().tag.endswith("svg")


def test_the_model_is_a_whole_folder_with_other_weights_than_the_base(trained, tiny_base_model):
    model = trained.pipeline.artifact("finetuned_model").path / "model"
    names = {file.name for file in model.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    tuned, base = (load_file(folder / "model.safetensors") for folder in (model, tiny_base_model))
    assert tuned.keys() == base.keys()
    assert any(not np.array_equal(tuned[name], base[name]) for name in tuned)


def test_the_models_data_version_is_of_the_model_alone(trained):
    """Its metrics hold times: the same weights trained again would be another version."""
    model = trained.pipeline.artifact("finetuned_model")
    assert model.data_version != model.digest


def test_the_report_keeps_every_sample(trained):
    report = trained.pipeline.artifact("eval_report")
    samples = [file.path for file in report.manifest.files if file.path.startswith("samples/")]
    rows = {
        name: report.file(name).read_text().splitlines() for name in samples if "held_out" in name
    }
    assert len(rows) == 2, "one file for each of the two models"
    for name, lines in rows.items():
        assert len(lines) == trained.result["eval_rows"], name


def test_the_registry_has_the_model_as_its_first_version(trained):
    registry = EmbeddedRegistry(path=str(trained.pipeline.home / "registry.db"))
    (version,) = registry.list_versions("tiny-assistant")
    model = trained.pipeline.artifact("finetuned_model")
    assert (version.version, version.stage) == ("1.0.0", "champion")
    assert version.artifact.uri == f"{model.uri}/model"
    assert version.artifact.digest == model.data_version
    assert version.properties["held_out_loss"] == trained.result["tuned_loss"]
    assert version.properties["base_held_out_loss"] == trained.result["base_loss"]
    assert version.properties["partition"] == "drop-1"
    assert version.properties["run_id"] == trained.result["run_id"]
    registered = trained.pipeline.artifact("registered_version").file("registration.json")
    assert json.loads(registered.read_text())["version"] == "1.0.0"


def test_nothing_is_left_behind_in_the_work_folders(trained):
    home = trained.pipeline.home
    for folder in (home / "runs", home / "scratch", home / "artifacts" / ".staging"):
        assert not folder.exists() or list(folder.iterdir()) == [], folder


def test_the_run_belongs_to_its_job_in_the_ui(trained, instance):
    run = instance.get_run_by_id(trained.result["run_id"])
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert run.job_name == "tiny"
    origin = run.remote_job_origin
    assert origin is not None
    assert origin.job_name == "tiny"
    assert origin.location_name == "ft_assets"
    assert origin.repository_origin.code_location_origin.loadable_target_origin.module_name == (
        "ft_assets.definitions"
    )
    assert run.tags["dagster/partition"] == "drop-1"
    assert (run.tags["pipeline"], run.tags["purpose"]) == ("tiny", "test")


def test_the_drop_is_a_partition_in_the_ui(instance):
    assert list(instance.get_dynamic_partitions("tiny_drops")) == ["drop-1"]
