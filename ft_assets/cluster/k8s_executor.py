"""The executor that gives each step a pod: Dagster's, with the watchdog in it.

Its config is that of ``dagster_k8s.k8s_job_executor``, with a group ``watchdog`` beside it and with
owner references on, so that step jobs go with the run's pod. Imported only where ``FT_EXECUTOR`` is
``k8s``: it loads the client of Kubernetes.
"""

from __future__ import annotations

# Dagster's own signatures are typed in part, and the executor's parts are its own.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster_k8s.executor import (
    _K8S_EXECUTOR_CONFIG_SCHEMA,
    K8sStepHandler,
    k8s_job_executor,
)

from ft_assets.cluster.settings import WatchSettings
from ft_assets.cluster.step_handler import WatchedStepHandler

_WATCHDOG = {
    field.name: dg.Field(
        dg.IntSource if isinstance(field.default, int) else float,
        is_required=False,
        default_value=field.default,
    )
    for field in fields(WatchSettings)
}


def _schema() -> dict[str, Any]:
    owner = _K8S_EXECUTOR_CONFIG_SCHEMA["enable_owner_references"]
    return {
        **_K8S_EXECUTOR_CONFIG_SCHEMA,
        "enable_owner_references": dg.Field(
            bool, is_required=False, default_value=True, description=owner.description
        ),
        "watchdog": dg.Field(
            # No default here: Dagster would leave out those of the fields in it.
            dg.Shape(_WATCHDOG),
            description="How often pods are looked at, and how long what ails them may last.",
        ),
    }


class WatchedExecutor(StepDelegatingExecutor):
    """Dagster's loop over steps in other processes, whose handler has a say in how steps end."""

    def _pop_events(
        self, instance: dg.DagsterInstance, run_id: str, seen_storage_ids: set[int]
    ) -> Sequence[DagsterEvent]:
        events = super()._pop_events(instance, run_id, seen_storage_ids)
        assert isinstance(self._step_handler, WatchedStepHandler)
        return self._step_handler.admit(events)


@dg.executor(
    name="k8s", config_schema=_schema(), requirements=multiple_process_executor_requirements()
)
def k8s_executor(init_context: InitExecutorContext) -> Executor:
    """Each step in a Kubernetes job, watched."""
    given: Any = init_context.executor_config
    settings = WatchSettings(**given["watchdog"])
    make: Any = k8s_job_executor.executor_creation_fn
    dagster: StepDelegatingExecutor = make(init_context)
    handler = dagster._step_handler
    assert isinstance(handler, K8sStepHandler)
    return WatchedExecutor(
        WatchedStepHandler(handler, settings),
        retries=dagster.retries,
        sleep_seconds=settings.event_seconds,
        check_step_health_interval_seconds=settings.poll_seconds,
        max_concurrent=dagster._max_concurrent,
        tag_concurrency_limits=dagster._tag_concurrency_limits,
        should_verify_step=dagster._should_verify_step,
        step_dependency_config=dagster.step_dependency_config,
    )
