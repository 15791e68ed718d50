"""Estimated activations and copies are those that torch keeps for the backward pass."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from ft_assets.training.estimate.architecture import architecture_of_config
from ft_assets.training.estimate.memory import autocast_copies, memory
from ft_assets.training.estimate.rows import Part
from ft_assets.training.estimate.trained import trained_parameters
from ft_assets.training.estimate.world import World
from tests.training.estimate.conftest import kubernetes, training

CONFIG = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2000,
    "tie_word_embeddings": True,
}
TOKENS, TRAINED = 512, 128


def _model(algorithm: str, precision: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ft_assets.training.in_process.methods import osft

    model: Any = LlamaForCausalLM(LlamaConfig(**CONFIG))
    if algorithm == "lora_sft":
        from peft import LoraConfig, get_peft_model

        return get_peft_model(model, LoraConfig(r=16, target_modules="all-linear"))
    if algorithm == "osft":
        plain, model = model, osft._decomposable(model)
        model.osft_config = osft._ranks(model, type(plain), [], frozen_share=0.75)
        model.reinitialize_osft(decompose_existing_weights=True)
        for module in model.osft_modules():
            osft._prepare(module, torch.bfloat16 if precision == "bf16" else torch.float32)
    return model


def _kept(model: Any, precision: str) -> tuple[int, int]:
    """Bytes that autograd keeps beside the parameters: of tokens, and of (copies of) weights."""
    import torch
    from torch.nn import functional

    from ft_assets.training.in_process.row_attention import attends_by_row

    assert attends_by_row(model)
    of_the_model = (*model.parameters(), *model.buffers())
    parameters = {tensor.untyped_storage().data_ptr() for tensor in of_the_model}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.arange(TOKENS)[None] % CONFIG["vocab_size"]
    trained = torch.arange(0, TOKENS, TOKENS // TRAINED)
    autocast = (
        torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=trained).logits[0]
        functional.cross_entropy(logits.float(), ids[0][trained], reduction="sum")
    tokens = weights = 0
    for tensor in kept.values():
        size = tensor.untyped_storage().nbytes()
        if TOKENS in tensor.shape:
            tokens += size
        elif TRAINED not in tensor.shape and tensor.dim() > 1:
            weights += size
    return tokens, weights


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("algorithm", ["sft", "osft", "lora_sft"])
def test_what_autograd_keeps(algorithm, precision):
    config = training(algorithm=algorithm, backend="cpu", precision=precision)
    world = World.of(config, kubernetes())
    shapes = architecture_of_config("model", {**CONFIG, "model_type": "llama"})
    part = Part(tokens=TOKENS, trained_tokens=TRAINED, longest=TOKENS)
    found = memory(shapes, config, world, trained_parameters(shapes, config), part)
    copies = autocast_copies(shapes, config, world, trained_parameters(shapes, config))

    tokens, weights = _kept(_model(algorithm, precision), precision)

    # The estimate also counts the gradients of one layer, which are there with the activations.
    assert tokens <= found.activations <= 1.25 * tokens
    assert weights <= copies <= 1.15 * weights
