"""What this machine offers to training on the CPU, decided once per run and then kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import torch

from ft_assets.training.estimate.world import this_cpu_has_amx
from ft_assets.training.plan import TrainPlan

_FILE = "machine.json"


def decide(plan: TrainPlan, run_dir: Path) -> dict[str, str | int]:
    """Threads and precision of a run; a run that goes on keeps what it began with.

    Both change the order or the precision of additions, and with them the last bits of the
    weights: an interrupted run would end elsewhere if they changed in between.
    """
    file = run_dir / _FILE
    if file.exists():
        return json.loads(file.read_text())
    processes = int(plan.parameters.get("nproc_per_node", 1))
    decided: dict[str, str | int] = {
        "device": device(plan.backend),
        "threads": plan.parameters["threads"] or max(1, free_cores() // processes),
        "precision": precision(plan.parameters["precision"], device(plan.backend)),
    }
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(decided))
    partial.replace(file)
    return decided


def free_cores() -> int:
    """Cores that nothing else is using, at least one: a thread without a core slows all others."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    busy = psutil.cpu_percent(interval=0.5) / 100 * (os.cpu_count() or 1)
    return max(1, min(cores, round(cores - busy)))


def device(backend: str) -> str:
    """Where the tensors lie: the backend ``peft`` trains on a GPU, ``cpu`` never does."""
    return "cuda" if backend == "peft" else "cpu"


def precision(asked: str, device: str = "cpu") -> str:
    """``auto`` resolved: bf16 where the hardware has units for its matrices, else fp32.

    Elsewhere bf16 is slower than fp32; emulated, far slower.
    """
    if asked != "auto":
        return asked
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if this_cpu_has_amx() else "fp32"
