"""Rows with a conversation: what is understood, and what is said about the others."""

import pytest

from ft_assets.data.formats import RowError, RowFormat, normalize
from ft_assets.data.shapes import Chat, Message

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief"}
EXPECTED = Chat(
    [
        Message(content="Be brief", role="system"),
        Message(content="Hi", role="user"),
        Message(content="Hello", role="assistant"),
    ]
)


def chat(*turns, **keys):
    return {"messages": list(turns), **keys}


def refused(row, options=RowFormat()) -> RowError:  # noqa: B008
    with pytest.raises(RowError) as error:
        normalize(row, options)
    return error.value


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_turns_stand_under_either_key(key):
    assert normalize({key: [SYSTEM, USER, ANSWER]}) == EXPECTED


@pytest.mark.parametrize(
    ("system", "user", "assistant"),
    [
        ("system", "human", "gpt"),
        ("developer", "user", "model"),
        ("system", "human", "chatgpt"),
        ("system", "human", "bing"),
        ("system", "human", "bard"),
    ],
)
@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_sharegpt_says_from_and_value_and_has_its_own_names_of_the_roles(
    key, system, user, assistant
):
    turns = [
        {"from": system, "value": "Be brief"},
        {"from": user, "value": "Hi"},
        {"from": assistant, "value": "Hello"},
    ]
    assert normalize({key: turns}) == EXPECTED


@pytest.mark.parametrize("name", ["tool", "function", "observation"])
def test_what_a_tool_says_is_a_turn_of_the_role_tool(name):
    row = chat(USER, {"role": name, "content": "12 C", "tool_call_id": "c1"}, ANSWER)
    assert normalize(row).messages[1] == Message(content="12 C", role="tool", tool_call_id="c1")


def test_the_datasets_own_names_are_mapped():
    options = RowFormat(
        field_messages="dialogue",
        message_property_mappings={"role": "speaker", "content": "words"},
        roles={"user": ["customer"], "assistant": ["agent", "bot"], "system": ["rules"]},
    )
    turns = [
        {"speaker": "rules", "words": "Be brief"},
        {"speaker": "customer", "words": "Hi"},
        {"speaker": "agent", "words": "Hello"},
    ]
    assert normalize({"dialogue": turns}, options) == EXPECTED
    assert refused({"messages": turns}, options).kind == "unknown_format"
    assert refused({"dialogue": turns}).kind == "unknown_format"


def test_a_role_of_ones_own_wins_over_the_known_meaning_of_its_name():
    options = RowFormat(roles={"assistant": ["human"], "user": ["gpt"]})
    turns = [{"from": "gpt", "value": "Hi"}, {"from": "human", "value": "Hello"}]
    assert [m.role for m in normalize({"conversations": turns}, options).messages] == [
        "user",
        "assistant",
    ]


def test_both_keys_may_be_there_when_they_say_the_same():
    assert normalize({"messages": [USER, ANSWER], "conversations": [USER, ANSWER]}) == normalize(
        chat(USER, ANSWER)
    )


@pytest.mark.parametrize("beside", ["system", "system_prompt"])
@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_a_system_prompt_beside_the_turns_becomes_their_first(key, beside):
    assert normalize({key: [USER, ANSWER], beside: "Be brief"}) == EXPECTED
    assert normalize({key: [SYSTEM, USER, ANSWER], beside: "Be brief"}) == EXPECTED
    options = RowFormat(field_messages="dialogue")
    assert normalize({"dialogue": [USER, ANSWER], beside: "Be brief"}, options) == EXPECTED


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_a_system_prompt_that_says_nothing_is_none(empty):
    assert normalize(chat(USER, ANSWER, system=empty)) == normalize(chat(USER, ANSWER))
    assert normalize(chat(SYSTEM, USER, ANSWER, system_prompt=empty)) == EXPECTED


def test_a_system_prompt_beside_the_turns_is_not_unmasked():
    made = normalize(chat(USER, ANSWER, system="Be brief", unmask=True))
    assert [m.train for m in made.messages] == [None, True, True]


def test_the_system_prompt_of_both_keys_may_stand_beside_or_in_one_of_them():
    row = {"messages": [SYSTEM, USER, ANSWER], "conversations": [USER, ANSWER]}
    assert normalize({**row, "system": "Be brief"}) == EXPECTED
    assert refused(row).kind == "two_chats"


SECRET = "ann@example.org"
KEY = "sk-0123456789abcdef0123456789"


@pytest.mark.parametrize("private", [SECRET, KEY, f"https://ann:pw@host/{KEY}?sig=x"])
def test_no_reason_shows_an_address_or_a_key(private):
    rows = [
        {private: 1},
        chat({**USER, "role": private}),
        chat({**USER, private: "x"}),
        chat({**USER, "content": [{"type": private}]}),
        chat(USER, {**ANSWER, "train": private}),
        chat(USER, ANSWER, unmask=private),
        chat(USER, {**ANSWER, "tool_calls": [{"name": private, "arguments": "{"}]}),
        {"segments": [{"label": private, "text": "x"}]},
        {"segments": [{"label": True, "text": "x", private: 1}]},
        {"input_ids": [private]},
    ]
    errors = [refused(row) for row in rows]
    errors += [refused({private: 1}, RowFormat(format=name)) for name in ("chat", "instruction")]
    for error in errors:
        assert "***" in str(error)
        assert SECRET not in str(error)
        assert KEY not in str(error)
        assert "ann:pw" not in str(error)


