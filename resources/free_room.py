"""Whether a disk has room for what is to be fetched, asked before the work and not after it.

Belongs here: one question. Does not belong here: what is said when a disk is full after all
(:mod:`resources.store.staging`).
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from resources.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

_MEGABYTE = 1_000_000


def refuse_what_does_not_fit(what: str, size: int, folder: Path) -> None:
    """Refuse a file that its disk has no room for.

    Args:
        what: the file, as the user knows it.
        size: its bytes.
        folder: where it is to lie.

    Raises:
        UserError: so many bytes are not free.
    """
    disk = shutil.disk_usage(folder)
    if disk.total and size > disk.free:  # a file system without a size does not say
        raise UserError(
            f"{what}: its {size / _MEGABYTE:,.1f} MB do not fit into {folder}, which has "
            f"{disk.free / _MEGABYTE:,.1f} MB free: free space, or set FT_HOME elsewhere"
        )
