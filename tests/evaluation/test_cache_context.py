"""What of the settings makes answers other answers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from ft_assets.evaluation.cache_context import numbers_context


def context(model_args: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    defaults = {
        "dtype": "torch.float32",
        "device": "cpu",
        "max_length": 256,
        "chat_template": "{{ messages }}",
    }
    return numbers_context(model_args or {}, **{**defaults, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "torch.bfloat16"},
        {"device": "cuda"},
        {"max_length": 128},
        {"chat_template": "{{ other }}"},
        {"chat_template": None},
        {"chat_template": {"default": "{{ messages }}", "tool_use": "x"}},
        {"model_args": {"attn_implementation": "eager"}},
        {"model_args": {"softmax_dtype": "float32"}},
        {"model_args": {"add_bos_token": True}},
        {"model_args": {"use_safetensors": False}},
        {"model_args": {"an_argument_of_tomorrow": 1}},
    ],
)
def test_what_changes_numbers_is_in_it(fields: dict[str, Any]) -> None:
    assert context(**fields) != context()


@pytest.mark.parametrize(
    "name", ["device", "device_map", "logits_cache", "max_batch_size", "parallelize"]
)
def test_where_the_model_lies_is_not(name: str) -> None:
    assert context({name: "x"}) == context()


def test_the_type_in_use_counts_not_the_one_asked_for() -> None:
    assert context({"dtype": "auto"}) == context({"dtype": "float32"})


def test_other_libraries_are_other_numbers() -> None:
    names = ("lm-eval", "torch", "transformers")
    assert context()["libraries"] == {name: version(name) for name in names}
