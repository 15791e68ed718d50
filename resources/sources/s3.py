"""Datasets on S3 or anything that speaks it: one key, or every dataset file below a prefix.

Credentials come from boto3's own chain.

Versions: ETag, size and SHA-256 of each object are recorded. Every request for a part of an object
carries If-Match with the ETag that was seen first, so that parts of two versions never meet in one
file. An object that changed or was removed meanwhile is looked at once more and read again; one
that changes again is refused. A prefix is listed again at the end, and refused when objects came,
went or changed since they were read: the drop was not complete.
"""

# boto3 and its parts ship no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.errors import UserError
from resources.free_room import refuse_what_does_not_fit
from resources.sources.files import (
    Fetched,
    SizeLimit,
    SourceFile,
    SourceUnavailableError,
    in_name_order,
    is_allowed,
    nothing_found,
    require_allowed,
    safe_target,
)
from resources.sources.partitions import key_pattern, matching_key, natural_order
from resources.sources.retries import ATTEMPTS
from resources.sources.s3_download import ChangedError, CorruptError, Version, download, error_code
from resources.sources.uri import S3Uri, redact, redact_urls

READ_TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

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
    """An object as it was seen, and its name within the dataset."""

    name: str
    version: Version


def connect(endpoint_url: str = "", region: str = "", read_timeout: float = READ_TIMEOUT) -> Any:
    """An S3 client; empty arguments leave the choice to boto3 and its environment variables.

    It repeats requests that fail, with a growing wait. ``read_timeout`` is in seconds.

    Raises:
        UserError: the endpoint is not a URL.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    try:
        return boto3.Session(region_name=region or None).client(
            "s3", endpoint_url=endpoint_url or None, config=config
        )
    except ValueError:  # boto3 repeats the endpoint in it, which may hold a password
        raise UserError(
            "S3: the endpoint is not a URL: mend the endpoint (s3_endpoint_url or "
            "AWS_ENDPOINT_URL), such as https://host:9000"
        ) from None


def fetch(
    client: Any,
    uri: S3Uri,
    into: Path,
    limit: SizeLimit,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Download the object, or every dataset file below the prefix, into the folder ``into``.

    A key that exists is one file. Anything else is a prefix that ends at a slash, as a folder
    does: ``s3://bucket/drop-1`` never takes ``drop-10/rows.jsonl`` in. ``sleep`` is called with the
    seconds to wait before a broken part is resumed.

    Raises:
        UserError: missing, refused, of an unknown type, or above the limit.
        SourceUnavailableError: the server does not answer, or the data keeps changing.
    """
    what = f"s3://{uri.bucket}/{uri.key}"
    with explained(what, host_of(client)):
        objects, prefix = _choose(client, uri, what)
        for item in objects:
            limit.add(f"s3://{uri.bucket}/{item.version.key}", item.version.size)
        refuse_what_does_not_fit(what, sum(item.version.size for item in objects), into)
        files = in_name_order(_download(client, item, into, limit, sleep) for item in objects)
        if prefix is not None:
            _require_same(files, _below(client, uri.bucket, prefix), what)
    return Fetched(what, files, revision=None)


def fetch_one_by_one(client: Any, uri: S3Uri, into: Path, limit: SizeLimit) -> Generator[Path]:
    """The same files, each downloaded when it is asked for and removed when the next one is.

    Raises:
        UserError: as ``fetch``; objects that come or go meanwhile are no error.
    """
    what = f"s3://{uri.bucket}/{uri.key}"
    with explained(what, host_of(client)):
        objects, _ = _choose(client, uri, what)
        for item in objects:
            file = _download(client, item, into, limit, time.sleep)
            yield file.path
            file.path.unlink()


def _require_same(files: Iterable[SourceFile], now: Iterable[_Object], what: str) -> None:
    read = {(file.name, file.etag) for file in files}
    there = {(item.name, item.version.etag) for item in now}
    if differing := sorted({name for name, _ in read ^ there}):
        raise SourceUnavailableError(
            f"{what}: files came, went or changed while it was read ({', '.join(differing[:5])}): "
            "wait until the drop is complete, then run again"
        )


