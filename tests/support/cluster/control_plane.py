"""A real Kubernetes control plane for tests: etcd, API server, controller manager, scheduler.

The programs come from the folder that KUBEBUILDER_ASSETS names (as for envtest) and from PATH; any
version from 1.20 on does. RBAC is on, and service accounts' own tokens work. There are no nodes:
node_agent.py adds them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster.audit import Asked, asked, audit_flags
from tests.support.cluster.programs import (
    ProgramMissingError,
    find_program,
    free_ports,
    start,
    stop,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from kubernetes.client import ApiClient, V1BoundObjectReference, V1Pod

_VARIABLE = "KUBEBUILDER_ASSETS"
_REMEDY = (
    f"set {_VARIABLE} to a folder with kube-apiserver, kube-controller-manager, kube-scheduler "
    "and etcd (etcd may be on PATH: Debian's etcd-server)"
)
_CONTROLLERS = (
    "job",
    "namespace",
    "garbagecollector",
    "podgc",
    "ttl-after-finished",
    "serviceaccount",
    "serviceaccount-token",
    "nodelifecycle",
    "root-ca-cert-publisher",
    "resourcequota",
    "disruption",
    "persistentvolume-binder",
)


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane, seen by its administrator."""

    server: str
    certificate_authority: Path
    kubeconfig: Path
    folder: Path
    """Logs and data of the programs; gone when the control plane ends."""

    def client(self) -> ApiClient:
        """A client that may do everything."""
        return client_of(self.kubeconfig)

    def namespace(self, prefix: str = "ft") -> str:
        """A new namespace whose default service account is there."""
        from kubernetes import client

        name = f"{prefix}-{secrets.token_hex(4)}"
        with self.client() as api:
            core = client.CoreV1Api(api)
            core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
            wait_until(
                lambda: bool(core.list_namespaced_service_account(name).items),
                f"the default service account of {name}",
            )
        return name

    def delete_namespace(self, name: str) -> None:
        """Ask for the namespace's end, and do not wait for it."""
        from kubernetes import client

        with self.client() as api:
            client.CoreV1Api(api).delete_namespace(name)

    def token_of(self, service_account: str, namespace: str, pod: V1Pod | None = None) -> str:
        """A token of a service account, for one hour; bound to a pod, as a pod gets it."""
        from kubernetes import client

        bound = None if pod is None else _reference(pod)
        request = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(
                audiences=[], expiration_seconds=3600, bound_object_ref=bound
            )
        )
        with self.client() as api:
            core = client.CoreV1Api(api)
            answer = core.create_namespaced_service_account_token(
                service_account, namespace, request
            )
            return answer.status.token

    def asked(self, resource: str, namespace: str) -> list[Asked]:
        """Which changes to a namespace's objects of a resource were asked for, and by whom."""
        return asked(self.folder, resource, namespace)

    def kubeconfig_for(self, token: str, namespace: str, file: Path | None = None) -> Path:
        """A kubeconfig with which one acts as whom the token names, in the namespace."""
        file = file or self.folder / f"kubeconfig-{namespace}-{secrets.token_hex(4)}"
        _write_kubeconfig(file, self.server, self.certificate_authority, token, namespace)
        return file

    def client_as(self, service_account: str, namespace: str) -> ApiClient:
        """A client that acts as a service account, with the account's own token."""
        token = self.token_of(service_account, namespace)
        return client_of(self.kubeconfig_for(token, namespace))


def client_of(kubeconfig: Path) -> ApiClient:
    """A client of its own for a kubeconfig; nothing global is configured."""
    from kubernetes import config

    return config.new_client_from_config(str(kubeconfig))


def _reference(pod: V1Pod) -> V1BoundObjectReference:
    from kubernetes import client

    return client.V1BoundObjectReference(
        api_version="v1", kind="Pod", name=pod.metadata.name, uid=pod.metadata.uid
    )


@contextmanager
def control_plane() -> Generator[ControlPlane]:
    """Run a control plane on free ports, with data that goes when the block ends.

    Raises:
        ProgramMissingError: a program is not there; the message says which one and what to set.
    """
    programs = {
        name: find_program(name, os.environ.get(_VARIABLE), _REMEDY)
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    }
    with (
        tempfile.TemporaryDirectory(prefix="kube-", ignore_cleanup_errors=True) as temporary,
        ExitStack() as running,
    ):
        folder = Path(temporary)
        gates = _feature_gates(programs["kube-apiserver"])
        etcd = _start_etcd(running, programs["etcd"], folder)
        plane = _start_api_server(running, programs["kube-apiserver"], folder, etcd, gates)
        _start_controllers(running, programs, plane, gates)
        yield plane


