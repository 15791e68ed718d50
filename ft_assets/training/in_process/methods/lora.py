"""``lora_sft``: a low-rank adapter on peft, kept beside the model that it is merged into.

QLoRA is the same over frozen weights in 4 or 8 bits (bitsandbytes); its adapter is merged into the
weights as they were published, not into their quantized copy.
"""

from __future__ import annotations

# torch, transformers and peft have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoConfig, BitsAndBytesConfig

from ft_assets.training.in_process.methods.method import Method, load_pretrained
from resources.errors import UserError

ADAPTER = "adapter"
"""Folder of the adapter, in the model's folder."""


class Lora(Method):
    """Adapter in fp32 over frozen weights: fp32 on the CPU, as published on a GPU."""

    def load(self) -> Any:
        """The base model with an adapter that changes nothing yet.

        Raises:
            UserError: a target module is not in the model, or bitsandbytes is missing.
        """
        settings = self.settings
        config = AutoConfig.from_pretrained(settings.model_path, local_files_only=True)
        self.published_dtype = config.dtype or torch.float32
        base = self._base()
        try:
            return get_peft_model(base, self._lora())
        except ValueError as error:
            raise UserError(f"training.lora_target_modules: {error}") from error

    def save(self, model: Any, folder: Path) -> None:
        """The merged model, and the adapter below it."""
        model.save_pretrained(folder / ADAPTER)
        if self._quantized:
            del model
            whole = PeftModel.from_pretrained(load_pretrained(self.settings), str(folder / ADAPTER))
        else:
            whole = model
        whole.merge_and_unload().to(self.published_dtype).save_pretrained(folder)

    @property
    def _quantized(self) -> bool:
        return self.settings.load_in_4bit or self.settings.load_in_8bit

    def _base(self) -> Any:
        settings = self.settings
        if not self._quantized:
            model = load_pretrained(settings)
            return model.float() if settings.device == "cpu" else model.to(settings.device)
        try:
            import bitsandbytes  # noqa: F401  # pyright: ignore
        except ImportError as error:
            raise UserError(
                "training.load_in_4bit and load_in_8bit need the package bitsandbytes: install it "
                "in the training image, or set both to false"
            ) from error
        quantization = BitsAndBytesConfig(
            load_in_4bit=settings.load_in_4bit,
            load_in_8bit=settings.load_in_8bit,
            bnb_4bit_quant_type=settings.bnb_4bit_quant_type,
            bnb_4bit_compute_dtype=getattr(torch, settings.bnb_4bit_compute_dtype),
            bnb_4bit_use_double_quant=settings.bnb_4bit_use_double_quant,
        )
        model = load_pretrained(
            settings, quantization_config=quantization, device_map={"": settings.device}
        )
        return prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )

    def _lora(self) -> LoraConfig:
        settings = self.settings
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=settings.target_modules or "all-linear",
            use_rslora=settings.use_rslora,
            use_dora=settings.use_dora,
            init_lora_weights=settings.init_lora_weights,  # pyright: ignore[reportArgumentType]
            rank_pattern=settings.rank_pattern,
            alpha_pattern=settings.alpha_pattern,
        )
