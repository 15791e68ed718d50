"""``checkpoint_choice: best``: the weights with the lowest held-out loss so far, on disk.

They are kept as they are trained (``state.py``), not as a model: making a model of them uses up
the one that is being trained. At the end they are put back, and saved as the last ones would be.
"""

from __future__ import annotations

# transformers has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeArgument=false
# pyright: reportIncompatibleMethodOverride=false
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ft_assets.training.in_process.checkpoints import flaw, read_manifest, writing
from ft_assets.training.in_process.resumable import ResumableTrainer
from ft_assets.training.in_process.settings import Settings
from ft_assets.training.in_process.state import WEIGHTS, load_state, save_state
from resources.errors import UserError
from resources.launcher.child import Reporter


@dataclass(frozen=True)
class Best:
    """Weights on disk, the steps they come after, and their held-out loss in nats per token."""

    folder: Path
    step: int
    loss: float


class BestCallback(TrainerCallback):
    """Keeps the weights whenever a measured held-out loss is below all before it.

    Register it after the callback that measures.
    """

    def __init__(self, trainer: ResumableTrainer, best: Best | None) -> None:
        self.trainer = trainer
        self.best = best
        trainer.best_loss = best.loss if best else None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look whether this step was measured."""
        self._consider(state.global_step)

    def _consider(self, step: int) -> None:
        loss: float = getattr(self.trainer, "held_out_losses", {}).get(step, math.nan)
        if not math.isfinite(loss) or (self.best is not None and loss >= self.best.loss):
            return
        settings = self.trainer.settings
        folder = settings.run_dir / f"best-{step}"
        with writing(
            folder,
            step=step,
            fingerprint=settings.fingerprint,
            full=False,
            held_out_loss=loss,
        ) as partial:
            save_state(self.trainer.model, settings, partial / WEIGHTS)
        if self.best is not None and self.best.folder != folder:
            shutil.rmtree(self.best.folder)
        self.best = Best(folder, step, loss)
        self.trainer.best_loss = loss


def best_so_far(run_dir: Path, fingerprint: str, report: Reporter) -> Best | None:
    """The best weights that an earlier attempt kept, if they are whole; others are deleted.

    Weights from after the checkpoint that the run goes on from count too: it comes by them again.
    """
    found: list[Best] = []
    for folder in run_dir.glob("best-*"):
        reason = flaw(folder, fingerprint)
        manifest = read_manifest(folder)
        if reason is not None or manifest is None or manifest.held_out_loss is None:
            report(f"not used: {folder.name}", 0, 0, because=reason)
            shutil.rmtree(folder)
            continue
        found.append(Best(folder, manifest.step, manifest.held_out_loss))
    best = min(found, key=lambda one: (one.loss, one.step), default=None)
    for other in found:
        if other is not best:
            shutil.rmtree(other.folder)
    return best


def load_best(best: Best | None, model: Any, settings: Settings) -> Best:
    """Put the best weights into the model.

    Raises:
        UserError: none was measured, or they are damaged.
    """
    if best is None:
        raise UserError(
            "training.checkpoint_choice: best: no finite held-out loss was measured: lower "
            "training.validation_steps, or set last"
        )
    reason = flaw(best.folder, settings.fingerprint)
    if reason is not None:
        raise UserError(
            f"the best weights in {best.folder} were damaged while training went on: {reason}. "
            "Check the disk and run again: training begins before them"
        )
    load_state(model, settings, best.folder / WEIGHTS)
    return best
