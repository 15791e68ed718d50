"""The ``recipes`` block: variants of the training in one pipeline file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ft_assets.config import Pipeline, PipelineSpec, load_pipeline
from ft_assets.config.launchpad import JOB_ASSETS, effective_spec
from ft_assets.config.recipes import PER_RECIPE, RecipeConfig
from ft_assets.config.training import TrainingConfig
from resources.errors import UserError

TEXT = """\
name: mine
dataset: {uri: "package://examples/rows.jsonl"}
training: {effective_batch_size: 8, learning_rate: 1.0e-5, max_seq_len: 1024}
registry: {name: my-model}
"""


def load(tmp_path: Path, recipes: str) -> Pipeline:
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT + recipes)
    return load_pipeline(file)


def test_a_recipe_changes_what_it_names_and_nothing_else(tmp_path: Path):
    pipeline = load(tmp_path, "recipes: {fast: {learning_rate: 1.0e-4}}\n")
    (fast,) = pipeline.recipes()
    assert fast.spec.training.learning_rate == 1e-4
    unlike = {"learning_rate"}
    assert fast.spec.training.model_dump(exclude=unlike) == pipeline.spec.training.model_dump(
        exclude=unlike
    )
    assert fast.spec.dataset == pipeline.spec.dataset
    assert pipeline.spec.training.learning_rate == 1e-5


def test_a_recipe_takes_the_seeds_names_too(tmp_path: Path):
    (one,) = load(tmp_path, "recipes: {long: {phase_02_train_man_epochs: 3}}\n").recipes()
    assert one.spec.training.num_epochs == 3


def test_each_recipe_has_a_model_of_its_own_and_shares_the_data(tmp_path: Path):
    pipeline = load(tmp_path, "recipes: {fast: {seed: 1}, slow: {seed: 2}}\n")
    assert [one.label for one in pipeline.recipes()] == ["mine/fast", "mine/slow"]
    assert [one.spec.registry.name for one in pipeline.recipes()] == [
        "my-model-fast",
        "my-model-slow",
    ]
    for asset in JOB_ASSETS:
        keys = {tuple(one.spec.key(asset)) for one in (pipeline, *pipeline.recipes())}
        assert len(keys) == (3 if asset in PER_RECIPE else 1), asset
    assert pipeline.recipes()[0].spec.key("eval_report") == ["mine", "fast", "eval_report"]
    assert pipeline.recipes()[0].spec.op("eval_report") == "mine__fast__eval_report"


def test_a_pipeline_without_recipes_has_none(tmp_path: Path):
    pipeline = load(tmp_path, "")
    assert pipeline.recipes() == []
    assert pipeline.recipe is None


@pytest.mark.parametrize("name", sorted(TrainingConfig.model_fields))
def test_a_recipe_may_say_any_one_parameter_whatever_goes_with_it(name: str):
    value = TrainingConfig().model_dump()[name]
    assert RecipeConfig.model_validate({name: value}).model_dump() == {name: value}


def test_parameters_have_to_agree_in_the_training_that_comes_out(tmp_path: Path):
    with pytest.raises(UserError, match=r"recipe long: max_tokens_per_gpu .10000. is below"):
        load(tmp_path, "recipes: {long: {max_seq_len: 20000}}\n")
    (one,) = load(
        tmp_path, "recipes: {long: {max_seq_len: 20000, max_tokens_per_gpu: 20000}}\n"
    ).recipes()
    assert one.spec.training.max_seq_len == 20000
    (small,) = load(tmp_path, "recipes: {small: {max_tokens_per_gpu: 2000}}\n").recipes()
    assert small.spec.training.max_tokens_per_gpu == 2000  # below the default max_seq_len


@pytest.mark.parametrize(
    ("recipes", "said"),
    [
        ("recipes:\n  fast: {learning_rat: 1}\n", r"mine.yaml:6:10: recipes.fast.learning_rat"),
        ("recipes:\n  fast:\n    seed: -1\n", r"mine.yaml:7:11: recipes.fast.seed"),
        ("recipes: {eval_report: {seed: 1}}\n", "'eval_report' is the name of something else"),
        ("recipes: {default: {seed: 1}}\n", "'default' is the name of something else"),
        ("recipes: {Big-One: {seed: 1}}\n", "'Big-One' is no name of a recipe"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, recipes: str, said: str):
    with pytest.raises(UserError, match=said):
        load(tmp_path, recipes)


def test_what_a_run_changes_of_one_recipe_leaves_the_others_as_they_are(tmp_path: Path):
    pipeline = load(tmp_path, "recipes: {fast: {seed: 1}}\n")
    (fast,) = pipeline.recipes()
    config = {"ops": {fast.spec.op("finetuned_model"): {"config": {"learning_rate": 0.5}}}}
    changed = effective_spec(fast.spec, config)
    assert changed.training.learning_rate == 0.5
    assert changed.recipe == "fast"
    assert effective_spec(pipeline.spec, config) == pipeline.spec


def test_the_specification_survives_being_written_and_read(tmp_path: Path):
    spec = load(tmp_path, "recipes: {fast: {seed: 1}}\n").spec
    assert PipelineSpec.model_validate(spec.model_dump()) == spec
    assert PipelineSpec.model_validate_json(spec.model_dump_json()) == spec
