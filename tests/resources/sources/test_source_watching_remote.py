"""Watching files over HTTPS, hub datasets and models, and packages for new versions."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from resources.errors import UserError
from resources.sources import Sources, SourceUnavailableError
from resources.sources.drops import DropVersion
from tests.support.loopback_hub import LoopbackHub, Repo, commit_of, served

BODY = b'{"messages": []}\n'
LATER = {"Last-Modified": "Sat, 01 Aug 2026 10:00:00 GMT"}
SOON = {"Last-Modified": "Sat, 01 Aug 2026 10:00:01 GMT"}


@dataclass
class Server:
    """A local server of one file."""

    url: str
    head: int = 200
    get: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    methods: list[str] = field(default_factory=list[str])


@pytest.fixture
def server() -> Generator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.methods.append(self.command)
            status = state.head if self.command == "HEAD" else state.get
            self.send_response(status)
            headers = {"Content-Length": str(len(BODY))} | (state.headers if status == 200 else {})
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(BODY)
                self.close_connection = True  # as the one who asked does

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    with served(Handler) as endpoint:
        state = Server(f"{endpoint}/rows.jsonl?sig=secret")
        yield state


@pytest.fixture
def sources() -> Sources:
    return Sources(data_roots=[], allow_private_addresses=True)


def found(version: DropVersion | None) -> DropVersion:
    assert version is not None
    return version


def look(sources: Sources, server: Server, **headers: str) -> DropVersion:
    server.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return found(sources.drop_version(server.url, None))


def test_a_file_over_https_has_the_version_of_its_etag(sources: Sources, server: Server):
    first = look(sources, server, ETag='"a"', **SOON)
    assert (first.files, first.bytes, len(first.token)) == (1, len(BODY), 64)
    assert look(sources, server, ETag='"a"', **LATER) == first, "two servers, two clocks"
    assert look(sources, server, ETag='"b"', **SOON) != first
    assert server.methods == ["HEAD"] * 3


def test_without_an_etag_the_time_tells_the_version(sources: Sources, server: Server):
    first = look(sources, server, **SOON)
    assert look(sources, server, **SOON) == first
    assert look(sources, server, **LATER) != first


def test_a_server_that_refuses_head_is_asked_for_the_headers_of_get(
    sources: Sources, server: Server
):
    by_head = look(sources, server, ETag='"a"')
    server.head = 403  # a presigned URL is signed for one method
    assert look(sources, server, ETag='"a"') == by_head
    assert server.methods == ["HEAD", "HEAD", "GET"]


def test_a_file_that_is_not_there_has_no_version(sources: Sources, server: Server):
    server.head = 404
    assert sources.drop_version(server.url, None) is None


def test_a_server_that_tells_no_version_is_refused(sources: Sources, server: Server):
    with pytest.raises(UserError, match="neither ETag nor Last-Modified") as caught:
        look(sources, server)
    assert "secret" not in str(caught.value)


def test_a_login_page_is_no_version(sources: Sources, server: Server):
    with pytest.raises(UserError, match="web page"):
        look(sources, server, ETag='"a"', Content_Type="text/html")


def test_a_busy_server_may_answer_later(sources: Sources, server: Server):
    server.head = 503
    with pytest.raises(SourceUnavailableError, match="503"):
        look(sources, server)


def test_a_private_address_is_refused(server: Server):
    with pytest.raises(UserError, match="refused"):
        Sources(data_roots=[]).drop_version(server.url, None)


def test_a_partition_is_filled_into_a_url(sources: Sources, server: Server):
    server.headers = {"ETag": '"a"'}
    template = server.url.replace("rows", "{partition}")
    assert sources.drop_version(template, "d1") is not None


def test_a_hub_dataset_has_the_version_of_its_commit(sources: Sources, hub: LoopbackHub):
    files = {"train.jsonl": b"{}"}
    repo = hub.datasets["org/rows"] = Repo({"main": files, "other": {}})
    first = found(sources.drop_version("hf://org/rows", None))
    assert found(sources.drop_version("hf://org/rows@main", None)) == first
    assert found(sources.drop_version("hf://org/rows@other", None)) != first
    asked = len(hub.requests)
    assert found(sources.drop_version(f"hf://org/rows@{commit_of(files)}", None)) == first
    assert len(hub.requests) == asked, "a commit cannot move"
    repo.branches["main"] = files | {"train.jsonl": b"{}\n"}
    assert found(sources.drop_version("hf://org/rows", None)) != first


def test_a_hub_dataset_that_is_missing_or_busy_is_an_error(sources: Sources, hub: LoopbackHub):
    with pytest.raises(UserError, match="no such dataset"):
        sources.drop_version("hf://org/none", None)
    hub.datasets["org/rows"] = Repo({"main": {}})
    with pytest.raises(UserError, match="no revision gone"):
        sources.drop_version("hf://org/rows@gone", None)
    hub.busy.append({})
    with pytest.raises(SourceUnavailableError, match="503"):
        sources.drop_version("hf://org/rows", None)


def test_a_base_model_of_the_hub_stands_at_a_commit(sources: Sources, hub: LoopbackHub):
    old, new = {"config.json": b"{}"}, {"config.json": b"{ }"}
    hub.models["org/model"] = Repo({"main": old, "v2": new})
    assert sources.hub_model_revision("org/model") == commit_of(old)
    assert sources.hub_model_revision("hf://org/model@v2") == commit_of(new)
    hub.models["org/model"].branches["main"] = new
    assert sources.hub_model_revision("org/model") == commit_of(new)
    with pytest.raises(UserError, match=r"org/none.* no such model"):
        sources.hub_model_revision("org/none")


@pytest.mark.parametrize(
    "name", [f"org/model@{'a' * 40}", "./model", "/models/a", "../a/b", "~/a", "package://p/f.gguf"]
)
def test_a_base_model_that_cannot_move_has_no_revision(
    sources: Sources, hub: LoopbackHub, name: str
):
    assert sources.hub_model_revision(name) is None
    assert hub.requests == []


def test_a_package_file_changes_with_its_content(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "watched_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rows.jsonl").write_bytes(b"{}\n")
    monkeypatch.syspath_prepend(tmp_path)
    first = found(sources.drop_version("package://watched_package/rows.jsonl", None))
    assert (first.files, first.bytes) == (1, 3)
    (package / "rows.jsonl").write_bytes(b"{}\n{}\n")
    assert found(sources.drop_version("package://watched_package/rows.jsonl", None)) != first
