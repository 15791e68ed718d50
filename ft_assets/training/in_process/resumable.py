"""The Trainer's checkpoints, written whole and read back exactly.

Belongs here: when a checkpoint is due and how the Trainer writes and loads it. Does not belong
here: which one a run goes on from (``checkpoints.py``), and which weights become the model.
"""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.in_process.checkpoints import keep_newest, writing
from ft_assets.training.in_process.disk_space import refuse_without_room
from ft_assets.training.in_process.interruption import Interruption
from ft_assets.training.in_process.moments import make_moments
from ft_assets.training.in_process.settings import Settings
from ft_assets.training.in_process.state import WEIGHTS, load_state, save_state, state_of
from ft_assets.training.in_process.trainer import RowTrainer


class ResumableTrainer(RowTrainer):
    """A Trainer that an interrupted run goes on with where it was, to the last bit."""

    def __init__(
        self, *args: Any, settings: Settings, interruption: Interruption, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.interruption = interruption
        self.best_loss: float | None = None
        """The best held-out loss so far; set by ``best.py``."""
        self.held_out_losses: dict[int, float] = {}
        """By step, in nats per token; filled by the callback that measures."""
        self.passed_over: list[Path] = []
        """Checkpoints from after the step that the run began from, until it has written others."""
        self._writing: Path | None = None

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's; on the CPU with its state, which a resumed run then replaces."""
        optimizer: Any = super().create_optimizer(model)
        fused = isinstance(optimizer, torch.optim.AdamW) and optimizer.defaults["fused"]
        if self.settings.device == "cpu" and fused and not optimizer.state:
            make_moments(optimizer)
        return optimizer

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Those of a checkpoint; what was made for a start is let go of before, not after."""
        if checkpoint is not None:
            optimizer: Any = self.optimizer
            optimizer.state.clear()
        super()._load_optimizer_and_scheduler(checkpoint)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write ``checkpoint-STEP``; that of an interruption always holds the full state."""
        if not self.world.first:
            return
        settings, step = self.settings, int(self.state.global_step)
        full = settings.save_full_state or self.interruption.requested
        self.args.save_only_model = not full
        refuse_without_room(settings.run_dir, self._bytes(full=full), f"checkpoint-{step}")
        target = settings.run_dir / f"checkpoint-{step}"
        with writing(
            target,
            step=step,
            fingerprint=settings.fingerprint,
            full=full,
            held_out_loss=self.best_loss,
        ) as folder:
            self._writing = folder
            super()._save_checkpoint(model, trial)
        self._writing = None
        self.passed_over = keep_newest(settings.run_dir, target, self.passed_over)

    def _get_output_dir(self, trial: Any) -> str:
        """The folder in which the Trainer makes that of the checkpoint."""
        return str(self._writing.parent) if self._writing else super()._get_output_dir(trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The tensors alone, with their own names and without the pickled arguments."""
        save_state(self.model, self.settings, Path(str(output_dir)) / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Every tensor in its place; the Trainer itself would let some be missing."""
        load_state(self.model, self.settings, Path(resume_from_checkpoint) / WEIGHTS)

    def _bytes(self, *, full: bool) -> int:
        """What a checkpoint takes on disk: tensors, and the optimizer's two moments of them."""
        size = trained = 0
        for tensor in state_of(self.model, self.settings).values():
            size += tensor.nbytes
            trained += tensor.nbytes if tensor.requires_grad else 0
        return size + 2 * trained if full else size


class CheckpointCallback(TrainerCallback):
    """Says when a checkpoint is due."""

    def __init__(self, at_epoch: bool, save_samples: int) -> None:
        self.at_epoch = at_epoch
        self.save_samples = save_samples
        self._last = 0

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
        """Due after an epoch; not after the last, and not twice after the same step."""
        if self.at_epoch and state.global_step != self._last:
            control.should_save = state.global_step < state.max_steps

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember the step."""
        self._last = state.global_step
