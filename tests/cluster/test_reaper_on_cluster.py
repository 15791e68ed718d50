"""The reaper on a real control plane: it finds what is ours, page by page, and deletes it."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from kubernetes import client

from ft_assets.cluster import reaper
from ft_assets.kubernetes import MANAGED
from tests.support.cluster.control_plane import ControlPlane
from tests.support.trainer_crds import load_trainer_crds

pytestmark = pytest.mark.k8s

LATER = datetime.now(UTC) + timedelta(hours=2)
"""When the grace of everything has passed."""


@pytest.fixture
def instance() -> Generator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def api(control_plane: ControlPlane) -> Generator[client.ApiClient]:
    with control_plane.client() as api:
        yield api


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    run = dg.DagsterRun(job_name="sft", status=status)
    instance.add_run(run)
    return run.run_id


def a_job(name: str, run_id: str, **labels: str) -> dict[str, Any]:
    container = {"name": "dagster", "image": "any", "command": ["sleep", "300"]}
    nowhere = {"ft-assets/node": "nowhere"}
    pod = {"containers": [container], "restartPolicy": "Never", "nodeSelector": nowhere}
    return {
        "metadata": {"name": name, "labels": {"dagster/run-id": run_id, **labels}},
        "spec": {"template": {"spec": pod}, "backoffLimit": 0},
    }


def test_it_deletes_jobs_of_runs_that_are_over_or_unknown_and_no_others(
    api, namespace, instance, monkeypatch
):
    monkeypatch.setattr(reaper, "PAGE", 2)  # more pages than one
    over = a_run(instance, dg.DagsterRunStatus.FAILURE)
    going_on = a_run(instance, dg.DagsterRunStatus.STARTED)
    batch = client.BatchV1Api(api)
    for name, run_id, labels in (
        ("over-1", over, MANAGED),
        ("over-2", over, MANAGED),
        ("over-3", over, MANAGED),
        ("unknown", "a-run-that-is-not-there", MANAGED),
        ("goes-on", going_on, MANAGED),
        ("not-ours", over, {}),
    ):
        batch.create_namespaced_job(namespace, a_job(name, run_id, **labels))

    said = reaper.reap(api, namespace, instance, LATER)

    left = {job.metadata.name for job in batch.list_namespaced_job(namespace).items}
    assert left == {"goes-on", "not-ours"}
    assert sorted(line.split(":")[0] for line in said) == [
        "Deleted Job over-1", "Deleted Job over-2", "Deleted Job over-3", "Deleted Job unknown",
    ]  # fmt: skip
    assert reaper.reap(api, namespace, instance, LATER) == []


def test_its_tick_says_what_it_did(control_plane, api, namespace, instance, monkeypatch):
    monkeypatch.setenv("FT_KUBECONFIG", str(control_plane.kubeconfig))
    monkeypatch.setenv("FT_NAMESPACE", namespace)
    monkeypatch.setattr(reaper, "GRACE", timedelta(0))
    run_id = a_run(instance, dg.DagsterRunStatus.CANCELED)
    client.BatchV1Api(api).create_namespaced_job(namespace, a_job("step", run_id, **MANAGED))

    with dg.build_sensor_context(instance=instance) as context:
        first = reaper.reaper(context)
        second = reaper.reaper(context)

    assert isinstance(first, dg.SkipReason)
    assert isinstance(second, dg.SkipReason)
    assert first.skip_message == f"Deleted Job step: its run {run_id} is over"
    assert "Nothing to delete" in second.skip_message


def test_a_training_on_several_nodes_is_reaped_too(api, namespace, instance):
    load_trainer_crds(api)
    custom = client.CustomObjectsApi(api)
    kind = ("trainer.kubeflow.org", "v1alpha1", namespace, "trainjobs")
    labels = {"dagster/run-id": a_run(instance, dg.DagsterRunStatus.FAILURE), **MANAGED}
    body = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "ft-sft-1", "labels": labels},
        "spec": {"runtimeRef": {"name": "torch-distributed"}},
    }
    custom.create_namespaced_custom_object(*kind, body)
    (said,) = reaper.reap(api, namespace, instance, LATER)
    assert said.startswith("Deleted TrainJob ft-sft-1: its run")
    assert custom.list_namespaced_custom_object(*kind)["items"] == []
