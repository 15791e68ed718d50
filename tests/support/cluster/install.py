"""The whole platform in a namespace of the tests' control plane, as deploy/ describes it.

Dagster's webserver, its daemon and the code server are pods with the accounts and rights of
deploy/kubernetes; the instance is deploy/dagster.yaml; storage is a real PostgreSQL, artifacts and
logs are in a real S3.

What differs from a real cluster: processes share this machine's files (see pod_spec.py), so each
finds its account's token in its working directory and not under the path of real pods.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import urllib.request
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from urllib3.exceptions import HTTPError

from ft_assets.kubernetes import GPU_POOL
from resources.home import CHECKOUT
from tests.support.cluster.node_agent import CAPACITY
from tests.support.cluster.platform import IMAGE, LOCATION, TRAINER_IMAGE, Platform
from tests.support.cluster.programs import free_ports, wait_until
from tests.support.cluster.volumes import provide_claim
from tests.support.tiny_pipeline import TinyPipeline, make_tiny_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    import dagster as dg

    from tests.support.cluster.node_agent import NodeAgent
    from tests.support.postgres import Postgres
    from tests.support.seaweedfs import SeaweedFS

NODE_GPUS = int(CAPACITY["nvidia.com/gpu"])

_DEPLOY = CHECKOUT / "deploy"
_HOME = "/var/lib/ft-assets"
_DAGSTER_HOME = "/opt/dagster/dagster_home"
_HUB_SECRET = "hub"


@contextmanager
def platform(
    agent: NodeAgent,
    postgres: Postgres,
    s3: SeaweedFS,
    base_model: Path,
    *,
    daemon: bool = False,
    further: Mapping[str, str] | None = None,
    write_more: Callable[[Platform], object] = lambda _: None,
) -> Generator[Platform]:
    """Install the platform in a new namespace, with the tiny pipeline.

    Args:
        agent: where its pods run.
        postgres: where Dagster's storage is; it gets a database of its own.
        s3: where artifacts and logs are; it gets a bucket of its own.
        base_model: of the tiny pipeline.
        daemon: whether Dagster's daemon runs too. Without it runs are launched at once, and there
            is no sensor, queue or monitoring.
        further: modules of further code locations, by name.
        write_more: writes further pipelines beside the tiny one's file, before anybody reads them.
    """
    namespace = agent.plane.namespace()
    home = provide_claim(agent, namespace, "ft-assets-home")
    with tempfile.TemporaryDirectory(prefix="platform-", ignore_cleanup_errors=True) as temporary:
        here = Platform(
            agent=agent,
            namespace=namespace,
            postgres=postgres.new_database(),
            s3=s3,
            bucket=namespace,
            folder=Path(temporary),
            tiny=_tiny_pipeline(home, base_model),
            secrets={},
            locations={LOCATION: "ft_assets.definitions", **(further or {})},
        )
        write_more(here)
        here.s3_client().create_bucket(Bucket=here.bucket)
        _create_accounts(here)
        _create_secrets(here)
        _create_config(here, daemon=daemon)
        here.reader = _open_instance(here)
        here.instance.event_log_storage.set_concurrency_slots(GPU_POOL, NODE_GPUS)
        try:
            _start_services(here, daemon=daemon)
            here.bring_drop()
            yield here
        finally:
            here.instance.dispose()
            try:
                agent.plane.delete_namespace(namespace)
            except HTTPError as error:
                warnings.warn(f"the cluster ended before its platform: {error}", stacklevel=2)
            shutil.rmtree(home, ignore_errors=True)


def _tiny_pipeline(home: Path, base_model: Path) -> TinyPipeline:
    tiny = make_tiny_pipeline(home, base_model)
    tiny.home.mkdir()
    return tiny.write(
        {
            "kubernetes": {
                "image": TRAINER_IMAGE,
                "gpus_per_worker": 1,
                "cpu": "2",
                "memory": "3Gi",
                "hf_token_secret": _HUB_SECRET,
            }
        }
    )


def _create_accounts(here: Platform) -> None:
    """The service accounts and their rights, from the files that a platform engineer applies."""
    from kubernetes import utils

    for name in ("service-accounts.yaml", "roles.yaml"):
        text = (_DEPLOY / "kubernetes" / name).read_text()
        for manifest in yaml.safe_load_all(text):
            mine = _in_namespace(manifest, here.namespace)
            utils.create_from_dict(here.agent.core.api_client, mine, namespace=here.namespace)


def _in_namespace(manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The manifest for another namespace; what belongs to the whole cluster gets its own name."""
    if "namespace" in manifest["metadata"]:
        manifest["metadata"]["namespace"] = namespace
    else:
        manifest["metadata"]["name"] += f"-{namespace}"
        if manifest["kind"] == "ClusterRoleBinding":
            manifest["roleRef"]["name"] += f"-{namespace}"
    for subject in manifest.get("subjects", []):
        subject["namespace"] = namespace
    return manifest


def _create_secrets(here: Platform) -> None:
    values = {
        "ft-assets-s3": {
            "AWS_ACCESS_KEY_ID": here.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": here.s3.secret_key,
        },
        "ft-assets-postgresql": {"postgresql-password": here.postgres.password},
        _HUB_SECRET: {"HF_TOKEN": "hf_" + secrets.token_hex(17)},
    }
    for name, data in values.items():
        here.agent.core.create_namespaced_secret(
            here.namespace, {"metadata": {"name": name}, "stringData": data}
        )
        here.secrets |= {f"{name}/{key}": value for key, value in data.items()}


