"""What the launchpad shows is what the file says; what a run changes is checked like a file."""

import dagster as dg
import pytest

from ft_assets.config import PipelineSpec, find_pipelines
from ft_assets.config.kubernetes import OTHER_STEPS
from ft_assets.config.launchpad import (
    BLOCK_OF_ASSET,
    FORCEABLE,
    GROUP_OF_ASSET,
    config_of,
    effective_spec,
    place_of,
    run_config_class,
    shown_blocks,
)
from resources.errors import UserError

SPEC = PipelineSpec.model_validate(
    {
        "name": "mine",
        "dataset": {"uri": "/data/{partition}.jsonl", "split": 0.7, "on_bad_rows": "drop"},
        "training": {
            "learning_rate": 1e-4,
            "chat_template": "chatml",
            "fsdp_sharding_strategy": "HYBRID_SHARD",
            "env": {"A": "b,c"},
        },
        "evaluation": {"tasks": ["mmlu", "arc_easy"], "gen_kwargs": {"temperature": 0.5}},
        "registry": {"name": "m", "description": "d"},
    }
)


def changed(asset: str, **config):
    return {"ops": {SPEC.op(asset): {"config": config}}}


@pytest.mark.parametrize("asset", BLOCK_OF_ASSET)
@pytest.mark.parametrize("spec", [SPEC, *(found.spec for found in find_pipelines())])
def test_the_defaults_are_the_files_values(spec, asset):
    block_name, shown = BLOCK_OF_ASSET[asset]
    config_class = run_config_class(spec, asset)
    config = config_class()
    _assert_shows(config, getattr(spec, block_name), shown)
    names = set(shown.model_fields) | ({"force"} if asset in FORCEABLE else set())
    if asset in GROUP_OF_ASSET:
        group, group_class = GROUP_OF_ASSET[asset]
        _assert_shows(getattr(config, group), getattr(spec, group), group_class)
        names.add(group)
    if asset in OTHER_STEPS:
        own = spec.kubernetes.steps.get(asset)
        assert config.kubernetes == (own.model_dump() if own else {})
        names.add("kubernetes")
    assert set(config_class.to_fields_dict()) == names


def _assert_shows(config, block, block_class):
    values = block.model_dump()
    for name in block_class.model_fields:
        assert getattr(config, name) == values[name], name


@pytest.mark.parametrize("asset", BLOCK_OF_ASSET)
def test_a_run_from_the_launchpad_needs_no_config(asset):
    received = []
    config_class = run_config_class(SPEC, asset)

    @dg.op(name=SPEC.op(asset))
    def step(config: config_class):
        received.append(config)

    @dg.job
    def job():
        step()

    assert job.execute_in_process().success
    (config,) = received
    block_name, shown = BLOCK_OF_ASSET[asset]
    _assert_shows(config, getattr(SPEC, block_name), shown)


def test_every_parameter_of_the_blocks_can_be_changed_for_one_run():
    for block_name in ("dataset", "training", "evaluation", "promotion", "registry"):
        shown = shown_blocks()[block_name]
        assert shown == set(type(getattr(SPEC, block_name)).model_fields)


def test_the_rules_of_promotion_are_a_group_of_the_evaluation():
    rules = {"confidence": 0.9, "metrics": {"mmlu/acc": {"margin": 0.02}}}
    merged = effective_spec(SPEC, changed("eval_report", limit=5, promotion=rules))
    assert merged.evaluation.limit == 5
    assert merged.promotion.confidence == 0.9
    assert merged.promotion.metrics["mmlu/acc"].margin == 0.02
    assert merged.promotion.min_samples == SPEC.promotion.min_samples
    whole = run_config_class(SPEC, "eval_report")().model_dump()
    assert effective_spec(SPEC, changed("eval_report", **whole)) == SPEC


