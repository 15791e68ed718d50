"""The Dagster resource through which assets and sensors reach datasets: settings and dispatch.

The work stands in one file per scheme, without Dagster.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import assert_never

import dagster as dg

from resources.errors import UserError
from resources.sources import hub, package, path, s3, watching
from resources.sources.address import Access, is_public
from resources.sources.drops import DropPage, DropVersion
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
            import httpx

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
                from resources.sources import https

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

    def drops_after(
        self,
        uri_template: str,
        position: str,
        *,
        base_dir: Path | None = None,
        pages: int = 1,
        marker: str | None = None,
    ) -> DropPage:
        """The drops that the source lists after ``position`` ("" is its start), page by page.

        What one look costs follows from ``pages``, each of at most 1000 names (500 files of a
        folder), and hardly from how much lies in the place. ``marker`` names the file that says
        that a drop is complete.

        Raises:
            UserError: a bad template or marker, a source that has no listing, or a place that
                cannot be read.
        """
        (page,) = self.drop_pages(
            uri_template, [position], base_dir=base_dir, pages=pages, marker=marker
        )
        return page

    def drop_pages(
        self,
        uri_template: str,
        positions: Sequence[str],
        *,
        base_dir: Path | None = None,
        pages: int = 1,
        marker: str | None = None,
    ) -> list[DropPage]:
        """The drops that the source lists after each of several positions, as ``drops_after``.

        A folder's names are read once for all of them.

        Raises:
            UserError: as ``drops_after``.
        """
        reach = self._reach(base_dir)
        return watching.drop_pages(reach, uri_template, positions, pages, marker)

    def drop_version(
        self,
        uri: str,
        partition: str | None,
        *,
        base_dir: Path | None = None,
        marker: str | None = None,
    ) -> DropVersion | None:
        """The version that a drop, or a dataset without drops, has at its source now.

        ``partition`` fills ``{partition}`` in; None for a URI without it. None: nothing is there.

        Raises:
            UserError: a bad URI or marker, or a source that refuses; SourceUnavailableError when it
                does not answer.
        """
        return watching.drop_version(self._reach(base_dir), uri, partition, marker)

    def hub_model_revision(self, base_model: str) -> str | None:
        """The commit that the branch or tag of a hub model points to now.

        None for a model that cannot move: a commit, a path, an object or a package.

        Raises:
            UserError: no such model or branch; SourceUnavailableError when the hub does not answer.
        """
        return watching.hub_model_revision(base_model, self.hf_token_env)

    def drop_files(
        self,
        uri: str,
        partition: str | None,
        into: Path,
        *,
        base_dir: Path | None = None,
    ) -> Generator[Path]:
        """The dataset files of a drop, one after the other, each readable until the next is asked.

        Files on this machine are read where they lie; objects of S3 are downloaded one by one into
        the folder ``into``, so that whoever stops early has downloaded no more than was asked for.

        Raises:
            UserError: as ``fetch``.
        """
        return watching.drop_files(self._reach(base_dir), uri, partition, into)

    def _reach(self, base_dir: Path | None) -> watching.Reach:
        return watching.Reach(
            base_dir=base_dir,
            data_roots=tuple(self.data_roots),
            pvc_root=self.pvc_root,
            s3_endpoint_url=self.s3_endpoint_url,
            s3_region=self.s3_region,
            access=self._access(),
            hf_token_env=self.hf_token_env,
            max_bytes=self.max_bytes,
        )

    def _access(self) -> Access:
        if self.allow_private_addresses:
            return Access(address=lambda _: True, loopback_http=True)
        return Access(address=is_public)
