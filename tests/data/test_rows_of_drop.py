"""Counting the rows that a drop brings, no further than somebody wants to know."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from ft_assets.data.rows_of_drop import count_rows
from resources.errors import UserError

ROW = b'{"messages": []}\n'


def write(path: Path, rows: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = ROW * rows
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": ["x"] * rows}), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps([{"text": "x"}] * rows))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".zst":
        path.write_bytes(zstandard.compress(content))
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.parquet", "a.jsonl.gz", "a.jsonl.zst", "A.JSONL"]
)
def test_rows_of_every_format_are_counted(tmp_path: Path, name: str):
    file = write(tmp_path / name, 5)
    assert count_rows([file], 100) == 5
    assert count_rows([file], 3) == 3


def test_counting_stops_when_there_are_enough(tmp_path: Path):
    enough = write(tmp_path / "a.jsonl", 5)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(ROW * 4 + b"\xff" * 100)

    def files() -> Iterator[Path]:
        yield enough
        raise AssertionError("nobody needs another file")

    assert count_rows(files(), 5) == 5
    assert count_rows([cut], 4) == 4


def test_empty_files_blank_lines_and_broken_lines_hold_no_row(tmp_path: Path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "bad.jsonl").write_bytes(b"\n" + ROW + b"  \n{broken\n" + ROW)
    assert count_rows([tmp_path / "empty.jsonl", tmp_path / "bad.jsonl"], 100) == 2


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(UserError, match=r"a\.parquet: not a readable Parquet file"):
        count_rows([tmp_path / "a.parquet"], 1)
