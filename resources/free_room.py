"""Whether a disk has room for what is to be written, asked before the work and not after it."""

from __future__ import annotations

import errno
import os


def refuse_what_does_not_fit(file: int, size: int) -> None:
    """Raise when a file cannot become so large.

    Args:
        file: the file's descriptor.
        size: the bytes that are to be written to it.

    Raises:
        OSError: so many are not free.
    """
    system = os.fstatvfs(file)
    free = system.f_bavail * system.f_frsize
    if system.f_blocks and size > free:  # without blocks, a file system does not say
        what = f"{os.strerror(errno.ENOSPC)}: {size} bytes are to be written, and {free} are free"
        raise OSError(errno.ENOSPC, what)
