"""Evaluating twice: what was answered once is not asked again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from ft_assets.evaluation.cache_model import CachedModel
from ft_assets.evaluation.held_out import HeldOutRows, held_out_task, row_scores
from ft_assets.evaluation.lazy_weights import _NotRead
from ft_assets.evaluation.models import check_model, load
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.tasks import build_tasks
from ft_assets.evaluation.worker import main
from resources.errors import UserError
from tests.evaluation.conftest import ROWS, write_rows

MakePlan = Callable[..., EvaluationPlan]
DIGEST = "sha256:" + "ab" * 32


@dataclass
class Run:
    """What one evaluation gave."""

    results: dict[str, Any]
    forwards: int
    known: int
    asked: int
    scored: list[Any]
    answers: list[str]


@pytest.fixture
def plan_of(
    make_plan: MakePlan, base_model: Path, task_folder: Path, held_out: Path, tmp_path: Path
) -> Callable[..., EvaluationPlan]:
    def make(digest: str = DIGEST, **fields: Any) -> EvaluationPlan:
        models = [{"name": "base", "path": str(base_model), "digest": digest}]
        defaults = {
            "models": models,
            "cache": str(tmp_path / "cached"),
            "held_out": str(held_out),
            "include_path": str(task_folder),
            "tasks": ["planets", "echo"],
        }
        return make_plan(**{**defaults, **fields})

    return make


def opened(plan: EvaluationPlan, on_scored: Callable[[int], None] | None = None) -> Any:
    rows = None if plan.held_out is None else HeldOutRows(Path(plan.held_out))
    return load(check_model(plan.models[0], plan, rows), plan, on_scored=on_scored)


def count_forwards(lm: Any) -> list[int]:
    calls: list[int] = []
    lm.model.register_forward_hook(lambda *_: calls.append(1))
    return calls


def counts(lm: Any) -> tuple[int, int]:
    """Requests answered from the cache and by the model; zeros without a cache."""
    return (lm.hits, lm.asked) if isinstance(lm, CachedModel) else (0, 0)


def run(plan: EvaluationPlan, versions: dict[str, str] | None = None, seed: int = 1) -> Run:
    """The plan's tasks and its held-out rows, through lm-eval's own evaluate."""
    from lm_eval.evaluator import evaluate

    reported: list[int] = []
    lm = opened(plan, on_scored=reported.append)
    calls = count_forwards(lm)
    lm.task_versions, lm.seed = versions or {}, seed
    results: dict[str, Any] = {}
    answers: list[str] = []
    for task in build_tasks(plan):
        for leaf in task.leaves.values():
            leaf.set_config("num_fewshot", 0)
        results |= evaluate(lm, task.loaded, bootstrap_iters=0)["results"]
        for leaf in task.leaves.values():
            answers += [str(reply) for item in leaf.instances for reply in item.resps]
    scored: list[Any] = []
    if plan.held_out is not None:
        rows = HeldOutRows(Path(plan.held_out))
        task = held_out_task(rows)
        evaluate(lm, {"tasks": {"held_out": task}}, bootstrap_iters=0)
        scored = row_scores(task)
        assert sum(reported) == len(rows)
    return Run(results, len(calls), *counts(lm), scored, answers)


def test_the_second_time_the_model_is_not_called(plan_of: Callable[..., EvaluationPlan]) -> None:
    first = run(plan_of())
    second = run(plan_of())
    assert (first.forwards > 0, first.known) == (True, 0)
    assert (second.forwards, second.asked, second.known) == (0, 0, first.asked)
    assert second.results == first.results
    assert second.scored == first.scored
    assert second.answers == first.answers


def test_it_answers_what_the_model_itself_answers(plan_of: Callable[..., EvaluationPlan]) -> None:
    plain = run(plan_of(cache=None))
    cached = run(plan_of())
    assert (plain.known, plain.asked) == (0, 0)
    assert cached.results == plain.results
    assert cached.scored == plain.scored


def test_without_a_digest_nothing_is_kept(
    plan_of: Callable[..., EvaluationPlan], tmp_path: Path
) -> None:
    assert not isinstance(opened(plan_of(digest="")), CachedModel)
    assert not (tmp_path / "cached").exists()


def test_a_second_task_asks_for_itself_alone(plan_of: Callable[..., EvaluationPlan]) -> None:
    first = run(plan_of(tasks=["planets"], held_out=None))
    second = run(plan_of(tasks=["planets", "echo"], held_out=None))
    assert (second.known, second.asked) == (first.asked, 3)


def test_a_limit_leaves_its_part_for_the_whole(plan_of: Callable[..., EvaluationPlan]) -> None:
    rows = plan_of().held_out
    assert rows is not None
    write_rows(Path(rows), ROWS[:2])
    run(plan_of(tasks=[]))
    write_rows(Path(rows), [*ROWS[2:], *ROWS[:2]])
    again = run(plan_of(tasks=[]))
    assert (again.known, again.asked) == (2, 2)
    assert [score.row for score in again.scored] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fields", "versions"),
    [
        ({"digest": "sha256:" + "cd" * 32}, {}),
        ({"max_length": 128}, {}),
        ({"model_args": {"dtype": "bfloat16"}}, {}),
        ({"model_args": {"softmax_dtype": "float64"}}, {}),
        ({"model_args": {"add_bos_token": False}}, {}),
        ({}, {"planets": "2", "echo": "2", "held_out": "2"}),
    ],
)
def test_what_changes_numbers_is_asked_again(
    plan_of: Callable[..., EvaluationPlan], fields: dict[str, Any], versions: dict[str, str]
) -> None:
    first = run(plan_of(gen_kwargs={"max_gen_toks": 4}))
    other = run(plan_of(gen_kwargs={"max_gen_toks": 4}, **fields), versions)
    assert (other.known, other.asked) == (0, first.asked)


def test_other_generation_arguments_ask_for_new_texts_alone(
    plan_of: Callable[..., EvaluationPlan],
) -> None:
    run(plan_of(gen_kwargs={"max_gen_toks": 4}))
    other = run(plan_of(gen_kwargs={"max_gen_toks": 5}))
    assert other.asked == 3


@pytest.mark.parametrize("fields", [{"batch": "1"}, {"model_args": {"logits_cache": False}}])
def test_what_changes_rounding_alone_is_not(
    plan_of: Callable[..., EvaluationPlan], fields: dict[str, Any]
) -> None:
    run(plan_of())
    assert run(plan_of(**fields)).asked == 0


def test_drawn_texts_belong_to_their_seed(plan_of: Callable[..., EvaluationPlan]) -> None:
    plan = plan_of(tasks=["echo"], held_out=None, gen_kwargs={"temperature": 1.5})
    first, other = run(plan, seed=1), run(plan, seed=2)
    assert (other.known, other.asked) == (0, first.asked)
    assert first.answers != other.answers
    again = run(plan, seed=1)
    assert (again.asked, again.answers) == (0, first.answers)


def test_a_text_that_is_drawn_twice_is_two_texts(
    plan_of: Callable[..., EvaluationPlan], task_folder: Path
) -> None:
    path = task_folder / "echo.yaml"
    path.write_text(path.read_text() + "repeats: 3\n")
    plan = plan_of(tasks=["echo"], held_out=None, gen_kwargs={"temperature": 1.5})
    first = run(plan)
    assert first.asked == 9
    assert len(set(first.answers[:3])) == 3
    again = run(plan)
    assert (again.asked, again.answers) == (0, first.answers)


def test_a_greedy_text_that_is_asked_twice_is_asked_once(
    plan_of: Callable[..., EvaluationPlan], task_folder: Path
) -> None:
    path = task_folder / "echo.yaml"
    path.write_text(path.read_text() + "repeats: 3\n")
    assert run(plan_of(tasks=["echo"], held_out=None)).asked == 3


def test_answers_come_in_the_order_of_the_requests(
    plan_of: Callable[..., EvaluationPlan], tmp_path: Path
) -> None:
    from lm_eval.api.instance import Instance

    texts = ["one", "a much longer text than the others", "two words", "one", "x" * 60]
    requests = [
        Instance("loglikelihood", {}, (text, " and so on"), n, ("t", n, 1))
        for n, text in enumerate(texts)
    ]
    plain = opened(plan_of(cache=None)).loglikelihood(requests)
    lm = opened(plan_of())
    before = lm.loglikelihood(requests[2:3])
    object.__setattr__(lm, "_at_once", 2)
    answers = lm.loglikelihood(requests)
    assert before == [answers[2]]
    assert [greedy for _, greedy in answers] == [greedy for _, greedy in plain]
    assert [nats for nats, _ in answers] == pytest.approx([nats for nats, _ in plain])
    assert lm.asked == 4


def test_settings_of_the_model_reach_the_model(plan_of: Callable[..., EvaluationPlan]) -> None:
    lm = opened(plan_of())
    lm.chat_batch = "3"
    assert lm.chat_batch == "3"
    assert "chat_batch" not in vars(lm)


def test_the_worker_asks_nothing_twice(
    plan_of: Callable[..., EvaluationPlan],
    evaluate: Callable[[EvaluationPlan], dict[str, Any]],
    tmp_path: Path,
) -> None:
    from torch.nn.modules.module import register_module_forward_hook

    calls: list[int] = []
    hook = register_module_forward_hook(lambda *_: calls.append(1))
    try:
        first = evaluate(plan_of(held_out_generations=2, output_dir=str(tmp_path / "first")))
        asked = len(calls)
        again = evaluate(plan_of(held_out_generations=2, output_dir=str(tmp_path / "again")))
    finally:
        hook.remove()
    assert asked > 0
    assert len(calls) == asked
    assert again["models"] == first["models"]
    for name in ("held_out", "planets", "echo"):
        first_samples, again_samples = (
            (tmp_path / run / "samples" / "base" / f"{name}.jsonl").read_bytes()
            for run in ("first", "again")
        )
        assert again_samples == first_samples


def test_where_all_answers_are_known_the_weights_are_not_read(
    plan_of: Callable[..., EvaluationPlan],
    evaluate: Callable[[EvaluationPlan], dict[str, Any]],
    base_model: Path,
    tmp_path: Path,
) -> None:
    """The weights are no weights the second time; the digest says that they are the same."""
    model = shutil.copytree(base_model, tmp_path / "model")

    def plan(run: str, **fields: Any) -> EvaluationPlan:
        models = [{"name": "base", "path": str(model), "digest": DIGEST}]
        return plan_of(models=models, output_dir=str(tmp_path / run), **fields)

    first = evaluate(plan("first", held_out_generations=2))
    (model / "model.safetensors").write_bytes(b"none")
    again = evaluate(plan("again", held_out_generations=2))
    assert again["models"] == first["models"]
    plan("more", held_out_generations=3).write(tmp_path / "plan.json")
    assert main([str(tmp_path / "plan.json")]) == 2
    message = json.loads((tmp_path / "more" / "error.json").read_text())["message"]
    assert message.startswith(f"model base ({model}) cannot be loaded: ")


@pytest.mark.parametrize(
    ("model_args", "expected"),
    [
        ({}, "torch.float32"),  # on a CPU
        ({"dtype": "auto"}, "torch.bfloat16"),
        ({"dtype": "float16"}, "torch.float16"),
    ],
)
def test_the_type_of_the_weights_is_known_before_they_are_read(
    plan_of: Callable[..., EvaluationPlan],
    base_model: Path,
    tmp_path: Path,
    model_args: dict[str, str],
    expected: str,
) -> None:
    model = tmp_path / "half"
    loaded = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.bfloat16)
    shutil.copytree(base_model, model)
    loaded.save_pretrained(model)
    models = [{"name": "base", "path": str(model), "digest": DIGEST}]
    device = {"device": "cpu"}
    lm = opened(plan_of(models=models, model_args={**device, **model_args}, cache=None))
    promised, length = lm.dtype_name, lm.max_length
    assert isinstance(lm._model, _NotRead)
    assert str(lm.model.dtype) == promised == expected
    assert lm.max_length == length == lm.model.config.max_position_embeddings
    assert not lm.model.training


def test_weights_are_read_before_the_mode_in_which_they_compute(
    plan_of: Callable[..., EvaluationPlan],
) -> None:
    """What is read in inference mode could not be used outside of it."""
    lm = opened(plan_of(cache=None, tasks=[]))
    rows = HeldOutRows(Path(str(plan_of().held_out)))
    held_out = held_out_task(rows)
    held_out.build_all_requests()
    assert lm.score_chat(held_out.instances)
    tensors = [*lm.model.parameters(), *lm.model.buffers()]
    assert not any(tensor.is_inference() for tensor in tensors)


def test_weights_that_cannot_be_read_are_told_each_time(
    plan_of: Callable[..., EvaluationPlan], base_model: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(base_model, tmp_path / "model")
    models = [{"name": "base", "path": str(model), "digest": DIGEST}]
    lm = opened(plan_of(models=models, cache=None))
    (model / "model.safetensors").write_bytes(b"none")
    for _ in range(2):
        with pytest.raises(UserError, match=r"model base \(.*\) cannot be loaded: "):
            _ = lm.model


_CHILD = """
import os, signal, sys
from pathlib import Path
from ft_assets.evaluation import cache_model
from ft_assets.evaluation.plan import EvaluationPlan
from tests.evaluation import test_cached_model as tests
from lm_eval.evaluator import evaluate

