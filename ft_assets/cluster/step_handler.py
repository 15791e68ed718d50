"""Dagster's handler of steps in Kubernetes jobs, with the run's own pods and with open eyes.

Dagster's own (``K8sStepHandler``) makes the job and names it; it looks at the job's status alone,
so that a step whose pod can never start hangs for ever. This one looks at pods and events, says in
the run what it sees and what to do about it, and ends a step that cannot end itself.
"""

from __future__ import annotations

# Dagster's Kubernetes package is typed in part, and the executor's parts are its own.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.plan.objects import StepFailureData, UserFailureData
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepHandler,
    StepHandlerContext,
)
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster_k8s.client import DagsterK8sUnrecoverableAPIError
from dagster_k8s.executor import K8sStepHandler
from dagster_shared.error import SerializableErrorInfo
from kubernetes.client.exceptions import ApiException  # noqa: TID253
from urllib3.exceptions import HTTPError

from ft_assets.cluster import causes
from ft_assets.cluster.api import StepApi
from ft_assets.cluster.causes import Fault
from ft_assets.cluster.findings import Verdict, finding
from ft_assets.cluster.refusals import why_not_created
from ft_assets.cluster.settings import WatchSettings
from ft_assets.cluster.step_context import ContextOfRun, attempt_of, key_of
from ft_assets.cluster.watch import StepWatch, is_interruption
from ft_assets.cluster.watched import Object, at, condition
from resources.errors import UserError

_CONFLICT = 409


