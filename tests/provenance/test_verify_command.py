"""``ft verify``: what a person names, what is printed, and the exit status."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ft_assets.cli.verify import verify
from resources.store import ArtifactStore
from tests.provenance.conftest import DROP, MODEL, PIPELINE
from tests.support.flips import flipped


@pytest.fixture
def ft_verify(signed_chain, tmp_path, monkeypatch):
    monkeypatch.setenv("FT_HOME", str(signed_chain.root))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("FT_VERIFY_KEY", raising=False)
    monkeypatch.setenv("FT_DATA_ROOTS", str(signed_chain.root))
    for name in ("FT_STORE", "FT_PIPELINES"):
        monkeypatch.delenv(name, raising=False)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(verify, arguments, env={"COLUMNS": "200"})


def test_a_model_is_its_champion(ft_verify):
    result = ft_verify(MODEL, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert (found["subject"], found["passed"], found["broken"]) == ("assistant:1.0.0", True, 0)
    assert found["first_broken"] is None


def test_a_version_can_be_named_and_signatures_verified(ft_verify, signed_chain):
    result = ft_verify(f"{MODEL}:1.0.0", "--key", str(signed_chain.keys.public))
    assert result.exit_code == 0, result.output
    assert "signed by" in result.stdout
    assert "links hold" in result.stdout


def test_an_artifact_is_named_by_its_key_and_drop(ft_verify):
    result = ft_verify(f"{PIPELINE}/split_dataset@{DROP}", "--json")
    subjects = {link["subject"] for link in json.loads(result.stdout)["links"]}
    assert {"tiny/split_dataset@drop-1", "tiny/raw_dataset@drop-1"} <= subjects
    assert "tiny/eval_report@drop-1" not in subjects


def test_an_artifact_is_named_by_its_folder_or_one_in_it(ft_verify, signed_chain):
    model = signed_chain.artifact("finetuned_model").path / "model"
    result = ft_verify(str(model), "--json")
    assert json.loads(result.stdout)["subject"] == "tiny/finetuned_model@drop-1"


def test_a_recipes_artifact_is_named_by_its_folder_in_any_store(ft_verify, signed_chain, tmp_path):
    source = signed_chain.artifact("split_dataset")
    store = ArtifactStore(root=str(tmp_path / "backup"))
    record = {**source.manifest.metadata["provenance"], "inputs": []}
    key = [PIPELINE, "lora", "split_dataset"]
    with store.publish(key, DROP, metadata={"provenance": record}) as draft:
        (draft.path / "train.jsonl").write_text("{}")
    result = ft_verify(str(draft.artifact.path), "--json")
    said = json.loads(result.stdout)
    assert said["subject"] == "tiny/lora/split_dataset@drop-1"
    found = [link["status"] for link in said["links"] if link["check"] == "manifest"]
    assert found == ["holds"]


def test_the_first_broken_link_is_named_with_file_expected_and_found(ft_verify, signed_chain):
    file = signed_chain.artifact("split_dataset").path / "train.jsonl"
    with flipped(file):
        as_json = ft_verify(MODEL, "--json")
        as_text = ft_verify(MODEL)
    first = json.loads(as_json.stdout)["first_broken"]
    assert (as_json.exit_code, as_text.exit_code) == (1, 1)
    assert first["file"] == str(file)
    for said in (first["file"], first["expected"], first["found"]):
        assert said in as_text.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("nobody", "nobody"),
        (f"{PIPELINE}/split_dataset@drop-9", "has no artifact"),
        ("/no/artifact", "is no artifact's folder"),
    ],
)
def test_what_is_not_there_is_said_in_one_message(ft_verify, subject, message):
    result = ft_verify(subject)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
