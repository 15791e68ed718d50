"""How the C library handles large blocks of memory that are made and freed again and again.

glibc hands a large block back to the system when it is freed, and the system hands it out again
page by page, zeroed. That is felt in the steps of a small model's training, and more where a file
is read and written in blocks of a megabyte.
"""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Numbers of glibc's mallopt(3)."""

ALL = 2**31 - 1
"""The most bytes that mallopt takes: nothing is given back."""
BLOCKS = 32 * 2**20
"""Bytes that are enough where blocks of a few megabytes come and go."""


def keep_freed_memory(most: int) -> bool:
    """Let this process keep what it frees, instead of giving it back at once.

    The peak stays what it was where each round of the work needs again what the last one freed.

    Args:
        most: so many bytes at the end of the heap are kept, and blocks of up to that size too.

    Returns:
        whether it can: other C libraries do not have the choice.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_THRESHOLD, most), mallopt(_TRIM_THRESHOLD, most)])


def give_back_freed_memory() -> None:
    """Return what is kept to the system, before work that does not need it again."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
