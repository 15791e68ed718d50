"""Training rows that repeat documents of the evaluation, found before anything is trained.

A score on questions that were trained on measures memory, and so does a loss on held-out rows that
stand inside training rows. Here the rows that hold one are listed beside the documents, and
dropped, or nothing is trained.

Belongs here: what happens with the rows, and the report. What it means to hold a document is said
in :mod:`ft_assets.data.task_overlap` for the questions of tasks, whose documents
:mod:`ft_assets.evaluation.task_documents` writes, and in :mod:`ft_assets.data.held_out_overlap` for
held-out rows. Rows are streamed, some thousand at a time.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from ft_assets.data.document_search import DocumentSearch
from ft_assets.data.line_files import writing
from ft_assets.data.question_probes import THRESHOLD
from ft_assets.data.redaction import excerpt
from ft_assets.data.row_files import json_line, read_rows
from ft_assets.data.split_report import HELD_OUT_TASK
from ft_assets.data.task_overlap import Kind, word_start
from resources.errors import UserError
from resources.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ft_assets.data.document_search import Decode
    from ft_assets.data.row_files import StoredRow
    from ft_assets.data.task_overlap import Overlap

CONTAMINATED_FILE = "contaminated.jsonl"
OnContamination = Literal["drop", "fail", "report"]

_EXCERPT = 200  # characters of a row and of a document in the list


class ContaminatedRow(Record):
    """A row and the document that it holds most surely, side by side."""

    row: int
    """Number of the row in the training file, from 1."""
    train_id: str
    task: str
    doc_id: int
    containment: float
    """Share of the question that the row holds, up to 1."""
    kind: Kind
    """Whether the row also says the answer: after the question or as the assistant."""
    row_excerpt: str
    """Where the question starts in the row; at most 200 characters, redacted."""
    question_excerpt: str
    answer_excerpt: str
    more_documents: int
    """Further documents that the row holds."""


class TaskContamination(Record):
    """What of one task stands in the training rows."""

    documents: int
    documents_found: int
    """Documents that at least one row holds."""
    rows: int
    """Rows that hold at least one of its documents."""


class ContaminationReport(Record):
    """What was compared and what was found. ``rows`` is ``kept_rows`` and what was dropped."""

    documents: int
    documents_unsearchable: int
    """Documents too short, or too common in their task, to be told from other text."""
    rows: int
    rows_unchecked: int
    """Rows of token ids, which are no text without a tokenizer: they were not compared with the
    documents of tasks, and are kept. With held-out rows they are compared, number by number."""
    contaminated_rows: int
    kept_rows: int
    question_and_answer: int
    """Contaminated rows that say the answer too."""
    question_only: int
    tasks: dict[str, TaskContamination]
    threshold: float
    """Of the questions of tasks."""
    on_contamination: OnContamination
    examples: list[ContaminatedRow]


def decontaminate(
    train: Path,
    documents: Sequence[Path],
    out: Path,
    *,
    held_out: Path | None = None,
    threshold: float = THRESHOLD,
    on_contamination: OnContamination = "drop",
    decode: Decode | None = None,
    examples: int = 5,
) -> ContaminationReport:
    """Write the rows of ``train`` that repeat no document to ``out``, in their order.

    ``contaminated.jsonl`` beside ``out`` lists the others, one :class:`ContaminatedRow` per line;
    it is there after a failure for contamination too, ``out`` is not.

    Args:
        train: the training side's row file.
        documents: files of :class:`~ft_assets.data.task_overlap.TaskDocument` lines, of tasks.
        out: the row file to write.
        held_out: the file of :func:`~ft_assets.data.held_out_overlap.write_held_out_documents`.
        threshold: share of a question's own words from which a row repeats it, above 0 and at
            most 1; shorter questions must be there (nearly) as a whole.
        on_contamination: ``drop`` the rows, ``fail``, or ``report`` them and keep all rows.
        decode: from token ids to text, for rows that are tokens; without it they are not checked.
        examples: contaminated rows to put into the report, the first ones.

    Raises:
        UserError: the threshold is out of range; a file is not what it should be; rows are
            contaminated and that is to fail; or no row would be left.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"the contamination threshold must be above 0 and at most 1: {threshold}")
    search = DocumentSearch(documents, held_out, threshold, decode)
    found = _Found(search.tasks)
    rows = 0
    listing = out.with_name(CONTAMINATED_FILE)
    with writing(out) as kept:
        with writing(listing) as listed:
            for row, text, overlaps in search.search(read_rows(train)):
                rows += 1
                if overlaps:
                    entry = _entry(rows, row, text, overlaps)
                    found.add(entry, overlaps, examples)
                    listed.write(json_line(entry.model_dump()))
                if not overlaps or on_contamination == "report":
                    kept.write(row.line)
        if found.first is not None and on_contamination == "fail":
            raise UserError(_refusal(found.first, found.rows, listing))
        if found.first is not None and not kept.rows:
            raise UserError(
                f"every training row repeats a document of the evaluation, the first one "
                f"{_named(found.first)} (all are in {listing}): train on other data or "
                f"{_remedy(found.first)}"
            )
    return ContaminationReport(
        documents=len(found.documents),
        documents_unsearchable=search.unsearchable,
        rows=rows,
        rows_unchecked=search.unchecked,
        contaminated_rows=found.rows,
        kept_rows=kept.rows,
        question_and_answer=found.kinds["question_and_answer"],
        question_only=found.kinds["question_only"],
        tasks=found.tasks(),
        threshold=threshold,
        on_contamination=on_contamination,
        examples=found.examples,
    )


