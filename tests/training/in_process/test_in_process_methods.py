"""What holds for every algorithm: the dtype, the attention, checkpoints, packing, and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from ft_assets.training.in_process.methods import METHODS
from ft_assets.training.in_process.row_attention import NAME, attends_by_row, keeps_rows_apart
from ft_assets.training.in_process.tokens import Row
from ft_assets.training.in_process.trainer import RowTrainer, loss_sum
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.worker import train
from resources.errors import UserError
from tests.training.in_process.conftest import silent

ALGORITHMS = ("sft", "osft", "lora_sft")
VOCABULARY = 400


class StoppedError(Exception):
    """Stands for whatever ends a process in the middle."""


def outcome_of(plan: Path) -> TrainOutcome:
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return outcome


def model_folder(plan: Path) -> Path:
    return plan.parent / outcome_of(plan).model_dir


def rows_of(*lengths: int) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    made: list[Row] = []
    for length in lengths:
        trained = torch.rand(length, generator=generator) < 0.4
        trained[0], trained[-1] = False, True
        made.append(Row(torch.randint(VOCABULARY, (length,), generator=generator), trained))
    return made


def loss_and_gradients(model: Any, rows: list[Row]) -> dict[str, torch.Tensor]:
    model.train()
    loss = loss_sum(model, rows)
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {"loss": loss.detach(), **found}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-3, rtol=1e-4, msg=name)


# What is saved.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_is_saved_in_the_type_that_it_came_in(
    settings_for, tiny_model, tmp_path, algorithm, dtype
):
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=dtype).save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(base)
    method = METHODS[algorithm](settings_for(base=base, algorithm=algorithm))
    model = method.load()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    method.save(model, tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {dtype}
    assert json.loads((tmp_path / "saved" / "config.json").read_text()) == json.loads(
        (base / "config.json").read_text()
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_leaves_the_base_models_configuration(plan_file, tiny_model, algorithm):
    """The Trainer and the attention that it trained with leave no trace in it."""
    plan = plan_file(algorithm=algorithm, num_epochs=1)
    train(plan, silent)
    saved, base = (
        json.loads((at / "config.json").read_text()) for at in (model_folder(plan), tiny_model)
    )
    assert saved == base
    assert outcome_of(plan).settings["packed"] is True


# An interrupted run.


@pytest.mark.parametrize("algorithm", ["osft", "lora_sft"])
def test_an_interrupted_run_ends_with_the_same_weights(plan_file, algorithm):
    """As sft's, in test_in_process_training."""

    def stop(phase: str, done: float, total: float, **details: Any) -> None:
        if phase == "train" and done == 7 and details:
            raise StoppedError

    values = {"algorithm": algorithm, "num_epochs": 2, "save_samples": 16, "save_full_state": True}
    whole, interrupted = plan_file("whole", **values), plan_file("interrupted", **values)
    train(whole, silent)
    with pytest.raises(StoppedError):
        train(interrupted, stop)
    train(interrupted, silent)
    assert outcome_of(interrupted).resumed_from_step == 6
    first, second = (
        (model_folder(plan) / "model.safetensors").read_bytes() for plan in (whole, interrupted)
    )
    assert first == second


# Activation checkpointing.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_activation_checkpointing_changes_no_gradient(settings_for, tmp_path, algorithm):
    settings = settings_for(algorithm=algorithm)
    rows = rows_of(12, 30, 7, 21, 2)
    found: list[dict[str, torch.Tensor]] = []
    for checkpointing in (False, True):
        torch.manual_seed(0)  # the adapter's beginning
        model = METHODS[algorithm](settings).load()
        assert keeps_rows_apart(model, VOCABULARY, "cpu")
        trainer = RowTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(tmp_path),
                use_cpu=True,
                report_to="none",
                gradient_checkpointing=checkpointing,
                gradient_checkpointing_kwargs={"use_reentrant": False},
            ),
            max_tokens=1000,
            packed=True,
        )
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        trainer.training_step(model, {"rows": rows})
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert_equal(found[1], found[0])


