"""Where steps run: in the run's process, in one process each, or in a pod each.

The environment says so, once, and no code changes: ``FT_EXECUTOR``.
"""

from __future__ import annotations

import os

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext

from resources.errors import UserError

NAMES = ("in_process", "multiprocess", "k8s")
_STEP_KEY = "DAGSTER_RUN_STEP_KEY"
"""Which step a pod is for, as dagster-k8s says it; a run's pod and the code server have none."""


def executor() -> dg.ExecutorDefinition:
    """The executor that ``FT_EXECUTOR`` names; in process without it: a process costs seconds.

    Raises:
        UserError: it names none.
    """
    name = os.environ.get("FT_EXECUTOR", "in_process")
    if name == "in_process":
        return dg.in_process_executor
    if name == "multiprocess":
        return dg.multiprocess_executor
    if name == "k8s":
        if is_step_pod():
            return in_step_pod
        from ft_assets.cluster.k8s_executor import k8s_executor

        return k8s_executor
    raise UserError(f"FT_EXECUTOR is {name!r}: set one of {', '.join(NAMES)}")


@dg.executor(
    name="k8s",
    config_schema=dg.Permissive(),  # pyright: ignore[reportUnknownArgumentType]
    requirements=multiple_process_executor_requirements(),
)
def in_step_pod(_: InitExecutorContext) -> Executor:
    """What stands for the executor where it has begun a step.

    It takes the run's config as it is, which the run's pod has checked. A step begins no steps, and
    to load the client of Kubernetes takes longer than all other definitions.
    """
    raise dg.DagsterInvariantViolationError("A step's pod begins no steps")


def is_step_pod() -> bool:
    """Whether this is the pod of one step, where no others can begin."""
    return on_kubernetes() and bool(os.environ.get(_STEP_KEY))


def on_kubernetes() -> bool:
    """Whether each step gets a pod of its own, with what its ``kubernetes`` block asks for."""
    return os.environ.get("FT_EXECUTOR") == "k8s"
