"""What the cluster shows, read: states, deadlines, pods, the lines of a log."""

from __future__ import annotations

from typing import Any

import pytest

from resources.launcher.trainjob import pods
from resources.launcher.trainjob.deadlines import DeadlinePassedError, Deadlines
from resources.launcher.trainjob.job import Look
from resources.launcher.trainjob.logs import Lines
from resources.launcher.trainjob.state import State, running_since, state_of, waiting_since

CREATED = "2026-01-01T00:00:00Z"


def pod(index: int = 0, phase: str = "Running", **further: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"job-node-0-{index}", "labels": {}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, **further},
    }


def leaving(one: dict[str, Any]) -> dict[str, Any]:
    one["metadata"]["deletionTimestamp"] = CREATED
    return one


def look(*found: dict[str, Any], suspend: bool = False, deleted: bool = False, **held: str) -> Look:
    """A job with conditions (TYPE=STATUS) and pods."""
    metadata = {"uid": "1", "creationTimestamp": CREATED}
    if deleted:
        metadata["deletionTimestamp"] = CREATED
    conditions = [
        {"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:05:00Z"}
        for kind, status in held.items()
    ]
    job = {"metadata": metadata, "spec": {"suspend": suspend}, "status": {"conditions": conditions}}
    return Look(job, list(found))


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Look(None), State.GONE),
        (look(), State.CREATED),
        (Look({"metadata": {"uid": "1"}, "spec": {}}), State.CREATED),
        (look(suspend=True), State.SUSPENDED),
        (look(pod(), pod(1), Suspended="True"), State.SUSPENDED),
        (look(Suspended="False"), State.CREATED),
        (look(pod(0), pod(1, "Pending")), State.QUEUED),
        (look(pod(0)), State.QUEUED),
        (look(pod(0), pod(1)), State.RUNNING),
        (look(pod(0, "Succeeded"), pod(1)), State.RUNNING),
        (look(leaving(pod(0)), leaving(pod(1))), State.CREATED),
        (look(pod(0), pod(1), Complete="True"), State.COMPLETE),
        (look(Complete="False", Failed="True"), State.FAILED),
        (look(Failed="False"), State.CREATED),
        (look(pod(0), pod(1), deleted=True), State.GONE),
        (look(deleted=True, Complete="True"), State.COMPLETE),
        (look(deleted=True, Failed="True"), State.FAILED),
        (look(suspend=True, Complete="True"), State.COMPLETE),
    ],
)
def test_the_state_of_a_job_of_two_nodes(seen, state):
    assert state_of(seen, 2) is state


def test_a_wait_begins_with_the_creation_or_the_last_suspension():
    assert waiting_since(look()).minute == 0
    assert waiting_since(look(Suspended="True")).minute == 5
    assert waiting_since(look(Suspended="False")).minute == 5


def test_a_stretch_begins_when_the_last_node_is_up():
    times = ["2026-01-01T00:01:00Z", "2026-01-01T00:03:00Z"]
    both = [pod(n, startTime=time) for n, time in enumerate(times)]
    assert running_since(look(*both)).minute == 3
    assert running_since(look(both[0], pod(1))) is None
    assert running_since(look()) is None


# Deadlines: 100 s for each wait, 1000 s of running.


@pytest.fixture
def deadlines():
    return Deadlines(100.0, 1000.0)


def test_waiting_and_running_are_counted_apart(deadlines):
    deadlines.see(State.CREATED, 0.0)
    deadlines.see(State.QUEUED, 50.0)
    assert (deadlines.waited(90.0), deadlines.ran(90.0)) == (90.0, 0.0)
    deadlines.see(State.RUNNING, 90.0)
    assert (deadlines.waited(500.0), deadlines.ran(500.0)) == (0.0, 410.0)
    deadlines.check(1090.0)
    with pytest.raises(DeadlinePassedError, match="ran 1001 s, longer than the 1000 s"):
        deadlines.check(1091.0)


def test_a_change_of_what_it_waits_for_is_the_same_wait(deadlines):
    for state, now in ((State.SUSPENDED, 0.0), (State.CREATED, 60.0), (State.QUEUED, 99.0)):
        deadlines.see(state, now)
    deadlines.check(100.0)
    with pytest.raises(DeadlinePassedError, match=r"waited 101 s for its nodes.*the 100 s"):
        deadlines.check(101.0)


def test_a_suspension_stops_the_running_time_and_begins_a_new_wait(deadlines):
    """400 s of running, 90 s suspended, then running again: the sum counts, not the span."""
    deadlines.see(State.RUNNING, 0.0)
    deadlines.see(State.SUSPENDED, 400.0)
    deadlines.check(490.0)
    assert (deadlines.waited(490.0), deadlines.ran(490.0)) == (90.0, 400.0)
    deadlines.see(State.RUNNING, 490.0)
    deadlines.check(1090.0)
    with pytest.raises(DeadlinePassedError, match="ran"):
        deadlines.check(1091.0)


