"""What a row must hold of a question to repeat it, in numbers that stand for words.

The measure is the share of a question's own words that lie in word n-grams which the row holds too.
That is the measure of Llama 2 and 3 (arXiv:2307.09288, arXiv:2407.21783); one changed word costs
little. n depends on the length of the question, as in GPT-3 (arXiv:2005.14165, appendix C), but is
5 and 3 here: 8 there, in PaLM (arXiv:2204.02311) and in Llama 3 is for corpora of trillions of
words, in which short n-grams meet by chance. Here they must lie close together, in a stretch of a
row of twice the question's length. ``bench/contamination.py --tune`` compares them with 8, and
thresholds.

A question's own words are those outside the boilerplate of its task: 3-grams that many of the
task's documents share (a template, an instruction, "which of the following"). So, of a question,
the row must hold

- with 8 own words or more: a share of them that reaches the threshold;
- with fewer: all of them, and in 2-grams nearly all of the question, or of its sentence with the
  own words (the question inside a template), if that has at least 5 words;
- where that has fewer than 5 words: all of it and, soon after it, the answer;
- with none of its own (many documents ask the same): question and answer, as if both were the
  question, if the answer has at least 5 words. Otherwise it cannot be told from other text.

Belongs here: that decision. Does not belong here: texts, rows and the search among many probes
(:mod:`ft_assets.data.task_overlap`).
"""

# numpy's types are complete only where dtypes are known.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Ids = NDArray[np.uint64]
    Flags = NDArray[np.bool_]

THRESHOLD = 0.7
"""Share of a long question's own words from which a row repeats it."""

SIZES = ((16, 5), (0, 3))
"""From so many own words on, n-grams of so many words."""

LONG = 8  # own words from which a share of them is enough
MIN_WORDS = 5  # a question of fewer words needs its answer as well
UNKNOWN, FIRST = 0, 3  # the number of words that no question has, and the first of words
_START, _END = 1, 2  # what stands before and after a question
_SHORT_SIZE, _SHORT_SHARE = 2, 0.85  # n, and share of all words, where few are own words
_BOILERPLATE = 3  # words of a gram, and documents that at least share it
_BOILERPLATE_SHARE = 0.05  # of the task's documents, from which a gram is boilerplate
_BOILERPLATE_MOST = 100  # documents, from which it is boilerplate however large the task is


@dataclass(frozen=True, slots=True)
class Numbers:
    """A document's words as numbers."""

    document: int
    question: Ids
    breaks: list[int]
    """Where in the question sentences, lines and labels such as ``Question:`` end."""
    answer: Ids


@dataclass(frozen=True, slots=True)
class Probe:
    """One way in which a row can hold a document."""

    document: int
    n: int
    grams: Ids
    """The n-grams of the text, in the order of the text."""
    distinct: Ids
    """The same, sorted."""
    own: Flags
    """Per word of the text, whether it is the document's own."""
    own_share: float
    all_share: float
    needs_answer: bool = False

    def containment(self, grams: Ids) -> float | None:
        """The share of the text that lies in some of ``grams``; None if it is not held by them."""
        held = _covered(among(self.grams, np.sort(grams)), self.n)
        own, share = float(held[self.own].mean()), float(held.mean())
        if own < self.own_share or share < self.all_share:
            return None
        return share if self.all_share else own


def probes_of_task(task: Sequence[Numbers], threshold: float) -> Iterator[list[Probe]]:
    """Per document of a task, the ways in which a row can hold it; none where it cannot be told.

    Args:
        task: all documents of the task, because they say what is boilerplate in it.
        threshold: of long questions, the share of own words.
    """
    distinct = {(d.question.tobytes(), d.answer.tobytes()): d.question for d in task}
    boilerplate = _boilerplate(list(distinct.values()))
    for document in task:
        yield list(_probes(document, _own(document.question, boilerplate), threshold))


def _probes(document: Numbers, own: Flags, threshold: float) -> Iterator[Probe]:
    number, question = document.document, document.question
    if own.sum() >= LONG:
        yield _long(number, question, own, threshold)
    elif own.any():
        for start, end in {(0, len(question)), _sentence(own, document.breaks)}:
            if end - start >= MIN_WORDS:
                yield _short(number, question[start:end], own[start:end])
            elif len(document.answer):
                yield _tiny(number, question[start:end])
    elif len(document.answer) >= MIN_WORDS:
        text = np.concatenate([question, document.answer])
        own = np.arange(len(text)) >= len(question)
        if own.sum() >= LONG:
            yield _long(number, text, own, threshold)
        else:
            yield _short(number, text, own)


