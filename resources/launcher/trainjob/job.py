"""The objects of one TrainJob in the cluster: which calls read, make, mark and delete them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from resources.launcher.trainjob.api import Api, ExistsError, NotThereError
from resources.launcher.trainjob.fields import part
from resources.launcher.trainjob.manifest import GROUP, MESSAGES_ANNOTATION, NODE, VERSION
from resources.launcher.trainjob.request import FINGERPRINT_LABEL, RUN_LABEL

JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
REPLICATED_JOB_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
"""Labels by which the trainer's JobSet marks its pods."""

RAN_ANNOTATION = "ft-assets/ran-seconds"
"""Annotation of a TrainJob: how long it ran before it was last suspended."""

_POLL_SECONDS = 0.5
_LATE_SECONDS = 10.0
"""How much later than asked for a watch may end before its connection counts as dead."""


@dataclass(frozen=True)
class Look:
    """What one look at the cluster found."""

    job: dict[str, Any] | None
    """The TrainJob; None: it is not there."""
    pods: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The pods of its training nodes, the newest of each node."""
    version: str = ""
    """From which a watch tells what changes."""

    @property
    def uid(self) -> str | None:
        """Tells this job from another one of its name."""
        return None if self.job is None else self.job["metadata"]["uid"]

    @property
    def being_deleted(self) -> bool:
        """Whether somebody has deleted it and its pods are ending."""
        return self.job is not None and "deletionTimestamp" in self.job["metadata"]

    @property
    def fingerprint(self) -> str | None:
        """Of its work, if a launcher of ours made it."""
        return self._metadata("labels").get(FINGERPRINT_LABEL)

    @property
    def messages(self) -> str | None:
        """The file to which its node 0 reports."""
        return self._metadata("annotations").get(MESSAGES_ANNOTATION)

    @property
    def ran_seconds(self) -> float:
        """How long it ran before it was last suspended, as far as a step saw it."""
        return float(self._metadata("annotations").get(RAN_ANNOTATION, 0))

    def _metadata(self, name: str) -> dict[str, Any]:
        return {} if self.job is None else part(self.job["metadata"], name)


class Job:
    """A TrainJob by its name."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = name
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/trainjobs"
        self._core = f"/api/v1/namespaces/{namespace}"

    def __str__(self) -> str:
        return f"TrainJob {self.name} in namespace {self.namespace}"

    def look(self) -> Look:
        """The job and its pods, now."""
        look = self._without_pods()
        return look if look.job is None else replace(look, pods=self.pods())

    def _without_pods(self, patience: float | None = None) -> Look:
        selector = {"fieldSelector": f"metadata.name={self.name}"}
        found = self._api.call("GET", self._path, query=selector, patience=patience)
        version = str(found["metadata"]["resourceVersion"])
        return Look(found["items"][0] if found["items"] else None, [], version)

    def wait_for_change(self, look: Look, seconds: float) -> None:
        """Return when the job is no longer as it was, at the latest after some seconds.

        Pods are not watched: they are looked at as often as this returns.
        """
        self._api.first_line(
            self._path,
            {
                "watch": "true",
                "fieldSelector": f"metadata.name={self.name}",
                "resourceVersion": look.version,
                "timeoutSeconds": str(max(1, round(seconds))),
            },
            read_seconds=seconds + _LATE_SECONDS,
        )

    def pods(self) -> list[dict[str, Any]]:
        """The pods of the training nodes by index, the newest of each."""
        selector = f"{JOBSET_LABEL}={self.name},{REPLICATED_JOB_LABEL}={NODE}"
        found = self._api.call("GET", f"{self._core}/pods", query={"labelSelector": selector})
        newest: dict[int, dict[str, Any]] = {}
        for pod in sorted(found["items"], key=lambda pod: pod["metadata"]["creationTimestamp"]):
            newest[int(pod["metadata"]["labels"].get(INDEX_LABEL, 0))] = pod
        return [newest[index] for index in sorted(newest)]

    def create(self, manifest: Mapping[str, Any]) -> Look | None:
        """Make it; None: one of that name is there already."""
        try:
            made = self._api.call("POST", self._path, body=manifest)
        except ExistsError:
            return None
        return Look(made, [], made["metadata"]["resourceVersion"])

    def take_over(self, run_id: str) -> None:
        """Mark the run that follows the job now, so that no reaper takes it for an orphan."""
        self._patch({"labels": {RUN_LABEL: run_id}})

    def note_ran(self, seconds: float) -> None:
        """Write down how long it has run, for a step that follows it later."""
        self._patch({"annotations": {RAN_ANNOTATION: f"{seconds:.0f}"}})

    def _patch(self, metadata: Mapping[str, Any]) -> None:
        try:
            self._api.call("PATCH", f"{self._path}/{self.name}", body={"metadata": metadata})
        except NotThereError:
            return  # the next look finds it gone, and says so

    def delete(self, uid: str | None, *, patience: float) -> bool:
        """Delete it with its pods and wait until all are gone; False: they are not, yet.

        Args:
            uid: of the job that is meant; another one of its name stays. None: whichever it is.
            patience: how long to wait, in seconds.
        """
        body: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        until = time.monotonic() + patience
        try:
            self._api.call("DELETE", f"{self._path}/{self.name}", body=body, patience=patience)
        except (NotThereError, ExistsError):  # gone, or another job has its name
            return True
        while time.monotonic() < until:
            look = self._without_pods(patience)
            if look.job is None or (uid is not None and look.uid != uid):
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def warnings(self) -> list[str]:
        """What the cluster's controllers complain about the job and what it makes, newest last."""
        found = self._api.call(
            "GET", f"{self._core}/events", query={"fieldSelector": "type=Warning"}
        )
        ours = [
            event
            for event in found["items"]
            if event["involvedObject"].get("name") == self.name
            or str(event["involvedObject"].get("name", "")).startswith(f"{self.name}-{NODE}")
        ]
        ours.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        said = [f"{event.get('reason', '')}: {event.get('message', '')}" for event in ours]
        return list(dict.fromkeys(said))
