"""The rows of a Parquet file as plain Python values, in constant memory."""

# pyarrow ships no types: what comes out of it is named here and nowhere else.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
import shutil
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO

from ft_assets.data.streams import FREE_BYTES, MAX_RATIO
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ROW_BYTES = 64 * 1024 * 1024
"""Of one decoded row, as of a line in :mod:`ft_assets.data.rows`."""

_BATCH_ROWS = 256
_BATCH_BYTES = 8 * 1024 * 1024  # what the footer says about a batch
_WORST_BATCH_BYTES = 64 * 1024 * 1024  # where every row holds the largest value there may be
_ROOM = 4
_BUFFER = 1024 * 1024


def parquet_rows(stream: io.BufferedReader, name: str) -> Iterator[dict[str, Any]]:
    """The rows of the Parquet file in ``stream``; nested columns become lists and dicts.

    Parquet is read from its end, so a stream that is being decompressed goes to a temporary file
    first.

    Raises:
        UserError: it is not Parquet, it is damaged, or it expands beyond
            :data:`~ft_assets.data.streams.MAX_RATIO` or :data:`MAX_ROW_BYTES`; ``name`` says which
            file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with ExitStack() as stack:
        file: BinaryIO = stream
        if not isinstance(stream.raw, io.FileIO):
            file = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stream, file)
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            # With a buffer a column is read piece by piece, not a row group at a time.
            table = stack.enter_context(pq.ParquetFile(file, buffer_size=_BUFFER))
            _refuse_a_bomb(table.metadata, size, name)
            for batch in table.iter_batches(batch_size=_rows_per_batch(table.metadata)):
                _refuse_large_rows(batch, number, name)
                for value in batch.to_pylist():
                    number += 1
                    yield value
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{name}: not a readable Parquet file after row {number} ({error}): "
                "write or fetch the file again"
            ) from error


def _refuse_a_bomb(footer: Any, size: int, name: str) -> None:
    groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
    decoded = sum(group.total_byte_size for group in groups)
    if decoded > FREE_BYTES and decoded > MAX_RATIO * size:
        raise UserError(
            f"{name}: its {size} bytes expand to {decoded} bytes, which is beyond {MAX_RATIO} to 1 "
            "(a decompression bomb?): if the file is sound, write it without compression"
        )


def _rows_per_batch(footer: Any) -> int:
    """So many rows that a batch stays small, also where a dictionary repeats one large value."""
    rows = _BATCH_ROWS
    for place in range(footer.num_row_groups):
        group = footer.row_group(place)
        chunks = [group.column(column) for column in range(group.num_columns)]
        average = group.total_byte_size // max(group.num_rows, 1)
        largest = sum(_dictionary_bytes(chunk) for chunk in chunks)
        rows = min(rows, _BATCH_BYTES // max(average, 1), _WORST_BATCH_BYTES // max(largest, 1))
    return max(rows, 1)


def _dictionary_bytes(chunk: Any) -> int:
    """About the most that one value of a dictionary can have.

    The footer says where the dictionary lies, but not how large it is when decompressed: that it
    compresses as the whole chunk does is a guess, so there is some room in it.
    """
    if not chunk.has_dictionary_page:
        return 0
    compressed = max(chunk.data_page_offset - chunk.dictionary_page_offset, 0)
    ratio = chunk.total_uncompressed_size / max(chunk.total_compressed_size, 1)
    return min(int(compressed * ratio * _ROOM), chunk.total_uncompressed_size)


def _refuse_large_rows(batch: Any, number: int, name: str) -> None:
    """Before the rows become Python values, which take several times as much."""
    if batch.nbytes > MAX_ROW_BYTES * batch.num_rows:
        raise UserError(
            f"{name}, row {number + 1}: {batch.num_rows} rows take {batch.nbytes} bytes, and a row "
            f"may have {MAX_ROW_BYTES}: split the rows"
        )
