"""How the C library handles the memory of tensors that are made and freed in every step."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Numbers of glibc's mallopt(3)."""
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, up to 2 GiB at a time; returns whether it can.

    glibc hands every large tensor back to the system when it is freed, and the system hands it out
    again page by page, zeroed: 5 % of a step of a small model. The peak stays what it was, since a
    step needs again what the last one freed. Other C libraries do not have the choice.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_THRESHOLD, _MOST), mallopt(_TRIM_THRESHOLD, _MOST)])


def give_back_freed_memory() -> None:
    """Return what is kept to the system, before work that does not need it again."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
