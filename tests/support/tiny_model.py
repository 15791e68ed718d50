"""A causal language model with tokenizer and chat template, made on the spot in a second.

Its weights are random: what it says has no meaning, but every code path of a real model runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_SENTENCES = (
    "The library opens at nine and closes at six in the evening.",
    "How do I renew a book that somebody else is waiting for?",
    "You cannot renew it: bring it back within three days, please.",
    "A function returns the sum of its two arguments as a number.",
    "Water boils at one hundred degrees, a little less on a mountain.",
    "Which planet is the largest? Jupiter is, by a wide margin.",
)

MAX_LENGTH = 256
"""Tokens that the tiny model sees at most."""


def make_tiny_model(folder: Path, seed: int = 0, chat_template: bool = True) -> Path:
    """Write a tiny Qwen2 (2 layers, hidden size 32) into ``folder`` and return it.

    Deterministic: the same seed gives the same weights, other seeds other ones; the tokenizer
    (byte-level BPE, <|im_start|> and <|im_end|>) is always the same.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tokenizer(chat_template)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        initializer_range=0.2,  # so that the predictions differ clearly from one another
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(chat_template: bool):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=MAX_LENGTH,
    )
    if chat_template:
        fast.chat_template = CHATML
    return fast
