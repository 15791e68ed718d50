"""Which documents of an evaluation a row of text holds, however long the row is.

Belongs here: documents and rows as texts, and whether the answer is there. What of a document a
row must hold is decided in :mod:`ft_assets.data.question_probes`; the search among all documents at
once is :mod:`ft_assets.data.gram_table`'s.

Memory: per document some 30 bytes per word of its question, and where it starts in its file.
"""

# numpy's types are complete only where dtypes are known.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, groupby, repeat
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from ft_assets.data.gram_table import GramTable
from ft_assets.data.question_probes import (
    FIRST,
    LONG,
    THRESHOLD,
    UNKNOWN,
    Numbers,
    Probe,
    among,
    mixed,
    probes_of_task,
    run_hashes,
)
from ft_assets.data.texts import said
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ft_assets.data.gram_table import Numbered
    from ft_assets.data.question_probes import Ids
    from ft_assets.data.shapes import Row

Kind = Literal["question_and_answer", "question_only"]

_ROOM = 2  # times its own length, in which a row must hold a question
_ANSWER_WITHIN = 16  # words after a tiny question in which its answer starts
# Chinese and Japanese have no spaces: each of their characters is a word.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W\u2e80-\u9fff\uf900-\ufaff]+")
_BREAK = re.compile(r"[.!?:]\s|[\n\u3002\uff01\uff1f\uff1a]")  # the last ones are CJK's
_OPTION_LABEL = re.compile(r"\s*\(?([A-Za-z]|[0-9]{1,2})[.):]\)?\s+")


class TaskDocument(msgspec.Struct, frozen=True):
    """One document of an evaluation, as text."""

    task: str
    doc_id: int
    """Its number in the task's evaluated split, from 0."""
    question: str
    """What the model is asked, as the task's template renders it, without examples."""
    answers: list[str] = []
    """What would be right, in words; the first is the one to learn by heart."""
    choices: list[str] = []

    def line(self) -> bytes:
        """The document as a line of a file of documents."""
        return msgspec.json.encode(self) + b"\n"


@dataclass(frozen=True, slots=True)
class Overlap:
    """A document that a row holds."""

    document: TaskDocument
    number: int
    """The document's place among all documents of the index, from 0."""
    containment: float
    """Share of the question that the row holds, up to 1."""
    kind: Kind
    word: int
    """Where in the row's words the question starts."""


