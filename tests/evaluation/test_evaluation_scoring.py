"""The likelihood of assistant turns."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ft_assets.evaluation import scoring
from ft_assets.evaluation.held_out import HeldOutRows
from ft_assets.evaluation.models import check_model, load
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.scores import RowScore
from ft_assets.evaluation.scoring import ChatModel, score_rows
from resources.errors import UserError
from tests.support.tiny_model import CHATML, MAX_LENGTH

WORDS = "The library opens at nine and closes at six in the evening. "
TURNS = [("user", "Go on"), ("assistant", WORDS), ("user", "More"), ("assistant", WORDS * 30)]


def opened(plan: EvaluationPlan) -> tuple[ChatModel, HeldOutRows]:
    rows = HeldOutRows(Path(str(plan.held_out)))
    return load(check_model(plan.models[0], plan, rows), plan), rows


def scored(lm: ChatModel, rows: HeldOutRows, order: list[int] | None = None) -> list[RowScore]:
    return score_rows(lm, [(rows, n) for n in (order or range(len(rows)))])


def write(path: Path, chats: list[list[tuple[str, str]]]) -> Path:
    lines = [
        json.dumps({"id": f"r{n}", "messages": [{"role": r, "content": c} for r, c in turns]})
        for n, turns in enumerate(chats)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def one_by_one(folder: Path, messages: list[dict[str, str]]) -> list[tuple[float, int, int]]:
    """Nats, tokens and hits of each assistant turn, from ChatML by hand and one plain forward."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    for message in messages:
        ids += tokenizer(f"<|im_start|>{message['role']}\n").input_ids
        content = tokenizer(message["content"] + "<|im_end|>").input_ids
        if message["role"] == "assistant":
            spans.append((len(ids), len(ids) + len(content)))
        ids += content + tokenizer("\n").input_ids
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [
        (
            -math.fsum(float(logprobs[t - 1, ids[t]]) for t in range(*span)),
            span[1] - span[0],
            sum(int(logprobs[t - 1].argmax()) == ids[t] for t in range(*span)),
        )
        for span in spans
    ]


def assert_same(first: list[RowScore], second: list[RowScore]) -> None:
    for one, other in zip(first, second, strict=True):
        assert dataclasses.replace(one, turns=()) == dataclasses.replace(other, turns=())
        for a, b in zip(one.turns, other.turns, strict=True):
            assert (a.tokens, a.correct) == (b.tokens, b.correct)
            assert a.nll == pytest.approx(b.nll, abs=1e-4)


def test_scores_equal_a_plain_forward_per_row(
    make_plan: Callable[..., EvaluationPlan], base_model: Path, held_out: Path
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out)))
    scores = scored(lm, rows)
    assert [len(score.turns) for score in scores] == [1, 3, 1, 1]
    for number, score in enumerate(scores):
        expected = one_by_one(base_model, [m.for_template() for m in rows[number].content.messages])
        for turn, (nll, tokens, correct) in zip(score.turns, expected, strict=True):
            assert turn.nll == pytest.approx(nll, abs=1e-4)
            assert (turn.tokens, turn.correct) == (tokens, correct)


def test_a_model_that_always_ends_the_turn_is_right_once_per_turn(
    make_plan: Callable[..., EvaluationPlan], held_out: Path
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out)))
    end = lm.tokenizer.convert_tokens_to_ids("<|im_end|>")

    def only_end(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        logits[..., end] = 1000.0
        return logits

    lm.model.lm_head.register_forward_hook(only_end)
    assert [score.correct for score in scored(lm, rows)] == [1, 3, 1, 1]


@pytest.mark.parametrize("batch", ["1", "3", "auto"])
def test_neither_batch_nor_order_matters(
    make_plan: Callable[..., EvaluationPlan], held_out: Path, batch: str
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out), batch="2"))
    expected = scored(lm, rows)
    lm.chat_batch = batch
    order = [2, 0, 3, 1]
    assert_same(scored(lm, rows, order), [expected[n] for n in order])


