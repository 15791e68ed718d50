"""Held-out rows that stand inside longer training rows, such as dialogues stored once per answer.

A training row holds a held-out row when it holds the conversation as a whole: question and answer.
A question alone does not count, because many rows ask alike (on the rows of ``examples`` the rule
for the questions of tasks takes "the method `datetime.datetime.date`" for another method).

Belongs here: held-out rows as documents, and what it means to hold one. The search is the one for
the documents of tasks (:mod:`ft_assets.data.task_overlap`). Memory: some 120 bytes per word of the
held-out rows while their index is made; of them there is a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ft_assets.data.line_files import writing
from ft_assets.data.row_blocks import row_blocks
from ft_assets.data.row_files import parse_row
from ft_assets.data.side import below
from ft_assets.data.split_report import HELD_OUT_TASK
from ft_assets.data.task_overlap import DocumentIndex, TaskDocument, words
from ft_assets.data.texts import said
from resources.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ft_assets.data.row_files import StoredRow
    from ft_assets.data.task_overlap import Overlap, RowText

HELD_OUT_THRESHOLD = 0.9
"""Share of a held-out row's words, and of its answers', from which a training row holds it."""

MIN_WORDS = 10
"""Held-out rows of fewer words ("Thanks!" and an answer) say nothing about where they are from."""

MOST_ROWS = 50_000
MOST_BYTES = 32 * 1024 * 1024
"""Of more held-out rows, or of more text, a part is compared: memory stays below 1 GB."""

_DRAWN = b"ft-assets whole"
_GRAM = 3  # words


class HeldOutDocuments(Record):
    """How much of a held-out side is compared."""

    rows: int
    compared: int

    def warning(self) -> str | None:
        """What to say where that is not all."""
        if self.compared == self.rows:
            return None
        return (
            f"of {self.rows} held-out rows {self.compared}, drawn by hash, are compared with the "
            "training rows to find those that hold one as a whole: of dialogues that are stored "
            "once per answer, set dataset.group_by, which keeps all rows of one on one side"
        )


def write_held_out_documents(
    held_out: Path,
    path: Path,
    *,
    rows: int,
    most_rows: int = MOST_ROWS,
    most_bytes: int = MOST_BYTES,
) -> HeldOutDocuments:
    """Write held-out rows as documents whose question is the whole conversation.

    Args:
        held_out: the held-out side's row file.
        path: the file of documents to write.
        rows: how many rows ``held_out`` has; each keeps its number, from 0, as ``doc_id``.
        most_rows: about so many rows are written, drawn by hash; the same ones every time.
        most_bytes: about so much of ``held_out`` is written.

    Raises:
        UserError: a line of ``held_out`` is no row.
    """
    size = held_out.stat().st_size
    share = min(1.0, most_rows / max(rows, 1), most_bytes / max(size, 1))
    first = 0
    with writing(path) as file:
        for block in row_blocks(held_out):
            chosen = below(block.ids, share, 0, _DRAWN)
            numbers = chosen.nonzero()[0].tolist()
            lines = block.lines(chosen).splitlines(keepends=True)
            for number, line in zip(numbers, lines, strict=True):
                row = parse_row(line, f"{held_out.name}, row {first + number + 1}")
                file.write(_document(row, first + number).line())
            first += len(block)
        return HeldOutDocuments(rows=first, compared=file.rows)


def _document(row: StoredRow, number: int) -> TaskDocument:
    pieces, answers = said(row.row)
    text = "\n".join(pieces)
    if len(words(text)) < MIN_WORDS:
        text = ""  # the index counts it among the documents that it cannot search for
    return TaskDocument(
        task=HELD_OUT_TASK,
        doc_id=number,
        question=text,
        # The first one, which could stand for a question that many ask, is left empty: a row
        # must not count as held because of its answer alone.
        answers=["", *answers] if answers else [],
    )


class HeldOutRows:
    """Finds the held-out rows that training rows hold as a whole.

    Args:
        documents: the file that :func:`write_held_out_documents` wrote.
    """

    def __init__(self, documents: Path) -> None:
        self._index = DocumentIndex([documents], HELD_OUT_THRESHOLD)

    @property
    def tasks(self) -> list[str]:
        """Per document its task."""
        return self._index.tasks

    @property
    def unsearchable(self) -> int:
        """Rows that are too short, or say what many held-out rows say."""
        return self._index.unsearchable

    def search(self, rows: Sequence[RowText]) -> list[list[Overlap]]:
        """Per row, the held-out rows that it holds: the surest first."""
        # The index goes by the words that are a row's own and not those of a template. Of the
        # few pairs that it finds, all words are compared here.
        return [
            [overlap for overlap in overlaps if _holds(row.words, overlap)]
            for row, overlaps in zip(rows, self._index.search(rows), strict=True)
        ]


def _holds(row: Sequence[str], overlap: Overlap) -> bool:
    document = overlap.document
    asked = words(document.question)
    # Where it was found, with room for what it shares with others before and after its own words.
    start = max(0, overlap.word - len(asked))
    around = row[start : overlap.word + 2 * len(asked) + _GRAM]
    answers = [words(answer) for answer in document.answers if answer]
    return all(_share(texts, around) >= HELD_OUT_THRESHOLD for texts in ([asked], answers))


def _share(texts: Sequence[Sequence[str]], row: Sequence[str]) -> float:
    """The share of the texts' word 3-grams that a row has; a shorter text is one gram."""
    grams = {gram for text in texts for gram in _grams(text, min(_GRAM, len(text)))}
    have = {gram for n in {len(gram) for gram in grams} for gram in _grams(row, n)}
    return len(grams & have) / len(grams) if grams else 1.0


def _grams(text: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return set(zip(*(text[start:] for start in range(n)), strict=False))
