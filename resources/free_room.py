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
    """Refuse files that their disk has no room for.

    Args:
        what: the files, as the user knows them.
        size: their bytes.
        folder: where they are to lie; it may have to be made.

    Raises:
        UserError: so many bytes are not free.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    disk = shutil.disk_usage(there)
    if disk.total and size > disk.free:  # a file system without a size does not say
        raise UserError(
            f"{what}: its {size / _MEGABYTE:,.1f} MB do not fit into {folder}, which has "
            f"{disk.free / _MEGABYTE:,.1f} MB free: free space, or set FT_HOME elsewhere"
        )
