"""Rows with a question and its answer become chats."""

import pytest

from ft_assets.data.formats import RowError, RowFormat, normalize
from ft_assets.data.shapes import Chat, Message


def asked(question: str, answer: str, system: str | None = None) -> Chat:
    turns = [Message(content=question, role="user"), Message(content=answer, role="assistant")]
    if system is None:
        return Chat(turns)
    return Chat([Message(content=system, role="system"), *turns])


@pytest.mark.parametrize(
    ("row", "chat"),
    [
        ({"instruction": "Add", "input": "1+1", "output": "2"}, asked("Add\n\n1+1", "2")),
        ({"instruction": "Add", "input": "", "output": "2"}, asked("Add", "2")),
        ({"instruction": "Add", "input": None, "output": "2"}, asked("Add", "2")),
        ({"instruction": "Add", "output": "2"}, asked("Add", "2")),
        ({"instruction": "", "input": "1+1", "output": "2"}, asked("1+1", "2")),
        ({"instruction": " ", "input": " 1+1\n", "output": "2"}, asked(" 1+1\n", "2")),
        ({"instruction": "Add\n", "input": " ", "output": "2"}, asked("Add\n", "2")),
        ({"instruction": "Add", "response": "2"}, asked("Add", "2")),
        ({"question": "1+1?", "answer": "2"}, asked("1+1?", "2")),
        (
            {"system_prompt": "Be brief", "question": "1+1?", "response": "2"},
            asked("1+1?", "2", "Be brief"),
        ),
        ({"system": "Be brief", "instruction": "A", "output": "2"}, asked("A", "2", "Be brief")),
        ({"system_prompt": "", "question": "1+1?", "response": "2"}, asked("1+1?", "2")),
        (
            {"system": "Be brief", "system_prompt": "Be brief", "question": "a", "answer": "b"},
            asked("a", "b", "Be brief"),
        ),
        ({"message_1": "Hi", "message_2": "Hello"}, asked("Hi", "Hello")),
        ({"prompt": "1+1?", "completion": "2"}, asked("1+1?", "2")),
        ({"prompt": "1+1?", "response": "2"}, asked("1+1?", "2")),
    ],
)
@pytest.mark.parametrize("name", ["auto", "instruction"])
def test_every_variant_is_read(row, chat, name):
    assert normalize({**row, "id": 7}, RowFormat(format=name)) == chat


def test_no_words_are_added_to_the_instruction():
    """alpaca's own prompt would stand beside the model's chat template, which says the same."""
    made = normalize({"instruction": "Add", "input": "1+1", "output": "2"})
    assert "Below is" not in made.messages[0].content


def test_turns_as_prompt_and_completion_train_the_completion_alone():
    row = {
        "prompt": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "1+1?"},
        ],
        "completion": [{"role": "assistant", "content": "2"}],
    }
    made = normalize(row)
    assert [(m.role, m.train) for m in made.messages] == [
        ("user", None),  # the assistant's alone: training.train_on_inputs decides about these
        ("assistant", False),
        ("user", None),
        ("assistant", None),
    ]


@pytest.mark.parametrize("key", ["train", "training", "weight"])
def test_a_turn_of_the_prompt_that_says_itself_whether_it_is_trained_is_heeded(key):
    row = {
        "prompt": [
            {"role": "user", "content": "Hi", key: 0},
            {"role": "assistant", "content": "Hello", key: 1},
            {"role": "user", "content": "1+1?", key: 1},
            {"role": "assistant", "content": "What?", key: None},
        ],
        "completion": [{"role": "assistant", "content": "2", key: 0}],
    }
    assert [m.train for m in normalize(row).messages] == [False, True, True, False, False]


def test_unmask_trains_on_the_prompt_too():
    row = {
        "prompt": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
        ],
        "completion": [{"role": "assistant", "content": "2"}],
        "unmask": True,
    }
    assert [m.train for m in normalize(row).messages] == [None, True, True, True]


def test_turns_of_the_prompt_are_the_assistants_by_any_name():
    options = RowFormat(message_property_mappings={"role": "who"}, roles={"assistant": ["agent"]})
    row = {
        "prompt": [{"who": "user", "content": "Hi"}, {"who": "agent", "content": "Hello"}],
        "completion": [{"who": "agent", "content": "Bye"}],
    }
    assert [m.train for m in normalize(row, options).messages] == [None, False, None]


def test_a_system_prompt_stands_also_beside_lists_of_turns():
    row = {
        "system": "Be brief",
        "prompt": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        "completion": [{"role": "assistant", "content": "2"}],
    }
    assert [(m.role, m.train) for m in normalize(row).messages] == [
        ("system", None),
        ("user", None),
        ("assistant", False),
        ("assistant", None),
    ]


def test_what_stands_beside_a_question_is_heeded_as_beside_turns():
    tools = [{"type": "function", "function": {"name": "f"}}]
    turns = {"prompt": [{"role": "user", "content": "a"}], "completion": [
        {"role": "assistant", "content": "b"}]}  # fmt: skip
    assert normalize({**turns, "tools": tools}).tools == tools
    made = normalize({"question": "a", "answer": "b", "unmask": True})
    assert [m.train for m in made.messages] == [True, True]


def test_thoughts_are_split_from_answers_too():
    row = {"question": "1+1?", "answer": "<think>Easy.</think>2"}
    answer = normalize(row, RowFormat(split_thinking=True)).messages[-1]
    assert (answer.reasoning_content, answer.content) == ("Easy.", "2")


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ({"instruction": "Add", "output": None}, "content_not_text", "'output' is missing"),
        ({"instruction": "Add", "output": 2}, "content_not_text", "'output' is not a string"),
        ({"instruction": "Add", "output": " "}, "empty_answer", "turn 2 (assistant)"),
        ({"instruction": 3, "output": "2"}, "content_not_text", "'instruction' is not a string"),
        ({"instruction": "a", "input": 3, "output": "2"}, "content_not_text", "'input' is not"),
        ({"question": "a", "answer": "b", "system": 3}, "content_not_text", "'system' is not"),
        (
            {"question": "a", "answer": "b", "system": "x", "system_prompt": "y"},
            "two_systems",
            "system and system_prompt hold different system prompts",
        ),
        ({"instruction": "", "output": "2"}, "empty_question", "no question in 'instruction': "),
        (
            {"instruction": "", "input": " \n", "output": "2"},
            "empty_question",
            "there is no question in 'instruction' and 'input': leave the row out",
        ),
        ({"question": " ", "answer": "2"}, "empty_question", "no question in 'question'"),
        ({"question": "a\x00", "answer": "b"}, "nul_character", "'question' holds a NUL"),
        ({"prompt": "a", "completion": []}, "content_not_text", "'completion' is not a string"),
        ({"prompt": [{"role": "user", "content": "a"}], "completion": []}, "no_assistant_turn", ""),
    ],
)
def test_a_part_that_is_missing_or_no_text_is_named(row, kind, reason):
    with pytest.raises(RowError) as error:
        normalize(row)
    assert error.value.kind == kind
    assert reason in str(error.value)


def test_a_question_without_any_answer_is_no_instruction():
    with pytest.raises(RowError) as error:
        normalize({"question": "a"}, RowFormat(format="instruction"))
    assert error.value.kind == "no_instruction"
    assert "keys 'question'" in str(error.value)
