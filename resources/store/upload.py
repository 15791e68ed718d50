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
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

PART = 16 << 20
"""Bytes of one part; S3 takes at most 10,000 of them, each at most 5 GiB."""
MAX_PARTS = 10_000
THREADS = 4
"""A server is busy with several parts at a time, and a distant one slower than the network."""
_BLOCK = 1 << 18
"""Bytes of a part that a thread holds at a time."""


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
    checksum = _in_base64(zlib.crc32(content))
    client.put_object(
        Bucket=bucket, Key=key, Body=content, Metadata=metadata, ChecksumCRC32=checksum
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
            start = (number - 1) * self._part_size
            length = min(self._part_size, self._size - start)
            content = _Content(self._path, descriptor, start, length)
            crc32 = content.crc32()
            if there and (number, length, etag := content.etag()) in there:
                return _Part(number, etag, crc32)
            answer = self._client.upload_part(
                **self._to, PartNumber=number, Body=content, ChecksumCRC32=crc32
            )
            return _Part(number, str(answer["ETag"]), crc32)
        except BaseException:
            self._failed.set()
            raise


class _Content:
    """The bytes of a part, as the client reads them: from the file, a block at a time."""

    def __init__(self, path: Path, descriptor: int, start: int, length: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._start = start
        self._length = length
        self._position = 0

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """The next bytes; more than ``size`` where that is little.

        The client asks for 16 KiB at a time and takes what it gets: it costs more to ask than to
        send them.
        """
        left = self._length - self._position
        wanted = left if size < 0 else min(left, max(size, _BLOCK))
        block = os.pread(self._descriptor, wanted, self._start + self._position)
        if wanted and not block:
            raise OSError(f"{self._path} became shorter while it was uploaded")
        self._position += len(block)
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the part; the client begins again when a request failed."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """The place of the next byte."""
        return self._position

    def crc32(self) -> str:
        """As S3 writes it."""
        checksum = 0
        for block in self._blocks():
            checksum = zlib.crc32(block, checksum)
        return _in_base64(checksum)

    def etag(self) -> str:
        """The ETag that most servers give a part. Where they do not, it is only sent again."""
        md5 = hashlib.md5(usedforsecurity=False)
        for block in self._blocks():
            md5.update(block)
        return f'"{md5.hexdigest()}"'

    def _blocks(self) -> Iterator[bytes]:
        """All of it, and back to its start."""
        self.seek(0)
        while block := self.read(_BLOCK):
            yield block
        self.seek(0)


def _in_base64(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()
