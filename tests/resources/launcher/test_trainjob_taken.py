"""Whether a TrainJob failed because the cluster took a node away, or because of its own work."""

from __future__ import annotations

from typing import Any

import pytest

from resources.launcher.trainjob import pods


def pod(index: int, phase: str = "Failed", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"job-node-0-{index}", "labels": {}},
        "status": {"phase": phase, **status},
    }


def ended(code: int, second: int = 1, reason: str = "Error") -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason, "finishedAt": f"2026-01-01T00:00:{second:02}Z"}
    return {"containerStatuses": [{"name": "node", "state": {"terminated": end}}]}


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    found = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [found]}


RUNS = pod(0, "Running")
FULL = "Usage of EmptyDir volume tmp exceeds the limit 1Gi."


@pytest.mark.parametrize(
    "lost",
    [
        pod(1, reason="Evicted", message="The node was low on resource: memory."),
        pod(1, reason="NodeLost"),
        pod(1, reason="Terminated", message="Pod was terminated in response to node shutdown."),
        pod(1, **disrupted("PreemptionByScheduler"), **ended(130)),
        pod(1, **disrupted("EvictionByEvictionAPI"), **ended(1)),
        pod(1, **ended(137)),
        pod(1, **ended(143)),
        pod(1, **ended(130)),
    ],
)
def test_a_node_that_was_taken_is_told_from_one_that_failed(lost: dict[str, Any]) -> None:
    assert pods.taken_away([RUNS, lost], 2)


@pytest.mark.parametrize(
    "failed",
    [
        pod(1, **ended(1)),
        pod(1, **ended(2)),
        pod(1, **ended(137, reason="OOMKilled")),
        pod(1, reason="Evicted", message=FULL, **ended(137)),
        pod(1, **disrupted("TerminationByKubelet", FULL)),
        pod(1, reason="DeadlineExceeded"),
    ],
)
def test_a_node_that_failed_by_itself_would_fail_again(failed: dict[str, Any]) -> None:
    assert not pods.taken_away([RUNS, failed], 2)


def test_the_node_that_ended_first_decides() -> None:
    """The others end because it is gone, whatever they say."""
    killed, after_it = pod(1, **ended(137, second=3)), pod(0, **ended(1, second=15))
    assert pods.taken_away([after_it, killed], 2)
    failed, deleted_for_it = pod(0, **ended(1, second=3)), pod(1, **ended(143, second=15))
    assert not pods.taken_away([failed, deleted_for_it], 2)


def test_a_node_whose_pod_is_gone_or_going_was_taken() -> None:
    going = pod(1, "Running")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pods.taken_away([RUNS], 2)
    assert pods.taken_away([RUNS, going], 2)
    assert not pods.taken_away([RUNS, pod(1, "Running")], 2)
