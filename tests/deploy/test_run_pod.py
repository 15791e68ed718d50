"""The pod of a run, as the launchers of deploy/dagster.yaml and of the Helm values make it."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster._config.field import resolve_to_config_type
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from dagster_k8s.launcher import K8sRunLauncher
from kubernetes.client import ApiClient

from ft_assets.config import PipelineSpec
from ft_assets.kubernetes import step_tags
from tests.deploy.manifests import (
    DEPLOY,
    NAMESPACE,
    collection,
    create,
    moved,
    named,
    objects,
)
from tests.deploy.manifests import request as ask
from tests.deploy.pod_security import breaches
from tests.support.cluster.control_plane import ControlPlane
from tests.support.cluster.programs import wait_until

IMAGE = "registry.example.org/ft-assets-orchestrator:0.1.0"
INSTANCE = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
VALUES = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())


def snake(key: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", key).lower()


def chart_launcher() -> dict[str, Any]:
    """The launcher's config as the chart writes it from our values."""
    given = {snake(k): v for k, v in VALUES["runLauncher"]["config"]["k8sRunLauncher"].items()}
    return {
        **given,
        "job_namespace": NAMESPACE,  # the release's
        "service_account_name": VALUES["serviceAccount"]["name"],
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "ft-assets-dagster",  # the release's
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "env_config_maps": [each["name"] for each in given["env_config_maps"]],
        "env_secrets": [each["name"] for each in given["env_secrets"]],
        "run_k8s_config": {snake(k): v for k, v in given["run_k8s_config"].items()},
    }


LAUNCHERS = {"dagster.yaml": INSTANCE["run_launcher"]["config"], "values.yaml": chart_launcher()}


@dataclass(frozen=True)
class Launched:
    """A run that the daemon's account launched, and what the server made of it."""

    namespace: str
    launcher: K8sRunLauncher
    run_id: str
    job: dict[str, Any]
    pod: dict[str, Any]
    """Made by the job's controller: quota and limits have let it through."""

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.launcher._instance

    @property
    def run(self) -> DagsterRun:
        run = self.instance.get_run_by_id(self.run_id)
        assert run is not None
        return run


@pytest.fixture(scope="module")
def inhabited(control_plane: ControlPlane) -> Generator[str]:
    """A namespace with what the manifests put into one."""
    namespace = control_plane.namespace("deployed")
    with control_plane.client() as api:
        for _, manifest in objects():
            if manifest["metadata"].get("namespace") == NAMESPACE and collection(api, manifest):
                create(api, moved(manifest, namespace))
    yield namespace
    control_plane.delete_namespace(namespace)


@pytest.fixture(scope="module", params=LAUNCHERS)
def launched(
    request: pytest.FixtureRequest, control_plane: ControlPlane, inhabited: str
) -> Generator[Launched]:
    token = control_plane.token_of("ft-assets-dagster", inhabited)
    kubeconfig = control_plane.kubeconfig_for(token, inhabited)
    with dg.instance_for_test() as instance, control_plane.client() as api:
        launcher = launcher_of(LAUNCHERS[request.param], inhabited, kubeconfig)
        launcher.register_instance(instance)
        run = instance.create_run_for_job(
            small, status=DagsterRunStatus.STARTING, job_code_origin=code_origin()
        )
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        (job,) = listed(api, f"/apis/batch/v1/namespaces/{inhabited}/jobs", run.run_id)
        pods = f"/api/v1/namespaces/{inhabited}/pods"
        wait_until(lambda: len(listed(api, pods, run.run_id)) == 1, "the run's pod")
        (pod,) = listed(api, pods, run.run_id)
        yield Launched(inhabited, launcher, run.run_id, job, pod)


@dg.op
def nothing() -> None:
    pass


@dg.job
def small() -> None:
    nothing()


def launcher_of(config: dict[str, Any], namespace: str, kubeconfig: Path) -> K8sRunLauncher:
    """The launcher, outside of the cluster; its config is checked as Dagster checks it."""
    here = {
        **config,
        "job_namespace": namespace,
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
    }
    checked = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), here)
    assert checked.success, [error.message for error in checked.errors or []]
    return K8sRunLauncher.from_config_value(None, checked.value)


def code_origin() -> JobPythonOrigin:
    """What the code server says of itself: which image, where the code is."""
    return JobPythonOrigin(
        "small",
        RepositoryPythonOrigin(
            executable_path=sys.executable,
            code_pointer=ModuleCodePointer("ft_assets.definitions", "defs"),
            container_image=IMAGE,
            entry_point=["dagster"],
            container_context={},
        ),
    )


def listed(api: ApiClient, path: str, run_id: str) -> list[dict[str, Any]]:
    status, answer = ask(api, "GET", f"{path}?labelSelector=dagster/run-id={run_id}")
    assert status == 200, answer
    return answer["items"]


def pod_spec(launched: Launched) -> dict[str, Any]:
    return launched.job["spec"]["template"]["spec"]


