"""Few-shot examples, several seeds, the versions of tasks and the ids of documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from ft_assets.evaluation.draws import depends_on_seed, set_examples
from ft_assets.evaluation.held_out import HeldOutRows
from ft_assets.evaluation.plan import EvaluationPlan
from ft_assets.evaluation.samples import Sample, read_samples
from ft_assets.evaluation.task_versions import held_out_version, task_version
from ft_assets.evaluation.tasks import build_tasks
from resources.errors import UserError

MakePlan = Callable[..., EvaluationPlan]
Evaluate = Callable[[EvaluationPlan], dict[str, Any]]


def samples_of(plan: EvaluationPlan, task: str, model: str = "base") -> list[Sample]:
    return list(read_samples(Path(plan.output_dir) / "samples" / model / f"{task}.jsonl"))


def raw_of(plan: EvaluationPlan, task: str) -> list[dict[str, Any]]:
    path = Path(plan.output_dir) / "samples" / "base" / f"{task}.lm_eval.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def version_of(plan: EvaluationPlan, task: str = "planets") -> str:
    built = build_tasks(plan)
    set_examples(built, plan.num_fewshot)
    return task_version(built[0].leaves[task], plan)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow
def test_examples_and_seeds_reach_the_prompts_and_metrics_are_means(
    make_plan: MakePlan, evaluate: Evaluate, task_folder: Path
) -> None:
    plan = make_plan(
        tasks=["planets", "echo"],
        include_path=str(task_folder),
        num_fewshot=2,
        seed=1,
        seeds=[2, 3],
        gen_kwargs={"max_gen_toks": 2},
    )
    results = evaluate(plan)
    raw = raw_of(plan, "planets")
    assert sorted({sample["seed"] for sample in raw}) == [1, 2, 3]
    for sample in raw:
        prompt = sample["arguments"][0][0]
        assert prompt.count("Question") == 3
        assert prompt.count(f"{sample['doc']['question']}:") == 1  # never its own example
    drawn = {seed: [s["arguments"][0][0] for s in raw if s["seed"] == seed] for seed in (1, 2, 3)}
    assert drawn[1] != drawn[2]
    samples = samples_of(plan, "planets")
    for sample in samples:
        own = [s["acc"] for s in raw if s["doc_id"] == int(sample.id.split("-")[0])]
        assert sample.metrics == {"acc": pytest.approx(fmean(own))}
    metrics = results["models"]["base"]["tasks"]["planets"]
    assert metrics["acc"] == pytest.approx(fmean(s.metrics["acc"] or 0.0 for s in samples))
    assert metrics["acc_stderr"] is not None
    assert results["seeds"] == {"planets": 3, "echo": 3}
    assert results["documents"] == {"planets": 5, "echo": 3}


@pytest.mark.slow
def test_a_task_that_draws_nothing_runs_once(
    make_plan: MakePlan, evaluate: Evaluate, task_folder: Path
) -> None:
    plan = make_plan(tasks=["planets"], include_path=str(task_folder), seeds=[2, 3])
    assert evaluate(plan)["seeds"] == {"planets": 1}
    assert len(raw_of(plan, "planets")) == 5


@pytest.mark.slow
def test_a_group_has_its_own_metrics_and_the_samples_of_its_leaves(
    make_plan: MakePlan, evaluate: Evaluate, task_folder: Path
) -> None:
    (task_folder / "sky.yaml").write_text(
        "group: sky\ntask: [planets]\n"
        "aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]\n"
    )
    plan = make_plan(
        tasks=["sky"], include_path=str(task_folder), num_fewshot=1, seeds=[2], limit=3
    )
    results = evaluate(plan)
    tasks = results["models"]["base"]["tasks"]
    assert set(tasks) == {"sky", "planets"}
    assert tasks["sky"]["acc"] == pytest.approx(tasks["planets"]["acc"])
    assert set(results["task_versions"]) == set(results["documents"]) == {"planets"}
    assert len(samples_of(plan, "planets")) == 3
    assert results["higher_is_better"]["sky"] == {"acc": True}


@pytest.mark.slow
def test_ids_and_texts_of_documents_are_the_same_for_every_model(
    make_plan: MakePlan,
    evaluate: Evaluate,
    task_folder: Path,
    base_model: Path,
    tuned_model: Path,
) -> None:
    folders = {"base": base_model, "tuned": tuned_model}
    plan = make_plan(
        models=[{"name": name, "path": str(folder)} for name, folder in folders.items()],
        tasks=["planets", "echo"],
        include_path=str(task_folder),
        gen_kwargs={"max_gen_toks": 2},
    )
    evaluate(plan)
    for task in ("planets", "echo"):
        base, tuned = (samples_of(plan, task, name) for name in ("base", "tuned"))
        assert [sample.id for sample in base] == [sample.id for sample in tuned]
        assert [sample.prompt for sample in base] == [sample.prompt for sample in tuned]
        assert len({sample.id for sample in base}) == len(base)
    first = samples_of(plan, "planets")[0]
    assert (first.prompt, first.reference) == ("Question 0:", "one")
    assert first.answer in ("one", "two", "three")
    assert first.metrics["acc"] == float(first.answer == first.reference)
    assert samples_of(plan, "echo")[1].reference == "1"


def test_a_version_stays_while_nothing_changes(
    make_plan: MakePlan, task_folder: Path, tmp_path: Path
) -> None:
    plan = make_plan(tasks=["planets"], include_path=str(task_folder))
    first = version_of(plan)
    assert first == version_of(plan)
    # neither the place of the files nor what does not touch the task counts
    other = plan.model_copy(update={"output_dir": str(tmp_path / "else"), "seeds": [7]})
    assert first == version_of(other)


@pytest.mark.parametrize(
    "fields",
    [{"limit": 2}, {"num_fewshot": 1}, {"num_fewshot": 2}],
)
def test_a_version_changes_with_what_is_asked(
    make_plan: MakePlan, task_folder: Path, fields: dict[str, Any]
) -> None:
    plan = {"tasks": ["planets"], "include_path": str(task_folder)}
    assert version_of(make_plan(**plan)) != version_of(make_plan(**plan, **fields))


def test_a_version_changes_with_the_seeds_where_examples_are_drawn(
    make_plan: MakePlan, task_folder: Path
) -> None:
    plan = {"tasks": ["planets"], "include_path": str(task_folder), "num_fewshot": 1}
    versions = {version_of(make_plan(**plan, **f)) for f in ({}, {"seed": 1}, {"seeds": [1]})}
    assert len(versions) == 3


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("planets.yaml", "{{question}}:", "{{question}}?"),
        ("planets.jsonl", "Question 4", "Question 5"),
        ("planets.jsonl", '"answer": 1', '"answer": 2'),
    ],
)
def test_a_version_changes_with_the_definition_and_the_documents(
    make_plan: MakePlan, task_folder: Path, file: str, old: str, new: str
) -> None:
    plan = make_plan(tasks=["planets"], include_path=str(task_folder))
    before = version_of(plan)
    change(task_folder / file, old, new)
    assert version_of(plan) != before


def test_the_held_out_version_follows_rows_and_generation(
    make_plan: MakePlan, held_out: Path
) -> None:
    plan = make_plan(held_out=str(held_out))
    rows = HeldOutRows(held_out)
    versions = [
        held_out_version(rows, plan),
        held_out_version(rows, plan.model_copy(update={"limit": 2})),
        held_out_version(rows, plan.model_copy(update={"held_out_generations": 2})),
        held_out_version(HeldOutRows(held_out, frozenset({"r1"})), plan),
    ]
    assert len(set(versions)) == 4
    assert held_out_version(rows, plan.model_copy(update={"max_new_tokens": 9})) == versions[0]


def test_only_what_draws_depends_on_the_seed(make_plan: MakePlan, task_folder: Path) -> None:
    def drawing(task: str, **fields: Any) -> bool:
        plan = make_plan(tasks=[task], include_path=str(task_folder), **fields)
        built = build_tasks(plan)
        set_examples(built, plan.num_fewshot)
        return depends_on_seed(built[0].leaves[task])

    assert not drawing("planets")
    assert drawing("planets", num_fewshot=1)
    assert not drawing("echo")
    assert drawing("echo", gen_kwargs={"temperature": 0.7})
    assert not drawing("echo", gen_kwargs={"temperature": 0.0})


@pytest.mark.parametrize(
    ("line", "number", "said"),
    [
        ("", 5, "has 5 examples to draw from, one of which may be the question itself"),
        ("num_fewshot: 0\n", 1, "is defined without examples"),
    ],
)
def test_examples_that_a_task_cannot_have_are_refused(
    make_plan: MakePlan, task_folder: Path, line: str, number: int, said: str
) -> None:
    with (task_folder / "planets.yaml").open("a") as file:
        file.write(line)
    built = build_tasks(make_plan(tasks=["planets"], include_path=str(task_folder)))
    with pytest.raises(UserError, match=said):
        set_examples(built, number)


def test_a_seed_that_is_named_twice_is_refused(make_plan: MakePlan, held_out: Path) -> None:
    with pytest.raises(UserError, match="name one twice"):
        make_plan(held_out=str(held_out), seed=1, seeds=[1])