def test_what_happened_before_the_first_look_counts():
    waiting = Deadlines(100.0, 1000.0)
    waiting.see(State.QUEUED, 0.0, already=80.0)
    assert waiting.waited(10.0) == 90.0
    running = Deadlines(100.0, 1000.0, ran=300.0)
    running.see(State.RUNNING, 0.0, already=500.0)
    assert running.ran(10.0) == 810.0


# Pods.


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "node", "state": state}]}


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("ImagePullBackOff", "image_pull_secret"),
        ("ErrImagePull", "image's name and tag"),
        ("InvalidImageName", "kubernetes.image"),
        ("CreateContainerConfigError", "create it in the namespace"),
    ],
)
def test_a_pod_that_no_waiting_starts_is_told_with_its_remedy(reason, remedy):
    stuck = pod(1, "Pending", **container(waiting={"reason": reason, "message": "why"}))
    text = pods.hopeless([pod(0), stuck])
    assert text is not None
    assert text.startswith(f"pod job-node-0-1: {reason} (why): ")
    assert remedy in text


def test_a_pod_that_is_starting_is_not_hopeless():
    starting = pod(0, "Pending", **container(waiting={"reason": "ContainerCreating"}))
    assert pods.hopeless([starting]) is None
    assert pods.holding_up([starting]) == "pod job-node-0-0: ContainerCreating"
    assert pods.holding_up([pod(0)]) is None


def test_the_scheduler_says_what_a_pod_waits_for():
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }
    text = pods.holding_up([pod(0, "Pending", conditions=[condition])])
    assert text is not None
    assert text.endswith("Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")


def test_the_first_failure_is_the_one_that_is_told():
    """The others fail because node 1 is gone."""
    ended = [
        container(
            terminated={"exitCode": 1, "reason": "Error", "finishedAt": f"2026-01-01T00:00:{s}Z"}
        )
        for s in ("09", "03")
    ]
    found = [pod(n, "Failed", **status) for n, status in enumerate(ended)]
    first = pods.first_failed(found)
    assert first is found[1]
    assert pods.how_it_ended(first) == "pod job-node-0-1 on node n1, ended with status 1 (Error)"


def test_a_pod_without_containers_left_says_why_itself():
    evicted = pod(0, "Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert pods.first_failed([evicted]) is evicted
    assert pods.how_it_ended(evicted).endswith("Evicted: The node was low on resource: memory.")


def test_memory_is_told_from_another_kill():
    for reason, is_memory in (("OOMKilled", True), ("Error", False)):
        killed = pod(0, "Failed", **container(terminated={"exitCode": 137, "reason": reason}))
        assert pods.out_of_memory([killed]) is is_memory
        assert ("SIGKILL" in pods.how_it_ended(killed)) is not is_memory


def test_containers_that_ended_well_are_no_failure():
    done = pod(0, "Succeeded", **container(terminated={"exitCode": 0}))
    assert pods.first_failed([done]) is None


# The log.


def read(*streams: list[str]) -> tuple[list[str], list[str | None]]:
    """What is written of streams that break, and from where each is opened."""
    lines, written, since = Lines(), [], []
    for stream in streams:
        since.append(lines.since)
        lines.reopened()
        written += [text for line in stream if (text := lines.new(line)) is not None]
    return written, since


def test_a_stream_that_breaks_repeats_no_line_and_loses_none():
    first = ["2026-01-01T00:00:01.5Z a", "2026-01-01T00:00:02.000000001Z b"]
    again = [*first, "2026-01-01T00:00:02.000000002Z b", "2026-01-01T00:00:03Z c"]
    assert read(first, again) == (["a", "b", "b", "c"], [None, "2026-01-01T00:00:01Z"])


def test_equal_lines_of_one_moment_are_counted():
    line = "2026-01-01T00:00:01Z again"
    assert read([line, line], [line, line, line])[0] == ["again"] * 3


def test_a_stream_that_breaks_twice_at_the_same_place():
    lines = [f"2026-01-01T00:00:0{n}Z {n}" for n in range(5)]
    assert read(lines[:3], lines[1:3], lines[1:])[0] == list("01234")


def test_lines_that_come_out_of_order_are_kept():
    """Those of stdout and stderr are stamped apart."""
    assert read(["2026-01-01T00:00:02.9Z out", "2026-01-01T00:00:02.1Z err"])[0] == ["out", "err"]


def test_a_server_that_sends_the_whole_log_again_repeats_no_line():
    lines = [f"2026-01-01T00:00:{n:02}Z {n}" for n in range(30)]
    assert read(lines[:20], lines)[0] == [str(n) for n in range(30)]


def test_an_empty_line_is_a_line():
    assert read(["2026-01-01T00:00:02Z ", "2026-01-01T00:00:02Z"])[0] == ["", ""]
