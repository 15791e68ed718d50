"""The rows of a held-out file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ft_assets.evaluation.held_out import HeldOutRows
from resources.errors import UserError

GOOD = '{"id": "a", "messages": [{"role": "assistant", "content": "hi"}]}\n'


def test_rows_are_read_by_number_and_keep_their_line(tmp_path: Path) -> None:
    path = tmp_path / "held_out.jsonl"
    path.write_text(GOOD + "\n" + GOOD.replace('"a"', "7").replace("hi", "grüß"))
    rows = HeldOutRows(path)
    assert len(rows) == 2
    assert (rows[1].row, rows[1].id, rows[1].content.messages[0].content) == (3, "7", "grüß")
    assert (rows[0].row, rows[0].id) == (1, "a")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "row 2: broken JSON"),
        ("[1]", "row 2: not a JSON object"),
        ('{"id": "b"}', "row 2 (id 'b')"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "no assistant turn"),
    ],
)
def test_a_row_that_is_no_chat_is_refused_by_name(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "held_out.jsonl"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(UserError) as refusal:
        HeldOutRows(path)
    assert said in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no rows"):
        HeldOutRows(tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match="No such file"):
        HeldOutRows(tmp_path / "none.jsonl")
