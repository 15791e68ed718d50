"""The rows of a Parquet file as plain Python values, in constant memory."""

# pyarrow ships no types: what comes out of it is named here and nowhere else.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
import shutil
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH = 256  # rows


def parquet_rows(stream: io.BufferedReader, name: str) -> Iterator[dict[str, Any]]:
    """The rows of the Parquet file in ``stream``; nested columns become lists and dicts.

    Parquet is read from its end, so a stream that is being decompressed goes to a temporary file
    first.

    Raises:
        UserError: it is not Parquet, or it is damaged; ``name`` says which file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with ExitStack() as stack:
        file: io.BufferedIOBase = stream
        if not isinstance(stream.raw, io.FileIO):
            file = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stream, file)
            file.seek(0)
        try:
            table = stack.enter_context(pq.ParquetFile(file))
            for batch in table.iter_batches(batch_size=_BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield value
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{name}: not a readable Parquet file after row {number} ({error}): "
                "write or fetch the file again"
            ) from error
