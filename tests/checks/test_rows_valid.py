"""Whether rows were dropped: of the dataset, and of a held-out set of the user's own."""

from pathlib import Path

import dagster as dg

from ft_assets.checks.rows_valid import check_result
from ft_assets.data.formats import RowFormat
from ft_assets.data.ingest import IngestReport, ingest

KEY = ["p", "raw_dataset"]
GOOD = b'{"question": "2+2?", "answer": "4"}\n'


def ingested(folder: Path, lines: bytes) -> IngestReport:
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(lines)
    return ingest(
        [("rows.jsonl", folder / "rows.jsonl")],
        folder / "out",
        options=RowFormat(),
        on_bad_rows="drop",
        max_bad_rows=10,
    )


def test_all_rows_are_valid(tmp_path):
    result = check_result(KEY, ingested(tmp_path / "a", GOOD * 3))
    assert result.passed
    assert result.description == "all 3 rows are valid"


def test_dropped_rows_are_counted_by_reason(tmp_path):
    result = check_result(KEY, ingested(tmp_path / "a", GOOD + b"{\n[]\n"))
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "2 of 3 rows were dropped (1 broken_json, 1 not_an_object)" in (result.description or "")


def test_rows_that_the_own_held_out_set_lost_are_not_overlooked(tmp_path):
    rows, own = ingested(tmp_path / "a", GOOD * 3), ingested(tmp_path / "b", GOOD + b"{\n")
    result = check_result(KEY, rows, own)
    assert not result.passed
    assert result.description == (
        "all 3 rows are valid; 1 of 2 rows of dataset.eval_uri were dropped (1 broken_json): "
        "eval_dropped.jsonl of the artifact lists them"
    )
    assert result.metadata["held_out_dropped"].value == {"broken_json": 1}
    assert check_result(KEY, rows, rows).passed
