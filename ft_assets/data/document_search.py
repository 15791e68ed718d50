"""Rows one after the other, each with all documents that it holds: of tasks, and held-out rows.

Belongs here: what of a row is read, and both searches side by side. What it means to hold a
document is said in :mod:`ft_assets.data.task_overlap` and :mod:`ft_assets.data.held_out_overlap`.
Rows are streamed, some thousand at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ft_assets.data.held_out_overlap import HeldOutRows
from ft_assets.data.shapes import Chat, Tokens
from ft_assets.data.task_overlap import DocumentIndex, RowText, words
from ft_assets.data.texts import said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ft_assets.data.row_files import StoredRow
    from ft_assets.data.shapes import Row
    from ft_assets.data.task_overlap import Overlap

    Decode = Callable[[list[int]], str]

_BATCH_ROWS, _BATCH_WORDS = 2000, 200_000  # that are searched at a time, whichever is reached


class Searched(NamedTuple):
    """A row and what it holds."""

    row: StoredRow
    text: str
    """All that a model would read; of tokens that cannot be decoded their numbers."""
    overlaps: list[Overlap]
    """The documents of tasks first, and of each kind the surest first."""


class DocumentSearch:
    """The searches that a training side goes through.

    Args:
        documents: files of documents of tasks.
        held_out: the file of documents that held-out rows became.
        threshold: for the questions of tasks, the share of a long one's own words.
        decode: from token ids to text; without it rows of tokens are compared with held-out rows
            alone, number by number.
    """

    def __init__(
        self,
        documents: Sequence[Path],
        held_out: Path | None,
        threshold: float,
        decode: Decode | None,
    ) -> None:
        self._asked = DocumentIndex(documents, threshold) if documents else None
        self._whole = HeldOutRows(held_out) if held_out else None
        self._decode = decode
        # A document's number counts those of tasks first.
        self._held_out_from = len(self._asked.tasks) if self._asked else 0
        self.unchecked = 0
        """Rows so far that were not compared with the documents of tasks."""

    @property
    def tasks(self) -> list[str]:
        """Per document its task."""
        return [task for index in (self._asked, self._whole) if index for task in index.tasks]

    @property
    def unsearchable(self) -> int:
        """Documents too short or too common to be told from other text."""
        return sum(index.unsearchable for index in (self._asked, self._whole) if index)

    def search(self, rows: Iterable[StoredRow]) -> Iterator[Searched]:
        """Every row, in order."""
        batch: list[Searched] = []
        texts: list[RowText] = []
        size = 0
        for row in rows:
            text = self._text(row.row)
            batch.append(Searched(row, text, []))
            texts.append(RowText(words(text), row.row))
            size += len(texts[-1].words)
            if len(batch) >= _BATCH_ROWS or size >= _BATCH_WORDS:
                yield from self._together(batch, texts)
                batch, texts, size = [], [], 0
        yield from self._together(batch, texts)

    def _together(self, batch: Sequence[Searched], texts: Sequence[RowText]) -> Iterator[Searched]:
        if self._asked:
            readable = [RowText([], t.row) if self._is_numbers(t.row) else t for t in texts]
            self.unchecked += sum(self._is_numbers(text.row) for text in texts)
            for searched, overlaps in zip(batch, self._asked.search(readable), strict=True):
                searched.overlaps.extend(overlaps)
        if self._whole:
            for searched, overlaps in zip(batch, self._whole.search(texts), strict=True):
                searched.overlaps.extend(
                    replace(overlap, number=self._held_out_from + overlap.number)
                    for overlap in overlaps
                )
        yield from batch

    def _is_numbers(self, row: Row) -> bool:
        return self._decode is None and isinstance(row, Tokens)

    def _text(self, row: Row) -> str:
        """All that a model would read of a row. System turns too: examples hide there."""
        if isinstance(row, Tokens) and self._decode is not None:
            return self._decode(row.input_ids)
        system = (
            [m.content for m in row.messages if m.role == "system"] if isinstance(row, Chat) else []
        )
        return "\n".join([*system, *said(row).all])
