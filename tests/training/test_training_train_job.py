"""The real training of two nodes as a TrainJob: made, followed and deleted by a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from tests.support.train_job_controller import TrainJobController
from tests.support.train_job_fixtures import controller, trainer
from tests.support.train_job_step import StepInThread, launcher, request

__all__ = ["controller", "trainer"]

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "ft-tiny-0123456789abcdef"


def test_two_nodes_train_the_tiny_model(
    plan_file: Callable[..., Path], controller: TrainJobController, namespace: str
) -> None:
    file = plan_file(rows=16, num_epochs=1)
    plan = TrainPlan.model_validate_json(file.read_text())
    world = {"nnodes": 2, "nproc_per_node": 1}
    plan = plan.model_copy(update={"parameters": {**plan.parameters, **world}})
    file.write_text(plan.model_dump_json())

    asked = request(NAME, namespace)
    threads = {"name": "OMP_NUM_THREADS", "value": "1"}
    step = StepInThread(
        launcher(request(NAME, namespace, env=(*asked.env, threads))),
        file,
        module="ft_assets.training.node",
    )
    step.end(540)

    outcome = TrainOutcome.load(file.parent)
    assert outcome is not None
    assert outcome.steps == 2
    losses = [report["loss"] for report in step.reports if "loss" in report]
    assert losses
    assert all(map(math.isfinite, losses))
    assert step.seconds > 0
    assert controller.job(NAME) is None