def test_a_reason_shows_a_short_piece_of_a_long_value_and_its_spaces():
    long = str(refused(chat({**USER, "role": "word " * 50})))
    assert "turn 1: unknown role 'word word" in long
    assert len(long) < 250
    assert "unknown role 'user ' (known" in str(refused(chat({**USER, "role": "user "})))


def test_content_in_parts_is_joined():
    parts = [{"type": "text", "text": "Hel"}, "lo"]
    assert normalize(chat(USER, {**ANSWER, "content": parts})) == normalize(chat(USER, ANSWER))


def test_a_speakers_name_is_kept():
    assert normalize(chat({**USER, "name": "ann"}, ANSWER)).messages[0].name == "ann"


def test_metadata_of_the_row_is_left_out():
    row = chat(USER, ANSWER, id=7, source="x", score={"a": 1}, text="x", segments=None)
    assert normalize(row) == normalize(chat(USER, ANSWER))


def test_null_and_empty_keys_count_as_absent_because_parquet_gives_every_row_every_key():
    nulls = {"name": None, "tool_calls": None, "weight": None, "tool_call_id": "", "other": None}
    row = chat({**USER, **nulls}, {**ANSWER, **nulls}, tools=[], conversations=None, unmask=None)
    assert normalize(row) == normalize(chat(USER, ANSWER))


@pytest.mark.parametrize("key", ["train", "training", "weight"])
@pytest.mark.parametrize(
    ("given", "meant"), [(True, True), (1, True), (1.0, True), (False, False), (0, False)]
)
def test_a_turn_says_itself_whether_it_is_trained(key, given, meant):
    first = {**ANSWER, key: given}
    assert normalize(chat(USER, first, USER, ANSWER)).messages[1].train is meant


def test_without_such_a_word_the_training_decides():
    assert all(m.train is None for m in normalize(chat(SYSTEM, USER, ANSWER)).messages)


def test_unmask_trains_on_all_turns_but_the_system_and_those_that_say_no():
    row = chat(SYSTEM, USER, {**USER, "train": False}, ANSWER, unmask=True)
    assert [m.train for m in normalize(row).messages] == [None, True, False, True]
    assert normalize(chat(SYSTEM, USER, ANSWER, unmask=False)) == EXPECTED


def test_a_turn_that_is_not_trained_may_be_empty():
    row = chat(USER, {**ANSWER, "content": "", "weight": 0}, USER, ANSWER)
    assert normalize(row).messages[1].content == ""


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_what_the_assistant_thought_is_kept_beside_what_it_said(key):
    message = normalize(chat(USER, {**ANSWER, key: "A greeting."})).messages[1]
    assert (message.reasoning_content, message.content) == ("A greeting.", "Hello")
    only = normalize(chat(USER, {"role": "assistant", "content": "", key: "Hm."})).messages[1]
    assert (only.reasoning_content, only.content) == ("Hm.", "")


@pytest.mark.parametrize(
    ("content", "thought", "said"),
    [
        ("<think>\nHm.\n</think>\n\nHello", "Hm.", "Hello"),
        (" <think>Hm.</think>Hello", "Hm.", "Hello"),
        ("<think></think>Hello", None, "Hello"),
        ("Hello <think>Hm.</think>", None, "Hello <think>Hm.</think>"),
        ("<think>cut", None, "<think>cut"),
    ],
)
def test_split_thinking_moves_the_thought_at_the_start_of_an_answer(content, thought, said):
    row = chat(USER, {**ANSWER, "content": content})
    message = normalize(row, RowFormat(split_thinking=True)).messages[1]
    assert (message.reasoning_content, message.content) == (thought, said)
    assert normalize(row).messages[1].content == content


CALL = {"function": {"arguments": {"city": "Oslo"}, "name": "weather"}, "type": "function"}


