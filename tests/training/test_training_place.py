"""Which node this is and where node 0 is: from the launcher's environment and the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training.limits import COLLECTIVE_TIMEOUT, NODES_TIMEOUT, limit
from ft_assets.training.place import Place, at, place_of
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError

TRAINER: dict[str, str] = {
    "PET_NNODES": "2",
    "PET_NPROC_PER_NODE": "4",
    "PET_NODE_RANK": "1",
    "PET_MASTER_ADDR": "job-node-0-0.job",
    "PET_MASTER_PORT": "29400",
}
"""What Kubeflow Trainer's torch plugin sets on the second of two nodes."""


@pytest.fixture
def plan(plan_file: Callable[..., Path]) -> Callable[..., TrainPlan]:
    written = TrainPlan.model_validate_json(plan_file().read_text())

    def make(nnodes: int = 2, nproc_per_node: int = 4, **more: Any) -> TrainPlan:
        world = {"nnodes": nnodes, "nproc_per_node": nproc_per_node}
        parameters = {**written.parameters, **world, **more}
        return written.model_copy(update={"parameters": parameters, "fingerprint": "f" * 64})

    return make


def test_the_second_node_of_a_train_job(plan: Callable[..., TrainPlan]) -> None:
    place = place_of(plan(), TRAINER)
    assert place == Place(
        nnodes=2,
        nproc_per_node=4,
        node_rank=1,
        rdzv_id="f" * 16,
        master_addr="job-node-0-0.job",
        master_port=29400,
    )
    assert place.processes == 8


def test_one_node_needs_no_environment(plan: Callable[..., TrainPlan]) -> None:
    alone = plan(nnodes=1)
    assert place_of(alone, {}) == Place(1, 4, 0)
    assert at(alone, place_of(alone, {})) is alone


@pytest.mark.parametrize(
    ("parameters", "environment", "expected"),
    [
        ({"master_addr": "a"}, {}, {"master_addr": "a", "master_port": 29400}),
        ({"master_addr": "a", "master_port": 7}, {}, {"master_addr": "a", "master_port": 7}),
        ({"rdzv_endpoint": "b:7"}, {}, {"rdzv_endpoint": "b:7"}),
        ({"master_port": 7}, {}, {"master_addr": "job-node-0-0.job", "master_port": 7}),
        (
            {"rdzv_id": "mine"},
            {"PET_RDZV_ID": "theirs"},
            {"rdzv_id": "mine", "master_addr": "job-node-0-0.job"},
        ),
        ({}, {"PET_RDZV_ID": "theirs"}, {"rdzv_id": "theirs"}),
        (
            {},
            {"PET_MASTER_ADDR": "", "PET_RDZV_ENDPOINT": "c:8"},
            {"rdzv_endpoint": "c:8", "master_addr": None, "master_port": None},
        ),
        ({}, {"PET_NPROC_PER_NODE": "auto"}, {"nproc_per_node": 4}),
        ({}, {"PET_NODE_RANK": ""}, {"node_rank": 0}),
        ({"node_rank": 1}, {"PET_NODE_RANK": ""}, {"node_rank": 1}),
        ({"node_rank": 1}, {"PET_NODE_RANK": "0"}, {"node_rank": 0}),  # one plan for all nodes
    ],
)
def test_what_the_pipeline_says_stands_above_the_launcher(
    plan: Callable[..., TrainPlan],
    parameters: dict[str, Any],
    environment: dict[str, str],
    expected: dict[str, Any],
) -> None:
    place = place_of(plan(**parameters), {**TRAINER, **environment})
    assert {name: getattr(place, name) for name in expected} == expected
    assert place.master_addr is None or place.rdzv_endpoint is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PET_NNODES": "3"}, r"PET_NNODES: 3: the plan is for 2 \(kubernetes\.workers\)"),
        ({"PET_NPROC_PER_NODE": "2"}, r"PET_NPROC_PER_NODE: 2: the plan is for 4"),
        ({"PET_NODE_RANK": "2"}, r"node 2 \(PET_NODE_RANK\): the plan is for 2, counted from 0"),
        ({"PET_NODE_RANK": "one"}, r"PET_NODE_RANK: 'one' is no whole number"),
        ({"PET_MASTER_PORT": "x"}, r"PET_MASTER_PORT: 'x' is no whole number"),
        ({"PET_RDZV_ENDPOINT": "c:8"}, r"PET_RDZV_ENDPOINT \(c:8\) and PET_MASTER_ADDR .* exclude"),
        ({"PET_MASTER_ADDR": ""}, r"nothing says where node 0 is.*: set PET_MASTER_ADDR"),
    ],
)
def test_what_does_not_fit_the_plan_is_refused(
    plan: Callable[..., TrainPlan], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        place_of(plan(), {**TRAINER, **environment})


def test_a_node_carries_out_the_plan_from_its_own_place(plan: Callable[..., TrainPlan]) -> None:
    whole = plan(rdzv_endpoint="other:1", num_epochs=3)
    there = at(whole, Place(2, 4, 1, "id", master_addr="a", master_port=7)).parameters
    assert {**there, "rdzv_endpoint": "other:1"}.items() >= whole.parameters.items()
    assert "rdzv_endpoint" not in there
    assert (there["node_rank"], there["rdzv_id"]) == (1, "id")
    assert (there["master_addr"], there["master_port"]) == ("a", 7)


def test_the_limits_are_seconds_in_the_environment() -> None:
    assert limit({}, NODES_TIMEOUT) == timedelta(minutes=15)
    assert limit({}, COLLECTIVE_TIMEOUT) == timedelta(minutes=30)
    assert limit({NODES_TIMEOUT: "60"}, NODES_TIMEOUT) == timedelta(seconds=60)
    with pytest.raises(UserError, match="FT_NODES_TIMEOUT: '1m' is no whole number of seconds"):
        limit({NODES_TIMEOUT: "1m"}, NODES_TIMEOUT)
