"""OSFT: the model begins as the base model, and no step touches the frozen directions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from ft_assets.config import TrainingConfig
from ft_assets.training.estimate.headers import read_folder
from ft_assets.training.estimate.trained import trained_parameters
from ft_assets.training.in_process.methods.osft import Osft
from ft_assets.training.in_process.trainer import RowTrainer
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from ft_assets.training.worker import train
from resources.errors import UserError
from tests.training.in_process.conftest import silent

IDS = torch.arange(3, 43)[None]
Q, K, DOWN = "self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(IDS).logits


def matrices(model: Any) -> dict[str, torch.Tensor]:
    """What the factors stand for, without rounding."""
    return {name: whole(module) for name, module in targets(model).items()}


def whole(module: Any) -> torch.Tensor:
    low = module.osft_params
    high = factors(module.osft_U_high, module.osft_S_high, module.osft_V_high)
    return high + factors(low.U_low, low.S_low, low.V_low)


def factors(u: torch.Tensor, s: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return ((u.double() * s.double()) @ v.double()).detach()


def targets(model: Any) -> dict[str, Any]:
    return {
        name: module for name, module in model.named_modules() if hasattr(module, "osft_U_high")
    }


# Before training.


def test_before_training_it_says_what_the_base_model_says(settings_for, tiny_model):
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = Osft(settings_for(algorithm="osft")).load()
    torch.testing.assert_close(logits(model), logits(base), atol=1e-4, rtol=1e-4)
    plain = dict(base.named_parameters())
    for name, matrix in matrices(model).items():
        torch.testing.assert_close(matrix.float(), plain[f"{name}.weight"].data, atol=1e-5, rtol=0)


def test_its_own_products_are_mini_trainers(settings_for):
    """The frozen part as one matrix gives what mini-trainer's factorized layer gives."""
    model = Osft(settings_for(algorithm="osft")).load()
    for module in targets(model).values():
        module.bias = torch.nn.Parameter(torch.randn(module.out_features))
        x = torch.randn(7, module.in_features)
        expected = model._factorized_linear(x, model.get_svd_dict_for_module(module), module.bias)
        torch.testing.assert_close(module(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("ratio", [0.25, 0.75, 0.999])
def test_its_own_projections_are_mini_trainers(settings_for, ratio, precision):
    """On all the shapes there are: square, wide and tall, with more, less and nothing frozen."""
    model = Osft(
        settings_for(algorithm="osft", unfreeze_rank_ratio=ratio, precision=precision)
    ).load()
    mini_trainers = type(model).__mro__[1]
    for project in ("project_gradients", "project_parameters"):
        parameters = [
            getattr(module.osft_params, name)
            for module in targets(model).values()
            for name in ("U_low", "V_low")
        ]
        start = [torch.randn_like(parameter) for parameter in parameters]
        found: list[list[torch.Tensor]] = []
        for of in (type(model), mini_trainers):
            for parameter, values in zip(parameters, start, strict=True):
                parameter.data, parameter.grad = values.clone(), values.clone()
            getattr(of, project)(model)
            moved = [p.grad if project == "project_gradients" else p.data for p in parameters]
            found.append([tensor.clone() for tensor in moved])
        for ours, theirs, before in zip(*found, start, strict=True):
            if precision == "bf16" and project == "project_gradients":
                assert (ours - theirs).norm() <= 1e-2 * before.norm()
            else:
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
            assert torch.allclose(ours, before) == (ratio == 0.999)


# What moves.


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_step_leaves_the_frozen_directions_alone(plan_file, monkeypatch, precision):
    """The update is orthogonal to what the frozen directions span, on both of a matrix's sides."""
    models: list[Any] = []
    seen: list[dict[str, torch.Tensor]] = []
    load, step = Osft.load, RowTrainer.training_step

    def load_and_keep(self: Osft) -> Any:
        models.append(load(self))
        return models[-1]

    def look_and_step(self: RowTrainer, model: torch.nn.Module, *rest: Any) -> torch.Tensor:
        seen.append(matrices(model))
        return step(self, model, *rest)

    monkeypatch.setattr(Osft, "load", load_and_keep)
    monkeypatch.setattr(RowTrainer, "training_step", look_and_step)
    plan = plan_file(
        algorithm="osft", num_epochs=1, weight_decay=0.01, warmup_steps=0, precision=precision
    )
    train(plan, silent)

    (model,) = models
    base, *after_each_step = [*seen, matrices(model)]
    assert len(after_each_step) == 5
    for now in after_each_step:
        for name, module in targets(model).items():
            update = now[name] - base[name]
            size = update.norm()
            assert size > 1e-3 * base[name].norm(), name
            u, v = module.osft_U_high.double(), module.osft_V_high.double()
            assert (u.T @ update).norm() <= 1e-4 * size, name
            assert (update @ v.T).norm() <= 1e-4 * size, name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("ratio", [0.25, 0.75])
def test_the_plan_counts_what_it_holds_in_memory(settings_for, tiny_model, ratio, precision):
    """Its factors, and beside them the frozen matrices less the factors that wait in a file."""
    config = TrainingConfig(algorithm="osft", unfreeze_rank_ratio=ratio)
    trained = trained_parameters(read_folder("tiny", tiny_model), config)
    model = Osft(
        settings_for(algorithm="osft", unfreeze_rank_ratio=ratio, precision=precision)
    ).load()
    held = {n: t.numel() for n, t in model.named_buffers() if "inv_freq" not in n}
    held |= {name: parameter.numel() for name, parameter in model.named_parameters()}
    for name, module in targets(model).items():
        for side in ("U", "V"):
            if getattr(module, f"osft_{side}_free") is not None:
                del held[f"{name}.osft_{side}_high"]
    assert sum(held.values()) == trained.stored + trained.beside


def test_what_is_frozen_stays_and_the_rest_moves(settings_for, tiny_model):
    model = Osft(settings_for(algorithm="osft")).load()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("high" not in name for name in trained)
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= trained


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.9])
def test_the_unfrozen_share_says_how_many_directions_are_trained(settings_for, ratio):
    """mini-trainer freezes floor((1 - ratio) x rank) of them."""
    model = Osft(settings_for(algorithm="osft", unfreeze_rank_ratio=ratio)).load()
    for module in targets(model).values():
        rows, columns = module.out_features, module.in_features
        rank = min(rows, columns)
        free = rank - int(rank * (1 - ratio))
        parameters = [p for p in module.osft_params.parameters() if p.requires_grad]
        assert sum(p.numel() for p in parameters) == free * (rows + columns + 1)
        assert module.osft_S_high.numel() == rank - free


