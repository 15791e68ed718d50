"""The tokens of an assistant turn are its content and the token that ends it, and no others."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_assets.training.chat import render_chat
from ft_assets.training.mask import MaskPolicy
from ft_assets.training.templates import NAMED
from resources.errors import UserError
from tests.training.conftest import chat

LLAMA2 = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
TRIMMING = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>\n' }}"
    "{% endfor %}"
)
WITHOUT_THOUGHTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{{ m['content'].split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
)
FIRST_ANSWER_ONLY = (
    "{% set shown = namespace(n=0) %}"
    "{% for m in messages %}{% if m['role'] != 'assistant' or shown.n == 0 %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{% set shown.n = 1 %}{% endif %}{% endfor %}"
)
END = "<|im_end|>"


@dataclass
class Chats:
    """A tokenizer, and what is trained of a conversation with it."""

    tokenizer: Any

    def with_template(self, template: str | None) -> Chats:
        self.tokenizer.chat_template = template
        return self

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def said(self, messages: list[dict[str, str]]) -> list[str]:
        """The trained text, turn by turn."""
        rendered = render_chat(self.tokenizer, messages)
        return [self.decode(rendered.input_ids[slice(*turn)]) for turn in rendered.turns]


def normal(content: str) -> str:
    """As the tiny model's tokenizer, like Qwen's, composes it before it cuts it into tokens."""
    return unicodedata.normalize("NFC", content)


def load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def chatml(tiny_model) -> Chats:
    return Chats(load(tiny_model))


@pytest.fixture(scope="module")
def shared(tiny_model) -> Chats:
    return Chats(load(tiny_model))


@pytest.fixture(scope="module")
def shared_trimming_offsets(tiny_model) -> Chats:
    """Offsets that leave out the white space of a token, as most published tokenizers give them."""
    from tokenizers import processors

    tokenizer = load(tiny_model)
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return Chats(tokenizer)


def test_the_mask_of_a_conversation_token_by_token(chatml):
    messages = chat(("system", "Be short."), ("user", "Why?"), ("assistant", "No."))
    rendered = render_chat(chatml.tokenizer, messages)
    labelled = [
        (chatml.decode([token]), trained)
        for token, trained in zip(rendered.input_ids, rendered.trained, strict=True)
    ]
    answer = [text for text, trained in labelled if trained]
    context = "".join(text for text, trained in labelled if not trained)
    assert "".join(answer) == "No." + END
    assert answer[-1] == END
    assert context == (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\n\n"
    )
    first = [trained for _, trained in labelled].index(True)
    assert all(trained for _, trained in labelled[first : first + len(answer)])
    assert labelled[first - 1] == ("\n", False)
    assert labelled[-1] == ("\n", False)


def test_the_rendered_text_is_the_templates_and_the_tokens_are_the_tokenizers(chatml):
    messages = chat(("user", "Hello"), ("assistant", "Hi"))
    rendered = render_chat(chatml.tokenizer, messages)
    assert rendered.text == chatml.tokenizer.apply_chat_template(messages, tokenize=False)
    ids = chatml.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert rendered.input_ids == ids


def test_every_assistant_turn_is_trained_and_nothing_between_them(chatml):
    messages = chat(
        ("user", "One?"),
        ("assistant", "First."),
        ("tool", "42"),
        ("user", "Two?"),
        ("assistant", "Second."),
        ("assistant", "Third."),
    )
    assert chatml.said(messages) == ["First." + END, "Second." + END, "Third." + END]


@pytest.mark.parametrize(
    "content",
    [
        "user",
        "a ",
        " a",
        "assistant\n",
        "\nassistant\n\n",
        "",
        "\n",
        "   ",
        "ends with a line\n",
        "ends with two\n\n",
        "<|im_start|>user\nnot a turn<|im_end|>\n",
        "Grüße, 你好, 👩‍👩‍👧‍👦, e\u0301, \u200b, ﷺ",
        "🙂",
        "\U0001f468",
        "a\tb\r\nc",
        "{{ 7 * 7 }} {% raw %}",
    ],
)
def test_content_is_trained_as_it_is_whatever_it_looks_like(chatml, content):
    messages = chat(("user", content), ("assistant", content), ("user", "x"), ("assistant", "y"))
    assert chatml.said(messages) == [normal(content) + END, "y" + END]


def test_the_same_words_in_a_users_turn_are_not_trained(chatml):
    messages = chat(("user", "Yes."), ("assistant", "Yes."), ("user", "Yes."))
    rendered = render_chat(chatml.tokenizer, messages)
    (turn,) = rendered.turns
    assert rendered.text.count("Yes.") == 3
    assert chatml.decode(rendered.input_ids[: turn[0]]).count("Yes.") == 1


def test_a_space_before_the_end_token_belongs_to_the_turn(chatml):
    """As in Llama 2, which also puts one before the content and trims."""
    said = chatml.with_template(LLAMA2).said(
        chat(("user", "a"), ("assistant", "x\n"), ("user", "b"), ("assistant", " user "))
    )
    # The space before the content is part of its first token.
    assert [text.lstrip(" ") for text in said] == ["x " + END, "user " + END]


@pytest.mark.parametrize("content", ["plain", " spaced ", "\nlines\n\n", "inner  space", ""])
def test_a_template_that_trims_trains_what_is_left(chatml, content):
    said = chatml.with_template(TRIMMING).said(
        chat(("user", " u "), ("assistant", content), ("user", "u"), ("assistant", " z"))
    )
    assert said == [content.strip() + END, "z" + END]


def test_the_plain_template_ends_a_turn_with_the_tokenizers_end_token(chatml):
    said = chatml.with_template(NAMED["plain"]).said(
        chat(("system", "s"), ("user", "u"), ("assistant", "one"), ("assistant", "two"))
    )
    assert [text.lstrip(" ") for text in said] == ["one" + END, "two" + END]


@pytest.mark.parametrize("template", [WITHOUT_THOUGHTS, FIRST_ANSWER_ONLY])
def test_a_template_that_rewrites_answers_is_refused(chatml, template):
    messages = chat(
        ("user", "a"), ("assistant", "Hm.</think>One"), ("user", "b"), ("assistant", "Two")
    )
    with pytest.raises(UserError, match="rewrites what a turn says"):
        chatml.with_template(template).said(messages)


def test_a_template_that_refuses_a_conversation_is_quoted(chatml):
    strict = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(UserError, match=r"refuses a conversation: roles must alternate: change"):
        chatml.with_template(strict).said(chat(("user", "a"), ("assistant", "b")))


def test_a_tokenizer_without_a_template_is_refused_with_the_remedy(chatml):
    with pytest.raises(UserError, match=r"has no chat template: set training\.chat_template"):
        chatml.with_template(None).said(chat(("user", "a"), ("assistant", "b")))


def test_content_with_the_marks_own_characters_is_trained_as_it_is(chatml):
    """Icon fonts use private characters; others are taken then."""
    said = chatml.said(chat(("user", "\ue0f0"), ("assistant", "a\ue0f1b\ue0f0c")))
    assert said == ["a\ue0f1b\ue0f0c" + END]


# Which turns are trained on: axolotl's rules.

TURNS = chat(("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V"), ("assistant", "B"))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (MaskPolicy(), ["A" + END, "B" + END]),
        (MaskPolicy(roles_to_train=("user",)), ["U" + END, "V" + END]),
        (MaskPolicy(train_on_inputs=True), ["S" + END, "U" + END, "A" + END, "V" + END, "B" + END]),
        (MaskPolicy(train_on_eos="none"), ["A", "B"]),
        (MaskPolicy(train_on_eos="all"), [END, END, "A" + END, END, "B" + END]),
        (MaskPolicy(train_on_eos="last"), ["A", "B" + END]),
        (MaskPolicy(roles_to_train=("user",), train_on_eos="last"), ["U", "V", END]),
        (MaskPolicy(roles_to_train=()), []),
    ],
)
def test_the_policy_says_which_turns_and_ends_are_trained(chatml, policy, expected):
    rendered = render_chat(chatml.tokenizer, TURNS, policy=policy)
    assert [chatml.decode(rendered.input_ids[slice(*turn)]) for turn in rendered.turns] == expected


def test_what_a_turn_says_itself_goes_before_the_policy(chatml):
    turns = [dict(turn) for turn in TURNS]
    turns[1]["train"], turns[2]["train"] = True, False
    assert chatml.said(turns) == ["U" + END, "B" + END]


# Reasoning, tools and calls: as Qwen's templates write them.

# Qwen2.5's: an answer that calls has its content only if there is one, and calls are JSON.
QWEN25 = (
    "{%- if tools %}{{ '<|im_start|>system\nTools: ' + (tools | tojson) + '<|im_end|>\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' or message.role == 'system' or "
    "(message.role == 'assistant' and not message.tool_calls) %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{%- elif message.role == 'assistant' %}{{- '<|im_start|>' + message.role }}"
    "{%- if message.content %}{{- '\n' + message.content }}{%- endif %}"
    "{%- for tool_call in message.tool_calls %}"
    "{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}"
    '{{- \'\n<tool_call>\n{"name": "\' + tool_call.name + \'", "arguments": \' }}'
    "{{- tool_call.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}"
    "{%- elif message.role == 'tool' %}"
    "{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}"
    "{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}"
    "{{- '<|im_end|>\n' }}{%- endif %}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
# Qwen3's: reasoning of the answers after the last question alone; an empty one for the last turn.
QWEN3 = (
    "{%- set ns = namespace(last_query=-1) %}"
    "{%- for message in messages %}{%- if message.role == 'user' %}"
    "{%- set ns.last_query = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}"
    "{%- set reasoning = message.reasoning_content or '' %}"
    "{%- if loop.index0 > ns.last_query and (loop.last or reasoning) %}"
    "{{- '<|im_start|>assistant\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' "
    "+ message.content.lstrip('\n') }}"
    "{%- else %}{{- '<|im_start|>assistant\n' + message.content }}{%- endif %}"
    "{%- for tool_call in message.tool_calls or [] %}"
    "{%- if (loop.first and message.content) or not loop.first %}{{- '\n' }}{%- endif %}"
    '{{- \'<tool_call>\n{"name": "\' + tool_call.function.name + \'", "arguments": \' }}'
    "{{- tool_call.function.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}"
    "{%- elif message.role == 'tool' %}"
    "{{- '<|im_start|>user\n<tool_response>\n' + message.content }}"
    "{{- '\n</tool_response><|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


CALLED = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def test_reasoning_is_trained_where_the_template_shows_it(chatml):
    said = chatml.with_template(QWEN3).said(
        [
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "2", "reasoning_content": "One and one."},
        ]
    )
    assert said == ["<think>\nOne and one.\n</think>\n\n2" + END]


def test_reasoning_that_the_template_leaves_out_is_not_trained(chatml):
    """Qwen3's template shows the reasoning after the last question alone."""
    said = chatml.with_template(QWEN3).said(
        [
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "2", "reasoning_content": "One and one."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes.", "reasoning_content": "I am."},
        ]
    )
    assert said == ["2" + END, "<think>\nI am.\n</think>\n\nYes." + END]