def _create_config(here: Platform, *, daemon: bool) -> None:
    """The config maps of deploy/, with what is this platform's own in them."""
    environment = yaml.safe_load((_DEPLOY / "kubernetes" / "environment.yaml").read_text())
    data = environment["data"] | {
        "FT_NAMESPACE": here.namespace,
        "FT_HOME": f"{_HOME}/home",
        "FT_REGISTRY_DB": f"{_HOME}/registry.db",
        "FT_STORE": f"s3://{here.bucket}/artifacts",
        "AWS_ENDPOINT_URL": here.s3.endpoint_url,
        "DAGSTER_LOGS_BUCKET": here.bucket,
        "DAGSTER_PG_HOST": here.postgres.host,
        "DAGSTER_PG_PORT": str(here.postgres.port),
        "DAGSTER_PG_USERNAME": here.postgres.user,
        "DAGSTER_PG_DB": here.postgres.dbname,
        "PGSSLMODE": "disable",
    }
    here.ports = dict(zip(here.locations, free_ports(len(here.locations)), strict=True))
    servers = [
        {"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": location}}
        for location, port in here.ports.items()
    ]
    for name, values in {
        "ft-assets-env": data,
        "ft-assets-pipelines": {
            file.name: file.read_text() for file in here.tiny.file.parent.glob("*.yaml")
        },
        "ft-assets-dagster": {
            "dagster.yaml": yaml.safe_dump(_dagster_yaml(here, daemon=daemon)),
            "workspace.yaml": yaml.safe_dump({"load_from": servers}),
        },
    }.items():
        here.agent.core.create_namespaced_config_map(
            here.namespace, {"metadata": {"name": name}, "data": values}
        )


def _dagster_yaml(here: Platform, *, daemon: bool) -> dict[str, Any]:
    """deploy/dagster.yaml, for processes of this machine."""
    settings = yaml.safe_load((_DEPLOY / "dagster.yaml").read_text())
    settings["compute_logs"]["config"]["local_dir"] = str(here.folder / "logs")
    # In a real pod the account's token lies under one path; here in each pod's working directory.
    settings["run_launcher"]["config"] |= {
        "load_incluster_config": False,
        "kubeconfig_file": "kubeconfig",
    }
    settings["run_monitoring"]["poll_interval_seconds"] = 5
    settings["run_coordinator"]["config"]["dequeue_interval_seconds"] = 1
    if not daemon:
        settings["run_coordinator"]["class"] = "DefaultRunCoordinator"
        del settings["run_coordinator"]["config"], settings["concurrency"]["runs"]
    return settings


def _open_instance(here: Platform) -> dg.DagsterInstance:
    """Dagster's storage as the tests read it; its tables are made here, before anybody starts."""
    import dagster as dg

    folder = here.folder / "reader"
    folder.mkdir()
    storage = {"storage": here.postgres.dagster_storage(), "telemetry": {"enabled": False}}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(storage))
    return dg.DagsterInstance.from_config(str(folder))


def _start_services(here: Platform, *, daemon: bool) -> None:
    (here.webserver_port,) = free_ports(1)
    workspace = f"{_DAGSTER_HOME}/workspace.yaml"
    code = {location: f"code-{location.replace('_', '-')}" for location in here.locations}
    for location, module in here.locations.items():
        _start_service(
            here,
            "code",
            [
                *("dagster", "api", "grpc", "--host", "127.0.0.1"),
                *("--port", str(here.ports[location]), "--location-name", location),
                *("--module-name", module, "--working-directory", str(CHECKOUT)),
                *("--container-image", IMAGE),
            ],
            name=code[location],
        )
    wait_until(
        lambda: all(
            "Started Dagster code server" in here.agent.log(here.namespace, name)
            for name in code.values()
        ),
        "the code servers",
        seconds=90,
    )
    _start_service(
        here,
        "dagster",
        [
            "dagster-webserver",
            *("-h", "127.0.0.1", "-p", str(here.webserver_port)),
            "-w",
            workspace,
        ],
        name="webserver",
    )
    if daemon:
        start_daemon(here)
    wait_until(lambda: _answers(f"{here.url}/server_info"), "the webserver", seconds=90)


def start_daemon(here: Platform, name: str = "daemon") -> None:
    """A pod with Dagster's daemon; as its deployment makes another one, when the first is gone."""
    workspace = f"{_DAGSTER_HOME}/workspace.yaml"
    _start_service(here, "dagster", ["dagster-daemon", "run", "-w", workspace], name=name)


def _start_service(here: Platform, account: str, command: list[str], *, name: str) -> None:
    """A pod as the chart's, with the account ``ft-assets-ACCOUNT``."""
    password = {"name": "ft-assets-postgresql", "key": "postgresql-password"}
    here.agent.core.create_namespaced_pod(
        here.namespace,
        {
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": f"ft-assets-{account}",
                "containers": [
                    {
                        "name": "main",
                        "image": IMAGE,
                        "command": command,
                        "env": [
                            {"name": "DAGSTER_HOME", "value": _DAGSTER_HOME},
                            {
                                "name": "DAGSTER_PG_PASSWORD",
                                "valueFrom": {"secretKeyRef": password},
                            },
                        ],
                        "envFrom": [
                            {"configMapRef": {"name": "ft-assets-env"}},
                            {"secretRef": {"name": "ft-assets-s3"}},
                        ],
                        "volumeMounts": [
                            {"name": "instance", "mountPath": _DAGSTER_HOME},
                            {"name": "home", "mountPath": _HOME},
                            {"name": "pipelines", "mountPath": "/etc/ft-assets/pipelines"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "instance", "configMap": {"name": "ft-assets-dagster"}},
                    {"name": "home", "persistentVolumeClaim": {"claimName": "ft-assets-home"}},
                    {"name": "pipelines", "configMap": {"name": "ft-assets-pipelines"}},
                ],
            },
        },
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
