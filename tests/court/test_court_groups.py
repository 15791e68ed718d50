"""A group or tag is judged on the tasks the evaluation says it stands for: all, and no other."""

from __future__ import annotations

import pytest

from ft_assets.config.promotion import MetricRule
from ft_assets.court import Verdict
from ft_assets.evaluation.samples import Sample
from tests.court.conftest import Evaluation, share

LEAVES = ["general_qa", "planets"]


def _grouped(
    first: Evaluation, *, aggregated: bool = True, leaves: list[str] | None = LEAVES
) -> Evaluation:
    """An evaluation of ``general``, whose tasks carry its name or not, and of its namesake."""
    parts = {"general_qa": share(500, of=1000), "planets": share(500, of=1000)}
    parts["general_of_another"] = share(900, of=1000)
    grouped = first.but("base", **parts).but("tuned", **parts)
    models = dict(Evaluation(grouped.folder, grouped.samples).summary.models)
    if aggregated:
        models = {
            name: model.model_copy(update={"tasks": {"general": {"acc": 0.5}, **model.tasks}})
            for name, model in models.items()
        }
    return grouped.with_summary(
        models=models, leaves={} if leaves is None else {"general": leaves, "arc": ["arc"]}
    )


def _judged(evaluation: Evaluation, **promotion) -> Verdict:
    only = {"required_tasks": ["held_out", "general"], "forgetting_tasks": ["general"]}
    return evaluation.judged(**{**only, **promotion})


def test_all_tasks_of_a_group_count_and_strangers_with_its_name_do_not(first):
    verdict = _judged(_grouped(first))

    assert verdict.passed
    (guard,) = [c for c in verdict.comparisons if c.task == "general"]
    assert (guard.samples, guard.candidate) == (2000, 0.5)


def test_a_task_without_the_groups_name_may_not_fall_either(first):
    fallen = _grouped(first).but("tuned", planets=share(0, of=1000))
    verdict = _judged(fallen)

    assert not verdict.passed
    assert verdict.reason.startswith("general/acc fell by more than 0.03 against the base model's")


def test_a_tag_without_results_of_its_own_is_judged_on_those_of_its_tasks(first):
    tagged = _grouped(first, aggregated=False)

    assert _judged(tagged).passed
    assert not _judged(tagged.but("tuned", planets=share(0, of=1000))).passed


def test_a_task_of_a_group_without_results_closes(first):
    grouped = _grouped(first)
    models = {
        name: model.model_copy(
            update={"tasks": {k: v for k, v in model.tasks.items() if k != "planets"}}
        )
        for name, model in grouped.summary.models.items()
    }
    verdict = _judged(grouped.with_summary(models=models))
    assert "general is required, but the candidate has no results in it" in verdict.reason


def test_an_evaluation_that_does_not_say_what_a_group_is_closes_with_the_remedy(first):
    verdict = _judged(_grouped(first, leaves=None))

    assert not verdict.passed
    assert "materialize eval_report again with force" in verdict.reason


def test_a_single_task_of_an_older_evaluation_is_judged_as_ever(first):
    assert first.summary.leaves == {}
    assert first.judged().passed


@pytest.mark.parametrize("model", ["tuned", "base"])
def test_samples_of_one_of_its_tasks_that_are_absent_close(first, model):
    grouped = _grouped(first)
    models = grouped.summary.models
    grouped.write()
    (grouped.folder / model / "planets.jsonl").unlink()
    kept = {
        name: {task: s for task, s in tasks.items() if (name, task) != (model, "planets")}
        for name, tasks in grouped.samples.items()
    }
    absent = Evaluation(grouped.folder, kept, {**grouped.changes, "models": models})
    verdict = _judged(absent)

    assert not verdict.passed
    assert any("there are no samples of planets" in reason for reason in verdict.reasons)


def _in_points(first: Evaluation) -> Evaluation:
    """Of the group's two tasks one has a score out of a hundred, which no margin fits."""
    points = [Sample(id=f"{place}", metrics={"points": 60.0 + place % 5}) for place in range(1000)]
    grouped = _grouped(first).but("base", planets=points).but("tuned", planets=points)
    directions = {"general_qa": {"acc": True}, "planets": {"points": True}}
    return grouped.with_summary(higher_is_better=directions)


def test_a_task_of_a_group_that_no_margin_fits_is_not_left_out_silently(first):
    verdict = _judged(_in_points(first))

    assert not verdict.passed
    assert verdict.reason.startswith(
        "planets (of general) has no score between 0 and 1 that promotion.forgetting_margin fits: "
        "give one of its metrics (points) a rule and a margin in promotion.metrics, as general/"
    )


def test_a_rule_for_its_metric_guards_it(first):
    rules = {"general/points": MetricRule(against_base="not_worse", margin=5)}
    verdict = _judged(_in_points(first), metrics=rules)

    assert verdict.passed
    assert {c.metric for c in verdict.comparisons if c.task == "general"} == {"acc", "points"}


def test_tasks_that_disagree_about_a_metrics_direction_close(first):
    directions = {"general_qa": {"acc": True}, "planets": {"acc": False}}
    verdict = _judged(_grouped(first).with_summary(higher_is_better=directions))
    assert "has no score between 0 and 1" in verdict.reason
