"""From the raw dataset to a training side and a held-out side.

Which side a row is on depends on the row (or its group), the seed and the ratio, on nothing else
(:mod:`~ft_assets.data.side`), or it is held out because the user says so with a file of their own.
Training rows that equal or nearly equal a held-out row are dropped
(:mod:`~ft_assets.data.near_duplicates`), and so are, where asked for, those that nearly equal each
other (:mod:`~ft_assets.data.near_clusters`).

Belongs here: the order of the steps, and what is published. Memory: a few blocks of 2 MiB, 16 bytes
per distinct row up to a bound, and the indexes of the searches for near rows.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from ft_assets.data.deal import Rules, Taken, deal, take_groups, take_held_out
from ft_assets.data.line_files import writing
from ft_assets.data.row_files import json_line, read_rows
from ft_assets.data.side import in_training
from ft_assets.data.split_report import (
    CLUSTERS_FILE,
    HELD_OUT_FILE,
    NEAR_DUPLICATES_FILE,
    NEAR_HELD_OUT,
    NEAR_TRAINING,
    TRAIN_FILE,
    SplitReport,
    StratumCount,
    Tally,
    strata_warning,
    warnings,
)
from resources.errors import UserError
from resources.freed_memory import BLOCKS, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ft_assets.data.near_clusters import Member
    from ft_assets.data.near_duplicates import Near

__all__ = [
    "CLUSTERS_FILE",
    "HELD_OUT_FILE",
    "NEAR_DUPLICATES_FILE",
    "TRAIN_FILE",
    "SplitReport",
    "StratumCount",
    "in_training",
    "split",
]

_DEALT = "dealt.jsonl"  # the training side before near rows are dropped


def split(
    rows: Path | Sequence[Path],
    out_dir: Path,
    *,
    ratio: float,
    seed: int,
    subset: int,
    near_duplicates: float,
    duplicates: Literal["drop", "keep"] = "drop",
    near_in_training: Literal["keep", "drop"] = "keep",
    grouped: bool = False,
    stratified: bool = False,
    eval_rows: Path | Sequence[Path] | None = None,
) -> SplitReport:
    """Divide ``rows`` into ``train.jsonl`` and ``held_out.jsonl`` in ``out_dir``.

    ``near_duplicates.jsonl`` lists the training rows that were dropped because they nearly equal a
    held-out row, ``clusters.jsonl`` those that nearly equal an earlier training row. The order of
    the rows stays as it is. A failed call leaves none of the files behind.

    Args:
        rows: the raw dataset's row file, or those of several drops, which are read one after the
            other as if they were one file. As a row's side does not depend on other rows, none
            that was held out with fewer drops is in training with more.
        out_dir: the folder to write to; made when it does not exist.
        ratio: expected share of training rows, above 0 and at most 1. With 1 there is no held-out
            set and ``held_out.jsonl`` is empty.
        seed: another seed divides differently and draws another subset.
        subset: use this many distinct rows, drawn uniformly; 0 uses all.
        near_duplicates: Jaccard similarity from which two rows are near, at most 1; 0 switches
            the search off.
        duplicates: whether of equal rows the first alone is used, or all of them; those of
            ``eval_rows`` too. Equal rows are never on both sides: where their groups are, the
            held-out one stays.
        near_in_training: whether of training rows that nearly (or wholly) equal each other the
            first alone is used.
        grouped: rows of one group are on one side; each row needs its group.
        stratified: report each stratum, and warn of those with no held-out row; each row needs its
            stratum. The side of a row does not depend on it: hashes divide a stratum of many rows
            by about the ratio, and one of few rows by whatever comes.
        eval_rows: a row file (or several) that is the held-out set: all of ``rows`` are then for
            training, but for those that equal or nearly equal a held-out row or, with ``grouped``,
            are of a held-out row's group. Its own rows may lack a group and a stratum.

    Raises:
        UserError: a parameter is out of range, a row has no group or stratum, or a side would be
            empty.
    """
    _check_parameters(ratio, subset, near_duplicates, near_in_training)
    keep_freed_memory(BLOCKS)
    files, held_out_files = _files(rows), _files(eval_rows)
    rules = Rules(
        ratio=1.0 if held_out_files else ratio,
        own_held_out=bool(held_out_files),
        seed=seed,
        subset=subset,
        drop_duplicates=duplicates == "drop",
        grouped=grouped,
        stratified=stratified,
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    with TemporaryDirectory(dir=out_dir, prefix=".split-") as folder:
        work = Path(folder)
        train, held_out = _deal(files, held_out_files, work, rules, tally)
        _check_sides(train, held_out, ratio, rules)
        train = _without_near(
            work,
            train,
            held_out,
            threshold=near_duplicates,
            search_training=near_in_training == "drop",
            rules=rules,
            tally=tally,
        )
        _check_sides(train, held_out, ratio, rules)
        for name in (NEAR_DUPLICATES_FILE, CLUSTERS_FILE, HELD_OUT_FILE, TRAIN_FILE):
            (work / name).replace(out_dir / name)
    return SplitReport(
        rows_in=train + held_out + tally.dropped.total(),
        duplicates=tally.duplicates,
        subset=subset,
        train_rows=train,
        held_out_rows=held_out,
        dropped=tally.reasons(),
        ratio_asked=ratio,
        ratio_actual=train / (train + held_out),
        seed=seed,
        near_duplicates=near_duplicates,
        near_clusters=tally.clusters,
        groups=tally.groups,
        strata=tally.strata.counts(),
        strata_warning=(
            strata_warning(tally.strata) if stratified and not rules.own_held_out else None
        ),
        warnings=warnings(
            tally,
            train,
            held_out,
            ratio=ratio,
            subset=subset,
            own_held_out=rules.own_held_out,
        ),
    )


def _files(rows: Path | Sequence[Path] | None) -> list[Path]:
    if rows is None:
        return []
    return [rows] if isinstance(rows, Path) else list(rows)


def _check_parameters(
    ratio: float, subset: int, near_duplicates: float, near_in_training: str
) -> None:
    if not 0 < ratio <= 1:
        raise UserError(f"dataset.split {ratio}: it must be above 0 and at most 1 (1: no held-out)")
    if subset < 0:
        raise UserError(f"dataset.subset {subset}: it must be 0 (all rows) or a number of rows")
    if not 0 <= near_duplicates <= 1:
        raise UserError(f"dataset.near_duplicates {near_duplicates}: it must be from 0 (off) to 1")
    if near_in_training == "drop" and not near_duplicates:
        raise UserError(
            "dataset.near_duplicates_in_training drop: dataset.near_duplicates is 0, which "
            "switches the search off: set it to a similarity such as 0.8"
        )


def _check_sides(train: int, held_out: int, ratio: float, rules: Rules) -> None:
    if train and (held_out or (ratio == 1 and not rules.own_held_out)):
        return
    empty = "held-out" if train else "training"
    if rules.own_held_out:
        raise UserError(
            f"the {empty} side is empty (dataset.eval_uri: {train} training rows are left, "
            f"{held_out} held out): name a held-out set that has rows and is not the "
            "training data"
        )
    raise UserError(
        f"the {empty} side is empty (dataset.split {ratio}: {train} training rows, "
        f"{held_out} held out): add rows, change dataset.split or dataset.seed, or set "
        "dataset.split to 1.0 for no held-out set"
    )


def _deal(
    rows: Sequence[Path], eval_rows: Sequence[Path], work: Path, rules: Rules, tally: Tally
) -> tuple[int, int]:
    """The rows of the training side, near ones among them, and of the held-out side."""
    taken = Taken(work)
    with writing(work / _DEALT) as train, writing(work / HELD_OUT_FILE) as held_out:
        if eval_rows:
            take_held_out(eval_rows, held_out, taken, rules, tally)
        elif rules.grouped:
            take_groups(rows, taken, rules)
        deal(rows, train, held_out, taken=taken, rules=rules, tally=tally, work=work)
        return train.rows, held_out.rows


def _without_near(
    work: Path,
    dealt: int,
    held_out: int,
    *,
    threshold: float,
    search_training: bool,
    rules: Rules,
    tally: Tally,
) -> int:
    """Write the training rows that are not near to another row, and lists of those that are."""
    with ExitStack() as stack:
        pairs = stack.enter_context(writing(work / NEAR_DUPLICATES_FILE))
        members = stack.enter_context(writing(work / CLUSTERS_FILE))
        if not threshold or not (held_out or search_training):
            (work / _DEALT).replace(work / TRAIN_FILE)
            return dealt
        # Compiled code that the many splits without a search do not need.
        from ft_assets.data.near_clusters import Clusters
        from ft_assets.data.near_duplicates import HeldOutIndex

        train = stack.enter_context(writing(work / TRAIN_FILE))
        index = HeldOutIndex(stack.enter_context((work / HELD_OUT_FILE).open("rb")), threshold)
        clusters = Clusters(stack.enter_context((work / _DEALT).open("rb")), threshold)
        offset = 0
        for row in read_rows(work / _DEALT):
            if near := index.nearest(row):
                pairs.write(_pair_line(row.id, near))
                tally.dropped[NEAR_HELD_OUT] += 1
            elif search_training and (member := clusters.place(row, offset)):
                members.write(_member_line(row.id, member))
                tally.dropped[NEAR_TRAINING] += 1
            else:
                train.write(row.line)
                offset += len(row.line)
                continue
            offset += len(row.line)
            if rules.stratified:
                tally.strata.drop_from_training(row.stratum or "")
        tally.clusters = len(clusters)
        return train.rows


def _pair_line(row_id: str, near: Near) -> bytes:
    return json_line(
        {
            "train_id": row_id,
            "held_out_id": near.held_out_id,
            "similarity": round(near.similarity, 4),
            "view": near.view,
        }
    )


def _member_line(row_id: str, member: Member) -> bytes:
    return json_line(
        {
            "cluster": member.cluster,
            "first_id": member.first_id,
            "id": row_id,
            "similarity": round(member.similarity, 4),
        }
    )
