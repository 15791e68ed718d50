"""The API server with Kubeflow Trainer's kinds and controllers, as fixtures.

Import both into a test's module; those that two modules import are made twice, which does no harm.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest
from kubernetes import client

from tests.support.cluster.control_plane import ControlPlane
from tests.support.cluster.node_agent import NodeAgent
from tests.support.train_job_controller import (
    GROUP,
    VERSION,
    TrainJobController,
    running_controller,
    runtime,
)
from tests.support.trainer_crds import load_trainer_crds, unless_there

_ACCOUNT = "step"
_RUNTIMES = "training-runtimes"
_RULES = [
    {"apiGroups": [GROUP], "resources": ["trainjobs"],
     "verbs": ["create", "delete", "list", "patch", "watch"]},
    {"apiGroups": [GROUP], "resources": ["trainingruntimes"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]  # fmt: skip
"""All that the account of a step's pod needs in its namespace."""
_CLUSTER_RULES = [
    {"apiGroups": [GROUP], "resources": ["clustertrainingruntimes"], "verbs": ["list"]}
]


@pytest.fixture(scope="session")
def trainer(control_plane: ControlPlane, node_agent: NodeAgent) -> Generator[client.ApiClient]:
    """The API server with the trainer's kinds, and a runtime."""
    with control_plane.client() as api:
        load_trainer_crds(api)
        custom, rbac = client.CustomObjectsApi(api), client.RbacAuthorizationV1Api(api)
        made = (GROUP, VERSION, "clustertrainingruntimes", runtime())
        unless_there(lambda: custom.create_cluster_custom_object(*made))
        role = {"metadata": {"name": _RUNTIMES}, "rules": _CLUSTER_RULES}
        unless_there(lambda: rbac.create_cluster_role(role))
        yield api


@pytest.fixture
def controller(
    trainer: client.ApiClient,
    control_plane: ControlPlane,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Generator[TrainJobController]:
    """The trainer's controllers at work; the step acts as an account with no more than it needs."""
    core, rbac = client.CoreV1Api(trainer), client.RbacAuthorizationV1Api(trainer)
    core.create_namespaced_service_account(namespace, {"metadata": {"name": _ACCOUNT}})
    rbac.create_namespaced_role(namespace, {"metadata": {"name": _ACCOUNT}, "rules": _RULES})
    subjects = [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": namespace}]
    group = "rbac.authorization.k8s.io"
    rbac.create_namespaced_role_binding(
        namespace,
        {
            "metadata": {"name": _ACCOUNT},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": _ACCOUNT},
            "subjects": subjects,
        },
    )
    rbac.create_cluster_role_binding(
        {
            "metadata": {"name": f"{_RUNTIMES}-{namespace}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": _RUNTIMES},
            "subjects": subjects,
        }
    )
    token = control_plane.token_of(_ACCOUNT, namespace)
    monkeypatch.setenv("FT_KUBECONFIG", str(control_plane.kubeconfig_for(token, namespace)))
    with running_controller(trainer, namespace) as running:
        yield running