@pytest.mark.k8s
def test_the_job_of_a_run_is_valid_everywhere(launched: Launched):
    job = {"apiVersion": "batch/v1", "kind": "Job", **launched.job}
    for version in ("1.28", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(job, version, strict=True)


@pytest.mark.k8s
def test_the_pod_keeps_the_rules_of_its_namespace(launched: Launched):
    assert named("Namespace", NAMESPACE)["metadata"]["labels"][
        "pod-security.kubernetes.io/enforce"
    ] == "restricted"  # fmt: skip
    assert list(breaches(pod_spec(launched))) == []


@pytest.mark.k8s
def test_a_pod_that_breaks_a_rule_would_be_found(launched: Launched):
    pod = pod_spec(launched)
    (container,) = pod["containers"]
    wrong = {**pod, "hostNetwork": True, "containers": [{**container, "securityContext": {}}]}
    assert len(list(breaches(wrong))) == 4


@pytest.mark.k8s
def test_the_run_is_another_account_than_the_daemon(launched: Launched):
    assert pod_spec(launched)["serviceAccountName"] == "ft-assets-run"


@pytest.mark.k8s
def test_secrets_are_there_by_name_only(launched: Launched):
    (container,) = pod_spec(launched)["containers"]
    assert {"secretRef": {"name": "ft-assets-s3"}} in container["envFrom"]
    assert {"configMapRef": {"name": "ft-assets-env"}} in container["envFrom"]
    (password,) = [e for e in container["env"] if e["name"] == "DAGSTER_PG_PASSWORD"]
    assert password["valueFrom"] == {
        "secretKeyRef": {"name": "ft-assets-postgresql", "key": "postgresql-password"}
    }


@pytest.mark.k8s
def test_the_folders_that_are_written_are_volumes(launched: Launched):
    (container,) = pod_spec(launched)["containers"]
    environment = named("ConfigMap", "ft-assets-env")["data"]
    writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert {environment["FT_HOME"], "/tmp"} <= writable
    (pipelines,) = [m for m in container["volumeMounts"] if m.get("readOnly")]
    assert pipelines["mountPath"] == environment["FT_PIPELINES"]
    assert environment["FT_EXECUTOR"] == "k8s"


# --- the pods of its steps


@pytest.mark.k8s
@pytest.mark.parametrize("asset", ["raw_dataset", "finetuned_model"])
def test_the_pod_of_a_step_fits_into_what_all_pods_have(
    asset: str, launched: Launched, control_plane: ControlPlane
):
    tags = step_tags(PipelineSpec.model_validate(PIPELINE), asset)
    job = step_job(launched, tags)

    with control_plane.client() as api:
        taken = create(api, job, dry_run=True)  # a volume or a mount that stands twice is refused

    pod = taken["spec"]["template"]["spec"]
    assert list(breaches(pod)) == []
    (container,) = pod["containers"]
    assert "/var/lib/ft-assets" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"secretRef": {"name": "ft-assets-s3"}} in container["envFrom"]
    assert pod["securityContext"]["fsGroup"] == 10001
    if asset == "finetuned_model":
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"


PIPELINE = {
    "name": "support",
    "dataset": {"uri": "s3://ft-assets/data.jsonl"},
    "kubernetes": {"gpus_per_worker": 2, "image": IMAGE, "hf_token_secret": "ft-assets-hub"},
}


def step_job(launched: Launched, tags: dict[str, Any]) -> dict[str, Any]:
    """The job that dagster-k8s's step handler makes of the launcher's config and an op's tags."""
    context = K8sContainerContext.create_for_run(launched.run, launched.launcher, False)
    context = context.merge(
        K8sContainerContext(
            run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(tags["dagster-k8s/config"])
        )
    )
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(IMAGE, launched.launcher),
        ["dagster", "api", "execute_step"],
        f"dagster-step-{launched.run_id[:8]}",
        context.run_k8s_config,
        component="step_worker",
    )
    made: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    made["metadata"]["namespace"] = launched.namespace
    return made


# --- the end, and the other way


@pytest.mark.k8s
def test_the_daemons_account_may_look_at_the_run_and_end_it(
    launched: Launched, control_plane: ControlPlane
):
    assert launched.launcher.check_run_worker_health(launched.run).status == WorkerStatus.RUNNING
    said = launched.launcher.get_run_worker_debug_info(launched.run)
    assert said is not None
    assert launched.pod["metadata"]["name"] in said

    assert launched.launcher.terminate(launched.run_id)

    with control_plane.client() as api:
        for kind in ("/apis/batch/v1/namespaces/{}/jobs", "/api/v1/namespaces/{}/pods"):
            path = kind.format(launched.namespace)
            wait_until(lambda: listed(api, path, launched.run_id) == [], f"the end of {path}")  # noqa: B023


def test_helm_and_the_plain_file_say_the_same():
    plain, chart = (dict(LAUNCHERS[name]) for name in ("dagster.yaml", "values.yaml"))
    inside = [
        UserDefinedDagsterK8sConfig.from_dict(config.pop("run_k8s_config")).to_dict()
        for config in (plain, chart)
    ]
    # The chart gives a run its own account, which our values replace, and its own namespace.
    assert inside[1]["pod_spec_config"].pop("service_account_name") == "ft-assets-run"
    assert plain.pop("service_account_name") == "ft-assets-run"
    assert chart.pop("service_account_name") == "ft-assets-dagster"
    assert (plain.pop("job_namespace"), chart.pop("job_namespace")) == (
        {"env": "FT_NAMESPACE"},
        NAMESPACE,
    )
    assert inside[0] == inside[1]
    assert plain == chart
