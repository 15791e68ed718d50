"""A base model is found by its name, refused when it lacks a part, and made once per digest."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ft_assets.training.base_folder import prepare, refuse_longer_rows
from ft_assets.training.base_model import BaseModelRef, locate, locate_again, prepared_path
from resources.errors import UserError
from tests.support.loopback_hub import LoopbackHub, Repo, commit_of, loopback_hub

TOKEN = "hf_loopback"


@pytest.fixture
def find(tmp_path):
    def locate_here(name: str, chat_template: str | None = None, **options: Any) -> BaseModelRef:
        given = {
            "folder": tmp_path,
            "models": tmp_path / "prepared",
            "hf_token_env": "MY_HUB_TOKEN",
            **options,
        }
        return locate(name, chat_template=chat_template, **given)

    return locate_here


@pytest.fixture
def model(tmp_path, tiny_model) -> Path:
    """A copy that a test may change, beside the pipeline file."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def drop_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


# Special tokens.


def drop_pad_token(model: Path) -> None:
    file = model / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["pad_token"]
    file.write_text(json.dumps(config))


def test_a_model_without_a_pad_token_is_refused_with_the_remedy(find, model, tmp_path):
    drop_pad_token(model)
    with pytest.raises(UserError, match=r"has no pad token: set training.special_tokens to"):
        prepare(find("./model"), tmp_path / "prepared")


