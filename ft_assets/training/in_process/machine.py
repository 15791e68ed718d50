"""What this machine offers to training on the CPU, decided once per run and then kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import torch

from ft_assets.training.estimate.world import this_cpu_is_fast_in_bf16
from ft_assets.training.in_process.cpu_quota import cpu_quota
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
    """Cores that nothing else is using, at least one: a thread without a core slows all others.

    Others take from the cores that this process may run on, not from its quota (a pod's CPU limit):
    on a node of 32 cores of which 20 are busy, a quota of 2 is still 2. Its fraction is left to
    what is not a thread of the training: past the quota the system stops all of them for a while.
    """
    allowed = _allowed_cores()
    shares = psutil.cpu_percent(interval=0.5, percpu=True)
    busy = sum(share for core, share in enumerate(shares) if core in allowed) / 100
    free = round(len(allowed) - busy)
    quota = cpu_quota()
    return max(1, free if quota is None else min(free, int(quota)))


def _allowed_cores() -> set[int]:
    """The cores that this process may run on, by their numbers."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def device(backend: str) -> str:
    """Where the tensors lie: the backend ``peft`` trains on a GPU, ``cpu`` never does."""
    return "cuda" if backend == "peft" else "cpu"


def precision(asked: str, device: str = "cpu") -> str:
    """``auto`` resolved: bf16 where the hardware is faster with it, else fp32.

    Elsewhere bf16 is slower than fp32; emulated, far slower.
    """
    if asked != "auto":
        return asked
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if this_cpu_is_fast_in_bf16() else "fp32"
