"""The few S3 operations that the artifact store needs, through boto3.

Belongs here: the client, and S3's errors in words. Does not belong here: what an artifact is.
Credentials come from boto3's own chain: environment, profile or the pod's role.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 makes its clients at run time: there are no types to name.
from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resources.errors import UserError
from resources.sources.s3_download import ChangedError, CorruptError, Hasher, Version, download
from resources.store.s3_client import Clients, Service, connect
from resources.store.upload import PART, put_file, put_in_parts, unfinished_uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_ABSENT = {"NoSuchKey", "404", "NotFound"}
_REFUSED = {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_PRECONDITION_FAILED = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "409"}
_FAILING = {"InternalError", "500", "502", "ServiceUnavailable", "503", "SlowDown", "504"}
_GONE = {"NoSuchUpload"}
_ATTEMPTS = 5
_TIMEOUT_SECONDS = 60.0
_BLOCK = 1 << 20
_SHA256 = "sha256"  # kept with each object, so that what is there is not uploaded again


class UnreachableError(Exception):
    """The S3 service does not answer, or fails: a later attempt may find it well."""


@dataclass(frozen=True)
class Stamped:
    """A small object as it is now, by the server's own clock."""

    content: bytes
    etag: str
    age: float
    """Whole seconds since it was written."""


