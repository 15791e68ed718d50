"""Two machines with an address each train one model: torchrun, gloo, and a folder they share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from tests.support.containers import Containers, containers, skip_without_podman
from tests.support.training_runs import metrics_of, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_SECONDS = 400
"""For a node to end, on a machine that has other work too."""


@pytest.fixture
def machines() -> Generator[Containers]:
    skip_without_podman()
    with containers() as there:
        yield there


def start(machines: Containers, plan: Path, shared: Path) -> None:
    """Both nodes of a job, as Kubeflow Trainer's torch plugin starts them."""
    environment = {
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "node-0",
        "PET_MASTER_PORT": "29400",
        "FT_NODES_TIMEOUT": "300",
        "FT_COLLECTIVE_TIMEOUT": "300",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HOME": "/tmp",
    }
    for rank in (0, 1):
        machines.start(
            f"node-{rank}",
            ["-m", "ft_assets.training.node", str(plan)],
            environment={**environment, "PET_NODE_RANK": str(rank)},
            shared=shared,
        )


def wait_for(file: Path, machines: Containers) -> None:
    ends = time.monotonic() + _SECONDS
    while not file.exists():
        assert time.monotonic() < ends, machines.log("node-0") + machines.log("node-1")
        time.sleep(0.01)


def weights(plan: Path) -> dict[str, torch.Tensor]:
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    return load_file(plan.parent / outcome.model_dir / "model.safetensors")


def test_two_nodes_train_what_one_trains_though_one_of_them_was_lost(
    plan_file: Callable[..., Path],
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
    machines: Containers,
) -> None:
    values = {"rows": 40, "num_epochs": 8, "save_samples": 16, "save_full_state": True}
    alone = plan_file("alone", **values)
    run(alone)
    plan = plan_file("two-nodes", **values)
    written = TrainPlan.model_validate_json(plan.read_text())
    world = {"nnodes": 2, "nproc_per_node": 1}
    written = written.model_copy(update={"parameters": {**written.parameters, **world}})
    plan.write_text(written.model_dump_json())
    shared = tmp_path_factory.getbasetemp()

    # Node 1 is lost after the first checkpoint: node 0 ends by itself, and says why.
    start(machines, plan, shared)
    wait_for(plan.parent / "checkpoint-2" / "manifest.json", machines)
    machines.kill("node-1")
    assert machines.wait("node-0", _SECONDS) == 1
    assert "a training process of another node ended or cannot be reached any more" in machines.log(
        "node-0"
    )
    board = json.loads((plan.parent / "nodes" / "node-0.json").read_text())
    assert board["ended"]["status"] == 1
    assert TrainOutcome.load(plan.parent) is None
    assert not (plan.parent / "error.json").exists(), "nothing was wrong with the input"
    machines.remove()

    # Both again: they go on from the checkpoint, and end where one process alone does.
    start(machines, plan, shared)
    statuses = [machines.wait(f"node-{rank}", _SECONDS) for rank in (0, 1)]
    assert statuses == [0, 0], machines.log("node-0") + machines.log("node-1")
    outcome = TrainOutcome.load(plan.parent)
    assert outcome is not None
    assert outcome.resumed_from_step >= 2
    assert outcome.settings["processes"] == 2
    for step, one in zip(metrics_of(plan), metrics_of(alone), strict=True):
        assert step["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert step["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
    together = weights(plan)
    for name, tensor in weights(alone).items():
        assert torch.allclose(together[name], tensor, rtol=1e-3, atol=1e-4), name