@pytest.mark.parametrize(
    "given",
    [
        CALL,
        {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
        {"name": "weather", "arguments": {"city": "Oslo"}},
        {"function": {"name": "weather", "arguments": {"city": "Oslo", "country": None}}},
        {"function": {"name": "weather", "arguments": '{"city": "Oslo", "country": null}'}},
    ],
)
def test_calls_of_tools_are_written_in_one_form_with_their_arguments_as_an_object(given):
    row = chat(USER, {"role": "assistant", "content": None, "tool_calls": [given]})
    assert normalize(row).messages[1] == Message(content="", role="assistant", tool_calls=[CALL])


def test_the_id_of_a_call_is_kept_and_no_arguments_are_an_empty_object():
    call = {"id": "c1", "function": {"name": "now"}}
    made = normalize(chat(USER, {**ANSWER, "tool_calls": [call]})).messages[1].tool_calls
    assert made == [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": {}}}]


def test_the_tools_of_a_row_are_kept_also_when_they_are_written_as_text():
    tools = [{"type": "function", "function": {"name": "weather"}}]
    text = '[{"type": "function", "function": {"name": "weather", "strict": null}}]'
    for given in (tools, text):
        assert normalize(chat(USER, ANSWER, tools=given)).tools == tools


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ({"title": "x"}, "unknown_format", "no known format has these keys ('title')"),
        ({}, "unknown_format", "(none)"),
        (chat(), "no_turns", "'messages' is an empty list"),
        ({"messages": "x"}, "not_a_list", "'messages' is not a list but a str"),
        (chat("x"), "not_a_message", "turn 1 of 'messages' is not an object but a str"),
        (chat({**USER, "role": "x"}), "unknown_role", "turn 1: unknown role 'x' (known: system"),
        (chat({**USER, "role": "User"}), "unknown_role", "name it with dataset.roles"),
        (chat({**USER, "role": 3}), "unknown_role", "unknown role '3'"),
        (chat({"content": "x"}), "unknown_role", "turn 1 has no 'role'"),
        (chat(USER, {"role": "user"}), "content_not_text", "turn 2 (user): 'content' is missing"),
        (chat({**USER, "content": 3}), "content_not_text", "is not a string but a int"),
        (
            chat({**USER, "content": [{"type": "image_url", "image_url": "x"}]}),
            "content_not_text",
            "a part of the type 'image_url': only text is trained",
        ),
        (chat({**USER, "content": [{"type": "text"}]}), "content_not_text", "is missing"),
        (chat(USER, {**ANSWER, "content": " \n"}), "empty_answer", "turn 2 (assistant)"),
        (chat(USER, {"role": "assistant"}), "empty_answer", "turn 2 (assistant): 'content' is"),
        (chat(USER, {**ANSWER, "content": "a\x00b"}), "nul_character", "holds a NUL character"),
        (chat(USER, USER), "no_assistant_turn", "no assistant turn"),
        (chat(USER, {**ANSWER, "train": False}), "nothing_trained", "no turn is trained on"),
        (chat(USER, SYSTEM, ANSWER), "system_not_first", "turn 2 is a system turn"),
        (chat(SYSTEM, SYSTEM, ANSWER), "system_not_first", "turn 2 is a system turn"),
        (chat({**USER, "name": 3}, ANSWER), "not_text", "turn 1: 'name' is not a string"),
        (chat(USER, {**ANSWER, "train": "yes"}), "flag_not_bool", "turn 2: 'train' is 'yes'"),
        (chat(USER, {**ANSWER, "weight": 0.5}), "flag_not_bool", "write true or false"),
        (chat(USER, {**ANSWER, "train": 1, "weight": 0}), "two_flags", "train and weight say"),
        (chat(USER, ANSWER, unmask="all"), "flag_not_bool", "'unmask' is 'all'"),
        (chat(USER, {**ANSWER, "contnet": "x"}), "unsupported_key", "the key 'contnet' is not"),
        (chat(USER, ANSWER, tools="{"), "tools_not_valid", "is a text but no JSON"),
        (chat(USER, ANSWER, tools={"a": 1}), "tools_not_valid", "no list of objects"),
        (
            chat({**USER, "tool_calls": [CALL]}, ANSWER),
            "tool_calls_not_valid",
            "only an assistant calls tools",
        ),
        (
            chat(USER, {**ANSWER, "tool_calls": [{"function": {}}]}),
            "tool_calls_not_valid",
            "tool call 1 names no function",
        ),
        (
            chat(USER, {**ANSWER, "tool_calls": [{"name": "f", "arguments": "{"}]}),
            "tool_calls_not_valid",
            "the arguments of 'f' are no JSON",
        ),
        (
            chat(USER, {**ANSWER, "tool_calls": [{"name": "f", "arguments": "[1]"}]}),
            "tool_calls_not_valid",
            "the arguments are no object",
        ),
        (
            chat(SYSTEM, USER, ANSWER, system="Be kind"),
            "two_systems",
            "system and the system turn hold different system prompts: keep one of them",
        ),
        (
            chat(USER, ANSWER, system="Be kind", system_prompt="Be brief"),
            "two_systems",
            "system and system_prompt hold different system prompts",
        ),
        (chat(USER, ANSWER, system=3), "content_not_text", "'system' is not a string but a int"),
        (chat(USER, ANSWER, system="a\x00"), "nul_character", "'system' holds a NUL"),
        (chat(USER, SYSTEM, ANSWER, system="x"), "system_not_first", "turn 2 is a system turn"),
        (
            {"messages": [USER, ANSWER], "conversations": [USER, {**ANSWER, "content": "Bye"}]},
            "two_chats",
            "hold different chats",
        ),
    ],
)
def test_a_row_without_a_valid_chat_is_refused_with_the_reason(row, kind, reason):
    error = refused(row)
    assert error.kind == kind
    assert reason in str(error)


def test_a_named_format_refuses_rows_of_another():
    error = refused({"instruction": "Say hi", "output": "hi"}, RowFormat(format="chat"))
    assert error.kind == "no_chat_key"
    assert "there is no messages nor conversations (keys: 'instruction', 'output')" in str(error)
