"""Looking at a source for new and changed data, without reading the data: dispatch by scheme.

The looks themselves stand in ``path_watch``, ``s3_watch``, ``https_watch`` and ``hub_watch``. None
writes anything, and none remembers anything: what was seen before is the caller's to keep.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, assert_never

from resources.errors import UserError
from resources.sources import (
    hub,
    hub_watch,
    package,
    path,
    path_watch,
    s3,
    s3_watch,
)
from resources.sources.address import Access
from resources.sources.drops import DropPage, DropVersion
from resources.sources.files import Fetched, SizeLimit, is_allowed
from resources.sources.partitions import PLACEHOLDER, split_template, substitute
from resources.sources.uri import (
    HttpsUri,
    HubUri,
    PackageUri,
    PathUri,
    PvcUri,
    S3Uri,
    parse_uri,
    redact,
)

READ_TIMEOUT = 10.0
"""Seconds without a byte after which S3 counts as broken for a look: it is asked again at once."""

_SAMPLE_KEY = "partition"


@dataclass(frozen=True)
class Reach:
    """How sources are reached: the settings of ``Sources``, and the folder of relative paths."""

    base_dir: Path | None
    data_roots: tuple[str, ...]
    pvc_root: str
    s3_endpoint_url: str
    s3_region: str
    access: Access
    hf_token_env: str
    max_bytes: int

    def locate(self, uri: PathUri | PvcUri) -> tuple[Path, path.Roots]:
        """Where a local dataset lies, and the roots that hold for it."""
        return path.locate(uri, path.data_roots(self.data_roots), self.pvc_root, self.base_dir)

    @contextmanager
    def s3(self) -> Generator[Any]:
        """A client of the S3 server, kept for the next look: making one takes longer than a look.

        It is made anew when the environment's settings change, and after a refusal, since
        credentials may have been renewed.
        """
        settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
        try:
            yield _client(self.s3_endpoint_url, self.s3_region, settings)
        except UserError:
            _client.cache_clear()
            raise


@lru_cache(maxsize=4)
def _client(endpoint_url: str, region: str, _settings: tuple[tuple[str, str], ...]) -> Any:
    return s3.connect(endpoint_url, region, READ_TIMEOUT)


def drop_pages(
    reach: Reach, uri_template: str, positions: Sequence[str], pages: int, marker: str | None
) -> list[DropPage]:
    """The drops that the source lists after each position; see ``Sources.drop_pages``."""
    require_marker(marker)
    parsed = parse_uri(substitute(uri_template, _SAMPLE_KEY))
    before, after = split_template(uri_template)
    match parsed:
        case PathUri() | PvcUri():
            _, roots = reach.locate(parsed)
            if isinstance(parsed, PvcUri):
                base, before = Path(reach.pvc_root), before.removeprefix("pvc://").lstrip("/")
            else:
                base = reach.base_dir or Path.cwd()
            place = path_watch.DropFolder.of(before, after, base, roots, uri_template)
            return [path_watch.drops_after(place, one, pages, marker) for one in positions]
        case S3Uri():
            template = s3_watch.DropKeys.of(uri_template, before, after)
            with reach.s3() as client:
                return [
                    s3_watch.drops_after(client, template, one, pages, marker) for one in positions
                ]
        case HttpsUri() | HubUri() | PackageUri():
            raise UserError(
                f"{redact(uri_template)}: this kind of source cannot be listed, so that new drops "
                "cannot be found: use a path, pvc:// or s3://, or a URI without {partition}"
            )
    assert_never(parsed)


def drop_version(
    reach: Reach, uri: str, partition: str | None, marker: str | None
) -> DropVersion | None:
    """The version that a drop or a dataset has now; see ``Sources.drop_version``."""
    require_marker(marker)
    text = _filled_in(uri, partition)
    parsed = parse_uri(text)
    match parsed:
        case PathUri() | PvcUri():
            found, roots = reach.locate(parsed)
            only_folder = text.endswith("/")
            return path_watch.version(found, roots, text, marker, only_folder=only_folder)
        case S3Uri():
            with reach.s3() as client:
                return s3_watch.version(client, parsed, marker)
        case HttpsUri():
            from resources.sources import https_watch

            return https_watch.version(parsed, reach.access)
        case HubUri():
            return hub_watch.version(parsed, reach.hf_token_env)
        case PackageUri():
            return path_watch.package_version(parsed, text)
    assert_never(parsed)


def hub_model_revision(base_model: str, token_env: str) -> str | None:
    """The commit of a hub model; see ``Sources.hub_model_revision``."""
    return hub_watch.model_revision(base_model, token_env)


def drop_files(reach: Reach, uri: str, partition: str | None, into: Path) -> Generator[Path]:
    """The dataset files of a drop, one by one; see ``Sources.drop_files``."""
    text = _filled_in(uri, partition)
    parsed = parse_uri(text)
    limit = SizeLimit(reach.max_bytes)
    match parsed:
        case PathUri() | PvcUri():
            found, roots = reach.locate(parsed)
            yield from path_watch.files(found, roots, text)
        case S3Uri():
            with reach.s3() as client:
                yield from s3.fetch_one_by_one(client, parsed, into, limit)
        case HttpsUri():
            from resources.sources import https

            yield from _paths(https.fetch(parsed, into, limit, reach.access))
        case HubUri():
            yield from _paths(hub.fetch(parsed, into, limit, reach.hf_token_env))
        case PackageUri():
            yield package.find(parsed, text)
        case _:
            assert_never(parsed)


def require_marker(marker: str | None) -> None:
    """Refuse a marker that is no plain name, or that would be read as data.

    Raises:
        UserError: which it is, and the remedy.
    """
    if marker is None:
        return
    if not marker.strip("._") or "/" in marker or not marker.isprintable():
        raise UserError(f"marker {marker!r}: write the name of a file, such as _SUCCESS")
    if is_allowed(marker):
        raise UserError(
            f"marker {marker!r}: ends as a dataset file does, and would be read as data: choose "
            "another name, such as _SUCCESS"
        )


def _paths(fetched: Fetched) -> Iterator[Path]:
    return (file.path for file in fetched.files)


def _filled_in(uri: str, partition: str | None) -> str:
    if partition is not None:
        return substitute(uri, partition)
    if PLACEHOLDER in uri:
        raise UserError(f"{redact(uri)}: {PLACEHOLDER} is not filled in: choose a partition")
    return uri
