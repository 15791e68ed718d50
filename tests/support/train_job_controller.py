"""What Kubeflow Trainer and JobSet do with TrainJobs, for tests: pods, conditions, deletion.

Pods are made as the real controllers make them (train_job_pods.py); a node agent runs them. A test
may hold the controller still, to see a job that nobody has looked at yet.

Limits: no retries (a failed pod fails the job), no initializers, one replicated job (``node``).
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.support.cluster.programs import free_ports
from tests.support.train_job_pods import GROUP, VERSION, node_pod

RUNTIME = "training-hub"
_LOOK_SECONDS = 0.15


class TrainJobController:
    """Drives the TrainJobs of one namespace, in a thread."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self.custom = client.CustomObjectsApi(api)
        self.core = client.CoreV1Api(api)
        self._go = threading.Event()
        self._go.set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trainer", daemon=True)

    def hold(self) -> None:
        """Do nothing any more, as a controller that is down."""
        self._go.clear()

    def go_on(self) -> None:
        """Work again."""
        self._go.set()

    def job(self, name: str) -> dict[str, Any] | None:
        """A TrainJob as it is now."""
        return next((job for job in self.jobs() if job["metadata"]["name"] == name), None)

    def jobs(self) -> list[dict[str, Any]]:
        return self.custom.list_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "trainjobs"
        )["items"]

    def pods(self, name: str) -> list[dict[str, Any]]:
        found = self.core.list_namespaced_pod(
            self.namespace, label_selector=f"jobset.sigs.k8s.io/jobset-name={name}"
        )
        return [self.core.api_client.sanitize_for_serialization(pod) for pod in found.items]

    def suspend(self, name: str, suspended: bool) -> None:
        """Suspend or resume a job, as Kueue does."""
        self._patch(name, {"spec": {"suspend": suspended}})

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            if not self._go.is_set():
                continue
            try:
                for job in self.jobs():
                    self._reconcile(job)
            except client.ApiException as error:
                if error.status not in (404, 409, 422):  # it changed under our hands: look again
                    raise
            except HTTPError:
                continue

    def _reconcile(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        pods = self.pods(name)
        if "deletionTimestamp" in job["metadata"]:
            self._finish_deletion(job, pods)
            return
        held = {
            c["type"] for c in job.get("status", {}).get("conditions", []) if c["status"] == "True"
        }
        if held & {"Complete", "Failed"}:
            return
        if job["spec"].get("suspend"):
            for pod in pods:
                self._delete_pod(pod)
            self._condition(job, "Suspended", "True", "Suspended", "TrainJob is suspended")
            return
        if "Suspended" in held:
            self._condition(job, "Suspended", "False", "Resumed", "TrainJob is resumed")
            return
        alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        if not alive:
            self._create_pods(job)
            return
        phases = [pod["status"]["phase"] for pod in alive]
        if "Failed" in phases:
            message = "jobset failed due to one or more job failures"
            self._condition(job, "Failed", "True", "FailedJobs", message)
        elif all(phase == "Succeeded" for phase in phases):
            message = "jobset completed successfully"
            self._condition(job, "Complete", "True", "AllJobsCompleted", message)

    def _create_pods(self, job: dict[str, Any]) -> None:
        trainer = job["spec"]["trainer"]
        runtime = self.custom.get_cluster_custom_object(
            GROUP, VERSION, "clustertrainingruntimes", job["spec"]["runtimeRef"]["name"]
        )
        (port,) = free_ports(1)
        for index in range(trainer["numNodes"]):
            place = {
                "PET_NNODES": trainer["numNodes"],
                "PET_NPROC_PER_NODE": trainer["numProcPerNode"],
                "PET_NODE_RANK": index,
                "PET_MASTER_ADDR": "127.0.0.1",  # the real one: JOB-node-0-0.JOB
                "PET_MASTER_PORT": port,
            }
            pod = node_pod(job, runtime, index, place)
            self.core.create_namespaced_pod(self.namespace, pod)

    def _finish_deletion(self, job: dict[str, Any], pods: list[dict[str, Any]]) -> None:
        """What the garbage collector does; it learns of new kinds only every 30 seconds."""
        for pod in pods:
            self._delete_pod(pod)
        if not pods:
            self._patch(job["metadata"]["name"], {"metadata": {"finalizers": None}})

    def _delete_pod(self, pod: dict[str, Any]) -> None:
        if "deletionTimestamp" not in pod["metadata"]:
            self.core.delete_namespaced_pod(
                pod["metadata"]["name"], self.namespace, grace_period_seconds=2
            )

    def _condition(
        self, job: dict[str, Any], kind: str, status: str, reason: str, message: str
    ) -> None:
        others = [c for c in job.get("status", {}).get("conditions", []) if c["type"] != kind]
        before = [c for c in job.get("status", {}).get("conditions", []) if c["type"] == kind]
        if before and before[0]["status"] == status:
            return
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
        }
        self.custom.patch_namespaced_custom_object_status(
            GROUP,
            VERSION,
            self.namespace,
            "trainjobs",
            job["metadata"]["name"],
            {"status": {"conditions": [*others, condition]}},
        )

    def _patch(self, name: str, body: dict[str, Any]) -> None:
        self.custom.patch_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "trainjobs", name, body
        )


def runtime(name: str = RUNTIME) -> dict[str, Any]:
    """A ClusterTrainingRuntime whose nodes are pods on the tests' shared node."""
    pod = {
        "restartPolicy": "Never",
        "nodeSelector": {"ft-assets/node": "shared"},
        "containers": [{"name": "node", "image": "none"}],
    }
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    template = {"metadata": {"labels": labels}, "spec": {"template": {"spec": pod}}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ClusterTrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}},
        },
    }


@contextmanager
def running_controller(api: client.ApiClient, namespace: str) -> Generator[TrainJobController]:
    """A controller that works until the block ends."""
    controller = TrainJobController(api, namespace)
    controller.start()
    try:
        yield controller
    finally:
        controller.end()