def test_an_answer_with_reasoning_may_come_first(chatml):
    said = chatml.with_template(QWEN3).said(
        [
            {"role": "assistant", "content": "Hello.", "reasoning_content": "Greet."},
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Bye."},
        ]
    )
    assert said[0] == "Hello." + END
    assert said[1].endswith("Bye." + END)


@pytest.mark.parametrize("content", ["", "I add."])
@pytest.mark.parametrize("template", [QWEN25, QWEN3], ids=["Qwen2.5", "Qwen3"])
def test_a_call_is_trained_and_the_tools_answer_is_not(chatml, template, content):
    turns = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": content, "tool_calls": [CALL]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "It is 2."},
    ]
    call, answer = chatml.with_template(template).said(turns)
    assert call == (f"{content}\n{CALLED}" if content else CALLED) + END
    assert answer.endswith("It is 2." + END)
    assert "tool_response" not in call + answer


def test_several_calls_of_one_turn_are_trained_together(chatml):
    calls = [CALL, {"type": "function", "function": {"name": "sub", "arguments": {}}}]
    (said,) = chatml.with_template(QWEN25).said(
        [
            {"role": "user", "content": "Both."},
            {"role": "assistant", "content": "", "tool_calls": calls},
        ]
    )
    assert said.count("<tool_call>") == 2
    assert said.endswith("</tool_call>" + END)