plan, kill_at = EvaluationPlan.read(Path(sys.argv[1])), int(sys.argv[2])
lm = tests.opened(plan)
object.__setattr__(lm, "_flush", 0.0)
object.__setattr__(lm, "_at_once", int(sys.argv[3]) or None)
calls = tests.count_forwards(lm)
lm.model.register_forward_hook(
    lambda *_: os.kill(os.getpid(), signal.SIGKILL) if len(calls) >= kill_at else None
)
for task in tests.build_tasks(plan):
    for leaf in task.leaves.values():
        leaf.set_config("num_fewshot", 0)
    evaluate(lm, task.loaded, bootstrap_iters=0)
if plan.held_out is not None:
    task = tests.held_out_task(tests.HeldOutRows(Path(plan.held_out)))
    evaluate(lm, {"tasks": {"held_out": task}}, bootstrap_iters=0)
    print(tests.row_scores(task))
print(lm.asked, lm.hits)
"""


def child(
    plan: EvaluationPlan, folder: Path, kill_at: int = 10**9, at_once: int = 0
) -> subprocess.Popen[str]:
    plan.write(folder / "plan.json")
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(folder / "plan.json"), str(kill_at), str(at_once)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
            "TQDM_DISABLE": "1",
        },
    )


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(
    plan_of: Callable[..., EvaluationPlan], tmp_path: Path
) -> None:
    plan = plan_of(tasks=["planets"], batch="1", cache=str(tmp_path / "killed"))
    killed = child(plan, tmp_path, kill_at=4)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    resumed = run(plan)
    assert resumed.known >= 6
    whole = run(plan_of(tasks=["planets"], batch="1"))
    assert resumed.known + resumed.asked == whole.asked
    assert resumed.results == whole.results


@pytest.mark.slow
def test_draws_after_a_kill_are_those_without_one(
    plan_of: Callable[..., EvaluationPlan], task_folder: Path, tmp_path: Path
) -> None:
    settings = {"temperature": 1.5, "max_gen_toks": 8}
    fields = {"tasks": ["echo"], "held_out": None, "gen_kwargs": settings}
    plan = plan_of(**fields, cache=str(tmp_path / "killed"))
    killed = child(plan, tmp_path, kill_at=18, at_once=1)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL

    def drawn(plan: EvaluationPlan) -> Run:
        from lm_eval.evaluator import evaluate

        lm = opened(plan)
        object.__setattr__(lm, "_at_once", 1)
        (task,) = build_tasks(plan)
        task.leaves["echo"].set_config("num_fewshot", 0)
        evaluate(lm, task.loaded, bootstrap_iters=0)
        answers = [str(reply) for item in task.leaves["echo"].instances for reply in item.resps]
        return Run({}, 0, *counts(lm), [], answers)

    resumed = drawn(plan)
    assert resumed.known >= 1
    assert resumed.answers == drawn(plan_of(**fields)).answers


@pytest.mark.slow
def test_two_evaluations_at_once_agree(
    plan_of: Callable[..., EvaluationPlan], tmp_path: Path
) -> None:
    plan = plan_of(tasks=["planets"])
    running = [child(plan, tmp_path) for _ in range(2)]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert said[0][0].splitlines()[0] == said[1][0].splitlines()[0]
    assert run(plan).asked == 0
