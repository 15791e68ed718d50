"""Dealing the rows to the two sides, a block of lines at a time and without parsing what they say.

Belongs here: the subset, exact duplicates, groups and strata. Does not belong here: the rule for a
row's side (:mod:`~ft_assets.data.side`) and nearness, which needs the words of a row.

Memory: a block, and 16 bytes per distinct row up to a bound (:mod:`~ft_assets.data.digest_set`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING

import numpy as np

from ft_assets.data.digest_set import DigestSet
from ft_assets.data.row_blocks import row_blocks
from ft_assets.data.side import GROUP, ROW, SUBSET, below, keyed
from ft_assets.data.split_report import (
    DUPLICATE,
    DUPLICATE_HELD_OUT,
    EQUALS_HELD_OUT,
    GROUP_HELD_OUT,
    NO_STRATUM,
    NOT_IN_SUBSET,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ft_assets.data.digest_set import Keys, Mask
    from ft_assets.data.line_files import LineWriter
    from ft_assets.data.row_blocks import Beside, RowBlock
    from ft_assets.data.split_report import Tally


@dataclass(frozen=True)
class Rules:
    """What decides about a row. The parameters of :func:`ft_assets.data.split.split`."""

    ratio: float
    """Training share of the rows that are dealt: 1 with a held-out set of the user's own."""
    own_held_out: bool
    seed: int
    subset: int
    drop_duplicates: bool
    grouped: bool
    stratified: bool


class Taken:
    """What is held out before rows are dealt: what equals it is not trained on."""

    def __init__(self, work: Path) -> None:
        self.ids = DigestSet(work)
        self.groups = DigestSet(work)
        """Of a held-out set of the user's own."""


def take_held_out(
    rows: Sequence[Path], held_out: LineWriter, taken: Taken, rules: Rules, tally: Tally
) -> None:
    """Write the rows of a held-out set of the user's own, and take them.

    Its rows may lack a group or a stratum.
    """
    for block in _blocks(rows):
        kept = taken.ids.add(block.digests)
        tally.duplicates += _rows(~kept)
        if rules.drop_duplicates:
            tally.dropped[DUPLICATE_HELD_OUT] += _rows(~kept)
        else:
            kept = np.ones(len(block), np.bool_)
        held_out.write_many(block.lines(kept), _rows(kept))
        beside = block.beside() if rules.grouped or rules.stratified else []
        if rules.grouped:
            taken.groups.add(_digests([one.group for one in beside if one.group is not None]))
        if rules.stratified:
            strata = (one.stratum or NO_STRATUM for one in beside)
            tally.strata.add(compress(strata, kept.tolist()), train=False)


def take_groups(rows: Sequence[Path], taken: Taken, rules: Rules) -> None:
    """Take the ids of all rows whose group is held out: their equals may be in other groups."""
    for block in _blocks(rows):
        taken.ids.add(block.digests[~_trained(block, _beside(block, rules), rules)])


def deal(
    rows: Sequence[Path],
    train: LineWriter,
    held_out: LineWriter,
    *,
    taken: Taken,
    rules: Rules,
    tally: Tally,
    work: Path,
) -> None:
    """Write each row to its side, in order; what is left out is counted.

    Args:
        rows: the row files, one after the other.
        train: where training rows go.
        held_out: where held-out rows go.
        taken: what is held out already.
        rules: what decides.
        tally: where rows are counted.
        work: a folder for keys that do not fit into memory.
    """
    highest = _highest_in_subset(rows, taken, rules, tally, work)
    seen, groups = DigestSet(work), DigestSet(work)
    for block in _blocks(rows):
        beside = _beside(block, rules)
        trained = _trained(block, beside, rules)
        equal = trained & _equal(block, taken)
        related = trained & ~equal & _related(block, beside, taken)
        tally.dropped[EQUALS_HELD_OUT] += _rows(equal)
        tally.dropped[GROUP_HELD_OUT] += _rows(related)
        kept = ~(equal | related)
        kept = _without_duplicates(block, kept, seen, rules, tally)
        if highest is not None:
            inside = keyed(block.ids, rules.seed, SUBSET) <= highest
            tally.dropped[NOT_IN_SUBSET] += _rows(kept & ~inside)
            kept &= inside
        for side, chosen in ((train, kept & trained), (held_out, kept & ~trained)):
            side.write_many(block.lines(chosen), _rows(chosen))
            if rules.stratified:
                strata = (one.stratum or "" for one in beside)
                tally.strata.add(compress(strata, chosen.tolist()), train=side is train)
        if rules.grouped:
            groups.add(_digests([one.group or "" for one in compress(beside, kept.tolist())]))
    tally.groups = len(groups) + len(taken.groups)


