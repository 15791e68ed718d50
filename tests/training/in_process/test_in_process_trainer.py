"""Packing changes the speed and nothing else: loss and gradients are those of row by row."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, TrainingArguments

from ft_assets.training.in_process.tokens import Row
from ft_assets.training.in_process.trainer import RowTrainer, filled, isolates_rows, loss_sum, parts

VOCABULARY = 400


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def rows_of(*lengths: int, seed: int = 0) -> list[Row]:
    generator = torch.Generator().manual_seed(seed)
    made: list[Row] = []
    for length in lengths:
        trained = torch.rand(length, generator=generator) < 0.4
        trained[0], trained[-1] = False, True
        made.append(Row(torch.randint(VOCABULARY, (length,), generator=generator), trained))
    return made


def row_by_row(model: Any, rows: list[Row]) -> torch.Tensor:
    """The mean loss per trained token, in the plainest way."""
    total = torch.zeros(())
    for row in rows:
        logits = model(input_ids=row.ids[None]).logits[0, :-1]
        losses = functional.cross_entropy(logits, row.ids[1:], reduction="none")
        total = total + losses[row.trained[1:]].sum()
    return total / sum(int(row.trained.sum()) for row in rows)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def trainer_for(model: Any, tmp_path: Path, *, max_tokens: int, packed: bool = True) -> RowTrainer:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    return RowTrainer(model=model, args=arguments, max_tokens=max_tokens, packed=packed)


@pytest.mark.parametrize("max_tokens", [10_000, 40, 1])
@pytest.mark.parametrize("packed", [True, False])
def test_loss_and_gradients_of_a_step_are_those_of_row_by_row(model, tmp_path, max_tokens, packed):
    rows = rows_of(12, 30, 7, 21, 2)
    expected = row_by_row(model, rows)
    expected.backward()
    expected_gradients = gradients(model)

    trainer = trainer_for(model, tmp_path, max_tokens=max_tokens, packed=packed)
    loss = trainer.training_step(model, {"rows": rows})
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert trainer.last_loss == loss.item()
    step_gradients = gradients(model)
    assert step_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(step_gradients[name], gradient, atol=1e-5, rtol=1e-4)


def test_a_bf16_step_is_an_fp32_step_to_its_precision(model, tmp_path):
    """It has some tokens more, from which nothing is learned."""
    rows = rows_of(12, 30, 7, 21, 3)
    given: list[int] = []
    found: list[dict[str, torch.Tensor]] = []
    for bf16, own in ((False, model), (True, deepcopy(model))):
        own.register_forward_pre_hook(
            lambda _, __, named: given.append(named["input_ids"].shape[1]), with_kwargs=True
        )
        arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", bf16=bf16)
        trainer = RowTrainer(model=own, args=arguments, max_tokens=100, packed=True)
        trainer.training_step(trainer.accelerator.prepare(own), {"rows": rows})
        assert trainer.tokens_seen == 73
        found.append(gradients(own))
    assert given == [73, 80]
    exact, rounded = found
    for name, gradient in exact.items():
        apart = (rounded[name] - gradient).norm() / gradient.norm()
        assert 1e-4 < apart <= 0.1, name


def test_tokens_are_counted_over_steps(model, tmp_path):
    trainer = trainer_for(model, tmp_path, max_tokens=100)
    rows = rows_of(12, 30)
    trainer.training_step(model, {"rows": rows})
    trainer.training_step(model, {"rows": rows})
    assert trainer.tokens_seen == 84
    assert trainer.trained_tokens_seen == 2 * sum(int(row.trained.sum()) for row in rows)


def test_the_loss_is_a_sum_over_the_trained_tokens_only(model):
    (row,) = rows_of(20)
    only_last = Row(row.ids, torch.arange(20) == 19)
    logits = model(input_ids=row.ids[None]).logits[0, 18]
    expected = -logits.log_softmax(-1)[row.ids[19]]
    torch.testing.assert_close(loss_sum(model, [only_last]), expected, atol=1e-5, rtol=1e-5)


def test_a_row_without_trained_tokens_adds_nothing(model):
    first, second = rows_of(12, 9)
    silent = Row(second.ids, torch.zeros(9, dtype=torch.bool))
    torch.testing.assert_close(
        loss_sum(model, [first, silent]), loss_sum(model, [first]), atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "more"),
    [
        ((12, 9), 100, [3]),
        ((12, 9), 24, [3]),
        ((12, 9), 23, []),  # no part becomes larger than was allowed
        ((12, 4), 100, []),
        ((30,), 1, []),
    ],
)
def test_a_part_is_filled_to_a_multiple_of_eight_with_what_nothing_is_learned_from(
    model, lengths, max_tokens, more
):
    rows = rows_of(*lengths)
    found = filled(rows, max_tokens)
    assert [len(row.ids) for row in found] == [*lengths, *more]
    assert not any(bool(row.trained.any()) for row in found[len(rows) :])
    torch.testing.assert_close(loss_sum(model, found), loss_sum(model, rows))


def lengths_of_parts(lengths: list[int], max_tokens: int) -> list[list[int]]:
    return [[len(row.ids) for row in part] for part in parts(rows_of(*lengths), max_tokens)]


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "expected"),
    [
        ([4, 4, 4], 8, [[4, 4], [4]]),
        ([4, 4, 4], 12, [[4, 4, 4]]),
        ([4, 20, 4, 4], 8, [[4], [20], [4, 4]]),
        ([20], 8, [[20]]),
        ([3, 3], 1, [[3], [3]]),
        ([], 8, []),
    ],
)
def test_parts_are_consecutive_rows_up_to_the_limit(lengths, max_tokens, expected):
    assert lengths_of_parts(lengths, max_tokens) == expected


def test_the_tiny_model_keeps_packed_rows_apart(model):
    model.train()
    assert isolates_rows(model, VOCABULARY) is True
    assert model.training  # as it was


def test_a_model_that_mixes_packed_rows_is_found_out(model, monkeypatch):
    """One that makes an attention mask of its own attends over the whole sequence."""
    original = model.forward

    def attends_to_everything(input_ids: Any, position_ids: Any, use_cache: bool) -> Any:
        mask = torch.ones_like(input_ids)
        return original(input_ids, attention_mask=mask, position_ids=position_ids)

    monkeypatch.setattr(model, "forward", attends_to_everything)
    assert isolates_rows(model, VOCABULARY) is False