def test_special_tokens_of_the_users_are_set_in_the_prepared_folder(find, model, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    drop_pad_token(model)
    ref = find("./model", special_tokens={"pad_token": "<|im_start|>"})
    assert ref.digest != find("./model").digest
    made = prepare(ref, tmp_path / "prepared")
    tokenizer = AutoTokenizer.from_pretrained(made)
    assert tokenizer.pad_token == "<|im_start|>"
    assert AutoConfig.from_pretrained(made).pad_token_id == tokenizer.pad_token_id
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(model).chat_template
    assert json.loads((model / "tokenizer_config.json").read_text()).get("pad_token") is None


def test_a_special_token_outside_the_vocabulary_is_refused(find, model, tmp_path):
    ref = find("./model", special_tokens={"pad_token": "<pad>"})
    with pytest.raises(UserError, match=r"'<pad>' is not in the vocabulary of .*<\|im_end\|>"):
        prepare(ref, tmp_path / "prepared")
    assert list((tmp_path / "prepared").iterdir()) == []


# The model of an earlier step, on another machine perhaps.


@pytest.mark.parametrize("template", [None, "chatml"])
def test_a_model_of_an_earlier_step_is_found_where_it_lies_on_this_machine(
    find, model, tmp_path, template
):
    there = find("./model", template)
    here = tmp_path / "other-machine"
    here.mkdir()
    model.rename(here / "model")
    found = locate_again(there, folder=here, models=tmp_path / "prepared")
    assert found.location == str(here / "model")
    assert (found.digest, found.chat_template) == (there.digest, there.chat_template)


def test_a_model_that_has_changed_since_is_refused(find, model, tmp_path):
    ref = find("./model")
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    with pytest.raises(UserError, match=r"is not what this model was trained from.* again"):
        locate_again(ref, folder=tmp_path, models=tmp_path / "prepared")


def test_what_was_prepared_is_not_looked_for(find, model, tmp_path):
    ref = find("./model", "chatml")
    prepare(ref, tmp_path / "prepared")
    shutil.rmtree(model)
    assert locate_again(ref, folder=tmp_path, models=tmp_path / "prepared") == ref


# Folders.


@pytest.mark.parametrize("way", ["absolute", "relative", "parent", "home"])
def test_a_folder_is_named_by_its_path(find, model, tmp_path, monkeypatch, way):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pipelines").mkdir()
    names = {
        "absolute": (str(model), tmp_path),
        "relative": ("./model", tmp_path),
        "parent": ("../model", tmp_path / "pipelines"),
        "home": ("~/model", Path("/")),
    }
    name, folder = names[way]
    ref = find(name, folder=folder)
    assert (ref.kind, ref.location, ref.name) == ("folder", str(model), name)
    assert ref.hf_token_env == "MY_HUB_TOKEN"


def test_a_folder_with_all_its_parts_is_used_where_it_is(find, model, tmp_path):
    ref = find("./model")
    assert prepare(ref, tmp_path / "prepared") == model
    assert prepared_path(ref, tmp_path / "prepared") == model
    assert not (tmp_path / "prepared").exists()


def test_a_missing_folder_is_refused(find, tmp_path):
    with pytest.raises(UserError, match=rf"\./none: {tmp_path}/none is not a folder"):
        find("./none")


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("config.json", "has no config.json: it is no model"),
        ("model.safetensors", "has no safetensors weights: pickled weights are not loaded"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_a_folder_without_a_part_is_refused(find, model, removed, said):
    (model / removed).unlink()
    (model / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(UserError, match=said):
        find("./model")


def test_a_folder_without_a_template_is_refused_when_it_is_prepared(find, model, tmp_path):
    drop_template(model)
    with pytest.raises(UserError, match=r"has no chat template: set training\.chat_template"):
        prepare(find("./model"), tmp_path / "prepared")


def test_with_a_template_of_the_users_a_new_folder_is_made(find, model, tmp_path):
    drop_template(model)
    before = sorted(file.name for file in model.iterdir())
    plain, with_template = find("./model"), find("./model", "chatml")
    assert with_template.digest != plain.digest
    assert find("./model", "plain").digest not in (plain.digest, with_template.digest)
    assert prepared_path(with_template, tmp_path / "prepared") is None

    made = prepare(with_template, tmp_path / "prepared")
    assert made.parent == tmp_path / "prepared"
    assert with_template.digest[:12] in made.name
    assert prepared_path(with_template, tmp_path / "prepared") == made
    from transformers import AutoTokenizer

    rendered = AutoTokenizer.from_pretrained(made).apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=False
    )
    assert rendered == "<|im_start|>user\nx<|im_end|>\n"
    assert (made / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert sorted(file.name for file in model.iterdir()) == before
    assert not list((tmp_path / "prepared").glob(".staging-*"))


def test_a_model_keeps_the_template_that_it_has(find, model, tmp_path):
    made = prepare(find("./model", "plain"), tmp_path / "prepared")
    own = (model / "chat_template.jinja").read_text()
    assert (made / "chat_template.jinja").read_text() == own


def test_a_template_in_the_tokenizers_configuration_counts(find, model, tmp_path):
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["chat_template"] = (model / "chat_template.jinja").read_text()
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    drop_template(model)
    assert prepare(find("./model"), tmp_path / "prepared") == model


def test_preparing_twice_makes_one_folder(find, model, tmp_path):
    ref = find("./model", "chatml")
    first = prepare(ref, tmp_path / "prepared")
    mark = first / "mark"
    mark.touch()
    assert prepare(ref, tmp_path / "prepared") == first
    assert mark.exists()


def test_concurrent_makers_end_with_one_whole_folder(find, model, tmp_path):
    ref = find("./model", "chatml")
    made: list[Path] = []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        made.append(prepare(ref, tmp_path / "prepared"))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1
    assert [folder.name for folder in (tmp_path / "prepared").iterdir()] == [made[0].name]


def test_what_a_killed_maker_left_is_no_model(find, model, tmp_path):
    ref = find("./model", "chatml")
    made = prepare(ref, tmp_path / "prepared")
    (made / "base_model.json").unlink()
    assert prepared_path(ref, tmp_path / "prepared") is None


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "chat_template.jinja"])
def test_the_digest_changes_when_a_file_changes(find, model, file):
    before = find("./model").digest
    assert find("./model").digest == before
    content = bytearray((model / file).read_bytes())
    content[-2] ^= 1
    (model / file).write_bytes(content)
    assert find("./model").digest != before


@pytest.mark.parametrize(
    "file", ["modeling.py", "inner/layers.py", "additional_chat_templates/x.jinja"]
)
def test_the_digest_covers_code_and_templates_beside_the_weights(find, model, file):
    before = find("./model").digest
    (model / file).parent.mkdir(exist_ok=True)
    (model / file).write_text("1")
    with_it = find("./model").digest
    assert with_it != before
    (model / file).write_text("2")
    assert find("./model").digest not in (before, with_it)


def test_the_digest_follows_the_content_not_the_place(find, model, tmp_path):
    before = find("./model").digest
    (model / "notes.bin").write_bytes(b"no part of the model")
    shutil.move(model, tmp_path / "moved")
    assert find("./moved").digest == before


# Names.


@pytest.mark.parametrize(
    "name",
    ["model", "a/b/c", "org/", "/", "hf://model", "oci://r/m", "s3://b/k", "org /m", "org/m@", ""],
)
def test_a_name_that_means_no_model_is_refused(find, name):
    with pytest.raises(UserError, match=r"training\.base_model: "):
        find(name)


def test_a_chat_template_that_is_none_is_refused(find, model):
    with pytest.raises(UserError, match="neither Jinja text nor one of"):
        find("./model", "chatmll")


# Files inside installed packages.


@pytest.fixture
def package(tmp_path, tiny_model, monkeypatch) -> str:
    """An installed package that carries a model folder, a GGUF file and another file."""
    name = "a_package_with_models"
    root = tmp_path / "site" / name
    shutil.copytree(tiny_model, root / "tiny")
    (root / "__init__.py").write_text("raise RuntimeError('reading data must not run code')")
    (root / "weights.gguf").write_bytes(b"GGUF")
    (root / "weights.bin").write_bytes(b"other")
    (tmp_path / "site" / "outside.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return name


def test_a_gguf_file_of_a_package_is_found_and_nothing_is_imported(find, package):
    ref = find(f"package://{package}/weights.gguf")
    assert ref.kind == "gguf"
    assert Path(ref.location).read_bytes() == b"GGUF"
    assert package not in sys.modules


def test_a_folder_of_a_package_is_a_model_folder(find, package, tiny_model):
    ref = find(f"package://{package}/tiny")
    assert ref.kind == "folder"
    assert ref.digest == find(str(tiny_model)).digest


def test_the_digest_of_a_gguf_file_is_of_its_content(find, package, tmp_path):
    before = find(f"package://{package}/weights.gguf").digest
    (tmp_path / "site" / package / "weights.gguf").write_bytes(b"GGUG")
    assert find(f"package://{package}/weights.gguf").digest != before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("PACKAGE/none.gguf", "the package has no file 'none.gguf'"),
        ("PACKAGE/../outside.gguf", "the package has no file '../outside.gguf'"),
        ("PACKAGE//etc/passwd", "the package has no file '/etc/passwd'"),
        ("PACKAGE/weights.bin", r"loaded as GGUF \(\.gguf\) only"),
        ("PACKAGE", "has no config.json"),
        ("no_such_package/x.gguf", "no installed package 'no_such_package'"),
        ("os/x.gguf", "no installed package 'os'"),
        ("a.b/x.gguf", "no installed package 'a.b'"),
        ("__main__/x.gguf", "no installed package '__main__'"),
        ("/x.gguf", "no installed package ''"),
    ],
)
def test_a_package_file_that_cannot_be_loaded_is_refused(find, package, path, said):
    with pytest.raises(UserError, match=said):
        find("package://" + path.replace("PACKAGE", package))


