"""When the speed of an earlier run is that of the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ft_assets.provenance.builder import BuilderRecord
from ft_assets.training.base_model import BaseModelRef
from ft_assets.training.estimate import World
from ft_assets.training.estimate.compare import measured_speed
from ft_assets.training.plan import make_plan
from tests.training.estimate.conftest import kubernetes, training

BASE = BaseModelRef(
    name="./base", kind="folder", location="/base", digest="b" * 64, hf_token_env="HF_TOKEN"
)
SAME_WORK = {"learning_rate": 1e-3, "num_epochs": 3, "seed": 7, "validation_steps": 5}
OTHER_WORK: list[dict[str, Any]] = [
    {"precision": "bf16"},
    {"threads": 2},
    {"gradient_checkpointing": True},
    {"attention": "eager"},
    {"max_tokens_per_gpu": 20_000},
    {"effective_batch_size": 64},
    {"micro_batch_size": 2},
    {"profiler_steps": 2},
    {"train_on_inputs": True},
    {"env": {"OMP_WAIT_POLICY": "passive"}},
    {"algorithm": "osft"},
    {"use_liger": True},  # refused
]


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """What stands in the manifest of a model that was trained on the CPU at 100 tokens/s."""
    made = make_plan(
        training(backend="cpu"),
        kubernetes(gpus_per_worker=0),
        base_model=BASE,
        models_dir=Path("/models"),
        train_file=Path("/rows.jsonl"),
        data_digest="d",
        train_rows=1000,
    )
    return {"plan": made.model_dump(mode="json"), "outcome": {"tokens_per_second": 100.0}}


def speed_then(trained: dict[str, Any], pod: dict[str, Any] | None = None, **changed: Any):
    config = training(**{"backend": "cpu", **changed})
    pods = kubernetes(**{"gpus_per_worker": 0, **(pod or {})})
    digest = trained["plan"]["base_model"]["digest"]
    return measured_speed(trained, config, pods, World.of(config, pods), base_digest=digest)


def test_the_speed_of_the_run_before_is_that_of_a_run_which_does_the_same_work(trained):
    assert speed_then(trained) == speed_then(trained, **SAME_WORK) == 100.0


@pytest.mark.parametrize("changed", OTHER_WORK, ids=lambda changed: next(iter(changed)))
def test_the_speed_of_a_run_that_does_other_work_is_not_known(trained, changed):
    assert speed_then(trained, **changed) is None


def test_the_speed_on_other_processes_or_of_another_model_is_not_known(trained):
    assert speed_then(trained, {"procs_per_worker": "2"}) is None
    config, pods = training(backend="cpu"), kubernetes(gpus_per_worker=0)
    world = World.of(config, pods)
    assert measured_speed(trained, config, pods, world, base_digest="another") is None


@pytest.mark.parametrize(
    ("processor", "gpus", "expected"),
    [("A", [], 100.0), ("B", [], None), ("A", ["H200"], None), ("", [], 100.0)],
)
def test_the_speed_of_another_machine_is_not_this_ones(trained, processor, gpus, expected):
    """A record of an earlier release does not name the processor."""
    builder = {"user": "me", "host": "machine", "processor": processor, "gpus": gpus}
    made_there = {**trained, "provenance": {"builder": builder}}
    config, pods = training(backend="cpu"), kubernetes(gpus_per_worker=0)
    world = World.of(config, pods)
    digest = trained["plan"]["base_model"]["digest"]
    here = BuilderRecord(processor="A")
    found = measured_speed(made_there, config, pods, world, base_digest=digest, machine=here)
    assert found == expected


def test_the_speed_in_a_manifest_of_an_earlier_version_is_not_known(trained):
    earlier = {"algorithm": "sft", "base_model": trained["plan"]["base_model"]}
    assert speed_then({**trained, "plan": earlier}) is None
