"""One attempt of one step as the executor sees it, with the pod that this run gives it."""

from __future__ import annotations

# The parts of Dagster's executor are its own.
# pyright: reportPrivateUsage=false
from collections.abc import Mapping
from typing import Any

from dagster._core.executor.step_delegating import StepHandlerContext

from ft_assets.cluster.step_pod import StepPod, pod_of_step


class ContextOfRun(StepHandlerContext):
    """Dagster's context of one step, with the op's tags as this run's config makes them.

    Raises:
        UserError: the run's config is not valid.
    """

    def __init__(self, of: StepHandlerContext) -> None:
        super().__init__(
            instance=of._instance,
            plan_context=of._plan_context,
            steps=list(of._steps_by_key.values()),
            execute_step_args=of._execute_step_args,
            dagster_run=of._dagster_run,
        )
        self.step_key = key_of(of)
        step: Any = of._steps_by_key[self.step_key]
        self.pod: StepPod = pod_of_step(step.op_name, step.tags, self.dagster_run.run_config)
        self.attempt = attempt_of(of)

    @property
    def step_tags(self) -> Mapping[str, Mapping[str, str]]:
        """What Dagster's handler makes the pod of."""
        return {self.step_key: self.pod.tags}

    @property
    def step(self) -> Any:
        """The context under which events of the step are written."""
        return self.get_step_context(self.step_key)


def key_of(context: StepHandlerContext) -> str:
    """The key of the one step that a context is about."""
    (key,) = context._steps_by_key
    return key


def attempt_of(context: StepHandlerContext) -> int:
    """How often the step was tried before."""
    known = context.execute_step_args.known_state
    return known.get_retry_state().get_attempt_count(key_of(context)) if known else 0
