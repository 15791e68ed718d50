"""Datasets of a hub, against a real HTTP server that speaks its interface."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.sources import hub as hub_source
from resources.sources.files import Fetched, SizeLimit, SourceUnavailableError
from resources.sources.uri import HubUri, parse_uri
from tests.support.loopback_hub import LoopbackHub, Repo, commit_of

ROW = b'{"messages": []}\n'
CARD = b"""---
configs:
- config_name: en
  data_files:
  - {split: train, path: "en/*.jsonl"}
  - {split: test, path: "en/held/*.jsonl"}
- config_name: de
  data_files: "de/**"
---
# Chats
"""
FILES = {
    "README.md": CARD,
    "en/1.jsonl": b"1\n",
    "en/2.jsonl": b"2\n",
    "en/held/1.jsonl": b"3\n",
    "de/a/1.json.gz": b"4\n",
    "de/image.png": b"5",
}


def read(uri: str, into: Path, max_bytes: int = 0) -> Fetched:
    parsed = parse_uri(uri)
    assert isinstance(parsed, HubUri)
    into.mkdir(exist_ok=True)
    return hub_source.fetch(
        parsed, into, SizeLimit(max_bytes), "FT_TEST_HUB_TOKEN", sleep=lambda _: None
    )


def names(fetched: Fetched) -> list[str]:
    return [file.name for file in fetched.files]


def test_a_public_dataset_is_read_at_a_commit(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/chats"] = Repo({"main": {"train.jsonl": ROW, "LICENSE": b"x"}})
    fetched = read("hf://org/chats", tmp_path)
    (file,) = fetched.files
    assert file.path == tmp_path / "train.jsonl"
    assert file.path.read_bytes() == ROW
    assert fetched.revision == commit_of({"train.jsonl": ROW, "LICENSE": b"x"})
    assert fetched.uri == "hf://org/chats"
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_a_dataset_without_an_organisation_is_read(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["chats"] = Repo({"main": {"rows.parquet": ROW}})
    assert names(read("hf://chats", tmp_path)) == ["rows.parquet"]


def test_a_config_is_chosen_by_name(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/chats"] = Repo({"main": FILES})
    english = read("hf://org/chats:en", tmp_path / "en")
    assert names(english) == ["en/1.jsonl", "en/2.jsonl"]
    assert english.notes == ("hf://org/chats:en: took the split train; left out test",)
    assert names(read("hf://org/chats:en#test", tmp_path / "test")) == ["en/held/1.jsonl"]
    assert names(read("hf://org/chats:de", tmp_path / "de")) == ["de/a/1.json.gz"]


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: LoopbackHub, tmp_path: Path):
    old, new = {"a.jsonl": b"old\n"}, {"a.jsonl": b"new\n"}
    hub.datasets["org/chats"] = Repo({"main": new, "v1": old, "refs/pr/1": old})
    for revision in ("v1", "refs/pr/1", commit_of(old)):
        fetched = read(f"hf://org/chats@{revision}", tmp_path / revision.replace("/", "-"))
        assert fetched.revision == commit_of(old)
        assert fetched.files[0].path.read_bytes() == b"old\n"


def test_a_branch_that_moves_meanwhile_does_not_mix_two_versions(hub: LoopbackHub, tmp_path: Path):
    old, new = {"a.jsonl": b"old\n", "b.jsonl": b"old\n"}, {"a.jsonl": b"n\n", "b.jsonl": b"n\n"}
    repo = hub.datasets["org/chats"] = Repo({"main": old})

    def push(request: str) -> None:
        if request.startswith("GET") and request.endswith("/a.jsonl"):
            repo.branches |= {"main": new, "before": old}

    hub.on_request = push
    fetched = read("hf://org/chats", tmp_path)
    assert repo.branches["main"] is new
    assert [file.path.read_bytes() for file in fetched.files] == [b"old\n", b"old\n"]
    assert fetched.revision == commit_of(old)


def test_a_config_or_split_that_is_not_there_is_refused_with_what_there_is(
    hub: LoopbackHub, tmp_path: Path
):
    hub.datasets["org/chats"] = Repo({"main": FILES})
    hub.datasets["org/plain"] = Repo({"main": {"train.jsonl": ROW, "test.jsonl": ROW}})
    for uri, message in (
        ("hf://org/chats:fr", "no config fr; the dataset card has en, de"),
        ("hf://org/chats", "has the configs en, de: name one"),
        ("hf://org/chats:en#dev", "no split dev; there is test, train"),
        ("hf://org/plain:en", "names no configs"),
        ("hf://org/plain#dev", "no split dev; there is test, train"),
        ("hf://org/plain#gold", "no split gold; there is test, train"),
    ):
        with pytest.raises(UserError, match=message):
            read(uri, tmp_path)
    assert not any("jsonl" in request for request in hub.requests)


def test_a_broken_download_is_resumed(hub: LoopbackHub, tmp_path: Path):
    content = ROW * 5000
    hub.datasets["org/chats"] = Repo({"main": {"a.jsonl": content}})
    hub.breaks["a.jsonl"] = [4000]
    (file,) = read("hf://org/chats", tmp_path).files
    assert file.path.read_bytes() == content
    assert hub.breaks["a.jsonl"] == [], "the connection was never broken"


def test_a_busy_hub_is_asked_again_after_the_wait_it_asks_for(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/chats"] = Repo({"main": {"a.jsonl": ROW}})
    hub.busy = [{"Retry-After": "7"}, {"Retry-After": "86400"}]
    waits: list[float] = []
    uri = HubUri("org/chats", None, None, None)
    hub_source.fetch(uri, tmp_path, SizeLimit(0), "FT_TEST_HUB_TOKEN", sleep=waits.append)
    assert waits == [7.0, 60.0]


def test_a_hub_that_stays_busy_is_worth_another_try(hub: LoopbackHub, tmp_path: Path):
    hub.busy = [{}] * 5
    with pytest.raises(SourceUnavailableError, match="answered 503: try again later"):
        read("hf://org/chats", tmp_path)


def test_a_missing_dataset_says_so(hub: LoopbackHub, tmp_path: Path):
    with pytest.raises(UserError, match=r"no such dataset, or it is private.*FT_TEST_HUB_TOKEN"):
        read("hf://org/none", tmp_path)


def test_a_missing_revision_says_so(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/chats"] = Repo({"main": {"a.jsonl": ROW}})
    with pytest.raises(UserError, match="no revision v9"):
        read("hf://org/chats@v9", tmp_path)


def test_a_gated_dataset_is_read_with_a_token(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.datasets["org/gated"] = Repo({"main": {"a.jsonl": ROW}}, gated=True)
    for token in ("", "hf_of_someone_else"):
        monkeypatch.setenv("FT_TEST_HUB_TOKEN", token)
        with pytest.raises(UserError, match="access to this dataset must be asked for"):
            read("hf://org/gated", tmp_path)
    monkeypatch.setenv("FT_TEST_HUB_TOKEN", hub.token)
    assert names(read("hf://org/gated", tmp_path)) == ["a.jsonl"]


def test_a_promised_digest_is_kept(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/chats"] = Repo({"main": {"a.jsonl": ROW}})
    hub.large.add("a.jsonl")
    (file,) = read("hf://org/chats", tmp_path / "good").files
    assert file.etag == file.sha256
    hub.corrupt.add("a.jsonl")
    for large in (True, False):  # its SHA-256, git's blob id
        if not large:
            hub.large.clear()
        with pytest.raises(SourceUnavailableError, match="other bytes than the hub promised"):
            read("hf://org/chats", tmp_path / "bad")
        assert list((tmp_path / "bad").iterdir()) == []


def test_a_dataset_above_the_limit_is_refused_before_it_is_read(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/chats"] = Repo({"main": {"a.jsonl": ROW, "b.jsonl": ROW}})
    with pytest.raises(UserError, match="limit"):
        read("hf://org/chats", tmp_path, max_bytes=len(ROW))
    assert not any("resolve" in request for request in hub.requests)


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_read(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub.datasets["org/chats"] = Repo({"main": {"a.jsonl": ROW, "b.jsonl": ROW}})
    room_for_one = shutil.disk_usage(tmp_path)._replace(free=len(ROW))
    monkeypatch.setattr("shutil.disk_usage", lambda _: room_for_one)
    with pytest.raises(UserError, match=r"^hf://org/chats: its .* MB do not fit into"):
        read("hf://org/chats", tmp_path)
    assert not any("resolve" in request for request in hub.requests)


def test_a_dataset_of_other_files_says_what_would_be_read(hub: LoopbackHub, tmp_path: Path):
    hub.datasets["org/tables"] = Repo({"main": {"a.csv": ROW}})
    with pytest.raises(UserError, match=r"holds no dataset file; one ends in \.jsonl"):
        read("hf://org/tables", tmp_path)


def test_a_hub_that_does_not_answer_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(SourceUnavailableError, match=r"cannot be reached: .*HF_ENDPOINT"):
        read("hf://org/chats", tmp_path)


def test_the_offline_switch_of_the_library_is_named(tmp_path: Path):
    """In a process of its own: the library reads the switch when it is imported."""
    code = (
        "import pathlib, sys\n"
        "from resources.errors import UserError\n"
        "from resources.sources import hub, files, uri\n"
        "try:\n"
        "    into = pathlib.Path(sys.argv[1])\n"
        "    hub.fetch(uri.parse_uri('hf://a/b'), into, files.SizeLimit(0), 'T')\n"
        "except UserError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("UserError hf://a/b: HF_HUB_OFFLINE is set")
