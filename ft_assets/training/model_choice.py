"""Which of the models that a run wrote is the trained model: a manifest says it, nothing else.

``model_choice.json`` in the run folder is written after the model was verified and holds every
file's digest. Names and times of modification of folders decide nothing afterwards.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

from ft_assets.training.file_records import FileRecord, changed_file, record_files
from ft_assets.training.outcome import verify_model
from resources.errors import UserError
from resources.record import Record

CHOICE_FILE = "model_choice.json"
MODELS = "hf_format"
"""Folder of the models, in the run folder, whatever the backend."""

Choice = Literal["last", "best"]

_NAME = re.compile(r"samples_(\d+)(?:\.0)?(_best_val_loss)?")
"""mini-trainer writes the number of samples as 64.0, and marks the best ones."""
_LAST_EPOCH = "last_epoch"
"""instructlab-training's name with ``keep_last_checkpoint_only``, overwritten at each epoch."""


class ModelChoice(Record):
    """The model of a run, verified."""

    model_dir: str
    """Relative to the run folder."""
    choice: Choice
    held_out_loss: float | None
    """Of the chosen weights, in nats per token, where it was measured and is known here."""
    files: dict[str, FileRecord]

    def check(self, run_dir: Path) -> Path:
        """The model's folder, read again and found as it was when it was verified.

        Raises:
            UserError: a file was changed, cut off or removed since.
        """
        folder = run_dir / self.model_dir
        changed = changed_file(folder, self.files)
        if changed is not None:
            raise UserError(
                f"the trained model in {folder} was damaged after it was verified: {changed}. "
                "Check the disk and train again"
            )
        return folder

    @classmethod
    def load(cls, run_dir: Path) -> ModelChoice | None:
        """The choice in a run folder; None where none was made."""
        file = run_dir / CHOICE_FILE
        return cls.model_validate_json(file.read_text()) if file.exists() else None


def record_choice(
    run_dir: Path, folder: Path, choice: Choice, *, held_out_loss: float | None = None
) -> ModelChoice:
    """Verify a model folder and name it in the manifest, in one act.

    Raises:
        UserError: the model is not whole.
    """
    verify_model(folder)
    chosen = ModelChoice(
        model_dir=str(folder.relative_to(run_dir)),
        choice=choice,
        held_out_loss=held_out_loss,
        files=record_files(folder),
    )
    partial = run_dir / (CHOICE_FILE + ".partial")
    partial.write_text(chosen.model_dump_json(indent=1))
    partial.replace(run_dir / CHOICE_FILE)
    return chosen


def forget_choice(run_dir: Path) -> None:
    """Before models are written again."""
    (run_dir / CHOICE_FILE).unlink(missing_ok=True)


def forget_models(run_dir: Path) -> None:
    """Before a run begins at its start: models of an earlier attempt are other weights."""
    shutil.rmtree(run_dir / MODELS, ignore_errors=True)


def choose(run_dir: Path, choice: Choice) -> Path:
    """The model to take among those that instructlab-training or mini-trainer wrote, by name.

    ``last``: the one after the most samples. ``best``: the last one that mini-trainer marked as
    better than all before it.

    Raises:
        UserError: there is none.
    """
    folder = run_dir / MODELS
    if choice == "last" and (folder / _LAST_EPOCH).is_dir():
        return folder / _LAST_EPOCH
    found: list[tuple[int, bool, Path]] = []
    for path in folder.glob("samples_*"):
        name = _NAME.fullmatch(path.name)
        if name is not None and path.is_dir():
            found.append((int(name[1]), name[2] is None, path))
    if not found:
        raise UserError(
            "the training backend wrote no model; its log, above in this step's output, says why"
        )
    if choice == "last":
        return max(found)[2]
    best = [entry for entry in found if not entry[1]]
    if not best:
        raise UserError(
            "training.checkpoint_choice: best: no held-out loss was measured, so that no model is "
            "known to be the best: lower training.validation_steps, or set last"
        )
    return max(best)[2]
