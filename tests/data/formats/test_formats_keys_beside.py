"""What stands beside a row's format and is written with the row: its group and its stratum."""

import math

import pytest

from ft_assets.data.ingest import ingest
from ft_assets.data.row_files import read_rows

OPTIONS = {"on_bad_rows": "drop", "max_bad_rows": None}


@pytest.mark.parametrize(
    ("argument", "kind"), [("group_by", "no_group"), ("stratify_by", "no_stratum")]
)
@pytest.mark.parametrize(
    ("value", "found"), [(math.nan, "missing or null"), (math.inf, "infinite")]
)
def test_a_number_that_is_none_names_no_group(tmp_path, argument, kind, value, found):
    """Parquet files have NaN for what is missing; all such rows in one group would be a mistake."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": ["a", "b", "c"], "user": [1.5, value, -value]})
    pq.write_table(table, tmp_path / "a.parquet")
    files = [("a.parquet", tmp_path / "a.parquet")]
    report = ingest(files, tmp_path / "out", **{**OPTIONS, argument: "user"})
    assert report.dropped == {kind: 2}
    assert report.dropped_rows[0].reason == (
        f"'user', which dataset.{argument} names, is {found}: "
        "give every row a text, a number, true or false"
    )
    (stored,) = read_rows(tmp_path / "out/rows.jsonl")
    assert (stored.group or stored.stratum) == "1.5"
