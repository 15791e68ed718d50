"""The watch over one attempt of one step: what is said about it in the run, and how it ends.

Belongs here: turning findings into events of Dagster, once per change, and a verdict into the
step's failure or another attempt. Does not belong here: judging (``watchdog``), creating jobs
(``step_handler``).
"""

from __future__ import annotations

# Dagster's own signatures are typed in part.
# pyright: reportUnknownMemberType=false
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._core.execution.plan.objects import (
    ErrorSource,
    StepFailureData,
    StepRetryData,
    UserFailureData,
)
from dagster_shared.error import SerializableErrorInfo

from ft_assets.cluster import causes
from ft_assets.cluster.api import StepApi
from ft_assets.cluster.findings import Finding, Verdict
from ft_assets.cluster.settings import WatchSettings
from ft_assets.cluster.step_context import ContextOfRun
from ft_assets.cluster.watchdog import examine, judge, worth_saying
from ft_assets.cluster.watched import Observation, at, condition

_ENDS = {
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_UP_FOR_RETRY,
}
_Key = tuple[str, str | None]


@dataclass
class StepWatch:
    """One attempt of one step, from its job's creation to its last event."""

    context: ContextOfRun
    namespace: str
    job: str
    launched: datetime
    settings: WatchSettings
    unlogged_retries: int = 0
    """Attempts before this one whose end in the event log is an interruption."""
    interrupted: bool = False
    """Whether the step wrote that it was told to stop."""
    ended: bool = False
    """Whether the attempt is over: by its own word, or by the watchdog's."""
    read: bool = False
    """Whether the executor has read the attempt's end."""
    unlogged: DagsterEvent | None = None
    """What the executor must be told and the event log must not be."""
    _since: dict[_Key, datetime] = field(default_factory=dict[_Key, datetime])
    _said: dict[_Key, tuple[Any, ...]] = field(default_factory=dict[_Key, tuple[Any, ...]])

    def look(self, api: StepApi, now: datetime) -> None:
        """Look once; write what changed, and end the attempt if it cannot end itself."""
        closely = self.interrupted or bool(self._said)
        seen = api.observe(self.namespace, self.job, closely=closely)
        seen = replace(seen, interrupted=self.interrupted)
        findings = examine(seen)
        self._since = {one.key: self._since.get(one.key, now) for one in findings}
        verdict = judge(findings, self._since, self.launched, now, self.settings)
        if verdict is not None and self._is_of_an_earlier_attempt(verdict):
            self.interrupted = False
            return
        over = verdict is not None or any(one.final for one in findings)
        if over and self._has_own_word():
            return  # the step ended by itself, and said how: the executor reads it next
        self._say(findings, seen, now)
        if verdict is None:
            return
        try:
            if _may_still_run(seen):
                api.delete(self.namespace, self.job, uid=at(seen.job, "metadata", "uid"))
        finally:  # a job that may not be deleted keeps no step waiting; the lease keeps it apart
            self.end(verdict)

    def say(self, message: str, **metadata: str) -> None:
        """Write an event of the step."""
        texts = {name: dg.MetadataValue.text(value) for name, value in metadata.items()}
        DagsterEvent.engine_event(self.context.step, message, EngineEventData(texts))

    def end(self, verdict: Verdict) -> None:
        """End the attempt in Dagster: another one where that is worth making, else a failure."""
        self.ended = True
        finding = verdict.finding
        text = finding.sentence
        if verdict.waited:
            text = f"{text} It has been so for longer than {verdict.waited}."
        error = SerializableErrorInfo(text, [], cls_name=finding.cause.name)
        seconds = self._seconds_to_retry() if verdict.retry else None
        if seconds is not None:
            self._retry(StepRetryData(error=error, seconds_to_wait=seconds))
            return
        reason = UserFailureData(finding.cause.name, text, self._metadata(finding))
        DagsterEvent.step_failure_event(
            self.context.step,
            StepFailureData(
                error, user_failure_data=reason, error_source=ErrorSource.UNEXPECTED_ERROR
            ),
        )

    def _say(self, findings: Sequence[Finding], seen: Observation, now: datetime) -> None:
        """Write the findings that changed since the last look, and that all is well again."""
        for one in findings:
            known = self._said.get(one.key) == one.change
            if not known and worth_saying(one, self._since[one.key], now):
                self._said[one.key] = one.change
                DagsterEvent.engine_event(
                    self.context.step, one.sentence, EngineEventData(self._metadata(one))
                )
        if self._said and not findings:
            names = ", ".join(dict.fromkeys(name for name, _ in self._said))
            node = next((str(at(pod, "spec", "nodeName")) for pod in seen.pods), "a node")
            waited = (now - self.launched).total_seconds()
            self._said.clear()
            self.say(f"{names} is over: the pod is on {node}, {waited:.0f} s after its creation")

    def _metadata(self, finding: Finding) -> dict[str, Any]:
        texts = {
            "cause": finding.cause.name,
            "remedy": finding.remedy,
            "Kubernetes Job name": self.job,
            "Kubernetes Namespace": self.namespace,
        }
        if finding.pod is not None:
            texts["Kubernetes Pod name"] = finding.pod
        return {name: dg.MetadataValue.text(text) for name, text in texts.items()}

    def _has_own_word(self) -> bool:
        """Whether the event log has the attempt's end, which the executor may not have read.

        An interruption is none, and is noted: the executor may not have read that either.
        """
        run_id = self.context.dagster_run.run_id
        retries = interruptions = 0
        for record in self.context.instance.get_records_for_run(run_id, of_type=_ENDS).records:
            event = record.event_log_entry.dagster_event
            if event is None or event.step_key != self.context.step_key:
                continue
            if event.is_step_up_for_retry:
                retries += 1
            elif is_interruption(event):
                interruptions += 1
            else:
                return True
        self.interrupted = self.interrupted or interruptions > self.unlogged_retries
        return retries > self.context.attempt - self.unlogged_retries

    def _is_of_an_earlier_attempt(self, verdict: Verdict) -> bool:
        """Whether an interruption was that of a pod given up earlier, whose node came back late.

        This attempt's own pod would have ended by now, and it runs.
        """
        only_said = verdict.finding.cause is causes.KILLED and not verdict.finding.final
        return only_said and self.context.attempt > 0

    def _seconds_to_retry(self) -> float | None:
        """How long to wait before another attempt; None: there is none left."""
        step = self.context.step
        if step.retry_mode.disabled:
            return None
        policy = step.op_retry_policy
        allowed = policy.max_retries if policy else self.settings.retries
        if self.context.attempt >= allowed:
            return None
        if policy:
            return policy.calculate_delay(self.context.attempt + 1)
        return self.settings.delay(self.context.attempt)

    def _retry(self, data: StepRetryData) -> None:
        if not self.interrupted:
            DagsterEvent.step_retry_event(self.context.step, data)
            return
        # The step has written its failure already. A second end of the same attempt in the log
        # would make Dagster's count of attempts wrong, and the next pod would refuse to start.
        step = self.context.step
        self.say(f"The step is tried again in {data.seconds_to_wait:g} s")
        self.unlogged = DagsterEvent(
            event_type_value=DagsterEventType.STEP_UP_FOR_RETRY.value,
            job_name=step.job_name,
            step_handle=step.step.handle,
            node_handle=step.step.node_handle,
            step_kind_value=step.step.kind.value,
            logging_tags=step.event_tags,
            event_specific_data=data,
            message=f'The step "{self.context.step_key}" was interrupted and is tried again.',
            pid=os.getpid(),
        )


def is_interruption(event: DagsterEvent) -> bool:
    """Whether a step's failure says only that its process was told to stop."""
    return event.is_step_failure and event.step_failure_data.error_source is ErrorSource.INTERRUPT


def _may_still_run(seen: Observation) -> bool:
    """Whether the step's job must be deleted, so that nothing of this attempt runs on."""
    if seen.job is None:
        return False
    for kind in ("Failed", "Complete"):
        if (condition(seen.job, kind) or {}).get("status") == "True":
            return False
    # A deleted pod gets a replacement, which may not be there yet.
    return not seen.pods or any(
        at(pod, "status", "phase") not in ("Failed", "Succeeded")
        or at(pod, "metadata", "deletionTimestamp") is not None
        for pod in seen.pods
    )
