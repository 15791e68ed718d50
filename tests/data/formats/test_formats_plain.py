"""Rows without a chat template: segments, raw text, tokens."""

import pytest

from ft_assets.data.formats import RowError, RowFormat, normalize
from ft_assets.data.shapes import Segment, Segments, Text, Tokens

ASK, ANSWER = {"label": False, "text": "<s>Q: "}, {"label": True, "text": "A</s>"}


@pytest.mark.parametrize("name", ["auto", "input_output"])
def test_segments_are_kept_as_they_are(name):
    made = normalize({"segments": [ASK, ANSWER], "id": 1}, RowFormat(format=name))
    assert made == Segments([Segment(False, "<s>Q: "), Segment(True, "A</s>")])


def test_the_label_of_a_segment_may_be_a_number():
    assert normalize({"segments": [{"label": 1, "text": "a"}]}) == Segments([Segment(True, "a")])


@pytest.mark.parametrize("name", ["auto", "completion"])
def test_raw_text_is_kept_as_it_is(name):
    assert normalize({"text": " a\n", "url": "x"}, RowFormat(format=name)) == Text(" a\n")


@pytest.mark.parametrize("name", ["auto", "tokens"])
def test_tokens_pass_through(name):
    row = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "attention_mask": [1, 1, 1]}
    assert normalize(row, RowFormat(format=name)) == Tokens([1, 2, 3], [-100, 2, 3])


@pytest.mark.parametrize("labels", [{}, {"labels": None}])
def test_without_labels_every_token_is_trained(labels):
    assert normalize({"input_ids": [1, 2], **labels}) == Tokens([1, 2], [1, 2])


def test_of_several_formats_in_a_row_the_most_special_is_read():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    everything = {
        "input_ids": [1],
        "messages": turns,
        "segments": [ANSWER],
        "question": "a",
        "answer": "b",
        "text": "ab",
    }
    found = []
    for key in ("input_ids", "messages", "segments", "question", "text"):
        found.append(type(normalize(everything)).__name__)
        everything[key] = None
    assert found == ["Tokens", "Chat", "Segments", "Chat", "Text"]


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ({"segments": "x"}, "not_a_list", "'segments' is not a list but a str"),
        ({"segments": []}, "empty_list", "'segments' is an empty list"),
        ({"segments": ["x"]}, "not_a_segment", "segment 1 of 'segments' is not an object"),
        ({"segments": [{**ANSWER, "x": 1}]}, "unsupported_key", "the key 'x' is not known"),
        ({"segments": [{"label": True}]}, "content_not_text", "'text' is missing"),
        ({"segments": [{"text": "a"}]}, "flag_not_bool", "'label' is 'None'"),
        ({"segments": [{"label": "yes", "text": "a"}]}, "flag_not_bool", "'label' is 'yes'"),
        ({"segments": [ASK]}, "nothing_trained", "no segment has the label true"),
        ({"segments": [{"label": True, "text": ""}]}, "nothing_trained", "no segment"),
        ({"segments": [{"label": True, "text": "\x00"}]}, "nul_character", "holds a NUL"),
        ({"text": 3}, "content_not_text", "'text' is not a string but a int"),
        ({"text": " \n"}, "empty_text", "'text' is empty"),
        ({"text": "a\x00"}, "nul_character", "'text' holds a NUL character"),
        ({"input_ids": []}, "empty_list", "'input_ids' is an empty list"),
        ({"input_ids": "1 2"}, "not_a_list", "'input_ids' is not a list but a str"),
        ({"input_ids": [1, 2.0]}, "not_a_token", "'input_ids' holds '2.0'"),
        ({"input_ids": [1, True]}, "not_a_token", "'input_ids' holds 'True'"),
        ({"input_ids": [1, None]}, "not_a_token", "'input_ids' holds 'None'"),
        ({"input_ids": [1, 2**31]}, "not_a_token", "'input_ids' holds '2147483648'"),
        ({"input_ids": [1, -1]}, "not_a_token", "'input_ids' holds -1"),
        ({"input_ids": [1, 2], "labels": [1]}, "labels_differ", "1 entries and 'input_ids' 2"),
        (
            {"input_ids": [1, 2], "labels": [1, 5]},
            "label_is_not_the_token",
            "'labels' holds 5 at place 2, where 'input_ids' holds 2",
        ),
        ({"input_ids": [1], "labels": [-100]}, "nothing_trained", "all labels are -100"),
    ],
)
def test_what_is_not_valid_is_refused_with_the_reason(row, kind, reason):
    with pytest.raises(RowError) as error:
        normalize(row)
    assert error.value.kind == kind
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("input_output", "not_a_list"),
        ("completion", "content_not_text"),
        ("tokens", "not_a_list"),
        ("instruction", "no_instruction"),
    ],
)
def test_a_named_format_refuses_rows_of_another(name, kind):
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(RowError) as error:
        normalize(row, RowFormat(format=name))
    assert error.value.kind == kind
