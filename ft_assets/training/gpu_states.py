"""The full states that the GPU backends leave when they are told to end, made fit to go on from.

Both save one within an epoch and go on by passing over batches, and both count them wrongly:
mini-trainer 0.9 passes over, in every epoch, as many as the whole run had done;
instructlab-training 0.16 counts over all epochs too, and one too many where it was told to end
before the optimizer's step. What is right in both is the number of rows that were trained on.
Belongs here: writing down from it how many batches of the epoch at hand are done, before the
backend reads it. Only the training process imports this module.
"""

from __future__ import annotations

# torch.load's and torch.save's types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_EPOCH_STATE = "training_metadata.json"
_STEP_STATE = "training_state.pt"
"""The last file of each backend's state; a pickle in both, read as plain values alone."""


@dataclass(frozen=True)
class Epochs:
    """How the rows of a run fall into steps."""

    rows: int
    """Of an epoch."""
    batch: int
    """Rows of a step."""
    number: int

    @property
    def steps(self) -> int:
        """Of an epoch: the last one may have fewer rows."""
        return -(-self.rows // self.batch)

    def done(self, epoch: int, rows_seen: float) -> int | None:
        """Steps of an epoch that are done, from all rows that were seen; None: it cannot be."""
        seen = round(rows_seen) - epoch * self.rows
        left = self.rows if epoch < self.number else 0
        within = 0 <= epoch <= self.number and 0 <= seen <= left
        return -(-seen // self.batch) if within else None


def mend_instructlab_states(folder: Path, epochs: Epochs) -> None:
    """Have instructlab-training go on after the last step that was done.

    States that are not whole, or that no run of these epochs can have written, are removed.

    Args:
        folder: ``full_state``, which may be missing.
        epochs: of the run.
    """
    for state in folder.glob("epoch_*"):
        about = _read(state / _EPOCH_STATE)
        if about is None:
            shutil.rmtree(state)
        elif "global_step" in about:  # else it is the end of an epoch
            done = epochs.done(int(about["current_epoch"]), about["samples_seen"])
            if done is None:
                shutil.rmtree(state)
            else:
                _write({**about, "global_step": done}, state / _EPOCH_STATE)


def mend_mini_trainer_states(folder: Path, epochs: Epochs, *, saves_at_the_end: bool) -> int:
    """Have mini-trainer go on after the last step that was done.

    Only the newest state is kept: it is named by its step, which mini-trainer then counts from the
    begin of the epoch at hand. With it shifts which steps ``validation_frequency`` measures.

    Args:
        folder: ``full_state_checkpoints``, which may be missing.
        epochs: of the run.
        saves_at_the_end: whether the model is written after the last step of all, which a run that
            goes on from there does not do any more at the end of its epoch.

    Returns:
        steps before those that mini-trainer counts.
    """
    states = {state: _read(state / _STEP_STATE) for state in folder.glob("step_*")}
    kept: Path | None = None
    seen = -1.0
    for state, about in states.items():
        if about is not None and float(about["total_samples_accumulated"]) > seen:
            kept, seen = state, float(about["total_samples_accumulated"])
    for state in states.keys() - {kept}:
        shutil.rmtree(state)
    if kept is None:
        return 0
    about = states[kept] or {}
    epoch = int(about["epoch"])
    done = epochs.done(epoch, seen)
    if done == epochs.steps:  # it would pass over this many in the next epoch again
        epoch, done = epoch + 1, 0
    if done is None or (epoch == epochs.number and not saves_at_the_end):
        shutil.rmtree(kept)
        return 0
    # Its sampler's order is the epoch's, whichever the sampler was at.
    _write({**about, "epoch": epoch, "sampler_epoch": epoch, "step": done}, kept / _STEP_STATE)
    kept.rename(folder / f"step_{done}")
    return epoch * epochs.steps


def written_states(folder: Path) -> set[tuple[str, int]]:
    """The states of mini-trainer that are whole, with the time when they became so."""
    files = folder.glob(f"step_*/{_STEP_STATE}")
    return {(file.parent.name, file.stat().st_mtime_ns) for file in files}


def _read(file: Path) -> dict[str, Any] | None:
    """Plain values alone; None where they are missing or something else."""
    import torch

    try:
        return torch.load(file, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None


def _write(about: dict[str, Any], file: Path) -> None:
    import torch

    partial = file.with_name(file.name + ".partial")
    torch.save(about, partial)
    partial.replace(file)
