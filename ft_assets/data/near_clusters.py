"""Which training rows nearly equal an earlier training row, so that one of each kind is enough.

A cluster is a row that is kept and the later rows that nearly equal it in all that they say. Rows
are compared with kept rows only: no chain of small changes pulls unlike rows into one cluster, and
a text that is repeated a million times costs one comparison each time. The same answer to another
question is no repetition here.

Memory: as for held-out rows (:mod:`~ft_assets.data.near_duplicates`), per row that is kept: some
4 KB at a threshold of 0.8, which is 2 GB for half a million rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ft_assets.data.near_duplicates import (
    MinHashIndex,
    conversation,
    min_hash,
    row_at,
    similarity,
)

if TYPE_CHECKING:
    from typing import BinaryIO

    from ft_assets.data.row_files import StoredRow


@dataclass(frozen=True, slots=True)
class Member:
    """A row that nearly equals the first of its cluster."""

    cluster: int
    """From 1, in the order in which the clusters are found."""
    first_id: str
    similarity: float
    """Jaccard, from the threshold to 1."""


class Clusters:
    """Finds the cluster of each row.

    Args:
        file: the file in which the rows stand, open for reading for as long as this is in use.
        threshold: the similarity from which two rows are near, above 0 and at most 1.
    """

    def __init__(self, file: BinaryIO, threshold: float) -> None:
        self._file = file
        self._threshold = threshold
        self._index = MinHashIndex(threshold)
        self._numbers: dict[int, int] = {}
        """Cluster numbers by where the first row starts."""

    def __len__(self) -> int:
        """How many clusters there are; a row that is like no other is none."""
        return len(self._numbers)

    def place(self, row: StoredRow, offset: int) -> Member | None:
        """The place of the row that starts at ``offset``, or None when it is to be kept."""
        grams = conversation(row.row)
        if not grams:
            return None
        hash_ = min_hash(grams)
        for first_offset in self._index.candidates(hash_):
            self._file.seek(first_offset)
            first = row_at(self._file.readline(), first_offset)
            exact = similarity(grams, conversation(first.row))
            if exact >= self._threshold:
                number = self._numbers.setdefault(first_offset, len(self._numbers) + 1)
                return Member(number, first.id, exact)
        self._index.add(hash_, offset)
        return None