def test_a_link_out_of_the_package_is_no_file_of_it(find, package, tmp_path):
    site = tmp_path / "site"
    (site / package / "link.gguf").symlink_to(site / "outside.gguf")
    with pytest.raises(UserError, match=r"the package has no file 'link\.gguf'"):
        find(f"package://{package}/link.gguf")


# The hub, over real HTTP on this machine.


@pytest.fixture
def hub(monkeypatch, tiny_model):
    """A hub with the tiny model on its branch main, and an older one without a template on v0."""
    files = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    older = {name: content for name, content in files.items() if name != "chat_template.jinja"}
    with loopback_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.delenv("MY_HUB_TOKEN", raising=False)
        running.models["org/tiny"] = Repo({"main": {**files, "run.py": b"1"}, "v0": older})
        yield running


def main_commit(hub: LoopbackHub) -> str:
    return commit_of(hub.models["org/tiny"].branches["main"])


@pytest.mark.parametrize("name", ["org/tiny", "hf://org/tiny", "org/tiny@main"])
def test_a_hub_model_is_pinned_to_the_commit_that_its_name_means_now(find, hub, name):
    ref = find(name)
    assert (ref.kind, ref.location, ref.revision) == ("hub", "org/tiny", main_commit(hub))
    assert ref.digest == find(f"org/tiny@{main_commit(hub)}").digest
    assert ref.digest != find("org/tiny@v0").digest


