"""One object in ranges: what has landed is hashed in order, and one failure ends all of it.

The server is a made-up one here, since the order in which ranges land is what matters.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resources.sources import s3_download
from resources.sources.s3_download import Version, download

PART = 1 << 16


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_download, "PART", PART)


class Server:
    """Answers a request for a range with what ``body`` makes of its number and its bytes."""

    def __init__(self, content: bytes, body: Callable[[int, bytes], Any]) -> None:
        self.content, self.body = content, body
        self.requests = 0

    def get_object(self, *, Range: str, IfMatch: str, **_: str) -> dict[str, Any]:  # noqa: N803
        self.requests += 1
        first, last = (int(place) for place in Range.removeprefix("bytes=").split("-"))
        found = self.content[first : last + 1]
        return {
            "ETag": IfMatch,
            "ContentRange": f"bytes {first}-{last}/{len(self.content)}",
            "ContentLength": len(found),
            "Body": self.body(first // PART, found),
        }

    def version(self) -> Version:
        return Version("bucket", "a.jsonl", len(self.content), '"etag"')


class Slow(io.BytesIO):
    """Gives its first bytes, and the others when they may come."""

    def __init__(self, content: bytes, may_go_on: threading.Event) -> None:
        super().__init__(content)
        self.may_go_on = may_go_on

    def read(self, amount: int | None = -1) -> bytes:
        if self.tell():
            assert self.may_go_on.wait(30)
        return super().read(amount if self.tell() else 1000)


class Hashing:
    """SHA-256 that says when it begins, and fails if it is told to."""

    def __init__(self, began: threading.Event, fails: bool = False) -> None:
        self.sha256 = hashlib.sha256()
        self.began, self.fails = began, fails

    def update(self, data: memoryview) -> None:
        self.began.set()
        if self.fails:
            raise ZeroDivisionError
        self.sha256.update(data)

    def hexdigest(self) -> str:
        return self.sha256.hexdigest()


def test_what_has_not_landed_is_not_hashed_although_what_comes_after_it_has(tmp_path: Path):
    began, content = threading.Event(), bytes(range(1, 251)) * 1000
    server = Server(content, lambda part, found: io.BytesIO(found) if part else Slow(found, began))
    digest = download(server, server.version(), tmp_path / "a", lambda: Hashing(began))
    assert (tmp_path / "a").read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()


def test_a_digest_that_fails_ends_the_download(tmp_path: Path):
    began, parts = threading.Event(), 1000
    server = Server(
        bytes(parts * PART),
        lambda part, found: io.BytesIO(found) if part == 0 else Slow(found, began),
    )
    with pytest.raises(ZeroDivisionError):
        download(server, server.version(), tmp_path / "a", lambda: Hashing(began, fails=True))
    assert server.requests < parts
    assert list(tmp_path.iterdir()) == []