def test_target_patterns_limit_the_matrices(settings_for):
    model = Osft(settings_for(algorithm="osft", target_patterns=["q_proj", "down_proj"])).load()
    assert {name.split(".", 3)[3] for name in targets(model)} == {Q, DOWN}
    assert len(targets(model)) == 4
    assert dict(model.named_parameters())[f"model.layers.0.{K}.weight"].requires_grad


def test_the_folders_name_does_not_choose_the_matrices(settings_for, tiny_model, tmp_path):
    """mini-trainer reads the architecture in the path: "opt" has no q_proj and no down_proj."""
    base = Path(shutil.copytree(tiny_model, tmp_path / "opt" / "gpt2"))
    assert len(targets(Osft(settings_for(algorithm="osft", base=base)).load())) == 14


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("c_attn", r"target_patterns: 'c_attn' is in no name .*; there are: down_proj, gate_proj"),
        ("embed_tokens", r"target_patterns: 'embed_tokens' is in no name"),
    ],
)
def test_a_pattern_that_fits_no_matrix_is_refused(settings_for, pattern, message):
    settings = settings_for(algorithm="osft", target_patterns=["q_proj", pattern])
    with pytest.raises(UserError, match=message):
        Osft(settings).load()


# What is left.


def test_the_model_is_a_standard_checkpoint_of_the_base_models_kind(
    plan_file, tiny_model, tmp_path
):
    plan = plan_file(algorithm="osft", num_epochs=1)
    train(plan, silent)
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    folder = plan.parent / outcome.model_dir
    saved, original = (load_file(at / "model.safetensors") for at in (folder, tiny_model))
    assert saved.keys() == original.keys()  # no factor among them, and the output layer tied
    config, expected = (json.loads((at / "config.json").read_text()) for at in (folder, tiny_model))
    assert config == expected
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert type(model).__name__ == AutoConfig.from_pretrained(tiny_model).architectures[0]


def test_the_saved_model_says_what_the_trained_one_says(settings_for, tmp_path):
    method = Osft(settings_for(algorithm="osft"))
    model = method.load()
    with torch.no_grad():
        for module in targets(model).values():
            module.osft_params.S_low += 0.5
    expected = logits(model)
    method.save(model, tmp_path / "saved")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(logits(saved), expected, atol=1e-4, rtol=1e-4)


def test_the_plan_says_osft(plan_file):
    plan = TrainPlan.model_validate_json(plan_file(algorithm="osft").read_text())
    assert (plan.algorithm, plan.parameters["unfreeze_rank_ratio"]) == ("osft", 0.25)