@dataclass(frozen=True, slots=True)
class RowText:
    """A row as it is searched."""

    words: list[str]
    row: Row
    """What it is made of: its answers are looked at only when it holds a question."""


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; CJK characters are words."""
    return _WORD.findall(text.casefold())


def word_start(text: str, number: int) -> int:
    """Where in ``text`` word ``number`` of it starts."""
    # casefold can change the length of a text; words stay in order.
    for count, match in enumerate(_WORD.finditer(text)):
        if count == number:
            return match.start()
    return 0


class DocumentIndex:
    """Finds the documents that rows hold.

    Args:
        files: files of :class:`TaskDocument` lines; those of one task stand together.
        threshold: the share of a long question's own words, above 0 and at most 1.
    """

    def __init__(self, files: Sequence[Path], threshold: float) -> None:
        self._files = files
        self._vocabulary: dict[str, int] = {}
        self._places: list[tuple[int, int]] = []  # per document its file and byte
        self._probes: list[Probe] = []
        self.tasks: list[str] = []
        """Per document its task."""
        self.unsearchable = 0
        """Documents too short or too common to be told from other text."""
        for _, task in groupby(enumerate(self._read()), lambda numbered: numbered[1].task):
            documents = [self._numbers(number, document) for number, document in task]
            for probes in probes_of_task(documents, threshold):
                self.unsearchable += not probes
                self._probes += probes
        self._sizes = [
            GramTable.of(n, self._probes) for n in sorted({probe.n for probe in self._probes})
        ]

    def search(self, rows: Sequence[RowText]) -> list[list[Overlap]]:
        """Per row, the documents that it holds: the surest first."""
        ids, starts = self._concatenated(rows)
        scattered = mixed(ids)
        found: list[dict[int, Overlap]] = [{} for _ in rows]
        for grams in self._sizes:
            hashes = run_hashes(scattered, grams.n)
            for row, number in grams.candidates(hashes, starts):
                in_row = hashes[starts[row] : max(starts[row], starts[row + 1] - grams.n)]
                overlap = self._overlap(self._probes[number], in_row, rows[row])
                if overlap is not None:
                    best = found[row].get(overlap.number)
                    if best is None or _sureness(overlap) > _sureness(best):
                        found[row][overlap.number] = overlap
        return [sorted(some.values(), key=_sureness, reverse=True) for some in found]

    def _read(self) -> Iterator[TaskDocument]:
        decode = msgspec.json.Decoder(TaskDocument).decode
        for number, path in enumerate(self._files):
            if not path.is_file():
                raise UserError(f"{path}: there is no such file of task documents: write it first")
            place = 0
            with path.open("rb") as file:
                for line in file:
                    try:
                        document = decode(line)
                    except msgspec.DecodeError as error:
                        raise UserError(
                            f"{path}, byte {place}: not a task document ({error}): write the file "
                            "again"
                        ) from error
                    self._places.append((number, place))
                    self.tasks.append(document.task)
                    yield document
                    place += len(line)

    def _document(self, number: int) -> TaskDocument:
        path, place = self._places[number]
        with self._files[path].open("rb") as file:
            file.seek(place)
            return msgspec.json.decode(file.readline(), type=TaskDocument)

    def _numbers(self, number: int, document: TaskDocument) -> Numbers:
        """A document's words as numbers; those of the vocabulary, which grows with it."""

        def numbered(text: str) -> Ids:
            known, first = self._vocabulary, FIRST
            return np.array(
                [known.setdefault(word, len(known) + first) for word in words(text)], np.uint64
            )

        asked = _without_options(document)
        breaks = accumulate(len(words(sentence)) for sentence in _BREAK.split(asked))
        answer = document.answers[0] if document.answers else ""
        return Numbers(number, numbered(asked), list(breaks), numbered(answer))

    def _concatenated(self, rows: Sequence[RowText]) -> tuple[Ids, Numbered]:
        """The numbers of all rows' words, one unknown word between rows; where each row starts."""
        get = self._vocabulary.get
        ids: list[int] = []
        starts = [0]
        for row in rows:
            ids.extend(map(get, row.words, repeat(UNKNOWN)))
            ids.append(UNKNOWN)
            starts.append(len(ids))
        return np.array(ids, np.uint64), np.array(starts, np.int64)

    def _overlap(self, probe: Probe, in_row: Ids, row: RowText) -> Overlap | None:
        """Whether a row, of whose n-grams these are the hashes, holds what the probe stands for."""
        places = np.flatnonzero(among(in_row, probe.distinct))
        if probe.containment(in_row[places]) is None:
            return None
        for near in _neighbourhoods(places, _ROOM * len(probe.own)):
            containment = probe.containment(in_row[near])
            if containment is None:
                continue
            document = self._document(probe.document)
            after = row.words[int(near[-1]) + probe.n :]
            if probe.needs_answer:
                answered = _answered(after, document, _ANSWER_WITHIN)
                if not answered:
                    continue
            else:
                answers = words("\n".join(said(row.row).answers))
                answered = _answered(after, document) or _answered(answers, document)
            kind: Kind = "question_and_answer" if answered else "question_only"
            return Overlap(document, probe.document, containment, kind, int(near[0]))
        return None


def _neighbourhoods(places: Numbered, width: int) -> Iterator[Numbered]:
    """The places in stretches of ``width`` words: what is further apart is not one question."""
    ends = np.searchsorted(places, places + width)
    last = 0
    for start, end in enumerate(ends.tolist()):
        if end > last:  # else all of it is in the stretch before
            yield places[start:end]
            last = end


def _without_options(document: TaskDocument) -> str:
    """The question without lines such as ``B. Mars``: a row seldom lists the choices."""
    choices = {tuple(words(choice)) for choice in document.choices}
    return "\n".join(
        line
        for line in document.question.splitlines()
        if not (
            (label := _OPTION_LABEL.match(line)) and tuple(words(line[label.end() :])) in choices
        )
    )


def _answered(text: Sequence[str], document: TaskDocument, within: int | None = None) -> bool:
    """Whether one of the document's answers is in a text, or starts in its first words."""
    return any(_holds(text, words(answer), within) for answer in document.answers)


def _holds(text: Sequence[str], answer: Sequence[str], within: int | None) -> bool:
    if not answer:
        return False
    if within is not None:
        text = text[: within + len(answer)]
    if len(answer) < LONG:
        return f" {' '.join(answer)} " in f" {' '.join(text)} "
    grams, have = _triples(answer), set(_triples(text))
    return sum(gram in have for gram in grams) >= THRESHOLD * len(grams)


def _triples(text: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(text, text[1:], text[2:], strict=False))


def _sureness(overlap: Overlap) -> tuple[bool, float]:
    return overlap.kind == "question_and_answer", overlap.containment
