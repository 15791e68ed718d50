"""``ft export`` writes a folder that a hub and transformers take, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from resources.registry import EmbeddedRegistry
from tests.support.loopback_hub_uploads import upload_hub
from tests.support.published_model import DROP, SUMMARY, VERDICT, Published, publish_model
from tests.support.tiny_pipeline import (
    MODEL_NAME,
    NAME,
    TinyPipeline,
    clean_environment,
    make_tiny_pipeline,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory, tiny_base_model) -> Published:
    """Read only: all tests share it."""
    pipeline = make_tiny_pipeline(tmp_path_factory.mktemp("published"), tiny_base_model)
    return publish_model(pipeline, tiny_base_model, adapter=True)


@pytest.fixture
def tiny(published) -> TinyPipeline:
    return published.pipeline


@pytest.fixture
def mine(tmp_path, tiny_base_model) -> Published:
    """A published model of this test's own, which it may damage."""
    return publish_model(make_tiny_pipeline(tmp_path / "mine", tiny_base_model), tiny_base_model)


def test_the_folder_has_the_model_the_card_and_the_provenance(published, tiny, ft, tmp_path):
    call = ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--json")
    assert call.exit_code == 0, call.stderr
    result = call.json
    assert (result["model"], result["version"]) == (MODEL_NAME, "1.0.0")
    assert result["digest"] == published.model.data_version
    names = {path.relative_to(tmp_path / "out").as_posix() for path in _files(tmp_path / "out")}
    assert names == set(result["files"])
    assert names >= {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "adapter/adapter_config.json",
        "provenance/finetuned_model.manifest.json",
        "provenance/results.json",
        "provenance/verdict.json",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_file_of_the_model_is_the_very_one_that_was_published(published, tiny, ft, tmp_path):
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out")).exit_code == 0
    for file in published.model.manifest.files:
        if file.path.startswith("model/"):
            copy = tmp_path / "out" / file.path.removeprefix("model/")
            assert copy.read_bytes() == (published.model.path / file.path).read_bytes()
            assert copy.stat().st_ino != (published.model.path / file.path).stat().st_ino
    manifest = json.loads((tmp_path / "out/provenance/finetuned_model.manifest.json").read_text())
    assert manifest["digest"] == published.model.digest


def test_no_answers_and_no_rows_leave_the_store(tiny, ft, tmp_path):
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out")).exit_code == 0
    rows = (tiny.data / f"{DROP}.jsonl").read_text().splitlines()
    said = [turn["content"] for row in rows[:5] for turn in json.loads(row)["messages"]]
    for path in _files(tmp_path / "out"):
        content = path.read_bytes()
        assert b'"private"' not in content, path
        assert not any(text.encode() in content for text in said), path


def test_the_card_is_the_hubs_own_and_tells_the_results(tiny, ft, tmp_path):
    options = ("--license", "apache-2.0", "--language", "en")
    assert ft(tiny, "export", f"{MODEL_NAME}:1.0.0", str(tmp_path / "out"), *options).exit_code == 0
    from huggingface_hub import ModelCard

    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.language) == ("apache-2.0", ["en"])
    losses = [r for r in card.data.eval_results if r.metric_type == "loss"]
    assert [r.metric_value for r in losses] == [SUMMARY.models["tuned"].held_out.loss]
    assert VERDICT["reason"] in card.text
    assert f"ft verify {MODEL_NAME}:1.0.0" in card.text


def test_transformers_loads_the_folder_and_generates(tiny, ft, tmp_path):
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out")).exit_code == 0
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    tokens = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Which planet is the largest?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**tokens, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert answer.shape[1] == tokens["input_ids"].shape[1] + 4


@pytest.mark.slow
def test_the_hubs_own_client_uploads_the_folder(tiny, ft, tmp_path):
    """``hf upload``, which checks the card's header, sends large files by LFS, and commits."""
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out")).exit_code == 0
    with upload_hub() as hub:
        done = subprocess.run(
            [Path(sys.executable).parent / "hf", "upload", "team/tiny", tmp_path / "out"],
            env=clean_environment(
                {
                    "HF_ENDPOINT": hub.endpoint,
                    "HF_TOKEN": hub.token,
                    "HF_HOME": str(tmp_path / "hf"),
                    "HF_HUB_DISABLE_XET": "1",
                }
            ),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        committed = hub.models["team/tiny"].branches["main"]
        assert any(request.startswith("PUT lfs/") for request in hub.requests)
        assert "POST api/validate-yaml" in hub.requests
    exported = {
        path.relative_to(tmp_path / "out").as_posix(): path for path in _files(tmp_path / "out")
    }
    assert committed.keys() == exported.keys()
    assert all(committed[name] == path.read_bytes() for name, path in exported.items())


@pytest.mark.parametrize("words", [NAME, f"{NAME}@", f"{NAME}@{DROP}"])
def test_a_pipelines_newest_model_is_exported_without_a_version(
    published, tiny, ft, tmp_path, words
):
    call = ft(tiny, "export", words, str(tmp_path / "out"), "--json")
    assert call.exit_code == 0, call.stderr
    assert (call.json["model"], call.json["version"]) == (NAME, None)
    assert call.json["digest"] == published.model.data_version


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nothing", "nothing: there is no registered model with a champion and no pipeline"),
        (f"{MODEL_NAME}:", "no version stands after the colon"),
        (f"{MODEL_NAME}:9.9.9", "9.9.9"),
        ("nothing@drop-1", "there is no pipeline 'nothing'"),
        (f"{NAME}@drop-9", f"asset {NAME}/finetuned_model, partition drop-9 has no artifact"),
    ],
)
def test_what_is_not_there_is_refused(tiny, ft, tmp_path, words, said):
    call = ft(tiny, "export", words, str(tmp_path / "out"), "--json")
    assert call.exit_code == 1
    assert said in call.json["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tiny, ft, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    call = ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--json")
    assert call.exit_code == 1
    assert call.json["error"].endswith("is not empty: name a folder that does not exist yet")
    assert [path.name for path in _files(tmp_path)] == ["mine.txt"]


