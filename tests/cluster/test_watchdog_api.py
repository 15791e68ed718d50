"""One look at a step on a real API server, while the cluster goes on."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from ft_assets.cluster.api import StepApi
from ft_assets.cluster.watchdog import examine
from ft_assets.cluster.watched import name_of
from tests.support.cluster.control_plane import ControlPlane
from tests.support.cluster.programs import wait_until

pytestmark = pytest.mark.k8s

JOB = "step"


class _JobBegins:
    """A core API with which the job's pod is made just after the first list of pods was read."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self._namespace = namespace
        self.lists = 0

    def list_namespaced_pod(self, namespace: str, **options: Any) -> Any:
        answer = self._core.list_namespaced_pod(namespace, **options)
        self.lists += 1
        if self.lists == 1:
            self._batch.patch_namespaced_job(JOB, self._namespace, {"spec": {"parallelism": 1}})
            wait_until(self._is_said, "the job controller's event")
        return answer

    def list_namespaced_event(self, namespace: str, **options: Any) -> Any:
        return self._core.list_namespaced_event(namespace, **options)

    def _is_said(self) -> bool:
        events = self._core.list_namespaced_event(
            self._namespace, field_selector=f"involvedObject.name={JOB}"
        )
        return any(event.reason == "SuccessfulCreate" for event in events.items)


def test_a_pod_that_is_made_during_the_look_is_not_taken_for_a_lost_one(
    control_plane: ControlPlane,
):
    namespace = control_plane.namespace("look")
    api = control_plane.client()
    container = {"name": "dagster", "image": "any", "command": ["sleep", "300"]}
    spec = {"containers": [container], "restartPolicy": "Never", "nodeSelector": {"no": "node"}}
    job = {
        "metadata": {"name": JOB},
        "spec": {"parallelism": 0, "backoffLimit": 0, "template": {"spec": spec}},
    }
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job(namespace, job)
    core = _JobBegins(api, namespace)

    seen = StepApi(batch, core).observe(namespace, JOB)

    assert core.lists == 2
    assert [name_of(pod).startswith(f"{JOB}-") for pod in seen.pods] == [True]
    assert not any(found.final for found in examine(seen))
    control_plane.delete_namespace(namespace)
