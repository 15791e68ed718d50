"""What vLLM is asked for a text, and what becomes of its answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation.vllm_lm import (
    asked_of_vllm,
    generation_defaults,
    special_tokens,
    without,
)
from resources.errors import UserError


def asked(settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What vLLM is asked where a task sets this, and the model that."""
    from lm_eval.api.instance import Instance

    request = Instance("generate_until", {}, ("Say 1", settings), 0, ("echo", 0, 1))
    prompt, told = asked_of_vllm(request, defaults).args
    assert prompt == "Say 1"
    assert request.args == ("Say 1", settings)
    return told


def test_a_text_is_generated_as_the_model_itself_says(base_model: Path, tmp_path: Path) -> None:
    assert generation_defaults(str(tmp_path)) == {"top_k": 50}
    folder = shutil.copytree(base_model, tmp_path / "model")
    (folder / "generation_config.json").write_text(
        json.dumps(
            {"repetition_penalty": 1.05, "top_p": 0.8, "temperature": 0.7, "do_sample": True}
        )
    )
    defaults = generation_defaults(str(folder))
    assert defaults == {"top_k": 50, "top_p": 0.8, "repetition_penalty": 1.05}
    greedy = {"until": ["x"], "do_sample": False}
    assert asked(greedy, defaults) == {**greedy, "repetition_penalty": 1.05}
    told = asked({"do_sample": True, "temperature": 1.0, "top_p": 0.9}, defaults)
    assert told.pop("seed") >= 0
    assert told == {
        "do_sample": True,
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 50,
        "repetition_penalty": 1.05,
    }


def test_draws_have_seeds_that_follow_from_torchs() -> None:
    import torch

    drawn = {"temperature": 1.0}
    torch.manual_seed(3)
    first = [asked(drawn, {})["seed"] for _ in range(3)]
    torch.manual_seed(3)
    assert [asked(drawn, {})["seed"] for _ in range(3)] == first
    assert len(set(first)) == 3


def test_a_task_with_a_setting_that_vllm_has_not_is_refused() -> None:
    assert asked({"num_beams": 1}, {}) == {}
    with pytest.raises(UserError, match="task 'echo' sets 'num_beams', which vLLM does not know"):
        asked({"num_beams": 2}, {})


def test_special_tokens_are_left_out_of_a_text(base_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base_model))
    tokens = special_tokens(tokenizer)
    assert set(tokens) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert without(tokens, "one<|im_start|> two<|im_end|>") == "one two"
