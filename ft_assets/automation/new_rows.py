"""How many rows a drop at its source would bring: whether it is worth a run."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from ft_assets.data.rows_of_drop import count_rows as count_in_files
from resources.sources import Sources


def count_rows(
    sources: Sources,
    uri: str,
    partition: str | None,
    at_least: int,
    *,
    base_dir: Path | None = None,
    scratch: Path,
) -> int:
    """Dataset rows of a drop; the count stops at ``at_least``.

    Files on this machine are read where they lie. Objects of S3 are downloaded one by one, until
    there are enough rows; a file over HTTPS and a hub dataset are downloaded whole. ``scratch`` is
    the folder for that, and nothing stays in it.

    Raises:
        UserError: as ``Sources.fetch``, or a file is damaged.
    """
    if at_least <= 0:
        return 0
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=scratch, prefix="count-") as into,
        closing(sources.drop_files(uri, partition, Path(into), base_dir=base_dir)) as files,
    ):
        return count_in_files(files, at_least)
