"""Metrics of every optimizer step: a line in metrics.jsonl and a report, while it trains."""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
import math
import time
from pathlib import Path
from typing import Any

import psutil
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.in_process.trainer import RowTrainer
from ft_assets.training.metrics import StepMetrics, read_metrics
from resources.errors import UserError
from resources.launcher.child import Reporter


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
        kept = [line for line in read_metrics(self.file) if line.step <= self.resumed_from]
        self.file.write_text("".join(line.line() for line in kept))
        if kept:
            self.first_loss = kept[0].loss
            self._tokens_before = kept[-1].tokens or 0, kept[-1].trained_tokens or 0
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
        metrics = StepMetrics(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(float(state.epoch or 0.0), 4),
            loss=loss,
            learning_rate=logs["learning_rate"],
            grad_norm=float(logs.get("grad_norm", math.nan)),
            tokens=self._tokens_before[0] + trainer.tokens_seen,
            trained_tokens=self._tokens_before[1] + trainer.trained_tokens_seen,
            tokens_per_second=trainer.tokens_seen / self.seconds,
            memory_mib=psutil.Process().memory_info().rss / 2**20,
            eta_seconds=self.seconds / done * (state.max_steps - state.global_step),
        )
        with self.file.open("a") as stream:
            stream.write(metrics.line())
        self.report("train", state.global_step, state.max_steps, **metrics.model_dump())
