"""A run that is cancelled or killed leaves nothing behind, trains nothing twice and goes on.

Each test trains long enough to be hit while it trains, after its first checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from ft_assets.cluster.reaper import reap
from resources.store import ArtifactStore
from tests.cluster.conftest import GraphRun
from tests.support.cluster.platform import DROP, Platform
from tests.support.cluster.programs import wait_until
from tests.support.cluster.training import launched_until_a_checkpoint
from tests.support.tiny_pipeline import NAME

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING = "finetuned_model"
STEPS_PER_EPOCH = 4
QUICK = {"poll_seconds": 1, "retries": 1, "retry_delay_seconds": 0.5, "end_seconds": 2.0}
"""The watchdog, for tests that wait for it."""


def _train(platform: Platform, epochs: int, seed: int) -> str:
    """Launch a training that no other test shares; gives the run's id, once it has a checkpoint."""
    training = {"num_epochs": epochs, "seed": seed, "save_full_state": True}
    config = {
        "execution": {"config": {"watchdog": QUICK}},
        "ops": {f"{NAME}__{TRAINING}": {"config": training}},
    }
    return launched_until_a_checkpoint(platform, lambda: platform.launch(config, select=[TRAINING]))


def _nothing_runs(platform: Platform, run_id: str) -> Callable[[], bool]:
    """Whether no pod of the run has a process, and no job of it is active."""

    def ask() -> bool:
        pods = [
            pod
            for pod in platform.agent.pods()
            if (pod.pod.metadata.labels or {}).get("dagster/run-id") == run_id
        ]
        alive = [pod for pod in pods if any(pod.is_running(name) for name in pod.processes)]
        return not alive and not any(job.status.active for job in platform.jobs(run_id))

    return ask


def test_a_cancelled_run_leaves_nothing_behind(graph: GraphRun) -> None:
    platform = graph.platform
    run_id = _train(platform, epochs=400, seed=1)

    platform.cancel(run_id)

    assert platform.wait(run_id).status == dg.DagsterRunStatus.CANCELED
    wait_until(_nothing_runs(platform, run_id), "the end of its pods", seconds=90)


def test_a_killed_step_is_tried_again_and_goes_on_from_its_checkpoint(
    graph: GraphRun, artifacts: ArtifactStore
) -> None:
    platform = graph.platform
    run_id = _train(platform, epochs=40, seed=2)

    platform.agent.kill(platform.namespace, platform.pod_of(run_id, TRAINING))

    run = platform.wait(run_id)
    assert run.is_success, platform.explain(run_id)
    assert len(platform.step_pods(run_id)[TRAINING]) == 2
    trained = artifacts.open([NAME, TRAINING], DROP)
    outcome: Any = trained.manifest.metadata["outcome"]
    assert outcome["resumed_from_step"] > 0
    assert outcome["steps"] == 40 * STEPS_PER_EPOCH
    steps = trained.file("metrics.jsonl").read_text().splitlines()
    assert len(steps) == outcome["steps"], "no step twice, none missing"
    wait_until(_nothing_runs(platform, run_id), "the end of its pods", seconds=90)


def test_what_a_killed_run_leaves_is_reaped_after_the_grace_period(graph: GraphRun) -> None:
    """With the rights of the code server, where the reaper runs."""
    platform = graph.platform
    run_id = _train(platform, epochs=400, seed=3)
    now = datetime.now(UTC)

    platform.agent.kill(platform.namespace, platform.pod_of(run_id))
    platform.instance.report_run_failed(platform.run(run_id))  # as Dagster's run monitoring does
    with platform.agent.plane.client_as("ft-assets-code", platform.namespace) as api:
        assert reap(api, platform.namespace, platform.instance, now) == []  # it may end by itself
        done = reap(api, platform.namespace, platform.instance, now + timedelta(minutes=10))

    assert len(done) == 1
    wait_until(_nothing_runs(platform, run_id), "the end of its pods", seconds=90)
