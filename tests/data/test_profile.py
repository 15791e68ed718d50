"""The tables about a dataset folder."""

import json
from pathlib import Path

import pytest

from ft_assets.data.ingest import ingest
from ft_assets.data.profile import profile
from ft_assets.data.split import split
from resources.errors import UserError


def drop(path: Path) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "ok"}]}
        for n in range(10, 40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {}, {}, rows[0]]))
    return path


def test_the_tables_count_rows_per_file_and_drops_by_reason(tmp_path):
    files = [("a.jsonl", drop(tmp_path / "a.jsonl"))]
    ingest(files, tmp_path / "raw", on_bad_rows="drop", max_bad_rows=None)
    tables = profile(tmp_path / "raw")
    (row,) = tables["rows"].to_dict("records")
    assert (row["file"], row["rows"], row["turns"], row["answers"]) == ("rows.jsonl", 31, 62, 31)
    assert (row["characters"], row["answer_characters"], row["longest"]) == (31 * 4, 31 * 2, 4)
    assert tables["drops"].to_dict("records") == [
        {"file": "a.jsonl", "reason": "no_chat_key", "count": 2}
    ]


def test_a_divided_dataset_has_one_line_per_side(tmp_path):
    files = [("a.jsonl", drop(tmp_path / "a.jsonl"))]
    ingest(files, tmp_path / "raw", on_bad_rows="drop", max_bad_rows=None)
    options = {"ratio": 0.7, "seed": 1, "subset": 0, "near_duplicates": 0.8}
    report = split(tmp_path / "raw/rows.jsonl", tmp_path / "out", **options)
    rows = profile(tmp_path / "out")["rows"].set_index("file")["rows"].to_dict()
    assert rows == {"train.jsonl": report.train_rows, "held_out.jsonl": report.held_out_rows}


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none of rows.jsonl, train.jsonl, held_out.jsonl"):
        profile(tmp_path)
