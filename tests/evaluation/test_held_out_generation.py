"""The worker's answers to held-out rows: which are asked, how they are stopped and scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation.generation import generate, held_out_answers, stop_tokens
from ft_assets.evaluation.held_out import HeldOutRows
from ft_assets.evaluation.models import check_model, load
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.samples import read_samples

MakePlan = Callable[..., EvaluationPlan]
Evaluate = Callable[[EvaluationPlan], dict[str, Any]]


@pytest.fixture(scope="module")
def lm(base_model: Path) -> Any:
    plan = EvaluationPlan.model_validate(
        {
            "models": [{"name": "base", "path": str(base_model)}],
            "held_out": "unused",
            "output_dir": "",
        }
    )
    return load(check_model(plan.models[0], plan, None), plan)


def rows_of(path: Path, *conversations: list[tuple[str, str]]) -> HeldOutRows:
    rows = [
        {"id": f"r{n}", "messages": [{"role": r, "content": c} for r, c in turns]}
        for n, turns in enumerate(conversations)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return HeldOutRows(path)


def ask(question: str) -> list[tuple[str, str]]:
    return [("user", question), ("assistant", "A fairly long reference for the answer")]


def test_every_model_answers_the_same_rows_and_samples_add_up(
    make_plan: MakePlan, evaluate: Evaluate, base_model: Path, tuned_model: Path, held_out: Path
) -> None:
    models = [
        {"name": "base", "path": str(base_model)},
        {"name": "tuned", "path": str(tuned_model)},
    ]
    plan = make_plan(
        models=models, held_out=str(held_out), held_out_generations=3, max_new_tokens=8
    )
    results = evaluate(plan)
    answered: dict[str, list[str]] = {}
    for name in ("base", "tuned"):
        samples = list(read_samples(Path(plan.output_dir) / "samples" / name / "held_out.jsonl"))
        given = [sample for sample in samples if sample.metrics]
        answered[name] = [sample.id for sample in given]
        summary = results["models"][name]["held_out"]
        assert summary["generated"] == 3
        assert summary["generation_skipped"] == {}
        for metric in ("exact_match", "rouge_l", "chrf"):
            values = [sample.metrics[metric] or 0.0 for sample in given]
            assert summary[metric] == pytest.approx(sum(values) / 3)
            assert summary[f"{metric}_stderr"] is not None
        assert all(sample.answer is not None and sample.reference for sample in given)
    assert answered["base"] == answered["tuned"]


def test_an_answer_that_is_in_the_cache_is_not_generated_again(
    make_plan: MakePlan,
    evaluate: Evaluate,
    base_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows_of(tmp_path / "rows.jsonl", ask("When?"), ask("Why?"), ask("Where is the library?"))
    plan = make_plan(
        models=[{"name": "base", "path": str(base_model), "digest": "sha256:" + "a" * 64}],
        held_out=str(tmp_path / "rows.jsonl"),
        held_out_generations=2,
        max_new_tokens=8,
        cache=str(tmp_path / "cache"),
    )
    first = evaluate(plan)
    assert first["model_digests"] == {"base": "sha256:" + "a" * 64}

    def never(_: Any, requests: Any) -> list[str]:
        assert not requests
        return []

    monkeypatch.setattr("ft_assets.evaluation.chat_lm.generate", never)
    assert evaluate(plan)["models"] == first["models"]


def test_rows_that_a_model_was_trained_on_are_left_out_and_counted(
    make_plan: MakePlan, evaluate: Evaluate, held_out: Path, tmp_path: Path
) -> None:
    (tmp_path / "trained").write_text("r0\nr2\n")
    plan = make_plan(
        held_out=str(held_out),
        leave_out=str(tmp_path / "trained"),
        held_out_generations=9,
        max_new_tokens=4,
    )
    results = evaluate(plan)
    summary = results["models"]["base"]["held_out"]
    assert (summary["rows"], summary["left_out_rows"], summary["generated"]) == (2, 2, 2)
    samples = read_samples(Path(plan.output_dir) / "samples" / "base" / "held_out.jsonl")
    assert [sample.id for sample in samples] == ["r1", "r3"]
    assert results["documents"] == {"held_out": 2}


def test_an_answer_does_not_depend_on_its_batch(lm: Any, tmp_path: Path) -> None:
    questions = ["When?", "How do I renew a book that somebody else is waiting for?", "Why now?"]
    rows = rows_of(tmp_path / "rows.jsonl", *map(ask, questions))
    together = held_out_answers(lm, rows, [0, 1, 2], 12)
    alone = [held_out_answers(lm, rows, [number], 12)[0] for number in range(3)]
    assert together == alone
    assert any(answer.text for answer in together)


def test_the_answer_is_the_greedy_continuation_of_the_rendered_prompt(
    lm: Any, tmp_path: Path
) -> None:
    import torch

    rows = rows_of(tmp_path / "rows.jsonl", ask("When?"))
    prompt = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": "When?"}], tokenize=False, add_generation_prompt=True
    )
    ids = lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    stops, said = stop_tokens(lm), list[int]()
    with torch.inference_mode():
        for _ in range(6):
            token = int(lm.model(torch.tensor([ids + said])).logits[0, -1].argmax())
            if token in stops:
                break
            said.append(token)
    assert held_out_answers(lm, rows, [0], 6)[0].text == lm.tokenizer.decode(said).strip()


def test_a_prompt_that_fills_the_model_is_skipped_and_said(
    make_plan: MakePlan, evaluate: Evaluate, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    long = [("user", "Hi"), ("assistant", "Hello"), ("user", "word " * 300), ("assistant", "Yes")]
    rows_of(path, ask("When?"), long)
    plan = make_plan(held_out=str(path), held_out_generations=2, max_new_tokens=4)
    summary = evaluate(plan)["models"]["base"]["held_out"]
    assert (summary["rows"], summary["generated"]) == (2, 1)
    assert summary["generation_skipped"] == {"the prompt fills the model's 256 tokens": 1}


def test_an_answer_stops_at_the_models_length_and_beyond_twice_the_reference(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def watched(model: Any, requests: Any) -> list[str]:
        asked.extend(request.args[1]["max_gen_toks"] for request in requests)
        return generate(model, requests)

    monkeypatch.setattr("ft_assets.evaluation.chat_lm.generate", watched)
    tight = [("user", "At nine. " * 45), ("assistant", "A longer reference " * 20)]
    short = [("user", "When?"), ("assistant", "x")]
    rows = rows_of(tmp_path / "rows.jsonl", ask("When?"), tight, short)
    held_out_answers(lm, rows, [0, 1, 2], 20)
    prompt = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": tight[0][1]}], tokenize=False, add_generation_prompt=True
    )
    left = 256 - len(lm.tokenizer(prompt)["input_ids"])
    assert 0 < left < 20
    assert asked == [20, left, 18]


def test_an_answer_ends_at_the_end_of_turn_of_a_template_that_is_not_the_models_own(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(tmp_path / "rows.jsonl", ask("When?"))
    plain = held_out_answers(lm, rows, [0], 12)[0].text
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", 0)
    own = lm.tokenizer.eos_token
    lm.tokenizer.eos_token = "<|endoftext|>"
    try:
        assert lm.tokenizer.convert_tokens_to_ids(own) not in stop_tokens(lm)
        assert held_out_answers(lm, rows, [0], 12)[0].text == plain
    finally:
        lm.tokenizer.eos_token = own


def test_the_models_own_sampling_and_penalties_do_not_count(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(tmp_path / "rows.jsonl", ask("When?"))
    plain = held_out_answers(lm, rows, [0], 12)
    for name, value in {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0}.items():
        monkeypatch.setattr(lm.model.generation_config, name, value)
    assert held_out_answers(lm, rows, [0], 12) == plain


def test_tools_are_shown_to_the_template(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}" + str(
        lm.tokenizer.chat_template
    )
    monkeypatch.setattr(lm.tokenizer, "chat_template", template)
    row = {
        "id": "r0",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        "tools": [{"type": "function", "function": {"name": "clock", "parameters": {}}}],
    }
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    prompts: list[str] = []

    def watched(_: Any, requests: Any) -> list[str]:
        prompts.extend(request.args[0] for request in requests)
        return ['<tool_call>{"name": "clock", "arguments": {"b": 1, "a": 2}}</tool_call>']

    monkeypatch.setattr("ft_assets.evaluation.chat_lm.generate", watched)
    (answer,) = held_out_answers(lm, HeldOutRows(path), [0], 8)
    assert prompts[0].startswith("[clock]<|im_start|>user")
    assert prompts[0].endswith("<|im_start|>assistant\n")
    assert answer.text == '{"arguments":{"a":2,"b":1},"name":"clock"}'


def test_reasoning_that_the_template_opened_is_cut(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thinking = str(lm.tokenizer.chat_template).replace("assistant\\n", "assistant\\n<think>\\n")
    monkeypatch.setattr(lm.tokenizer, "chat_template", thinking + "{# <think> #}")
    rows = rows_of(tmp_path / "rows.jsonl", ask("When?"), ask("Why?"))
    said = iter(["so...</think>At nine.", "so... and on"])
    asked: list[int] = []

    def watched(_: Any, requests: Any) -> list[str]:
        asked.extend(request.args[1]["max_gen_toks"] for request in requests)
        return [next(said) for _ in requests]

    monkeypatch.setattr("ft_assets.evaluation.chat_lm.generate", watched)
    prompt = lm.tokenizer.apply_chat_template(
        [{"role": "user", "content": "When?"}], tokenize=False, add_generation_prompt=True
    )
    answers = [answer.text for answer in held_out_answers(lm, rows, [0, 1], 150)]
    assert answers[0] == "At nine."
    assert asked == [150, 150]  # room for the thought, however short the reference
    if prompt.rstrip().endswith("<think>"):
        assert answers[1] == ""
