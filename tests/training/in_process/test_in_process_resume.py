"""A run that goes on ends with the weights of one that was never interrupted."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from ft_assets.training.in_process.checkpoints import (
    MANIFEST,
    checkpoints,
    read_manifest,
)
from ft_assets.training.plan import TrainPlan
from tests.support.training_runs import (
    RESUMABLE,
    Said,
    flip_a_bit,
    interrupted,
    metrics_of,
    run,
    weights,
)


@pytest.fixture
def uninterrupted(plan_file):
    """The weights and the metrics of the run without an interruption."""
    plan = plan_file("uninterrupted", **RESUMABLE)
    run(plan)
    return weights(plan), metrics_of(plan)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(plan_file, uninterrupted):
    plan = interrupted(plan_file(**RESUMABLE))
    outcome = run(plan)
    assert outcome.resumed_from_step == 6
    assert outcome.steps == 15
    expected_weights, expected_metrics = uninterrupted
    assert weights(plan) == expected_weights
    for name in ("step", "loss", "learning_rate", "epoch", "grad_norm"):
        assert [line[name] for line in metrics_of(plan)] == [
            line[name] for line in expected_metrics
        ]
    assert outcome.first_loss == expected_metrics[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "precision"),
    [("osft", "fp32"), ("lora_sft", "fp32"), ("sft", "bf16"), ("osft", "bf16")],
)
def test_the_others_go_on_to_the_same_weights_too(plan_file, algorithm, precision):
    values: dict[str, Any] = {"algorithm": algorithm, "precision": precision, **RESUMABLE}
    if algorithm == "lora_sft":
        values["lora_dropout"] = 0.1  # it draws random numbers
    whole = plan_file("whole", **values)
    run(whole)
    plan = interrupted(plan_file(**values))
    assert run(plan).resumed_from_step == 6
    assert weights(plan) == weights(whole)


@pytest.mark.slow
def test_osft_goes_on_with_the_subspaces_of_its_checkpoint(plan_file, monkeypatch):
    """Another machine's decomposition may differ: here by noise, which is more than rounding."""
    from mini_trainer import osft_utils

    values = {"algorithm": "osft", **RESUMABLE}
    whole = plan_file("whole", **values)
    run(whole)
    plan = interrupted(plan_file(**values))

    def decompose(weight: torch.Tensor, *args: Any, **kwargs: Any):
        return create(weight + 1e-3 * torch.ones_like(weight).tril(), *args, **kwargs)

    create = osft_utils.create_svd_dict
    monkeypatch.setattr(osft_utils, "create_svd_dict", decompose)
    assert run(plan).resumed_from_step == 6
    assert weights(plan) == weights(whole)


@pytest.mark.slow
def test_a_checkpoint_of_lora_holds_the_adapter_alone(plan_file):
    sizes = {}
    for algorithm in ("sft", "lora_sft"):
        plan = interrupted(plan_file(algorithm, algorithm=algorithm, **RESUMABLE))
        sizes[algorithm] = (plan.parent / "checkpoint-6" / "weights.safetensors").stat().st_size
    assert sizes["lora_sft"] < sizes["sft"]


def test_a_bit_flip_in_the_newest_checkpoint_costs_one_interval_more(plan_file, uninterrupted):
    plan = interrupted(plan_file(**RESUMABLE))
    flip_a_bit(plan.parent / "checkpoint-6" / "weights.safetensors")
    said = Said()
    assert run(plan, said).resumed_from_step == 5
    assert any(
        "not used: checkpoint-6 0 because=weights.safetensors does not hold what was written"
        in line
        for line in said.lines
    )
    assert weights(plan) == uninterrupted[0]


def test_after_passed_over_checkpoints_a_second_kill_loses_one_interval(plan_file, uninterrupted):
    """The new ones have fewer steps than the damaged ones, and stay all the same."""
    plan = interrupted(plan_file(**RESUMABLE))
    damaged = checkpoints(plan.parent)
    assert [folder.name for folder in damaged] == ["checkpoint-5", "checkpoint-6"]
    for folder in damaged:
        flip_a_bit(folder / "weights.safetensors")
    interrupted(plan, step=5)
    left = [folder.name for folder in checkpoints(plan.parent)]
    assert left == ["checkpoint-2", "checkpoint-4"]
    assert run(plan).resumed_from_step == 4
    assert weights(plan) == uninterrupted[0]