def test_locating_downloads_nothing(find, hub):
    find("org/tiny")
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_a_hub_model_is_downloaded_without_its_code(find, hub, tmp_path, tiny_model):
    made = prepare(find("org/tiny"), tmp_path / "prepared")
    names = {file.name for file in made.iterdir()}
    assert "run.py" not in names
    assert {file.name for file in tiny_model.iterdir()} <= names
    assert (made / "model.safetensors").read_bytes() == (
        tiny_model / "model.safetensors"
    ).read_bytes()
    assert made.name.startswith("org--tiny-")


def test_a_pinned_model_that_was_prepared_needs_no_hub(find, hub, tmp_path):
    name = f"org/tiny@{main_commit(hub)}"
    ref = find(name)
    made = prepare(ref, tmp_path / "prepared")
    hub.requests.clear()
    assert find(name) == ref
    assert prepare(ref, tmp_path / "prepared") == made
    assert hub.requests == []


def test_so_does_one_with_a_template_of_the_users(find, hub, tmp_path):
    name = f"org/tiny@{commit_of(hub.models['org/tiny'].branches['v0'])}"
    ref = find(name, "chatml")
    prepare(ref, tmp_path / "prepared")
    hub.requests.clear()
    assert find(name, "chatml") == ref
    assert hub.requests == []


def test_a_hub_model_of_an_earlier_step_keeps_its_commit(find, hub, tmp_path):
    ref = find("org/tiny")
    hub.requests.clear()
    assert locate_again(ref, folder=tmp_path, models=tmp_path / "prepared") == ref
    assert hub.requests == []


def test_a_hub_model_without_a_template_gets_the_users(find, hub, tmp_path):
    with pytest.raises(UserError, match="has no chat template"):
        prepare(find("org/tiny@v0"), tmp_path / "prepared")
    assert list((tmp_path / "prepared").iterdir()) == []
    made = prepare(find("org/tiny@v0", "chatml"), tmp_path / "prepared")
    assert "im_start" in (made / "chat_template.jinja").read_text()


def test_a_pickled_hub_model_is_refused_before_it_is_downloaded(find, hub):
    hub.models["org/old"] = Repo(
        {"main": {"config.json": b"{}", "pytorch_model.bin": b"x", "tokenizer.json": b"{}"}}
    )
    with pytest.raises(UserError, match="pickled weights are not loaded"):
        find("org/old")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("org/none", "the hub has no model org/none, or it is private"),
        ("org/tiny@none", "org/tiny has no revision 'none'"),
    ],
)
def test_a_model_that_the_hub_does_not_have_is_refused(find, hub, name, said):
    with pytest.raises(UserError, match=said):
        find(name)


def test_a_gated_model_wants_a_token_which_no_message_shows(find, hub, tmp_path, monkeypatch):
    hub.models["org/tiny"].gated = True
    ref = find("org/tiny")
    monkeypatch.setenv("MY_HUB_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"org/tiny is gated: .* variable MY_HUB_TOKEN") as error:
        prepare(ref, tmp_path / "prepared")
    assert "hf_wrong" not in str(error.value)
    assert list((tmp_path / "prepared").iterdir()) == []
    monkeypatch.setenv("MY_HUB_TOKEN", TOKEN)
    assert prepare(ref, tmp_path / "prepared").is_dir()
    assert TOKEN not in "".join(
        file.read_text() for file in (tmp_path / "prepared").glob("*/*.json")
    )


def test_a_hub_that_does_not_answer_is_told(find, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"the hub cannot be reached \(.*HF_ENDPOINT"):
        find("org/tiny")


# The longest row.


def test_rows_longer_than_the_models_positions_are_refused(find, model):
    ref = find("./model")
    refuse_longer_rows(ref, model, 256)
    with pytest.raises(UserError, match=r"max_seq_len \(257\) is above the 256 positions"):
        refuse_longer_rows(ref, model, 257)
