"""The backends that train, and which of them is an algorithm's own on NVIDIA GPUs."""

from __future__ import annotations

from typing import Literal

Backend = Literal["instructlab-training", "mini-trainer", "peft", "cpu"]

GPU_BACKEND: dict[str, Backend] = {
    "sft": "instructlab-training",
    "osft": "mini-trainer",
    "lora_sft": "peft",
}
"""The backend of each algorithm where there is an NVIDIA GPU."""
