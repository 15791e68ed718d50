"""The Dagster resource: which store a configuration names, and errors that say the remedy.

Belongs here: the thin shell that assets hold. Does not belong here: how artifacts are stored.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dagster import ConfigurableResource

from resources.errors import UserError
from resources.store.local import LocalStore
from resources.store.names import describe
from resources.store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pydantic import JsonValue

    from resources.store.artifact import Artifact, Draft
    from resources.store.lease import Holder, Lease, LeaseLostError
    from resources.store.manifest import Manifest

_S3_ROOT = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,62})(/(?P<prefix>[^?#]*))?")


class Store(Protocol):
    """What a place for artifacts can do; ``LocalStore`` and ``S3Store`` are the two there are."""

    where: str
    """The place, for messages."""

    def find(self, key: Sequence[str], partition: str | None) -> Artifact | None:
        """The current artifact, or None."""
        ...

    def find_version(
        self, key: Sequence[str], partition: str | None, digest: str
    ) -> Artifact | None:
        """One version, or None."""
        ...

    def publish(
        self, key: Sequence[str], partition: str | None, metadata: Mapping[str, JsonValue]
    ) -> AbstractContextManager[Draft]:
        """Publish what the block writes into the draft, at its end and at once."""
        ...

    def lease(
        self,
        name: str,
        holder: Holder,
        *,
        ttl: float,
        on_wait: Callable[[Holder | None], None],
        on_lost: Callable[[LeaseLostError], None],
    ) -> AbstractContextManager[Lease]:
        """Hold the lease ``name``, among all who could use the store at once."""
        ...

    def verify(self, artifact: Artifact) -> list[str]:
        """Names of the files that are not what was published."""
        ...

    def reinstate(self, artifact: Artifact, guard: Callable[[], None]) -> None:
        """Make a version that is kept the current one; ``guard`` is called right before."""
        ...

    def missing_files(self, manifest: Manifest) -> list[str]:
        """Names of the files that are not there with their size; nothing is read."""
        ...

    def versions(self, key: Sequence[str], partition: str | None) -> list[str]:
        """The digests of all versions that are kept, newest first."""
        ...

    def place_of(self, uri: str) -> tuple[tuple[str, ...], str | None, str] | None:
        """Key, partition and digest of the artifact at, or around, a URI; None outside."""
        ...

    def manifest_place(self, key: Sequence[str], partition: str | None, digest: str) -> str:
        """Where the manifest of a version is kept."""
        ...

    def read_manifest(self, key: Sequence[str], partition: str | None, digest: str) -> bytes | None:
        """The manifest's bytes as they are; None when there is none."""
        ...

    def sha256(self, manifest: Manifest, name: str) -> str | None:
        """The sha256 of a file as it is now; None when it is missing."""
        ...

    def unknown_files(self, manifest: Manifest) -> list[str]:
        """Names of the files that are there and that the manifest does not name."""
        ...


