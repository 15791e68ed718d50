"""The whole graph with a training on two nodes, from the pipeline's file to the registered version.

The step's pod makes the TrainJob with the rights of deploy/, the nodes are pods of the runtime of
deploy/, and torchrun with gloo trains in them. Only the Trainer itself is played
(train_job_controller.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from typing import Any

import dagster as dg
import pytest

from ft_assets.config.launchpad import JOB_ASSETS
from ft_assets.training.outcome import verify_model
from resources.registry import EmbeddedRegistry
from resources.store import Artifact, ArtifactStore
from tests.cluster.conftest import GraphRun
from tests.support.canary import Canaries, in_values
from tests.support.cluster.audit import Asked
from tests.support.cluster.platform import DROP, TRAINER_IMAGE, Platform
from tests.support.cluster.two_nodes import (
    MODEL_NAME,
    NODES,
    PAIR,
    TEAM,
    kubeflow_trainer,
    node_pods,
    train_jobs,
)

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING = "finetuned_model"
STEPS = 4
"""The tiny pipeline's 31 rows in batches of 8."""
RESOURCES = {
    "requests": {"cpu": "2", "memory": "3Gi", "nvidia.com/gpu": "1"},
    "limits": {"memory": "3Gi", "nvidia.com/gpu": "1"},
}


@pytest.fixture(scope="module")
def pair(platform: Platform) -> Generator[GraphRun]:
    """One run of all assets, over. Read only: the tests of this file look at it."""
    with kubeflow_trainer(platform):
        platform.bring_drop(PAIR)
        run = platform.wait(platform.launch(job=PAIR))
        assert run.is_success, platform.explain(run.run_id)
        yield GraphRun(platform, run)


@pytest.fixture
def asked(pair: GraphRun) -> list[Asked]:
    """What anybody but the Trainer has asked of TrainJobs, in its order."""
    calls = pair.platform.agent.plane.asked("trainjobs", pair.platform.namespace)
    return [call for call in calls if call.user != "admin"]


@pytest.fixture
def model(artifacts: ArtifactStore) -> Artifact:
    """What was trained."""
    return artifacts.open([PAIR, TRAINING], DROP)


