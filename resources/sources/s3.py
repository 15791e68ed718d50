"""Datasets on S3 or anything that speaks it: one key, or every dataset file below a prefix.

Credentials come from boto3's own chain. Each object is read with If-Match on the ETag that was
seen first, so that parts of two versions never meet in one file.
"""

# boto3 and its parts ship no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.errors import UserError
from resources.sources.files import (
    Fetched,
    SizeLimit,
    SourceFile,
    SourceUnavailableError,
    digest,
    in_name_order,
    is_allowed,
    nothing_found,
    require_allowed,
    safe_target,
)
from resources.sources.partitions import key_pattern, matching_key, natural_order
from resources.sources.uri import S3Uri

_REMEDIES = {
    "NoSuchBucket": "there is no such bucket: mend its name, or the endpoint",
    "InvalidAccessKeyId": "the access key is unknown: check AWS_ACCESS_KEY_ID and the endpoint",
    "SignatureDoesNotMatch": "the secret key is wrong: check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session token has expired: renew the credentials",
    "InvalidToken": "the session token is wrong: check AWS_SESSION_TOKEN",
    "AccessDenied": "access was denied: the credentials need s3:GetObject and s3:ListBucket",
    "403": "access was denied: check the credentials; they need s3:GetObject and s3:ListBucket",
    "PermanentRedirect": "the bucket is in another region: set the region",
    "301": "the bucket is in another region: set the region",
    "InvalidObjectState": "the object is archived: restore it first",
}
_BUSY = {"SlowDown", "503", "500", "InternalError", "ServiceUnavailable", "RequestTimeout"}


@dataclass(frozen=True)
class _Object:
    name: str
    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class _Bucket:
    """A bucket and what reads from it."""

    client: Any
    manager: Any
    name: str


def connect(endpoint_url: str = "", region: str = "") -> Any:
    """An S3 client; empty arguments leave the choice to boto3 and its environment variables.

    Raises:
        UserError: the endpoint is not a URL.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5}
    )
    try:
        return boto3.Session(region_name=region or None).client(
            "s3", endpoint_url=endpoint_url or None, config=config
        )
    except ValueError as error:  # boto3 names the endpoint in it
        raise UserError(f"S3: {error}: mend the endpoint URL") from error


def fetch(client: Any, uri: S3Uri, into: Path, limit: SizeLimit) -> Fetched:
    """Download the object, or every dataset file below the prefix, into the folder ``into``.

    A key that exists is one file. Anything else is a prefix that ends at a slash, as a folder
    does: ``s3://bucket/drop-1`` never takes ``drop-10/rows.jsonl`` in.

    Raises:
        UserError: missing, refused, of an unknown type, or above the limit.
        SourceUnavailableError: the server does not answer, or the object keeps changing.
    """
    from boto3.s3.transfer import TransferConfig, create_transfer_manager

    what = f"s3://{uri.bucket}/{uri.key}"
    # boto3's other transfer client ignores a custom endpoint; and only ranged reads carry If-Match.
    config = TransferConfig(preferred_transfer_client="classic", multipart_threshold=1)
    with _explained(what):
        objects = _choose(client, uri, what)
        for item in objects:
            limit.add(f"s3://{uri.bucket}/{item.key}", item.size)
        with create_transfer_manager(client, config) as manager:
            bucket = _Bucket(client, manager, uri.bucket)
            files = in_name_order(_download(bucket, item, into, limit) for item in objects)
    return Fetched(what, files, revision=None)


def list_partitions(client: Any, bucket: str, before: str, after: str) -> list[str]:
    """The partition keys for which there is a dataset file, in natural order.

    ``before`` and ``after`` surround ``{partition}`` in the key.
    """
    pattern = key_pattern(before, after)
    with _explained(f"s3://{bucket}/{before}"):
        keys = {
            key
            for item in _list(client, bucket, before)
            if (key := matching_key(pattern, item["Key"])) is not None
        }
    return sorted(keys, key=natural_order)


def _choose(client: Any, uri: S3Uri, what: str) -> list[_Object]:
    if uri.key and not uri.key.endswith("/"):
        single = _head(client, uri.bucket, uri.key)
        if single is not None:
            require_allowed(uri.key, what)
            return [single]
    prefix = uri.key if not uri.key or uri.key.endswith("/") else f"{uri.key}/"
    objects = [
        _Object(item["Key"].removeprefix(prefix), item["Key"], item["Size"], item["ETag"])
        for item in _list(client, uri.bucket, prefix)
        if is_allowed(item["Key"])
    ]
    if not objects:
        raise nothing_found(what)
    return objects


def _head(client: Any, bucket: str, key: str) -> _Object | None:
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _code(error) in {"404", "NoSuchKey"}:
            return None
        raise
    return _Object(key.rpartition("/")[2], key, head["ContentLength"], head["ETag"])


def _list(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", ())


def _download(bucket: _Bucket, item: _Object, into: Path, limit: SizeLimit) -> SourceFile:
    """One object; when it changed since it was seen, its new version, once."""
    from s3transfer.exceptions import S3DownloadFailedError

    what = f"s3://{bucket.name}/{item.key}"
    target = safe_target(into, item.name, what)
    for wanted in (item, None):
        version = wanted or _head(bucket.client, bucket.name, item.key)
        if version is None:
            raise SourceUnavailableError(f"{what}: was removed while it was read: run again")
        limit.add(what, max(0, version.size - item.size))
        try:
            # The manager writes beside the target and renames at the end.
            bucket.manager.download(
                bucket.name, item.key, str(target), subscribers=[_seen(version)]
            ).result()
        except S3DownloadFailedError:
            continue
        if target.stat().st_size == version.size:
            return SourceFile(item.name, target, version.size, digest(target), version.etag)
    raise SourceUnavailableError(
        f"{what}: changes while it is read: wait until it is written, then run again"
    )


def _seen(version: _Object) -> Any:
    """Tells the transfer manager which version to read, so that it asks for that one only."""
    from s3transfer.subscribers import BaseSubscriber

    class Seen(BaseSubscriber):
        def on_queued(self, future: Any, **kwargs: Any) -> None:  # noqa: ARG002
            future.meta.provide_transfer_size(version.size)
            future.meta.provide_object_etag(version.etag)

    return Seen()


@contextmanager
def _explained(what: str) -> Generator[None]:
    """Turn the S3 client's errors into ones that name the location and the remedy."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
    )
    from botocore.exceptions import (
        ConnectionError as EndpointError,
    )
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _BUSY:
            raise SourceUnavailableError(f"{what}: S3 answered {code}: try again later") from error
        remedy = _REMEDIES.get(code, f"S3 refused {error.operation_name}")
        raise UserError(f"{what}: {remedy} ({code})") from error
    except NoCredentialsError as error:
        raise UserError(
            f"{what}: no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a "
            "profile, or a role"
        ) from error
    except (EndpointError, HTTPClientError, IncompleteReadError, RetriesExceededError) as error:
        raise SourceUnavailableError(
            f"{what}: S3 cannot be reached: check the endpoint and the network ({error})"
        ) from error
    except BotoCoreError as error:
        raise UserError(f"{what}: mend the S3 settings or the profile: {error}") from error


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
