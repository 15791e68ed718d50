"""The tiny pipeline on two nodes, and what Kubeflow Trainer adds to a cluster for it.

Belongs here: the pipeline's file, the runtime of deploy/, the nodes of a run. What the Trainer does
with a job: tests/support/train_job_controller.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from resources.home import CHECKOUT
from tests.support.train_job_controller import GROUP, VERSION, running_controller
from tests.support.trainer_crds import load_trainer_crds

if TYPE_CHECKING:
    from collections.abc import Generator

    from kubernetes.client import V1Pod

    from tests.support.cluster.platform import Platform

PAIR = "pair"
"""The pipeline's name."""
MODEL_NAME = "pair-assistant"
NODES = 2
TEAM = {"team": "two-nodes"}
"""A label that the pipeline asks for."""

_RUNTIME = CHECKOUT / "deploy" / "kubernetes" / "training-runtime.yaml"
_INDEX = "batch.kubernetes.io/job-completion-index"


def write_pair(here: Platform) -> None:
    """Write the pipeline beside the tiny one's: the same, on two nodes."""
    values = yaml.safe_load(here.tiny.file.read_text())
    values["registry"] = {"name": MODEL_NAME}
    values["kubernetes"] |= {
        "workers": NODES,
        "runtime": _runtime_name(here),
        "labels": TEAM,
        "launcher_cpu": "1",
        "launcher_memory": "2Gi",
    }
    here.tiny.file.with_name(f"{PAIR}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


@contextmanager
def kubeflow_trainer(here: Platform) -> Generator[None]:
    """The Trainer's kinds in the cluster, the runtime of deploy/, and the controllers at work."""
    from kubernetes import client

    with here.agent.plane.client() as api:
        load_trainer_crds(api)
        client.CustomObjectsApi(api).create_cluster_custom_object(
            GROUP, VERSION, "clustertrainingruntimes", _runtime(here)
        )
        with running_controller(api, here.namespace):
            yield


def node_pods(here: Platform, run_id: str) -> list[V1Pod]:
    """The pods of the nodes of a run's TrainJob, by their rank, also those that went."""
    found = [
        pod
        for pod in here.agent.pods_ever(here.namespace)
        if (labels := pod.metadata.labels or {}).get("dagster/run-id") == run_id
        and _INDEX in labels
    ]
    return sorted(found, key=lambda pod: int(pod.metadata.labels[_INDEX]))


def train_jobs(here: Platform) -> list[Any]:
    """The TrainJobs that there are."""
    from kubernetes import client

    api = client.CustomObjectsApi(here.agent.core.api_client)
    return api.list_namespaced_custom_object(GROUP, VERSION, here.namespace, "trainjobs")["items"]


def _runtime_name(here: Platform) -> str:
    return f"training-hub-{here.namespace}"


def _runtime(here: Platform) -> dict[str, Any]:
    """The runtime of deploy/, which belongs to the cluster, under a name of this platform's own."""
    runtime = yaml.safe_load(_RUNTIME.read_text())
    runtime["metadata"]["name"] = _runtime_name(here)
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = node["template"]["spec"]["template"]["spec"]["containers"]
    # In a real pod the volume lies under its mount path alone. The processes of a pod here are told
    # its directory, and the step compares the path of its run folder with the nodes' mounts.
    container["volumeMounts"].append({"name": "home", "mountPath": str(here.tiny.root)})
    return runtime
