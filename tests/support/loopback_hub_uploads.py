"""The part of a Hugging Face hub that takes uploads, on this machine, for tests.

``hf upload`` and ``upload_folder`` speak with it over real HTTP: they create a repository, have the
card's header checked, ask which files are large, send those by LFS and commit. What was committed
is read back as the loopback hub serves it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

import yaml

from tests.support.loopback_hub import LoopbackHub, Repo, commit_of, served

LARGE = 10_000
"""Bytes from which this hub wants a file by LFS."""

_HEADER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_DATASET_TYPE = re.compile(r"(?:[\w-]+/)?[\w.-]+", re.ASCII)


class UploadHub(LoopbackHub):
    """A running hub that takes uploads. ``models`` holds what was committed."""


@contextmanager
def upload_hub() -> Generator[UploadHub]:
    """Serve a hub on a free port of this machine until the block ends."""

    class Handler(_Handler):
        objects: dict[str, bytes] = {}  # noqa: RUF012  (one hub, one class)

    with served(Handler) as endpoint:
        Handler.hub = UploadHub(endpoint)
        yield Handler.hub


class _Handler(BaseHTTPRequestHandler):
    hub: UploadHub
    objects: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self._path()
        if path == "api/whoami-v2":
            self._json({"name": "somebody", "type": "user", "orgs": []})
        elif path.startswith("api/models/"):
            name = "/".join(path.split("/")[2:4])
            repo = self.hub.models.get(name)
            self._json({"id": name, "sha": "0" * 40} if repo else {}, 200 if repo else 404)
        else:
            self._json({}, 404)

    def do_PUT(self) -> None:
        oid, content = self._path().removeprefix("lfs/"), self._body()
        if hashlib.sha256(content).hexdigest() != oid:
            self._json({"error": "the bytes are not those that were announced"}, 422)
            return
        self.objects[oid] = content
        self._json({})

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._json({"error": "unauthorized"}, 401)
        elif path == "api/repos/create":
            self._create(json.loads(body))
        elif path == "api/validate-yaml":
            self._validate(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            self._json({"files": modes})
        elif "/commit/" in path:
            self._commit(path, [json.loads(line) for line in body.splitlines()])
        else:
            self._json({"error": f"no such endpoint: {path}"}, 404)

    def _create(self, asked: dict[str, str]) -> None:
        name = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
        known = name in self.hub.models
        self.hub.models.setdefault(name, Repo({"main": {}}))
        self._json({"url": f"{self.hub.endpoint}/{name}"}, 409 if known else 200)

    def _validate(self, asked: dict[str, str]) -> None:
        """What the hub is known to refuse: no YAML, and results without a name or a type."""
        header = _HEADER.match(asked["content"])
        errors: list[str] = []
        try:
            data = yaml.safe_load(header[1]) if header else {}
        except yaml.YAMLError as error:
            data, errors = {}, [str(error)]
        for model in data.get("model-index", []):
            for result in model["results"]:
                if not _DATASET_TYPE.fullmatch(str(result["dataset"]["type"])):
                    errors.append(f"dataset.type {result['dataset']['type']!r}")
                if not all(isinstance(m["value"], int | float) for m in result["metrics"]):
                    errors.append("a metric's value is no number")
        messages = [{"message": message} for message in errors]
        self._json({"errors": messages, "warnings": []}, 400 if errors else 200)

    def _batch(self, asked: dict[str, list[dict[str, object]]]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, path: str, lines: list[dict[str, dict[str, str]]]) -> None:
        name = "/".join(path.split("/")[2:4])
        repo = self.hub.models[name]
        files = dict(repo.branches["main"])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        repo.branches["main"] = files
        commit = commit_of(files)
        url = f"{self.hub.endpoint}/{name}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "success": True})

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet: the requests are kept for the tests."""
