"""The queue, run monitoring and retries of deploy/dagster.yaml, and a daemon that is killed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.store import ArtifactStore
from tests.support.cluster.install import platform as running_platform
from tests.support.cluster.install import start_daemon
from tests.support.cluster.node_agent import NodeAgent
from tests.support.cluster.platform import DROP, Platform
from tests.support.cluster.programs import wait_until
from tests.support.cluster.training import launched_until_a_checkpoint
from tests.support.postgres import Postgres
from tests.support.seaweedfs import seaweedfs
from tests.support.tiny_pipeline import NAME

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING = "finetuned_model"
EPOCHS = 20
STEPS_PER_EPOCH = 4
GENTLY = {"learning_rate": 0.002}
"""So that so many epochs make it better than its base, and the court lets it through."""
UP_TO_THE_MODEL = ["raw_dataset", "split_dataset", "token_report", TRAINING]


@pytest.fixture(scope="module")
def platform(
    node_agent: NodeAgent, postgres: Postgres, tiny_base_model: Path
) -> Generator[Platform]:
    """A platform of this file's own, because it loses its daemon."""
    with (
        seaweedfs() as s3,
        running_platform(node_agent, postgres, s3, tiny_base_model, daemon=True) as here,
    ):
        yield here


def _train(platform: Platform, seed: int, select: Sequence[str] = UP_TO_THE_MODEL) -> str:
    """Launch a training that no other test of this file shares, as far as its first checkpoint.

    An empty selection is the whole graph.
    """
    training = {"num_epochs": EPOCHS, "seed": seed, "save_full_state": True, **GENTLY}
    config = {"ops": {f"{NAME}__{TRAINING}": {"config": training}}}
    return launched_until_a_checkpoint(platform, lambda: platform.launch(config, select=select))


def _trained_once(artifacts: ArtifactStore, seed: int) -> None:
    """The newest model is that of the seed, and has each of its steps once."""
    trained = artifacts.open([NAME, TRAINING], DROP)
    outcome: Any = trained.manifest.metadata["outcome"]
    plan: Any = trained.manifest.metadata["plan"]
    assert plan["parameters"]["seed"] == seed
    assert outcome["steps"] == EPOCHS * STEPS_PER_EPOCH
    assert len(trained.file("metrics.jsonl").read_text().splitlines()) == outcome["steps"]


def _jobs_of_runs(platform: Platform, run_id: str) -> list[str]:
    """The Kubernetes jobs of the run itself, not those of its steps."""
    return [
        job.metadata.name
        for job in platform.jobs(run_id)
        if "dagster/op" not in (job.spec.template.metadata.labels or {})
    ]


def test_a_run_goes_on_without_its_daemon_and_the_queue_waits_for_the_next_one(
    platform: Platform, artifacts: ArtifactStore
) -> None:
    first = _train(platform, seed=1)

    platform.agent.kill(platform.namespace, "daemon")
    second = platform.launch(select=["raw_dataset"])

    assert platform.wait(first).is_success, platform.explain(first)
    _trained_once(artifacts, seed=1)
    assert platform.run(second).status == dg.DagsterRunStatus.QUEUED
    assert platform.jobs(second) == []

    start_daemon(platform, "daemon-2")

    assert platform.wait(second).is_success, platform.explain(second)
    assert len(_jobs_of_runs(platform, first)) == 1
    assert len(_jobs_of_runs(platform, second)) == 1


def test_a_run_that_lost_its_pod_is_run_again_to_the_end_and_trains_no_step_twice(
    platform: Platform, artifacts: ArtifactStore
) -> None:
    lost = _train(platform, seed=3, select=[])

    platform.agent.kill(platform.namespace, platform.pod_of(lost))

    assert platform.wait(lost).status == dg.DagsterRunStatus.FAILURE
    wait_until(lambda: _again(platform, lost) != [], "another run", seconds=60)
    (again,) = _again(platform, lost)
    assert platform.wait(again).is_success, platform.explain(again)
    _trained_once(artifacts, seed=3)
    assert _again(platform, lost) == [again], "once is enough"
    made = platform.step_pods(again)
    assert {"eval_report", "registered_version"} <= made.keys()
    assert not {"raw_dataset", "split_dataset"} & made.keys(), "what was done is not done again"


def _again(platform: Platform, run_id: str) -> list[str]:
    """The runs that Dagster launched in place of a run."""
    runs = platform.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
    return [run.run_id for run in runs]
