"""How many rows a data drop brings, counted no further than somebody wants to know.

Belongs here: counting rows of files as their source gives them, before anything is ingested. Does
not belong here: whether a row can be trained on, which ingesting decides.
"""

# pyarrow ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def count_rows(files: Iterable[Path], at_least: int) -> int:
    """Rows in the files; the count stops at ``at_least``, and no further file is asked for then.

    An empty file has none. Lines that are no JSON object count none either.

    Raises:
        UserError: a file is damaged or of no known format; what ``files`` raises.
    """
    rows = 0
    for file in files:
        if file.stat().st_size:
            rows += _rows_in(file, at_least - rows)
        if rows >= at_least:
            return at_least
    return rows


def _rows_in(file: Path, at_least: int) -> int:
    from ft_assets.data.rows import RawRow, iter_rows

    if file.name.lower().endswith(".parquet"):
        return _rows_in_footer(file)
    good = (row for row in iter_rows(file, file.name) if isinstance(row, RawRow))
    return sum(1 for _ in islice(good, at_least))


def _rows_in_footer(file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{file.name}: not a readable Parquet file ({error}): write or fetch the file again"
        ) from error
