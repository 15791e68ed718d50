"""What is trained of a model is counted from shapes, and is what the libraries make of it."""

from __future__ import annotations

import math

import pytest

from ft_assets.training.estimate.architecture import kinds_of
from ft_assets.training.estimate.headers import read_folder
from ft_assets.training.estimate.trained import (
    lora_targets,
    osft_patterns,
    osft_rank,
    osft_targets,
    trained_parameters,
)
from resources.errors import UserError
from tests.training.estimate.conftest import training


def test_sft_trains_everything(qwen):
    trained = trained_parameters(qwen, training(algorithm="sft"))
    assert trained.trainable == trained.stored == qwen.parameters
    assert trained.note() == "all weights"


@pytest.mark.parametrize(
    ("shape", "ratio", "ranks"),
    [
        ((10, 4), 0.25, (3, 1)),
        ((4, 10), 0.5, (2, 2)),
        ((8, 8), 0.01, (7, 1)),
        ((3, 9), 0.9, (0, 3)),
    ],
)
def test_osft_divides_the_rank_of_a_matrix(shape, ratio, ranks):
    assert osft_rank(shape, ratio) == ranks


def test_osft_counts_factors_and_what_is_unconstrained(qwen):
    trained = trained_parameters(qwen, training(algorithm="osft", unfreeze_rank_ratio=0.25))
    targets = osft_targets(qwen, [])
    assert len(targets) == 7 * qwen.layers
    matrices = sum(math.prod(shape) for _, shape in targets)
    factors = sum(min(shape) * (sum(shape) + 1) for _, shape in targets)
    assert trained.stored == qwen.parameters - matrices + factors
    assert trained.trainable == trained.low_rank + (qwen.parameters - matrices)
    # A quarter of every rank (all ranks here are multiples of 4).
    assert trained.low_rank * 4 == factors


def test_osft_takes_the_patterns_of_the_config(qwen):
    targets = osft_targets(qwen, ["mlp.down_proj"])
    assert {name.split(".", 3)[3] for name, _ in targets} == {"mlp.down_proj.weight"}


def test_lora_adds_two_thin_matrices_to_each_linear_layer(qwen):
    trained = trained_parameters(qwen, training(algorithm="lora_sft", lora_r=16))
    targets = lora_targets(qwen, [])
    assert trained.trainable == trained.adapter == sum(16 * sum(shape) for _, shape in targets)
    # The published number for r 16 on all linear layers of this model.
    assert trained.trainable == 18_464_768
    assert trained.frozen == qwen.parameters


def test_lora_on_named_modules_with_dora(qwen):
    config = training(algorithm="lora_sft", lora_target_modules=["q_proj", "v_proj"], use_dora=True)
    per_layer = 16 * (1536 + 1536) + 1536 + 16 * (1536 + 256) + 256
    assert trained_parameters(qwen, config).trainable == qwen.layers * per_layer


def test_lora_counts_what_peft_makes(tiny_model):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    trainable, _ = wrapped.get_nb_trainable_parameters()
    config = training(algorithm="lora_sft", lora_r=4)
    assert trained_parameters(read_folder("tiny", tiny_model), config).trainable == trainable


@pytest.mark.slow
def test_osft_counts_what_mini_trainer_makes(tiny_model):
    import torch
    from mini_trainer.osft_utils import create_osft_model_class
    from transformers import Qwen2ForCausalLM

    osft = create_osft_model_class(Qwen2ForCausalLM)
    model = osft.from_pretrained(
        str(tiny_model),
        fsdp2_lazy_init=False,
        initialize_osft=False,
        rank_ratio=0.75,
        torch_dtype=torch.float32,
    )
    model.reinitialize_osft(decompose_existing_weights=True)
    parameters = list(model.parameters())
    trained = trained_parameters(
        read_folder("tiny", tiny_model), training(algorithm="osft", unfreeze_rank_ratio=0.25)
    )
    assert trained.stored == sum(p.numel() for p in parameters)
    assert trained.trainable == sum(p.numel() for p in parameters if p.requires_grad)


@pytest.mark.slow
def test_osft_targets_are_those_of_mini_trainer():
    from mini_trainer.osft_utils import MODEL_NAME_MAPPINGS, get_model_patterns

    for name in [*MODEL_NAME_MAPPINGS, "something-else", "Qwen/Qwen2.5-1.5B", "meta-llama/x"]:
        assert set(osft_patterns([name], ())) == set(get_model_patterns(name)), name


@pytest.mark.slow
def test_each_kind_of_model_has_the_patterns_of_its_class():
    """As on the CPU, where the class of the loaded model is asked."""
    from mini_trainer.osft_utils import get_model_patterns
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    for model_type, classes in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        name = classes if isinstance(classes, str) else classes[0]
        kinds = kinds_of({"model_type": model_type, "architectures": [name]})
        assert set(osft_patterns(kinds, ())) == set(get_model_patterns(name)), model_type


def test_the_folders_name_does_not_choose_the_matrices(qwen):
    """In "/opt" there is a word of the table; OPT has no o_proj and no down_proj."""
    model = qwen.model_copy(update={"name": "/opt/models/Qwen2.5"})
    assert osft_targets(model, []) == osft_targets(qwen, [])
    assert len(osft_targets(model, [])) == 7 * qwen.layers


def test_the_language_models_kind_goes_before_that_of_what_is_around_it():
    config = {
        "model_type": "llava",
        "architectures": ["LlavaForConditionalGeneration"],
        "text_config": {"model_type": "opt"},
    }
    assert kinds_of(config) == ("opt", "llava", "LlavaForConditionalGeneration")
    assert "fc1" in osft_patterns(kinds_of(config), ())


@pytest.mark.parametrize("pattern", ["c_attn", "embed_tokens", "norm", "model.layers.28."])
def test_a_pattern_that_fits_no_linear_weight_is_refused(qwen, pattern):
    said = rf"target_patterns: '{pattern}' is in no name of .*; there are: down_proj, gate_proj"
    with pytest.raises(UserError, match=said):
        trained_parameters(qwen, training(algorithm="osft", target_patterns=["q_proj", pattern]))


def test_a_file_may_leave_out_what_comes_before_the_layers():
    """gpt2's does: the loaded model's names begin with "transformer."."""
    stored = ["h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight"]
    named = ["transformer.h.0.attn", "mlp.c_fc"]
    assert osft_patterns(["gpt2"], stored, named) == tuple(named)


def test_a_model_that_has_none_of_its_kinds_matrices_is_refused():
    stored = ["gpt_neox.layers.0.attention.query_key_value.weight"]
    with pytest.raises(UserError, match=r"target_patterns: none of .*: name some of query_key_val"):
        osft_patterns(["gpt_neox", "GPTNeoXForCausalLM"], stored)
    assert osft_patterns(["gpt_neox"], stored, ["query_key_value"]) == ("query_key_value",)


def test_names_that_are_not_known_refuse_nothing(qwen):
    """Those of a GGUF file whose architecture is not Llama's."""
    model = qwen.model_copy(update={"names_known": False})
    assert osft_targets(model, ["qkv_proj"]) == []
