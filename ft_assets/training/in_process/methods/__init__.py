"""What each algorithm does with the weights: which of them move, and how the model is saved."""

from __future__ import annotations

from ft_assets.training.in_process.methods.full import FullWeights
from ft_assets.training.in_process.methods.lora import Lora
from ft_assets.training.in_process.methods.method import Method
from ft_assets.training.in_process.methods.osft import Osft

METHODS: dict[str, type[Method]] = {"sft": FullWeights, "osft": Osft, "lora_sft": Lora}

__all__ = ["METHODS", "Method"]
