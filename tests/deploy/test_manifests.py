"""The manifests are what Kubernetes takes, from 1.28 on, and hold together."""

from __future__ import annotations

from functools import cache
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.deploy.manifests import (
    DEPLOY,
    MANIFESTS,
    NAMESPACE,
    collection,
    create,
    documents,
    files,
    moved,
    named,
    objects,
    of_kind,
)
from tests.deploy.pod_security import breaches
from tests.support.cluster.control_plane import ControlPlane

VERSIONS = [
    version
    for version in dict.fromkeys(utils.all_versions())
    if utils.Version(version) >= utils.Version("1.28")
]
# No version of Kubernetes has them: the Trainer and the operators of others bring them.
FOREIGN = {"ClusterTrainingRuntime", "ExternalSecret", "SecretStore", "ServiceMonitor"}
# The tests' server may be as old as 1.20, which has these as v1beta1 only.
UNKNOWN_TO_OLD_SERVERS = {("policy/v1", "PodDisruptionBudget")}
CLUSTER_WIDE = {"Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding"}


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version's definitions are megabytes of JSON, which the validator reads for every object."""
    monkeypatch.setattr(utils, "schema_contents", cache(utils.schema_contents))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_strictly_valid(version: str, read_once: None):
    for file, manifest in objects():
        if manifest["kind"] not in FOREIGN:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as wrong:
                pytest.fail(f"{file.name}: {manifest['kind']}: {wrong.message}")


def test_the_newest_version_is_among_those_tried():
    assert VERSIONS[0].startswith("1.28")
    assert VERSIONS[-1] == kubernetes_validate.latest_version()


def test_strict_means_that_a_misspelled_key_is_refused():
    manifest = moved(named("ServiceAccount", "ft-assets-step"), "x")
    manifest["automountServiceAccountTokn"] = False
    with pytest.raises(kubernetes_validate.ValidationError, match="automountServiceAccountTokn"):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@pytest.mark.k8s
def test_a_real_server_takes_every_manifest(control_plane: ControlPlane, namespace: str):
    unknown: set[tuple[str, str]] = set()
    with control_plane.client() as api:
        for _, manifest in objects():
            there = moved(manifest, namespace)
            if manifest["kind"] in FOREIGN:
                continue
            if collection(api, there) is None:
                unknown.add((manifest["apiVersion"], manifest["kind"]))
            else:
                create(api, there, dry_run=True)
    assert unknown <= UNKNOWN_TO_OLD_SERVERS


# --- how they hold together


def test_one_command_applies_all_but_what_needs_the_trainer():
    (kustomization,) = documents(MANIFESTS / "kustomization.yaml")
    here = {file.name for file in MANIFESTS.glob("*.yaml")}
    assert set(kustomization["resources"]) == here - {
        "kustomization.yaml",
        "training-runtime.yaml",
    }


def test_everything_is_in_the_one_namespace_and_says_whose_it_is():
    for file, manifest in objects():
        metadata = manifest["metadata"]
        if manifest["kind"] in CLUSTER_WIDE | FOREIGN:
            assert metadata["name"].startswith(NAMESPACE) or file.name == "training-runtime.yaml"
        else:
            assert metadata["namespace"] == NAMESPACE, f"{file.name}: {metadata['name']}"
        assert metadata["labels"]["app.kubernetes.io/part-of"] == NAMESPACE or metadata == {}


def test_no_manifest_holds_a_secret():
    assert of_kind("Secret") == []
    for file in [*files(), DEPLOY / "dagster.yaml", DEPLOY / "helm" / "values.yaml"]:
        for key, value in leaves(list(documents(file))):
            if "password" in key.lower() or "secret_access" in key.lower():
                assert not value or value in ALLOWED, f"{file.name}: {key}"


ALLOWED = {"DAGSTER_PG_PASSWORD", "ft-assets-postgresql"}
"""Names, not values."""


def leaves(thing: Any, key: str = "") -> list[tuple[str, str]]:
    """All texts below, with the last key above each."""
    if isinstance(thing, dict):
        return [
            pair
            for name, value in thing.items()
            for pair in leaves(value, key if name in {"env", "name"} else str(name))
        ]
    if isinstance(thing, list):
        return [pair for value in thing for pair in leaves(value, key)]
    return [(key, thing)] if isinstance(thing, str) else []


def test_a_binding_gives_each_account_its_own_role_and_nothing_to_the_step():
    given = {
        subject["name"]: binding["roleRef"]["name"]
        for binding in of_kind("RoleBinding")
        for subject in binding["subjects"]
    }
    accounts = {account["metadata"]["name"] for account in of_kind("ServiceAccount")}
    assert given == {name: name for name in accounts - {"ft-assets-step"}}
    assert named("ServiceAccount", "ft-assets-step")["automountServiceAccountToken"] is False


def test_no_role_has_wildcards_secrets_or_a_way_into_a_pod():
    for role in of_kind("Role", "ClusterRole"):
        for rule in role["rules"]:
            said = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not said & {
                "*",
                "secrets",
                "pods/exec",
                "pods/attach",
                "pods/portforward",
                "nodes",
                "impersonate",
                "escalate",
                "bind",
            }


def test_every_pod_keeps_the_rules_of_the_namespace():
    deployments = of_kind("Deployment")
    assert {d["spec"]["selector"]["matchLabels"]["component"] for d in deployments} == PARTS
    for manifest in deployments:
        pod = manifest["spec"]["template"]["spec"]
        assert list(breaches(pod)) == []
        (container,) = pod["containers"]
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_the_network_policies_know_the_parts_of_the_chart_and_of_the_plain_files():
    said = {
        value
        for policy in of_kind("NetworkPolicy")
        for _, value in leaves(policy["spec"])
        if value in PARTS
    }
    assert said == PARTS


PARTS = {"dagster-webserver", "dagster-daemon", "user-deployments"}
"""The label `component` of Dagster's own pods, as its chart gives it."""


def test_the_default_is_that_nothing_may_talk():
    policy = named("NetworkPolicy", "default-deny")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
