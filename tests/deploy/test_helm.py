"""The values for Dagster's Helm chart: what the chart takes, and what it makes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster._config.field import resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config, dagster_instance_config_schema
from dagster_aws.s3 import S3ComputeLogManager

from tests.deploy.manifests import DEPLOY, NAMESPACE, create, moved, named, of_kind
from tests.deploy.pod_security import breaches
from tests.support.cluster.control_plane import ControlPlane

FILE = DEPLOY / "helm" / "values.yaml"
VALUES: dict[str, Any] = yaml.safe_load(FILE.read_text())
INSTANCE: dict[str, Any] = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())


def snake(thing: Any) -> Any:
    """The keys of the chart's values as dagster.yaml spells them."""
    if isinstance(thing, dict):
        return {re.sub(r"([A-Z])", r"_\1", k).lower(): snake(v) for k, v in thing.items()}
    return [snake(each) for each in thing] if isinstance(thing, list) else thing


# --- without the chart


def test_the_values_say_what_the_plain_file_says():
    daemon = snake(VALUES["dagsterDaemon"])
    assert daemon["run_retries"] == INSTANCE["run_retries"]
    assert daemon["sensors"] == INSTANCE["sensors"]
    assert daemon["schedules"] == INSTANCE["schedules"]
    queue = daemon["run_coordinator"]
    assert queue["type"] == INSTANCE["run_coordinator"]["class"]
    assert queue["config"]["queued_run_coordinator"] == INSTANCE["run_coordinator"]["config"]
    assert without(snake(VALUES["retention"]), "enabled") == INSTANCE["retention"]
    assert VALUES["telemetry"] == INSTANCE["telemetry"]

    pools, runs = (snake(VALUES["concurrency"][part]) for part in ("pools", "runs"))
    by_pipeline = runs["tag_concurrency_limits"][1]
    by_pipeline["value"] = {"applyLimitPerUniqueValue": True}  # the one key that is camelCase there
    assert {"pools": pools, "runs": runs} == INSTANCE["concurrency"]

    logs = snake(VALUES["computeLogManager"]["config"]["s3ComputeLogManager"])
    assert logs == INSTANCE["compute_logs"]["config"]
    further = VALUES["additionalInstanceConfig"]
    assert further == {name: INSTANCE[name] for name in ("nux", "run_monitoring")}
    database = INSTANCE["storage"]["postgres"]["postgres_db"]
    assert VALUES["postgresql"]["postgresqlScheme"] == database["scheme"]


def without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def test_every_object_that_the_values_name_is_one_of_ours_or_a_documented_secret():
    page = (DEPLOY.parent / "docs" / "kubernetes.md").read_text()
    kinds = ("ServiceAccount", "ConfigMap", "PersistentVolumeClaim")
    ours = {manifest["metadata"]["name"] for manifest in of_kind(*kinds)}
    names = set(re.findall(r"\bft-assets-[a-z0-9-]+\b", yaml.safe_dump(VALUES)))
    for name in names - ours - {"ft-assets-orchestrator"}:
        assert re.search(
            rf"kubectl -n ft-assets create (secret generic|configmap) {name}\b", page
        ), name


def test_the_chart_makes_no_account_and_no_rights_of_its_own():
    deployments = VALUES["dagster-user-deployments"]
    for part in (VALUES, deployments):
        assert part["rbacEnabled"] is False
        assert part["serviceAccount"]["create"] is False
    assert named("ServiceAccount", VALUES["serviceAccount"]["name"])
    assert named("ServiceAccount", deployments["serviceAccount"]["name"])


def test_the_webserver_is_probed_where_it_listens():
    # The chart's own probe asks port 80: with another one its pod was never ready.
    webserver = VALUES["dagsterWebserver"]
    assert webserver["readinessProbe"]["httpGet"]["port"] == webserver["service"]["port"]


def test_the_code_location_has_one_name_with_the_chart_and_without():
    # The state of sensors and schedules is kept under it. The chart takes it from the deployment.
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    config_map = named("ConfigMap", "ft-assets-workspace")
    (server,) = yaml.safe_load(config_map["data"]["workspace.yaml"])["load_from"]
    assert server["grpc_server"]["location_name"] == deployment["name"]


