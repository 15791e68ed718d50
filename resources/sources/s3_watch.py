"""Looking at S3 for drops and their versions.

One look lists some pages of 1000 keys behind a position (StartAfter), so that its cost does not
grow with the prefix. A drop whose keys the look has seen from the first to the last has its version
from the listing; of any other the listing of that drop alone tells it.

A version follows from name, size and ETag of each object, not from its time: the same bytes put
again are the same version.
"""

# boto3 and its parts ship no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from resources.errors import UserError
from resources.sources.drops import PAGE, DropFiles, DropPage, DropVersion
from resources.sources.files import is_allowed
from resources.sources.partitions import PLACEHOLDER, is_partition_key, key_pattern
from resources.sources.path_watch import beside
from resources.sources.s3 import explained, host_of, listed
from resources.sources.uri import S3Uri, redact

_LAST = "\U0010ffff"
"""The last character of UTF-8, the order that S3 lists in."""


@dataclass(frozen=True)
class DropKeys:
    """Which keys of a bucket belong to which drop: ``BEFORE{partition}AFTER``."""

    bucket: str
    before: str
    after: str
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, uri_template: str, before: str, after: str) -> DropKeys:
        """From what stands before and after ``{partition}`` in an S3 URI.

        Raises:
            UserError: ``{partition}`` stands in the name of the bucket.
        """
        bucket, slash, prefix = before.removeprefix("s3://").partition("/")
        if not slash:
            raise UserError(
                f"{redact(uri_template)}: {PLACEHOLDER} stands in the key, not in the bucket: "
                "write s3://bucket/{partition}/"
            )
        return cls(bucket, prefix, after, key_pattern(prefix, after))

    def location(self, partition: str) -> str:
        """The key, or the prefix, that the template names."""
        return self.before + partition + self.after

    def partition(self, key: str) -> str | None:
        """The partition that an object lies in, whatever its type."""
        match = self.pattern.fullmatch(key)
        return match.group(1) if match and is_partition_key(match.group(1)) else None


@dataclass
class _Seen:
    """What a look has seen of one drop."""

    location: str
    marker: str | None
    file: DropFiles = field(default_factory=DropFiles)
    """The object whose key is the drop itself: where there is one, it is the whole drop."""
    folder: DropFiles = field(default_factory=DropFiles)

    @property
    def prefix(self) -> str:
        """What the keys begin with when the drop is a folder; empty for a whole bucket."""
        whole = not self.location or self.location.endswith("/")
        return self.location if whole else f"{self.location}/"

    def add(self, item: dict[str, Any]) -> None:
        """Count an object of the drop in: data, its marker, or neither."""
        key: str = item["Key"]
        if key == self.location and is_allowed(key):
            _count_in(self.file, key.rpartition("/")[2], item)
        elif self.marker is not None and key == self.prefix + self.marker:
            self.folder.marked = True
        elif self.marker is not None and key == beside(self.location, self.marker):
            self.file.marked = True
        elif key.startswith(self.prefix) and is_allowed(key):
            _count_in(self.folder, key.removeprefix(self.prefix), item)

    @property
    def empty(self) -> bool:
        """Whether neither data nor a marker was seen."""
        parts = (self.file, self.folder)
        return not any(part.files or part.marked for part in parts)

    def version(self, start: str, last: str | None) -> DropVersion | None:
        """Its version, when the keys between ``start`` and ``last`` hold all of it, else None.

        ``start`` itself was not looked at. ``last`` is None when the listing ended.
        """
        if self.file.files:
            if self.marker is None or self.file.marked or last is None:
                return self.file.version()
            return self.file.version() if last >= beside(self.location, self.marker) else None
        if not self.location.endswith("/") and start >= self.location:
            return None  # the file, where there is one, stands before this look
        begun_before = start.startswith(self.prefix)
        goes_on = last is not None and last.startswith(self.prefix)
        return None if begun_before or goes_on else self.folder.version()


def drops_after(
    client: Any, keys: DropKeys, position: str, pages: int, marker: str | None
) -> DropPage:
    """The drops with keys after ``position``, a key, on the next ``pages`` of the listing.

    A drop that goes on beyond the last page is passed over: what follows it is not found later
    because one drop has many files.

    Raises:
        UserError: the server refuses; SourceUnavailableError when it does not answer.
    """
    seen: dict[str, _Seen] = {}
    start, end = position, False
    with explained(f"s3://{keys.bucket}/{keys.before}", host_of(client)):
        for _ in range(pages):
            answer = client.list_objects_v2(
                Bucket=keys.bucket, Prefix=keys.before, StartAfter=position, MaxKeys=PAGE
            )
            for item in answer.get("Contents", ()):
                _add(seen, keys, marker, item)
                position = item["Key"]
            end = not answer["IsTruncated"]
            if end:
                break
    last = None if end else position
    drops = {name: drop.version(start, last) for name, drop in seen.items() if not drop.empty}
    return DropPage(drops, position if end else _behind(seen, position), end)


def _add(seen: dict[str, _Seen], keys: DropKeys, marker: str | None, item: dict[str, Any]) -> None:
    key: str = item["Key"]
    if marker is not None and key.endswith(beside("", marker)):
        file = key.removesuffix(beside("", marker))
        name = keys.partition(file)
        if name is not None and keys.location(name) == file:
            seen.setdefault(name, _Seen(file, marker)).add(item)
            return
    name = keys.partition(key)
    if name is not None:
        seen.setdefault(name, _Seen(keys.location(name), marker)).add(item)


def _behind(seen: dict[str, _Seen], position: str) -> str:
    """Where to go on: behind the folder that the last key lies in."""
    for drop in reversed(seen.values()):
        if position.startswith(drop.prefix) and not drop.empty:
            return drop.prefix + _LAST
    return position


def version(client: Any, uri: S3Uri, marker: str | None) -> DropVersion | None:
    """The version of the object, or of the objects below the prefix; None without any.

    Raises:
        UserError: the server refuses; SourceUnavailableError when it does not answer.
    """
    with explained(f"s3://{uri.bucket}/{uri.key}", host_of(client)):
        found = _Seen(uri.key, marker)
        if uri.key and not uri.key.endswith("/"):
            item = _object(client, uri.bucket, uri.key)
            if item is not None and is_allowed(uri.key):
                found.add(item)
                if marker is not None:
                    key = beside(uri.key, marker)
                    found.file.marked = _object(client, uri.bucket, key) is not None
                return found.file.version()
        for item in listed(client, uri.bucket, found.prefix):
            found.add(item)
    return found.folder.version()


def _object(client: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """An object as a listing shows it, so that its ETag is written as in every other look."""
    answer = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    items = answer.get("Contents", [])
    return items[0] if items and items[0]["Key"] == key else None


def _count_in(found: DropFiles, name: str, item: dict[str, Any]) -> None:
    found.add(item["Size"], name, item["Size"], item["ETag"].strip('"'))