def test_windows_and_chunks_do_not_matter(
    make_plan: Callable[..., EvaluationPlan], held_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out)))
    expected = scored(lm, rows)
    monkeypatch.setattr(scoring, "WINDOW", 2)
    monkeypatch.setattr(scoring, "_POSITIONS", 5)
    monkeypatch.setattr(scoring, "AUTO_TOKENS", {"cpu": 50})
    assert_same(scored(lm, rows), expected)


def test_a_model_that_cannot_choose_positions_gives_the_same_scores(
    make_plan: Callable[..., EvaluationPlan], held_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out)))
    expected = scored(lm, rows)
    whole = lm.model.forward

    def forward(input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        return whole(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    monkeypatch.setattr(lm.model, "forward", forward)
    assert_same(scored(lm, rows), expected)


def test_only_scored_positions_get_logits(
    make_plan: Callable[..., EvaluationPlan], held_out: Path
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out), batch="1"))
    shapes: list[int] = []
    lm.model.lm_head.register_forward_hook(lambda _, __, output: shapes.append(output.shape[1]))
    scores = scored(lm, rows)
    assert sorted(shapes) == sorted(score.tokens for score in scores)


def test_a_batch_that_does_not_fit_on_the_device_is_halved(
    make_plan: Callable[..., EvaluationPlan], held_out: Path
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out), batch="4"))
    expected = scored(lm, rows)
    sizes: list[int] = []

    def full(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("full")

    lm.model.register_forward_pre_hook(full, with_kwargs=True)
    assert_same(scored(lm, rows), expected)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_a_long_row_is_scored_up_to_its_last_complete_turn_and_reported(
    make_plan: Callable[..., EvaluationPlan], tmp_path: Path
) -> None:
    path = write(tmp_path / "long.jsonl", [TURNS, TURNS[:2]])
    lm, rows = opened(make_plan(held_out=str(path)))
    long, short = scored(lm, rows)
    assert long.length > MAX_LENGTH
    assert (len(long.turns), long.left_out, long.skipped) == (1, 1, None)
    assert long.turns[0].nll == pytest.approx(short.turns[0].nll, abs=1e-4)
    assert (len(short.turns), short.left_out) == (1, 0)


def test_a_row_of_which_no_turn_fits_is_skipped_with_the_reason(
    make_plan: Callable[..., EvaluationPlan], tmp_path: Path
) -> None:
    path = write(tmp_path / "long.jsonl", [TURNS, TURNS[:2]])
    lm, rows = opened(make_plan(held_out=str(path), max_length=20))
    long, _ = scored(lm, rows)
    assert (long.turns, long.left_out) == ((), 2)
    assert long.skipped == "no assistant turn ends within 20 tokens"


def test_a_turn_that_ends_exactly_at_the_limit_fits(
    make_plan: Callable[..., EvaluationPlan], tmp_path: Path
) -> None:
    path = write(tmp_path / "rows.jsonl", [TURNS[:2]])
    lm, rows = opened(make_plan(held_out=str(path)))
    end = scored(lm, rows)[0].length - 1  # the template ends a turn with a line break
    for limit, skipped in ((end, False), (end - 1, True)):
        lm, rows = opened(make_plan(held_out=str(path), max_length=limit))
        assert (scored(lm, rows)[0].skipped is not None) is skipped


def test_a_template_that_refuses_a_row_names_it(
    make_plan: Callable[..., EvaluationPlan], held_out: Path
) -> None:
    lm, rows = opened(make_plan(held_out=str(held_out)))
    lm.tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        + CHATML
    )
    with pytest.raises(UserError, match=r"row 2 \(id 'r1'\): .*no system turn"):
        scored(lm, rows)


def test_a_cpu_scores_in_32_bits_unless_told_otherwise(
    make_plan: Callable[..., EvaluationPlan], held_out: Path
) -> None:
    lm, _ = opened(make_plan(held_out=str(held_out)))
    assert lm.model.dtype == torch.float32
    lm, _ = opened(make_plan(held_out=str(held_out), model_args={"dtype": "bfloat16"}))
    assert lm.model.dtype == torch.bfloat16
