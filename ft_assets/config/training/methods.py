"""What may change in the weights: OSFT's subspace, LoRA's adapter, quantization."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from ft_assets.config.block import Block, parameter


def _split_commas(value: Any) -> Any:
    """The seeds' form of a list: names with commas between them."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


class OsftParameters(Block):
    """Orthogonal subspace fine-tuning (Nayak et al. 2025, arXiv:2504.07097)."""

    unfreeze_rank_ratio: float = parameter(
        0.25,
        "OSFT: share of each matrix's singular directions that may change, the smallest ones "
        "first. 1 is not OSFT any more: use sft.",
        seed=("phase_02_train_man_train_unfreeze", "training_unfreeze_rank_ratio"),
        gt=0.0,
        lt=1.0,
    )
    target_patterns: list[str] = parameter(
        [],
        "OSFT: parts of the names of the matrices that are treated; none takes those that "
        "mini-trainer knows for the model.",
        seed=("phase_02_train_opt_target_patterns", "training_target_patterns"),
    )
    osft_memory_efficient_init: bool = parameter(
        False,
        "OSFT: only false is taken: mini-trainer 0.9 has no such parameter and decides itself.",
        seed=("training_osft_memory_efficient_init",),
    )

    @field_validator("target_patterns", mode="before")
    @classmethod
    def _split_patterns(cls, value: Any) -> Any:
        return _split_commas(value)


class LoraParameters(Block):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) and QLoRA (arXiv:2305.14314)."""

    lora_r: int = parameter(16, "LoRA: rank of the adapter.", seed=("training_lora_r",), ge=1)
    lora_alpha: int = parameter(
        32,
        "LoRA: the adapter's output is scaled by alpha / r.",
        seed=("training_lora_alpha",),
        ge=1,
    )
    lora_dropout: float = parameter(
        0.0,
        "LoRA: dropout before the adapter.",
        seed=("training_lora_dropout",),
        ge=0.0,
        lt=1.0,
    )
    lora_target_modules: list[str] = parameter(
        [],
        "LoRA: names of the modules that get an adapter; none takes all linear layers but the "
        "output layer.",
        seed=("training_lora_target_modules", "target_modules"),
    )
    use_rslora: bool = parameter(
        False, "LoRA: scale by alpha / sqrt(r) (arXiv:2312.03732).", seed=("training_use_rslora",)
    )
    use_dora: bool = parameter(
        False,
        "LoRA: learn magnitude and direction apart (arXiv:2402.09353).",
        seed=("training_use_dora",),
    )
    load_in_4bit: bool = parameter(
        False,
        "QLoRA: the frozen weights in 4 bits (NF4). Needs bitsandbytes and an NVIDIA GPU.",
        seed=("training_load_in_4bit",),
    )
    load_in_8bit: bool = parameter(
        False,
        "The frozen weights in 8 bits. Needs bitsandbytes and an NVIDIA GPU.",
        seed=("training_load_in_8bit",),
    )

    @field_validator("lora_target_modules", mode="before")
    @classmethod
    def _split_modules(cls, value: Any) -> Any:
        return _split_commas(value)

    @model_validator(mode="after")
    def _one_quantization(self) -> Any:
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit are both true: keep one")
        return self
