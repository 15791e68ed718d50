"""Which rows nearly equal a held-out row, so that held-out results do not repeat the training data.

Two rows are near when the Jaccard similarity of their sets of word 3-grams reaches the threshold,
in the whole conversation or in the answers alone. System turns are left out: a long system prompt
that all rows share would make all rows near. Short answers are left out of the answer view: that
two questions have the answer "yes" is no leak.

Memory: the held-out side is the small one. Per held-out row and view there are 128 bytes of MinHash
and some 100 bytes for each of the 16 to 128 bands (32 at a threshold of 0.8: 3.5 KB), and where the
row starts in its file; texts and shingles are not kept. MinHash only proposes candidates; the exact
similarity, computed from the file, decides.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ft_assets.data.row_files import parse_row
from ft_assets.data.texts import said

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

    from ft_assets.data.row_files import StoredRow
    from ft_assets.data.shapes import Row

rensa: Any = import_module("rensa")  # compiled code without types

View = Literal["conversation", "answer"]
Grams = frozenset[str]

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
# The characters of a word as they are, all others as a space.
_ASCII_WORDS = "".join(chr(code) if _WORD.match(chr(code)) else " " for code in range(128))


@dataclass(frozen=True, slots=True)
class Near:
    """A held-out row that a row nearly equals."""

    held_out_id: str
    similarity: float
    """Jaccard, from the threshold to 1."""
    view: View
    """What is near: the whole conversation, or the answers alone."""


def shingles(text: str) -> Grams:
    """The word 3-grams of ``text`` without case and punctuation.

    Of fewer than three words the words themselves; of none the characters.
    """
    return _grams(_words(text)) or frozenset("".join(text.split()))


def similarity(one: Grams, other: Grams) -> float:
    """The Jaccard similarity, 0 to 1; 0 when both are empty."""
    both = len(one & other)
    union = len(one) + len(other) - both
    return both / union if union else 0.0


def conversation(row: Row) -> Grams:
    """The shingles of all that a row says but for its system turns."""
    pieces = said(row).all
    return _conversation(pieces, [_words(piece) for piece in pieces])


def views(row: Row) -> Iterator[tuple[View, Grams]]:
    """What of a row is compared: all that it says, and its longer answers."""
    pieces, answers = said(row)
    words = {piece: _words(piece) for piece in pieces}  # most answers are pieces too
    yield "conversation", _conversation(pieces, [words[piece] for piece in pieces])
    answer = list(chain.from_iterable(words.get(piece) or _words(piece) for piece in answers))
    if len(answer) >= MIN_ANSWER_WORDS:
        yield "answer", _grams(answer)


def _conversation(pieces: Sequence[str], words: Sequence[Sequence[str]]) -> Grams:
    return _grams(list(chain.from_iterable(words))) or shingles("".join(pieces))


def _words(text: str) -> list[str]:
    text = text.casefold()
    if text.isascii():  # several times as fast
        return text.translate(_ASCII_WORDS).split()
    return _WORD.findall(text)


def _grams(words: Sequence[str]) -> Grams:
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
        self._indexes: dict[View, MinHashIndex] = {
            "conversation": MinHashIndex(threshold),
            "answer": MinHashIndex(threshold),
        }
        offset = 0
        for line in file:
            for view, grams in views(row_at(line, offset).row):
                if grams:
                    self._indexes[view].add(min_hash(grams), offset)
            offset += len(line)

    def nearest(self, row: StoredRow) -> Near | None:
        """A held-out row that ``row`` nearly equals, or None.

        Of several it is the one that MinHash takes for the nearest.
        """
        for view, grams in views(row.row):
            index = self._indexes[view]
            if not grams or not len(index):
                continue
            for offset in index.candidates(min_hash(grams)):
                self._file.seek(offset)
                held_out = row_at(self._file.readline(), offset)
                exact = similarity(grams, dict(views(held_out.row))[view])
                if exact >= self._threshold:
                    return Near(held_out.id, exact, view)
        return None


def row_at(line: bytes, offset: int) -> StoredRow:
    """The row of a line of a file that the split itself has written."""
    return parse_row(line, f"the divided rows at byte {offset}")


class MinHashIndex:
    """Which rows may be near to a row: MinHashes, in as many bands as the recall needs.

    Args:
        threshold: pairs of at least this similarity are proposed, but for one of a thousand.
    """

    def __init__(self, threshold: float) -> None:
        self._least = threshold - _SLACK
        # rensa's threshold is for comparing two hashes, which is not used; the bands decide.
        self._buckets = rensa.RMinHashLSH(0.5, _PERMUTATIONS, bands(threshold))
        self._hashes = np.empty((1024, _PERMUTATIONS), np.uint8)
        self._offsets = array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, minhash: Any, offset: int) -> None:
        """Add the row that starts at ``offset`` in its file."""
        key = len(self._offsets)
        if key == len(self._hashes):
            self._hashes = np.concatenate((self._hashes, np.empty_like(self._hashes)))
        self._hashes[key] = _low_bytes(minhash)
        self._buckets.insert(key, minhash)
        self._offsets.append(offset)

    def candidates(self, minhash: Any) -> list[int]:
        """Offsets of rows that may be near, the likeliest first."""
        keys = np.array(self._buckets.query(minhash), np.intp)
        if not keys.size:
            return []
        estimates = (self._hashes[keys] == _low_bytes(minhash)).mean(axis=1)
        order = np.lexsort((keys, -estimates))
        near = order[estimates[order] >= self._least]
        return [self._offsets[key] for key in keys[near]]


def min_hash(grams: Grams) -> Any:
    """The MinHash of a set of shingles."""
    minhash = rensa.RMinHash(_PERMUTATIONS, _SEED)
    minhash.update(list(grams))
    return minhash


def _low_bytes(minhash: Any) -> NDArray[np.uint8]:
    """The MinHash in 128 bytes: unequal values look equal once in 256, which only adds a little."""
    return np.array(minhash.digest(), np.uint32).astype(np.uint8)


def bands(threshold: float) -> int:
    """The fewest bands with which a pair just at the threshold is missed less than ``_MISS``.

    With b bands of r hashes a pair of similarity s is proposed with the chance 1 - (1 - s^r)^b.
    """
    for count in (16, 32, 64):
        if (1 - threshold ** (_PERMUTATIONS // count)) ** count <= _MISS:
            return count
    return _PERMUTATIONS
