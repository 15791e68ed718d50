"""Each account may do what its work needs, and nothing else: asked of a real server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import pytest

from tests.deploy.manifests import create, moved, of_kind, request
from tests.support.cluster.control_plane import ControlPlane

Rights = dict[str, str]
"""Verbs by resource."""

NEEDED: dict[str, Rights] = {
    # The webserver and the daemon: dagster-k8s's run launcher.
    "ft-assets-dagster": {
        "jobs": "create get list delete",
        "jobs/status": "get",
        "pods": "get list delete",
        "pods/log": "get",
        "events": "list",
    },
    # The code server: the reaper sensor.
    "ft-assets-code": {
        "jobs": "list delete",
        "trainjobs": "list delete",
    },
    # A run: dagster-k8s's step handler, the watchdog, the TrainJob.
    "ft-assets-run": {
        "jobs": "create get list watch delete",
        "jobs/status": "get",
        "pods": "get list watch",
        "pods/log": "get",
        "events": "list",
        "trainjobs": "create get list watch delete patch",
        "trainingruntimes": "get list",
        "clustertrainingruntimes": "get list",
    },
    # What reads data, trains and evaluates.
    "ft-assets-step": {},
}
DENIED_TO_ALL: Rights = {
    "secrets": "get list watch create patch delete",
    "configmaps": "get list create patch delete",
    "serviceaccounts": "get list create",
    "serviceaccounts/token": "create",
    "pods": "create patch",
    "pods/exec": "get create",
    "pods/attach": "get create",
    "pods/portforward": "get create",
    "pods/ephemeralcontainers": "patch",
    "events": "create",
    "persistentvolumeclaims": "get create delete",
    "jobs": "patch",
    "jobs/status": "patch",
    "deployments": "get list create patch delete",
    "roles": "get create patch",
    "rolebindings": "get create patch",
    "trainingruntimes": "create patch delete",
    "clustertrainingruntimes": "create patch delete",
    "nodes": "get list",
    "namespaces": "list create",
    "priorityclasses": "list create",
}
DENIED: dict[str, Rights] = {
    "ft-assets-dagster": {"pods": "watch", "trainjobs": "create get list delete"},
    "ft-assets-code": {
        "jobs": "create get",
        "pods": "get list delete",
        "pods/log": "get",
        "trainjobs": "create get patch",
    },
    "ft-assets-run": {"pods": "delete"},
    "ft-assets-step": NEEDED["ft-assets-run"],
}

GROUPS = {
    "/apis/batch/v1": {"jobs"},
    "/apis/apps/v1": {"deployments"},
    "/apis/rbac.authorization.k8s.io/v1": {"roles", "rolebindings"},
    "/apis/scheduling.k8s.io/v1": {"priorityclasses"},
    "/apis/trainer.kubeflow.org/v1alpha1": {
        "trainjobs",
        "trainingruntimes",
        "clustertrainingruntimes",
    },
}
OF_THE_CLUSTER = {"nodes", "namespaces", "priorityclasses", "clustertrainingruntimes"}
METHODS = {"create": "POST", "patch": "PATCH", "delete": "DELETE"}

Ask = Callable[[str, str, str, str], int]

accounts = pytest.mark.parametrize("account", NEEDED)


@pytest.fixture(scope="module")
def inhabited(control_plane: ControlPlane) -> Generator[str]:
    """A namespace with the accounts, the roles and the bindings of the manifests."""
    namespace = control_plane.namespace("rights")
    with control_plane.client() as api:
        for manifest in of_kind(
            "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"
        ):
            create(api, moved(manifest, namespace))
    yield namespace
    control_plane.delete_namespace(namespace)


@pytest.fixture(scope="module")
def ask(control_plane: ControlPlane, inhabited: str) -> Ask:
    """``ask(account, verb, resource, namespace)``: the HTTP status of that call with its token."""
    clients = {name: control_plane.client_as(name, inhabited) for name in NEEDED}

    def status(account: str, verb: str, resource: str, namespace: str) -> int:
        method = METHODS.get(verb, "GET")
        body = {} if method in {"POST", "PATCH"} else None
        return request(clients[account], method, path(verb, resource, namespace), body)[0]

    return status


def path(verb: str, resource: str, namespace: str) -> str:
    """Where the API has the call, about an object that does not exist."""
    name, _, part = resource.partition("/")
    root = next((root for root, names in GROUPS.items() if name in names), "/api/v1")
    scope = "" if name in OF_THE_CLUSTER else f"/namespaces/{namespace}"
    collection = f"{root}{scope}/{name}"
    if verb == "watch":
        return f"{collection}?watch=true&timeoutSeconds=1"
    if verb == "list" or (verb == "create" and not part):
        return collection
    return f"{collection}/absent/{part}" if part else f"{collection}/absent"


def calls(rights: Rights) -> Iterator[tuple[str, str]]:
    """Verb and resource, one by one."""
    for resource, verbs in rights.items():
        for verb in verbs.split():
            yield verb, resource


@pytest.mark.k8s
@accounts
def test_an_account_may_do_what_its_work_needs(account: str, ask: Ask, inhabited: str):
    refused = [
        call for call in calls(NEEDED[account]) if ask(account, *call, inhabited) in {401, 403}
    ]
    assert refused == []


@pytest.mark.k8s
@accounts
def test_an_account_may_do_nothing_else(account: str, ask: Ask, inhabited: str):
    denied = [*calls(DENIED_TO_ALL), *calls(DENIED[account])]
    assert [call for call in denied if ask(account, *call, inhabited) != 403] == []


@pytest.mark.k8s
@accounts
def test_an_account_may_do_nothing_in_another_namespace(account: str, ask: Ask, namespace: str):
    of_namespaces = [
        (verb, resource)
        for verb, resource in calls(NEEDED["ft-assets-run"])
        if resource not in OF_THE_CLUSTER
    ]
    assert [call for call in of_namespaces if ask(account, *call, namespace) != 403] == []


def test_no_role_gives_more_than_what_is_needed():
    for binding in of_kind("RoleBinding", "ClusterRoleBinding"):
        (account,) = (subject["name"] for subject in binding["subjects"])
        needed = set(calls(NEEDED[account]))
        (role,) = (
            role
            for role in of_kind("Role", "ClusterRole")
            if role["metadata"]["name"] == binding["roleRef"]["name"]
        )
        for rule in role["rules"]:
            given = {(verb, resource) for verb in rule["verbs"] for resource in rule["resources"]}
            assert given <= needed, account
