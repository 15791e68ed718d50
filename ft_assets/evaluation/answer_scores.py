"""How near a generated answer comes to the reference: exact match, ROUGE-L and chrF, each 0 to 1.

Pure functions on text. What is compared is what the user is told: reasoning is cut from both
sides, and tool calls are compared as canonical JSON, in whatever tags a model wraps them.
"""

# sacrebleu is typed in part only.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import functools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

METRICS = ("exact_match", "rouge_l", "chrf")

_THINK, _THOUGHT = "<think>", "</think>"
_REASONING = re.compile(r"<think>.*?</think>", re.DOTALL)
# Of the templates of Qwen and Hermes, Mistral, Llama 3.
_CALL_TAGS = re.compile(r"</?tool_calls?>|\[/?TOOL_CALLS\]|<\|python_tag\|>|```(?:json)?")
# Scripts without spaces between words count by character: Japanese, Chinese, Korean, Thai.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_JSON = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class AnswerMetrics:
    """How near one answer comes to its reference; 1 is equal, 0 has nothing in common."""

    exact_match: float
    """1 where both are equal but for white space."""
    rouge_l: float
    """ROUGE-L, F-measure, over lower-cased words."""
    chrf: float
    """chrF: character n-grams up to 6, recall counting twice."""


def score_answer(answer: str, reference: str) -> AnswerMetrics:
    """Compare two texts. An empty answer scores 0, and equal texts score 1, whatever the script."""
    said, right = " ".join(answer.split()), " ".join(reference.split())
    if not said or not right:
        return AnswerMetrics(0.0, 0.0, 0.0)
    if said == right:
        return AnswerMetrics(1.0, 1.0, 1.0)
    return AnswerMetrics(0.0, _rouge_l(said, right), _chrf(said, right))


def without_reasoning(text: str, *, opened: bool = False) -> str:
    """What is left to tell the user; nothing when the reasoning does not end.

    Args:
        text: the answer, or a reference.
        opened: whether the prompt has opened the reasoning already, as some templates do.
    """
    if opened and _THOUGHT not in text:
        return ""
    if opened or (_THOUGHT in text and _THINK not in text):
        text = text.split(_THOUGHT, 1)[1]
    return _REASONING.sub("", text).split(_THINK, 1)[0].strip()


def with_canonical_calls(text: str) -> str:
    """The text with its tool calls, found as JSON, behind the words and in one spelling."""
    calls: list[str] = []
    words: list[str] = []
    cursor = 0
    for start, end, value in _json_values(text):
        found = [_call(item) for item in (value if isinstance(value, list) else [value])]
        if found and None not in found:
            calls += [call for call in found if call is not None]
            words.append(text[cursor:start])
            cursor = end
    words.append(text[cursor:])
    return said("".join(words) if not calls else _CALL_TAGS.sub("", "".join(words)), calls)


def said(content: str, calls: Sequence[str]) -> str:
    """Words and calls of one turn, as they are compared."""
    return "\n".join(part for part in (content.strip(), *calls) if part)


def canonical_call(call: Any) -> str:
    """A tool call in OpenAI's form as canonical JSON: name and arguments, keys sorted."""
    return _call(call) or _written(call)


def _call(value: Any) -> str | None:
    """The canonical text of a tool call in any of the usual forms; None for other values."""
    if not isinstance(value, dict):
        return None
    call = cast("dict[str, Any]", value)
    inner = call.get("function", call)
    if not isinstance(inner, dict):
        return None
    function = cast("dict[str, Any]", inner)
    arguments = function.get("arguments", function.get("parameters"))
    if not isinstance(function.get("name"), str) or arguments is None:
        return None
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError):  # else compared as the text it is
            arguments = json.loads(arguments)
    return _written({"arguments": arguments, "name": function["name"]})


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _json_values(text: str) -> Iterator[tuple[int, int, Any]]:
    """Objects and lists of JSON in a text: start, end and value, none inside another."""
    cursor = 0
    for match in re.finditer(r"[{\[]", text):
        if match.start() < cursor:
            continue
        try:
            value, cursor = _JSON.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        yield match.start(), cursor, value


@functools.cache
def _chrf_metric() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L as rouge_score has it (a test compares them), without the seconds that it loads for.

    And over words of any script: its tokenizer knows ASCII alone.
    """
    from rapidfuzz.distance import LCSseq

    said, right = _WORD.findall(answer.lower()), _WORD.findall(reference.lower())
    return 2 * LCSseq.similarity(said, right) / (len(said) + len(right) or 1)


def _chrf(answer: str, reference: str) -> float:
    return float(_chrf_metric().sentence_score(answer, [reference]).score) / 100
