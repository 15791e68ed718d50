"""Runs that really go wrong are ended with the remedy, or judged when they are over."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ft_assets.training.health import Planned, judge_run
from ft_assets.training.metrics import StepMetrics, read_metrics
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.worker import train
from resources.errors import UserError

TOO_MUCH = {
    "learning_rate": 0.9,
    "num_epochs": 8,
    "lr_scheduler": "constant",
    "max_grad_norm": 1e6,
}


def silent(phase: str, done: float, total: float, **details: Any) -> None:
    """A reporter that nobody listens to."""


def metrics_of(plan: Path) -> list[StepMetrics]:
    return list(read_metrics(plan.parent / "metrics.jsonl"))


@pytest.fixture(scope="session")
def frozen_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose last norm is all zeros and whose logits are then all equal.

    Nothing flows back but to that norm, and from there through zeros: only the embeddings, which
    it multiplies, could move, and their gradient is zero too.
    """
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("base") / "frozen"))
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if "embed" in name or name.endswith("norm.weight"):
            tensor.zero_()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_huge_learning_rate_ends_the_run_early(plan_file):
    plan = plan_file(on_unhealthy="stop", **TOO_MUCH)
    with pytest.raises(UserError, match=r"training\.learning_rate"):
        train(plan, silent)
    steps = metrics_of(plan)
    assert len(steps) < 40
    assert TrainOutcome.load(plan.parent) is None
    errors = [f for f in judge_run(steps, Planned()) if f.severity == "error"]
    assert errors, "the check, had the run come to its end, would say the same"


def test_warn_goes_on_to_the_end_and_leaves_it_to_the_check(plan_file):
    plan = plan_file(on_unhealthy="warn", **TOO_MUCH)
    train(plan, silent)
    steps = metrics_of(plan)
    assert len(steps) == 40
    assert any(f.severity == "error" for f in judge_run(steps, Planned()))


def test_weights_that_do_not_move_end_the_run(plan_file, frozen_model):
    plan = plan_file(base=frozen_model)
    with pytest.raises(UserError, match=r"gradient norm is 0\.0 from step 1 on"):
        train(plan, silent)
    assert [step.grad_norm for step in metrics_of(plan)] == [0.0] * 5


def test_a_healthy_run_is_judged_healthy(plan_file):
    plan = plan_file(num_epochs=5, warmup_steps=2)
    train(plan, silent)
    assert judge_run(metrics_of(plan), Planned(warmup_steps=2)) == []
