"""The folder of a pipeline's own lm-eval tasks: what of it says something about the tasks."""

from __future__ import annotations

from pathlib import Path

from ft_assets.provenance.digest import files_digest


def tasks_digest(folder: Path) -> str:
    """Digest of the names and contents of a folder's files: an edited task is another one."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return files_digest(folder, [str(file) for file in files if not _is_left_over(file)])


def _is_left_over(file: Path) -> bool:
    """What Python and editors leave beside the tasks; it says nothing about the tasks."""
    hidden = any(part.startswith(".") for part in file.parts)
    return hidden or "__pycache__" in file.parts or file.suffix == ".pyc"
