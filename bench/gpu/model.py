"""A model of a real one's shape with random weights, and rows, made on the spot: no hub is asked.

Random weights cost what trained ones do: kernels, memory and checkpoints are the same.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.support.tiny_model import make_tiny_model

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
    },
    "small": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 8192,
    },
    "qwen2.5-1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
}
"""Qwen2 of a size; the last one is config.json of Qwen/Qwen2.5-1.5B."""

MAX_LENGTH = 4096


def make_model(folder: Path, shape: str, seed: int = 0) -> int:
    """Write a Qwen2 in bf16 with the tests' tokenizer; returns the number of its parameters."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    make_tiny_model(folder)  # for its tokenizer and special tokens
    tiny = json.loads((folder / "config.json").read_text())
    config = Qwen2Config(
        **SHAPES[shape],
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tiny["eos_token_id"],
        pad_token_id=tiny["pad_token_id"],
        dtype=torch.bfloat16,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    written = json.loads(settings.read_text())
    settings.write_text(json.dumps({**written, "model_max_length": MAX_LENGTH}))
    return sum(parameter.numel() for parameter in model.parameters())


def write_rows(file: Path, count: int, words: int, seed: int = 0) -> Path:
    """Chats of one question and one answer, of half to one and a half times ``words`` words."""
    from ft_assets.data.canonical import canonical_bytes, row_id
    from ft_assets.data.formats import normalize
    from ft_assets.data.row_files import row_line

    chance = random.Random(seed)
    some = ["library", "water", "planet", "function", "evening", "number", "book", "mountain"]

    def text(length: int) -> str:
        return " ".join(chance.choice(some) for _ in range(max(1, length)))

    with file.open("wb") as stream:
        for number in range(count):
            length = int(words * chance.uniform(0.5, 1.5))
            row = normalize(
                {
                    "messages": [
                        {"role": "user", "content": f"{number} {text(length // 4)}"},
                        {"role": "assistant", "content": text(length - length // 4)},
                    ]
                }
            )
            stream.write(row_line(row_id(row), canonical_bytes(row)))
    return file