def _blocks(files: Sequence[Path]) -> Iterator[RowBlock]:
    return chain.from_iterable(map(row_blocks, files))


def _beside(block: RowBlock, rules: Rules) -> list[Beside]:
    """The groups and strata of the rows, which all must have them; none where no rule needs any."""
    if not (rules.grouped or rules.stratified):
        return []
    beside = block.beside()
    for number, one in enumerate(beside):
        if rules.grouped and one.group is None:
            raise block.refuse_without(number, "group")
        if rules.stratified and one.stratum is None:
            raise block.refuse_without(number, "stratum")
    return beside


def _trained(block: RowBlock, beside: Sequence[Beside], rules: Rules) -> Mask:
    if not rules.grouped:
        return below(block.ids, rules.ratio, rules.seed, ROW)
    groups = [(one.group or "").encode() for one in beside]
    return below(groups, rules.ratio, rules.seed, GROUP)


def _equal(block: RowBlock, taken: Taken) -> Mask:
    """The rows that equal a held-out row."""
    if not len(taken.ids):
        return np.zeros(len(block), np.bool_)
    return taken.ids.contains(block.digests)


def _related(block: RowBlock, beside: Sequence[Beside], taken: Taken) -> Mask:
    """The rows whose group the user's own held-out set has."""
    if not len(taken.groups):
        return np.zeros(len(block), np.bool_)
    return taken.groups.contains(_digests([one.group or "" for one in beside]))


def _without_duplicates(
    block: RowBlock, kept: Mask, seen: DigestSet, rules: Rules, tally: Tally
) -> Mask:
    new = _new(block, kept, seen)
    repeated = _rows(kept & ~new)
    tally.duplicates += repeated
    if not rules.drop_duplicates:
        return kept
    tally.dropped[DUPLICATE] += repeated
    return new


def _new(block: RowBlock, of: Mask, seen: DigestSet) -> Mask:
    """Which of some rows are seen for the first time; they are then seen."""
    new = np.zeros(len(block), np.bool_)
    new[of] = seen.add(block.digests[of])
    return new


def _highest_in_subset(
    rows: Sequence[Path], taken: Taken, rules: Rules, tally: Tally, work: Path
) -> np.uint64 | None:
    """The subset is the distinct rows with the smallest hashes: the largest of these.

    None for all rows.
    """
    if rules.subset == 0:
        return None
    seen = DigestSet(work)
    smallest = np.empty(0, np.uint64)
    for block in _blocks(rows):
        free = np.ones(len(block), np.bool_)
        if rules.own_held_out:  # else the row that a row equals is itself one of the rows
            beside = _beside(block, rules)
            free = ~(_equal(block, taken) | _related(block, beside, taken))
        new = _new(block, free, seen)
        tally.distinct += _rows(new)
        hashes = keyed(compress(block.ids, new.tolist()), rules.seed, SUBSET)
        smallest = np.concatenate((smallest, hashes))
        if len(smallest) > rules.subset:
            smallest = np.partition(smallest, rules.subset - 1)[: rules.subset]
    return smallest.max() if len(smallest) == rules.subset else None


def _digests(texts: Sequence[str]) -> Keys:
    hashes = (hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, 2)


def _rows(mask: Mask) -> int:
    return int(np.count_nonzero(mask))
