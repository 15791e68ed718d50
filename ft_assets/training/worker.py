"""The training process: ``python -m ft_assets.training.worker RUN_DIR/plan.json``.

Base model, training through training_hub, verification, and the outcome as the last thing written.
The run folder belongs to one fingerprint, so that what is found there can be gone on with.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ft_assets.training.base_folder import prepare, refuse_longer_rows
from ft_assets.training.outcome import OUTCOME_FILE, TrainOutcome
from ft_assets.training.place import Place, at, place_of
from ft_assets.training.plan import TrainPlan
from resources.launcher.child import Reporter, leave, run_worker, start_cold


def _nothing() -> None:
    pass


def train(plan_file: Path, report: Reporter) -> None:
    """Carry out the plan in its own folder."""
    run_dir = plan_file.parent
    plan = TrainPlan.model_validate_json(plan_file.read_text())
    (run_dir / OUTCOME_FILE).unlink(missing_ok=True)
    os.environ.update(plan.env)

    report("base model", 0, 1)
    base = prepare(plan.trained_from, Path(plan.models_dir))
    refuse_longer_rows(plan.trained_from, base, int(plan.parameters["max_seq_len"]))
    report("base model", 1, 1)

    train_as(plan, place_of(plan, {}), base, run_dir, report=report).save(run_dir)


def train_as(
    plan: TrainPlan,
    place: Place,
    base: Path,
    run_dir: Path,
    *,
    report: Reporter,
    prepared: Callable[[], None] = _nothing,
) -> TrainOutcome:
    """Train as the first node, or the only one, and return the verified outcome.

    Args:
        plan: what is trained.
        place: this node's.
        base: the base model's folder.
        run_dir: the run's folder.
        report: told how far the run is.
        prepared: called when everything is there that other nodes read.
    """
    if plan.backend == "instructlab-training":
        from ft_assets.training.instructlab import train_with_instructlab

        return train_with_instructlab(at(plan, place), base, run_dir, report, prepared)
    if plan.backend == "mini-trainer":
        from ft_assets.training.mini_trainer import train_with_mini_trainer

        return train_with_mini_trainer(at(plan, place), base, run_dir, report, prepared)
    if place.processes > 1:
        from ft_assets.training.in_process.processes import train_in_processes

        return train_in_processes(plan, place, base, run_dir, report=report, prepared=prepared)
    from ft_assets.training.in_process.backend import train_in_process

    outcome = train_in_process(plan, base, run_dir, report)
    assert outcome is not None, "the only process is the first"
    return outcome


def train_beside(plan: TrainPlan, place: Place, base: Path, run_dir: Path) -> None:
    """Train as a node beside the first: everything is prepared, and nothing is reported.

    Args:
        plan: what is trained.
        place: this node's.
        base: the base model's folder, as the first node prepared it.
        run_dir: the run's folder, shared by all nodes.
    """
    if plan.backend == "instructlab-training":
        from ft_assets.training.instructlab import train_beside as run
    elif plan.backend == "mini-trainer":
        from ft_assets.training.mini_trainer import train_beside as run
    else:
        from ft_assets.training.in_process.processes import run_processes

        run_processes(plan, place, base, run_dir, _silent)
        return
    run(at(plan, place), base, run_dir)


def _silent(phase: str, done: float, total: float, **details: Any) -> None:
    pass


def has_environment(argv: list[str]) -> bool:
    """Whether the plan sets variables, which libraries may read when they are imported."""
    return bool(json.loads(Path(argv[0]).read_text()).get("env"))


if __name__ == "__main__":
    if has_environment(sys.argv[1:]):
        start_cold()
    leave(run_worker(train, sys.argv[1:]))