class _Found:
    """What has been found so far."""

    def __init__(self, documents: list[str]) -> None:
        self.documents = documents
        """Per document its task."""
        self._found = bytearray(len(documents))  # per document, whether a row holds it
        self._rows: Counter[str] = Counter()
        self.rows = 0
        self.first: ContaminatedRow | None = None
        self.kinds: Counter[Kind] = Counter()
        self.examples: list[ContaminatedRow] = []

    def add(self, entry: ContaminatedRow, overlaps: Sequence[Overlap], examples: int) -> None:
        self.rows += 1
        self.first = self.first or entry
        self.kinds[entry.kind] += 1
        if len(self.examples) < examples:
            self.examples.append(entry)
        self._rows.update({overlap.document.task for overlap in overlaps})
        for overlap in overlaps:
            self._found[overlap.number] = 1

    def tasks(self) -> dict[str, TaskContamination]:
        documents = Counter(self.documents)
        found = Counter(task for task, hit in zip(self.documents, self._found, strict=True) if hit)
        return {
            task: TaskContamination(
                documents=count, documents_found=found[task], rows=self._rows[task]
            )
            for task, count in documents.items()
        }


def _entry(number: int, row: StoredRow, text: str, overlaps: Sequence[Overlap]) -> ContaminatedRow:
    surest = overlaps[0]
    document = surest.document
    return ContaminatedRow(
        row=number,
        train_id=row.id,
        task=document.task,
        doc_id=document.doc_id,
        containment=round(surest.containment, 4),
        kind=surest.kind,
        row_excerpt=excerpt(text[word_start(text, surest.word) :], _EXCERPT),
        question_excerpt=excerpt(document.question, _EXCERPT),
        answer_excerpt=excerpt(next(filter(None, document.answers), ""), _EXCERPT),
        more_documents=len(overlaps) - 1,
    )


def _refusal(first: ContaminatedRow, rows: int, listing: Path) -> str:
    return (
        f"{rows} training rows repeat documents of the evaluation: first row {first.row} (id "
        f"{first.train_id[:12]}) holds {first.containment:.0%} of {_named(first)} ({first.kind}); "
        f"all are in {listing}: remove them from the dataset, set on_contamination to drop, or "
        f"{_remedy(first)}"
    )


def _named(row: ContaminatedRow) -> str:
    if row.task == HELD_OUT_TASK:
        return f"held-out row {row.doc_id + 1}"
    return f"document {row.doc_id} of task {row.task!r}"


def _remedy(row: ContaminatedRow) -> str:
    if row.task == HELD_OUT_TASK:
        return "set dataset.group_by to what the rows of one conversation share"
    return "leave the task out"
