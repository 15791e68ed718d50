"""The few S3 operations that the artifact store needs, through boto3.

Belongs here: the client, and S3's errors in words. Does not belong here: what an artifact is.
Credentials come from boto3's own chain: environment, profile or the pod's role.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 makes its clients at run time: there are no types to name.
from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_ABSENT = {"NoSuchKey", "404", "NotFound"}
_REFUSED = {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_PRECONDITION_FAILED = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "409"}
_ATTEMPTS = 5
_BLOCK = 1 << 20
_SHA256 = "sha256"  # kept with each object, so that what is there is not uploaded again


class Bucket:
    """One bucket of an S3 service."""

    def __init__(self, name: str, endpoint_url: str, region: str) -> None:
        self.name = name
        self._endpoint_url = endpoint_url
        self._region = region

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

    def create(self, key: str, content: bytes) -> bool:
        """Write a small object where none is; False when there is one already."""
        with self._explained(key):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._client.put_object(
                        Bucket=self.name, Key=key, Body=content, IfNoneMatch="*"
                    )
                except self._client.exceptions.ClientError as error:
                    if _code(error) in _PRECONDITION_FAILED:
                        return False
                    # Another writer is at it: whoever wins, the next attempt knows.
                    if _code(error) not in _CONFLICT or attempt == _ATTEMPTS:
                        raise
                else:
                    return True
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
        """Upload a file, a large one in parts."""
        with self._explained(key):
            self._client.upload_file(
                str(path),
                self.name,
                key,
                ExtraArgs={"Metadata": {_SHA256: sha256}},
                Config=self._transfer,
            )

    def download(self, key: str, path: Path) -> bool:
        """Download an object, a large one in ranges; False when it does not exist."""
        with self._explained(key):
            try:
                self._client.download_file(self.name, key, str(path), Config=self._transfer)
            except self._client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return False
                raise
            return True

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

    def folders(self, key: str) -> list[str]:
        """The names of what lies directly below ``key`` and holds objects itself."""
        with self._explained(key):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=f"{key}/", Delimiter="/"
            )
            return [
                str(entry["Prefix"]).rstrip("/").rpartition("/")[2]
                for page in pages
                for entry in page.get("CommonPrefixes", [])
            ]

    @cached_property
    def _client(self) -> Any:
        from boto3.session import Session
        from botocore.config import Config

        # Services other than AWS's rarely have a host name per bucket.
        style = "path" if self._endpoint_url else "auto"
        # A session of its own: boto3's shared one is not safe among threads.
        return Session().client(
            "s3",
            endpoint_url=self._endpoint_url or None,
            region_name=self._region or None,
            config=Config(
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                s3={"addressing_style": style},
            ),
        )

    @cached_property
    def _transfer(self) -> Any:
        from boto3.s3.transfer import TransferConfig

        # The other client, crt, ignores a custom endpoint.
        return TransferConfig(preferred_transfer_client="classic")

    @contextmanager
    def _explained(self, key: str) -> Generator[None]:
        """Turn S3 errors that the user can remedy into UserError; others pass as they are."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import ClientError, NoCredentialsError

        uri = f"s3://{self.name}/{key}"
        try:
            yield
        except NoCredentialsError as error:
            raise UserError(
                f"{uri}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a "
                "profile or a role"
            ) from error
        except (ClientError, S3UploadFailedError) as error:
            code = _code(error)
            if code == "NoSuchBucket":
                raise UserError(f"{uri}: there is no bucket {self.name}; create it") from error
            if code in _REFUSED:
                raise UserError(
                    f"{uri}: access refused ({code}); check the credentials, and that they allow "
                    "s3:GetObject, s3:PutObject and s3:ListBucket there"
                ) from error
            raise


def _code(error: BaseException) -> str:
    """S3's error code, also where boto3's transfer has wrapped it; empty when there is none."""
    origin: BaseException | None = error
    while origin is not None:
        response = getattr(origin, "response", None)
        if response is not None:
            return str(response["Error"]["Code"])
        origin = origin.__cause__ or origin.__context__
    return ""