def _long(document: int, text: Ids, own: Flags, threshold: float) -> Probe:
    n = next(n for least, n in SIZES if own.sum() >= least)
    return _probe(document, text, n, own, own_share=threshold, all_share=0)


def _short(document: int, text: Ids, own: Flags) -> Probe:
    return _probe(document, text, _SHORT_SIZE, own, own_share=1, all_share=_SHORT_SHARE)


def _tiny(document: int, text: Ids) -> Probe:
    every = np.ones(len(text), np.bool_)
    probe = _probe(document, text, len(text), every, own_share=1, all_share=1)
    return replace(probe, needs_answer=True)


def _probe(
    document: int, text: Ids, n: int, own: Flags, *, own_share: float, all_share: float
) -> Probe:
    grams = hashes(text, n)
    return Probe(document, n, grams, np.unique(grams), own, own_share, all_share)


def _sentence(own: Flags, breaks: Sequence[int]) -> tuple[int, int]:
    """From where to where the sentence with the own words goes: the question in its template."""
    first, last = np.flatnonzero(own)[[0, -1]].tolist()
    start = max((place for place in breaks if place <= first), default=0)
    return start, min((place for place in breaks if place > last), default=len(own))


def _boilerplate(questions: Sequence[Ids]) -> Ids:
    """The 3-grams that many of a task's questions share; words at the edges count as such."""
    if not questions:
        return np.array([], np.uint64)
    grams = [np.unique(hashes(_padded(question), _BOILERPLATE)) for question in questions]
    unique, counts = np.unique(np.concatenate(grams), return_counts=True)
    share = counts > _BOILERPLATE_SHARE * len(questions)
    return unique[(counts >= _BOILERPLATE) & (share | (counts > _BOILERPLATE_MOST))]


def _own(question: Ids, boilerplate: Ids) -> Flags:
    """Per word, whether it is in no 3-gram of the boilerplate."""
    if not len(boilerplate):
        return np.ones(len(question), np.bool_)
    shared = among(hashes(_padded(question), _BOILERPLATE), boilerplate)
    return ~(shared[:-2] | shared[1:-1] | shared[2:])


def _padded(question: Ids) -> Ids:
    edges = np.array([[_START] * 2, [_END] * 2], np.uint64)
    return np.concatenate([edges[0], question, edges[1]])


def hashes(ids: Ids, n: int) -> Ids:
    """A 64-bit hash of each run of ``n`` numbers. Equal runs agree, others practically never."""
    return run_hashes(mixed(ids), n)


def run_hashes(scattered: Ids, n: int) -> Ids:
    """:func:`hashes` of numbers that are :func:`mixed` already."""
    count = max(0, len(scattered) - n + 1)
    result = np.zeros(count, np.uint64)
    for offset in range(n):
        result *= np.uint64(0x9E3779B97F4A7C15)
        result += scattered[offset : offset + count]
    return result ^ (result >> np.uint64(29))


def mixed(ids: Ids) -> Ids:
    """Numbers as if they were random (splitmix64)."""
    scattered = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    scattered = (scattered ^ (scattered >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    scattered = (scattered ^ (scattered >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return scattered ^ (scattered >> np.uint64(31))


def among(values: Ids, ordered: Ids) -> Flags:
    """Per value, whether it is one of ``ordered``, which is sorted and not empty."""
    places = np.searchsorted(ordered, values)
    places[places == len(ordered)] = 0
    return ordered[places] == values


def own_windows(probe: Probe) -> NDArray[np.int64]:
    """Which n-grams of a probe have at least one of its own words."""
    sums = np.cumsum(np.concatenate([[0], probe.own]))
    return np.flatnonzero(sums[probe.n :] > sums[: -probe.n])


def _covered(present: Flags, n: int) -> Flags:
    """Per word, whether one of the n-grams around it is present."""
    steps: Any = np.zeros(len(present) + n, np.int64)
    steps[: len(present)] += present
    steps[n:] -= present
    return np.cumsum(steps)[: len(present) + n - 1] > 0