class Bucket:
    """One bucket of an S3 service.

    Args:
        name: the bucket.
        endpoint_url: of a service other than AWS's; empty leaves it to boto3's environment.
        region: empty leaves it to boto3's environment.
        timeout: seconds without a byte after which a request counts as failed.
        attempts: how often a request is made before it is given up.
    """

    def __init__(
        self,
        name: str,
        endpoint_url: str,
        region: str,
        timeout: float = _TIMEOUT_SECONDS,
        attempts: int = _ATTEMPTS,
    ) -> None:
        self.name = name
        self._service = Service(endpoint_url, region, timeout, attempts)

    def with_patience(self, timeout: float, attempts: int) -> Bucket:
        """The same bucket, for who must know soon that it does not answer."""
        service = self._service
        return Bucket(self.name, service.endpoint_url, service.region, timeout, attempts)

    def read(self, key: str) -> bytes | None:
        """A small object, or None when it does not exist."""
        with self._explained(key):
            try:
                return self._client.get_object(Bucket=self.name, Key=key)["Body"].read()
            except self._client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise

    def write(self, key: str, content: bytes) -> None:
        """Write a small object, whatever is there."""
        with self._explained(key):
            self._client.put_object(Bucket=self.name, Key=key, Body=content)

    def stamped(self, key: str) -> Stamped | None:
        """A small object with its ETag and age, or None when it does not exist."""
        with self._explained(key):
            try:
                answer = self._client.get_object(Bucket=self.name, Key=key)
            except self._client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            age = (now - answer["LastModified"]).total_seconds()
            return Stamped(answer["Body"].read(), str(answer["ETag"]), age)

    def create(self, key: str, content: bytes) -> str | None:
        """Write a small object where none is, and give its ETag; None when there is one already."""
        return self._write_if(key, content, IfNoneMatch="*")

    def replace(self, key: str, content: bytes, etag: str) -> str | None:
        """Write a small object in place of the one with this ETag, and give the new one's.

        None when another one is there by now, or none.
        """
        return self._write_if(key, content, IfMatch=etag)

    def _write_if(self, key: str, content: bytes, **condition: str) -> str | None:
        with self._explained(key):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    answer = self._client.put_object(
                        Bucket=self.name, Key=key, Body=content, **condition
                    )
                except self._client.exceptions.ClientError as error:
                    if _code(error) in _PRECONDITION_FAILED | _ABSENT:
                        return None
                    # Another writer is at it: whoever wins, the next attempt knows.
                    if _code(error) not in _CONFLICT or attempt == _ATTEMPTS:
                        raise
                else:
                    return str(answer["ETag"])
        raise AssertionError("unreachable")

    def holds(self, key: str, size: int, sha256: str) -> bool:
        """Whether the object is there as ``upload`` wrote it, judged without reading it."""
        with self._explained(key):
            try:
                head = self._client.head_object(Bucket=self.name, Key=key)
            except self._client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return False
                raise
            return head["ContentLength"] == size and head["Metadata"].get(_SHA256) == sha256

    def upload(self, path: Path, key: str, sha256: str) -> None:
        """Upload a file, a large one in parts, of which those that are there are not sent again."""
        size, metadata = path.stat().st_size, {_SHA256: sha256}
        with self._explained(key):
            if size <= PART:
                put_file(self._client, self.name, key, path, metadata)
                return
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    put_in_parts(self._clients.parts, self.name, key, path, metadata)
                except self._client.exceptions.ClientError as error:
                    # Another publisher of the same file has completed the upload, or ended it.
                    if _code(error) not in _GONE or attempt == _ATTEMPTS:
                        raise
                    if self.holds(key, size, sha256):
                        return
                else:
                    return

    def end_uploads(self, key: str, older_than: timedelta = timedelta(0)) -> list[str]:
        """Give up uploads in parts below ``key`` that nobody completed; the objects' keys."""
        with self._explained(key):
            limit = datetime.now(UTC) - older_than
            ended = [
                upload
                for upload in unfinished_uploads(self._client, self.name, f"{key}/")
                if not older_than or upload.began < limit
            ]
            for upload in ended:
                try:
                    self._client.abort_multipart_upload(
                        Bucket=self.name, Key=upload.key, UploadId=upload.upload_id
                    )
                except self._client.exceptions.ClientError as error:
                    if _code(error) not in _GONE:
                        raise
        return [upload.key for upload in ended]

    def download(self, key: str, path: Path, hasher: Callable[[], Hasher]) -> str | None:
        """Download an object, a large one in ranges; its digest, or None when it does not exist.

        Raises:
            UserError: it changed meanwhile, or other bytes arrived than the server promised.
        """
        uri = f"s3://{self.name}/{key}"
        with self._explained(key):
            try:
                head = self._client.head_object(Bucket=self.name, Key=key)
                version = Version(self.name, key, head["ContentLength"], head["ETag"])
                return download(self._client, version, path, hasher)
            except self._client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            except ChangedError as error:
                raise UserError(f"{uri} was written or removed while it was read") from error
            except CorruptError as error:
                raise UserError(
                    f"{uri}: the bytes that arrived are not those of the checksum that the server "
                    "states (its MD5): read it again; if it stays so, the object is damaged"
                ) from error

    def sha256(self, key: str) -> str | None:
        """The sha256 of an object's bytes, streamed; None when it does not exist."""
        digest = hashlib.sha256()
        with self._explained(key):
            try:
                body = self._client.get_object(Bucket=self.name, Key=key)["Body"]
            except self._client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            for block in body.iter_chunks(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def written_below(self, key: str, name: str) -> dict[str, datetime]:
        """The folders directly below ``key`` that hold an object ``name``, and when it was written.

        Listed page by page; of each object no more is kept than this.
        """
        with self._explained(key):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=f"{key}/"
            )
            written: dict[str, datetime] = {}
            for page in pages:
                for entry in page.get("Contents", []):
                    folder, _, rest = str(entry["Key"]).removeprefix(f"{key}/").partition("/")
                    if rest == name:
                        written[folder] = entry["LastModified"]
            return written

    @cached_property
    def _clients(self) -> Clients:
        return connect(self._service)

    @property
    def _client(self) -> Any:
        return self._clients.objects

    @contextmanager
    def _explained(self, key: str) -> Generator[None]:
        """Turn S3 errors that the user can remedy into UserError; others pass as they are."""
        from botocore.exceptions import (
            ClientError,
            ConnectionError,  # noqa: A004 - botocore's own
            HTTPClientError,
            NoCredentialsError,
        )

        uri = f"s3://{self.name}/{key}"
        try:
            yield
        except NoCredentialsError as error:
            raise UserError(
                f"{uri}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a "
                "profile or a role"
            ) from error
        except (ConnectionError, HTTPClientError) as error:
            raise UnreachableError(f"{uri}: the S3 service does not answer: {error}") from error
        except ClientError as error:
            code = _code(error)
            if code == "NoSuchBucket":
                raise UserError(f"{uri}: there is no bucket {self.name}; create it") from error
            if code in _REFUSED:
                raise UserError(
                    f"{uri}: access refused ({code}); check the credentials, and that they allow "
                    "s3:GetObject, s3:PutObject and s3:ListBucket there"
                ) from error
            if code in _FAILING:
                raise UnreachableError(f"{uri}: the S3 service fails: {error}") from error
            raise


def _code(error: Any) -> str:
    """S3's error code; empty when there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))