def test_a_parameter_is_found_by_its_block_and_name():
    config: dict[str, object] = {}
    for block, parameter, value in (
        ("evaluation", "seed", 1),
        ("promotion", "seed", 2),
        ("promotion", "confidence", 0.9),
    ):
        place = place_of(block, parameter)
        assert place.asset == "eval_report"
        place.put(config, parameter, value)
    assert config == {"seed": 1, "promotion": {"seed": 2, "confidence": 0.9}}
    assert place_of("dataset", "split").asset == "split_dataset"
    assert place_of("promotion", "tasks") is None
    assert place_of("kubernetes", "steps") is None


def test_what_an_asset_reads_holds_its_group():
    assert config_of(SPEC, "eval_report")["promotion"]["confidence"] == SPEC.promotion.confidence
    assert config_of(SPEC, "baseline_report")["tasks"] == ["mmlu", "arc_easy"]
    assert "promotion" not in config_of(SPEC, "baseline_report")


def test_a_run_without_config_is_the_file():
    assert effective_spec(SPEC, {}) == SPEC
    assert effective_spec(SPEC, {"ops": None}) == SPEC
    assert effective_spec(SPEC, {"ops": {SPEC.op("raw_dataset"): {}}}) == SPEC
    assert effective_spec(SPEC, changed("finetuned_model", force=True)) == SPEC


def test_what_a_run_changes_takes_the_place_of_the_files_value():
    merged = effective_spec(SPEC, changed("finetuned_model", learning_rate=2e-5, env={"X": "y"}))
    assert merged.training.learning_rate == 2e-5
    assert merged.training.env == {"X": "y"}
    assert merged.training.chat_template == "chatml"
    assert merged.dataset == SPEC.dataset
    assert SPEC.training.learning_rate == 1e-4


def test_the_two_dataset_assets_change_one_block_together():
    config = {
        "ops": {
            **changed("raw_dataset", uri="/other.jsonl")["ops"],
            **changed("split_dataset", split=0.5)["ops"],
        }
    }
    merged = effective_spec(SPEC, config)
    assert (merged.dataset.uri, merged.dataset.split) == ("/other.jsonl", 0.5)


def test_config_of_another_pipelines_steps_changes_nothing():
    other = {"ops": {"other__finetuned_model": {"config": {"learning_rate": 0.5}}}}
    assert effective_spec(SPEC, other) == SPEC


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            changed("finetuned_model", learning_rate=-1.0),
            "training.learning_rate: Input should be greater than 0 (it is -1.0)",
        ),
        (
            changed("finetuned_model", fsdp_sharding_strategy="FULL"),
            "training.fsdp_sharding_strategy: Input should be 'FULL_SHARD'",
        ),
        (
            changed("finetuned_model", max_seq_len=20_000),
            "training: max_tokens_per_gpu (10000) is below max_seq_len (20000)",
        ),
        (changed("eval_report", limit=0), "evaluation.limit: is 0: set -1"),
        (changed("registered_version", version="1"), "registry.version: is '1'"),
        (
            changed("eval_report", promotion={"confidence": 2.0}),
            "promotion.confidence: Input should be less than 1 (it is 2.0)",
        ),
        (
            {
                "ops": {
                    **changed("split_dataset", split=1.0)["ops"],
                    **changed("eval_report", tasks=[])["ops"],
                }
            },
            "nothing would be measured",
        ),
    ],
)
def test_a_bad_value_of_a_run_is_refused_with_its_name(config, said):
    with pytest.raises(UserError) as error:
        effective_spec(SPEC, config)
    message = str(error.value)
    assert message.startswith("this run's config is not valid: ")
    assert said in message


def test_a_secret_in_a_runs_config_is_refused_without_its_value():
    for config in ({"env": {"HF_TOKEN": "s3cr3t"}}, {"hf_token_env": "hf_" + "s3cr3t0" * 4}):
        with pytest.raises(UserError) as error:
            effective_spec(SPEC, changed("finetuned_model", **config))
        assert "s3cr3t" not in str(error.value)
        assert "s3cr3t" not in str(error.value.__cause__)
