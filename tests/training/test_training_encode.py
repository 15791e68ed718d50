"""Rows of every shape become tokens, and what is trained on is what the row says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ft_assets.data.formats import normalize
from ft_assets.data.shapes import IGNORED
from ft_assets.training.chat import render_chat
from ft_assets.training.encode import BATCH, encode, encode_many
from ft_assets.training.mask import MaskPolicy
from resources.errors import UserError
from tests.training.conftest import chat


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def trained_text(tokenizer: Any, row: Any) -> list[str]:
    return [tokenizer.decode(row.ids[start:end]) for start, end in row.trained]


def test_a_chat_is_what_its_template_renders(tokenizer):
    messages = chat(("user", "Why?"), ("assistant", "Because."))
    row = encode(tokenizer, normalize({"messages": messages}))
    rendered = render_chat(tokenizer, messages)
    assert (row.ids, row.trained) == (rendered.input_ids, rendered.turns)
    assert row.ended


def test_the_flags_of_turns_and_the_tools_of_a_row_count(tokenizer):
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "no", "weight": 0},
        {"role": "user", "content": "b", "train": True},
        {"role": "assistant", "content": "yes"},
    ]
    row = encode(tokenizer, normalize({"messages": messages}))
    assert trained_text(tokenizer, row) == ["b<|im_end|>", "yes<|im_end|>"]


def test_an_unmasked_row_is_trained_but_for_its_system_turn(tokenizer):
    messages = chat(("system", "s"), ("user", "u"), ("assistant", "a"))
    row = encode(tokenizer, normalize({"messages": messages, "unmask": True}))
    assert trained_text(tokenizer, row) == ["u<|im_end|>", "a<|im_end|>"]


def test_segments_are_tokenized_one_by_one_with_nothing_added(tokenizer):
    segments = [
        {"label": False, "text": "Question: "},
        {"label": True, "text": "Answer"},
        {"label": False, "text": "\n"},
        {"label": True, "text": "More"},
    ]
    row = encode(tokenizer, normalize({"segments": segments}))
    assert row.ids == [
        token
        for segment in segments
        for token in tokenizer(segment["text"], add_special_tokens=False)["input_ids"]
    ]
    assert trained_text(tokenizer, row) == ["Answer", "More"]


def test_raw_text_is_trained_whole_ends_and_is_cut(tokenizer):
    row = encode(tokenizer, normalize({"text": "The library opens at nine."}))
    assert row.ids[-1] == tokenizer.eos_token_id
    assert row.trained == [(1, len(row.ids))]
    assert row.cut == 0
    short = encode(tokenizer, normalize({"text": "The library opens at nine."}), max_length=5)
    assert short.ids == row.ids[:5]
    assert short.cut == len(row.ids) - 5


def test_tokens_stay_as_they_are(tokenizer):
    ids = tokenizer("one two three", add_special_tokens=False)["input_ids"]
    labels = [IGNORED, *ids[1:]]
    row = encode(tokenizer, normalize({"input_ids": ids, "labels": labels}))
    assert row.ids == ids
    assert row.labels == labels


def test_a_token_of_another_vocabulary_is_refused(tokenizer):
    with pytest.raises(UserError, match=r"holds the token \d+ .* tokenized for another model"):
        encode(tokenizer, normalize({"input_ids": [len(tokenizer)], "labels": [len(tokenizer)]}))


def test_many_rows_of_all_shapes_come_in_order(tokenizer):
    rows = [
        normalize(value)
        for number in range(BATCH)
        for value in (
            {"messages": chat(("user", f"{number}"), ("assistant", "a"))},
            {"text": f"text {number}"},
        )
    ]
    together = list(encode_many(tokenizer, rows))
    assert len(together) == 2 * BATCH
    assert together[::100] == [encode(tokenizer, row) for row in rows[::100]]


masks = st.lists(st.booleans(), min_size=1, max_size=30).filter(any)


@settings(deadline=None, max_examples=200)
@given(mask=masks)
def test_the_mask_of_tokens_comes_back_but_for_the_first_one(tokenizer, mask):
    ids = list(range(5, 5 + len(mask)))
    labels = [i if trained else IGNORED for i, trained in zip(ids, mask, strict=True)]
    row = encode(tokenizer, normalize({"input_ids": ids, "labels": labels}))
    assert row.mask == [False, *mask[1:]]
    assert row.trained_tokens == sum(mask[1:])


@settings(deadline=None, max_examples=60)
@given(
    turns=st.lists(
        st.tuples(st.sampled_from(["user", "assistant"]), st.text("ab <|>\n", min_size=1)),
        min_size=1,
        max_size=5,
    )
)
def test_more_policy_never_trains_less(tokenizer, turns):
    messages = chat(*turns, ("assistant", "end"))
    row = normalize({"messages": [m for m in messages if m["content"].strip()]})
    some = encode(tokenizer, row).mask
    more = encode(tokenizer, row, MaskPolicy(train_on_inputs=True)).mask
    assert all(b or not a for a, b in zip(some, more, strict=True))


def test_an_error_names_the_row(tokenizer):
    good = normalize({"text": "fine"})
    bad = normalize({"input_ids": [10**6], "labels": [10**6]})
    with pytest.raises(UserError, match=r"^train\.jsonl, row 3: a row holds the token 1000000"):
        list(encode_many(tokenizer, [good, good, bad], name="train.jsonl"))