def _start_etcd(running: ExitStack, program: str, folder: Path) -> str:
    client_port, peer_port = free_ports(2)
    url, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    log = folder / "etcd.log"
    process = start(
        [
            program,
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ],
        log,
        cwd=folder,
    )
    running.callback(stop, process)
    wait_until(lambda: _answers(f"{url}/health"), "etcd", process=process, log=log)
    return url


def _start_api_server(
    running: ExitStack, program: str, folder: Path, etcd: str, gates: list[str]
) -> ControlPlane:
    (port,) = free_ports(1)
    key, tokens, token = folder / "sa.key", folder / "tokens.csv", secrets.token_hex(16)
    _write_private_key(key)
    tokens.write_text(f"{token},admin,admin,system:masters\n")
    certificates, log = folder / "certificates", folder / "kube-apiserver.log"
    plane = ControlPlane(
        server=f"https://127.0.0.1:{port}",
        certificate_authority=certificates / "apiserver.crt",
        kubeconfig=folder / "kubeconfig",
        folder=folder,
    )
    process = start(
        [
            program,
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={certificates}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--allow-privileged",
            *audit_flags(folder),
            # Pods of a test need no token volume: the node agent hands out the tokens.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            # Five minutes in a real cluster: a test of a lost node cannot wait so long.
            "--default-not-ready-toleration-seconds=2",
            "--default-unreachable-toleration-seconds=2",
            *gates,
        ],
        log,
        cwd=folder,
    )
    running.callback(stop, process)
    wait_until(plane.certificate_authority.exists, "its certificate", process=process, log=log)
    _write_kubeconfig(plane.kubeconfig, plane.server, plane.certificate_authority, token, "default")
    wait_until(lambda: _is_ready(plane), "the API server", process=process, log=log)
    return plane


def _start_controllers(
    running: ExitStack, programs: dict[str, str], plane: ControlPlane, gates: list[str]
) -> None:
    folder = plane.folder
    common = [
        f"--kubeconfig={plane.kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]
    manager_port, scheduler_port = free_ports(2)
    # Old versions also listen without TLS, on a fixed port where two control planes would meet.
    without_tls = ["--port=0"] if gates else []
    for command in (
        [
            programs["kube-controller-manager"],
            *common,
            f"--secure-port={manager_port}",
            *without_tls,
            f"--controllers={','.join(_CONTROLLERS)}",
            f"--service-account-private-key-file={folder / 'sa.key'}",
            "--use-service-account-credentials=false",
            "--node-monitor-period=1s",
            "--node-monitor-grace-period=10s",  # 40 s in a real cluster
            "--kube-api-qps=100",
            "--kube-api-burst=200",
            *gates,
        ],
        [
            programs["kube-scheduler"],
            *common,
            f"--secure-port={scheduler_port}",
            *without_tls,
        ],
    ):
        log = folder / f"{Path(command[0]).name}.log"
        running.callback(stop, start(command, log, cwd=folder))


def _feature_gates(api_server: str) -> list[str]:
    """What is behind a gate in old versions, and no gate any more in new ones."""
    said = subprocess.run([api_server, "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"v(\d+)\.(\d+)", said.stdout)
    old = version is not None and (int(version[1]), int(version[2])) < (1, 23)
    return ["--feature-gates=TTLAfterFinished=true"] if old else []


def _write_private_key(file: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _write_kubeconfig(
    file: Path, server: str, certificate_authority: Path, token: str, namespace: str
) -> None:
    """JSON, which is YAML."""
    cluster = {"server": server, "certificate-authority": str(certificate_authority)}
    context = {"cluster": "test", "user": "user", "namespace": namespace}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": context}],
        "current-context": "test",
    }
    file.write_text(json.dumps(content))
    file.chmod(0o600)


def _answers(url: str) -> bool:
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def _is_ready(plane: ControlPlane) -> bool:
    import urllib3
    from kubernetes import client

    try:
        with plane.client() as api:
            api.call_api("/readyz", "GET", auth_settings=["BearerToken"], _request_timeout=2)
    except (client.ApiException, urllib3.exceptions.HTTPError):
        return False
    return True


__all__ = ["ControlPlane", "ProgramMissingError", "client_of", "control_plane"]
