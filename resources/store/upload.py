"""A file into a bucket: a large one in parts, by several threads, going on where another broke off.

An object of the store is named by its content's digest, so that the parts of an upload that was
killed are parts of this very file: those that the server has are not sent again. Each part carries
its CRC-32, which the server checks. Belongs here: one file's way in. Does not belong here: which
files, and what they are of.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 makes its clients at run time: there are no types to name.
from __future__ import annotations

import base64
import hashlib
import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

PART = 16 << 20
"""Bytes of one part; S3 takes at most 10,000 of them, each at most 5 GiB."""
MAX_PARTS = 10_000
THREADS = 4
"""Each holds one part in memory."""


@dataclass(frozen=True)
class Unfinished:
    """An upload in parts that was begun and neither completed nor given up."""

    key: str
    upload_id: str
    began: datetime


@dataclass(frozen=True)
class _Part:
    """One part that the server has, as it must be named in the end."""

    number: int
    etag: str
    crc32: str

    def named(self) -> dict[str, Any]:
        return {"PartNumber": self.number, "ETag": self.etag, "ChecksumCRC32": self.crc32}


def put_file(client: Any, bucket: str, key: str, path: Path, metadata: dict[str, str]) -> None:
    """Write a small file as one object."""
    content = path.read_bytes()
    client.put_object(
        Bucket=bucket, Key=key, Body=content, Metadata=metadata, ChecksumCRC32=_crc32(content)
    )


def unfinished_uploads(client: Any, bucket: str, prefix: str) -> list[Unfinished]:
    """The uploads in parts below ``prefix`` that wait for their end, the oldest first."""
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    found = [
        Unfinished(str(entry["Key"]), str(entry["UploadId"]), entry["Initiated"])
        for page in pages
        for entry in page.get("Uploads", [])
    ]
    return sorted(found, key=lambda upload: (upload.began, upload.upload_id))


def put_in_parts(client: Any, bucket: str, key: str, path: Path, metadata: dict[str, str]) -> None:
    """Write a large file in parts; uses what an earlier upload to ``key`` has left."""
    begun = [upload for upload in unfinished_uploads(client, bucket, key) if upload.key == key]
    if begun:
        upload_id = begun[0].upload_id
    else:
        upload_id = client.create_multipart_upload(
            Bucket=bucket, Key=key, Metadata=metadata, ChecksumAlgorithm="CRC32"
        )["UploadId"]
    _Upload(client, bucket, key, path, upload_id).finish()


class _Upload:
    """One file on its way, under an upload id that the server knows."""

    def __init__(self, client: Any, bucket: str, key: str, path: Path, upload_id: str) -> None:
        self._client = client
        self._to = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
        self._size = path.stat().st_size
        self._part_size = max(PART, -(-self._size // MAX_PARTS))
        self._path = path
        self._buffers = threading.local()
        self._failed = threading.Event()

    def finish(self) -> None:
        there = self._parts_there()
        count = -(-self._size // self._part_size)
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            bring = partial(self._bring, descriptor, there)
            with ThreadPoolExecutor(THREADS) as pool:
                parts = list(pool.map(bring, range(1, count + 1)))
        finally:
            os.close(descriptor)
        self._client.complete_multipart_upload(
            **self._to, MultipartUpload={"Parts": [part.named() for part in parts if part]}
        )

    def _parts_there(self) -> set[tuple[int, int, str]]:
        """Number, size and ETag of the parts that the server has; some list a replaced one too."""
        pages = self._client.get_paginator("list_parts").paginate(**self._to)
        return {
            (int(part["PartNumber"]), int(part["Size"]), str(part["ETag"]))
            for page in pages
            for part in page.get("Parts", [])
        }

    def _bring(
        self, descriptor: int, there: set[tuple[int, int, str]], number: int
    ) -> _Part | None:
        """See to it that the server has a part; None after another one has failed."""
        if self._failed.is_set():
            return None
        try:
            content = self._read(descriptor, number)
            crc32 = _crc32(content)
            if there and (number, len(content), etag := _etag(content)) in there:
                return _Part(number, etag, crc32)
            answer = self._client.upload_part(
                **self._to, PartNumber=number, Body=content, ChecksumCRC32=crc32
            )
            return _Part(number, str(answer["ETag"]), crc32)
        except BaseException:
            self._failed.set()
            raise

    def _read(self, descriptor: int, number: int) -> bytearray:
        """A part of the file, in this thread's own memory, used again for the next."""
        start = (number - 1) * self._part_size
        length = min(self._part_size, self._size - start)
        buffer = getattr(self._buffers, "content", None)
        if buffer is None or len(buffer) != length:
            self._buffers.content = buffer = bytearray(length)
        view, position = memoryview(buffer), 0
        while position < length:
            count = os.preadv(descriptor, [view[position:]], start + position)
            if not count:
                raise OSError(f"{self._path} became shorter while it was uploaded")
            position += count
        return buffer


def _crc32(content: bytes | bytearray) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def _etag(content: bytes | bytearray) -> str:
    """The ETag that most servers give a part. Where they do not, it is only sent again."""
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
