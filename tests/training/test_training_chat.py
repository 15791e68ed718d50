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
    with pytest.raises(UserError, match="rewrites what the assistant says"):
        chatml.with_template(template).said(messages)


def test_a_template_that_refuses_a_conversation_is_quoted(chatml):
    strict = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(UserError, match=r"refuses a conversation: roles must alternate: change"):
        chatml.with_template(strict).said(chat(("user", "a"), ("assistant", "b")))


def test_a_tokenizer_without_a_template_is_refused_with_the_remedy(chatml):
    with pytest.raises(UserError, match=r"has no chat template: set training\.chat_template"):
        chatml.with_template(None).said(chat(("user", "a"), ("assistant", "b")))


def test_content_with_the_markers_own_characters_is_refused_not_masked_wrongly(chatml):
    with pytest.raises(UserError, match="cannot be located"):
        chatml.said(chat(("user", "\ue0f0"), ("assistant", "a\ue0f1b\ue0f0c")))


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
