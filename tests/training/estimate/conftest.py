"""Models by their published config.json, and token reports made of lengths."""

from __future__ import annotations

from typing import Any

import pytest

from ft_assets.config import KubernetesConfig, TrainingConfig
from ft_assets.training.drift import BUCKETS, shape_of
from ft_assets.training.estimate import Architecture
from ft_assets.training.estimate.architecture import architecture_of_config
from ft_assets.training.token_report import TokenReport, histogram, quantiles

# The numbers of the models' config.json on the hub, and their parameters as the hub counts them.
CONFIGS: dict[str, tuple[dict[str, Any], int]] = {
    "Qwen/Qwen2.5-1.5B-Instruct": (
        {
            "model_type": "qwen2",
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        },
        1_543_714_304,
    ),
    "Qwen/Qwen2.5-7B-Instruct": (
        {
            "model_type": "qwen2",
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        },
        7_615_616_512,
    ),
    "meta-llama/Llama-3.1-8B": (
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        },
        8_030_261_248,
    ),
    "Qwen/Qwen3-0.6B": (
        {
            "model_type": "qwen3",
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
        },
        596_049_920,
    ),
}


def by_config(name: str) -> Architecture:
    return architecture_of_config(name, CONFIGS[name][0])


@pytest.fixture(scope="session")
def qwen() -> Architecture:
    return by_config("Qwen/Qwen2.5-1.5B-Instruct")


@pytest.fixture(scope="session")
def qwen_7b() -> Architecture:
    return by_config("Qwen/Qwen2.5-7B-Instruct")


def training(**parameters: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(parameters)


def kubernetes(**parameters: Any) -> KubernetesConfig:
    return KubernetesConfig.model_validate(parameters)


def token_report(
    lengths: dict[int, int], *, trained_share: float = 0.5, max_seq_len: int = 8192, **values: Any
) -> TokenReport:
    """A report of rows by length, with the given share of each trained on."""
    tokens = sum(length * count for length, count in lengths.items())
    trained = {round(length * trained_share): count for length, count in lengths.items()}
    return TokenReport(
        **{
            "rows": sum(lengths.values()),
            "rows_too_long": 0,
            "rows_untrained": 0,
            "rows_cut": 0,
            "tokens": tokens,
            "trained_tokens": sum(length * count for length, count in trained.items()),
            "lengths": quantiles(lengths),
            "trained_lengths": quantiles(trained),
            "histogram": histogram(lengths),
            "max_seq_len": max_seq_len,
            "steps_per_epoch": 1,
            "steps": 1,
            "shape": shape_of(lengths, [1] * BUCKETS),
            **values,
        }
    )
