"""The ``training`` block: what ``finetuned_model`` does.

Each module holds the parameters of one part of the training; a pipeline file has them side by side.
"""

from __future__ import annotations

from ft_assets.config.training.block import TrainingConfig

__all__ = ["TrainingConfig"]
