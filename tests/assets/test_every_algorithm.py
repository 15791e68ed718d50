"""The whole graph with OSFT and with LoRA, with everything switched on that watches a training."""

from __future__ import annotations

import json

import pytest

from ft_assets.training.metrics import read_metrics
from tests.support.tiny_pipeline import NAME

pytestmark = pytest.mark.slow

WATCHED = {
    "num_epochs": 3,
    "validation_steps": 2,
    "validation_rows": 4,
    "checkpoint_choice": "best",
    "profiler_steps_start": 3,
    "profiler_steps": 2,
    "tensorboard": True,
}


@pytest.fixture(scope="module", params=["osft", "lora_sft"])
def made(request, tmp_path_factory, tiny_base_model):
    from tests.support.tiny_pipeline import make_tiny_pipeline

    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp(request.param), tiny_base_model)
    pipeline.write({"training": {"algorithm": request.param, **WATCHED}})
    run = pipeline.ft("run", NAME, "--json")
    assert run.exit_code == 0, run.stderr
    return request.param, pipeline, run.json


def files_of(pipeline) -> set[str]:
    return {file.path for file in pipeline.artifact("finetuned_model").manifest.files}


def test_the_tuned_model_is_better_and_registered(made):
    _, _, result = made
    assert result["tuned_loss"] < result["base_loss"]
    assert result["version"] == "1.0.0"
    assert result["checks"]["fits_memory"]
    assert result["checks"]["healthy_training"]


def test_the_model_is_a_standard_folder_and_lora_keeps_its_adapter_beside_it(made):
    algorithm, pipeline, _ = made
    files = files_of(pipeline)
    assert {"model/config.json", "model/model.safetensors", "model/tokenizer.json"} <= files
    adapter = {"model/adapter/adapter_config.json", "model/adapter/adapter_model.safetensors"}
    assert (adapter <= files) == (algorithm == "lora_sft")


def test_the_held_out_loss_was_measured_and_chose_the_model(made):
    _, pipeline, _ = made
    artifact = pipeline.artifact("finetuned_model")
    steps = list(read_metrics(artifact.file("metrics.jsonl")))
    measured = {s.step: s.held_out_loss for s in steps if s.held_out_loss is not None}
    assert set(measured) == {*range(2, len(steps) + 1, 2), len(steps)}
    best = min(measured, key=lambda step: measured[step])
    outcome = artifact.manifest.metadata["outcome"]
    assert outcome["model_dir"].endswith(f"samples_{min(best * 8, outcome['rows'] * 3)}")


def test_the_profile_and_the_tensorboard_files_lie_in_the_artifact(made):
    _, pipeline, _ = made
    artifact = pipeline.artifact("finetuned_model")
    files = files_of(pipeline)
    assert "profile/trace.json.gz" in files
    assert any(name.startswith("tensorboard/") for name in files)
    shown = pipeline.ft("profile", str(artifact.file("profile/trace.json.gz").parent), "--json")
    assert shown.exit_code == 0, shown.stderr
    assert shown.json["steps"] == 2


def test_the_tensorboard_files_hold_the_losses(made):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, pipeline, _ = made
    artifact = pipeline.artifact("finetuned_model")
    folders = {artifact.file(n).parent for n in files_of(pipeline) if "tensorboard/" in n}
    written: dict[int, float] = {}
    for folder in folders:
        events = EventAccumulator(str(folder)).Reload()
        for tag in events.Tags()["scalars"]:
            if tag == "train/loss":
                written |= {event.step: event.value for event in events.Scalars(tag)}
    steps = list(read_metrics(artifact.file("metrics.jsonl")))
    assert written == pytest.approx({s.step: s.loss for s in steps}, abs=1e-3)


def test_the_estimate_stands_beside_the_actual_figures(made):
    _, pipeline, _ = made
    rows = {
        row["figure"]: row
        for row in pipeline.artifact("finetuned_model").manifest.metadata["estimated"]
    }
    assert rows["optimizer steps"]["estimated"] == rows["optimizer steps"]["actual"]
    assert rows["tokens"]["estimated"] == rows["tokens"]["actual"]
    planned = pipeline.ft("plan", NAME, "--json")
    assert planned.exit_code == 0, planned.stderr
    assert json.dumps(planned.json)
    assert planned.json["steps"] == rows["optimizer steps"]["actual"]


def test_nothing_is_trained_again(made):
    _, pipeline, _ = made
    again = pipeline.ft("run", NAME, "--json")
    assert again.exit_code == 0, again.stderr
    assert "finetuned_model" in again.json["up_to_date"]
