"""The tags by which a run is found in the UI's list of runs."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ft_assets.assets.run_tags import (
    COST,
    DROP,
    GPU_HOURS,
    RECIPE,
    of_recipe,
    tag_with_cost,
    tag_with_no_cost,
)
from ft_assets.assets.run_tags import tag_with_what_is_made as tag_made
from ft_assets.config import Pipeline, PipelineSpec
from ft_assets.training.cost import TrainingCost

SPEC = PipelineSpec.model_validate(
    {
        "name": "mine",
        "dataset": {"uri": "/data/{partition}.jsonl"},
        "recipes": {"careful": {"learning_rate": 1e-6}},
    }
)
PIPELINE = Pipeline(SPEC, Path("mine.yaml"))
(CAREFUL,) = PIPELINE.recipes()


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tags_after(
    instance: dg.DagsterInstance, *steps, recipes: tuple[str, ...] = (), **tags: str
) -> dict[str, str]:
    """Those of ours that a run has when its steps, one after the other, have tagged it.

    ``recipes``: whose each step is; of the training block itself where it is left out.
    """
    keys = [
        dg.AssetKey(["mine", *recipes[number : number + 1], f"step_{number}"])
        for number in range(len(steps))
    ]

    def asset_of(number, step):
        @dg.asset(key=keys[number], deps=keys[number - 1 : number] if number else [])
        def asset(context: dg.AssetExecutionContext) -> None:
            step(context)

        return asset

    assets = [asset_of(number, step) for number, step in enumerate(steps)]
    done = dg.materialize(assets, instance=instance, tags=tags)
    run = instance.get_run_by_id(done.run_id)
    assert run is not None
    return {name: value for name, value in run.tags.items() if name.startswith("ft/")}


def test_drop_and_recipe_are_those_of_the_steps(instance):
    assert tags_after(
        instance,
        lambda context: tag_made(context, PIPELINE, "raw_dataset", "drop-1"),
        lambda context: tag_made(context, CAREFUL, "finetuned_model", "drop-1"),
    ) == {DROP: "drop-1", RECIPE: "careful"}


def test_a_run_of_several_recipes_names_them_all(instance):
    tags = tags_after(
        instance,
        lambda context: tag_made(context, PIPELINE, "finetuned_model", "drop-1"),
        lambda context: tag_made(context, CAREFUL, "finetuned_model", "drop-1"),
        lambda context: tag_made(context, PIPELINE, "eval_report", "drop-1"),
    )
    assert tags[RECIPE] == "careful,default"


def test_what_is_not_known_gets_no_tag(instance):
    assert (
        tags_after(
            instance,
            lambda context: tag_made(context, PIPELINE, "split_dataset", None),
            lambda context: tag_with_cost(context, TrainingCost(8, seconds=None, money=None)),
        )
        == {}
    )


def test_a_training_without_a_price_has_hours_and_no_cost(instance):
    cost = TrainingCost(gpus=2, seconds=900, money=None)
    assert tags_after(instance, lambda c: tag_with_cost(c, cost)) == {
        GPU_HOURS: "0.5",
        f"{GPU_HOURS}.default": "0.5",
    }


FIRST = TrainingCost(gpus=2, seconds=3600, money=5.0)
SECOND = TrainingCost(gpus=1, seconds=1800, money=1.25)


def test_the_trainings_of_a_run_have_a_tag_each_and_are_added_up(instance):
    tags = tags_after(
        instance,
        lambda c: tag_with_cost(c, FIRST),
        lambda c: tag_with_cost(c, SECOND),
        recipes=("careful", "fast"),
    )
    assert tags == {
        f"{GPU_HOURS}.careful": "2",
        f"{COST}.careful": "5",
        f"{GPU_HOURS}.fast": "0.5",
        f"{COST}.fast": "1.25",
        GPU_HOURS: "2.5",
        COST: "6.25",
    }


def test_a_training_that_ends_at_the_same_time_is_not_lost(instance, monkeypatch):
    """Another step writes its tags between the reading of this one and its writing."""
    add = dg.DagsterInstance.add_run_tags
    others = [{of_recipe(GPU_HOURS, "fast"): "0.5", GPU_HOURS: "0.5"}]

    def add_behind_another(self, run_id, tags):
        if others:
            add(self, run_id, others.pop())
        add(self, run_id, tags)

    monkeypatch.setattr(dg.DagsterInstance, "add_run_tags", add_behind_another)
    tags = tags_after(instance, lambda c: tag_with_cost(c, FIRST), recipes=("careful",))
    assert tags[GPU_HOURS] == "2.5"
    assert [tags[of_recipe(GPU_HOURS, one)] for one in ("careful", "fast")] == ["2", "0.5"]


def test_a_run_in_the_place_of_another_does_not_count_the_training_that_it_finds(instance):
    own, fast = of_recipe(GPU_HOURS, None), of_recipe(GPU_HOURS, "fast")
    inherited = {GPU_HOURS: "2.5", own: "2", fast: "0.5"}
    tags = tags_after(instance, tag_with_no_cost, **inherited)
    assert tags == {**inherited, own: "0", GPU_HOURS: "0.5"}


def test_a_training_that_is_found_gives_a_run_no_tag_of_cost(instance):
    assert tags_after(instance, tag_with_no_cost) == {}


def test_a_run_that_has_its_tags_already_is_not_written_to(instance, monkeypatch):
    monkeypatch.setattr(dg.DagsterInstance, "add_run_tags", None)
    given: dict[str, Any] = {DROP: "drop-1", RECIPE: "default"}
    step = lambda context: tag_made(context, PIPELINE, "eval_report", "drop-1")  # noqa: E731
    assert tags_after(instance, step, pipeline="mine", **given) == given


def test_a_run_of_chosen_assets_gets_the_tag_of_its_pipeline(instance):
    tags_after(instance, lambda c: tag_made(c, CAREFUL, "eval_report", "drop-1"))
    assert len(instance.get_runs(dg.RunsFilter(tags={"pipeline": "mine"}))) == 1


def test_runs_are_found_by_them(instance):
    tags_after(instance, lambda c: tag_made(c, PIPELINE, "eval_report", "drop-1"))
    tags_after(instance, lambda c: tag_made(c, CAREFUL, "eval_report", "drop-2"))
    for tags, number in (({DROP: "drop-2"}, 1), ({RECIPE: "default"}, 1), ({DROP: "drop-3"}, 0)):
        assert len(instance.get_runs(dg.RunsFilter(tags=tags))) == number, tags
