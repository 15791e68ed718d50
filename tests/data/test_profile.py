"""The tables about a dataset folder."""

import json
from pathlib import Path

import pytest

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.formats import normalize
from ft_assets.data.profile import profile
from ft_assets.data.row_files import json_line, row_line
from ft_assets.data.split import split
from resources.errors import UserError

SHAPES = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
        ]
    },
    {"segments": [{"label": False, "text": "abc"}, {"label": True, "text": "de"}]},
    {"text": "plain text"},
    {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]},
]


def row_file(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(exist_ok=True)
    shapes = [normalize(row) for row in rows]
    path.write_bytes(b"".join(row_line(row_id(x), canonical_bytes(x)) for x in shapes))
    return path


def test_rows_of_every_shape_are_counted_and_measured(tmp_path):
    row_file(tmp_path / "rows.jsonl", [*SHAPES, SHAPES[0]])
    tables = profile(tmp_path)
    (row,) = tables["rows"].to_dict("records")
    assert (row["file"], row["rows"], row["turns"], row["answers"]) == ("rows.jsonl", 5, 7, 3)
    assert (row["characters"], row["answer_characters"]) == (7 + 5 + 10 + 7, 2 + 2 + 2)
    assert (row["longest"], row["tokens"], row["characters_per_row"]) == (10, 3, 29 / 5)
    assert tables["shapes"].set_index("shape")["rows"].to_dict() == {
        "chat": 2,
        "segments": 1,
        "text": 1,
        "tokens": 1,
    }


def test_dropped_rows_are_counted_by_file_and_reason(tmp_path):
    row_file(tmp_path / "rows.jsonl", SHAPES)
    kinds = ["no_role", "no_role", "not_json"]
    lines = [json_line({"file": "a.jsonl", "row": n, "kind": kind}) for n, kind in enumerate(kinds)]
    (tmp_path / "dropped.jsonl").write_bytes(b"".join(lines))
    tables = profile(tmp_path)
    assert tables["drops"].to_dict("records") == [
        {"file": "a.jsonl", "reason": "no_role", "count": 2},
        {"file": "a.jsonl", "reason": "not_json", "count": 1},
    ]
    assert "clusters" not in tables


def test_a_divided_dataset_has_its_sides_near_pairs_and_clusters(tmp_path):
    texts = [" ".join(f"w{word}of{n // 4}" for word in range(20)) + f" {n}" for n in range(80)]
    rows = row_file(tmp_path / "raw/rows.jsonl", [{"text": text} for text in texts])
    report = split(
        rows,
        tmp_path / "out",
        ratio=0.8,
        seed=1,
        subset=0,
        near_duplicates=0.7,
        near_in_training="drop",
    )
    tables = profile(tmp_path / "out")
    sides = tables["rows"].set_index("file")["rows"].to_dict()
    assert sides == {"train.jsonl": report.train_rows, "held_out.jsonl": report.held_out_rows}
    assert tables["drops"].set_index("reason")["count"].to_dict() == {
        "near_duplicate_of_held_out (conversation)": report.dropped["near_duplicate_of_held_out"],
        "near_duplicate_in_training": report.dropped["near_duplicate_in_training"],
    }
    pairs, clusters = tables["near_pairs"], tables["clusters"]
    assert len(pairs) == report.dropped["near_duplicate_of_held_out"] > 0
    assert pairs["similarity"].between(0.7, 1).all()
    assert clusters["cluster"].nunique() == report.near_clusters > 0
    first = (tmp_path / "out/train.jsonl").read_bytes().splitlines()
    assert set(clusters["first_id"]) <= {json.loads(line)["id"] for line in first}


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"none of rows.jsonl, train.jsonl, held_out.jsonl"):
        profile(tmp_path)
