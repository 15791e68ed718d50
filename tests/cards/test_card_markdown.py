"""Text of users is text in a card, whatever it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ft_assets.cards.markdown import code, number, one_line, paragraphs, table, text

_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_HOSTILE = st.text(st.sampled_from("ab1 \n\t*_`~[]()<>&|\\#-+=.!:/@$\"'é\x00"), max_size=40)


def rendered(markdown: str) -> str:
    """What a reader sees of a paragraph, and nothing but a paragraph."""
    tokens = _PARSER.parse(markdown)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}, markdown
    return "".join(child.content for child in children)


@given(_HOSTILE)
def test_a_text_is_shown_as_it_is_on_one_line(value):
    shown = one_line(value)
    if shown:
        assert rendered(text(value)) == shown


@given(_HOSTILE)
def test_a_cell_of_a_table_stays_one_cell(value):
    tokens = _PARSER.parse(table(("a", "b"), [(text(value), code(value))]))
    assert [token.type for token in tokens].count("td_open") == 2
    shown = [token for token in tokens if token.type == "inline"][2:]
    kinds = {child.type for child in shown[0].children or []}
    assert kinds <= {"text", "text_special"}
    assert [child.type for child in shown[1].children or []] == ["code_inline"]


@pytest.mark.parametrize(
    "value",
    [
        "<script>alert(1)</script>",
        "[click](https://evil.example)",
        "https://evil.example and www.evil.example and me@evil.example",
        "![x](http://evil.example/x.png)",
        "# heading",
        "- item",
        "1. item",
        "---",
        "===",
        "> quote",
        "```sh",
        "&lt;b&gt;",
    ],
)
def test_markup_of_a_user_is_no_markup(value):
    assert rendered(text(value)) == value


def test_no_bare_link_is_left_for_a_hub_to_find():
    shown = text("see https://evil.example, www.evil.example, me@evil.example")
    assert "://" not in shown
    assert "www." not in shown
    assert "@" not in shown


def test_paragraphs_stay_apart_and_their_lines_do_not():
    assert paragraphs("one\ntwo\n\n\nthree") == "one two\n\nthree"


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("https://me:hunter2@host/x", "hunter2"),
        ("https://host/x?X-Amz-Signature=abcdef", "abcdef"),
        (f"token hf_{'a' * 30}", "hf_a"),
    ],
)
def test_a_secret_is_never_shown(value, secret):
    assert secret not in text(value)
    assert secret not in code(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (3, "3"), (12345, "12,345"), (0.25, "0.2500"), (0.00012, "0.00012"), (2.0, "2")],
)
def test_numbers_are_for_people(value, shown):
    assert number(value) == shown
