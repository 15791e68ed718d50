"""A step publishes its artifact with a statement, signed where a key is configured."""

# Without postponed annotations: Dagster reads those of the asset's function.

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ft_assets.assets.step import Step, step
from ft_assets.config import Pipeline, PipelineSpec
from ft_assets.provenance.artifact_links import Place, check_artifact
from ft_assets.provenance.envelope import is_signed, statement_in
from ft_assets.provenance.links import Findings
from resources.store import Artifact, ArtifactStore
from tests.provenance.conftest import make_keys


def run_step(work: Callable[[Step], Any]) -> dg.ExecuteInProcessResult:
    spec = PipelineSpec.model_validate(
        {
            "name": "own",
            "dataset": {"uri": "https://data.example.com/rows.jsonl?X-Amz-Signature=5ec4e7"},
            "training": {"base_model": "org/model"},
        }
    )

    @dg.asset
    def raw_dataset(context: dg.AssetExecutionContext) -> None:
        with step(context, Pipeline(spec=spec, file=Path("own.yaml")), "raw_dataset", "1") as this:
            work(this)

    return dg.materialize([raw_dataset], raise_on_error=False)


def publish(store: ArtifactStore, files: dict[str, bytes]) -> Artifact:
    published: list[Artifact] = []

    def work(this: Step) -> None:
        with this.publish(store, []) as draft:
            for name, content in files.items():
                (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
                (draft.path / name).write_bytes(content)
        assert draft.artifact is not None
        published.append(draft.artifact)

    assert run_step(work).success
    return published[0]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("FT_SIGNING_KEY", raising=False)
    return ArtifactStore(root=str(tmp_path / "artifacts"))


def test_each_artifact_carries_a_statement_without_secrets(store):
    artifact = publish(store, {"rows": b"1"})
    sealed: Any = artifact.manifest.attestation
    stated = statement_in(sealed)
    assert stated["subject"][0]["digest"] == {"sha256": artifact.digest}
    assert not is_signed(sealed)
    assert "5ec4e7" not in artifact.manifest.model_dump_json()
    assert "5ec4e7" not in str(stated)


def test_the_same_files_keep_their_digest_and_data_version(store, tmp_path, monkeypatch):
    first = publish(store, {"rows": b"1"})
    monkeypatch.setenv("FT_SIGNING_KEY", str(make_keys(tmp_path).private))
    second = publish(store, {"rows": b"1"})
    assert (first.digest, first.data_version) == (second.digest, second.data_version)
    assert is_signed(second.manifest.attestation or {})


def test_a_configured_key_signs_the_statement(store, tmp_path, monkeypatch):
    keys = make_keys(tmp_path)
    monkeypatch.setenv("FT_SIGNING_KEY", str(keys.private))
    artifact = publish(store, {"rows": b"1"})
    findings = Findings()
    place = Place(artifact.key, artifact.partition, artifact.digest)
    assert check_artifact(place, store.backend, keys.verifying, findings) is not None
    assert {link.check for link in findings.links if link.status == "holds"} >= {
        "statement",
        "signature",
    }


def test_a_key_that_cannot_be_read_stops_the_step_before_its_work(store, tmp_path, monkeypatch):
    monkeypatch.setenv("FT_SIGNING_KEY", str(tmp_path / "no-such-key.pem"))
    began: list[str] = []
    result = run_step(lambda _: began.append("work"))
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "no-such-key.pem', which cannot be read" in str(
        failure.step_failure_data.user_failure_data.description
    )
    assert began == []


@pytest.mark.slow
def test_a_model_is_signed_for_who_serves_it(store, tmp_path, monkeypatch):
    """And verified by the library's own means, which know nothing of ours."""
    from model_signing import verifying

    keys = make_keys(tmp_path)
    monkeypatch.setenv("FT_SIGNING_KEY", str(keys.private))
    artifact = publish(store, {"model/config.json": b"{}", "model/sub/x.json": b"{}"})
    config = verifying.Config().use_elliptic_key_verifier(public_key=keys.public)
    config.verify(artifact.path / "model", artifact.path / "model.sig")
    (artifact.path / "model" / "config.json").write_bytes(b"[]")
    with pytest.raises(ValueError, match="mismatch"):
        config.verify(artifact.path / "model", artifact.path / "model.sig")


@pytest.mark.slow
def test_the_signature_of_a_model_by_another_key_is_found(store, tmp_path, monkeypatch):
    from ft_assets.provenance.model_signature import BadModelSignatureError, verify_model

    keys, others = make_keys(tmp_path), make_keys(tmp_path, "other")
    monkeypatch.setenv("FT_SIGNING_KEY", str(keys.private))
    artifact = publish(store, {"model/config.json": b"{}"})
    verify_model(artifact.path, keys.verifying)
    with pytest.raises(BadModelSignatureError):
        verify_model(artifact.path, others.verifying)
    (artifact.path / "model.sig").write_text("{}")
    with pytest.raises(BadModelSignatureError):
        verify_model(artifact.path, keys.verifying)