def test_an_empty_folder_is_filled(tiny, ft, tmp_path):
    (tmp_path / "out").mkdir()
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_flipped_byte_is_found_and_nothing_is_left(mine, ft, tmp_path):
    weights = mine.model.path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    call = ft(mine.pipeline, "export", MODEL_NAME, str(tmp_path / "out"), "--json")
    assert call.exit_code == 1
    assert "model/model.safetensors is not what was published" in call.json["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_version_registered_with_another_digest_is_refused(mine, ft, tmp_path):
    registry = EmbeddedRegistry(path=str(mine.pipeline.home / "registry.db"))
    from resources.registry import Registration

    registry.register(
        Registration(model="other", digest="0" * 64, uri=f"{mine.model.uri}/model", author="x")
    )
    call = ft(mine.pipeline, "export", "other", str(tmp_path / "out"), "--json")
    assert call.exit_code == 1
    assert "other:1.0.0 is registered with the digest 000" in call.json["error"]


def test_a_version_outside_the_store_is_refused(mine, ft, tmp_path):
    call = ft(
        mine.pipeline,
        *("export", MODEL_NAME, str(tmp_path / "out"), "--json"),
        FT_STORE=str(tmp_path / "another"),
    )
    assert call.exit_code == 1
    assert "outside the artifact store" in call.json["error"]


def test_a_disk_without_room_is_found_before_anything_is_written(tiny, ft, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 999, 1))
    call = ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--json")
    assert call.exit_code == 1
    assert "MB free and the export takes about" in call.json["error"]
    assert list(tmp_path.iterdir()) == []


def test_links_share_the_bytes_of_the_store(published, tiny, ft, tmp_path):
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--link").exit_code == 0
    weights = published.model.path / "model" / "model.safetensors"
    assert (tmp_path / "out" / "model.safetensors").samefile(weights)
    assert not (tmp_path / "out" / "README.md").samefile(published.report.path / "results.json")


def test_the_licence_travels_with_the_model(tiny, ft, tmp_path):
    (tmp_path / "text").write_text("You may.")
    options = ("--license-file", str(tmp_path / "text"), "--license", "other")
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), *options).exit_code == 0
    assert (tmp_path / "out" / "LICENSE").read_text() == "You may."


def test_a_licence_that_no_hub_knows_is_refused(tiny, ft, tmp_path):
    call = ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--license", "My: own", "--json")
    assert call.exit_code == 1
    assert "license 'My: own' is no licence as the hub names it" in call.json["error"]


def test_kserve_refuses_a_folder_of_this_machine_and_says_what_to_do(tiny, ft, tmp_path):
    call = ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--kserve", "--json")
    assert call.exit_code == 1
    assert "--storage-uri pvc://CLAIM/PATH" in call.json["error"]
    assert list(tmp_path.iterdir()) == []


def test_kserve_serves_from_a_volume(published, tiny, ft, tmp_path):
    options = ("--kserve", "--storage-uri", "pvc://models/tiny")
    assert ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), *options).exit_code == 0
    service = yaml.safe_load((tmp_path / "out" / "inferenceservice.yaml").read_text())
    model = service["spec"]["predictor"]["model"]
    assert (service["kind"], service["metadata"]["name"]) == ("InferenceService", MODEL_NAME)
    assert model["storageUri"] == "pvc://models/tiny"
    annotations = service["metadata"]["annotations"]
    assert annotations["ft-assets/model-digest"] == published.model.data_version


def test_a_storage_uri_alone_is_refused(tiny, ft, tmp_path):
    call = ft(
        tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--storage-uri", "pvc://a", "--json"
    )
    assert call.json["error"] == "--storage-uri is for --kserve: give both or none"


def test_gguf_without_a_converter_is_refused_before_anything_is_written(
    tiny, ft, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    call = ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--json", "--gguf")
    assert call.exit_code == 1
    assert "llama.cpp's converter is not installed here" in call.json["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("works", [True, False])
def test_gguf_is_written_by_the_converter_that_is_installed(tiny, ft, tmp_path, monkeypatch, works):
    """A program in the converter's place: it writes what it was asked for, or fails."""
    program = tmp_path / "bin" / "llama-convert-hf-to-gguf"
    program.parent.mkdir()
    code = (
        "import sys, pathlib\n"
        "folder, _, out, _, kind = sys.argv[1:]\n"
        "assert (pathlib.Path(folder) / 'model.safetensors').exists()\n"
        f"if not {works}: sys.exit('no such architecture')\n"
        "pathlib.Path(out).write_bytes(b'GGUF' + kind.encode())\n"
    )
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    call = ft(tiny, "export", MODEL_NAME, str(tmp_path / "out"), "--json", "--gguf", "q8_0")
    assert call.exit_code == (0 if works else 1)
    if works:
        assert (tmp_path / "out" / f"{MODEL_NAME}-q8_0.gguf").read_bytes() == b"GGUFq8_0"
    else:
        assert "the converter failed: no such architecture" in call.json["error"]
        assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
