"""The manifest that serves a model, checked against the fields of KServe's own definition."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import pytest
import yaml
from kubernetes.utils import parse_quantity

from ft_assets.export.kserve import inference_service, service_name, storage_uri
from ft_assets.export.subject import Subject
from resources.errors import UserError
from tests.support.published_model import publish_model
from tests.support.tiny_pipeline import make_tiny_pipeline

# Of serving.kserve.io_inferenceservices.yaml, v1beta1: the fields that are used here, closed, so
# that a misspelt one is found.
_QUANTITIES = {"type": "object", "additionalProperties": {"type": "string"}}
_SCHEMA = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "serving.kserve.io/v1beta1"},
        "kind": {"const": "InferenceService"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
                "annotations": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "propertyNames": {"pattern": "^([a-z0-9.-]+/)?[A-Za-z0-9._-]{1,63}$"},
                },
            },
        },
        "spec": {
            "type": "object",
            "required": ["predictor"],
            "additionalProperties": False,
            "properties": {
                "predictor": {
                    "type": "object",
                    "required": ["model"],
                    "additionalProperties": False,
                    "properties": {
                        "model": {
                            "type": "object",
                            "required": ["modelFormat"],
                            "additionalProperties": False,
                            "properties": {
                                "modelFormat": {
                                    "type": "object",
                                    "required": ["name"],
                                    "additionalProperties": False,
                                    "properties": {"name": {"type": "string"}},
                                },
                                "args": {"type": "array", "items": {"type": "string"}},
                                "storageUri": {"type": "string"},
                                "resources": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "properties": {"requests": _QUANTITIES, "limits": _QUANTITIES},
                                },
                            },
                        }
                    },
                }
            },
        },
    },
}


@pytest.fixture(scope="module")
def subject(tmp_path_factory, tiny_base_model) -> Subject:
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("served"), tiny_base_model)
    published = publish_model(pipeline, tiny_base_model)
    return Subject(
        name="Tiny Assistant",
        version="1.0.0",
        description="",
        model=published.model,
        report=None,
        registration=None,
        hardware={},
    )


def test_the_manifest_has_the_form_that_kserve_takes(subject):
    service = inference_service(subject, "s3://bucket/model")
    jsonschema.validate(yaml.safe_load(yaml.safe_dump(service)), _SCHEMA)
    resources = service["spec"]["predictor"]["model"]["resources"]
    assert resources["requests"] == resources["limits"]
    for quantity in resources["limits"].values():
        assert parse_quantity(quantity) > 0
    assert "nvidia.com/gpu" not in resources["limits"]  # it was trained on a CPU


def test_a_model_of_a_bucket_is_served_from_there(subject):
    uri = "s3://bucket/prefix/versions/abc/files"
    stored = replace(subject, model=replace(subject.model, uri=uri))
    assert storage_uri(stored, None) == f"{uri}/model"


@pytest.mark.parametrize("given", ["pvc://claim/path", "hf://org/model", "gs://bucket/model"])
def test_a_place_that_is_given_wins(subject, given):
    assert storage_uri(subject, given) == given


@pytest.mark.parametrize("given", ["/data/model", "file:///data", "ftp://host/model", "claim/path"])
def test_a_place_that_kserve_cannot_read_is_refused(subject, given):
    with pytest.raises(UserError, match="KServe reads s3://"):
        storage_uri(subject, given)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("sft-model", "sft-model"),
        ("My Model_v1.2", "my-model-v1-2"),
        ("7b", "model-7b"),
        ("x" * 200, "x" * 40),
        ("-..-", "model"),
    ],
)
def test_a_models_name_becomes_a_name_of_kubernetes(model, name):
    assert service_name(model) == name
