"""What the UI shows of an evaluation fits into a window."""

from __future__ import annotations

from ft_assets.assets.evaluation_page import narrow

ROW = {
    "task": "held_out",
    "metric": "loss",
    "base": 3.948381,
    "candidate": 2.535234,
    "against": "base",
    "difference": -1.413147,
    "interval": "-1.662 to -1.173",
    "verdict": "passed: better",
}


def test_numbers_and_verdicts_are_short():
    (row,) = narrow([ROW])
    assert row["difference"] == -1.4131
    assert row["verdict"] == "passed"


def test_a_perplexity_in_the_thousands_does_not_widen_the_table():
    (row,) = narrow([{**ROW, "metric": "perplexity", "candidate": 160728.621421}])
    assert row["candidate"] == 160728.6


def test_whom_the_candidate_is_compared_with_is_said_where_there_are_two():
    assert "against" not in narrow([ROW])[0]
    champion = {**ROW, "against": "champion"}
    assert [row["against"] for row in narrow([ROW, champion])] == ["base", "champion"]


def test_the_other_columns_keep_their_order():
    (row,) = narrow([ROW])
    assert list(row) == [name for name in ROW if name != "against"]