def test_every_step_succeeded_in_its_first_pod(pair: GraphRun) -> None:
    events = pair.platform.instance.all_logs(pair.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    pods = pair.platform.step_pods(pair.run_id)

    assert {event.step_key for event in events} == {f"{PAIR}__{asset}" for asset in JOB_ASSETS}
    assert {asset: len(of_step) for asset, of_step in pods.items()} == dict.fromkeys(JOB_ASSETS, 1)


def test_the_steps_pod_has_the_account_of_runs_and_leaves_the_gpus_to_the_nodes(
    pair: GraphRun,
) -> None:
    (pod,) = pair.platform.step_pods(pair.run_id)[TRAINING]
    (container,) = pod.spec.containers

    assert pod.spec.service_account_name == "ft-assets-run"
    assert container.image == TRAINER_IMAGE
    assert container.resources.requests == {"cpu": "1", "memory": "2Gi"}


def test_the_steps_pod_makes_the_job_once_and_deletes_it_with_its_own_token(
    pair: GraphRun, asked: list[Asked]
) -> None:
    here = pair.platform
    account = f"system:serviceaccount:{here.namespace}:ft-assets-run"

    assert [(call.verb, call.status) for call in asked] == [("create", 201), ("delete", 200)]
    assert {call.user for call in asked} == {account}
    assert {call.pod for call in asked} == {here.pod_of(pair.run_id, TRAINING)}


def test_the_job_asks_for_what_the_pipeline_says(pair: GraphRun, asked: list[Asked]) -> None:
    job = asked[0].body
    trainer = job["spec"]["trainer"]

    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (NODES, 1)
    assert trainer["image"] == TRAINER_IMAGE
    assert trainer["resourcesPerNode"] == RESOURCES
    assert job["metadata"]["labels"].items() >= {
        **TEAM,
        "app.kubernetes.io/managed-by": "ft-assets",
        "ft-assets/pipeline": PAIR,
        "ft-assets/asset": TRAINING,
        "dagster/run-id": pair.run_id,
    }.items()  # fmt: skip


def test_no_secret_value_stands_in_the_job(pair: GraphRun, asked: list[Asked]) -> None:
    assert "secretKeyRef" in json.dumps(asked[0].body)
    secrets = Canaries(pair.platform.secrets)
    assert secrets.leaks(in_values("TrainJob", asked[0].body)) == []


def test_two_nodes_ran_each_with_its_rank(pair: GraphRun) -> None:
    places = [
        {variable.name: variable.value for variable in pod.spec.containers[0].env}
        for pod in node_pods(pair.platform, pair.run_id)
    ]

    assert [place["PET_NODE_RANK"] for place in places] == ["0", "1"]
    assert {place["PET_NNODES"] for place in places} == {str(NODES)}


def test_a_node_is_a_pod_of_the_runtime_with_what_the_pipeline_asks_for(pair: GraphRun) -> None:
    for pod in node_pods(pair.platform, pair.run_id):
        (container,) = pod.spec.containers
        resources = container.resources
        assert pod.spec.service_account_name == "ft-assets-step"
        assert pod.spec.automount_service_account_token is False
        assert container.env_from[0].config_map_ref.name == "ft-assets-env"
        assert {"/var/lib/ft-assets", "/tmp"} <= {m.mount_path for m in container.volume_mounts}
        assert container.image == TRAINER_IMAGE
        assert {"requests": resources.requests, "limits": resources.limits} == RESOURCES
        assert pod.metadata.labels.items() >= {**TEAM, "ft-assets/pipeline": PAIR}.items()


def test_the_rows_became_tokens_once_for_both_nodes(pair: GraphRun) -> None:
    said = [
        entry.user_message
        for entry in pair.platform.instance.all_logs(pair.run_id)
        if entry.step_key == f"{PAIR}__{TRAINING}"
    ]

    assert said.count("tokenize 0") == 1
    assert said.count(f"nodes {NODES}/{NODES}") == 1


def test_the_published_model_is_whole(model: Artifact, artifacts: ArtifactStore) -> None:
    assert artifacts.verify(model) == []
    verify_model(model.file("model/model.safetensors").parent)


def test_the_models_manifest_says_that_two_nodes_trained_it(model: Artifact) -> None:
    about: Any = model.manifest.metadata

    assert about["plan"]["parameters"]["nnodes"] == NODES
    assert about["outcome"]["settings"]["processes"] == NODES
    assert about["provenance"]["builder"]["image"] == TRAINER_IMAGE


def test_the_models_page_says_it_too(pair: GraphRun) -> None:
    record = pair.platform.instance.fetch_materializations(
        dg.AssetKey([PAIR, TRAINING]), limit=1
    ).records[0]
    assert record.asset_materialization is not None
    page: Any = record.asset_materialization.metadata

    rows = {row.data["parameter"]: row.data["value"] for row in page["parameters"].records}
    assert rows["nnodes"] == str(NODES)


def test_the_loss_of_every_step_is_recorded(model: Artifact) -> None:
    about: Any = model.manifest.metadata
    lines = model.file("metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]

    assert len(losses) == about["outcome"]["steps"] == STEPS
    assert all(map(math.isfinite, losses))
    assert about["loss_curve"] == losses
    assert losses[-1] < losses[0]
    assert "<svg" in model.file("loss.svg").read_text()


def test_the_version_is_registered_after_it_was_evaluated(
    pair: GraphRun, model: Artifact, artifacts: ArtifactStore
) -> None:
    registry = EmbeddedRegistry(path=str(pair.platform.tiny.root / "registry.db"))
    verdict = artifacts.open([PAIR, "eval_report"], DROP).file("verdict.json")

    (version,) = registry.list_versions(MODEL_NAME)
    assert version.artifact.uri == f"{model.uri}/model"
    assert version.artifact.digest == model.data_version
    assert json.loads(verdict.read_text())["passed"]


def test_nothing_of_the_training_is_left_behind(pair: GraphRun) -> None:
    here = pair.platform
    pods = here.agent.core.list_namespaced_pod(
        here.namespace, label_selector="jobset.sigs.k8s.io/jobset-name"
    )

    assert train_jobs(here) == []
    assert pods.items == []
    assert list((here.tiny.home / "runs").glob(f"{PAIR}-*")) == []
    assert list((here.tiny.home / "scratch").iterdir()) == []
