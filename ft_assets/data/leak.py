"""Whether the two sides of a split really have nothing in common: asked of the files themselves.

The split drops what would leak (:mod:`~ft_assets.data.split`); this looks again, at what was
written, so that a mistake there is seen and not believed. So nearness is not asked of the index
that the split has asked: some training rows are compared with all held-out rows exactly.

Memory: 16 bytes per held-out row up to a bound (:mod:`~ft_assets.data.digest_set`), and the word
3-grams of the training rows that are compared, of which there is a bound too. The held-out side
goes by row by row.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ft_assets.data.digest_set import DigestSet
from ft_assets.data.row_blocks import row_blocks
from ft_assets.data.row_files import parse_row, read_rows
from ft_assets.data.side import below
from resources.record import Record

if TYPE_CHECKING:
    from ft_assets.data.near_duplicates import Grams, View
    from ft_assets.data.row_files import StoredRow

SAMPLE = 300
"""Training rows, about, that are compared with all held-out rows for nearness."""

_MOST_GRAMS = 2_000_000  # of all rows of the sample: some 200 MB
_DRAWN = b"ft-assets leak"


class LeakReport(Record):
    """What the two sides have in common."""

    equal: int
    """Training rows that equal a held-out row; all were compared."""
    near: int
    """Training rows that nearly equal one, among those that were compared."""
    compared: int
    """Training rows that were compared for nearness; 0 where the split does not look for it."""


def find_leak(
    train: Path, held_out: Path, *, near_duplicates: float, rows: int, sample: int = SAMPLE
) -> LeakReport:
    """Compare the sides.

    Args:
        train: the training side; its folder holds keys that do not fit into memory meanwhile.
        held_out: the held-out side.
        near_duplicates: the similarity from which rows are near; 0 compares for equality alone.
        rows: how many training rows there are.
        sample: of more rows, about so many are compared for nearness, drawn by hash; the same ones
            every time.

    Raises:
        UserError: a file is not there, or a line of it is no row.
    """
    share = min(1.0, sample / max(rows, 1)) if near_duplicates else 0.0
    equal = 0
    near = _ExactSearch(near_duplicates)
    with TemporaryDirectory(dir=train.parent, prefix=".leak-") as work:
        ids = DigestSet(Path(work))
        for block in row_blocks(held_out):
            ids.add(block.digests)
        for block in row_blocks(train):
            equal += int(np.count_nonzero(ids.contains(block.digests))) if len(ids) else 0
            for line in block.lines(below(block.ids, share, 0, _DRAWN)).splitlines(keepends=True):
                near.add(parse_row(line, f"a row of {train.name}"))
        if not len(ids) or not near.rows:
            return LeakReport(equal=equal, near=0, compared=0)
    for row in read_rows(held_out):
        near.compare(row)
    return LeakReport(equal=equal, near=len(near.found), compared=near.rows)


class _ExactSearch:
    """Which of some rows nearly equal one of many that go by. Nothing is estimated.

    Of a set of n grams a near one shares at least threshold * n. So it shares one of any
    n - threshold * n + 1 of them: the rarest so many of each row are looked up, and where one of
    them is there, the sets are compared.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._sets: list[tuple[int, View, Grams]] = []
        self._grams = 0
        self._lookup: dict[tuple[View, str], list[int]] = {}
        self.rows = 0
        self.found: set[int] = set()
        """Numbers of the rows that are near to one that went by."""

    def add(self, row: StoredRow) -> None:
        """Compare this row too; beyond the bound of memory it is left out."""
        from ft_assets.data.near_duplicates import views  # compiled code, if nearness is asked for

        if self._grams >= _MOST_GRAMS:
            return
        for view, grams in views(row.row):
            if grams:
                self._sets.append((self.rows, view, grams))
                self._grams += len(grams)
        self.rows += 1

    def compare(self, row: StoredRow) -> None:
        """Look whether any of the added rows is near to this one; no row is added after it."""
        from ft_assets.data.near_duplicates import similarity, views

        lookup = self._lookup = self._lookup or self._made()
        for view, grams in views(row.row):
            for number in {n for gram in grams for n in lookup.get((view, gram), ())}:
                owner, _, mine = self._sets[number]
                if owner not in self.found and similarity(mine, grams) >= self._threshold:
                    self.found.add(owner)

    def _made(self) -> dict[tuple[View, str], list[int]]:
        counts = Counter(gram for _, _, grams in self._sets for gram in grams)
        lookup: defaultdict[tuple[View, str], list[int]] = defaultdict(list)
        for number, (_, view, grams) in enumerate(self._sets):
            needed = math.ceil(self._threshold * len(grams) - 1e-9)
            rarest = sorted(grams, key=lambda gram: (counts[gram], gram))
            for gram in rarest[: len(grams) - needed + 1]:
                lookup[view, gram].append(number)
        return dict(lookup)
