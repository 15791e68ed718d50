"""Checkpoints that count only when they are whole, and which of them a run goes on from."""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_COMPLETE = "COMPLETE"


class CheckpointCallback(TrainerCallback):
    """Says when a checkpoint is due and marks the ones that were written to their end."""

    def __init__(self, at_epoch: bool, save_samples: int) -> None:
        self.at_epoch = at_epoch
        self.save_samples = save_samples

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Due after ``save_samples`` rows; not at the end, where the model itself is written."""
        rows = state.global_step * args.per_device_train_batch_size
        if self.save_samples and rows % self.save_samples == 0:
            control.should_save = state.global_step < state.max_steps

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Due after an epoch; not after the last."""
        if self.at_epoch:
            control.should_save = state.global_step < state.max_steps

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The files are there: mark the checkpoint, and only then let go of the one before."""
        run_dir = Path(str(args.output_dir))
        folder = run_dir / f"checkpoint-{state.global_step}"
        (folder / _COMPLETE).touch()
        for other in run_dir.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other)


def last_checkpoint(run_dir: Path) -> Path | None:
    """The newest checkpoint that was written to its end and holds the optimizer, by step."""
    found = [
        folder
        for folder in run_dir.glob("checkpoint-*")
        if (folder / _COMPLETE).exists() and (folder / "optimizer.pt").exists()
    ]
    return max(found, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
