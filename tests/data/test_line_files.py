"""Lines come from several hands, and a file is there when it is complete."""

import io
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ft_assets.data import line_files
from ft_assets.data.line_files import LineWriter, writing
from tests.support.small_disk import small_disk

LINES = b"x" * 1_000_000 + b"\n"


def test_lines_from_elsewhere_have_their_place_between_others(tmp_path):
    with writing(tmp_path / "rows.jsonl") as rows:
        rows.write(b"first\n")
        begin = rows.room_for(7, 1)
        rows.write(b"third\n")
        with rows.path.open("r+b") as other:
            other.seek(begin)
            other.write(b"second\n")
    assert (tmp_path / "rows.jsonl").read_bytes() == b"first\nsecond\nthird\n"
    assert rows.rows == 3


@pytest.mark.parametrize("seed", range(40))
def test_short_and_long_pieces_and_room_are_in_the_order_in_which_they_came(
    tmp_path, monkeypatch, seed
):
    monkeypatch.setattr(line_files, "_BLOCK", 64)
    rng, expected, elsewhere = random.Random(seed), b"", []
    count = rng.randrange(60)
    with writing(tmp_path / "rows.jsonl") as rows:
        for _ in range(count):
            piece = bytes([rng.randint(65, 90)]) * rng.choice([1, 10, 63, 64, 65, 300])
            if rng.random() < 0.3:
                assert rows.room_for(len(piece), 1) == len(expected)
                elsewhere.append((len(expected), piece))
            else:
                rows.write_many(piece, 1)
            expected += piece
        for begin, piece in elsewhere:
            with rows.path.open("r+b") as other:
                other.seek(begin)
                other.write(piece)
    assert (tmp_path / "rows.jsonl").read_bytes() == expected
    assert (rows.rows, rows.bytes) == (count, len(expected))


def test_a_file_that_fails_is_not_there(tmp_path):
    def fails() -> None:
        with writing(tmp_path / "rows.jsonl") as rows:
            rows.write_many(LINES, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lines", [1, 3, 100])
def test_a_file_that_a_disk_has_no_room_for_is_not_there(tmp_path, lines):
    def fills() -> None:
        with writing(disk / "rows.jsonl") as rows:
            for _ in range(lines):
                rows.write_many(LINES, 1)

    with small_disk(tmp_path / "disk", "size=512k") as disk:
        with pytest.raises(OSError, match="No space left"):
            fills()
        assert not list(disk.iterdir())


class FailingOnce(io.BytesIO):
    """A file whose second block cannot be written; later ones could be."""

    blocks = 0

    def write(self, block) -> int:
        self.blocks += 1
        if self.blocks == 2:
            raise OSError(28, "No space left on device")
        return super().write(block)


def test_after_a_block_that_was_not_written_nothing_is(monkeypatch):
    monkeypatch.setattr(line_files, "_BLOCK", 4)
    file, refused = FailingOnce(), 0
    with ThreadPoolExecutor(1) as thread:
        rows = LineWriter(Path("rows.jsonl"), file, thread)
        for piece in (b"one\n", b"two\n", b"three\n", b"four\n"):
            try:
                rows.write_many(piece, 1)
            except OSError:
                refused += 1
        with pytest.raises(OSError, match="No space left"):
            rows.flush()
    assert refused == 2
    assert file.blocks == 2
    assert file.getvalue() == b"one\n"
