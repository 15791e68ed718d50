"""A disk that is full, in words: what did not fit, and what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resources.errors import UserError

_SAID_BY_LIBRARIES = ("No space left on device", "PytorchStreamWriter", "inline_container.cc")
"""torch and safetensors write outside Python: their errors have no errno, only texts."""

_MIB = 2**20


def refuse_without_room(folder: Path, needed: int, what: str) -> None:
    """Refuse before anything is written.

    Args:
        folder: an existing folder on the disk.
        needed: bytes.
        what: will be written, for the message.

    Raises:
        UserError: less is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(_message(folder, what, f"{needed / _MIB:.1f} MiB, {free / _MIB:.1f} free"))


@contextmanager
def full_disk_refused(folder: Path) -> Generator[None]:
    """Turn whatever a full disk raises in the block into one message.

    Raises:
        UserError: the disk of ``folder`` is full.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise UserError(_message(folder, "the run's files", str(error))) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(said in str(error) for said in _SAID_BY_LIBRARIES)


def _message(folder: Path, what: str, how: str) -> str:
    return (
        f"the disk of {folder} is full: {what} did not fit ({how}). Free some space or use a "
        "larger volume; training then goes on from the last whole checkpoint. Fewer and smaller "
        "checkpoints: training.save_samples: 0, save_full_state: false"
    )
