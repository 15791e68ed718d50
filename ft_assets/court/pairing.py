"""The scores of two models, put side by side document by document.

Belongs here: reading files of samples into arrays, and aligning them. Does not belong here: what
is concluded from them. Of each document a number per metric is kept and 8 bytes for its id.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ft_assets.evaluation.samples import Sample, read_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ABSENT, SCORED, NOT_FINITE = 0, 1, 2


class Refused(Exception):  # noqa: N818  (no error of the program: the court's own word)
    """Two models cannot be compared; the text says why, and what to do, in one sentence."""


@dataclass
class Column:
    """One metric of one model, an entry per document."""

    ratio: bool
    """Whether it is a sum over a sum; else a mean."""
    tops: array[float] = field(default_factory=lambda: array("d"))
    bottoms: array[float] = field(default_factory=lambda: array("d"))
    """Only of a ratio."""
    states: bytearray = field(default_factory=bytearray)
    first_not_finite: str | None = None
    """The id of the first document without a finite score."""

    def add(self, document: int, id_: str, top: float | None, bottom: float | None) -> None:
        """Keep what one document scored; documents before it without a score are absent."""
        self.fill(document)
        given = [top] if not self.ratio else [top, bottom]
        finite = all(value is not None and math.isfinite(value) for value in given)
        if finite and self.ratio and (bottom or 0.0) < 0:
            finite = False
        if not finite and self.first_not_finite is None:
            self.first_not_finite = id_
        self.tops.append(top if finite and top is not None else math.nan)
        if self.ratio:
            self.bottoms.append(bottom if finite and bottom is not None else math.nan)
        self.states.append(SCORED if finite else NOT_FINITE)

    def fill(self, documents: int) -> None:
        """Mark all documents up to a number as absent where nothing was kept."""
        missing = documents - len(self.states)
        if missing > 0:
            self.tops.extend([math.nan] * missing)
            if self.ratio:
                self.bottoms.extend([math.nan] * missing)
            self.states.extend(bytes(missing))


@dataclass
class Scores:
    """All that one model scored in one task, or in the tasks of one group."""

    ids: NDArray[np.uint64]
    """Per document, a digest of its id."""
    columns: dict[str, Column]
    parts: dict[str, range]
    """Per task, the places of its documents."""

    def __len__(self) -> int:
        return len(self.ids)

    def has(self, part: str, metric: str) -> bool:
        """Whether a document of a part has this metric, be it no number."""
        places, column = self.parts[part], self.columns.get(metric)
        return column is not None and any(column.states[places.start : places.stop])


def read_scores(files: Iterable[tuple[str, Path]]) -> Scores:
    """Read files of samples, one document at a time.

    Args:
        files: the tasks and their files; those of a group are put one behind the other.

    Raises:
        UserError: a file is missing or a line of it is no sample.
    """
    ids: array[int] = array("Q")
    columns: dict[str, Column] = {}
    parts: dict[str, range] = {}
    for task, path in files:
        first = len(ids)
        for sample in read_samples(path):
            _keep(columns, len(ids), sample)
            ids.append(_digest(f"{task}\n{sample.id}"))
        parts[task] = range(first, len(ids))
    for column in columns.values():
        column.fill(len(ids))
    return Scores(np.array(ids, dtype=np.uint64), columns, parts)


def _keep(columns: dict[str, Column], document: int, sample: Sample) -> None:
    if sample.skipped is not None:
        return
    for name, (top, bottom) in sample.ratios.items():
        columns.setdefault(name, Column(ratio=True)).add(document, sample.id, top, bottom)
    for name, value in sample.metrics.items():
        columns.setdefault(name, Column(ratio=False)).add(document, sample.id, value, None)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Pairs:
    """One metric of two models on the same documents; only those that both scored."""

    candidate: Floats
    other: Floats
    weights: Floats
    """1 for a mean; the denominator, which both share, for a ratio."""

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def candidate_value(self) -> float:
        """The candidate's result over these documents."""
        return float(self.candidate.sum() / self.weights.sum())

    @property
    def other_value(self) -> float:
        """The other model's result over these documents."""
        return float(self.other.sum() / self.weights.sum())

    @property
    def right_or_wrong(self) -> bool:
        """Whether every document is right or wrong, for both models."""
        both = np.concatenate([self.candidate, self.other])
        plain = bool((self.weights == 1.0).all())
        return plain and bool(((both == 0.0) | (both == 1.0)).all())


