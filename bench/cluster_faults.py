"""For bench/cluster.py: one run whose steps meet a fault each, and when the run's events said so.

The job is that of the watchdog's tests. A fault begins with the creation of the step's job when the
pod was wrong from the beginning, else with the act of the node.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.execution.api import execute_run
from kubernetes import client

from ft_assets.cluster.settings import WatchSettings
from tests.cluster import test_watchdog_faults as faults
from tests.cluster import watchdog_job
from tests.support.cluster.node_agent import NodeAgent, running_node

if TYPE_CHECKING:
    import dagster as dg

    from tests.support.cluster.control_plane import ControlPlane

SETTINGS = {
    "patience_seconds": 20.0,
    "node_patience_seconds": 20.0,
    "queue_seconds": 30.0,
    "retries": 0,
}
"""Shorter than a cluster's, so that the run ends; an event does not wait for them."""


def measure(plane: ControlPlane, node: NodeAgent, folder: Path) -> dict[str, Any]:
    """Seconds from fault to event, by the cause that the event names; the slowest of each."""
    namespace = plane.namespace("faults")
    api = plane.client()
    core = client.CoreV1Api(api)
    core.create_namespaced_resource_quota(
        namespace,
        {"metadata": {"name": "chips"}, "spec": {"hard": {"requests.example.com/chip": "1"}}},
    )
    core.create_namespaced_pod(namespace, faults._sleeping("run-worker"))
    job = ReconstructableJob.for_file(watchdog_job.__file__, "faulty")
    home = folder / "faults"
    home.mkdir()
    kubeconfig = faults._kubeconfig_in(plane, namespace, home)
    with (
        pytest.MonkeyPatch.context() as changed,
        faults._instance(home, kubeconfig, namespace) as instance,
        running_node(plane, "lost", labels=watchdog_job.LOST) as lost,
    ):
        changed.setenv("HOSTNAME", "run-worker")
        acts = {"memory": time.time(), "evicted": time.time(), "node_lost": time.time()}
        for agent, act, step in (
            (node, "oom_kill", "memory"),
            (node, "evict", "evicted"),
            (lost, "lose", "node_lost"),
        ):
            changed.setattr(agent, act, _timed(getattr(agent, act), acts, step))
        run = instance.create_run_for_job(
            job_def=job.get_definition(),
            run_config={"execution": {"config": {"watchdog": SETTINGS}}},
            job_code_origin=job.get_python_origin(),
        )
        saboteur = faults._Saboteur(api, namespace, node, lost)
        threading.Thread(target=saboteur.work, daemon=True).start()
        execute_run(job, run, instance)
        saboteur.stop.set()
        found = _seconds(instance, run.run_id, acts)
    plane.delete_namespace(namespace)
    polls = WatchSettings().poll_seconds
    return {"limit": 60, "poll_seconds": polls, "by_cause": found}


def _timed(act: Any, when: dict[str, float], step: str) -> Any:
    def timed(*given: Any, **named: Any) -> None:
        when[step] = time.time()
        act(*given, **named)

    return timed


def _seconds(instance: dg.DagsterInstance, run_id: str, acts: dict[str, float]) -> dict[str, float]:
    begun: dict[str, float] = {}
    found: dict[str, float] = {}
    for entry in instance.all_logs(run_id):
        event, step = entry.dagster_event, entry.step_key
        if event is None or step is None:
            continue
        if event.event_type_value == "STEP_WORKER_STARTING":
            begun.setdefault(step, entry.timestamp)
        metadata = getattr(event.event_specific_data, "metadata", None) or {}
        if event.is_engine_event and "cause" in metadata:
            cause = str(metadata["cause"].value)
            since = acts.get(step, begun.get(step, entry.timestamp))
            if entry.timestamp >= since:
                found.setdefault(cause, round(entry.timestamp - since, 1))
    return found
