"""Faults of a real control plane become events of the run, and failures or further attempts.

One run has a step for each fault, so that all of them cost as long as the slowest.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import execute_run
from dagster_k8s.job import get_k8s_job_name
from kubernetes import client

from tests.cluster import watchdog_job
from tests.support.cluster.control_plane import ControlPlane
from tests.support.cluster.node_agent import NodeAgent, running_node
from tests.support.cluster.programs import wait_until

SHARED = watchdog_job.SHARED

pytestmark = pytest.mark.k8s

_SETTINGS = {
    "poll_seconds": 2,
    "patience_seconds": 2.0,
    "node_patience_seconds": 2.0,
    "end_seconds": 1.0,
    "retries": 1,
    "retry_delay_seconds": 0.5,
}


@dataclass(frozen=True)
class Run:
    """The one run, over."""

    events: list[DagsterEvent]
    namespace: str
    kubernetes: client.ApiClient

    def of(self, step: str) -> list[DagsterEvent]:
        return [event for event in self.events if event.step_key == step]

    def causes(self, step: str) -> list[str]:
        """The causes that the watchdog named, once per event."""
        return [
            str(event.event_specific_data.metadata["cause"].value)
            for event in self.of(step)
            if event.is_engine_event and "cause" in event.event_specific_data.metadata
        ]

    def ends(self, step: str) -> list[str]:
        wanted = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY")
        return [e.event_type_value for e in self.of(step) if e.event_type_value in wanted]

    def failure(self, step: str) -> str:
        return self.of(step)[-1].step_failure_data.error.message


@pytest.fixture(scope="module")
def run(
    control_plane: ControlPlane, node_agent: NodeAgent, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Run]:
    namespace = control_plane.namespace("watchdog")
    folder = tmp_path_factory.mktemp("dagster")
    api = control_plane.client()
    core, batch = client.CoreV1Api(api), client.BatchV1Api(api)
    quota = {"metadata": {"name": "chips"}, "spec": {"hard": {"requests.example.com/chip": "1"}}}
    core.create_namespaced_resource_quota(namespace, quota)
    core.create_namespaced_pod(namespace, _sleeping("run-worker"))
    with (
        pytest.MonkeyPatch.context() as environment,
        _instance(folder, _kubeconfig_in(control_plane, namespace, folder), namespace) as instance,
        running_node(control_plane, "lost", labels=watchdog_job.LOST) as lost,
    ):
        environment.setenv("HOSTNAME", "run-worker")  # as in the pod of a run's worker
        no_room, no_room_run = _planned(instance, "no_room", queue_seconds=1.0)
        faulty, faulty_run = _planned(instance, "faulty")
        for step, run_id in (("adopted", faulty_run.run_id), ("foreign", "another")):
            name = f"dagster-step-{get_k8s_job_name(faulty_run.run_id, step)}"
            batch.create_namespaced_job(namespace, _useless_job(name, step, run_id))
        saboteur = _Saboteur(api, namespace, node_agent, lost)
        threading.Thread(target=saboteur.work, daemon=True).start()
        execute_run(no_room, no_room_run, instance)
        execute_run(faulty, faulty_run, instance)
        saboteur.stop.set()
        records = [*instance.all_logs(no_room_run.run_id), *instance.all_logs(faulty_run.run_id)]
    yield Run([r.dagster_event for r in records if r.dagster_event], namespace, api)
    control_plane.delete_namespace(namespace)


def _planned(
    instance: dg.DagsterInstance, name: str, **settings: float
) -> tuple[ReconstructableJob, dg.DagsterRun]:
    job = ReconstructableJob.for_file(watchdog_job.__file__, name)
    config = {"execution": {"config": {"watchdog": {**_SETTINGS, **settings}}}}
    return job, instance.create_run_for_job(
        job_def=job.get_definition(),
        run_config=config,
        job_code_origin=job.get_python_origin(),
    )


def _useless_job(name: str, step: str, run_id: str) -> dict[str, Any]:
    """A job whose pod ends well and does nothing."""
    template = {**_sleeping(name), "metadata": {"labels": {"dagster/op": step}}}
    template["spec"]["containers"][0]["command"] = ["true"]
    return {
        "metadata": {"name": name, "labels": {"dagster/run-id": run_id}},
        "spec": {"template": template, "backoffLimit": 0},
    }


def _sleeping(name: str) -> dict[str, Any]:
    container = {"name": "dagster", "image": "any", "command": ["sleep", "300"]}
    spec = {"containers": [container], "restartPolicy": "Never", "nodeSelector": SHARED}
    return {"metadata": {"name": name, "labels": {"dagster/op": "none"}}, "spec": spec}


def _kubeconfig_in(plane: ControlPlane, namespace: str, folder: Path) -> Path:
    """The administrator's, in the namespace: a pod knows its own by its service account."""
    content = json.loads(plane.kubeconfig.read_text())
    content["contexts"][0]["context"]["namespace"] = namespace
    file = folder / "kubeconfig"
    file.write_text(json.dumps(content))
    return file


def _instance(folder: Path, kubeconfig: Path, namespace: str) -> dg.DagsterInstance:
    launcher = {
        "module": "dagster_k8s",
        "class": "K8sRunLauncher",
        "config": {
            "load_incluster_config": False,
            "kubeconfig_file": str(kubeconfig),
            "service_account_name": "default",
            "instance_config_map": "dagster-instance",
            "dagster_home": str(folder),
            "job_image": "any",
            "job_namespace": namespace,
        },
    }
    return dg.DagsterInstance.local_temp(str(folder), overrides={"run_launcher": launcher})


