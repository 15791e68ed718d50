"""The Dagster resource through which assets and sensors reach datasets: settings and dispatch.

The work stands in one file per scheme, without Dagster.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

import dagster as dg
import httpx

from resources.errors import UserError
from resources.sources import https, hub, package, path, s3
from resources.sources.address import Access, is_public
from resources.sources.files import Fetched, SizeLimit
from resources.sources.partitions import PLACEHOLDER, split_template, substitute
from resources.sources.uri import (
    HttpsUri,
    HubUri,
    PackageUri,
    PathUri,
    PvcUri,
    S3Uri,
    SourceUri,
    parse_uri,
    redact,
)

_SAMPLE_KEY = "partition"


class Sources(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where datasets may come from, and how they are reached."""

    data_roots: list[str]
    """Folders below which paths may be read."""
    pvc_root: str = ""
    """Where the volume of pvc:// is mounted; empty refuses pvc://."""
    allow_private_addresses: bool = False
    """Let https:// reach private addresses, and http:// this machine."""
    s3_endpoint_url: str = ""
    """S3 endpoint; empty leaves it to AWS_ENDPOINT_URL and boto3."""
    s3_region: str = ""
    """S3 region; empty leaves it to boto3."""
    hf_token_env: str = "HF_TOKEN"  # noqa: S105 - a name
    """Name of the environment variable that holds the hub token."""
    max_bytes: int = 0
    """Largest dataset that is fetched, in bytes on the wire or on disk; 0 means no limit."""

    def check(self, uri: str, base_dir: Path | None = None) -> None:
        """Refuse what can be refused without reading: scheme, syntax, file type, containment.

        ``uri`` may be a template with ``{partition}`` in it.

        Raises:
            UserError: what is wrong, and the remedy.
        """
        text = substitute(uri, _SAMPLE_KEY) if PLACEHOLDER in uri else uri
        parsed = parse_uri(text)
        if isinstance(parsed, PathUri | PvcUri):
            path.locate(parsed, path.data_roots(self.data_roots), self.pvc_root, base_dir)
        elif isinstance(parsed, HttpsUri):
            self._access().require(httpx.URL(parsed.url), redact(text))

    def fetch(self, uri: str, into: Path, base_dir: Path | None = None) -> Fetched:
        """Read the dataset; remote files are downloaded into the folder ``into``.

        ``into`` is private to the caller and is made when it is missing. ``base_dir`` is what a
        relative path is relative to.

        Raises:
            UserError: refused, missing or empty; SourceUnavailableError when a later attempt may
                succeed.
        """
        if PLACEHOLDER in uri:
            raise UserError(f"{redact(uri)}: {PLACEHOLDER} is not filled in: choose a partition")
        into.mkdir(parents=True, exist_ok=True)
        return self._fetch(parse_uri(uri), uri, into, base_dir)

    def _fetch(self, parsed: SourceUri, uri: str, into: Path, base_dir: Path | None) -> Fetched:
        limit = SizeLimit(self.max_bytes)
        match parsed:
            case PathUri() | PvcUri():
                roots = path.data_roots(self.data_roots)
                found, roots = path.locate(parsed, roots, self.pvc_root, base_dir)
                return path.fetch(found, roots, uri, limit)
            case S3Uri():
                client = s3.connect(self.s3_endpoint_url, self.s3_region)
                return s3.fetch(client, parsed, into, limit)
            case HttpsUri():
                return https.fetch(parsed, into, limit, self._access())
            case HubUri():
                return hub.fetch(parsed, into, limit, self.hf_token_env)
            case PackageUri():
                return package.fetch(parsed, uri, limit)
        assert_never(parsed)

    def list_partitions(self, uri_template: str, base_dir: Path | None = None) -> list[str] | None:
        """The partitions that exist, in natural order; None where a source cannot be listed.

        Names that are no partition keys are left out.

        Raises:
            UserError: a bad template, or a place that cannot be read.
        """
        parsed = parse_uri(substitute(uri_template, _SAMPLE_KEY))
        match parsed:
            case PathUri() | PvcUri():
                roots = path.data_roots(self.data_roots)
                _, roots = path.locate(parsed, roots, self.pvc_root, base_dir)
                before, after = split_template(uri_template)
                if isinstance(parsed, PvcUri):
                    base, before = Path(self.pvc_root), before.removeprefix("pvc://").lstrip("/")
                else:
                    base = base_dir or Path.cwd()
                return path.list_partitions(before, after, roots, base, uri_template)
            case S3Uri():
                before, after = split_template(uri_template)
                bucket, _, prefix = before.removeprefix("s3://").partition("/")
                if not prefix and "/" not in before.removeprefix("s3://"):
                    raise UserError(
                        f"{redact(uri_template)}: {PLACEHOLDER} stands in the key, not in the "
                        "bucket: write s3://bucket/{partition}/"
                    )
                client = s3.connect(self.s3_endpoint_url, self.s3_region)
                return s3.list_partitions(client, bucket, prefix, after)
            case HttpsUri() | HubUri() | PackageUri():
                return None
        assert_never(parsed)

    def _access(self) -> Access:
        if self.allow_private_addresses:
            return Access(address=lambda _: True, loopback_http=True)
        return Access(address=is_public)
