"""Which held-out rows are answered, and what is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ft_assets.data.formats import normalize
from ft_assets.evaluation.generation_rows import chosen_rows, question
from ft_assets.evaluation.held_out import HeldOutRows, read_left_out
from resources.errors import UserError

USER = {"role": "user", "content": "When?"}
ANSWER = {"role": "assistant", "content": "At nine."}


def asked(row: dict[str, Any]) -> Any:
    return question(normalize(row))


def write(path: Path, rows: list[dict[str, Any]]) -> HeldOutRows:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return HeldOutRows(path)


def many(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "messages": [USER, ANSWER]} for n in range(start, start + count)]


def test_the_last_answer_is_the_reference_and_all_before_it_the_prompt() -> None:
    found = asked({"messages": [USER, ANSWER, USER, {**ANSWER, "content": "Still at nine."}]})
    assert found.reference == "Still at nine."
    assert [message["content"] for message in found.messages] == ["When?", "At nine.", "When?"]
    assert found.shown == "user: When?\n\nassistant: At nine.\n\nuser: When?"


def test_what_follows_the_last_answer_is_not_asked() -> None:
    found = asked({"messages": [USER, ANSWER, {"role": "user", "content": "Thanks"}]})
    assert [message["content"] for message in found.messages] == ["When?"]


def test_reasoning_is_cut_from_the_reference() -> None:
    answer = {**ANSWER, "content": "<think>I know that</think>At nine."}
    assert asked({"messages": [USER, answer]}).reference == "At nine."
    apart = {**ANSWER, "reasoning_content": "I know that"}
    assert asked({"messages": [USER, apart]}).reference == "At nine."


def test_tool_calls_of_the_reference_are_canonical_json() -> None:
    call = {"type": "function", "function": {"name": "clock", "arguments": {"b": 1, "a": 2}}}
    row = {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    found = asked({**row, "tools": [{"type": "function", "function": {"name": "clock"}}]})
    assert found.reference == '{"arguments":{"a":2,"b":1},"name":"clock"}'
    assert found.calls
    assert found.tools == [{"type": "function", "function": {"name": "clock"}}]


def test_segments_are_asked_without_a_template() -> None:
    found = asked({"segments": [{"label": False, "text": "1+1="}, {"label": True, "text": "2"}]})
    assert (found.text, found.messages, found.reference) == ("1+1=", [], "2")


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Raw text asks nothing."},
        {"messages": [ANSWER, USER]},
        {"segments": [{"label": True, "text": "all of it"}]},
    ],
)
def test_a_row_without_a_question_is_not_chosen(row: dict[str, Any], tmp_path: Path) -> None:
    assert asked(row) is None
    rows = write(tmp_path / "rows.jsonl", [row, *many(2)])
    assert chosen_rows(rows, 10, None) == [1, 2]


def test_the_choice_follows_from_the_ids_alone(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.jsonl", many(50))
    turned = write(tmp_path / "b.jsonl", many(50)[::-1])
    chosen = [rows[number].id for number in chosen_rows(rows, 5, None)]
    assert len(set(chosen)) == 5
    assert chosen != [f"r{n}" for n in range(5)]
    assert {turned[number].id for number in chosen_rows(turned, 5, None)} == set(chosen)


def test_another_row_changes_one_choice_at_most(tmp_path: Path) -> None:
    fewer = write(tmp_path / "a.jsonl", many(50))
    more = write(tmp_path / "b.jsonl", many(51))
    before = {fewer[number].id for number in chosen_rows(fewer, 8, None)}
    after = {more[number].id for number in chosen_rows(more, 8, None)}
    assert len(before & after) >= 7


def test_a_limit_holds_for_the_choice_too(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.jsonl", many(50))
    assert chosen_rows(rows, 8, 3) == [0, 1, 2]
    assert chosen_rows(rows, 0, None) == []


def test_rows_to_leave_out_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    everything = write(path, many(4))
    (tmp_path / "trained").write_text("r1\nr3\nunknown\n")
    rows = HeldOutRows(path, read_left_out(tmp_path / "trained"))
    assert [rows[number].id for number in range(len(rows))] == ["r0", "r2"]
    assert rows.left_out == 2
    assert rows.digest(None) != everything.digest(None)
    assert rows.digest(1) == everything.digest(1)


def test_a_split_of_which_no_row_is_left_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, many(2))
    with pytest.raises(UserError, match="each of the 2 rows is one that a model"):
        HeldOutRows(path, frozenset({"r0", "r1"}))
    with pytest.raises(UserError, match="cannot read the rows to leave out"):
        read_left_out(tmp_path / "none")
