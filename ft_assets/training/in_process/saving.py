"""The trained model as a folder: there only when it is whole, and then named in a manifest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ft_assets.training.in_process.methods import Method
from ft_assets.training.model_choice import MODELS, Choice, forget_choice, record_choice


def save_model(
    method: Method,
    model: Any,
    tokenizer: Any,
    run_dir: Path,
    *,
    samples: int,
    choice: Choice,
    held_out_loss: float | None,
) -> Path:
    """Write ``hf_format/samples_N`` under another name, rename it, verify it and name it.

    Args:
        method: how the model is saved.
        model: it may not be used afterwards.
        tokenizer: saved beside it.
        run_dir: the run's folder.
        samples: rows seen, which name the folder as the GPU backends do.
        choice: why it is this one.
        held_out_loss: of these weights, in nats per token, where it was measured.

    Raises:
        UserError: what was written is not a whole model.
    """
    forget_choice(run_dir)
    shutil.rmtree(run_dir / MODELS, ignore_errors=True)  # of an attempt that ended here
    folder = run_dir / MODELS / f"samples_{samples}"
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True)
    method.save(model, partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    record_choice(run_dir, folder, choice, held_out_loss=held_out_loss)
    return folder
