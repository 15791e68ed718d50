"""From data files to the raw dataset: every row checked, written in one form, and counted.

Belongs here: what good and bad rows lead to. Does not belong here: fetching the files, reading
their formats (:mod:`~ft_assets.data.rows`), what happens to one row
(:mod:`~ft_assets.data.checked_rows`) and in which process
(:mod:`~ft_assets.data.check_workers`), what is counted (:mod:`~ft_assets.data.ingest_report`),
duplicates (:mod:`~ft_assets.data.split`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ft_assets.data.check_workers import CheckWorkers
from ft_assets.data.checked_rows import PLAIN, Checker, OnSensitive
from ft_assets.data.helpers import helpers_for
from ft_assets.data.ingest_report import IngestReport, Tally
from ft_assets.data.line_files import writing
from ft_assets.data.row_files import json_line
from ft_assets.data.rows import iter_rows_or, lines_begin, no_rows
from resources.errors import UserError
from resources.freed_memory import BLOCKS, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ft_assets.data.checked_rows import Part
    from ft_assets.data.formats import RowFormat
    from ft_assets.data.ingest_report import DroppedRow

__all__ = ["DROPPED_FILE", "ROWS_FILE", "IngestReport", "OnSensitive", "ingest"]

ROWS_FILE = "rows.jsonl"
DROPPED_FILE = "dropped.jsonl"


def ingest(
    files: Sequence[tuple[str, Path]],
    out_dir: Path,
    *,
    options: RowFormat = PLAIN,
    on_bad_rows: Literal["fail", "drop"],
    max_bad_rows: int | None,
    group_by: str | None = None,
    stratify_by: str | None = None,
    may_lack: bool = False,
    sensitive: OnSensitive = "ignore",
    processes: int | None = None,
) -> IngestReport:
    """Check every row of ``files`` and write ``rows.jsonl`` and ``dropped.jsonl`` to ``out_dir``.

    Args:
        files: pairs of the name the user knows a file by, and where it lies.
        out_dir: the folder to write to; made when it does not exist. A failed call leaves neither
            file behind.
        options: how the rows are to be read.
        on_bad_rows: ``fail`` at the first bad row, or ``drop`` bad rows and count them.
        max_bad_rows: with ``drop``, how many bad rows may be dropped; None means any number.
        group_by: the key of a source row whose value goes into the written row as its group; a row
            without it is bad.
        stratify_by: as ``group_by``, for the stratum.
        may_lack: rows may lack these two keys: a held-out set of the user's own often does.
        sensitive: what becomes of keys, tokens and mail addresses: not looked for, counted alone,
            their rows dropped (these never fail the call, whatever ``on_bad_rows`` and
            ``max_bad_rows`` say), or replaced by the names of their rules.
        processes: how many processes help to check uncompressed JSON Lines; None means one per
            core where there is enough data. What is written does not depend on it.

    Raises:
        UserError: a file cannot be read, a row is bad and ``on_bad_rows`` is ``fail``, there are
            more bad rows than allowed, or no row is valid.
        ChildProcessError: a process that helps was killed.
    """
    if not files:
        raise UserError("the dataset has no files: check dataset.uri")
    keep_freed_memory(BLOCKS)
    limit = 0 if on_bad_rows == "fail" else max_bad_rows
    checker = Checker(options, group_by, stratify_by, may_lack, sensitive)
    number = helpers_for(path for _, path in files) if processes is None else processes
    tally = Tally()
    with (
        writing(out_dir / ROWS_FILE) as rows,
        writing(out_dir / DROPPED_FILE) as dropped,
        CheckWorkers(checker, number, rows.path) as workers,
    ):
        for name, path in files:
            for part in _parts(checker, name, path, workers, tally.samples_wanted):
                for bad in part.bad:
                    shown = tally.drop(name, bad)
                    _refuse_too_many(tally, limit, shown, on_bad_rows)
                    dropped.write(json_line(shown.model_dump()))
                part.write_to(rows)
                tally.add(name, part)
        if rows.rows == 0:
            raise UserError(
                f"none of the {tally.files.total()} rows of {', '.join(tally.files)} is valid "
                f"({tally.reasons}): rows hold messages ([{{role, content}}]), conversations, "
                "instruction and output, segments, text or input_ids: see dataset.format"
            )
        workers.settle()
        return tally.report()


def _parts(
    checker: Checker, name: str, path: Path, workers: CheckWorkers, samples: Callable[[], int]
) -> Iterator[Part]:
    """What the rows of a file come to, in order."""
    begin = lines_begin(path, name)
    if begin is None:
        yield from checker.parts(iter_rows_or(path, name, checker.known), samples())
        return
    rows = 0
    for part in workers.parts(path, begin, samples):
        rows += part.good + len(part.bad)
        yield part
    if rows == 0:
        raise no_rows(name)


def _refuse_too_many(tally: Tally, limit: int | None, row: DroppedRow, on_bad_rows: str) -> None:
    bad = tally.dropped.total() - tally.dropped["sensitive"]  # these the user asked to drop
    if limit is None or row.kind == "sensitive" or bad <= limit:
        return
    start = "" if row.offset is None else f" (the row starts at byte {row.offset})"
    where = f"{row.file}, row {row.row}: {row.reason}{start}"
    if on_bad_rows == "fail":
        raise UserError(f"{where}; fix the row or set dataset.on_bad_rows: drop")
    raise UserError(
        f"{where}; this is bad row {bad} ({tally.reasons}) and "
        f"dataset.max_bad_rows is {limit}: fix the rows or raise it"
    )
