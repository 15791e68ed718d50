"""Which rows nearly equal a held-out row, so that held-out results do not repeat the training data.

Two rows are near when the Jaccard similarity of their sets of word 3-grams reaches the threshold,
in the whole conversation or in the answers alone. System turns are left out: a long system prompt
that all rows share would make all rows near. Short answers are left out of the answer view: that
two questions have the answer "yes" is no leak.

Memory: the held-out side is the small one. Per held-out row and view some 1.5 KB of MinHash and
buckets are kept, and where the row starts in its file; texts and shingles are not. MinHash only
proposes candidates; the exact similarity, computed from the file, decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from ft_assets.data.row_files import parse_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from ft_assets.data.row_files import StoredRow

rensa: Any = import_module("rensa")  # compiled code without types

View = Literal["conversation", "answer"]

MIN_ANSWER_WORDS = 10
"""Answers of fewer words are compared as part of their conversation only."""

_SHINGLE = 3  # words
_PERMUTATIONS = 128
_SEED = 1  # of the permutations; results do not depend on it, exact similarity decides
_MISS = 1e-3  # accepted chance that MinHash does not propose a pair just at the threshold
# The estimate's standard deviation is at most 0.044: this is more than five of it.
_SLACK = 0.25
# Chinese and Japanese have no spaces: each of their characters is a word.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W\u2e80-\u9fff\uf900-\ufaff]+")


@dataclass(frozen=True, slots=True)
class Near:
    """A held-out row that a row nearly equals."""

    held_out_id: str
    similarity: float
    """Jaccard, from the threshold to 1."""
    view: View
    """What is near: the whole conversation, or the answers alone."""


def shingles(text: str) -> frozenset[str]:
    """The word 3-grams of ``text`` without case and punctuation.

    Of fewer than three words the words themselves; of none the characters.
    """
    return _grams(_words(text)) or frozenset("".join(text.split()))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """The Jaccard similarity, 0 to 1; 0 when both are empty."""
    union = len(one | other)
    return len(one & other) / union if union else 0.0


def views(messages: Sequence[Mapping[str, str]]) -> Iterator[tuple[View, frozenset[str]]]:
    """What of a chat is compared: its turns without the system turn, and its longer answers."""
    spoken = [m for m in messages if m["role"] != "system"]
    words = [_words(m["content"]) for m in spoken]
    conversation = _grams([word for turn in words for word in turn])
    yield "conversation", conversation or shingles("".join(m["content"] for m in spoken))
    turns = zip(spoken, words, strict=True)
    answer = [word for m, turn in turns if m["role"] == "assistant" for word in turn]
    if len(answer) >= MIN_ANSWER_WORDS:
        yield "answer", _grams(answer)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(words: Sequence[str]) -> frozenset[str]:
    if len(words) < _SHINGLE:
        return frozenset(words)
    return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


class HeldOutIndex:
    """Finds the held-out row that a row nearly equals.

    Args:
        file: the held-out row file, open for reading for as long as the index is in use.
        threshold: the similarity from which two rows are near, above 0 and at most 1.
    """

    def __init__(self, file: BinaryIO, threshold: float) -> None:
        self._file = file
        self._threshold = threshold
        self._buckets: dict[View, _Buckets] = {
            "conversation": _Buckets(_bands(threshold)),
            "answer": _Buckets(_bands(threshold)),
        }
        offset = 0
        for line in file:
            row = parse_row(line, f"the held-out row at byte {offset}")
            for view, grams in views(row.messages):
                if grams:
                    self._buckets[view].add(grams, offset)
            offset += len(line)

    def nearest(self, row: StoredRow) -> Near | None:
        """A held-out row that ``row`` nearly equals, or None.

        Of several it is the one that MinHash takes for the nearest.
        """
        for view, grams in views(row.messages):
            for offset in self._buckets[view].candidates(grams, self._threshold - _SLACK):
                held_out = self._row_at(offset)
                exact = similarity(grams, dict(views(held_out.messages))[view])
                if exact >= self._threshold:
                    return Near(held_out.id, exact, view)
        return None

    def _row_at(self, offset: int) -> StoredRow:
        self._file.seek(offset)
        return parse_row(self._file.readline(), f"the held-out row at byte {offset}")


@dataclass
class _Buckets:
    """The MinHashes of one view of the held-out rows, in as many bands as the recall needs."""

    bands: int
    hashes: list[Any] = field(default_factory=list[Any])
    offsets: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        # Its threshold is for comparing two hashes, which is not used here; the bands decide.
        self.lsh = rensa.RMinHashLSH(0.5, _PERMUTATIONS, self.bands)

    def add(self, grams: frozenset[str], offset: int) -> None:
        minhash = _minhash(grams)
        self.lsh.insert(len(self.hashes), minhash)
        self.hashes.append(minhash)
        self.offsets.append(offset)

    def candidates(self, grams: frozenset[str], least: float) -> list[int]:
        """Offsets of rows whose estimated similarity is at least ``least``, nearest first."""
        if not grams or not self.hashes:
            return []
        minhash = _minhash(grams)
        estimates = ((minhash.jaccard(self.hashes[key]), key) for key in self.lsh.query(minhash))
        near = sorted((-estimate, key) for estimate, key in estimates if estimate >= least)
        return [self.offsets[key] for _, key in near]


def _minhash(grams: frozenset[str]) -> Any:
    minhash = rensa.RMinHash(_PERMUTATIONS, _SEED)
    minhash.update(list(grams))
    return minhash


def _bands(threshold: float) -> int:
    """The fewest bands with which a pair just at the threshold is missed less than ``_MISS``.

    With b bands of r hashes a pair of similarity s is proposed with the chance 1 - (1 - s^r)^b.
    """
    for bands in (16, 32, 64):
        if (1 - threshold ** (_PERMUTATIONS // bands)) ** bands <= _MISS:
            return bands
    return _PERMUTATIONS
