"""Metrics of every step, and checkpoints that count only when they are whole."""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.cpu.trainer import RowTrainer
from resources.errors import UserError
from resources.launcher.child import Reporter

_COMPLETE = "COMPLETE"


class MetricsCallback(TrainerCallback):
    """One line in metrics.jsonl and one report per optimizer step."""

    def __init__(self, file: Path, report: Reporter) -> None:
        self.trainer: RowTrainer | None = None
        self.file = file
        self.report = report
        self.seconds = 0.0
        """Time inside optimizer steps."""
        self.first_loss = math.nan
        self.last_loss = math.nan
        self.resumed_from = 0
        self._began = 0.0
        self._tokens_before = 0, 0
        """Tokens and trained tokens of the steps before a resume."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop lines of steps that will be done again."""
        self.resumed_from = int(state.global_step)
        kept: list[str] = []
        if self.resumed_from and self.file.exists():
            *lines, _torn = self.file.read_text().split("\n")
            kept = [line for line in lines if _step_of(line) <= self.resumed_from]
        self.file.write_text("".join(line + "\n" for line in kept))
        if kept:
            self.first_loss = json.loads(kept[0])["loss"]
            last = json.loads(kept[-1])
            self._tokens_before = last["tokens"], last["trained_tokens"]
        self.report("train", self.resumed_from, state.max_steps)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the clock; the optimizer has moved."""
        self.seconds += time.monotonic() - self._began

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write and report one step."""
        trainer = self.trainer
        if trainer is None or logs is None or "learning_rate" not in logs:
            return  # the summary at the end is no step
        loss = trainer.last_loss
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss became {loss} at step {state.global_step}: lower "
                "training.learning_rate or add warmup_steps"
            )
        self.last_loss = loss
        if math.isnan(self.first_loss):
            self.first_loss = loss
        done = state.global_step - self.resumed_from
        metrics = {
            "step": state.global_step,
            "total_steps": state.max_steps,
            "epoch": round(float(state.epoch or 0.0), 4),
            "loss": loss,
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs.get("grad_norm", math.nan)),
            "tokens": self._tokens_before[0] + trainer.tokens_seen,
            "trained_tokens": self._tokens_before[1] + trainer.trained_tokens_seen,
            "tokens_per_second": trainer.tokens_seen / self.seconds,
            "memory_mib": psutil.Process().memory_info().rss / 2**20,
            "eta_seconds": self.seconds / done * (state.max_steps - state.global_step),
        }
        with self.file.open("a") as stream:
            stream.write(json.dumps({"time": time.time(), **metrics}) + "\n")
        self.report("train", state.global_step, state.max_steps, **metrics)


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


def _step_of(line: str) -> int:
    return int(json.loads(line)["step"])
