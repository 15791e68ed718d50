"""The whole graph on a cluster: each step a pod of its own, artifacts in S3, storage in PostgreSQL.

Everything is real but the node: the control plane, the accounts and rights of deploy/, its
dagster.yaml, PostgreSQL, S3, and Dagster's own webserver, code server and daemon as pods.
"""

from __future__ import annotations

import pytest
from kubernetes.client import V1Pod

from ft_assets.config.launchpad import JOB_ASSETS
from resources.registry import EmbeddedRegistry
from resources.store import ArtifactStore
from tests.cluster.conftest import GraphRun
from tests.support.canary import Canaries
from tests.support.cluster.platform import DROP, IMAGE, TRAINER_IMAGE
from tests.support.cluster.programs import wait_until
from tests.support.cluster.visible import visible
from tests.support.tiny_pipeline import MODEL_NAME, NAME

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING = "finetuned_model"
CHEAP = sorted({*JOB_ASSETS} - {TRAINING})


def _gpus(pod: V1Pod) -> str | None:
    resources = pod.spec.containers[0].resources
    return (resources.limits or {}).get("nvidia.com/gpu")


def test_every_step_has_one_pod_of_its_own(graph: GraphRun) -> None:
    pods = graph.platform.step_pods(graph.run_id)

    assert pods.keys() == {*JOB_ASSETS}
    assert all(len(of_step) == 1 for of_step in pods.values())


def test_a_steps_pod_knows_its_step_so_that_it_loads_no_client_of_kubernetes(
    graph: GraphRun,
) -> None:
    for asset, (pod,) in graph.platform.step_pods(graph.run_id).items():
        given = {variable.name: variable.value for variable in pod.spec.containers[0].env}
        assert given["DAGSTER_RUN_STEP_KEY"] == f"{NAME}__{asset}"


def test_training_has_the_image_and_the_gpu_that_the_pipeline_asks_for(graph: GraphRun) -> None:
    (pod,) = graph.platform.step_pods(graph.run_id)[TRAINING]
    container = pod.spec.containers[0]

    assert container.image == TRAINER_IMAGE
    assert _gpus(pod) == "1"
    assert (container.resources.requests["cpu"], container.resources.requests["memory"]) == (
        "2",
        "3Gi",
    )


@pytest.mark.parametrize("asset", CHEAP)
def test_a_cheap_step_has_the_light_image_and_no_gpu(graph: GraphRun, asset: str) -> None:
    (pod,) = graph.platform.step_pods(graph.run_id)[asset]

    assert pod.spec.containers[0].image == IMAGE
    assert _gpus(pod) is None


def test_all_that_a_run_creates_is_labelled(graph: GraphRun) -> None:
    for asset, (pod,) in graph.platform.step_pods(graph.run_id).items():
        labels = pod.metadata.labels
        assert labels["app.kubernetes.io/managed-by"] == "ft-assets"
        assert (labels["ft-assets/pipeline"], labels["ft-assets/asset"]) == (NAME, asset)
        assert labels["dagster/run-id"] == graph.run_id


def test_the_artifacts_are_in_the_bucket(graph: GraphRun, artifacts: ArtifactStore) -> None:
    for asset in JOB_ASSETS:
        assert artifacts.verify(artifacts.open([NAME, asset], DROP)) == []
    assert not (graph.platform.tiny.home / "artifacts").exists()


def test_the_version_is_registered(graph: GraphRun) -> None:
    registry = EmbeddedRegistry(path=str(graph.platform.tiny.root / "registry.db"))

    (version,) = registry.list_versions(MODEL_NAME)
    assert version.artifact.uri.startswith(f"s3://{graph.platform.bucket}/artifacts/{NAME}/")


def test_logs_of_steps_are_in_the_bucket(graph: GraphRun) -> None:
    listed = graph.platform.s3_client().list_objects_v2(
        Bucket=graph.platform.bucket, Prefix=f"logs/storage/{graph.run_id}/"
    )
    assert listed.get("KeyCount", 0) > 0


def test_nothing_of_the_run_is_left_running(graph: GraphRun) -> None:
    wait_until(
        lambda: not any(job.status.active for job in graph.platform.jobs(graph.run_id)),
        "the end of the run's jobs",
        seconds=60,
    )


def test_jobs_of_steps_end_with_the_pod_of_their_run(graph: GraphRun) -> None:
    run_pod = graph.platform.pod_of(graph.run_id)

    steps = [
        job for job in graph.platform.jobs(graph.run_id) if "dagster/op" in job.metadata.labels
    ]
    assert len(steps) == len(JOB_ASSETS)
    for job in steps:
        owners = [(owner.kind, owner.name) for owner in job.metadata.owner_references]
        assert owners == [("Pod", run_pod)]
        assert job.spec.backoff_limit == 0
        assert job.spec.active_deadline_seconds > 0
        assert job.spec.ttl_seconds_after_finished >= 0


def test_no_secret_value_is_visible_anywhere(graph: GraphRun) -> None:
    secrets = Canaries(graph.platform.secrets)

    assert len(secrets.values) == 4
    assert secrets.leaks(visible(graph.platform)) == []


def test_the_search_for_secrets_would_find_them(graph: GraphRun) -> None:
    """What is known to stand in each of the places is found there."""
    known = Canaries({"run": graph.run_id, "image": TRAINER_IMAGE})
    found = {
        leak.where.split(" ")[0].split("/")[0] for leak in known.leaks(visible(graph.platform))
    }

    assert {"", "pod", "log", "row", "s3:", "GraphQL"} <= found
