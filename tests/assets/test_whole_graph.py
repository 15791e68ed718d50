"""One run of all assets: what is made, what Dagster is told, and how it hangs together."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import pytest
from safetensors.numpy import load_file

from resources.registry import EmbeddedRegistry
from tests.support.tiny_pipeline import MODEL_NAME, NAME, ROWS

ASSETS = (
    "raw_dataset",
    "split_dataset",
    "token_report",
    "baseline_report",
    "finetuned_model",
    "eval_report",
    "registered_version",
)
UPSTREAM = {
    "raw_dataset": [],
    "split_dataset": ["raw_dataset"],
    "baseline_report": ["split_dataset"],
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
        "complete": True,
        "beats_base": True,
        "beats_champion": True,
        "no_forgetting": True,
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
                "partition": "drop-1",
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


def test_log_and_page_say_that_the_registry_is_the_embedded_one(events, trained, instance):
    assert events["registered_version"].metadata["registry"].value == "the embedded registry"
    messages = [entry.user_message for entry in instance.all_logs(trained.result["run_id"])]
    assert "Registering in the embedded registry" in messages


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
    loss = next(row for row in rows if row["metric"] == "loss")
    assert loss["base"] == pytest.approx(trained.result["base_loss"], abs=1e-4)
    assert loss["candidate"] == pytest.approx(trained.result["tuned_loss"], abs=1e-4)
    assert loss["difference"] == pytest.approx(loss["candidate"] - loss["base"], abs=2e-4)
    low, _, high = loss["interval"].partition(" to ")
    assert float(low) < loss["difference"] < float(high)
    assert loss["verdict"] == "passed"
    assert "champion" not in loss, "the first version of a model is judged against the base alone"


def test_the_differences_are_drawn_inline_and_in_full_beside_the_report(events, trained):
    small = events["eval_report"].metadata["differences"].value
    assert small.startswith("![differences](data:image/svg+xml;base64,")
    assert len(small) < 1000
    chart = trained.pipeline.artifact("eval_report").file("differences.svg")
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")


def test_the_report_is_one_html_file_with_the_verdict_and_samples_side_by_side(trained):
    document = trained.pipeline.artifact("eval_report").file("report.html").read_text()
    assert trained.result["verdict"][1:] in html.unescape(document)
    assert document.count("<details") == trained.result["eval_rows"]
    assert "<script" not in document


def test_the_base_model_is_evaluated_once_for_the_baseline_and_the_report(trained):
    summaries = [
        trained.pipeline.artifact(asset).manifest.metadata["summary"]["models"]["base"]
        for asset in ("baseline_report", "eval_report")
    ]
    assert summaries[0] == summaries[1]
    samples = [
        trained.pipeline.artifact(asset).file("samples/base/held_out.jsonl").read_bytes()
        for asset in ("baseline_report", "eval_report")
    ]
    assert samples[0] == samples[1]


def test_the_blocking_checks_passed_and_say_why(trained, instance):
    evaluations = {
        found.check_name: found
        for entry in instance.all_logs(trained.result["run_id"])
        if entry.dagster_event is not None
        and entry.dagster_event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and entry.step_key == "tiny__eval_report"
        for found in [entry.dagster_event.asset_check_evaluation_data]
    }
    assert set(evaluations) == {"complete", "beats_base", "beats_champion", "no_forgetting"}
    for evaluation in evaluations.values():
        assert evaluation.asset_key == dg.AssetKey(["tiny", "eval_report"])
        assert evaluation.passed
        assert evaluation.blocking
    assert "held_out/loss is better" in evaluations["beats_base"].description


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


def test_the_court_is_replayed_from_the_drops_name_and_from_the_versions(trained):
    report = trained.pipeline.artifact("eval_report")
    recorded = json.loads((report.path / "verdict.json").read_text())
    for name in (str(report.path), f"{NAME}@drop-1", f"{MODEL_NAME}:1.0.0"):
        call = trained.pipeline.ft("court", name, "--json")
        assert call.exit_code == 0, call.stderr
        assert call.json["promoted"]
        assert call.json["same_as_recorded"]
        assert call.json["verdict"] == recorded


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
