"""An attempt of a step ends once, whoever says so first."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions import NodeHandle
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.execution.plan.objects import ErrorSource, StepFailureData, StepSuccessData
from dagster._core.storage.dagster_run import DagsterRunStatus

from ft_assets.cluster.settings import WatchSettings
from ft_assets.cluster.step_handler import WatchedStepHandler
from ft_assets.cluster.watch import StepWatch

STEP = "train"


def success() -> DagsterEvent:
    return _event(DagsterEventType.STEP_SUCCESS, StepSuccessData(duration_ms=1.0))


def failure(source: ErrorSource = ErrorSource.USER_CODE_ERROR) -> DagsterEvent:
    return _event(DagsterEventType.STEP_FAILURE, StepFailureData(None, None, source))


def _event(kind: DagsterEventType, data: Any) -> DagsterEvent:
    return DagsterEvent(
        event_type_value=kind.value,
        job_name="sft",
        step_handle=StepHandle(NodeHandle(STEP, None)),
        event_specific_data=data,
    )


@pytest.fixture
def run() -> dg.DagsterRun:
    return dg.DagsterRun(job_name="sft", status=DagsterRunStatus.STARTED)


@pytest.fixture
def watch(run: dg.DagsterRun) -> StepWatch:
    instance = SimpleNamespace(get_run_by_id=lambda _: run)
    context: Any = SimpleNamespace(dagster_run=run, instance=instance, step_key=STEP, attempt=0)
    return StepWatch(context, "ft", "dagster-step-1", datetime.now(UTC), WatchSettings())


@pytest.fixture
def handler(watch: StepWatch) -> WatchedStepHandler:
    apis = SimpleNamespace(batch_api=None, core_api=None)
    dagsters: Any = SimpleNamespace(_api_client=apis)
    handler = WatchedStepHandler(dagsters, WatchSettings())
    handler._watches[STEP] = watch
    return handler


def test_a_steps_own_end_is_its_end(handler, watch):
    end = success()
    assert handler.admit([end]) == [end]
    assert watch.ended


def test_what_a_pod_says_after_it_was_given_up_is_no_news(handler):
    first, late = failure(), success()
    assert handler.admit([first]) == [first]
    assert handler.admit([late]) == []


def test_a_step_that_was_told_to_stop_has_not_ended_yet(handler, watch):
    assert handler.admit([failure(ErrorSource.INTERRUPT)]) == []
    assert watch.interrupted
    assert not watch.ended


def test_a_cancelled_run_takes_an_interruption_as_the_end(handler, watch, run):
    watch.context.instance.get_run_by_id = lambda _: run.with_status(DagsterRunStatus.CANCELING)
    end = failure(ErrorSource.INTERRUPT)
    assert handler.admit([end]) == [end]


def test_another_attempt_of_an_interrupted_step_is_told_to_the_executor_once(handler, watch):
    handler.admit([failure(ErrorSource.INTERRUPT)])
    again = _event(DagsterEventType.STEP_UP_FOR_RETRY, None)
    watch.unlogged = again
    assert handler.admit([]) == [again]
    assert handler.admit([]) == []


def test_events_of_steps_that_nobody_watches_pass(handler):
    end = success()._replace(step_handle=StepHandle(NodeHandle("x", None)), step_key="x")
    assert handler.admit([end]) == [end]
