"""What counts as a chat, and what is said about a row that holds none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ft_assets.data.canonical import canonical_bytes, row_id
from ft_assets.data.messages import RowError, normalize

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief"}


def chat(*turns, **keys):
    return {"messages": list(turns), **keys}


def test_sharegpt_and_messages_give_the_same_chat():
    sharegpt = {
        "conversations": [
            {"from": "system", "value": "Be brief"},
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello"},
        ]
    }
    same_keys = {"conversations": [SYSTEM, USER, ANSWER]}
    expected = normalize(chat(SYSTEM, USER, ANSWER))
    assert normalize(sharegpt) == normalize(same_keys) == expected
    assert expected.as_dicts() == [SYSTEM, USER, ANSWER]


def test_a_speakers_name_is_kept():
    named = {**USER, "name": "ann"}
    assert normalize(chat(named, ANSWER)).as_dicts() == [named, ANSWER]


def test_metadata_of_the_row_is_left_out():
    row = chat(USER, ANSWER, id=7, source="x", score={"a": 1})
    assert normalize(row) == normalize(chat(USER, ANSWER))


def test_null_and_empty_keys_count_as_absent_because_parquet_gives_every_row_every_key():
    nulls = {"name": None, "tool_calls": None, "weight": None, "tool_call_id": ""}
    row = chat({**USER, **nulls}, {**ANSWER, **nulls}, tools=[], conversations=None)
    assert normalize(row) == normalize(chat(USER, ANSWER))


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ({"prompt": "x"}, "no_chat_key", "neither 'messages' nor 'conversations' is there"),
        ({"prompt": "x"}, "no_chat_key", "(keys: 'prompt')"),
        ({}, "no_chat_key", "(keys: none)"),
        (chat(), "no_turns", "'messages' is an empty list"),
        ({"messages": "x"}, "not_a_list", "'messages' is not a list but a str"),
        (chat("x"), "not_a_message", "turn 1 of 'messages' is not an object but a str"),
        (
            chat({**USER, "role": "bot"}),
            "unknown_role",
            "unknown role 'bot' (allowed: system, user",
        ),
        (chat({**USER, "role": "human"}), "unknown_role", "turn 1: unknown role 'human'"),
        (chat({**USER, "role": 3}), "unknown_role", "unknown role '3'"),
        (chat({"content": "x"}), "unknown_role", "turn 1 has no 'role'"),
        (chat(USER, {"role": "assistant"}), "content_not_text", "turn 2 (assistant): 'content' is"),
        (chat({**USER, "content": [{"type": "text"}]}), "content_not_text", "but a list"),
        (chat(USER, {**ANSWER, "content": " \n"}), "empty_answer", "turn 2 (assistant)"),
        (chat(USER, {**USER}), "no_assistant_turn", "no assistant turn"),
        (chat(USER, SYSTEM, ANSWER), "system_not_first", "turn 2 is a system turn"),
        (chat(SYSTEM, SYSTEM, ANSWER), "system_not_first", "turn 2 is a system turn"),
        (chat({**USER, "name": 3}, ANSWER), "name_not_text", "turn 1: 'name' is not a string"),
        (chat(USER, ANSWER, tools=[{"x": 1}]), "unsupported_key", "'tools' is not supported yet"),
        (
            {"messages": [USER, ANSWER], "conversations": [USER, {**ANSWER, "content": "Bye"}]},
            "two_chats",
            "hold different chats",
        ),
    ],
)
def test_a_row_without_a_valid_chat_is_refused_with_the_reason(row, kind, reason):
    with pytest.raises(RowError) as error:
        normalize(row)
    assert error.value.kind == kind
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("key", "item"),
    [
        ("tool_calls", [{"id": "1"}]),
        ("tool_call_id", "1"),
        ("reasoning_content", "hm"),
        ("weight", 0),
        ("weight", 1),
        ("train", False),
        ("contnet", "typo"),
    ],
)
def test_a_key_that_would_change_what_is_trained_is_refused_and_never_ignored(key, item):
    with pytest.raises(RowError, match=f"turn 2: the key '{key}' is not supported yet") as error:
        normalize(chat(USER, {**ANSWER, key: item}))
    assert error.value.kind == "unsupported_key"


turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]), "content": st.text()},
    optional={"name": st.text()},
)
chats = st.lists(turns, min_size=1, max_size=5).map(lambda items: {"messages": items})


@given(chats)
def test_normalising_twice_is_normalising_once(row):
    try:
        once = normalize(row)
    except RowError:
        return
    assert normalize({"messages": once.as_dicts()}) == once


@given(chats, chats)
def test_two_rows_have_one_id_exactly_when_they_are_the_same_chat(one, other):
    try:
        first, second = normalize(one), normalize(other)
    except RowError:
        return
    assert (first == second) == (row_id(first) == row_id(second))


def test_the_canonical_form_is_fixed():
    """The ids of stored datasets depend on these bytes: change them and every id changes."""
    written = canonical_bytes(normalize(chat({**USER, "name": "Jo"}, {**ANSWER, "content": "é"})))
    assert (
        written
        == (
            '{"messages":[{"content":"Hi","name":"Jo","role":"user"},'
            '{"content":"é","role":"assistant"}]}'
        ).encode()
    )


def test_text_is_kept_as_it_is():
    composed, decomposed = (
        normalize(chat(USER, {**ANSWER, "content": text})) for text in ("é", "e\u0301")
    )
    assert row_id(composed) != row_id(decomposed)
