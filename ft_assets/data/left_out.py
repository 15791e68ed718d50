"""Held-out rows on which a model cannot be measured, because an earlier one was trained on them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ft_assets.data.digest_set import DigestSet
from ft_assets.data.row_blocks import row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_left_out(trained_before: Iterable[Path], held_out: Path, target: Path) -> int:
    """Write the ids of the held-out rows that were trained on before; how many there are.

    All files are read once, block by block.

    Args:
        trained_before: files of training rows.
        held_out: the candidate's held-out rows.
        target: one id per line; the folder that it is in holds, meanwhile, what is too much for
            memory.
    """
    found = 0
    with TemporaryDirectory(dir=target.parent) as work, target.open("wb") as file:
        trained = DigestSet(Path(work))
        for rows in trained_before:
            for block in row_blocks(rows):
                trained.add(block.digests)
        for block in row_blocks(held_out):
            for place in np.flatnonzero(trained.contains(block.digests)):
                file.write(block.ids[place] + b"\n")
                found += 1
    return found
