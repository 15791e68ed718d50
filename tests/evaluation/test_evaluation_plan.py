"""An evaluation plan: what it holds and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation.arguments import normal_gen_kwargs
from ft_assets.evaluation.plan import EvaluationPlan
from resources.errors import UserError

VALID: dict[str, Any] = {
    "models": [{"name": "base", "path": "/m/base"}, {"name": "tuned", "path": "/m/tuned"}],
    "held_out": "/d/held_out.jsonl",
    "tasks": ["arc_easy"],
    "output_dir": "/out",
}


def test_a_plan_survives_writing_and_reading(tmp_path: Path) -> None:
    plan = EvaluationPlan.model_validate(
        {**VALID, "gen_kwargs": {"max_gen_toks": 5}, "model_args": {"dtype": "bfloat16"}}
    )
    plan.write(tmp_path / "plan.json")
    assert EvaluationPlan.read(tmp_path / "plan.json") == plan


def test_the_limit_minus_one_means_all_documents() -> None:
    assert EvaluationPlan.model_validate(VALID).documents is None
    assert EvaluationPlan.model_validate({**VALID, "limit": 3}).documents == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"limit": 0}, "limit must be -1 (all documents) or a number from 1 up, not 0"),
        ({"limit": -2}, "not -2"),
        ({"batch": "0"}, "batch must be 'auto' or a number from 1 up: '0'"),
        ({"batch": "many"}, "'many'"),
        ({"batch": "auto:4"}, "'auto:4'"),
        ({"tasks": [], "held_out": None}, "nothing to evaluate"),
        ({"tasks": ["a", "b", "a"]}, "the task 'a' is named twice"),
        ({"tasks": ["held_out"]}, "'held_out' is taken"),
        ({"models": [{"name": "m", "path": "x"}] * 2}, "the model 'm' is named twice"),
        ({"models": [{"name": "../m", "path": "x"}]}, "names a folder"),
        ({"tasks": [], "gen_kwargs": {"max_gen_toks": 3}}, "has no effect without tasks"),
        ({"gen_kwargs": {"temprature": 1.0}}, "did you mean 'temperature'?"),
        ({"gen_kwargs": {"max_length": 9}}, "unknown key 'max_length'"),
        ({"gen_kwargs": {"max_gen_toks": 0}}, "from 1 up, not 0"),
        ({"gen_kwargs": {"max_gen_toks": 3, "max_tokens": 4}}, "both"),
        ({"gen_kwargs": {"do_sample": False, "temperature": 0.7}}, "no effect without sampling"),
        ({"gen_kwargs": {"do_sample": True}}, "temperature above 0"),
        ({"gen_kwargs": {"temperature": "hot"}}, "must be a number, not 'hot'"),
        ({"model_args": {"max_length": 9}}, "as its own config says: remove it"),
        ({"model_args": {"use_safetensors": False}}, "add 'use_safetensors' to allow_model_args"),
        ({"model_args": {"use_safetensors": "no"}}, "add 'use_safetensors' to allow_model_args"),
        ({"model_args": {"atn_implementation": "sdpa"}}, "did you mean 'attn_implementation'?"),
        ({"model_args": {"gpu_memory_utilization": 0.8}, "backend": "hf"}, "it is vLLM's"),
    ],
)
def test_what_can_never_work_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        EvaluationPlan.model_validate({**VALID, **fields})
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["pretrained", "trust_remote_code", "tokenizer", "peft", "delta", "gguf_file"]
)
def test_model_args_do_not_choose_the_model_or_run_its_code(name: str) -> None:
    with pytest.raises(UserError, match=f"may not set '{name}'"):
        EvaluationPlan.model_validate({**VALID, "model_args": {name: "x"}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"models": []}', "models: List should have at least 1 item"),
        ('{"limits": 3, "output_dir": "x", "models": [{"name": "a", "path": "b"}]}', "limits"),
        ("{", "Invalid JSON"),
    ],
)
def test_a_file_that_holds_no_plan_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        EvaluationPlan.read(path)
    assert str(path) in str(refusal.value)
    assert said in str(refusal.value)


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        EvaluationPlan.read(tmp_path / "none.json")


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens", "max_tokens"])
def test_the_length_of_an_answer_gets_the_name_that_wins(name: str) -> None:
    assert normal_gen_kwargs({name: 7}) == {"max_gen_toks": 7}


def test_a_temperature_brings_the_sampling_that_it_needs() -> None:
    assert normal_gen_kwargs({"temperature": 1}) == {"temperature": 1.0, "do_sample": True}
    assert normal_gen_kwargs({"temperature": 0}) == {"temperature": 0.0, "do_sample": False}
