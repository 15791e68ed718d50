"""What a training took, after it: GPU hours and money."""

from __future__ import annotations

from typing import Any

import pytest

from ft_assets.training.cost import training_cost
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan


def cost(backend: str, price: float, *, resumed: int = 0, **processes: int):
    """Of half an hour of training."""
    given: dict[str, Any] = {"backend": backend, "parameters": processes}
    plan = TrainPlan.model_construct(**given)
    outcome = TrainOutcome.model_construct(train_seconds=1800.0, resumed_from_step=resumed)
    return training_cost(plan, outcome, price)


@pytest.mark.parametrize(
    ("processes", "hours", "money"),
    [
        ({}, 0.5, 1.0),
        ({"nproc_per_node": 8}, 4.0, 8.0),
        ({"nproc_per_node": 8, "nnodes": 2}, 8.0, 16.0),
    ],
)
def test_all_gpus_of_all_nodes_cost(processes, hours, money):
    found = cost("mini-trainer", 2.0, **processes)
    assert (found.gpu_hours, found.money) == (hours, money)


def test_a_cpu_takes_no_gpu_hours_whatever_their_price():
    found = cost("cpu", 2.0, nproc_per_node=8)
    assert (found.gpus, found.gpu_hours, found.money) == (0, 0.0, None)


def test_without_a_price_there_is_no_cost():
    found = cost("mini-trainer", 0)
    assert (found.gpu_hours, found.money) == (0.5, None)


def test_a_resumed_training_does_not_know_what_its_first_part_took():
    found = cost("mini-trainer", 2.0, resumed=3)
    assert (found.seconds, found.gpu_hours, found.money) == (None, None, None)
