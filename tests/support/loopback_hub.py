"""A Hugging Face hub on this machine, for tests: datasets and models from memory, over real HTTP.

It speaks the part of the hub's interface that huggingface_hub uses to read: repository information,
the file tree, and files with ranges. Private and gated repositories want a token. It can break off,
be busy, and move a branch between two requests, as a real one does.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass
class Repo:
    """A repository: its commits by branch or tag name, and who may read it."""

    branches: dict[str, Files]
    gated: bool = False

    def files(self, revision: str) -> tuple[str, Files] | None:
        """Commit and files of a branch, a tag or a commit."""
        for name, files in self.branches.items():
            commit = commit_of(files)
            if revision in {name, commit}:
                return commit, files
        return None


def commit_of(files: Files) -> str:
    """The commit of these files: 40 hexadecimal digits that follow from the content."""
    parts = (f"{name}\0".encode() + content for name, content in sorted(files.items()))
    return hashlib.sha1(b"\0".join(parts)).hexdigest()


@dataclass
class LoopbackHub:
    """A running hub. Repositories may be added while it runs."""

    endpoint: str
    token: str = "hf_loopback"
    datasets: dict[str, Repo] = field(default_factory=dict[str, Repo])
    models: dict[str, Repo] = field(default_factory=dict[str, Repo])
    large: set[str] = field(default_factory=set[str])
    """Names of files that count as large ones, whose digest the hub promises."""
    corrupt: set[str] = field(default_factory=set[str])
    """Names of files that are sent with other bytes than the hub promises."""
    breaks: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """By file name, for the next downloads of it: after how many bytes the connection closes."""
    busy: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """The next requests are answered 503 with these headers, one each."""
    on_request: Callable[[str], None] | None = None
    """Called with each request, as in ``requests``, before it is answered."""
    requests: list[str] = field(default_factory=list[str])
    """What was asked for, as ``METHOD path``."""


@contextmanager
def loopback_hub() -> Generator[LoopbackHub]:
    """Serve a hub on a free port of this machine until the block ends."""

    class Handler(_Handler):
        pass

    with served(Handler) as endpoint:
        Handler.hub = LoopbackHub(endpoint)
        yield Handler.hub


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Generator[str]:
    """Answer with ``handler`` on a free port of this machine; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.on_request is not None:
            self.hub.on_request(self.hub.requests[-1])
        if self.hub.busy:
            self._error(503, "Busy", self.hub.busy.pop(0))
            return
        if path.startswith("api/"):
            kind, _, rest = path.removeprefix("api/").partition("/")
            repos = self.hub.datasets if kind == "datasets" else self.hub.models
            self._api(repos, rest)
        elif path.startswith("datasets/"):
            self._resolve(self.hub.datasets, path.removeprefix("datasets/"))
        else:
            self._resolve(self.hub.models, path)

    do_HEAD = do_GET  # noqa: N815

    def _api(self, repos: dict[str, Repo], rest: str) -> None:
        """``NAME``, ``NAME/revision/REVISION``, ``NAME/tree/REVISION`` or the tree of a folder."""
        found = self._find(repos, rest)
        if found is None:
            return
        name, repo, action = found
        verb, _, revision = action.partition("/")
        folder = ""
        if verb == "tree" and repo.files(revision) is None:
            revision, _, folder = revision.partition("/")
        commit_files = repo.files(revision or "main")
        if commit_files is None:
            self._error(404, "RevisionNotFound")
            return
        commit, files = commit_files
        if verb == "tree":
            start = f"{folder}/" if folder else ""
            inside = {path: files[path] for path in sorted(files) if path.startswith(start)}
            if folder and not inside:
                self._error(404, "EntryNotFound")
                return
            self._json([self._entry(path, content) for path, content in inside.items()])
        else:
            siblings = [{"rfilename": path} for path in sorted(files)]
            self._json({"id": name, "sha": commit, "siblings": siblings, "gated": repo.gated})

    def _entry(self, path: str, content: bytes) -> dict[str, object]:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, object] = {
            "type": "file",
            "path": path,
            "size": len(content),
            "oid": blob,
        }
        if path in self.hub.large:
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
        return entry

    def _resolve(self, repos: dict[str, Repo], rest: str) -> None:
        """``NAME/resolve/REVISION/PATH``."""
        found = self._find(repos, rest)
        if found is None:
            return
        _, repo, action = found
        if repo.gated and not self._has_token():
            self._error(403 if self.headers.get("Authorization") else 401, "GatedRepo")
            return
        _, revision, path = action.split("/", 2)
        commit_files = repo.files(revision)
        if commit_files is None:
            self._error(404, "RevisionNotFound")
            return
        commit, files = commit_files
        if path not in files:
            self._error(404, "EntryNotFound")
            return
        content = files[path]
        if path in self.hub.corrupt:
            content = content[::-1]
        cuts = self.hub.breaks.get(path, []) if self.command == "GET" else []
        cut = cuts.pop(0) if cuts else None
        self._content(
            content, {"ETag": f'"{commit_of({path: content})}"', "X-Repo-Commit": commit}, cut
        )

    def _find(self, repos: dict[str, Repo], rest: str) -> tuple[str, Repo, str] | None:
        """Name, repository and what follows the name; answers 401, as the hub does, if none."""
        for name, repo in repos.items():
            if rest == name or rest.startswith(f"{name}/"):
                return name, repo, rest.removeprefix(name).strip("/")
        self._error(401, "RepoNotFound")
        return None

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _json(self, value: object) -> None:
        self._content(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _content(self, content: bytes, headers: Mapping[str, str], cut: int | None = None) -> None:
        span = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        start = int(span) if span else 0
        self.send_response(206 if span else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if span:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[start:][:cut])
        self.close_connection = cut is not None

    def _error(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"X-Error-Code": code, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet: the requests are kept for the tests."""