def test_activation_checkpointing_keeps_less(settings_for):
    """What the forward pass holds for the backward pass, in elements."""
    held: list[int] = []
    for checkpointing in (False, True):
        model = METHODS["sft"](settings_for(algorithm="sft")).load()
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, kept=kept: (kept.append(tensor.numel()), tensor)[1],
            lambda tensor: tensor,
        ):
            loss_sum(model, rows_of(60, 60, 60))
        held.append(sum(kept))
    assert held[1] < held[0] / 2


def test_a_run_with_activation_checkpointing_ends_as_one_without(plan_file):
    losses: list[float | None] = []
    for checkpointing in (False, True):
        plan = plan_file(str(checkpointing), num_epochs=1, gradient_checkpointing=checkpointing)
        train(plan, silent)
        losses.append(outcome_of(plan).last_loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


# Attention and packing.


@pytest.mark.parametrize(
    ("attention", "used"), [("auto", "sdpa"), ("sdpa", "sdpa"), ("eager", "eager")]
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_attention_is_the_one_that_is_asked_for(settings_for, algorithm, attention, used):
    model = METHODS[algorithm](settings_for(algorithm=algorithm, attention=attention)).load()
    assert model.config._attn_implementation == used
    assert attends_by_row(model) is (used == "sdpa")
    assert model.config._attn_implementation == (NAME if used == "sdpa" else "eager")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_attention_by_row_gives_the_loss_and_gradients_of_one_mask(settings_for, algorithm):
    rows = rows_of(12, 30, 1, 21, 2)
    found: list[dict[str, torch.Tensor]] = []
    for by_row in (False, True):
        torch.manual_seed(0)
        model = METHODS[algorithm](settings_for(algorithm=algorithm)).load()
        assert not by_row or attends_by_row(model)
        found.append(loss_and_gradients(model, rows))
    assert_equal(found[1], found[0])


def test_one_long_row_attends_as_it_would_alone(settings_for):
    model = METHODS["sft"](settings_for(algorithm="sft")).load()
    expected = loss_and_gradients(model, rows_of(100))
    assert attends_by_row(model)
    assert_equal(loss_and_gradients(model, rows_of(100)), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"sliding_window": 16, "use_sliding_window": True},
        {"attention_chunk_size": 16},
    ],
)
def test_a_model_that_does_not_see_the_whole_row_keeps_its_own_attention(settings_for, change):
    model = METHODS["sft"](settings_for(algorithm="sft")).load()
    for name, value in change.items():
        setattr(model.config, name, value)
    assert attends_by_row(model) is False
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_hands_no_positions_to_its_attention_keeps_its_own(settings_for, monkeypatch):
    from ft_assets.training.in_process import row_attention

    model = METHODS["sft"](settings_for(algorithm="sft")).load()

    def no_positions(*given: Any, position_ids: Any = None, **further: Any) -> Any:
        return row_attention.sdpa_attention_forward(*given, **further)

    monkeypatch.setattr(row_attention, "attend_by_row", no_positions)
    assert keeps_rows_apart(model, VOCABULARY, "cpu") is True
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("asked", "packed"), [(None, True), (True, True), (False, False)])
def test_rows_are_packed_when_it_is_asked_for_or_left_open(plan_file, asked, packed):
    plan = plan_file(num_epochs=1, sample_packing=asked)
    train(plan, silent)
    assert outcome_of(plan).settings["packed"] is packed


def test_packing_is_refused_where_attention_crosses_the_rows(plan_file, monkeypatch):
    from ft_assets.training.in_process import backend

    monkeypatch.setattr(backend, "keeps_rows_apart", lambda *_: False)
    with pytest.raises(UserError, match=r"training\.sample_packing: true: .* crosses from row"):
        train(plan_file(num_epochs=1, sample_packing=True), silent)


def test_eager_attention_trains_as_sdpa_does(plan_file):
    losses: list[float | None] = []
    for attention in ("eager", "sdpa"):
        plan = plan_file(attention, num_epochs=1, attention=attention)
        train(plan, silent)
        losses.append(outcome_of(plan).last_loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
