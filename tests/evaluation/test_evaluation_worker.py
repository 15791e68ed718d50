"""The evaluation process, from the plan to the files it leaves."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.samples import read_samples
from ft_assets.evaluation.worker import main
from tests.support.tiny_model import make_tiny_model

MakePlan = Callable[..., EvaluationPlan]
Evaluate = Callable[[EvaluationPlan], dict[str, Any]]
Refused = Callable[[EvaluationPlan], str]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def both(base_model: Path, tuned_model: Path) -> list[dict[str, str]]:
    return [
        {"name": "base", "path": str(base_model)},
        {"name": "tuned", "path": str(tuned_model)},
    ]


def test_base_and_tuned_are_scored_and_compared(
    make_plan: MakePlan, evaluate: Evaluate, both: list[dict[str, str]], held_out: Path
) -> None:
    results = evaluate(make_plan(models=both, held_out=str(held_out)))
    base, tuned = (results["models"][name]["held_out"] for name in ("base", "tuned"))
    assert base["rows"] == tuned["rows"] == 4
    assert base["tokens"] == tuned["tokens"] > 40
    assert base["loss"] != tuned["loss"]
    assert base["perplexity"] == pytest.approx(math.exp(base["loss"]))
    assert results["partial"] is False
    assert results["not_finite"] == []
    assert results["versions"]["lm-eval"] == version("lm-eval")
    libraries = {"lm-eval", "torch", "transformers", "rapidfuzz", "sacrebleu"}
    assert set(results["versions"]) == libraries
    assert set(results["task_versions"]) == {"held_out"}
    assert results["documents"] == {"held_out": 4}
    assert results["backends"] == {name: {"held_out": "hf"} for name in ("base", "tuned")}
    assert all(results["seconds"][name] > 0 for name in ("base", "tuned"))


def test_the_same_model_twice_differs_by_nothing(
    make_plan: MakePlan, evaluate: Evaluate, base_model: Path, held_out: Path
) -> None:
    models = [{"name": name, "path": str(base_model)} for name in ("base", "tuned")]
    results = evaluate(make_plan(models=models, held_out=str(held_out)))
    assert results["models"]["tuned"]["held_out"] == results["models"]["base"]["held_out"]


def test_samples_add_up_to_the_summary(
    make_plan: MakePlan, evaluate: Evaluate, held_out: Path, tmp_path: Path
) -> None:
    results = evaluate(make_plan(held_out=str(held_out)))
    samples = list(read_samples(tmp_path / "out" / "samples" / "base" / "held_out.jsonl"))
    assert [sample.id for sample in samples] == ["r0", "r1", "r2", "r3"]
    summary = results["models"]["base"]["held_out"]
    for name in ("loss", "token_accuracy"):
        above, below = (sum(part) for part in zip(*(s.ratios[name] for s in samples), strict=True))
        assert below == summary["tokens"]
        assert above / below == pytest.approx(summary[name])
    assert samples[1].reference == "You are welcome."
    assert samples[1].prompt is not None
    assert samples[1].prompt.endswith("user: Thank you.")


def test_local_tasks_run_beside_the_held_out_split(
    make_plan: MakePlan, evaluate: Evaluate, held_out: Path, task_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan(
        held_out=str(held_out), tasks=["planets", "echo"], include_path=str(task_folder)
    )
    results = evaluate(plan)
    tasks = results["models"]["base"]["tasks"]
    samples = lines(tmp_path / "out" / "samples" / "base" / "planets.jsonl")
    assert set(tasks) == {"planets", "echo"}
    assert set(tasks["planets"]) == {"acc", "acc_stderr"}
    assert tasks["planets"]["acc"] == pytest.approx(sum(s["metrics"]["acc"] for s in samples) / 5)
    assert tasks["planets"]["acc_stderr"] is not None
    assert results["higher_is_better"] == {
        "planets": {"acc": True},
        "echo": {"exact_match": True},
    }
    assert results["leaves"] == {"planets": ["planets"], "echo": ["echo"]}


@pytest.mark.parametrize("kind", ["group", "tag"])
def test_the_results_say_which_tasks_a_name_of_several_stands_for(
    make_plan: MakePlan, evaluate: Evaluate, task_folder: Path, kind: str
) -> None:
    if kind == "group":
        (task_folder / "general.yaml").write_text("group: general\ntask: [planets, echo]\n")
    else:
        for file in task_folder.glob("*.yaml"):
            file.write_text(f"{file.read_text()}tag: general\n")
    results = evaluate(make_plan(tasks=["general"], include_path=str(task_folder)))
    assert results["leaves"] == {"general": ["echo", "planets"]}
    assert {"echo", "planets"} <= set(results["models"]["base"]["tasks"])


def test_gen_kwargs_reach_the_model(
    make_plan: MakePlan, evaluate: Evaluate, task_folder: Path, tmp_path: Path
) -> None:
    def answers(**fields: Any) -> list[tuple[int, str]]:
        """Per document, the longest answer that the model was asked for, and its answer."""
        evaluate(make_plan(tasks=["echo"], include_path=str(task_folder), **fields))
        samples = lines(tmp_path / "out" / "samples" / "base" / "echo.lm_eval.jsonl")
        return [(s["arguments"][0][1]["max_gen_toks"], s["resps"][0][0]) for s in samples]

    own, overridden = answers(), answers(gen_kwargs={"max_new_tokens": 3})
    assert [length for length, _ in own] == [40, 40, 40]
    assert [length for length, _ in overridden] == [3, 3, 3]
    for (_, long), (_, short) in zip(own, overridden, strict=True):
        assert 0 < len(short) < len(long)


def test_a_limit_marks_the_results_partial(
    make_plan: MakePlan, evaluate: Evaluate, held_out: Path, task_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan(
        held_out=str(held_out), tasks=["planets"], include_path=str(task_folder), limit=2
    )
    results = evaluate(plan)
    assert results["partial"] is True
    assert results["models"]["base"]["held_out"]["rows"] == 2
    assert len(lines(tmp_path / "out" / "samples" / "base" / "planets.jsonl")) == 2


def test_progress_counts_up_to_all_documents(
    make_plan: MakePlan,
    evaluate: Evaluate,
    both: list[dict[str, str]],
    held_out: Path,
    task_folder: Path,
) -> None:
    tasks = {"tasks": ["planets"], "include_path": str(task_folder)}
    plan = make_plan(models=both, held_out=str(held_out), **tasks)
    evaluate(plan)
    progress = lines(Path(plan.output_dir) / "progress.jsonl")
    for name in ("base", "tuned"):
        mine = [line for line in progress if line["model"] == name]
        assert [line["done"] for line in mine] == sorted(line["done"] for line in mine)
        assert mine[0]["message"] == "loading the model"
        assert (mine[-1]["done"], mine[-1]["total"], mine[-1]["message"]) == (9, 9, "done")
    assert set(progress[0]) == {"time", "model", "done", "total", "message"}


def test_without_log_samples_scores_are_kept_and_texts_are_not(
    make_plan: MakePlan, evaluate: Evaluate, held_out: Path, task_folder: Path, tmp_path: Path
) -> None:
    both = {"held_out": str(held_out), "include_path": str(task_folder), "tasks": ["planets"]}
    evaluate(make_plan(**both, held_out_generations=2, max_new_tokens=4, log_samples=False))
    folder = tmp_path / "out" / "samples" / "base"
    assert sorted(path.name for path in folder.iterdir()) == ["held_out.jsonl", "planets.jsonl"]
    for path in folder.iterdir():
        for sample in read_samples(path):
            assert sample.metrics or sample.ratios
            assert (sample.prompt, sample.reference, sample.answer) == (None, None, None)


def test_rows_that_are_cut_or_skipped_are_reported(
    make_plan: MakePlan, evaluate: Evaluate, held_out: Path
) -> None:
    results = evaluate(make_plan(held_out=str(held_out), max_length=90))
    summary = results["models"]["base"]["held_out"]
    assert (summary["rows"], summary["truncated"], summary["skipped"]) == (4, 1, 0)
    results = evaluate(make_plan(held_out=str(held_out), max_length=40))
    summary = results["models"]["base"]["held_out"]
    assert (summary["rows"], summary["truncated"], summary["skipped"]) == (2, 0, 2)
    assert summary["skip_reasons"] == {"no assistant turn ends within 40 tokens": 2}


def test_a_split_of_which_nothing_fits_is_no_result(
    make_plan: MakePlan, held_out: Path, tmp_path: Path
) -> None:
    make_plan(held_out=str(held_out), max_length=2).write(tmp_path / "plan.json")
    assert main([str(tmp_path / "plan.json")]) == 2
    message = json.loads((tmp_path / "out" / "error.json").read_text())["message"]
    assert "could be scored (no assistant turn ends within 2 tokens)" in message
    assert "split the conversations into shorter ones" in message
    assert not (tmp_path / "out" / "results.json").exists()


def test_two_runs_give_the_same_numbers_and_leave_nothing_of_the_first(
    make_plan: MakePlan, evaluate: Evaluate, held_out: Path, task_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan(held_out=str(held_out), tasks=["planets"], include_path=str(task_folder))
    first = evaluate(plan)
    second = evaluate(plan)
    assert first["models"] == second["models"]
    evaluate(make_plan(held_out=str(held_out)))
    assert [path.name for path in (tmp_path / "out" / "samples" / "base").iterdir()] == [
        "held_out.jsonl"
    ]


def test_local_files_make_no_request(
    make_plan: MakePlan,
    evaluate: Evaluate,
    held_out: Path,
    task_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tried.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    evaluate(
        make_plan(held_out=str(held_out), tasks=["planets", "echo"], include_path=str(task_folder))
    )
    assert tried == []


def test_a_missing_chat_template_is_refused(
    make_plan: MakePlan, refused: Refused, held_out: Path, tmp_path: Path
) -> None:
    bare = make_tiny_model(tmp_path / "bare", chat_template=False)
    plan = make_plan(models=[{"name": "base", "path": str(bare)}], held_out=str(held_out))
    message = refused(plan)
    assert f"model base ({bare}): its tokenizer has no chat template" in message
    assert "set training.chat_template" in message


def test_tasks_without_held_out_chats_need_no_chat_template(
    make_plan: MakePlan, evaluate: Evaluate, task_folder: Path, tmp_path: Path
) -> None:
    bare = make_tiny_model(tmp_path / "bare", chat_template=False)
    models = [{"name": "base", "path": str(bare)}]
    results = evaluate(make_plan(models=models, tasks=["planets"], include_path=str(task_folder)))
    assert results["models"]["base"]["held_out"] is None


def test_a_bad_second_model_is_found_before_the_first_is_loaded(
    make_plan: MakePlan, refused: Refused, base_model: Path, held_out: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(base_model, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    models = [
        {"name": "base", "path": str(base_model)},
        {"name": "tuned", "path": str(broken)},
    ]
    message = refused(make_plan(models=models, held_out=str(held_out)))
    assert message.startswith(f"model tuned ({broken}): the folder holds no weights")
    assert not (tmp_path / "out" / "progress.jsonl").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"models": [{"name": "base", "path": "/none"}]}, "there is no such folder"),
        ({"max_length": 5000}, "max_length 5000 is more than the model's 256 tokens"),
        ({"model_args": {"dtype": "float23"}}, "'float23' is no dtype of torch"),
        ({"held_out": "/none.jsonl"}, "cannot read the held-out split /none.jsonl"),
        ({"include_path": "/none", "tasks": ["a"]}, "include_path /none"),
    ],
)
def test_bad_input_ends_with_its_message_alone(
    make_plan: MakePlan, refused: Refused, held_out: Path, fields: dict[str, Any], said: str
) -> None:
    assert said in refused(make_plan(**{"held_out": str(held_out), **fields}))


def test_an_unreadable_plan_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/none/plan.json"]) == 2
    assert "/none/plan.json" in capsys.readouterr().err
    assert main([]) == 2


def test_as_a_process_it_says_its_progress_alone_and_leaves_results(
    make_plan: MakePlan, held_out: Path, task_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan(
        held_out=str(held_out), tasks=["planets", "echo"], include_path=str(task_folder)
    )
    plan.write(tmp_path / "plan.json")
    done = subprocess.run(
        [sys.executable, "-m", "ft_assets.evaluation.worker", str(tmp_path / "plan.json")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("evaluate base ") for line in done.stderr.splitlines())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["models"]["base"]["held_out"]["rows"] == 4
    assert "Running generate_until requests" in (tmp_path / "out" / "evaluation.log").read_text()
