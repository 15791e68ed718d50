"""Kubeflow Trainer's CRDs: found, read, and loaded into a test's API server.

The folder that KUBEFLOW_TRAINER_CRDS names holds them as published
(trainer.kubeflow.org_trainjobs.yaml, ...).
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

_VARIABLE = "KUBEFLOW_TRAINER_CRDS"
_KINDS = ("trainjobs", "trainingruntimes", "clustertrainingruntimes")
_FIRST_WITH_RULES = 25
"""Kubernetes 1.25 evaluates CEL rules; older ones refuse what they do not know."""
_DROPPED = ("x-kubernetes-validations", "default", "description")
_LIST_KEYS = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys")


def crd(plural: str) -> dict[str, Any]:
    """One of the definitions, as published; skips the test where they are not there."""
    folder = os.environ.get(_VARIABLE)
    file = Path(folder or ".") / f"trainer.kubeflow.org_{plural}.yaml"
    if folder is None or not file.exists():
        pytest.skip(f"set {_VARIABLE} to a folder with Kubeflow Trainer's CRDs ({file.name})")
    return _read(file)


@cache
def _read(file: Path) -> dict[str, Any]:
    """Some 20,000 lines each: with the parser in C, and once."""
    return yaml.load(file.read_text(), yaml.CSafeLoader)


def schema(plural: str = "trainjobs") -> dict[str, Any]:
    """The OpenAPI schema of a kind."""
    return crd(plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(
    schema: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each part of a schema with its path; an element of a list is ``*``."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, (*path, name))
    if isinstance(schema.get("items"), dict):
        yield from nodes(schema["items"], (*path, "*"))


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as JSON Schema that knows no further fields: the API server would prune them."""
    made = copy.deepcopy(schema)
    for path, part in nodes(made):
        keeps = part.get("x-kubernetes-preserve-unknown-fields") or part.get(
            "x-kubernetes-embedded-resource"
        )
        if "properties" in part and not keeps and path != ("metadata",):
            part["additionalProperties"] = False
        if part.get("x-kubernetes-int-or-string"):
            part.pop("type", None)
        part.pop("format", None)
    return made


def load_trainer_crds(api: client.ApiClient) -> None:
    """Create the definitions in an API server, without what its version cannot read."""
    minor = int(client.VersionApi(api).get_code().minor.rstrip("+"))
    extensions = client.ApiextensionsV1Api(api)
    for plural in _KINDS:
        definition = copy.deepcopy(crd(plural))
        if minor < _FIRST_WITH_RULES:
            for version in definition["spec"]["versions"]:
                _for_old_servers(version["schema"]["openAPIV3Schema"])
        unless_there(partial(extensions.create_custom_resource_definition, definition))
    for plural in _KINDS:
        _wait_until_served(extensions, f"{plural}.trainer.kubeflow.org")


def unless_there(create: Callable[[], object]) -> None:
    """Create what another test may have created before."""
    try:
        create()
    except client.ApiException as error:
        if error.status != 409:
            raise


def _for_old_servers(part: Any) -> None:
    """Drop CEL rules, defaults, keys of lists (which need those defaults), and prose, in place."""
    if isinstance(part, list):
        for one in part:
            _for_old_servers(one)
    if not isinstance(part, dict):
        return
    for name in _DROPPED:
        if not (isinstance(part.get(name), dict) and "type" in part[name]):  # a property's name
            part.pop(name, None)
    if part.get("x-kubernetes-list-type") == "map":
        for name in _LIST_KEYS:
            part.pop(name, None)
    for one in part.values():
        _for_old_servers(one)


def _wait_until_served(extensions: client.ApiextensionsV1Api, name: str) -> None:
    for _ in range(200):
        found = extensions.read_custom_resource_definition_status(name).status
        if any(c.type == "Established" and c.status == "True" for c in found.conditions or []):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{name} is not established")
