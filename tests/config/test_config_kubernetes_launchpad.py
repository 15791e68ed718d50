"""A run changes its pods as it changes every other parameter."""

from __future__ import annotations

import dagster as dg
import pytest

from ft_assets.config import PipelineSpec
from ft_assets.config.kubernetes import OTHER_STEPS
from ft_assets.config.launchpad import (
    config_of,
    effective_spec,
    place_of,
    run_config_class,
    shown_blocks,
)
from resources.errors import UserError
from tests.kubernetes.everything import EVERYTHING

SPEC = PipelineSpec.model_validate(
    {
        "name": "mine",
        "dataset": {"uri": "/data"},
        "kubernetes": {
            "memory": "32Gi",
            "env": {"A": {"secretKeyRef": {"name": "s", "key": "k"}}},
            "steps": {"eval_report": {"gpus": 1, "memory": "8Gi"}},
        },
    }
)


def changed(asset, **pod):
    return {"ops": {SPEC.op(asset): {"config": {"kubernetes": pod}}}}


def test_every_parameter_of_the_trainings_pod_can_be_changed_for_one_run():
    shown = shown_blocks()["kubernetes"]
    assert shown == set(type(SPEC.kubernetes).model_fields) - {"steps"}


def test_a_run_changes_the_trainings_pod():
    merged = effective_spec(SPEC, changed("finetuned_model", memory="64Gi", gpus_per_worker=2))
    assert (merged.kubernetes.memory, merged.kubernetes.gpus_per_worker) == ("64Gi", 2)
    assert merged.kubernetes.env == SPEC.kubernetes.env
    assert merged.kubernetes.steps == SPEC.kubernetes.steps


@pytest.mark.parametrize("asset", OTHER_STEPS)
def test_a_run_changes_the_pod_of_another_step(asset):
    merged = effective_spec(SPEC, changed(asset, memory="16Gi"))
    assert merged.kubernetes.of_step(asset).memory == "16Gi"
    assert merged.kubernetes.memory == "32Gi"
    assert merged.kubernetes.gpus_of("eval_report") == 1


def test_a_setting_of_the_command_line_finds_its_place():
    config: dict[str, object] = {}
    for name, value in (("memory", "64Gi"), ("steps.eval_report.memory", "16Gi")):
        place_of("kubernetes", name).put(config, name, value)
    assert config == {"kubernetes": {"memory": "16Gi"}}
    assert place_of("kubernetes", "memory").asset == "finetuned_model"
    assert place_of("kubernetes", "steps.eval_report.memory").asset == "eval_report"
    for name in ("steps", "steps.eval_report", "steps.eval_report.memroy", "steps.x.memory", "ram"):
        assert place_of("kubernetes", name) is None


@pytest.mark.parametrize("asset", ["finetuned_model", "eval_report", "raw_dataset"])
def test_the_values_that_the_launchpad_shows_change_nothing(asset):
    received = []
    config_class = run_config_class(SPEC, asset)

    @dg.op(name=SPEC.op(asset), config_schema=config_class.to_config_schema())
    def step(context):
        received.append(context.op_config)

    @dg.job
    def job():
        step()

    assert job.execute_in_process().success
    whole = {"ops": {SPEC.op(asset): {"config": received[0]}}}
    assert effective_spec(SPEC, whole) == SPEC


@pytest.mark.parametrize(
    ("asset", "pod"),
    [
        ("finetuned_model", EVERYTHING),
        ("finetuned_model", {"task_config": {"nodeSelector": {"gpu": "h100"}}}),
        ("eval_report", {"env": {"A": "b"}, "tolerations": [{"operator": "Exists"}], "gpus": 2}),
    ],
)
def test_dagster_takes_what_a_run_may_change(asset, pod):
    """Its config system has types of its own, and knows no union in a map."""

    @dg.op(
        name=SPEC.op(asset),
        config_schema=run_config_class(SPEC, asset).to_config_schema(),
    )
    def step(): ...

    @dg.job
    def job():
        step()

    config = changed(asset, **pod)
    assert dg.validate_run_config(job, config)["ops"]
    assert effective_spec(SPEC, config) != SPEC


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (changed("finetuned_model", memory="64"), "kubernetes.memory: is '64': that is 64 bytes"),
        (changed("finetuned_model", cpu_limit="1"), "cpu_limit (1) is below cpu (4)"),
        (
            changed("eval_report", memory="8"),
            "kubernetes.steps.eval_report.memory: is '8': that is 8 bytes",
        ),
        (changed("eval_report", memroy="8Gi"), "did you mean memory?"),
    ],
)
def test_a_bad_value_of_a_run_is_refused_with_its_name(config, said):
    with pytest.raises(UserError) as error:
        effective_spec(SPEC, config)
    assert said in str(error.value)


def test_where_a_step_runs_is_no_part_of_what_it_makes():
    assert "kubernetes" not in config_of(SPEC, "finetuned_model")
    assert "kubernetes" not in config_of(SPEC, "eval_report")
