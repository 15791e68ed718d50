"""Every flipped byte behind a registered version is found, and named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ft_assets.provenance.artifact_links import Place
from ft_assets.provenance.verify import KnownPipeline, verify_artifact, verify_version
from tests.provenance.conftest import DROP, PIPELINE, make_chain, make_keys, register_in
from tests.support.flips import flipped

ASSETS = (
    "raw_dataset",
    "split_dataset",
    "token_report",
    "finetuned_model",
    "eval_report",
    "registered_version",
)
_STRIDE = 37  # over a manifest's bytes: each part of it is met


def test_a_whole_chain_holds_and_every_asset_is_walked(signed_chain):
    verified = signed_chain.verify()
    assert verified.first_broken is None
    walked = {link.subject for link in verified.links if link.check == "files"}
    assert walked == {f"{PIPELINE}/{asset}@{DROP}" for asset in ASSETS}
    checks = {link.check for link in verified.links if link.status == "holds"}
    assert {"signature", "base model", "source files", "code", "configuration"} <= checks
    assert "own tasks" in checks
    assert verified.count("not checked") == 0


def test_without_a_key_signatures_are_said_to_be_unchecked(signed_chain):
    verified = signed_chain.verify(with_key=False)
    assert verified.passed
    assert {link.check for link in verified.links if link.status == "not checked"} == {"signature"}


@pytest.mark.parametrize("asset", ASSETS)
def test_a_flip_in_any_file_of_an_artifact_is_found(signed_chain, asset):
    artifact = signed_chain.artifact(asset)
    for file in artifact.manifest.files:
        path = artifact.path / file.path
        with flipped(path):
            first = signed_chain.verify().first_broken
        assert first is not None, path
        assert (first.file, first.expected) == (str(path), file.sha256)
        assert first.found not in ("", file.sha256)


@pytest.mark.parametrize("asset", ASSETS)
@pytest.mark.parametrize("chain", ["signed_chain", "unsigned_chain"])
def test_a_flip_in_any_part_of_a_manifest_is_found(request, chain, asset):
    """Statement and signature lie in the manifest; without a signature, nothing hides either."""
    chain = request.getfixturevalue(chain)
    manifest = chain.manifest(asset)
    artifact = chain.artifact(asset)
    place = Place(artifact.key, artifact.partition, artifact.digest)
    around = chain.around(with_key=chain.signed)
    for at in range(0, manifest.stat().st_size, _STRIDE):
        with flipped(manifest, at):
            first = verify_artifact(place, around).first_broken
        assert first is not None, f"byte {at} of {manifest}"
        assert first.file == str(manifest)


def test_every_byte_of_the_envelope_counts(signed_chain):
    manifest = signed_chain.manifest("token_report")
    artifact = signed_chain.artifact("token_report")
    place = Place(artifact.key, artifact.partition, artifact.digest)
    content = manifest.read_bytes()
    signature = content.index(b'"signatures"')
    for at in range(signature, len(content)):
        with flipped(manifest, at):
            assert not verify_artifact(place, signed_chain.around(with_key=True)).passed, at


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_flip_in_the_base_model_is_found(signed_chain, name):
    with flipped(signed_chain.base_model / name):
        first = signed_chain.verify().first_broken
    assert first.check == "base model"
    assert first.file == str(signed_chain.base_model)
    assert first.expected != first.found


def test_a_flip_in_a_source_file_is_found(signed_chain):
    with flipped(signed_chain.source):
        first = signed_chain.verify().first_broken
    assert (first.check, first.file) == ("source files", str(signed_chain.source))


def test_a_flip_in_one_of_the_pipelines_own_tasks_is_found(signed_chain):
    with flipped(signed_chain.own_tasks / "planets.yaml"):
        first = signed_chain.verify().first_broken
    assert (first.check, first.file) == ("own tasks", str(signed_chain.own_tasks))


def test_a_task_that_was_added_is_found_and_what_python_leaves_there_is_not(tmp_path):
    chain = make_chain(tmp_path / "chain", signed=False)
    (chain.own_tasks / "__pycache__").mkdir()
    (chain.own_tasks / "__pycache__" / "planets.pyc").write_bytes(b"left over")
    assert chain.verify().first_broken is None
    (chain.own_tasks / "more.yaml").write_text("task: more\n")
    assert chain.verify().first_broken.check == "own tasks"


def test_own_tasks_that_are_gone_are_said_to_be_unchecked(tmp_path):
    chain = make_chain(tmp_path / "chain", signed=False)
    shutil.rmtree(chain.own_tasks)
    verified = chain.verify()
    assert verified.passed
    unchecked = [link.detail for link in verified.links if link.check == "own tasks"]
    assert unchecked == [f"{chain.own_tasks} is not there any more"]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("artifacts", "uri"),
        ("artifacts", "digest"),
        ("artifacts", "format_name"),
        ("artifacts", "format_version"),
        ("artifacts", "state"),
        ("versions", "digest"),
        ("versions", "author"),
        ("versions", "description"),
        ("versions", "created_at"),
        ("float_properties", "value"),
        ("str_properties", "value"),
    ],
)
def test_a_changed_entry_of_the_registry_is_found(tmp_path, table, column):
    chain = make_chain(tmp_path / "chain", signed=False)
    with closing(sqlite3.connect(chain.database)) as database, database:
        changed = f"{column} + 1" if table == "float_properties" else f"{column} || '0'"
        database.execute(f"UPDATE {table} SET {column} = {changed}")
    first = chain.verify().first_broken
    assert first.subject == "assistant:1.0.0"
    assert first.file.startswith("registry: assistant:1.0.0")


def test_a_version_that_got_more_properties_when_it_was_registered_again_holds(tmp_path):
    """In any order of the digests of what the registrations left, so one after another."""
    chain = make_chain(tmp_path / "chain", signed=False)
    for number in range(4):
        more = {f"cost_{known}": 3.5 for known in range(number + 1)}
        register_in(chain, chain.artifact("finetuned_model"), chain.artifact("eval_report"), **more)
        assert chain.verify().first_broken is None

    with closing(sqlite3.connect(chain.database)) as database, database:
        database.execute("UPDATE float_properties SET value = 9.5 WHERE name = 'cost_3'")
    first = chain.verify().first_broken
    assert (first.check, first.expected, first.found) == ("registration", "3.5", "9.5")


def test_the_first_broken_link_is_the_one_nearest_to_the_model(signed_chain):
    raw = signed_chain.artifact("raw_dataset").path / "rows.jsonl"
    report = signed_chain.artifact("eval_report").path / "results.json"
    with flipped(raw), flipped(report):
        verified = signed_chain.verify()
    assert verified.first_broken.file == str(report)
    assert str(raw) in {link.file for link in verified.links}


def test_a_file_that_was_added_is_found(signed_chain):
    added = signed_chain.artifact("finetuned_model").path / "model" / "modeling.py"
    added.write_text("print('never run me')")
    try:
        first = signed_chain.verify().first_broken
    finally:
        added.unlink()
    assert (first.file, first.found) == (str(added), "model/modeling.py")


def test_a_missing_file_is_found(signed_chain):
    file = signed_chain.artifact("split_dataset").path / "train.jsonl"
    content = file.read_bytes()
    file.unlink()
    try:
        first = signed_chain.verify().first_broken
    finally:
        file.write_bytes(content)
    assert (first.file, first.found) == (str(file), "missing")


def test_an_artifact_that_is_gone_is_found(tmp_path):
    chain = make_chain(tmp_path / "chain", signed=False)
    manifest = chain.manifest("split_dataset")
    manifest.unlink()
    first = chain.verify().first_broken
    assert first.detail == "the artifact is gone"
    assert first.file == str(manifest)


def test_a_manifest_and_statement_that_agree_need_the_signature_to_be_caught(signed_chain):
    """Whoever can write the store can rewrite both; only the key tells."""
    from ft_assets.provenance.envelope import seal
    from ft_assets.provenance.statement import statement_of
    from resources.store.manifest import encode_json

    manifest = signed_chain.manifest("token_report")
    before = manifest.read_bytes()
    raw = json.loads(before)
    raw["metadata"]["provenance"]["run_id"] = "another"
    raw["attestation"] = None
    raw["attestation"] = seal(
        statement_of({name: v for name, v in raw.items() if name != "attestation"}), None
    )
    manifest.write_bytes(encode_json(raw))
    try:
        assert signed_chain.verify(with_key=False).passed
        first = signed_chain.verify().first_broken
    finally:
        manifest.write_bytes(before)
    assert (first.check, first.detail) == ("signature", "the statement is not signed")


def test_another_key_is_no_signature(signed_chain, tmp_path):
    around = replace(signed_chain.around(with_key=True), key=make_keys(tmp_path).verifying)
    first = verify_version(signed_chain.version, around).first_broken
    assert first.check == "signature"
    assert "no valid signature by" in first.detail


def test_an_artifact_without_a_statement_says_so(tmp_path):
    chain = make_chain(tmp_path / "chain", signed=False)
    manifest = chain.manifest("token_report")
    raw = json.loads(manifest.read_bytes())
    del raw["attestation"]
    manifest.write_text(json.dumps(raw))
    verified = chain.verify()
    (link,) = [
        link for link in verified.links if link.check == "statement" and link.status != "holds"
    ]
    assert verified.passed
    assert (link.status, link.subject) == ("not checked", "tiny/token_report@drop-1")
    assert not chain.verify(with_key=True).passed


def test_a_source_that_is_not_here_is_said_to_be_unchecked(tmp_path):
    chain = make_chain(tmp_path / "chain", signed=False)
    chain.source.unlink()
    verified = chain.verify()
    (link,) = [link for link in verified.links if link.check == "source files"]
    assert verified.passed
    assert link.status == "not checked"
    assert "cannot be read any more" in link.detail


def test_a_pipeline_file_that_was_changed_is_said(unsigned_chain):
    around = replace(
        unsigned_chain.around(with_key=False),
        pipelines={PIPELINE: KnownPipeline(Path(unsigned_chain.root), "another")},
    )
    verified = verify_version(unsigned_chain.version, around)
    said = {link.status for link in verified.links if link.check == "pipeline file"}
    assert verified.passed
    assert said == {"not checked"}


def test_a_manifest_without_a_statement_that_names_nonsense_is_found(tmp_path):
    """Nothing vouches for it, and still no damage ends in a traceback."""
    chain = make_chain(tmp_path / "chain", signed=False)
    manifest = chain.manifest("split_dataset")
    raw = json.loads(manifest.read_bytes())
    del raw["attestation"]
    for damage, file in (
        ({"inputs": [{"asset": "../..", "digest": "x", "data_version": "v"}]}, "../..@drop-1"),
        ({"inputs": "none"}, str(manifest)),
        ({"config": []}, str(manifest)),
    ):
        broken = json.loads(json.dumps(raw))
        broken["metadata"]["provenance"] |= damage
        manifest.write_text(json.dumps(broken))
        assert chain.verify().first_broken.file == file
