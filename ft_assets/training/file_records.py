"""Files as they were written: lengths and digests, by which a change is found before use."""

from __future__ import annotations

from pathlib import Path

from ft_assets.provenance.digest import file_digest
from resources.record import Record


class FileRecord(Record):
    """One file as it was written."""

    bytes: int
    sha256: str


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Length and digest of every file below a folder, by its path in it."""
    return {
        str(path.relative_to(folder)): FileRecord(
            bytes=path.stat().st_size, sha256=file_digest(path)
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def changed_file(folder: Path, files: dict[str, FileRecord]) -> str | None:
    """What is no longer as it was written, in words; None when everything is. Reads all of it."""
    for name, record in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        size = path.stat().st_size
        if size != record.bytes:
            return f"{name} has {size} bytes where {record.bytes} were written"
        if file_digest(path) != record.sha256:
            return f"{name} does not hold what was written (its sha256 differs)"
    return None