def test_dagster_takes_the_logs_and_the_additional_config(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_LOGS_BUCKET", "logs")
    logs = snake(VALUES["computeLogManager"]["config"]["s3ComputeLogManager"])
    schema = dagster_instance_config_schema()
    for config, value in (
        (S3ComputeLogManager.config_type(), logs),
        ({"run_monitoring": schema["run_monitoring"], "nux": schema["nux"]},
         VALUES["additionalInstanceConfig"]),
    ):  # fmt: skip
        checked = process_config(resolve_to_config_type(config), value)
        assert checked.success, [error.message for error in checked.errors or []]


# --- with the chart


@pytest.fixture(scope="module")
def chart() -> Path:
    given = os.environ.get("HELM_CHART")
    if not given:
        pytest.skip("HELM_CHART is not set: the folder of Dagster's chart, dagster/dagster 1.13.x")
    if shutil.which("helm") is None:
        pytest.skip("no `helm` on PATH")
    return Path(given)


def helm(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["helm", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rendered(chart: Path) -> list[dict[str, Any]]:
    # The chart's schema (values.schema.json) is checked by helm before it renders.
    text = helm("template", "dagster", chart, "--namespace", NAMESPACE, "--values", FILE)
    return [document for document in yaml.safe_load_all(text) if document]


def test_the_chart_takes_the_values(chart: Path):
    helm("lint", chart, "--values", FILE)


def test_what_the_chart_makes_is_valid(rendered: list[dict[str, Any]]):
    for manifest in rendered:
        for version in ("1.28", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(manifest, version)


@pytest.mark.k8s
def test_a_real_server_takes_what_the_chart_makes(
    rendered: list[dict[str, Any]], control_plane: ControlPlane, namespace: str
):
    with control_plane.client() as api:
        for manifest in rendered:
            there = moved(manifest, namespace)
            create(api, there | {"metadata": there["metadata"] | {"namespace": namespace}})


def test_its_pods_keep_the_rules_of_the_namespace(rendered: list[dict[str, Any]]):
    deployments = [m for m in rendered if m["kind"] == "Deployment"]
    assert len(deployments) == 3
    for manifest in deployments:
        pod = manifest["spec"]["template"]["spec"]
        assert list(breaches(pod)) == [], manifest["metadata"]["name"]


def test_it_makes_no_secret_no_role_and_no_account(rendered: list[dict[str, Any]]):
    made = {manifest["kind"] for manifest in rendered}
    assert not made & {"Secret", "Role", "RoleBinding", "ServiceAccount", "ClusterRole"}


@pytest.fixture
def instance(rendered: list[dict[str, Any]]) -> str:
    """The dagster.yaml that the chart makes."""
    (text,) = [
        manifest["data"]["dagster.yaml"]
        for manifest in rendered
        if manifest["kind"] == "ConfigMap" and "dagster.yaml" in (manifest["data"] or {})
    ]
    return text


def test_its_pods_are_probed_where_they_listen(rendered: list[dict[str, Any]]):
    for manifest in rendered:
        if manifest["kind"] == "Deployment":
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                probed = (container.get("readinessProbe") or {}).get("httpGet", {}).get("port")
                listening = [port["containerPort"] for port in container.get("ports") or []]
                assert probed is None or probed in listening, manifest["metadata"]["name"]


def test_dagster_takes_its_instance(instance: str, tmp_path: Path):
    (tmp_path / "dagster.yaml").write_text(instance)
    dagster_instance_config(str(tmp_path))  # raises what it does not know


def test_its_instance_is_ours(instance: str):
    made = yaml.safe_load(instance)
    same = ("run_monitoring", "run_retries", "concurrency", "nux", "telemetry")
    for part in (*same, "sensors", "schedules"):
        assert made[part] == INSTANCE[part], part
    assert made["run_coordinator"]["config"] == INSTANCE["run_coordinator"]["config"]
    for what, kept in INSTANCE["retention"].items():  # the chart adds what we do not set
        days, ours = made["retention"][what]["purge_after_days"], kept["purge_after_days"]
        assert days == ours if isinstance(ours, int) else ours.items() <= days.items()
    assert made["run_launcher"]["class"] == "K8sRunLauncher"
    for storage in ("run_storage", "event_log_storage", "schedule_storage"):
        assert made[storage]["config"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
