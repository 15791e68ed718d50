"""Metrics of every optimizer step: a line in metrics.jsonl and a report, while it trains."""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.health import HealthMonitor, Planned, must_stop
from ft_assets.training.in_process.trainer import RowTrainer
from ft_assets.training.metrics import StepMetrics, read_metrics
from resources.errors import UserError
from resources.launcher.child import Reporter


class MetricsCallback(TrainerCallback):
    """One line in metrics.jsonl and one report per optimizer step; ends a run that is lost."""

    def __init__(
        self,
        file: Path,
        report: Reporter,
        *,
        planned: Planned,
        on_unhealthy: str,
        held_out_losses: Mapping[int, float],
    ) -> None:
        self.trainer: RowTrainer | None = None
        self.file = file
        self.report = report
        self.on_unhealthy = on_unhealthy
        self.held_out_losses = held_out_losses
        """By step; measured before the step is logged."""
        self.seconds = 0.0
        """Time inside optimizer steps."""
        self.first_loss = math.nan
        self.last_loss = math.nan
        self.resumed_from = 0
        self._health = HealthMonitor(planned)
        self._began = 0.0
        self._step_seconds = 0.0
        self._tokens_at_begin = 0
        self._tokens_before = 0, 0
        """Tokens and trained tokens of the steps before a resume."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop lines of steps that will be done again."""
        self.resumed_from = int(state.global_step)
        partial = self.file.with_suffix(".partial")
        with partial.open("w") as stream:
            for line in read_metrics(self.file):
                if line.step > self.resumed_from:
                    break
                stream.write(line.line())
                self._take_up(line)
        partial.replace(self.file)
        self.report("train", self.resumed_from, state.max_steps)

    def _take_up(self, line: StepMetrics) -> None:
        """Go on from a step of an earlier attempt."""
        if math.isnan(self.first_loss):
            self.first_loss = line.loss
        self.last_loss = line.loss
        self._tokens_before = line.tokens or 0, line.trained_tokens or 0
        self._health.observe(line)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._tokens_at_begin = self.trainer.tokens_seen if self.trainer else 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the clock; the optimizer has moved."""
        self._step_seconds = time.monotonic() - self._began
        self.seconds += self._step_seconds

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write and report one step.

        Raises:
            UserError: the run cannot end well; the message says what to change.
        """
        trainer = self.trainer
        if trainer is None or logs is None or "learning_rate" not in logs:
            return  # a held-out loss, or the summary at the end
        metrics = self._measured(trainer, state, logs)
        self.last_loss = metrics.loss
        if math.isnan(self.first_loss):
            self.first_loss = metrics.loss
        with self.file.open("a") as stream:
            stream.write(metrics.line())
        self.report("train", state.global_step, state.max_steps, **metrics.numbers())
        finding = self._health.observe(metrics)
        if must_stop(finding, self.on_unhealthy):
            raise UserError(str(finding))

    def _measured(
        self, trainer: RowTrainer, state: TrainerState, logs: dict[str, Any]
    ) -> StepMetrics:
        step, total = int(state.global_step), int(state.max_steps)
        tokens = trainer.tokens_seen - self._tokens_at_begin
        norm = logs.get("grad_norm")
        return StepMetrics(
            step=step,
            total_steps=total,
            epoch=round(float(state.epoch or 0.0), 4),
            loss=trainer.last_loss,
            held_out_loss=self.held_out_losses.get(step),
            learning_rate=logs["learning_rate"],
            grad_norm=None if norm is None else float(norm),
            tokens=self._tokens_before[0] + trainer.tokens_seen,
            trained_tokens=self._tokens_before[1] + trainer.trained_tokens_seen,
            tokens_per_second=tokens / self._step_seconds if self._step_seconds else None,
            memory_mib=_memory_mib(trainer),
            eta_seconds=self.seconds / (step - self.resumed_from) * (total - step),
        )


def _memory_mib(trainer: RowTrainer) -> float:
    """Of the process on the CPU; on a GPU what is allocated there."""
    if trainer.args.device.type == "cuda":
        return torch.cuda.memory_allocated(trainer.args.device) / 2**20
    return psutil.Process().memory_info().rss / 2**20
