"""How near an answer comes to its reference, whatever its script, reasoning and tool calls."""

from __future__ import annotations

from typing import Any

import pytest

from ft_assets.evaluation.answer_scores import (
    canonical_call,
    score_answer,
    with_canonical_calls,
    without_reasoning,
)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("At nine.", "At nine."),
        ("  At\n nine. ", "At nine."),
        ("✓", "✓"),
        ("九時です。", "九時です。"),
    ],
)
def test_equal_texts_score_one_in_every_script(answer: str, reference: str) -> None:
    metrics = score_answer(answer, reference)
    assert (metrics.exact_match, metrics.rouge_l, metrics.chrf) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("answer", "reference"), [("", "At nine."), (" \n", "At nine.")])
def test_an_empty_answer_scores_nothing(answer: str, reference: str) -> None:
    metrics = score_answer(answer, reference)
    assert (metrics.exact_match, metrics.rouge_l, metrics.chrf) == (0.0, 0.0, 0.0)


def test_a_partly_right_answer_lies_between() -> None:
    metrics = score_answer("The library opens at ten.", "The library opens at nine.")
    assert metrics.exact_match == 0.0
    assert metrics.rouge_l == pytest.approx(0.8)  # 4 of 5 words, in order, on both sides
    assert 0.6 < metrics.chrf < 1.0


def test_words_are_found_outside_ascii_too() -> None:
    assert score_answer("größe zwei meter", "Größe zwei Meter!").rouge_l == 1.0
    assert 0.0 < score_answer("九時半です", "九時です").rouge_l < 1.0


@pytest.mark.parametrize(
    ("text", "opened", "told"),
    [
        ("<think>nine, I think</think>At nine.", False, "At nine."),
        ("nine, I think</think>\n\nAt nine.", True, "At nine."),
        ("nine, I think</think>\n\nAt nine.", False, "At nine."),
        ("<think>nine, or was it ten", False, ""),
        ("nine, or was it ten", True, ""),
        ("At nine.", False, "At nine."),
        ("<think>a</think>At <think>b</think>nine.", False, "At nine."),
    ],
)
def test_reasoning_is_no_part_of_the_answer(text: str, opened: bool, told: str) -> None:
    assert without_reasoning(text, opened=opened) == told


CALL = {"type": "function", "function": {"name": "open", "arguments": {"hour": 9, "day": "Mo"}}}
WRITTEN = '{"arguments":{"day":"Mo","hour":9},"name":"open"}'


@pytest.mark.parametrize(
    "said",
    [
        '<tool_call>\n{"name": "open", "arguments": {"hour": 9, "day": "Mo"}}\n</tool_call>',
        '{"name": "open", "parameters": {"day": "Mo", "hour": 9}}',
        '[TOOL_CALLS] [{"name": "open", "arguments": {"day": "Mo", "hour": 9}}]',
        '```json\n{"name": "open", "arguments": "{\\"day\\": \\"Mo\\", \\"hour\\": 9}"}\n```',
    ],
)
def test_a_tool_call_is_the_same_in_every_template(said: str) -> None:
    assert canonical_call(CALL) == WRITTEN
    assert with_canonical_calls(said) == WRITTEN


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('Let me see. <tool_call>{"name": "f", "arguments": {}}</tool_call>', "Let me see."),
        ('{"name": "f", "arguments": {}}{"name": "g", "arguments": {}}', '"name":"g"'),
    ],
)
def test_words_and_several_calls_are_all_kept(said: str, kept: str) -> None:
    assert kept in with_canonical_calls(said)
    assert '{"arguments":{},"name":"f"}' in with_canonical_calls(said)


@pytest.mark.parametrize("said", ["{broken", '{"a": 1}', "a list [1, 2] in a text", "[" * 5000])
def test_text_that_calls_nothing_stays(said: str) -> None:
    assert with_canonical_calls(said) == said


def test_a_call_in_an_unknown_form_is_compared_as_it_is() -> None:
    odd: dict[str, Any] = {"b": 1, "a": [2]}
    assert canonical_call(odd) == '{"a":[2],"b":1}'


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("the cat sat on the mat", "a cat was on a mat"),
        ("Return True, if it IS a directory.", "Return True if this archive member is a directory"),
        ("one two", "three four"),
        ("a b a b a", "b a b"),
    ],
)
def test_rouge_l_is_that_of_rouge_score(answer, reference):
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert score_answer(answer, reference).rouge_l == pytest.approx(theirs)
