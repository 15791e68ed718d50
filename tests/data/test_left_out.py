"""Held-out rows on which an earlier model was trained are known by their ids."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ft_assets.data.left_out import write_left_out


def row_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_rows(path: Path, numbers: range) -> Path:
    rows = (
        {"id": row_id(number), "messages": [{"role": "user", "content": f"row {number}"}]}
        for number in numbers
    )
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    return path


def test_held_out_rows_that_were_trained_on_before_are_left_out(tmp_path):
    own = write_rows(tmp_path / "own.jsonl", range(10))
    older = write_rows(tmp_path / "older.jsonl", range(13, 20))
    held_out = write_rows(tmp_path / "held_out.jsonl", range(8, 14))
    target = tmp_path / "work" / "left_out.txt"
    target.parent.mkdir()

    assert write_left_out([own, older], held_out, target) == 3

    assert target.read_text().split() == [row_id(8), row_id(9), row_id(13)]
    assert list(target.parent.iterdir()) == [target]


def test_without_earlier_rows_none_is_left_out(tmp_path):
    held_out = write_rows(tmp_path / "held_out.jsonl", range(3))
    assert write_left_out([], held_out, tmp_path / "left_out.txt") == 0
    assert (tmp_path / "left_out.txt").read_text() == ""
