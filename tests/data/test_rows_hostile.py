"""Files that would fill the memory: each is read, or refused by name, in bounded memory.

The larger ones are read in a process of their own, so that the memory they took can be told.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from ft_assets.data import parquet as parquet_module
from ft_assets.data import streams
from ft_assets.data.rows import MAX_LINE_BYTES, BadRow, RawRow, iter_rows
from resources.errors import UserError

MIB = 1024 * 1024
READ = """\
import json, sys
from pathlib import Path
from ft_assets.data.rows import BadRow, iter_rows
from resources.errors import UserError
import ft_assets.data.ingest
def peak():  # of this program alone: getrusage's starts at that of the process it came from
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
before = peak()
found = []
try:
    for row in iter_rows(Path(sys.argv[1]), Path(sys.argv[1]).name):
        found.append([row.number, row.offset, getattr(row, "kind", "good")])
except UserError as error:
    found.append(str(error))
print(json.dumps([found, (peak() - before) // 1024]))
"""


def read_apart(path: Path) -> tuple[list, int]:
    """What came out of a file, and how many MiB reading it took on top of the imports."""
    finished = subprocess.run(
        [sys.executable, "-c", READ, path], check=True, capture_output=True, text=True
    )
    found, mib = json.loads(finished.stdout)
    return found, mib


def test_a_row_of_50_mb_is_read(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * 50_000_000 + b'"}\n{"a": "y"}\n')
    found, mib = read_apart(path)
    assert found == [[1, 0, "good"], [2, 50_000_010, "good"]]
    assert mib < 5 * 50


def test_a_row_beyond_the_bound_is_skipped_without_holding_it(tmp_path):
    path = tmp_path / "x.jsonl"
    size = 4 * MAX_LINE_BYTES
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n')
        for _ in range(size // MIB):
            file.write(b"x" * MIB)
        file.write(b'\n{"a": 2}\n')
    found, mib = read_apart(path)
    assert found == [[1, 0, "good"], [2, 9, "too_long"], [3, size + 10, "good"]]
    assert mib < 2.5 * MAX_LINE_BYTES // MIB


def zeros(size: int):
    for _ in range(size // MIB):
        yield bytes(MIB)


def write_gzip(path: Path, size: int) -> None:
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b'{"a": 1}\n')
        for chunk in zeros(size):
            file.write(chunk)


def write_zstd(path: Path, size: int) -> None:
    with path.open("wb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as writer:
        writer.write(b'{"a": 1}\n')
        for chunk in zeros(size):
            writer.write(chunk)


@pytest.mark.parametrize(
    ("name", "write", "size"),
    [("x.jsonl.gz", write_gzip, 400 * MIB), ("x.jsonl.zst", write_zstd, 400 * MIB)],
)
def test_a_bomb_of_zeros_is_refused_by_its_ratio(tmp_path, name, write, size):
    path = tmp_path / name
    write(path, size)
    assert path.stat().st_size < MIB
    found, mib = read_apart(path)
    good, message = found[0], found[-1]
    assert good == [1, 0, "good"]
    assert message.startswith(f"{name}, after row ")
    assert "beyond 1000 to 1 (a decompression bomb?)" in message
    assert "decompress it yourself and name the result" in message
    assert mib < 200


@pytest.mark.parametrize(("name", "write"), [("x.gz", write_gzip), ("x.zst", write_zstd)])
def test_a_file_that_expands_beyond_all_bounds_is_refused(tmp_path, monkeypatch, name, write):
    path = tmp_path / f"x.jsonl{Path(name).suffix}"
    write(path, MIB)
    monkeypatch.setattr(streams, "MAX_DECODED_BYTES", MIB)
    with pytest.raises(UserError, match=f"expands to more than {MIB} bytes: divide the file"):
        list(iter_rows(path, path.name))


def test_what_is_small_may_compress_as_well_as_it_likes(tmp_path):
    path = tmp_path / "x.jsonl.zst"
    line = b'{"a": "' + b"x" * 1000 + b'"}\n'
    path.write_bytes(zstandard.ZstdCompressor().compress(line * 10_000))
    assert path.stat().st_size * streams.MAX_RATIO < len(line) * 10_000
    assert len(list(iter_rows(path, path.name))) == 10_000


def test_a_zstd_stream_that_asks_for_a_huge_window_is_refused(tmp_path):
    path = tmp_path / "x.jsonl.zst"
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    with path.open("wb") as file:
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        with compressor.stream_writer(file) as writer:
            writer.write(b'{"a": 1}\n')
    with pytest.raises(UserError, match=r"x\.jsonl\.zst, after row 0: .*too much memory"):
        list(iter_rows(path, path.name))


def test_parquet_that_expands_beyond_the_ratio_is_refused_from_its_footer(tmp_path):
    path = tmp_path / "x.parquet"
    table = pa.table({"text": ["x" * MIB] * 100})
    pq.write_table(table, path, use_dictionary=False, compression="zstd")
    found, mib = read_apart(path)
    assert len(found) == 1
    assert found[0].startswith(f"x.parquet: its {path.stat().st_size} bytes expand to ")
    assert "write it without compression" in found[0]
    assert mib < 100


def test_parquet_whose_dictionary_repeats_a_large_value_is_read_in_small_batches(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["x" * 4 * MIB] * 100}), path, compression="none")
    assert path.stat().st_size < 10 * MIB  # 400 MB as Python values
    found, mib = read_apart(path)
    assert [number for number, _, _ in found] == list(range(1, 101))
    assert mib < 400


def test_a_parquet_row_beyond_the_bound_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_module, "MAX_ROW_BYTES", 1000)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["x" * 2000] * 3}), path)
    with pytest.raises(UserError, match=r"x\.parquet, row 1: .* a row may have 1000: split"):
        list(iter_rows(path, path.name))


def test_no_damage_to_a_parquet_file_does_more_than_name_it(tmp_path):
    made = tmp_path / "made.parquet"
    rows = [{"messages": [{"role": "user", "content": f"q {n}"}]} for n in range(50)]
    pq.write_table(pa.Table.from_pylist(rows), made, compression="zstd")
    content = made.read_bytes()
    path = tmp_path / "x.parquet"
    messages: list[str] = []
    for place in range(0, len(content), max(1, len(content) // 60)):
        for damaged in (
            content[:place] + b"\xff" * 4 + content[place + 4 :],
            content[:place],
        ):
            path.write_bytes(damaged or b"PAR1")
            try:
                found = list(iter_rows(path, path.name))
            except UserError as error:
                messages.append(str(error))
            else:
                assert all(isinstance(row, RawRow | BadRow) for row in found)
    assert len(messages) > 60
    assert all(message.startswith("x.parquet") for message in messages)


def test_the_measure_of_memory_measures(tmp_path):
    """Else the bounds above would hold for anything."""
    path = tmp_path / "x.json"
    path.write_bytes(b'[{"a": "' + b"x" * 60_000_000 + b'"}]')
    _, mib = read_apart(path)
    assert mib > 100
