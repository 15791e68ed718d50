"""What reading a source gives back, and the rules that every scheme shares.

Belongs here: the values that a fetch returns, the allowed file types, digests, file names and size
limits. Does not belong here: how one scheme reaches its files.

Versions of local files: size and SHA-256 are recorded, with the inode, size and modification time
that the file had. A file whose inode, size or time differ after it was read is read once more, then
refused. Local files are read where they lie, so that whoever reads their rows later calls
``Fetched.require_unchanged`` at the end: the rows are then those of the recorded digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from resources.errors import UserError

SUFFIXES = tuple(
    kind + packing for kind in (".jsonl", ".json", ".parquet") for packing in ("", ".gz", ".zst")
)
"""The file types that can be read, each plain or compressed."""


class SourceUnavailableError(UserError):
    """The source did not answer, or failed while it answered: the same fetch may succeed later.

    Every other UserError of a source needs a person to change something first.
    """


@dataclass(frozen=True)
class FileState:
    """What tells one content of a local file from the next without reading it."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state that the file has now."""
        status = path.stat()
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class SourceFile:
    """One file of a dataset as it was read."""

    name: str
    """Its name within the dataset, with ``/`` between folders."""
    path: Path
    """Where it can be read, on this machine."""
    size: int
    """Bytes."""
    sha256: str
    """Digest of those bytes, in hexadecimal."""
    etag: str | None
    """What the server called this content; None for local files, and where it said nothing."""
    modified: str | None = None
    """``Last-Modified`` as an HTTPS server said it."""
    state: FileState | None = None
    """Of a file that is read where it lies; None for a private copy, which nobody else changes."""


@dataclass(frozen=True)
class Fetched:
    """A dataset as it was read."""

    uri: str
    """Where it came from, without query string and user information."""
    files: tuple[SourceFile, ...]
    """Its files in name order; never empty."""
    revision: str | None
    """The hub's commit, the version of the package; None for sources without one."""
    notes: tuple[str, ...] = ()
    """Choices that were made for the user, one sentence each, worth showing."""

    def require_unchanged(self) -> None:
        """Refuse local files that are not what they were when their digests were taken.

        Raises:
            SourceUnavailableError: one was written, replaced or removed since then.
        """
        for file in self.files:
            if file.state is not None and file.state != _state_or_none(file.path):
                raise SourceUnavailableError(
                    f"{file.path}: changed while its rows were read: wait until it is written, "
                    "then run again"
                )


class SizeLimit:
    """How many bytes a dataset may still bring; 0 at the start means no limit."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._used = 0

    def require(self, what: str, size: int) -> None:
        """Refuse ``size`` more bytes when they pass the limit."""
        if self._max and self._used + size > self._max:
            raise UserError(
                f"{what}: the dataset is larger than the limit of {self._max} bytes "
                "(max_bytes): raise the limit or choose a smaller dataset"
            )

    def add(self, what: str, size: int) -> None:
        """Count ``size`` bytes that were read."""
        self.require(what, size)
        self._used += size


def is_allowed(name: str) -> bool:
    """Whether the file type of ``name`` can be read."""
    return name.lower().endswith(SUFFIXES)


def require_allowed(name: str, what: str) -> None:
    """Refuse a file whose type cannot be read."""
    if not is_allowed(name):
        raise UserError(f"{what}: unknown file type; a dataset file ends in {', '.join(SUFFIXES)}")


def nothing_found(what: str) -> UserError:
    """The error for a folder, prefix or repository without one readable file."""
    return UserError(f"{what}: holds no dataset file; one ends in {', '.join(SUFFIXES)}")


def safe_target(into: Path, name: str, what: str) -> Path:
    """Where the file ``name`` of a remote listing lies below ``into``; its folder is made.

    Raises:
        UserError: the name would leave ``into``.
    """
    parts = name.split("/")
    if any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in parts):
        raise UserError(f"{what}: the file name {name!r} cannot be stored safely: rename the file")
    target = into.joinpath(*PurePosixPath(name).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def in_name_order(files: Iterable[SourceFile]) -> tuple[SourceFile, ...]:
    """The files as every consumer reads them."""
    return tuple(sorted(files, key=lambda file: file.name))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal, in constant memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_local(path: Path, name: str) -> SourceFile:
    """A local file with its digest.

    A file that changes while it is read is read once more, then refused: half of it would be old
    and half of it new.
    """
    for _ in range(2):
        before = FileState.of(path)
        sha256 = digest(path)
        if before == FileState.of(path):
            return SourceFile(name, path, before.size, sha256, etag=None, state=before)
    raise SourceUnavailableError(
        f"{path}: changes while it is read: wait until it is written, then run again"
    )


def _state_or_none(path: Path) -> FileState | None:
    try:
        return FileState.of(path)
    except FileNotFoundError:
        return None