class _Saboteur:
    """Does to pods that run what the faults of nodes and people do."""

    def __init__(
        self, api: client.ApiClient, namespace: str, node: NodeAgent, lost: NodeAgent
    ) -> None:
        self.core, self.batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self.namespace, self.node, self.lost = namespace, node, lost
        self.stop = threading.Event()

    def _lose_node(self) -> None:
        """From then on its pods find a place on the other one."""
        self.lost.lose()
        self.core.patch_node(self.node.name, {"metadata": {"labels": watchdog_job.LOST}})

    def work(self) -> None:
        done: set[str] = set()
        acts: dict[str, Callable[[str, str], object]] = {
            "memory": lambda pod, _: self.node.oom_kill(self.namespace, pod),
            "evicted": lambda pod, _: self.node.evict(self.namespace, pod),
            "job_deleted": lambda _, job: self.batch.delete_namespaced_job(
                job, self.namespace, propagation_policy="Background"
            ),
            "node_lost": lambda _pod, _job: self._lose_node(),
        }
        while not self.stop.is_set():
            for pod in self.core.list_namespaced_pod(self.namespace).items:
                name, step = pod.metadata.name, pod.metadata.labels["dagster/op"]
                if pod.status.phase != "Running" or name in {"run-worker", *done}:
                    continue
                job = pod.metadata.labels["job-name"]
                if step == "interrupted":
                    if "working" in self.node.log(self.namespace, name) and not job.endswith("-1"):
                        done.add(name)
                        self.core.delete_namespaced_pod(name, self.namespace)
                elif step in acts:
                    done.add(name)
                    acts[step](name, job)
            time.sleep(0.3)


@pytest.mark.parametrize(
    ("step", "cause", "remedy"),
    [
        ("priority", "PriorityClassMissing", "kubernetes.priority_class"),
        ("room", "Unschedulable", "kubernetes.gpus_per_worker"),
        ("quota", "QuotaTooSmall", "quota"),
        ("image", "ImagePull", "kubernetes.image"),
        ("secret", "CreateContainerConfigError", "not-there"),
        ("memory", "OOMKilled", "kubernetes.memory"),
        ("deadline", "DeadlineExceeded", "kubernetes.deadline"),
        ("job_deleted", "JobDeleted", "cancel its run"),
        ("invalid", "JobRefused", "`kubernetes` block"),
    ],
)
def test_what_a_person_must_change_fails_the_step_with_cause_and_remedy(run, step, cause, remedy):
    assert run.causes(step) == ([] if cause == "JobRefused" else [cause])
    assert run.ends(step) == ["STEP_FAILURE"]
    assert cause in run.failure(step)
    assert remedy in run.failure(step)


def test_a_mounted_secret_that_is_missing_fails_the_step(run):
    assert set(run.causes("mount")) == {"FailedMount"}
    assert run.ends("mount") == ["STEP_FAILURE"]


@pytest.mark.parametrize(
    ("step", "cause"),
    [("evicted", "Evicted"), ("crashed", "Crashed"), ("silent", "EndedSilently")],
)
def test_what_the_cluster_did_to_a_step_gives_it_another_attempt_and_no_more(run, step, cause):
    assert set(run.causes(step)) <= {cause}
    assert run.ends(step) == ["STEP_UP_FOR_RETRY", "STEP_FAILURE"]
    assert cause in run.failure(step)


def test_a_lost_node_gives_its_step_another_attempt(run):
    assert "NodeLost" in run.causes("node_lost")
    assert run.ends("node_lost")[0] == "STEP_UP_FOR_RETRY", run.failure("node_lost")


def test_a_step_that_was_told_to_stop_is_tried_again_and_succeeds(run):
    assert run.ends("interrupted") == ["STEP_FAILURE", "STEP_SUCCESS"]
    assert set(run.causes("interrupted")) == {"PodDeleted"}


def test_a_step_that_fails_by_itself_keeps_its_words(run):
    assert run.causes("own_words") == []
    assert run.ends("own_words") == ["STEP_FAILURE"]


def test_a_step_that_nothing_ails_succeeds_without_a_word(run):
    assert run.causes("well") == []
    assert run.ends("well") == ["STEP_SUCCESS"]


def test_no_attempt_that_was_given_up_is_left_running(run):
    core = client.CoreV1Api(run.kubernetes)

    def left() -> list[str]:
        pods = core.list_namespaced_pod(run.namespace, label_selector="dagster/op != none").items
        return [
            pod.metadata.labels["dagster/op"]
            for pod in pods
            if pod.status.phase in ("Running", "Pending")
            and pod.metadata.deletion_timestamp is None
        ]

    wait_until(lambda: not left(), "the end of all pods")


def test_a_job_that_is_there_already_is_the_same_job(run):
    """Its pod did nothing: the executor goes on with it, and finds that out."""
    assert any("exists already" in (event.message or "") for event in run.of("adopted"))
    assert run.ends("adopted") == ["STEP_UP_FOR_RETRY", "STEP_SUCCESS"]


def test_a_job_of_somebody_elses_under_the_same_name_is_left_alone(run):
    assert run.ends("foreign") == ["STEP_FAILURE"]
    assert "not of this run" in run.failure("foreign")


def test_jobs_of_steps_go_with_the_pod_of_the_run(run):
    core, batch = client.CoreV1Api(run.kubernetes), client.BatchV1Api(run.kubernetes)
    selector = "app.kubernetes.io/managed-by=ft-assets"

    def owned() -> list[str]:
        jobs = batch.list_namespaced_job(run.namespace, label_selector=selector).items
        return [job.metadata.owner_references[0].name for job in jobs]

    assert set(owned()) == {"run-worker"}
    core.delete_namespaced_pod("run-worker", run.namespace, grace_period_seconds=0)
    wait_until(lambda: not owned(), "the end of the jobs")