class WatchedStepHandler(StepHandler):
    """Starts, watches and ends the jobs of steps."""

    def __init__(self, dagster: K8sStepHandler, settings: WatchSettings) -> None:
        """Around Dagster's own handler, whose clients and configuration it uses."""
        super().__init__()
        self._dagster = dagster
        self._settings = settings
        self._api = StepApi(dagster._api_client.batch_api, dagster._api_client.core_api)
        self._watches: dict[str, StepWatch] = {}
        self._interrupted: set[str] = set()
        """Steps that were interrupted before this executor took the run over."""
        self._unlogged_retries: dict[str, int] = {}
        self._owner_known: bool | None = None
        self._api_error = ""

    @property
    def name(self) -> str:
        """As the run's first event has it."""
        return "WatchedStepHandler"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Create the job of a step; one that is there already is the same job."""
        try:
            context = ContextOfRun(step_handler_context)
        except UserError as error:
            self._watches.pop(key_of(step_handler_context), None)  # an earlier attempt's
            _refuse(step_handler_context, error)
            return
        watch = self._watch(context)
        self._find_owner(watch)
        try:
            yield from self._create(watch)
        except DagsterK8sUnrecoverableAPIError as error:
            if not isinstance(error.k8s_api_exception, ApiException):
                raise
            said = _words_of(error.k8s_api_exception)
            cause = why_not_created(said)
            if cause in (causes.POD_NOT_CREATED, causes.POD_REFUSED):
                cause = causes.JOB_REFUSED
            retry = cause.fault is not Fault.CONFIGURATION
            watch.end(Verdict(finding(cause, said, final=True), retry))

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Look at a step; its end, where it cannot end itself, is written to the event log here.

        Unhealthy is only the step of a run that another executor began, when it has no job.
        """
        key = key_of(step_handler_context)
        watch = self._watches.get(key)
        if watch is None or watch.context.attempt != attempt_of(step_handler_context):
            watch = self._watch(ContextOfRun(step_handler_context))
            job = self._api.job(watch.namespace, watch.job)
            if job is None:
                return CheckStepHealthResult.unhealthy(f"the job {watch.job} is not there")
            watch.launched = datetime.fromisoformat(str(at(job, "metadata", "creationTimestamp")))
        if not watch.ended:
            self._look(watch)
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Delete the job of a step with its pods, which get their grace period."""
        key = key_of(step_handler_context)
        watch = self._watches.get(key) or self._watch(ContextOfRun(step_handler_context))
        watch.ended = True
        yield DagsterEvent.engine_event(
            watch.context.step,
            f"Deleting the Kubernetes job {watch.job} of the step",
            EngineEventData(),
        )
        self._api.delete(watch.namespace, watch.job)

    def admit(self, events: Sequence[DagsterEvent]) -> list[DagsterEvent]:
        """The events of the log as the executor may act on them.

        An attempt ends once: what a pod that was given up writes later is no news. A step that says
        only that it was told to stop has not ended yet: why it was, the watchdog finds out.
        """
        admitted: list[DagsterEvent] = []
        for place, event in enumerate(events):
            watch = self._watches.get(event.step_key or "")
            ends = event.is_step_success or event.is_step_failure or event.is_step_up_for_retry
            if not ends or event.step_key is None:
                admitted.append(event)
            elif is_interruption(event) and not self._is_cancelled(watch):
                self._note_interruption(event.step_key, watch, events[place + 1 :])
            elif watch is None:
                admitted.append(event)
            elif watch.unlogged is None and not watch.read:
                watch.ended = watch.read = True
                admitted.append(event)
        return admitted + self._unlogged()

    def _unlogged(self) -> list[DagsterEvent]:
        """Ends of attempts that stand in no log; each is told once."""
        told: list[DagsterEvent] = []
        for key, watch in self._watches.items():
            if watch.unlogged is not None and not watch.read:
                watch.read = True
                self._unlogged_retries[key] = self._unlogged_retries.get(key, 0) + 1
                told.append(watch.unlogged)
        return told

    def _note_interruption(
        self, key: str, watch: StepWatch | None, later: Sequence[DagsterEvent]
    ) -> None:
        if watch is not None:
            watch.interrupted = True
        elif any(event.is_step_restarted and event.step_key == key for event in later):
            self._unlogged_retries[key] = self._unlogged_retries.get(key, 0) + 1
        else:
            self._interrupted.add(key)

    @staticmethod
    def _is_cancelled(watch: StepWatch | None) -> bool:
        """Whether a person ends the run, who wants no further attempt."""
        if watch is None:
            return False
        run = watch.context.instance.get_run_by_id(watch.context.dagster_run.run_id)
        return run is None or run.is_finished or run.status is DagsterRunStatus.CANCELING

    def _watch(self, context: ContextOfRun) -> StepWatch:
        """Begin the watch over an attempt."""
        namespace = self._dagster._get_container_context(context).namespace or "default"
        settings = self._settings
        if context.pod.queue_seconds is not None:
            settings = replace(settings, queue_seconds=context.pod.queue_seconds)
        watch = StepWatch(
            context=context,
            namespace=namespace,
            job=self._dagster._get_k8s_step_job_name(context),
            launched=datetime.now(UTC),
            settings=settings,
            unlogged_retries=self._unlogged_retries.get(context.step_key, 0),
            interrupted=context.step_key in self._interrupted,
        )
        self._interrupted.discard(context.step_key)
        self._watches[context.step_key] = watch
        return watch

    def _look(self, watch: StepWatch) -> None:
        """Look once; an API that does not answer is said once, not at every look."""
        try:
            watch.look(self._api, datetime.now(UTC))
        except (ApiException, HTTPError) as error:
            said = _words_of(error) if isinstance(error, ApiException) else str(error)
            if said != self._api_error:
                self._api_error = said
                watch.say(f"The watchdog cannot look at the step's pods: {said}")
        else:
            self._api_error = ""

    def _create(self, watch: StepWatch) -> Iterator[DagsterEvent]:
        try:
            yield from self._dagster.launch_step(watch.context)
        except DagsterK8sUnrecoverableAPIError as error:
            if getattr(error.k8s_api_exception, "status", None) != _CONFLICT:
                raise
            self._adopt(watch)

    def _adopt(self, watch: StepWatch) -> None:
        """Take the job that has the name already, if it is this step's."""
        job = self._api.job(watch.namespace, watch.job)
        run_id = watch.context.dagster_run.run_id
        if job is not None and at(job, "metadata", "labels", "dagster/run-id") != run_id:
            detail = (
                f"a job of this name is in the namespace {watch.namespace} and is not of this run"
            )
            watch.end(Verdict(finding(causes.JOB_REFUSED, detail, final=True), retry=False))
            return
        state = "and is over" if job is not None and _is_over(job) else ""
        watch.say(f"The Kubernetes job {watch.job} exists already {state}: going on with it")

    def _find_owner(self, watch: StepWatch) -> None:
        """Once: whether the run's pod is known, so that step jobs can be made to go with it."""
        if self._owner_known is not None or not self._dagster._enable_owner_references:
            return
        try:
            self._owner_known = self._dagster._detect_current_name_and_uid() is not None
        except ApiException as error:
            self._owner_known = False
            self._dagster._enable_owner_references = False
            watch.say(
                f"The run's own pod is not known ({_words_of(error)}): jobs of steps get no owner, "
                "so that the reaper alone deletes them when the run's pod is lost"
            )


def _refuse(context: StepHandlerContext, error: UserError) -> None:
    """Fail a step whose pod cannot be made of the run's config, in the error's words."""
    DagsterEvent.step_failure_event(
        context.get_step_context(key_of(context)),
        StepFailureData(
            SerializableErrorInfo(str(error), [], cls_name="UserError"),
            user_failure_data=UserFailureData("UserError", str(error)),
        ),
    )


def _is_over(job: Object) -> bool:
    return any(
        (condition(job, kind) or {}).get("status") == "True" for kind in ("Failed", "Complete")
    )


def _words_of(error: Any) -> str:
    """What the API server said."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
