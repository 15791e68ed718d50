"""Lines come from several hands, and a file is there when it is complete."""

import pytest

from ft_assets.data.line_files import writing

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


def test_a_file_that_fails_is_not_there(tmp_path):
    def fails() -> None:
        with writing(tmp_path / "rows.jsonl") as rows:
            rows.write_many(LINES, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not list(tmp_path.iterdir())
