"""Kept gradients change memory and speed and nothing else: they are autograd's own."""

from __future__ import annotations

import copy
import gc
from functools import partial
from typing import Any

import pytest
import torch
from transformers import CTRLConfig, CTRLLMHeadModel, LlamaConfig, LlamaForCausalLM

from ft_assets.training.in_process.trainer import loss_sum
from ft_assets.training.in_process.vocabulary import keep_vocabulary_gradients
from tests.support.training_runs import run
from tests.training.in_process.test_in_process_trainer import gradients, rows_of

PADDING = 7


def model_of(*, tied: bool = True, padding: int | None = None) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
        pad_token_id=padding,
    )
    return LlamaForCausalLM(config).float()


def pair(**options: Any) -> tuple[Any, Any]:
    """The same model twice, the second with kept gradients."""
    own = model_of(**options)
    kept = copy.deepcopy(own)
    keep_vocabulary_gradients(kept)
    return own, kept


def backward(model: Any, *seeds: int) -> None:
    """The backward passes of some batches, without moving the weights in between."""
    for seed in seeds:
        loss_sum(model, rows_of(12, 30, 7, seed=seed)).backward()


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_gradients_are_those_of_autograd_at_every_step(tied, seeds):
    own, kept = pair(tied=tied)
    for step in range(3):
        at = [seed + 10 * step for seed in seeds]
        backward(own, *at)
        backward(kept, *at)
        expected = gradients(own)
        assert expected["model.embed_tokens.weight"].abs().max() > 0
        assert_same(gradients(kept), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_each_step_has_its_gradient_in_the_same_memory(tied):
    _, kept = pair(tied=tied)
    weights = {kept.model.embed_tokens.weight, kept.lm_head.weight}
    places = []
    for step in range(3):
        backward(kept, step)
        places.append({weight.grad.data_ptr() for weight in weights})
        kept.zero_grad()
    assert places == [places[0]] * 3
    assert len(places[0]) == (1 if tied else 2)


def test_the_row_of_the_padding_token_gets_no_gradient_from_the_lookup():
    own, kept = pair(tied=False, padding=PADDING)
    assert own.model.embed_tokens.padding_idx == PADDING
    for model in (own, kept):
        ids = torch.tensor([[PADDING, 3, PADDING, 3, 9]])
        model(input_ids=ids).logits.square().sum().backward()
    expected = gradients(own)
    assert expected["model.embed_tokens.weight"][PADDING].abs().max() == 0
    assert_same(gradients(kept), expected)


def test_a_model_may_change_its_embeddings_in_place():
    """CTRL multiplies them by the root of its width."""
    torch.manual_seed(0)
    config = CTRLConfig(vocab_size=40, n_positions=16, n_embd=16, dff=32, n_layer=1, n_head=2)
    own = CTRLLMHeadModel(config).eval()
    kept = copy.deepcopy(own)
    keep_vocabulary_gradients(kept)
    assert "forward" in vars(kept.get_input_embeddings())
    for model in (own, kept):
        model(input_ids=torch.tensor([[5, 3, 9, 3, 1]])).logits.square().sum().backward()
    expected = gradients(own)
    assert expected["transformer.w.weight"][3].abs().max() > 0
    assert_same(gradients(kept), expected)


def test_with_activation_checkpointing_too():
    own, kept = pair()
    for model in (own, kept):
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        backward(model, 1)
    assert_same(gradients(kept), gradients(own))


def test_a_frozen_vocabulary_gets_no_gradient():
    own, kept = pair()
    for model in (own, kept):
        model.model.embed_tokens.weight.requires_grad_(False)
        backward(model, 1)
    found = gradients(kept)
    assert "model.embed_tokens.weight" not in found
    assert_same(found, gradients(own))


def backward_in_bf16(model: Any, *seeds: int) -> None:
    for seed in seeds:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_sum(model, rows_of(12, 30, seed=seed))
        loss.backward()


@pytest.mark.parametrize("tied", [True, False])
def test_in_bf16_they_are_autograds_to_the_precision_of_their_sums(tied):
    own, kept = pair(tied=tied)
    for step in range(3):
        for model in (own, kept):
            backward_in_bf16(model, step, step + 10)
        expected = gradients(own)
        for name, gradient in gradients(kept).items():
            scale = float(expected[name].abs().max())
            torch.testing.assert_close(gradient, expected[name], atol=1e-2 * scale, rtol=1e-2)


def test_in_bf16_a_weight_that_has_moved_is_cast_again():
    own, kept = pair()
    for model in (own, kept):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss_sum(model, rows_of(12, 30, seed=1))  # cast, and used by no backward pass
        with torch.no_grad():
            model.lm_head.weight.mul_(-3)
        backward_in_bf16(model, 2)
    expected = gradients(own)["model.layers.0.mlp.up_proj.weight"]
    found = gradients(kept)["model.layers.0.mlp.up_proj.weight"]
    torch.testing.assert_close(found, expected, atol=1e-2 * float(expected.abs().max()), rtol=1e-2)


def test_in_bf16_two_forward_passes_may_come_before_their_backward_passes():
    """The first backward pass writes over the cast weight, which the second needs too."""
    own, kept = pair()
    for model in (own, kept):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = [loss_sum(model, rows_of(12, 30, seed=seed)) for seed in (1, 2)]
        for loss in losses:
            loss.backward()
    expected = gradients(own)
    for name, gradient in gradients(kept).items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], atol=1e-2 * scale, rtol=1e-2)


@torch.no_grad()
def test_without_a_backward_pass_the_logits_are_the_same():
    own, kept = pair()
    ids = torch.arange(20)[None]
    assert torch.equal(kept(input_ids=ids).logits, own(input_ids=ids).logits)


def test_layers_that_are_not_torchs_own_stay_as_they_are():
    class Scaled(torch.nn.Embedding):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids) * 4

    model = model_of(tied=False)
    model.set_input_embeddings(Scaled(400, 16))
    model.set_output_embeddings(torch.nn.Linear(16, 400, bias=True))
    keep_vocabulary_gradients(model)
    assert "forward" not in vars(model.get_input_embeddings())
    assert "forward" not in vars(model.get_output_embeddings())


@pytest.mark.parametrize("replaced", ["lm_head", "embed_tokens"])
def test_a_forward_pass_that_somebody_replaced_stays_and_shares_its_gradient(replaced):
    own, kept = model_of(), model_of()
    layer = kept.lm_head if replaced == "lm_head" else kept.model.embed_tokens
    layer.forward = mine = partial(type(layer).forward, layer)
    keep_vocabulary_gradients(kept)
    assert layer.forward is mine
    for _ in range(2):
        backward(own, 1, 2)
        backward(kept, 1, 2)
        assert_same(gradients(kept), gradients(own))


def embeddings_in_memory() -> set[torch.nn.Embedding]:
    return {found for found in gc.get_objects() if type(found) is torch.nn.Embedding}


def test_the_backend_keeps_them(plan_file):
    """Seen in its own process, while it trains."""
    before = embeddings_in_memory()
    kept: list[bool] = []

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        if phase == "train":
            trained = embeddings_in_memory() - before
            kept.extend("forward" in vars(layer) for layer in trained)

    run(plan_file(num_epochs=1), report)
    assert kept
    assert all(kept)
