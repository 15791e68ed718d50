"""A node for tests: what the kubelet is in a real cluster, with pods that are processes.

It registers a Node with room for GPUs, keeps it ready, runs the pods that the scheduler binds to
it, and misbehaves when asked to: lose(), recover(), oom_kill(), evict(), kill(). What a pod finds
on it: pod.py and pod_spec.py.
"""

from __future__ import annotations

import datetime
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.cluster.log_server import log_server
from tests.support.cluster.pod import RunningPod
from tests.support.cluster.pod_spec import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from kubernetes.client import V1Pod

    from tests.support.cluster.control_plane import ControlPlane

CAPACITY = {"cpu": "8", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "8"}
"""What a node of ours says that it has; nothing of it is real."""

_HEARTBEAT_SECONDS = 1.0
_LEASES = "kube-node-lease"


class NodeAgent:
    """One node. Make it with running_node()."""

    def __init__(
        self,
        plane: ControlPlane,
        name: str,
        folder: Path,
        labels: Mapping[str, str],
        capacity: Mapping[str, str],
    ) -> None:
        from kubernetes import client

        self.plane = plane
        self.name = name
        self.folder = folder
        self.core = client.CoreV1Api(plane.client())
        self._leases = client.CoordinationV1Api(self.core.api_client)
        self._labels = dict(labels)
        self._capacity = dict(capacity)
        self._pods: dict[str, RunningPod] = {}
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._all: list[RunningPod] = []
        self._port = 0

    # What a test asks for.

    def lose(self, *, kill: bool = True) -> None:
        """Be lost, as when the machine loses its power: no heartbeat, no report, no process."""
        self._lost.set()
        for pod in self.pods():
            pod.silent = True
            if kill:
                pod.abandon()

    def recover(self) -> None:
        """Come back after lose(), as a machine that has started again: its pods are gone."""
        for pod in self.pods():
            self.remove_from_api(pod)
        self._pods.clear()
        self._lost.clear()
        self._post_status()

    def oom_kill(self, namespace: str, pod: str) -> None:
        """Kill a pod as the kernel does when it needs more memory than its limit."""
        self._find(namespace, pod).oom_kill()

    def kill(self, namespace: str, pod: str) -> None:
        """Kill a pod's processes; exit code 137, reason Error."""
        self._find(namespace, pod).kill_all()

    def evict(
        self, namespace: str, pod: str, message: str = "The node was low on resource: memory."
    ) -> None:
        """End a pod as the kubelet does when the node runs out of something."""
        self._find(namespace, pod).evict(message)

    def pods(self) -> list[RunningPod]:
        """The pods that are or were on the node and that the API still knows."""
        return list(self._pods.values())

    def log(self, namespace: str, pod: str) -> str:
        """What a pod's first container has said, also after the pod has gone from the API."""
        found = [p for p in self._all if (p.namespace, p.pod_name) == (namespace, pod)]
        log = found[-1].log(found[-1].pod.spec.containers[0].name) if found else None
        if log is None or not log.exists():
            return ""
        lines = log.read_text(errors="replace").splitlines()
        return "\n".join(line.split(" ", 1)[1] for line in lines)

    def claim_folder(self, namespace: str, claim: str) -> Path:
        """The directory of a PersistentVolumeClaim: the same on every node."""
        folder = self.plane.folder / "claims" / namespace / claim
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def pods_ever(self, namespace: str) -> list[V1Pod]:
        """Every pod of a namespace that the node was given, oldest first, also those that went."""
        return [pod.pod for pod in self._all if pod.namespace == namespace]

    # What its pods need.

    def identity(self, pod: V1Pod, folder: Path) -> dict[str, str]:
        """The environment that lets a pod's process act as the pod's own service account.

        The kubeconfig with the token is the file ``kubeconfig`` of its working directory.

        Raises:
            ConfigError: there is no such account.
        """
        from kubernetes import client

        namespace = pod.metadata.namespace
        if pod.spec.automount_service_account_token is False:
            return {}
        named = pod.spec.service_account_name
        account = named or "default"
        try:
            # A token is bound to no pod that does not name its account: admission would have put
            # it there.
            token = self.plane.token_of(account, namespace, pod if named else None)
        except client.ApiException as error:
            if error.status != 404:
                raise
            raise ConfigError(f'serviceaccount "{account}" not found') from error
        file = str(self.plane.kubeconfig_for(token, namespace, folder / "kubeconfig"))
        return {"KUBECONFIG": file, "FT_KUBECONFIG": file, "FT_NAMESPACE": namespace}

    @property
    def service_variables(self) -> dict[str, str]:
        """By which every pod knows that it is in a cluster, and where the API is."""
        address = urlsplit(self.plane.server)
        return {
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
        }

    def report(self, pod: RunningPod, status: Mapping[str, Any]) -> None:
        """Write a pod's status."""
        body = {"metadata": {"uid": pod.uid}, "status": status}
        _unless_gone(
            lambda: self.core.patch_namespaced_pod_status(pod.pod_name, pod.namespace, body)
        )

    def remove_from_api(self, pod: RunningPod) -> None:
        """The last act on a deleted pod: its object goes."""
        from kubernetes import client

        options = client.V1DeleteOptions(
            grace_period_seconds=0, preconditions=client.V1Preconditions(uid=pod.uid)
        )
        _unless_gone(
            lambda: self.core.delete_namespaced_pod(pod.pod_name, pod.namespace, body=options)
        )

    def event(self, pod: V1Pod, kind: str, reason: str, message: str) -> None:
        """Tell of something that happened to a pod, as the kubelet does."""
        from kubernetes import client

        now = datetime.datetime.now(datetime.UTC)
        event = client.CoreV1Event(
            metadata=client.V1ObjectMeta(generate_name=f"{pod.metadata.name}."),
            involved_object=client.V1ObjectReference(
                api_version="v1",
                kind="Pod",
                name=pod.metadata.name,
                namespace=pod.metadata.namespace,
                uid=pod.metadata.uid,
            ),
            type=kind,
            reason=reason,
            message=message,
            source=client.V1EventSource(component="kubelet", host=self.name),
            first_timestamp=now,
            last_timestamp=now,
            count=1,
        )
        _unless_gone(lambda: self.core.create_namespaced_event(pod.metadata.namespace, event))

    # How it lives.

    def start(self, port: int) -> None:
        """Register, and begin to run pods; ``port`` is where its logs are served."""
        self._port = port
        self._register()
        threading.Thread(target=self._keep_ready, daemon=True, name=f"{self.name} beats").start()
        threading.Thread(target=self._follow_pods, daemon=True, name=f"{self.name} pods").start()

    def end(self) -> None:
        """Kill all pods and take the node away, from a cluster that may have ended before it."""
        from urllib3.exceptions import HTTPError

        self._ended.set()
        for pod in self.pods():
            pod.abandon()
        try:
            _unless_gone(lambda: self.core.delete_node(self.name))
        except HTTPError as error:
            warnings.warn(f"the cluster ended before its node: {error}", stacklevel=2)

    def find_log(
        self, namespace: str, pod: str, container: str
    ) -> tuple[Path, Callable[[], bool]] | None:
        """For the log server."""
        try:
            found = self._find(namespace, pod)
        except LookupError:
            return None
        log = found.log(container)
        return (log, lambda: found.is_running(container)) if log.exists() else None

    def _register(self) -> None:
        self.core.create_node(
            {
                "metadata": {
                    "name": self.name,
                    "labels": {"kubernetes.io/hostname": self.name, **self._labels},
                }
            }
        )
        self._post_status()

    def _post_status(self) -> None:
        conditions = {
            "Ready": "True",
            "MemoryPressure": "False",
            "DiskPressure": "False",
            "PIDPressure": "False",
        }
        now = datetime.datetime.now(datetime.UTC).isoformat()
        status = {
            "capacity": self._capacity,
            "allocatable": self._capacity,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "conditions": [
                {
                    "type": kind,
                    "status": value,
                    "reason": "TestNode",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
                for kind, value in conditions.items()
            ],
        }
        self.core.patch_node_status(self.name, {"status": status})

    def _keep_ready(self) -> None:
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        seconds = 40
        while not self._ended.wait(_HEARTBEAT_SECONDS):
            if self._lost.is_set():
                continue
            now = datetime.datetime.now(datetime.UTC).isoformat()
            spec = {"holderIdentity": self.name, "leaseDurationSeconds": seconds, "renewTime": now}
            body = {"metadata": {"name": self.name}, "spec": spec}
            try:
                try:
                    self._leases.patch_namespaced_lease(self.name, _LEASES, body)
                except client.ApiException as error:
                    if error.status != 404:
                        raise
                    self._leases.create_namespaced_lease(_LEASES, body)
            except (client.ApiException, HTTPError):
                continue  # one heartbeat less; the controller bears it

    def _follow_pods(self) -> None:
        from kubernetes import client, watch
        from urllib3.exceptions import HTTPError

        mine = f"spec.nodeName={self.name}"
        while not self._ended.is_set():
            try:
                listed = self.core.list_pod_for_all_namespaces(field_selector=mine)
                for pod in listed.items:
                    self._take("MODIFIED", pod)
                stream = watch.Watch().stream(
                    self.core.list_pod_for_all_namespaces,
                    field_selector=mine,
                    resource_version=listed.metadata.resource_version,
                    timeout_seconds=300,
                )
                for change in stream:
                    if self._ended.is_set():
                        return
                    self._take(change["type"], change["object"])
            except (client.ApiException, HTTPError):
                time.sleep(0.2)  # the watch has expired, or the API server is ending

    def _take(self, change: str, pod: V1Pod) -> None:
        if self._lost.is_set():
            return
        uid = pod.metadata.uid
        known = self._pods.get(uid)
        if change == "DELETED":
            if known is not None:
                del self._pods[uid]
                known.abandon()
            return
        if known is None:
            known = self._pods[uid] = RunningPod(self, pod)
            self._all.append(known)
            if pod.status.phase not in ("Succeeded", "Failed"):
                known.start()
        if pod.metadata.deletion_timestamp is not None:
            known.delete(pod.metadata.deletion_grace_period_seconds or 0)

    def _find(self, namespace: str, pod: str) -> RunningPod:
        for found in self.pods():
            if (found.namespace, found.pod_name) == (namespace, pod):
                return found
        raise LookupError(f"no pod {namespace}/{pod} on node {self.name}")


@contextmanager
def running_node(
    plane: ControlPlane,
    name: str = "node-1",
    *,
    labels: Mapping[str, str] | None = None,
    capacity: Mapping[str, str] | None = None,
) -> Generator[NodeAgent]:
    """A node that runs pods until the block ends; ``labels`` let a test's pods choose it."""
    with tempfile.TemporaryDirectory(prefix="node-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        agent = NodeAgent(plane, name, folder, labels or {}, {**CAPACITY, **(capacity or {})})
        with log_server(agent.find_log, folder) as port:
            agent.start(port)
            try:
                yield agent
            finally:
                agent.end()


def _unless_gone(call: Callable[[], object]) -> None:
    """Call the API about an object that may have gone, or become another, in the meantime."""
    from kubernetes import client

    try:
        call()
    except client.ApiException as error:
        if error.status not in (404, 409) and "NamespaceTerminating" not in str(error.body):
            raise
