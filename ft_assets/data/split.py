"""From the raw dataset to a training side and a held-out side.

Which side a row is on depends on the row, the seed and the ratio, on nothing else: not on its place
and not on other rows. So equal rows are never on both sides, and a row keeps its side when the
dataset grows. Training rows that nearly equal a held-out row are dropped
(:mod:`~ft_assets.data.near_duplicates`).

Memory: 16 bytes of digest per distinct row in a set (some 100 bytes as Python holds it), and the
index of the held-out side.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from ft_assets.data.near_duplicates import HeldOutIndex
from ft_assets.data.row_files import json_line, read_rows, writing
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ft_assets.data.row_files import RowWriter, StoredRow

TRAIN_FILE = "train.jsonl"
HELD_OUT_FILE = "held_out.jsonl"
NEAR_DUPLICATES_FILE = "near_duplicates.jsonl"

_BEFORE_CHECK = "train-with-near-duplicates.jsonl"
_HASH_BYTES = 8
_MANY_NEAR = 0.2  # share of the training rows from which dropping them deserves a word


class SplitReport(BaseModel):
    """How the rows were divided. ``rows_in`` is the sum of both sides and of ``dropped``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int
    duplicates: int
    """Rows that exactly equal an earlier row; one of each is kept."""
    subset: int
    """The subset that was asked for, in rows; 0 means all."""
    train_rows: int
    held_out_rows: int
    dropped: dict[str, int]
    """``exact_duplicate``, ``not_in_subset`` and ``near_duplicate_of_held_out``, where above 0."""
    ratio_asked: float
    ratio_actual: float
    """Training rows among the rows of both sides."""
    seed: int
    near_duplicates: float
    """The threshold; 0 means that near duplicates were not looked for."""
    train_digest: str
    """SHA-256 over the lines of ``train.jsonl``."""
    held_out_digest: str
    warnings: list[str]


@dataclass(frozen=True)
class _Side:
    rows: int
    digest: str


def split(
    rows: Path,
    out_dir: Path,
    *,
    ratio: float,
    seed: int,
    subset: int,
    near_duplicates: float,
) -> SplitReport:
    """Divide ``rows`` into ``train.jsonl`` and ``held_out.jsonl`` in ``out_dir``.

    ``near_duplicates.jsonl`` lists the training rows that were dropped for nearness. The order of
    the rows stays as it is. A failed call leaves none of the files behind.

    Args:
        rows: the raw dataset's row file.
        out_dir: the folder to write to; made when it does not exist.
        ratio: expected share of training rows, above 0 and at most 1. With 1 there is no held-out
            set and ``held_out.jsonl`` is empty.
        seed: another seed divides differently and draws another subset.
        subset: use this many distinct rows, drawn uniformly; 0 uses all.
        near_duplicates: Jaccard similarity from which a training row is too near to a held-out
            row, at most 1; 0 switches the search off.

    Raises:
        UserError: a parameter is out of range, or a side would be empty.
    """
    _check_parameters(ratio, subset, near_duplicates)
    out_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out_dir, prefix=".split-") as folder:
        work = Path(folder)
        dropped: Counter[str] = Counter()
        chosen = _chosen(rows, seed, subset, dropped)
        train, held_out = _deal(chosen, work, ratio, seed)
        _check_sides(train, held_out, ratio)
        train = _without_near(work, held_out, near_duplicates, dropped)
        _check_sides(train, held_out, ratio)
        for name in (NEAR_DUPLICATES_FILE, HELD_OUT_FILE, TRAIN_FILE):
            (work / name).replace(out_dir / name)
    rows_used = train.rows + held_out.rows
    return SplitReport(
        rows_in=rows_used + dropped.total(),
        duplicates=dropped["exact_duplicate"],
        subset=subset,
        train_rows=train.rows,
        held_out_rows=held_out.rows,
        dropped={reason: count for reason, count in dropped.items() if count},
        ratio_asked=ratio,
        ratio_actual=train.rows / rows_used,
        seed=seed,
        near_duplicates=near_duplicates,
        train_digest=train.digest,
        held_out_digest=held_out.digest,
        warnings=_warnings(train, held_out, dropped, subset),
    )


def in_training(row_id: str, *, ratio: float, seed: int) -> bool:
    """Whether the row with this id is on the training side."""
    return _keyed(row_id, seed, b"ft-assets side") < ratio * 2 ** (8 * _HASH_BYTES)


def _keyed(row_id: str, seed: int, purpose: bytes) -> int:
    """A hash that is uniform over rows and independent between seeds and purposes."""
    digest = hashlib.blake2b(
        row_id.encode(), digest_size=_HASH_BYTES, key=str(seed).encode(), person=purpose
    )
    return int.from_bytes(digest.digest())


