"""Where one node of a training over several nodes stands: which it is, and where the others are.

The launcher says it in the environment, as Kubeflow Trainer's torch plugin sets it on every node
of a TrainJob; what the pipeline says under ``training`` (a cluster made by hand) stands above that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ft_assets.training.plan import TrainPlan
from resources.errors import UserError

NODE_RANK = "PET_NODE_RANK"
PET = (
    "PET_NNODES",
    "PET_NPROC_PER_NODE",
    NODE_RANK,
    "PET_MASTER_ADDR",
    "PET_MASTER_PORT",
    "PET_RDZV_ID",
    "PET_RDZV_ENDPOINT",
)
"""Variables that torchrun reads too."""

PORT = 29400
"""Of node 0, where nothing says another one; Kubeflow Trainer's."""

_UNCOUNTED = frozenset({"", "auto", "gpu", "cpu"})


@dataclass(frozen=True)
class Place:
    """One node among all; the names are torchrun's."""

    nnodes: int
    nproc_per_node: int
    node_rank: int
    rdzv_id: str | None = None
    rdzv_endpoint: str | None = None
    master_addr: str | None = None
    master_port: int | None = None

    @property
    def processes(self) -> int:
        """Training processes over all nodes."""
        return self.nnodes * self.nproc_per_node

    def arguments(self) -> dict[str, Any]:
        """What training_hub's functions take of it."""
        found = {name: value for name, value in vars(self).items() if value is not None}
        if self.nnodes == 1:
            del found["node_rank"]
        return found


def place_of(plan: TrainPlan, environment: Mapping[str, str]) -> Place:
    """The place of this node.

    Args:
        plan: the run; its ``nnodes`` and ``nproc_per_node`` are what the batch was divided by.
        environment: of this process.

    Raises:
        UserError: environment and plan do not fit together, or nothing says where node 0 is.
    """
    given = plan.parameters
    nodes, processes = int(given.get("nnodes", 1)), int(given.get("nproc_per_node", 1))
    _agree(environment, "PET_NNODES", nodes, "kubernetes.workers")
    _agree(environment, "PET_NPROC_PER_NODE", processes, "kubernetes.procs_per_worker")
    rank = rank_of(environment, int(given.get("node_rank", 0)))
    if not 0 <= rank < nodes:
        raise UserError(
            f"node {rank} ({NODE_RANK}): the plan is for {nodes}, counted from 0: start as many "
            "nodes as kubernetes.workers says"
        )
    if nodes == 1:
        return Place(1, processes, rank)
    rdzv_id = str(given.get("rdzv_id") or environment.get("PET_RDZV_ID") or plan.fingerprint[:16])
    return Place(nodes, processes, rank, rdzv_id, **_meeting_point(given, environment))


def rank_of(environment: Mapping[str, str], default: int = 0) -> int:
    """The number of this node, from 0.

    Raises:
        UserError: it is none.
    """
    return _number(environment, NODE_RANK, default)


def at(plan: TrainPlan, place: Place) -> TrainPlan:
    """The plan as this node carries it out."""
    if place.nnodes == 1:
        return plan
    kept = {
        name: value
        for name, value in plan.parameters.items()
        if name not in ("rdzv_endpoint", "master_addr", "master_port")
    }
    return plan.model_copy(update={"parameters": {**kept, **place.arguments()}})


def _meeting_point(given: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Where the nodes find each other: a rendezvous or node 0's address, never both."""
    if endpoint := given.get("rdzv_endpoint"):
        return {"rdzv_endpoint": endpoint}
    if address := given.get("master_addr"):
        return {"master_addr": address, "master_port": given.get("master_port") or PORT}
    endpoint, address = environment.get("PET_RDZV_ENDPOINT"), environment.get("PET_MASTER_ADDR")
    if endpoint and address:
        raise UserError(
            f"PET_RDZV_ENDPOINT ({endpoint}) and PET_MASTER_ADDR ({address}) exclude each other: "
            "keep one"
        )
    if endpoint:
        return {"rdzv_endpoint": endpoint}
    if address:
        port = given.get("master_port") or _number(environment, "PET_MASTER_PORT", PORT)
        return {"master_addr": address, "master_port": port}
    raise UserError(
        "nothing says where node 0 is, and the nodes have to find each other: set PET_MASTER_ADDR "
        "and PET_MASTER_PORT on each node (Kubeflow Trainer's torch plugin does), or "
        "training.master_addr"
    )


def _agree(environment: Mapping[str, str], name: str, planned: int, parameter: str) -> None:
    if environment.get(name, "").lower() in _UNCOUNTED:
        return
    there = _number(environment, name, planned)
    if there != planned:
        raise UserError(
            f"{name}: {there}: the plan is for {planned} ({parameter}), and the batch was divided "
            "by that: give both the same number"
        )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{name}: {text!r} is no whole number from 0: set one")
    return int(text)
