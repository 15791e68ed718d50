"""The few calls that the watchdog makes of the Kubernetes API, as plain JSON."""

from __future__ import annotations

# The client's package has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
import json
from typing import Any

from ft_assets.cluster.watched import Object, Observation, created_pods, is_calm, name_of

NOT_FOUND = 404
_CONFLICT = 409


class StepApi:
    """Jobs, pods and events of steps, through the clients that the step handler has."""

    def __init__(self, batch: Any, core: Any) -> None:
        """``BatchV1Api`` and ``CoreV1Api``."""
        self._batch = batch
        self._core = core

    def observe(self, namespace: str, job: str, *, closely: bool = False) -> Observation:
        """One look at a step: two calls while its pod runs well, a few more otherwise.

        Args:
            namespace: of the job.
            job: its name.
            closely: read the events although all looks well: a replacement runs well too.
        """
        found = self.job(namespace, job)
        pods = self._pods(namespace, job)
        if found is not None and is_calm(pods) and not closely:
            return Observation(found, pods)
        events = self._events(namespace, job)
        created = created_pods(job, events)
        if not set(created) <= set(map(name_of, pods)):
            # Lost, or made since the pods were listed: a list that is newer than its event tells.
            pods = self._pods(namespace, job)
        names = dict.fromkeys([*map(name_of, pods), *created])
        for name in names:
            events += self._events(namespace, name)
        events.sort(key=_last_seen)
        return Observation(found, pods, events)

    def job(self, namespace: str, name: str) -> Object | None:
        """The job; None when there is none."""
        from kubernetes.client.exceptions import ApiException

        try:
            answer = self._batch.read_namespaced_job(name, namespace, _preload_content=False)
        except ApiException as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return json.loads(answer.data)

    def delete(self, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """Delete the job and its pods, each with its own grace period; False: there was none.

        Args:
            namespace: of the job.
            name: of the job.
            uid: delete it only if it is this very one; another one counts as none.
        """
        from kubernetes.client import V1DeleteOptions, V1Preconditions
        from kubernetes.client.exceptions import ApiException

        options = V1DeleteOptions(
            propagation_policy="Background",
            preconditions=V1Preconditions(uid=uid) if uid else None,
        )
        try:
            self._batch.delete_namespaced_job(name, namespace, body=options)
        except ApiException as error:
            if error.status in (NOT_FOUND, _CONFLICT):
                return False
            raise
        return True

    def _pods(self, namespace: str, job: str) -> list[Object]:
        return self._list(
            self._core.list_namespaced_pod, namespace, label_selector=f"job-name={job}"
        )

    def _events(self, namespace: str, name: str) -> list[Object]:
        return self._list(
            self._core.list_namespaced_event,
            namespace,
            field_selector=f"involvedObject.name={name}",
        )

    @staticmethod
    def _list(call: Any, namespace: str, **selectors: str) -> list[Object]:
        answer = call(namespace, _preload_content=False, **selectors)
        return list(json.loads(answer.data).get("items") or [])


def _last_seen(event: Object) -> str:
    """When an event last happened: RFC 3339 in UTC, which sorts as text."""
    series: Any = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("metadata", {}).get("creationTimestamp")
        or ""
    )
