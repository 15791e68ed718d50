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
from transformers import BitsAndBytesConfig

from ft_assets.training.in_process.methods.method import Method, load_pretrained
from resources.errors import UserError

ADAPTER = "adapter"
"""Folder of the adapter, in the model's folder."""

_ALL = "all-linear"
"""peft's word for every linear layer but the output layer."""

_INITS: tuple[bool | str, ...] = (True, False, "gaussian", "orthogonal")
"""Ways to begin that leave the base model's weights alone; all but False change no output."""


class Lora(Method):
    """Adapter in fp32 over frozen weights: fp32 on the CPU, as published on a GPU."""

    def load(self) -> Any:
        """The base model with an adapter that changes nothing yet.

        Raises:
            UserError: a target module is not in the model, or bitsandbytes is missing.
        """
        base = self._base()
        _refuse_idle_targets(base, self.settings.target_modules)
        return get_peft_model(base, self._lora())

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
            self.published_dtype = model.config.dtype
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
        self.published_dtype = model.config.dtype
        return prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )

    def _lora(self) -> LoraConfig:
        settings = self.settings
        targets = settings.target_modules
        if settings.init_lora_weights not in _INITS:
            raise UserError(
                f"training.extra.init_lora_weights: {settings.init_lora_weights!r} changes the "
                "base model's own weights, and the adapter that is kept would not fit the base "
                f"model: use one of {', '.join(str(name) for name in _INITS)}"
            )
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=_ALL if settings.target_modules in ([], [_ALL]) else targets,
            use_rslora=settings.use_rslora,
            use_dora=settings.use_dora,
            init_lora_weights=settings.init_lora_weights,  # pyright: ignore[reportArgumentType]
            rank_pattern=settings.rank_pattern,
            alpha_pattern=settings.alpha_pattern,
        )


def _refuse_idle_targets(model: Any, targets: list[str]) -> None:
    """peft is content with one of them being in the model."""
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for target in targets:
        if target != _ALL and not any(f".{name}".endswith(f".{target}") for name in linear):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise UserError(
                f"training.lora_target_modules: the model has no linear layer named {target!r}; "
                f"there are: {known}"
            )