def pair(candidate: Scores, other: Scores, metric: str, *, name: str, whose: str) -> Pairs:
    """Put one metric of two models side by side.

    Args:
        candidate: its scores.
        other: those of the other model, in any order.
        metric: which.
        name: of the metric in sentences (``held_out/loss``).
        whose: the other model in sentences (``the base model``).

    Raises:
        Refused: the documents differ, one is scored by one model alone, a score is not finite, or
            the models count tokens differently.
    """
    order = _order(candidate.ids, other.ids, name, whose)
    mine, theirs = (
        _column(scores, metric, name, who)
        for scores, who in ((candidate, "the candidate"), (other, whose))
    )
    my_states = np.frombuffer(mine.states, dtype=np.uint8)
    their_states = np.frombuffer(theirs.states, dtype=np.uint8)[order]
    alone = int(np.count_nonzero((my_states == SCORED) != (their_states == SCORED)))
    if alone:
        raise Refused(
            f"{name}: {alone} of {len(candidate)} documents were scored for the candidate alone "
            f"or for {whose} alone: evaluate both again, on the same documents"
        )
    scored = my_states == SCORED
    if mine.ratio != theirs.ratio:
        raise Refused(
            f"{name} is a mean for one model and a ratio for {whose}: evaluate both again"
        )
    tops = np.array(mine.tops)[scored], np.array(theirs.tops)[order][scored]
    if not mine.ratio:
        return Pairs(*tops, weights=np.ones(len(tops[0])))
    bottoms = np.array(mine.bottoms)[scored], np.array(theirs.bottoms)[order][scored]
    different = int(np.count_nonzero(bottoms[0] != bottoms[1]))
    if different:
        raise Refused(
            f"{name}: the candidate and {whose} cut {different} of {len(bottoms[0])} documents "
            "into different tokens, so that a value per token means something else for each: set "
            "promotion.primary to a metric of the answers, such as held_out/chrf"
        )
    if not bottoms[0].sum() > 0:
        raise Refused(f"{name}: no document has a token to score: bring held-out rows with answers")
    return Pairs(*tops, weights=bottoms[0])


def _column(scores: Scores, metric: str, name: str, who: str) -> Column:
    column = scores.columns.get(metric)
    if column is None:
        known = ", ".join(sorted(scores.columns)) or "none"
        raise Refused(f"{name} was not measured for {who} (its metrics there: {known})")
    bad = column.states.count(NOT_FINITE)
    if bad:
        raise Refused(
            f"{name} is not a finite number for {bad} of {len(scores)} documents of {who} (the "
            f"first: {column.first_not_finite}): look for NaN in the model's weights"
        )
    return column


def _order(
    mine: NDArray[np.uint64], theirs: NDArray[np.uint64], name: str, whose: str
) -> NDArray[np.intp]:
    """For each of my documents, its place among theirs; a double is paired with its double."""
    if np.array_equal(mine, theirs):
        return np.arange(len(mine))
    my_order, their_order = np.argsort(mine, kind="stable"), np.argsort(theirs, kind="stable")
    if not np.array_equal(mine[my_order], theirs[their_order]):
        common = len(np.intersect1d(mine, theirs))
        raise Refused(
            f"{name}: the candidate was asked {len(mine)} documents and {whose} {len(theirs)}, of "
            f"which {common} are the same: evaluate both on the same documents"
        )
    order = np.empty(len(mine), dtype=np.intp)
    order[my_order] = their_order
    return order
