"""Stores of drops for the tests of the new-data sensor: a folder, and a prefix on an S3 server.

What a source does that no test can bring about from outside is switched on in ``LISTS_TWICE`` and
``HUB``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from resources.sources import Sources, SourceUnavailableError
from resources.sources.drops import DropPage


class Store(Protocol):
    """Where drops lie: one folder each."""

    uri: str
    sources: Sources

    def put(self, drop: str, file: str, content: bytes) -> None: ...
    def delete(self, drop: str) -> None: ...
    def clear(self) -> None: ...


class FolderStore:
    """A folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"{root}/{{partition}}/"
        self.sources = _Sources(data_roots=[str(root)])
        root.mkdir(parents=True, exist_ok=True)

    def put(self, drop: str, file: str, content: bytes) -> None:
        path = self.root / drop / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def delete(self, drop: str) -> None:
        shutil.rmtree(self.root / drop, ignore_errors=True)

    def clear(self) -> None:
        shutil.rmtree(self.root)
        self.root.mkdir()


class S3Store:
    """A prefix on an S3 server."""

    def __init__(self, client: Any, bucket: str, endpoint_url: str) -> None:
        self._client, self._bucket = client, bucket
        self.uri = f"s3://{bucket}/in/{{partition}}/"
        self.sources = _Sources(data_roots=[], s3_endpoint_url=endpoint_url, s3_region="us-east-1")

    def put(self, drop: str, file: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"in/{drop}/{file}", Body=content)

    def delete(self, drop: str) -> None:
        for key in self._keys(f"in/{drop}/"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def clear(self) -> None:
        for key in self._keys("in/"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _keys(self, prefix: str) -> list[str]:
        listed = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix)
        return [item["Key"] for item in listed.get("Contents", ())]


class _Sources(Sources):
    """The real source; a listing can repeat what stands before the position, and a hub be moved."""

    def hub_model_revision(self, base_model: str) -> str | None:
        if base_model not in HUB:
            return super().hub_model_revision(base_model)
        if not (commit := HUB[base_model]):
            raise SourceUnavailableError("the hub does not answer")
        return commit

    def drop_pages(self, uri_template: str, positions: Sequence[str], **how: Any) -> list[DropPage]:
        pages = super().drop_pages(uri_template, positions, **how)
        if not LISTS_TWICE:
            return pages
        (again,) = super().drop_pages(uri_template, [""], **how)
        return [DropPage({**again.drops, **page.drops}, page.position, page.end) for page in pages]


LISTS_TWICE: list[bool] = []
"""Not empty: the next listings name objects that they have named before."""

HUB: dict[str, str] = {}
"""The commits of base models, by name; an empty one: the hub does not answer. Others are real."""