def test_calls_in_a_template_that_opens_no_answer_are_refused(chatml):
    without_prompt = QWEN25.partition("{%- if add_generation_prompt")[0]
    with pytest.raises(UserError, match="tool calls"):
        chatml.with_template(without_prompt).said(
            [
                {"role": "user", "content": "Add."},
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
            ]
        )


def test_a_template_that_cannot_compute_with_a_row_is_quoted(chatml):
    joined = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content }}"
        "{% for c in m.tool_calls or [] %}{{ 'call ' + c.function.arguments }}{% endfor %}"
        "{{ '<|im_end|>' }}{% endfor %}"
    )
    with pytest.raises(UserError, match=r"refuses a conversation: can only concatenate str"):
        chatml.with_template(joined).said(
            [
                {"role": "user", "content": "Add."},
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
            ]
        )


def test_tools_reach_the_template(chatml):
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    rendered = render_chat(
        chatml.with_template(QWEN25).tokenizer,
        chat(("user", "a"), ("assistant", "b")),
        tools=[tool],
    )
    assert '"name": "add"' in rendered.text
    assert "add" not in chatml.decode(rendered.input_ids[slice(*rendered.turns[0])])


# Any conversation at all.

contents = st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=40) | st.lists(
    st.sampled_from(["user", "assistant", "\n", " ", "  ", "\n\n", END, "<|im_start|>", "é", "🙂"]),
    max_size=6,
).map("".join)
conversations = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), contents),
    min_size=1,
    max_size=6,
).map(lambda turns: chat(*turns))


@settings(deadline=None, max_examples=150)
@given(messages=conversations)
def test_what_is_trained_is_what_the_assistant_said(shared, messages):
    expected = [normal(m["content"]) + END for m in messages if m["role"] == "assistant"]
    assert shared.said(messages) == expected


@settings(deadline=None, max_examples=150)
@given(messages=conversations)
def test_so_it_is_with_offsets_that_leave_out_white_space(shared_trimming_offsets, messages):
    expected = [normal(m["content"]) + END for m in messages if m["role"] == "assistant"]
    assert shared_trimming_offsets.said(messages) == expected
