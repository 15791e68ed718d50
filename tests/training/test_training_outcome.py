"""A model folder is whole or refused; an outcome is there or not, never half."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ft_assets.training.outcome import OUTCOME_FILE, TrainOutcome, verify_model
from resources.errors import UserError

OUTCOME = TrainOutcome(
    model_dir="hf_format/samples_80",
    base_model_dir="/base",
    steps=10,
    epochs=2.0,
    rows=40,
    rows_too_long=0,
    rows_untrained=0,
    rows_cut=0,
    tokens=4000,
    trained_tokens=1000,
    train_seconds=1.5,
    tokens_per_second=2666.0,
    first_loss=5.0,
    last_loss=2.0,
    peak_memory_mib=900.0,
    resumed_from_step=0,
    settings={"threads": 1},
)


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "samples_80"))


def test_a_whole_model_is_accepted(model):
    verify_model(model)


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("config.json", "the trained model in samples_80 has no config.json"),
        ("model.safetensors", "has no safetensors weights"),
        ("tokenizer.json", r"has no tokenizer\.json"),
    ],
)
def test_a_model_without_a_part_is_refused(model, removed, said):
    (model / removed).unlink()
    with pytest.raises(UserError, match=said):
        verify_model(model)


def test_everything_that_lacks_is_told_at_once(tmp_path):
    with pytest.raises(UserError, match=r"config\.json, no safetensors weights, no tokenizer"):
        verify_model(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused_with_its_name(model, value):
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][3] = value
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"not finite \(model\.norm\.weight in model\.safetensors"):
        verify_model(model)


def test_every_shard_is_looked_at(model):
    save_file({"a": torch.tensor([float("nan")])}, model / "model-00002-of-00002.safetensors")
    with pytest.raises(UserError, match=r"model-00002-of-00002\.safetensors"):
        verify_model(model)


def test_weights_of_other_types_are_checked_too(model):
    save_file(
        {"b": torch.tensor([1.0, float("inf")], dtype=torch.bfloat16), "n": torch.tensor([1, 2])},
        model / "model.safetensors",
    )
    with pytest.raises(UserError, match=r"not finite \(b in"):
        verify_model(model)


def rewrite(model: Path, change) -> None:
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda weights: weights.pop("model.norm.weight"),
            r"has 1 missing weights, the first of them model\.norm\.weight",
        ),
        (
            lambda weights: weights.update({"extra.weight": torch.ones(2)}),
            r"has 1 unexpected weights, the first of them extra\.weight",
        ),
        (
            lambda weights: weights.update({"model.norm.weight": torch.ones(7)}),
            "does not load in transformers",
        ),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_refused(model, change, said):
    rewrite(model, change)
    with pytest.raises(UserError, match=said):
        verify_model(model)


def test_weights_that_were_cut_off_are_refused_with_the_remedy(model):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read, .* train again"):
        verify_model(model)


def test_a_shard_that_the_index_names_has_to_be_there(model):
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = {"weight_map": dict.fromkeys(weights, "model-00002-of-00002.safetensors")}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, **index}))
    with pytest.raises(UserError, match=r"does not load.*model-00002-of-00002"):
        verify_model(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_part_that_cannot_be_read_is_refused(model, name):
    (model / name).write_text('{"model_type": "qwen2", ')
    with pytest.raises(UserError, match="the trained model in samples_80 does not load"):
        verify_model(model)


def test_an_outcome_is_read_as_it_was_written(tmp_path):
    assert TrainOutcome.load(tmp_path) is None
    OUTCOME.save(tmp_path)
    assert TrainOutcome.load(tmp_path) == OUTCOME
    assert [file.name for file in tmp_path.iterdir()] == [OUTCOME_FILE]


def test_a_half_written_outcome_is_none(tmp_path):
    (tmp_path / f"{OUTCOME_FILE}.partial").write_text('{"model_dir"')
    assert TrainOutcome.load(tmp_path) is None
