"""Reading rows: formats, compression, and what is said about bad rows and bad files."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from ft_assets.data import rows as rows_module
from ft_assets.data.rows import BadRow, RawRow, iter_rows
from resources.errors import UserError

ROWS = [{"messages": [{"role": "user", "content": f"question {n} äöü"}]} for n in range(1, 6)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def parquet_bytes(tmp_path: Path) -> bytes:
    path = tmp_path / "made.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path.read_bytes()


def read(path: Path, content: bytes) -> list[RawRow | BadRow]:
    path.write_bytes(content)
    return list(iter_rows(path, path.name))


def values(found: list[RawRow | BadRow]) -> list[dict]:
    assert all(isinstance(row, RawRow) for row in found)
    return [row.value for row in found]


COMPRESS = {"": lambda b: b, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows_numbered_from_one(tmp_path, suffix, compression):
    content = {
        ".jsonl": LINES,
        ".json": json.dumps(ROWS, indent=1).encode(),
        ".parquet": parquet_bytes(tmp_path),
    }[suffix]
    found = read(tmp_path / f"data{suffix}{compression}", COMPRESS[compression](content))
    assert values(found) == ROWS
    assert [row.number for row in found] == [1, 2, 3, 4, 5]


def test_the_format_comes_from_the_users_name_when_the_local_file_has_no_suffix(tmp_path):
    (tmp_path / "5f3a").write_bytes(LINES)
    assert len(list(iter_rows(tmp_path / "5f3a", "hf://org/repo/train.jsonl"))) == 5


def test_blank_lines_are_skipped_but_counted_and_offsets_find_the_lines_again(tmp_path):
    content = b'{"a":1}\n\n  \r\n{"b":2}\r\n{"c":3}'
    found = read(tmp_path / "x.jsonl", content)
    assert [row.number for row in found] == [1, 4, 5]
    assert [json.loads(content[row.offset :].splitlines()[0]) for row in found] == values(found)


def test_a_byte_order_mark_is_tolerated(tmp_path):
    content = b"\xef\xbb\xbf" + LINES
    for suffix, compress in COMPRESS.items():
        found = read(tmp_path / f"x.jsonl{suffix}", compress(content))
        assert values(found) == ROWS
        assert found[0].offset == 3
        found = read(tmp_path / f"x.json{suffix}", compress(content))
        assert found[0].offset == 3


def test_json_with_one_object_per_line_is_read_as_lines(tmp_path):
    assert values(read(tmp_path / "x.json", LINES)) == ROWS


def test_zstandard_and_gzip_files_of_several_frames_are_read_to_the_end(tmp_path):
    for suffix in (".gz", ".zst"):
        twice = COMPRESS[suffix](LINES) * 2
        assert values(read(tmp_path / f"x.jsonl{suffix}", twice)) == ROWS * 2


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        (
            b'{"a": }',
            "broken_json",
            "broken JSON (unexpected character, expected a JSON value) at column 7",
        ),
        (b'{"a": "\xff"}', "invalid_utf8", "invalid UTF-8 at byte 8 of the row"),
        (b"[1, 2]", "not_an_object", "the row is not a JSON object but a list"),
        (b"null", "not_an_object", "the row is not a JSON object but a NoneType"),
        (
            b'{"a": "\\ud800"}',
            "broken_json",
            "broken JSON (no low surrogate in string) at column 8",
        ),
        (b'{"a": "\xed\xa0\x80"}', "invalid_utf8", "invalid UTF-8 at byte 8 of the row"),
        (
            b'{"a": "\x00"}',
            "broken_json",
            "broken JSON (unexpected control character in string) at column 8",
        ),
        (
            b"\x00\x00\x00",
            "broken_json",
            "broken JSON (unexpected character, expected a JSON value) at column 1",
        ),
        (
            b'{"a": 1} and more',
            "broken_json",
            "broken JSON (unexpected content after document) at column 10",
        ),
        (
            b'{"a": 1}\r{"a": 2}',
            "broken_json",
            "broken JSON (unexpected content after document) at column 10; it holds a carriage "
            "return, which alone does not end a row: write newlines",
        ),
        (
            b'\xef\xbb\xbf{"a": 1}',
            "broken_json",
            "broken JSON (UTF-8 byte order mark (BOM) is not supported) at column 1",
        ),
        (
            b'{"a": NaN}',
            "broken_json",
            "broken JSON (unexpected character, expected a JSON value) at column 7",
        ),
    ],
)
def test_a_bad_row_is_handed_out_with_its_number_and_the_rows_after_it_are_read(
    tmp_path, line, kind, reason
):
    found = read(tmp_path / "x.jsonl", LINES + line + b"\n" + LINES)
    bad = found[5]
    assert isinstance(bad, BadRow)
    assert (bad.number, bad.offset) == (6, len(LINES))
    assert (bad.kind, bad.reason) == (kind, reason)
    assert len(found) == 11


def test_the_excerpt_of_a_bad_row_is_short_and_hides_addresses_and_keys(tmp_path):
    line = b'{"to": "ann@example.org", "key": "hf_abcDEF0123456789abcDEF" ' + b"x" * 1000
    (bad,) = read(tmp_path / "x.jsonl", line)
    assert len(bad.excerpt) <= 80
    assert bad.excerpt.startswith('{"to": "***", "key": "***"')


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "x.jsonl: the file is empty"),
        ("x.jsonl", b"\n\n", "x.jsonl: the file holds no rows"),
        ("x.json", b"[]", "x.json: the file holds no rows"),
        ("x.json", b'[{"a": 1},', "x.json: broken JSON"),
        ("x.json", b'{\n "data": []\n}', "neither a list of objects nor one object per line"),
        ("x.jsonl", "{}".encode("utf-16"), "UTF-16: convert it to UTF-8"),
        ("x.csv", b"a,b\n", "unknown file format: name it .jsonl, .json, .parquet"),
        ("x.parquet", b"not parquet at all", "not a readable Parquet file"),
        # The time of day is in the header, and in the test's name: both workers need the same.
        (
            "x.jsonl.gz",
            gzip.compress(LINES, mtime=0)[:-12],
            "the .gz stream is damaged or cut short",
        ),
        ("x.jsonl.gz", LINES, "the .gz stream is damaged or cut short"),
        ("x.jsonl.zst", COMPRESS[".zst"](LINES)[:-5], "the .zst stream is damaged or cut short"),
        ("x.jsonl.zst", LINES, "the .zst stream is damaged or cut short"),
        (
            "x.jsonl.gz",
            gzip.compress(LINES, mtime=0) + b"and more",
            "something follows its end, after",
        ),
        ("x.jsonl.zst", COMPRESS[".zst"](LINES) + b"and more", "something follows its end, after"),
        ("x.parquet.zst", COMPRESS[".zst"](b"PAR1"), "not a readable Parquet file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_sentence(tmp_path, name, content, message):
    with pytest.raises(UserError, match="^" + name.replace(".", r"\.")) as error:
        read(tmp_path / name, content)
    assert message in str(error.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jsonl: there is no such file"):
        list(iter_rows(tmp_path / "gone.jsonl", "gone.jsonl"))
    (tmp_path / "dir.jsonl").mkdir()
    with pytest.raises(UserError, match=r"dir\.jsonl: not a file"):
        list(iter_rows(tmp_path / "dir.jsonl", "dir.jsonl"))


def test_a_json_file_above_the_bound_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "MAX_JSON_BYTES", 100)
    with pytest.raises(UserError, match=r"may have 100 bytes: write one object per line"):
        read(tmp_path / "x.json.gz", gzip.compress(json.dumps(ROWS).encode()))


def test_a_line_above_the_bound_is_a_bad_row_and_the_rows_after_it_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "MAX_LINE_BYTES", 100)
    content = b'{"a":1}\n' + b"[" * 3_000_000 + b'\n{"b":2}\n' + b"x" * 101
    first, long, after, last = read(tmp_path / "x.jsonl", content)
    assert isinstance(long, BadRow)
    assert (long.number, long.offset, long.kind) == (2, 8, "too_long")
    assert "longer than 100 bytes" in long.reason
    assert values([first, after]) == [{"a": 1}, {"b": 2}]
    assert content[after.offset :].startswith(b'{"b":2}')
    assert (last.number, last.kind) == (4, "too_long")


def test_lines_are_read_as_they_are_asked_for(tmp_path):
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(COMPRESS[".zst"](LINES) + b"damaged from here on" * 10_000)
    assert next(iter(iter_rows(path, path.name))).value == ROWS[0]
