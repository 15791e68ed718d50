"""The files of deploy/ as the tests read them, and how they get into a control plane."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from resources.home import CHECKOUT

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

DEPLOY = CHECKOUT / "deploy"
MANIFESTS = DEPLOY / "kubernetes"
NAMESPACE = "ft-assets"
"""The namespace that the manifests name."""

Manifest = dict[str, Any]


def documents(file: Path) -> list[Manifest]:
    """The objects of a file."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def files() -> list[Path]:
    """Every manifest that is applied, in whichever way."""
    return [
        file
        for file in sorted(MANIFESTS.rglob("*.yaml")) + sorted((DEPLOY / "examples").glob("*.yaml"))
        if file.name != "kustomization.yaml"
    ]


@cache
def objects() -> list[tuple[Path, Manifest]]:
    """Every object of every manifest, with its file."""
    return [(file, document) for file in files() for document in documents(file)]


def of_kind(*kinds: str) -> list[Manifest]:
    """The objects of some kinds."""
    return [manifest for _, manifest in objects() if manifest["kind"] in kinds]


def named(kind: str, name: str) -> Manifest:
    """The one object of this kind and name."""
    (found,) = [m for m in of_kind(kind) if m["metadata"]["name"] == name]
    return found


def moved(manifest: Manifest, namespace: str) -> Manifest:
    """The object as it is in another namespace; what belongs to the cluster gets its own name."""
    text = json.dumps(manifest).replace(
        f'"namespace": "{NAMESPACE}"', f'"namespace": "{namespace}"'
    )
    there: Manifest = json.loads(text)
    if there["kind"] == "Namespace":
        there["metadata"]["name"] = f"{namespace}-dry"
    if there["kind"].startswith("Cluster"):
        there["metadata"]["name"] += f"-{namespace}"
        if "roleRef" in there:
            there["roleRef"]["name"] += f"-{namespace}"
    return there


def collection(api: ApiClient, manifest: Manifest) -> str | None:
    """The path at which such an object is created; None where the server does not know its kind."""
    group_version = manifest["apiVersion"]
    root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
    status, answer = request(api, "GET", root)
    if status == 404:
        return None
    for resource in answer["resources"]:
        if resource["kind"] == manifest["kind"] and "/" not in resource["name"]:
            within = f"/namespaces/{manifest['metadata'].get('namespace')}"
            return f"{root}{within if resource['namespaced'] else ''}/{resource['name']}"
    return None


def create(api: ApiClient, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
    """Create the object, with every check of the server and, in a dry run, without effect."""
    path = collection(api, manifest)
    assert path is not None, f"the server does not know {manifest['kind']}"
    query = "?dryRun=All" if dry_run else ""
    status, answer = request(api, "POST", path + query, manifest)
    assert status == 201, f"{manifest['kind']} {manifest['metadata']['name']}: {answer['message']}"
    return answer


def request(
    api: ApiClient, method: str, path: str, body: Manifest | None = None
) -> tuple[int, Manifest]:
    """One call of the API: the status and the answer, refusals among them."""
    from kubernetes.client import ApiException

    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    bare, _, query = path.partition("?")
    try:
        data, status, _ = api.call_api(
            bare,
            method,
            query_params=[tuple(pair.split("=", 1)) for pair in query.split("&") if pair],
            header_params={"Content-Type": kind, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
            response_type="str",
            _preload_content=False,
        )
        text = data.data.decode()
    except ApiException as refused:
        status, text = int(refused.status or 0), str(refused.body or "")
    try:
        return status, json.loads(text)
    except json.JSONDecodeError:
        return status, {"message": text}
