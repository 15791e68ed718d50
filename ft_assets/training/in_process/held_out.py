"""The loss on held-out rows while training; measuring it leaves the training as it was."""

from __future__ import annotations

# torch and transformers have no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.in_process.tokens import TokenFile
from ft_assets.training.in_process.trainer import RowTrainer, loss_sum, parts

LOGGED_AS = "eval_loss"
"""Its name in the Trainer's log history and in trackers."""


class HeldOutCallback(TrainerCallback):
    """Measures every ``every`` optimizer steps and at the end, before anything is saved.

    A measurement stands in ``losses`` (step to nats per trained token), in the Trainer's log
    history as ``eval_loss``, and is known again after a resume.
    """

    def __init__(self, rows: TokenFile | None, every: int) -> None:
        self.trainer: RowTrainer | None = None
        self.losses: dict[int, float] = {}
        self._rows = rows
        self._every = every

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up what was measured before a resume."""
        self.losses.update(
            {int(log["step"]): log[LOGGED_AS] for log in state.log_history if LOGGED_AS in log}
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure when it is due."""
        step, trainer = int(state.global_step), self.trainer
        if self._rows is None or trainer is None:
            return
        if step % self._every and step < state.max_steps:
            return
        self.losses[step] = held_out_loss(trainer, kwargs["model"], self._rows)
        should_log = control.should_log
        trainer.log({LOGGED_AS: self.losses[step]})
        control.should_log = should_log  # the log of the step itself is still to come


@torch.no_grad()
def held_out_loss(trainer: RowTrainer, model: torch.nn.Module, rows: TokenFile) -> float:
    """Mean cross entropy over the trained tokens of all rows, in nats.

    In the precision and the parts of the training, without dropout and without random numbers.
    """
    was_training = model.training
    model.eval()
    total, trained = 0.0, 0
    world = trainer.world
    stored = (rows[index] for index in world.mine(range(len(rows))))
    # Only iterated over: memory holds one part.
    for part in parts(stored, trainer.max_tokens, trainer.max_rows):  # pyright: ignore[reportArgumentType]
        with trainer.compute_loss_context_manager():
            total += float(loss_sum(model, part))
        trained += sum(int(row.trained.sum()) for row in part)
    model.train(was_training)
    total, counted = world.total(total, trained)
    return total / counted
