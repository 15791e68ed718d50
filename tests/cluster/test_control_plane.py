"""What the tests' control plane can do: the ground that the other cluster tests stand on."""

from __future__ import annotations

import pytest
from kubernetes import client

from tests.support.cluster.control_plane import ControlPlane, ProgramMissingError
from tests.support.cluster.control_plane import control_plane as running_control_plane

pytestmark = pytest.mark.k8s


def test_a_service_account_may_do_what_its_role_says_and_nothing_else(
    control_plane: ControlPlane, namespace: str
) -> None:
    _allow_reading_pods(control_plane, namespace)

    with control_plane.client_as("default", namespace) as api:
        assert client.CoreV1Api(api).list_namespaced_pod(namespace).items == []
        with pytest.raises(client.ApiException, match="Forbidden") as denied:
            client.CoreV1Api(api).list_namespaced_secret(namespace)

    assert f"system:serviceaccount:{namespace}:default" in denied.value.body


def test_a_missing_program_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", "")

    with (
        pytest.raises(ProgramMissingError, match=r"no `etcd`: set KUBEBUILDER_ASSETS to a folder"),
        running_control_plane(),
    ):
        pass


def _allow_reading_pods(control_plane: ControlPlane, namespace: str) -> None:
    with control_plane.client() as api:
        rbac = client.RbacAuthorizationV1Api(api)
        rbac.create_namespaced_role(
            namespace,
            client.V1Role(
                metadata=client.V1ObjectMeta(name="reader"),
                rules=[client.V1PolicyRule(api_groups=[""], resources=["pods"], verbs=["list"])],
            ),
        )
        rbac.create_namespaced_role_binding(
            namespace,
            client.V1RoleBinding(
                metadata=client.V1ObjectMeta(name="reader"),
                role_ref=client.V1RoleRef(
                    api_group="rbac.authorization.k8s.io", kind="Role", name="reader"
                ),
                subjects=[client.RbacV1Subject(kind="ServiceAccount", name="default")],
            ),
        )
