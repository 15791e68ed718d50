"""The part of a training that differs between the algorithms."""

from __future__ import annotations

# torch and transformers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ft_assets.training.in_process.settings import Settings


class Method(ABC):
    """One algorithm, from the base model's folder to the model's."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def load(self) -> Any:
        """The model, ready to be trained, on the device of the run."""

    def optimizer(self, model: Any) -> torch.optim.Optimizer | None:
        """An optimizer of its own; None leaves it to the Trainer."""
        return None

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Write the trained model as a standard checkpoint (config, safetensors) into ``folder``.

        The model may not be used afterwards.
        """


def load_pretrained(settings: Settings, **further: Any) -> Any:
    """The base model in the dtype that it was published in, and no code of its own."""
    if settings.attention != "auto":
        further["attn_implementation"] = settings.attention
    return AutoModelForCausalLM.from_pretrained(
        settings.model_path,
        dtype=further.pop("dtype", "auto"),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        **further,
    )
