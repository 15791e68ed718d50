"""What a profile consists of, by name, and where in a folder it is found."""

from __future__ import annotations

from pathlib import Path

from resources.errors import UserError

PROFILE_FOLDER = "profile"
"""Stands in the run folder, and beside the model in the artifact."""
TRACE_FILE = "trace.json.gz"
"""A Chrome trace, as chrome://tracing and Perfetto read it."""
MEMORY_FILE = "memory.json"
"""The memory record in our form: see ``memory.py``."""
SNAPSHOT_FILE = "snapshot.pickle"
"""The memory snapshot in PyTorch's form, on GPUs only. Never read by us."""


def find_trace(path: Path) -> Path:
    """The trace that is meant by a trace file, a profile folder, a run folder or an artifact.

    Raises:
        UserError: there is none; the message says how one is recorded.
    """
    if path.suffix == ".pickle":
        raise UserError(
            f"{path}: a pickle can run code when it is loaded, so it is never read: name the "
            f"folder with {TRACE_FILE}, or open the snapshot at https://pytorch.org/memory_viz"
        )
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    candidates = [
        path / TRACE_FILE,
        path / PROFILE_FOLDER / TRACE_FILE,
        path / "files" / PROFILE_FOLDER / TRACE_FILE,  # a version's folder in a local store
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(
        f"{path}: no {TRACE_FILE} in it or in its folder {PROFILE_FOLDER}: train with "
        "training.profiler_steps above 0 to record one"
    )
