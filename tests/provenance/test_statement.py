"""The statement: in-toto's form, SLSA's predicate, and nothing but what the manifest says."""

from __future__ import annotations

import base64
import json

import pytest
from in_toto_attestation.v1.statement import Statement

from ft_assets.provenance.envelope import BadEnvelopeError, seal, statement_in, verify
from ft_assets.provenance.statement import PREDICATE_TYPE, encode, statement_of
from tests.provenance.conftest import make_keys


@pytest.fixture
def manifest(unsigned_chain):
    artifact = unsigned_chain.artifact("finetuned_model")
    return artifact.manifest.model_dump(mode="json", exclude={"attestation"})


def test_the_library_of_in_toto_finds_it_valid(manifest):
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    message = Parse(encode(statement_of(manifest)), Message())
    Statement(list(message.subject), message.predicate_type, message.predicate).validate()
    assert message.predicate_type == PREDICATE_TYPE


def test_its_subjects_are_the_artifact_and_each_file(manifest):
    subjects = {
        subject["name"]: subject["digest"]["sha256"]
        for subject in statement_of(manifest)["subject"]
    }
    assert subjects["tiny/finetuned_model@drop-1"] == manifest["digest"]
    assert len(subjects) == 1 + len(manifest["files"])


def test_it_names_what_the_model_was_made_from(manifest):
    definition = statement_of(manifest)["predicate"]["buildDefinition"]
    names = [item["name"] for item in definition["resolvedDependencies"]]
    assert names[:2] == ["tiny/split_dataset@drop-1", "tiny/token_report@drop-1"]
    assert names[2].startswith("base model ")
    assert names[3] == "code of ft-assets"
    assert all(item["digest"] for item in definition["resolvedDependencies"])
    assert definition["externalParameters"]["config"]["learning_rate"] == 0.01


def test_it_says_who_made_it_when_and_with_what(manifest):
    details = statement_of(manifest)["predicate"]["runDetails"]
    assert details["metadata"]["invocationId"] == "run-1"
    assert details["metadata"]["finishedOn"] == manifest["created_at"]
    assert "dagster" in details["builder"]["version"]
    environment = details["byproducts"][1]["annotations"]
    assert set(environment) == {"user", "host", "image", "python", "platform"}


def test_an_envelope_without_a_key_is_open_and_complete(manifest):
    statement = statement_of(manifest)
    sealed = seal(statement, None)
    assert sealed["signatures"] == []
    assert json.loads(base64.b64decode(sealed["payload"])) == statement
    assert statement_in(sealed) == statement


def test_a_signature_holds_for_its_key_alone(manifest, tmp_path):
    keys, others = make_keys(tmp_path), make_keys(tmp_path, "other")
    sealed = seal(statement_of(manifest), keys.signing)
    verify(sealed, keys.verifying)
    with pytest.raises(BadEnvelopeError, match="no valid signature"):
        verify(sealed, others.verifying)


def test_a_signature_holds_for_its_statement_alone(manifest, tmp_path):
    keys = make_keys(tmp_path)
    sealed = seal(statement_of(manifest), keys.signing)
    other = seal(statement_of({**manifest, "created_at": "later"}), None)
    with pytest.raises(BadEnvelopeError, match="no valid signature"):
        verify({**sealed, "payload": other["payload"]}, keys.verifying)


@pytest.mark.parametrize(
    "changed",
    [{"payload": "!"}, {"payload": "e30"}, {"payloadType": "text/plain"}, {"more": 1}],
)
def test_what_is_no_envelope_is_refused(manifest, changed):
    with pytest.raises(BadEnvelopeError):
        statement_in({**seal(statement_of(manifest), None), **changed})
