"""What the tests' node does with pods: what a kubelet does, for all that the platform looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.support.cluster.control_plane import ControlPlane
from tests.support.cluster.node_agent import NodeAgent, running_node
from tests.support.cluster.programs import wait_until

pytestmark = pytest.mark.k8s

_SLEEP = ["sleep", "600"]
_SAY_BYE = ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; sleep 600 & wait"]


@pytest.fixture
def core(control_plane: ControlPlane, node_agent: NodeAgent) -> client.CoreV1Api:
    return client.CoreV1Api(control_plane.client())


def _pod(
    core: client.CoreV1Api,
    namespace: str,
    command: list[str],
    *,
    image: str = "ft-assets/tools",
    env: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> Callable[[], client.V1Pod]:
    """Create a pod; gives what reads it again."""
    container = {"name": "main", "image": image, "command": command, "env": env or []}
    container |= {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    metadata = {"generateName": "p-"}
    body = {"metadata": metadata, "spec": {"restartPolicy": "Never", **spec}}
    body["spec"]["containers"] = [container]
    name = core.create_namespaced_pod(namespace, body).metadata.name
    return lambda: core.read_namespaced_pod(name, namespace)


def _wait_for(read: Callable[[], client.V1Pod], phase: str) -> client.V1Pod:
    wait_until(lambda: read().status.phase == phase, f"phase {phase}", seconds=30)
    return read()


def _waiting_reason(read: Callable[[], client.V1Pod]) -> str | None:
    statuses = read().status.container_statuses
    return statuses[0].state.waiting.reason if statuses and statuses[0].state.waiting else None


def _ended(pod: client.V1Pod) -> client.V1ContainerStateTerminated:
    return pod.status.container_statuses[0].state.terminated


def test_a_pod_runs_with_its_environment_and_ends_with_its_exit_code(
    core: client.CoreV1Api, namespace: str
) -> None:
    core.create_namespaced_secret(
        namespace, {"metadata": {"name": "s"}, "stringData": {"key": "from the secret"}}
    )
    source = {"secretKeyRef": {"name": "s", "key": "key"}}
    env = [
        {"name": "A", "valueFrom": source},
        {"name": "B", "value": "with $(A)"},
        {"name": "C", "value": "/data/file"},
    ]
    pod = _pod(
        core,
        namespace,
        ["sh", "-c", "echo $B; echo here > $DATA/file; cat $C; exit 3"],
        env=[*env, {"name": "DATA", "value": "/data"}],
        volumes=[{"name": "data", "emptyDir": {}}],
    )
    ended = _ended(_wait_for(pod, "Failed"))

    log = core.read_namespaced_pod_log(pod().metadata.name, namespace)
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert "with from the secret" in log


def test_a_process_acts_as_its_pods_service_account(core: client.CoreV1Api, namespace: str) -> None:
    said = "from resources.cluster.client import *; from kubernetes import client;" + (
        "client.CoreV1Api(api_client()).list_namespaced_pod(namespace())"
    )
    pod = _pod(core, namespace, ["python", "-c", said])
    _wait_for(pod, "Failed")

    log = core.read_namespaced_pod_log(pod().metadata.name, namespace)
    assert f"system:serviceaccount:{namespace}:default" in log


def test_an_image_that_cannot_be_pulled(core: client.CoreV1Api, namespace: str) -> None:
    pod = _pod(core, namespace, _SLEEP, image="registry.example/missing:1")
    wait_until(lambda: _waiting_reason(pod) == "ImagePullBackOff", "the back-off", seconds=30)

    events = core.list_namespaced_event(namespace).items
    assert any("Failed to pull image" in event.message for event in events)


def test_a_secret_that_is_not_there_yet(core: client.CoreV1Api, namespace: str) -> None:
    source = {"secretKeyRef": {"name": "late", "key": "key"}}
    pod = _pod(core, namespace, ["true"], env=[{"name": "A", "valueFrom": source}])
    wait_until(lambda: _waiting_reason(pod) == "CreateContainerConfigError", "it", seconds=30)

    core.create_namespaced_secret(
        namespace, {"metadata": {"name": "late"}, "stringData": {"key": "value"}}
    )
    _wait_for(pod, "Succeeded")


def test_a_pod_that_needs_too_much_memory(
    core: client.CoreV1Api, namespace: str, node_agent: NodeAgent
) -> None:
    pod = _pod(core, namespace, _SLEEP)
    node_agent.oom_kill(namespace, _wait_for(pod, "Running").metadata.name)

    ended = _ended(_wait_for(pod, "Failed"))
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def test_an_eviction(core: client.CoreV1Api, namespace: str, node_agent: NodeAgent) -> None:
    pod = _pod(core, namespace, _SLEEP)
    node_agent.evict(namespace, _wait_for(pod, "Running").metadata.name)

    status = _wait_for(pod, "Failed").status
    assert (status.reason, status.message) == (
        "Evicted",
        "The node was low on resource: memory.",
    )


def test_a_deleted_pod_gets_sigterm_first(
    core: client.CoreV1Api, namespace: str, node_agent: NodeAgent
) -> None:
    pod = _pod(core, namespace, _SAY_BYE)
    name = _wait_for(pod, "Running").metadata.name
    wait_until(lambda: "up" in node_agent.log(namespace, name), "its first word")

    core.delete_namespaced_pod(name, namespace)
    wait_until(lambda: not core.list_namespaced_pod(namespace).items, "its end", seconds=30)

    assert node_agent.log(namespace, name).splitlines() == ["up", "bye"]


def test_a_deleted_pod_is_killed_after_the_grace_period(
    core: client.CoreV1Api, namespace: str
) -> None:
    pod = _pod(core, namespace, ["sh", "-c", "trap '' TERM; sleep 600"])
    name = _wait_for(pod, "Running").metadata.name

    core.delete_namespaced_pod(name, namespace, grace_period_seconds=1)

    wait_until(lambda: not core.list_namespaced_pod(namespace).items, "its end", seconds=30)


@pytest.mark.slow
def test_a_lost_node_is_noticed_and_its_pods_are_deleted(
    core: client.CoreV1Api, control_plane: ControlPlane, namespace: str
) -> None:
    with running_node(control_plane, "doomed", labels={"pool": "doomed"}) as node:
        pod = _pod(core, namespace, _SLEEP, nodeSelector={"pool": "doomed"})
        _wait_for(pod, "Running")

        node.lose()

        wait_until(
            lambda: pod().metadata.deletion_timestamp is not None, "the deletion", seconds=60
        )
        ready = [c for c in core.read_node("doomed").status.conditions if c.type == "Ready"]
        assert ready[0].status == "Unknown"
