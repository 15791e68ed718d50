"""The first issue's promise, for real: `ft demo` makes a real model better on rows it never saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # the fixture trains

LEAST_FALL = 0.30
NEARLY_EQUAL = 0.8


def ft(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FT_", "DAGSTER_"))}
    return subprocess.run(
        [Path(sys.executable).parent / "ft", *arguments],
        env={**environment, "FT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home: Path) -> dict:
    finished = ft(home, "demo", "--json")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def rows(path: str) -> list[str]:
    return [
        " ".join(turn["content"] for turn in json.loads(line)["messages"])
        for line in Path(path).read_text().splitlines()
    ]


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def test_the_held_out_loss_falls_by_at_least_thirty_percent(result):
    assert result["tuned_loss"] <= (1 - LEAST_FALL) * result["base_loss"]
    assert result["eval_rows"] == len(rows(result["eval_path"]))
    assert result["train_rows"] == len(rows(result["train_path"]))


def test_no_held_out_row_equals_or_nearly_equals_a_training_row(result):
    held_out = [shingles(text) for text in rows(result["eval_path"])]
    trained = [shingles(text) for text in rows(result["train_path"])]
    nearest = max(len(a & b) / len(a | b) for a, b in product(held_out, trained))
    assert nearest < NEARLY_EQUAL


def test_the_model_and_its_base_are_normal_folders_with_safetensors(result):
    for key in ("model_path", "base_model_path"):
        names = {path.name for path in Path(result[key]).iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
        assert not any(name.endswith((".bin", ".pt")) for name in names)


def test_the_tuned_model_answers_and_stops(result):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(result["model_path"])
    model = AutoModelForCausalLM.from_pretrained(result["model_path"])
    question = [{"role": "user", "content": "What does `os.getcwd` do in Python?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        answer = model.generate(**prompt, max_new_tokens=80, do_sample=False)
    assert answer[0, -1] == tokenizer.eos_token_id
    assert prompt["input_ids"].shape[1] + 3 < answer.shape[1]


def test_it_is_registered_and_the_registry_shows_it(home, result):
    shown = json.loads(ft(home, "registry", "show", result["model_name"], "--json").stdout)
    assert (shown["version"], shown["stage"]) == (result["version"], "champion")
    assert shown["properties"]["run_id"] == result["run_id"]


def test_a_second_run_trains_nothing_and_says_so(home, result):
    again = json.loads(ft(home, "demo", "--json").stdout)
    assert again["made"] == []
    assert "finetuned_model" in again["up_to_date"]
    assert (again["version"], again["tuned_loss"]) == (result["version"], result["tuned_loss"])