class ArtifactStore(ConfigurableResource[Any]):
    """Where assets pass artifacts to each other by name.

    An artifact is a folder of files under an asset key and a partition. It is written to a private
    place and published by one last atomic act; it is never changed, only followed by another.
    """

    root: str
    """A local folder, or ``s3://BUCKET/PREFIX``."""
    cache_dir: str = ""
    """Local folder for artifacts of an S3 store. Empty: ``artifact-cache`` in FT_HOME."""
    s3_endpoint_url: str = ""
    """URL of an S3 service other than AWS's."""
    s3_region: str = ""
    lease_seconds: float = 60
    """Without a sign of life, until another run takes over what this one holds in an S3 store."""

    def open(self, key: Sequence[str], partition: str | None) -> Artifact:
        """The current artifact of an asset.

        Raises:
            UserError: there is none.
        """
        artifact = self.find(key, partition)
        if artifact is None:
            raise UserError(
                f"asset {describe(key, partition)} has no artifact in {self._store.where}: "
                "materialize it first"
            )
        return artifact

    def find(self, key: Sequence[str], partition: str | None) -> Artifact | None:
        """The current artifact of an asset, or None."""
        return self._store.find(key, partition)

    def open_version(self, key: Sequence[str], partition: str | None, digest: str) -> Artifact:
        """The artifact that has this digest, current or not.

        Raises:
            UserError: there is none.
        """
        artifact = self._store.find_version(key, partition, digest)
        if artifact is None:
            current = self.find(key, partition)
            remedy = "materialize it first" if current is None else f"current: {current.digest}"
            raise UserError(
                f"asset {describe(key, partition)} has no version {digest} in "
                f"{self._store.where}; {remedy}"
            )
        return artifact

    def versions(self, key: Sequence[str], partition: str | None) -> Iterator[Artifact]:
        """The versions of an asset that are kept, newest first; each is read when it is asked for.

        A version whose manifest is damaged, or of another release, is left out: it can be verified
        and published again, and not used.
        """
        for digest in self._store.versions(key, partition):
            try:
                artifact = self._store.find_version(key, partition, digest)
            except UserError:
                continue
            if artifact is not None:
                yield artifact

    def reinstate(self, artifact: Artifact, *, guard: Callable[[], None] = lambda: None) -> None:
        """Make a version that was published earlier the current one again, in one act.

        Nothing is written but the name of the version, so that its manifest, its provenance and
        its signature stay as they are. Among concurrent publishers the last is the current one.

        Args:
            artifact: as ``versions`` or ``open_version`` gave it.
            guard: called right before; its exception leaves everything as it is.

        Raises:
            UserError: files of the version are gone.
        """
        missing = self._store.missing_files(artifact.manifest)
        if missing:
            raise UserError(
                f"version {artifact.digest} of {describe(artifact.key, artifact.partition)} cannot "
                f"be the current one again: {missing[0]} is missing or has another size; "
                "materialize the asset again"
            )
        self._store.reinstate(artifact, guard)

    @contextmanager
    def publish(
        self,
        key: Sequence[str],
        partition: str | None,
        *,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> Generator[Draft]:
        """Give a private folder to write into, and publish it when the block ends.

        An exception in the block publishes nothing. The same files published again are the same
        version; their manifest then takes the newer metadata. Among concurrent publishers the last
        is the current one.

        Raises:
            UserError: a name is not valid, the draft is empty or holds links, or the disk is full.
        """
        with self._store.publish(key, partition, metadata or {}) as draft:
            yield draft

    @contextmanager
    def lease(
        self,
        name: str,
        holder: Holder,
        *,
        ttl: float = 0,
        on_wait: Callable[[Holder | None], None] = lambda _: None,
        on_lost: Callable[[LeaseLostError], None] = lambda _: None,
    ) -> Generator[Lease]:
        """Hold the lease ``name``: nobody else does until the block ends. Waits for others.

        Among all machines for a store in a bucket, among the processes of this host for a folder.
        What the block publishes should have the lease's ``confirm`` as its ``guard``.

        Args:
            name: what may not be done twice at once.
            holder: who does it, for the message of who waits.
            ttl: seconds without a sign of life after which another one may take it; 0 takes
                ``lease_seconds``.
            on_wait: called once when another one holds it, with who that is where it is known.
            on_lost: called in another thread when another one may hold it before the block ends;
                it should end the block's work.
        """
        ttl = ttl or self.lease_seconds
        with self._store.lease(name, holder, ttl=ttl, on_wait=on_wait, on_lost=on_lost) as lease:
            yield lease

    @property
    def is_in_a_bucket(self) -> bool:
        """Whether other machines use the store as this one does."""
        return "://" in self.root

    def verify(self, artifact: Artifact) -> list[str]:
        """Read an artifact's bytes again; names of the files that are not what was published.

        Materializing the asset again with the same result repairs them.
        """
        return self._store.verify(artifact)

    @property
    def backend(self) -> Store:
        """The place itself, for who looks at more than an asset does: at versions and bytes."""
        return self._store

    @property
    def _store(self) -> Store:
        home = Path(os.environ.get("FT_HOME") or ".ft")
        cache = self.cache_dir or str(home / "artifact-cache")
        root = self.root if "://" in self.root else _absolute(self.root)
        return _store_at(root, _absolute(cache), self.s3_endpoint_url, self.s3_region)


def _absolute(folder: str) -> str:
    if not folder.strip():
        raise UserError("the artifact store's root is empty: set a folder or s3://BUCKET/PREFIX")
    return str(Path(folder).expanduser().absolute())


@lru_cache(maxsize=8)  # a store keeps its S3 client, which takes long to make
def _store_at(root: str, cache_dir: str, s3_endpoint_url: str, s3_region: str) -> Store:
    if "://" not in root:
        if not root.strip():
            raise UserError(
                "the artifact store's root is empty: set a folder or s3://BUCKET/PREFIX"
            )
        return LocalStore(Path(root))
    match = _S3_ROOT.fullmatch(root)
    if match is None:
        scheme = root.partition("://")[0]
        raise UserError(
            f"the artifact store's root, which starts with {scheme}://, is not valid: set a folder "
            "or s3://BUCKET/PREFIX"
        )
    prefix = (match["prefix"] or "").strip("/")
    return S3Store(match["bucket"], prefix, Path(cache_dir), s3_endpoint_url, s3_region)
