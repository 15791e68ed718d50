"""The arguments of training_hub's function, from a plan; training_hub itself is not loaded here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ft_assets.training.in_process.machine import decide
from ft_assets.training.in_process.settings import Settings
from ft_assets.training.plan import TrainPlan
from resources.launcher.child import Reporter

_WORLD = frozenset(
    {
        "nproc_per_node",
        "nnodes",
        "node_rank",
        "rdzv_id",
        "rdzv_endpoint",
        "master_addr",
        "master_port",
    }
)
"""Parameters of a plan that say where processes are started, not what each of them does."""


def call_of(plan: TrainPlan, base: Path, run_dir: Path, report: Reporter) -> dict[str, Any]:
    """The arguments, but for who trains."""
    parameters = {name: value for name, value in plan.parameters.items() if name not in _WORLD}
    return {
        "model_path": str(base),
        "data_path": plan.train_file,
        "ckpt_output_dir": str(run_dir),
        "held_out_path": plan.held_out_file,
        "machine": decide(plan, run_dir),
        "report": report,
        "mask": plan.mask.model_dump(mode="json"),
        "checkpoint_choice": plan.checkpoint_choice,
        "on_unhealthy": plan.on_unhealthy,
        "fingerprint": plan.fingerprint,
        **parameters,
    }


def settings_of(plan: TrainPlan, base: Path, run_dir: Path, report: Reporter) -> Settings:
    """What the backend will get, for work that is done before it is called."""
    return Settings.of(plan.algorithm, call_of(plan, base, run_dir, report))