def test_a_checkpoint_from_outside_is_never_unpickled(plan_file, tmp_path, uninterrupted):
    """Its manifest does not know the file; and torch would load tensors only."""

    class Opened:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "opened",))

    plan = interrupted(plan_file(**RESUMABLE))
    for folder in checkpoints(plan.parent):
        (folder / "optimizer.pt").write_bytes(pickle.dumps(Opened()))
    assert run(plan).resumed_from_step == 0
    assert not (tmp_path / "opened").exists()
    assert weights(plan) == uninterrupted[0]


def test_no_checkpoint_holds_more_pickles_than_torch_loads_without_running_code(plan_file):
    plan = interrupted(plan_file(**RESUMABLE))
    assert sorted(file.name for file in (plan.parent / "checkpoint-6").iterdir()) == [
        MANIFEST,
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trainer_state.json",
        "weights.safetensors",
    ]


@pytest.mark.slow
def test_another_fingerprint_in_the_same_folder_begins_at_the_start(plan_file):
    plan = interrupted(plan_file(**RESUMABLE))
    other = TrainPlan.model_validate_json(plan.read_text()).model_copy(
        update={"fingerprint": "f" * 64}
    )
    plan.write_text(other.model_dump_json())
    said = Said()
    assert run(plan, said).resumed_from_step == 0
    assert any("another run's" in line for line in said.lines)


def test_another_number_of_processes_is_another_run(plan_file, monkeypatch):
    """A state of two processes is no state of four: the fingerprint, and the folder, differ."""
    from ft_assets.config import KubernetesConfig, TrainingConfig
    from ft_assets.training import plan as plans

    monkeypatch.setattr(plans, "has_nvidia_gpu", lambda: True)
    given = TrainPlan.model_validate_json(plan_file().read_text())
    made = [
        plans.make_plan(
            TrainingConfig(),
            KubernetesConfig(gpus_per_worker=gpus),
            base_model=given.base_model,
            models_dir=Path(given.models_dir),
            train_file=Path(given.train_file),
            data_digest="0" * 64,
            train_rows=1000,
        )
        for gpus in (2, 4)
    ]
    assert [plan.parameters["nproc_per_node"] for plan in made] == [2, 4]
    assert made[0].fingerprint != made[1].fingerprint


@pytest.mark.slow
def test_a_run_goes_on_with_the_threads_that_it_began_with(plan_file, uninterrupted):
    """Chosen from one free core at first; then there are more."""
    values = {**RESUMABLE, "threads": 0}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        plan = interrupted(plan_file(**values))
    finally:
        os.sched_setaffinity(0, cores)
    assert json.loads((plan.parent / "machine.json").read_text())["threads"] == 1
    outcome = run(plan)
    assert outcome.resumed_from_step == 6
    assert outcome.settings["threads"] == 1
    assert weights(plan) == uninterrupted[0]


def test_a_torn_line_of_metrics_does_not_stop_the_run_that_goes_on(plan_file):
    plan = interrupted(plan_file(**RESUMABLE))
    with (plan.parent / "metrics.jsonl").open("a") as stream:
        stream.write('{"time": 17, "st')
    run(plan)
    assert [line["step"] for line in metrics_of(plan)] == list(range(1, 16))


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"checkpoint_at_epoch": True, "save_samples": 0}, [5]),
        ({"checkpoint_at_epoch": False, "save_samples": 24}, [3, 6, 9]),
        ({"checkpoint_at_epoch": True, "save_samples": 24}, [3, 5, 6, 9]),
        ({"checkpoint_at_epoch": False, "save_samples": 0}, []),
        ({"checkpoint_at_epoch": True, "save_samples": 40, "save_full_state": True}, [5]),
    ],
)
def test_checkpoints_are_written_when_they_are_asked_for(plan_file, values, steps):
    plan = plan_file(num_epochs=2, **values)
    seen: dict[str, bool] = {}

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        for folder in checkpoints(plan.parent):
            manifest = read_manifest(folder)
            assert manifest is not None
            seen[folder.name] = manifest.full

    run(plan, report)
    full = values.get("save_full_state", False)
    assert seen == {f"checkpoint-{step}": full for step in steps}


@pytest.mark.slow
def test_there_are_two_whole_checkpoints_at_every_moment_once_there_were_two(plan_file):
    plan = plan_file(**RESUMABLE)
    counts: list[int] = []

    def report(phase: str, done: float, total: float, **details: Any) -> None:
        if phase == "train":
            counts.append(len(checkpoints(plan.parent)))

    run(plan, report)
    assert counts == sorted(counts)
    assert counts[-1] == 2


def test_checkpoints_without_the_optimizer_are_no_place_to_go_on_from(plan_file):
    plan = interrupted(plan_file(num_epochs=2, save_samples=16))
    assert checkpoints(plan.parent)
    assert run(plan).resumed_from_step == 0
