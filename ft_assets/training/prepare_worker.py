"""Prepares a base model: ``python -m ft_assets.training.prepare_worker FOLDER/plan.json``.

For steps that need the folder of a base model on a machine that has not trained it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ft_assets.training.base_folder import prepare
from ft_assets.training.base_model import BaseModelRef
from resources.launcher.child import Reporter, leave, run_worker
from resources.record import Record


class PreparePlan(Record):
    """Which base model, and where prepared ones are kept."""

    base_model: BaseModelRef
    models_dir: str


def work(plan_file: Path, report: Reporter) -> None:
    """Carry out the plan."""
    plan = PreparePlan.model_validate_json(plan_file.read_text())
    report("base model", 0, 1)
    prepare(plan.base_model, Path(plan.models_dir))
    report("base model", 1, 1)


if __name__ == "__main__":
    leave(run_worker(work, sys.argv[1:]))
