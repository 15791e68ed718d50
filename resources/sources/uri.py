"""What a dataset URI says, as one typed value per scheme.

Belongs here: syntax, and the refusals that need nothing but the text. Does not belong here:
anything that touches a file or a network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from resources.errors import UserError
from resources.sources.files import require_allowed

SCHEMES = ("hf://", "s3://", "https://", "pvc://", "package://")
"""The known schemes; a URI without a scheme is a path."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'`<>]+")
_REPO = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)"
    r"(?::(?P<config>[^:@#?]+))?(?:@(?P<revision>[^@#?]+))?(?:#(?P<split>[\w.-]+))?",
    re.ASCII,
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_PACKAGE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")

_QUERY = re.compile(r"\?[^/?]*=.*", re.DOTALL)
_NO_HOST = {"hf", "pvc", "package"}
"""Schemes without a host: what stands before an @ is part of a name."""

_REFUSED = {
    "file": "write the absolute path instead, without file://",
    "gs": "Google Cloud Storage is not supported: use its S3 interface with s3:// and an endpoint, "
    "or mount the bucket and use a path",
    "oci": "an OCI registry holds models, not datasets: use "
    + ", ".join(SCHEMES)
    + " or a path here",
}


@dataclass(frozen=True)
class HubUri:
    """``hf://name[:config][@revision][#split]``, a dataset of a Hugging Face hub."""

    repo: str
    config: str | None
    revision: str | None
    split: str | None


@dataclass(frozen=True)
class S3Uri:
    """``s3://bucket/key`` or ``s3://bucket/prefix/``; ``key`` is empty for a whole bucket."""

    bucket: str
    key: str


@dataclass(frozen=True)
class HttpsUri:
    """``https://host/file``; ``http://`` is parsed too, and refused where access is decided."""

    url: str
    name: str
    """File name, from the path of the URL."""


@dataclass(frozen=True)
class PvcUri:
    """``pvc://path``, relative to the mounted volume."""

    path: str


@dataclass(frozen=True)
class PackageUri:
    """``package://PACKAGE/FILE``, a file inside an installed Python package."""

    package: str
    file: str


@dataclass(frozen=True)
class PathUri:
    """An absolute path, or one relative to the folder of whoever wrote it."""

    path: str


SourceUri = HubUri | S3Uri | HttpsUri | PvcUri | PackageUri | PathUri


def parse_uri(uri: str) -> SourceUri:
    """What ``uri`` says.

    Raises:
        UserError: an unknown scheme, bad syntax, or a file type that cannot be read.
    """
    if not uri.strip() or uri != uri.strip() or not uri.isprintable():
        raise UserError(
            f"dataset URI {redact(uri.strip())!r}: empty, or with spaces around it or control "
            f"characters: write {', '.join(SCHEMES)} or a path"
        )
    match = _SCHEME.fullmatch(uri)
    if match is None:
        return _path(uri)
    scheme, rest = match.group(1).lower(), match.group(2)
    parsers = {
        "hf": _hub,
        "s3": _s3,
        "https": _https,
        "http": _https,
        "pvc": _pvc,
        "package": _package,
    }
    if scheme in parsers:
        return parsers[scheme](uri, rest)
    remedy = _REFUSED.get(scheme, f"the known ones are {', '.join(SCHEMES)} and a path without one")
    raise UserError(f"{redact(uri)}: the scheme {scheme}:// is not supported: {remedy}")


def redact(uri: str) -> str:
    """``uri`` for messages, logs and metadata: no user information, no query string.

    A presigned URL carries its secret in the query string, some others before the host.
    """
    match = _SCHEME.fullmatch(uri)
    if match is None:  # a path; with a query, it is a URL whose scheme was forgotten
        return _QUERY.sub("", uri)
    if match.group(1).lower() in _NO_HOST:
        return uri.partition("?")[0]
    try:
        parts = urlsplit(uri)
        _ = parts.port  # no number there: half of user:password, perhaps
    except ValueError:  # not a URL at all, such as a broken IPv6 address
        return f"{match.group(1)}://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def redact_urls(text: str) -> str:
    """``text`` of a library's error with every URL in it redacted."""
    return _URL_IN_TEXT.sub(lambda match: redact(match.group()), text)


def _hub(uri: str, rest: str) -> HubUri:
    match = _REPO.fullmatch(rest)
    if match is None:
        raise UserError(
            f"{redact(uri)}: not a hub dataset: write hf://name[:config][@revision][#split], "
            "such as hf://org/chats:default@main#train"
        )
    return HubUri(match["repo"], match["config"], match["revision"], match["split"])


def _s3(uri: str, rest: str) -> S3Uri:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or "?" in key or "#" in key:
        raise UserError(
            f"{redact(uri)}: not an S3 location: write s3://bucket/key or s3://bucket/prefix/ "
            "(credentials come from the environment, not from the URI)"
        )
    if key.startswith("/") or "//" in key or {".", ".."} & set(key.split("/")):
        raise UserError(
            f"{redact(uri)}: the key holds an empty, . or .. part: write the key as it is"
        )
    return S3Uri(bucket, key)


def _https(uri: str, rest: str) -> HttpsUri:  # noqa: ARG001
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text repeats parts of the URL
        raise UserError(f"{redact(uri)}: not a URL: write https://host/file.jsonl") from None
    if not host:
        raise UserError(f"{redact(uri)}: the URL names no host: write https://host/file.jsonl")
    if parts.username is not None:
        raise UserError(
            f"{redact(uri)}: the URL carries a user name or password, which would be stored with "
            "the run: use a URL without one, such as a presigned URL"
        )
    name = PurePosixPath(unquote(parts.path)).name
    require_allowed(name, redact(uri))
    return HttpsUri(urlunsplit(parts._replace(fragment="")), name)


def _path(uri: str) -> PathUri:
    if _QUERY.search(uri):
        raise UserError(
            f"{redact(uri)}: a path has no query string (?name=value): for a URL write https:// "
            "before it, or rename the file"
        )
    return PathUri(uri)


def _require_no_query(uri: str) -> None:
    if "?" in uri:
        raise UserError(f"{redact(uri)}: this scheme has no query string (?...): write the name")


def _pvc(uri: str, rest: str) -> PvcUri:
    _require_no_query(uri)
    if not rest.strip("/"):
        raise UserError(f"{uri}: names no file or folder of the volume: write pvc://folder/file")
    return PvcUri(rest.lstrip("/"))


def _package(uri: str, rest: str) -> PackageUri:
    _require_no_query(uri)
    package, _, file = rest.partition("/")
    if not _PACKAGE.fullmatch(package) or not file or file.endswith("/"):
        raise UserError(f"{uri}: not a package file: write package://PACKAGE/FILE")
    require_allowed(file, uri)
    return PackageUri(package, file)