def list_partitions(client: Any, bucket: str, before: str, after: str) -> list[str]:
    """The partition keys for which there is a dataset file, in natural order.

    ``before`` and ``after`` surround ``{partition}`` in the key.
    """
    pattern = key_pattern(before, after)
    with explained(f"s3://{bucket}/{before}", host_of(client)):
        keys = {
            key
            for item in listed(client, bucket, before)
            if (key := matching_key(pattern, item["Key"])) is not None
        }
    return sorted(keys, key=natural_order)


def _choose(client: Any, uri: S3Uri, what: str) -> tuple[list[_Object], str | None]:
    """The objects that are meant, and the prefix that they lie below, unless it is a single one."""
    if uri.key and not uri.key.endswith("/"):
        version = _head(client, uri.bucket, uri.key)
        if version is not None:
            require_allowed(uri.key, what)
            return [_Object(uri.key.rpartition("/")[2], version)], None
    prefix = uri.key if not uri.key or uri.key.endswith("/") else f"{uri.key}/"
    objects = list(_below(client, uri.bucket, prefix))
    if not objects:
        raise nothing_found(what)
    return objects, prefix


def _below(client: Any, bucket: str, prefix: str) -> Iterator[_Object]:
    """The dataset files below a prefix."""
    for item in listed(client, bucket, prefix):
        if is_allowed(item["Key"]):
            version = Version(bucket, item["Key"], item["Size"], item["ETag"])
            yield _Object(item["Key"].removeprefix(prefix), version)


def _head(client: Any, bucket: str, key: str) -> Version | None:
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error_code(error) in {"404", "NoSuchKey"}:
            return None
        raise
    return Version(bucket, key, head["ContentLength"], head["ETag"])


def listed(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Every object below a prefix, page by page."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", ())


def _download(
    client: Any, item: _Object, into: Path, limit: SizeLimit, sleep: Callable[[float], None]
) -> SourceFile:
    """One object; when it changed since it was seen, its new version, once."""
    key, seen = item.version.key, item.version
    what = f"s3://{seen.bucket}/{key}"
    target = safe_target(into, item.name, what)
    for version in (seen, None):
        wanted = version or _head(client, seen.bucket, key)
        if wanted is None:
            raise SourceUnavailableError(f"{what}: was removed while it was read: run again")
        limit.add(what, max(0, wanted.size - seen.size))
        refuse_what_does_not_fit(what, wanted.size, into)
        try:
            sha256 = download(client, wanted, target, hashlib.sha256, sleep)
        except ChangedError:
            problem = "changes while it is read: wait until it is written, then run again"
        except CorruptError:
            problem = "arrived as other bytes than its ETag, an MD5, names: run again"
        else:
            return SourceFile(item.name, target, wanted.size, sha256, wanted.etag)
    raise SourceUnavailableError(f"{what}: {problem}")


def host_of(client: Any) -> str:
    """The server, for messages."""
    return redact(str(client.meta.endpoint_url))


@contextmanager
def explained(what: str, host: str) -> Generator[None]:
    """Turn the S3 client's errors into ones that name the location and the remedy.

    The text of a connection's error holds the whole URL of a request: it is not repeated, and not
    kept as the cause either.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
        ReadTimeoutError,
    )
    from botocore.exceptions import (
        ConnectionError as EndpointError,
    )

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if code in _BUSY:
            raise SourceUnavailableError(f"{what}: S3 answered {code}: try again later") from error
        remedy = _REMEDIES.get(code, f"S3 refused {error.operation_name}")
        raise UserError(f"{what}: {remedy} ({code})") from error
    except NoCredentialsError as error:
        raise UserError(
            f"{what}: no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a "
            "profile, or a role"
        ) from error
    except ReadTimeoutError:
        raise SourceUnavailableError(
            f"{what}: {host} stopped sending, at {ATTEMPTS} attempts: try again later, or check "
            "the network"
        ) from None
    except (EndpointError, HTTPClientError, IncompleteReadError) as error:
        raise SourceUnavailableError(
            f"{what}: S3 cannot be reached at {host}: check the endpoint and the network "
            f"({type(error).__name__})"
        ) from None
    except BotoCoreError as error:
        raise UserError(
            f"{what}: mend the S3 settings or the profile: {redact_urls(str(error))}"
        ) from None
