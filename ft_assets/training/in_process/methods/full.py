"""``sft``: all weights move."""

from __future__ import annotations

# torch and transformers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from pathlib import Path
from typing import Any

from ft_assets.training.in_process.methods.method import Method, load_pretrained


class FullWeights(Method):
    """Weights in fp32, saved in the dtype that the base model was published in."""

    def load(self) -> Any:
        """The base model in fp32: weights in bf16 would swallow small updates."""
        model = load_pretrained(self.settings)
        self.published_dtype = model.config.dtype
        return model.float().to(self.settings.device)

    def save(self, model: Any, folder: Path) -> None:
        """All weights."""
        model.to(self.published_dtype).save_pretrained(folder)
