"""One S3 object into a file: ranges by several threads, hashed in order while they arrive.

Each range asks for the version that was seen first (If-Match on its ETag), and each answer is
checked to be that version, for servers that ignore the condition. A range that breaks off is
resumed where it stopped. The calling thread hashes what has landed, read back from the page cache:
memory stays at one block per thread, and the digest is done when the last byte is.

boto3's transfer manager does not do this: it holds whole parts in memory, passes every block
through a queue to one writer, and its file must be read again for a digest.
"""

# boto3 and its parts ship no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from resources.sources.retries import ATTEMPTS, wait_before_retry

PART = 32 << 20
"""Bytes of one range: each request costs milliseconds of this process."""
THREADS = min(8, 2 * (os.cpu_count() or 4))
"""One connection to a distant server is slower than the network; of more than two per core, some
wait for the others."""
_BLOCK = 1 << 18
"""Bytes that are written at a time: smaller ones wait more often for each other, and for much
larger ones the system looks long for room."""
_GONE = {"NoSuchKey", "404", "PreconditionFailed", "412", "InvalidRange", "416"}
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class Hasher(Protocol):
    """What ``hashlib`` and ``blake3`` make."""

    def update(self, data: memoryview, /) -> object:
        """Add bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes that were added."""
        ...


class ChangedError(Exception):
    """The object is not the version that was asked for any more."""


class CorruptError(Exception):
    """The bytes that arrived are not those that the server's MD5 names."""


@dataclass(frozen=True)
class Version:
    """One object as it was when it was listed."""

    bucket: str
    key: str
    size: int
    etag: str


@dataclass
class _Parts:
    """Which ranges are taken and how far each has landed. Shared by the threads."""

    size: int
    taken: int = 0
    reached: dict[int, int] = field(default_factory=dict[int, int])
    """By the first byte of a range that has begun: how far it has come."""
    first: int = 0
    """First byte of the first range that is not done."""
    complete: int = 0
    """Bytes from the start without a gap."""
    failure: BaseException | None = None
    hashes_are_md5: bool = True
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self) -> tuple[int, int] | None:
        """First byte and end of the next range; None when there is none, or one has failed."""
        with self.changed:
            start = self.taken * PART
            if start >= self.size or self.failure is not None:
                return None
            self.taken += 1
            return start, min(start + PART, self.size)

    def reach(self, start: int, position: int) -> None:
        """Say that the range from ``start`` has landed up to ``position``."""
        with self.changed:
            self.reached[start] = position
            if start != self.first:
                return
            while self.reached.get(self.first) == min(self.first + PART, self.size):
                self.first = self.reached.pop(self.first)
            self.complete = self.reached.get(self.first, self.first)
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify_all()

    def wait_beyond(self, position: int) -> int:
        """Bytes that are complete, more than ``position``; raises what a thread has met."""
        with self.changed:
            self.changed.wait_for(lambda: self.complete > position or self.failure is not None)
            if self.failure is not None:
                raise self.failure
            return self.complete


def download(
    client: Any,
    version: Version,
    target: Path,
    hasher: Callable[[], Hasher],
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Write the object to ``target``, which appears when it is complete; its digest.

    Args:
        client: boto3's, of S3.
        version: what is wanted.
        target: a path in a folder that exists.
        hasher: makes what computes the digest, such as ``hashlib.sha256``.
        sleep: waits before what failed is tried again.

    Raises:
        ChangedError: it was written again, or removed.
        CorruptError: other bytes arrived than its MD5 names.
        botocore's errors: the server refuses, or fails at every attempt.
    """
    part_file = target.with_name(f".{target.name}.part")
    descriptor = os.open(part_file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        try:
            reader = _Reader(client, version, descriptor, sleep)
            digest = reader.read(hasher())
        finally:
            os.close(descriptor)
        part_file.replace(target)
    finally:
        part_file.unlink(missing_ok=True)
    return digest


class _Reader:
    """Reads one version of an object into an open file."""

    def __init__(
        self, client: Any, version: Version, descriptor: int, sleep: Callable[[float], None]
    ) -> None:
        self._client = client
        self._version = version
        self._descriptor = descriptor
        self._sleep = sleep
        self._parts = _Parts(version.size)
        self._writing = threading.Lock()

    def read(self, hasher: Hasher) -> str:
        count = min(THREADS, -(-self._version.size // PART))
        threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            return self._hash(hasher)
        except BaseException as error:
            self._parts.fail(error)  # the threads stop at their next block
            raise
        finally:
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        try:
            while (part := self._parts.take()) is not None:
                self._fetch(*part)
        except BaseException as error:  # raised again by the caller
            self._parts.fail(error)

    def _fetch(self, start: int, end: int) -> None:
        """One range, resumed where it broke off."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        position = start
        for attempt in range(1, ATTEMPTS + 1):
            body = self._open(position, end)
            try:
                while block := body.read(_BLOCK):  # to its end, so that the connection is kept
                    position += self._write(block, position)
                    self._parts.reach(start, position)
                    if self._parts.failure is not None:
                        return
            except (HTTPClientError, IncompleteReadError):
                if attempt == ATTEMPTS:
                    raise
            finally:
                body.close()
            if position == end:
                return
            self._sleep(wait_before_retry(attempt))
        raise IncompleteReadError(actual_bytes=position - start, expected_bytes=end - start)

    def _open(self, start: int, end: int) -> Any:
        """The bytes of a range of the wanted version; the client retries what it can itself."""
        from botocore.exceptions import ClientError

        version = self._version
        try:
            answer = self._client.get_object(
                Bucket=version.bucket,
                Key=version.key,
                Range=f"bytes={start}-{end - 1}",
                IfMatch=version.etag,
            )
        except ClientError as error:
            if error_code(error) in _GONE:
                raise ChangedError from error
            raise
        if answer.get("SSEKMSKeyId") or answer.get("SSECustomerAlgorithm"):
            self._parts.hashes_are_md5 = False
        seen = answer["ETag"], answer.get("ContentRange"), answer["ContentLength"]
        if seen != (version.etag, f"bytes {start}-{end - 1}/{version.size}", end - start):
            answer["Body"].close()
            raise ChangedError
        return answer["Body"]

    def _write(self, block: bytes, position: int) -> int:
        left = memoryview(block)
        while left:
            # The system lets one at a time write into a file, and has the others burn their turn.
            with self._writing:
                written = os.pwrite(self._descriptor, left, position)
            left, position = left[written:], position + written
        return len(block)

    def _hash(self, hasher: Hasher) -> str:
        """Digest of the file, and its MD5 where the ETag is one, as far as it has landed."""
        promised = _md5_of(self._version)
        md5 = hashlib.md5(usedforsecurity=False)
        block = bytearray(_BLOCK)
        view = memoryview(block)
        position = 0
        while position < self._version.size:
            complete = self._parts.wait_beyond(position)
            while position < complete:
                wanted = view[: min(_BLOCK, complete - position)]
                count = os.preadv(self._descriptor, [wanted], position)
                hasher.update(view[:count])
                if promised is not None:
                    md5.update(view[:count])
                position += count
        if promised is not None and self._parts.hashes_are_md5 and md5.hexdigest() != promised:
            raise CorruptError
        return hasher.hexdigest()


def error_code(error: Any) -> str:
    """S3's own name of a client error, such as ``NoSuchKey``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _md5_of(version: Version) -> str | None:
    """The MD5 that an ETag is, where it is one: not for parts, nor in a directory bucket."""
    match = _MD5.fullmatch(version.etag)
    if match is None or version.size == 0 or version.bucket.endswith("--x-s3"):
        return None
    return match.group(1)
