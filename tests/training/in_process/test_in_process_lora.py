"""LoRA: only the adapter moves; it is kept beside the model that it is merged into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from ft_assets.training.in_process.methods.lora import Lora
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.worker import train
from resources.errors import UserError
from tests.training.in_process.conftest import silent

IDS = torch.arange(3, 43)[None]
ALL_LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(IDS).logits


def trained_names(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def adapters(model: Any) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if hasattr(m, "lora_A")}


def move(model: Any) -> None:
    """Stands for training: an adapter that changes nothing would show nothing."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)


# Before training.


@pytest.mark.parametrize("values", [{}, {"use_dora": True}, {"use_rslora": True}])
def test_before_training_it_says_what_the_base_model_says(settings_for, tiny_model, values):
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = Lora(settings_for(algorithm="lora_sft", **values)).load()
    torch.testing.assert_close(logits(model), logits(base), atol=1e-5, rtol=1e-5)


def test_by_default_every_linear_layer_but_the_output_has_an_adapter(settings_for):
    model = Lora(settings_for(algorithm="lora_sft")).load()
    assert {name.rpartition(".")[2] for name in adapters(model)} == ALL_LINEAR
    assert trained_names(model)
    assert all("lora_" in name for name in trained_names(model))


def test_the_parameters_reach_peft(settings_for):
    settings = settings_for(
        algorithm="lora_sft",
        lora_r=4,
        lora_alpha=12,
        lora_dropout=0.1,
        lora_target_modules=["q_proj", "v_proj"],
        use_rslora=True,
        extra={
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"v_proj": 3},
            "init_lora_weights": "gaussian",
        },
    )
    model = Lora(settings).load()
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 12, 0.1)
    assert set(config.target_modules) == {"q_proj", "v_proj"}
    assert (config.use_rslora, config.use_dora) == (True, False)
    assert config.init_lora_weights == "gaussian"
    q, v = (
        next(m for name, m in adapters(model).items() if name.endswith(end))
        for end in ("q_proj", "v_proj")
    )
    assert (q.r["default"], v.r["default"]) == (2, 4)
    assert (q.scaling["default"], v.scaling["default"]) == (12 / 2**0.5, 3 / 4**0.5)
    assert q.lora_dropout["default"].p == 0.1


def test_dora_learns_magnitudes_too(settings_for):
    model = Lora(settings_for(algorithm="lora_sft", use_dora=True)).load()
    assert any("lora_magnitude_vector" in name for name in trained_names(model))


# What is left.


@pytest.mark.parametrize("values", [{}, {"use_dora": True}, {"lora_target_modules": ["q_proj"]}])
def test_the_merged_model_says_what_the_adapter_over_the_base_says(
    settings_for, tiny_model, tmp_path, values
):
    method = Lora(settings_for(algorithm="lora_sft", **values))
    model = method.load()
    move(model)
    expected = logits(model)
    method.save(model, tmp_path)

    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    over_base = PeftModel.from_pretrained(_fresh(tiny_model), str(tmp_path / "adapter"))
    assert not torch.allclose(logits(merged), logits(_fresh(tiny_model)), atol=1e-2)
    torch.testing.assert_close(logits(merged), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(over_base), expected, atol=1e-4, rtol=1e-4)


def _fresh(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_a_run_moves_the_adapter_and_nothing_else(plan_file, tiny_model):
    plan = plan_file(algorithm="lora_sft", num_epochs=2, lora_target_modules=["q_proj", "up_proj"])
    train(plan, silent)
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    assert outcome.last_loss is not None
    assert outcome.first_loss is not None
    assert outcome.last_loss < outcome.first_loss
    folder = plan.parent / outcome.model_dir
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert json.loads((folder / "config.json").read_text()) == json.loads(
        (tiny_model / "config.json").read_text()
    )
    trained, base = (dict(_fresh(at).named_parameters()) for at in (folder, tiny_model))
    moved = {name for name in base if not torch.equal(trained[name], base[name])}
    assert {name.split(".")[-2] for name in moved} == {"q_proj", "up_proj"}
    assert len(moved) == 4


# What is refused.


@pytest.mark.parametrize("targets", [["c_attn"], ["q_proj", "c_attn"]])
def test_a_module_that_is_not_in_the_model_is_refused(settings_for, targets):
    settings = settings_for(algorithm="lora_sft", lora_target_modules=targets)
    message = r"training\.lora_target_modules: .* no linear layer named 'c_attn'; there are: down_"
    with pytest.raises(UserError, match=message):
        Lora(settings).load()


def test_a_beginning_that_changes_the_base_model_is_refused(settings_for):
    """The adapter beside the model would belong to no model that there is."""
    settings = settings_for(algorithm="lora_sft", extra={"init_lora_weights": "pissa"})
    with pytest.raises(UserError, match=r"init_lora_weights: 'pissa' changes the base"):
        Lora(settings).load()


@pytest.mark.parametrize("name", ["load_in_4bit", "load_in_8bit"])
def test_quantized_weights_are_refused_by_the_plan_on_the_cpu(plan_file, name):
    with pytest.raises(UserError, match=rf"training\.{name}: True .* need an NVIDIA GPU"):
        plan_file(algorithm="lora_sft", **{name: True})
