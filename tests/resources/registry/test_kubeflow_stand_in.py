"""The stand-in for a Model Registry server, held against the official OpenAPI description.

The description of v1alpha3 is found through MODEL_REGISTRY_OPENAPI. What is asked is generated from
it; answers must have the documented status, content type and schema, and none may be a fault of the
server. v1 has the same objects for these paths.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.model_registry_server import ModelRegistryServer, model_registry_server

ROOT = "/api/model_registry/v1alpha3"
OPERATIONS = [
    ("GET", "/registered_model"),
    ("GET", "/registered_models"),
    ("POST", "/registered_models"),
    ("GET", "/registered_models/{registeredmodelId}"),
    ("PATCH", "/registered_models/{registeredmodelId}"),
    ("GET", "/registered_models/{registeredmodelId}/versions"),
    ("POST", "/registered_models/{registeredmodelId}/versions"),
    ("GET", "/model_version"),
    ("GET", "/model_versions"),
    ("POST", "/model_versions"),
    ("GET", "/model_versions/{modelversionId}"),
    ("PATCH", "/model_versions/{modelversionId}"),
    ("GET", "/model_versions/{modelversionId}/artifacts"),
    ("POST", "/model_versions/{modelversionId}/artifacts"),
    ("GET", "/model_artifacts/{modelartifactId}"),
    ("PATCH", "/model_artifacts/{modelartifactId}"),
]

FOUND_BY = {
    "/registered_model": {"name": "model"},
    "/model_version": {"name": "1.0.0", "parentResourceId": "1"},
}


@cache
def description() -> Any:
    path = os.environ.get("MODEL_REGISTRY_OPENAPI", "")
    if not path:
        pytest.skip(
            "MODEL_REGISTRY_OPENAPI is not set: let it name the official description of the Model "
            "Registry's interface (v1alpha3) to check the stand-in server against it"
        )
    schemathesis = pytest.importorskip("schemathesis")
    assert Path(path).is_file(), f"MODEL_REGISTRY_OPENAPI={path} is no file"
    read = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    schemas = read["components"]["schemas"]
    for name in ("Artifact", "ArtifactCreate", "ArtifactUpdate"):
        # The kinds overlap in everything but the discriminator's value, which they do not fix:
        # read literally, no artifact is of exactly one kind.
        for value, kind in schemas[name]["discriminator"]["mapping"].items():
            fixed = {
                "required": ["artifactType"],
                "properties": {"artifactType": {"enum": [value]}},
            }
            schemas[kind.rpartition("/")[2]]["allOf"].append(fixed)
    return schemathesis.openapi.from_dict(read)


@pytest.fixture(scope="module")
def server() -> Generator[ModelRegistryServer]:
    with model_registry_server("v1alpha3") as running:
        yield running


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_as_described(server, method, path):
    from schemathesis import checks

    operation = description()[f"{ROOT}{path}"][method]
    wanted = [
        checks.not_a_server_error,
        *(
            checks.CHECKS.get_one(name)
            for name in (
                "status_code_conformance",
                "content_type_conformance",
                "response_schema_conformance",
            )
        ),
    ]

    @given(case=operation.as_strategy(), there=st.booleans())
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any, there: bool) -> None:
        _seed(server)
        if there:  # generated ids hardly ever are
            case.path_parameters = dict.fromkeys(case.path_parameters or {}, "1")
            if path.endswith(("/model_versions", "/versions")) and isinstance(case.body, dict):
                case.body["registeredModelId"] = "1"
            if path in FOUND_BY:
                case.query = dict(FOUND_BY[path])
        if case.query:
            case.query.pop("filterQuery", None)  # the stand-in has none, and says so
        response = case.call_and_validate(base_url=server.url, checks=wanted)
        statuses.add(response.status_code)

    statuses: set[int] = set()
    ask()
    assert statuses & {200, 201}, "no request succeeded, so that nothing was checked"


def _seed(server: ModelRegistryServer) -> None:
    """Model 1 with version 1 with artifact 1."""
    store = server.store
    for table in (store.models, store.versions, store.artifacts):
        table.clear()
    now = {"createTimeSinceEpoch": "1", "lastUpdateTimeSinceEpoch": "1", "state": "LIVE"}
    store.models[1] = {"id": "1", "name": "model", **now}
    store.versions[1] = {"id": "1", "name": "1.0.0", "registeredModelId": "1", **now}
    store.artifacts[1] = {"id": "1", "artifactType": "model-artifact", "_version": "1", **now}


def test_without_the_description_the_check_is_skipped_with_a_reason(monkeypatch):
    monkeypatch.delenv("MODEL_REGISTRY_OPENAPI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="MODEL_REGISTRY_OPENAPI is not set"):
        description.__wrapped__()
