"""Which rows two splits share, by the rows' ids.

Files are read once, block by block, and ids are kept in sets of 16 bytes per distinct row that go
to disk beyond a bound: memory does not grow with the data.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ft_assets.data.digest_set import DigestSet
from ft_assets.data.row_blocks import row_blocks

_IDS_IN_MEMORY = 1_000_000  # per set: 18 MB
"""Two sets are in use at a time."""


@dataclass(frozen=True)
class Sides:
    """The row files of one split."""

    train: Path
    held_out: Path


@dataclass(frozen=True)
class RowChange:
    """What became of the rows. All numbers are of distinct rows."""

    train_added: int
    """Training rows of the new split that are in no training row of the old one."""
    train_removed: int
    held_out_added: int
    held_out_removed: int
    moved_to_training: int
    """Held-out rows of the old split that the new one trains on."""
    moved_to_held_out: int
    """Training rows of the old split that the new one holds out."""


def compare_rows(old: Sides, new: Sides) -> RowChange:
    """Compare two splits row by row.

    Raises:
        UserError: a file is missing or damaged.
    """
    with tempfile.TemporaryDirectory(prefix="ft-rows-") as folder:
        work = Path(folder)
        trained = _ids(old.train, work)
        train_added, train_shared = _new_and_shared(new.train, trained, work)
        moved_to_held_out = _new_and_shared(new.held_out, trained, work)[1]
        train_removed = len(trained) - train_shared
        del trained
        held_out = _ids(old.held_out, work)
        held_out_added, held_out_shared = _new_and_shared(new.held_out, held_out, work)
        return RowChange(
            train_added=train_added,
            train_removed=train_removed,
            held_out_added=held_out_added,
            held_out_removed=len(held_out) - held_out_shared,
            moved_to_training=_new_and_shared(new.train, held_out, work)[1],
            moved_to_held_out=moved_to_held_out,
        )


def _ids(file: Path, work: Path) -> DigestSet:
    ids = DigestSet(work, _IDS_IN_MEMORY)
    for block in row_blocks(file):
        ids.add(block.digests)
    return ids


def _new_and_shared(file: Path, known: DigestSet, work: Path) -> tuple[int, int]:
    """How many distinct rows of a file are not, and are, in a set."""
    seen, shared = DigestSet(work, _IDS_IN_MEMORY), 0
    for block in row_blocks(file):
        first = seen.add(block.digests)
        shared += int((known.contains(block.digests) & first).sum())
    return len(seen) - shared, shared
