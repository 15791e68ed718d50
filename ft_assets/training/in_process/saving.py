"""The trained model as a folder, which is there only when it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ft_assets.training.in_process.methods import Method


def save_model(method: Method, model: Any, tokenizer: Any, run_dir: Path, *, samples: int) -> Path:
    """Write ``hf_format/samples_N`` under another name and rename it when it is whole.

    Args:
        method: how the model is saved.
        model: it may not be used afterwards.
        tokenizer: saved beside it.
        run_dir: the run's folder.
        samples: rows seen, which name the folder as the GPU backends do.
    """
    folder = run_dir / "hf_format" / f"samples_{samples}"
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir(parents=True)
    method.save(model, partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder
