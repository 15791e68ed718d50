"""Two tiny models, a held-out split, local lm-eval tasks, and plans over them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.worker import main
from tests.support.tiny_model import make_tiny_model

ROWS: list[list[tuple[str, str]]] = [
    [("user", "Which planet is the largest?"), ("assistant", "Jupiter is, by a wide margin.")],
    [
        ("system", "Answer in few words."),
        ("user", "Does water boil at ninety degrees?"),
        ("assistant", "On a mountain, yes."),
        ("user", "And here?"),
        ("assistant", "No: at one hundred."),
        ("user", "Thank you."),
        ("assistant", "You are welcome."),
    ],
    [("user", "Größe?"), ("assistant", "Zwei Meter — 2 m ✓")],
    [("user", "Hi"), ("assistant", "Hello")],
]


def chat(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def write_rows(path: Path, rows: list[list[tuple[str, str]]]) -> Path:
    lines = [json.dumps({"id": f"r{n}", "messages": chat(turns)}) for n, turns in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "base", seed=0)


@pytest.fixture(scope="session")
def tuned_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tuned", seed=1)


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "held_out.jsonl", ROWS)


@pytest.fixture
def task_folder(tmp_path: Path) -> Path:
    """One multiple-choice task (planets) and one that generates text (echo), on local JSON."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    questions = [
        {"question": f"Question {n}", "choices": ["one", "two", "three"], "answer": n % 3}
        for n in range(5)
    ]
    _jsonl(folder / "planets.jsonl", questions)
    _jsonl(folder / "echo.jsonl", [{"text": f"Say {n}", "answer": str(n)} for n in range(3)])
    (folder / "planets.yaml").write_text(
        f"""\
task: planets
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/planets.jsonl}}
  cache_dir: {tmp_path}/cache
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}:"
doc_to_target: answer
doc_to_choice: choices
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
    )
    (folder / "echo.yaml").write_text(
        f"""\
task: echo
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/echo.jsonl}}
  cache_dir: {tmp_path}/cache
output_type: generate_until
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_target: answer
generation_kwargs: {{until: ["<never>"], max_gen_toks: 40, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
    )
    return folder


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


MakePlan = Callable[..., EvaluationPlan]


@pytest.fixture
def make_plan(tmp_path: Path, base_model: Path) -> MakePlan:
    """A plan for the base model; keyword arguments are the plan's fields."""

    def make(**fields: Any) -> EvaluationPlan:
        models = [{"name": "base", "path": str(base_model)}]
        defaults = {"models": models, "output_dir": str(tmp_path / "out")}
        return EvaluationPlan.model_validate({**defaults, **fields})

    return make


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[[EvaluationPlan], dict[str, Any]]:
    """Run the worker in this process; its results."""

    def run(plan: EvaluationPlan) -> dict[str, Any]:
        plan.write(tmp_path / "plan.json")
        assert main([str(tmp_path / "plan.json")]) == 0
        return json.loads((Path(plan.output_dir) / "results.json").read_text())

    return run


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[EvaluationPlan], str]:
    """Run the worker in this process on a plan that it refuses; the message."""

    def run(plan: EvaluationPlan) -> str:
        plan.write(tmp_path / "plan.json")
        capsys.readouterr()
        assert main([str(tmp_path / "plan.json")]) == 2
        out = Path(plan.output_dir)
        message = json.loads((out / "error.json").read_text())["message"]
        assert capsys.readouterr().err == message + "\n"
        assert not (out / "results.json").exists()
        return message

    return run
