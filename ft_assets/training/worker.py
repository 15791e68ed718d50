"""The training process: ``python -m ft_assets.training.worker RUN_DIR/plan.json``.

Base model, training through training_hub, verification, and the outcome as the last thing written.
The run folder belongs to one fingerprint, so that what is found there can be gone on with.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ft_assets.training.base_folder import prepare, refuse_longer_rows
from ft_assets.training.outcome import OUTCOME_FILE
from ft_assets.training.plan import TrainPlan
from resources.launcher.child import Reporter, run_worker


def train(plan_file: Path, report: Reporter) -> None:
    """Carry out the plan in its own folder."""
    run_dir = plan_file.parent
    plan = TrainPlan.model_validate_json(plan_file.read_text())
    (run_dir / OUTCOME_FILE).unlink(missing_ok=True)
    os.environ.update(plan.env)

    report("base model", 0, 1)
    base = prepare(plan.base_model, Path(plan.models_dir))
    refuse_longer_rows(plan.base_model, base, int(plan.parameters["max_seq_len"]))
    report("base model", 1, 1)

    if plan.backend == "instructlab-training":
        from ft_assets.training.instructlab import train_with_instructlab as run
    elif plan.backend == "mini-trainer":
        from ft_assets.training.mini_trainer import train_with_mini_trainer as run
    else:
        from ft_assets.training.in_process.backend import train_in_process as run
    run(plan, base, run_dir, report).save(run_dir)


if __name__ == "__main__":
    sys.exit(run_worker(train, sys.argv[1:]))