def _check_parameters(ratio: float, subset: int, near_duplicates: float) -> None:
    if not 0 < ratio <= 1:
        raise UserError(f"dataset.split {ratio}: it must be above 0 and at most 1 (1: no held-out)")
    if subset < 0:
        raise UserError(f"dataset.subset {subset}: it must be 0 (all rows) or a number of rows")
    if not 0 <= near_duplicates <= 1:
        raise UserError(f"dataset.near_duplicates {near_duplicates}: it must be from 0 (off) to 1")


def _check_sides(train: _Side, held_out: _Side, ratio: float) -> None:
    if train.rows and (held_out.rows or ratio == 1):
        return
    empty = "held-out" if train.rows else "training"
    raise UserError(
        f"the {empty} side is empty (dataset.split {ratio}: {train.rows} training rows, "
        f"{held_out.rows} held out): add rows, change dataset.split or dataset.seed, or set "
        "dataset.split to 1.0 for no held-out set"
    )


def _chosen(rows: Path, seed: int, subset: int, dropped: Counter[str]) -> Iterator[StoredRow]:
    """The distinct rows of the subset, in order; what is left out is counted."""
    highest = _highest_in_subset(rows, seed, subset)
    for row, is_new in _marked(rows):
        if not is_new:
            dropped["exact_duplicate"] += 1
        elif highest is not None and _subset_hash(row, seed) > highest:
            dropped["not_in_subset"] += 1
        else:
            yield row


def _marked(rows: Path) -> Iterator[tuple[StoredRow, bool]]:
    """Each row, and whether it is the first of its kind."""
    seen: set[bytes] = set()
    for row in read_rows(rows):
        digest = bytes.fromhex(row.id)[:16]
        yield row, digest not in seen
        seen.add(digest)


def _highest_in_subset(rows: Path, seed: int, subset: int) -> int | None:
    """The subset is the rows with the smallest hashes: the largest of these, or None for all."""
    if subset == 0:
        return None
    largest_first: list[int] = []
    for row, is_new in _marked(rows):
        if is_new:
            heapq.heappush(largest_first, -_subset_hash(row, seed))
            if len(largest_first) > subset:
                heapq.heappop(largest_first)
    return -largest_first[0] if len(largest_first) == subset else None


def _subset_hash(row: StoredRow, seed: int) -> int:
    return _keyed(row.id, seed, b"ft-assets subset")


def _deal(rows: Iterator[StoredRow], work: Path, ratio: float, seed: int) -> tuple[_Side, _Side]:
    with writing(work / _BEFORE_CHECK) as train, writing(work / HELD_OUT_FILE) as held_out:
        for row in rows:
            side = train if in_training(row.id, ratio=ratio, seed=seed) else held_out
            side.write(row.line)
    return _side(train), _side(held_out)


def _without_near(work: Path, held_out: _Side, threshold: float, dropped: Counter[str]) -> _Side:
    """Write the training rows that are not near to a held-out row, and a list of those that are."""
    before = work / _BEFORE_CHECK
    with (
        writing(work / TRAIN_FILE) as train,
        writing(work / NEAR_DUPLICATES_FILE) as pairs,
        (work / HELD_OUT_FILE).open("rb") as held_out_file,
    ):
        index = HeldOutIndex(held_out_file, threshold) if threshold and held_out.rows else None
        for row in read_rows(before):
            near = index.nearest(row) if index else None
            if near is None:
                train.write(row.line)
                continue
            dropped["near_duplicate_of_held_out"] += 1
            pairs.write(
                json_line(
                    {
                        "train_id": row.id,
                        "held_out_id": near.held_out_id,
                        "similarity": round(near.similarity, 4),
                        "view": near.view,
                    }
                )
            )
    return _side(train)


def _side(writer: RowWriter) -> _Side:
    return _Side(writer.rows, writer.digest)


def _warnings(train: _Side, held_out: _Side, dropped: Counter[str], subset: int) -> list[str]:
    warnings: list[str] = []
    near = dropped["near_duplicate_of_held_out"]
    distinct = train.rows + held_out.rows + near + dropped["not_in_subset"]
    if subset > distinct:
        warnings.append(
            f"dataset.subset {subset} is more than the {distinct} distinct rows: all are used"
        )
    if near > _MANY_NEAR * (train.rows + near):
        warnings.append(
            f"{near} of {train.rows + near} training rows nearly equal a held-out row and were "
            "dropped: the data repeats itself, or dataset.near_duplicates is too low for it"
        )
    return warnings
