"""An artifact store in an S3 bucket, with a cache of its artifacts on the local disk.

The layout is the local store's, with objects for files. An artifact is published by its manifest,
written last and only where none is; a reader that finds no manifest finds no artifact. What a
killed publisher has uploaded lies under its content's digest, where the next one uses it.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from resources.errors import UserError
from resources.store.artifact import Artifact, Draft
from resources.store.download import download_files
from resources.store.lease import LEASES, lease_name
from resources.store.manifest import (
    Manifest,
    broken_files,
    decode_manifest,
    describe_files,
    encode_manifest,
    has_all_files,
    same_description,
)
from resources.store.names import (
    FILES,
    MANIFEST,
    POINTER,
    VERSIONS,
    artifact_folder,
    describe,
    place_below,
    version_folder,
)
from resources.store.objects import Bucket
from resources.store.pointer import decode_pointer, encode_pointer
from resources.store.s3_lease import s3_lease
from resources.store.staging import ABANDONED_AFTER_SECONDS, staging_folder
from resources.store.versions import complete_version, install_version, make_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from pydantic import JsonValue

    from resources.store.lease import Holder, Lease, LeaseLostError


_ABANDONED = timedelta(seconds=ABANDONED_AFTER_SECONDS)


class S3Store:
    """Artifacts in a bucket, below a prefix. A reader sees a whole artifact or none."""

    def __init__(self, bucket: str, prefix: str, cache: Path, endpoint_url: str, region: str):
        self._bucket = Bucket(bucket, endpoint_url, region)
        self._prefix = prefix
        self.where = f"s3://{bucket}/{prefix}".rstrip("/")
        # Stores that share a cache folder do not share artifacts, which one may have and not
        # the other.
        store = hashlib.sha256(f"{endpoint_url}\n{self.where}".encode()).hexdigest()[:16]
        self.cache = cache / store

    def find(self, key: Sequence[str], partition: str | None) -> Artifact | None:
        """The current artifact, or None. Nothing is downloaded yet."""
        pointer = self._object(artifact_folder(key, partition) / POINTER)
        content = self._bucket.read(pointer)
        if content is None:
            return None
        return self.find_version(key, partition, decode_pointer(content, self._uri(pointer)))

    def find_version(
        self, key: Sequence[str], partition: str | None, digest: str
    ) -> Artifact | None:
        """One version, or None. Nothing is downloaded yet."""
        manifest = self._manifest(version_folder(key, partition, digest))
        return None if manifest is None else self._artifact(manifest)

    @contextmanager
    def publish(
        self,
        key: Sequence[str],
        partition: str | None,
        metadata: Mapping[str, JsonValue],
    ) -> Generator[Draft]:
        """Publish what the block writes into the draft, at its end and at once.

        The draft lies in the cache, so that what is published needs no download here.
        """
        home = artifact_folder(key, partition)
        doing = f"publishing {describe(key, partition)}"
        with staging_folder(self.cache, doing, partial(self._size, key, partition)) as staging:
            staged = staging / "version"
            (staged / FILES).mkdir(parents=True)
            draft = Draft(path=staged / FILES, metadata=dict(metadata))
            try:
                yield draft
                manifest = describe_files(
                    draft.path,
                    draft.digests,
                    key=key,
                    partition=partition,
                    data_version=draft.data_version,
                    metadata=draft.metadata,
                    attest=draft.attest,
                )
                complete_version(staged, manifest)
                make_folders(self._cached(manifest).parent, self.cache)
                self._upload(draft.path, manifest)
                draft.guard()
                published = self._publish_manifest(manifest)
                pointer = encode_pointer(manifest.digest)
                draft.guard()
                self._bucket.write(self._object(home / POINTER), pointer)
            except BaseException:
                draft.give_back()
                raise
            self._end_uploads(published)
            install_version(staged, published, self._cached(published))
            draft.artifact = self._artifact(published)
        draft.remove_sources()

    @contextmanager
    def lease(
        self,
        name: str,
        holder: Holder,
        *,
        ttl: float,
        on_wait: Callable[[Holder | None], None],
        on_lost: Callable[[LeaseLostError], None],
    ) -> Generator[Lease]:
        """Hold the lease ``name`` of this store, among all who use the bucket."""
        key = self._object(PurePosixPath(LEASES) / f"{lease_name(name)}.json")
        with s3_lease(
            self._bucket, key, holder, ttl=ttl, on_wait=on_wait, on_lost=on_lost
        ) as lease:
            yield lease

    def verify(self, artifact: Artifact) -> list[str]:
        """Names of the objects that are missing or whose bytes are not what was published.

        Files of the cached copy, if there is one, are verified too and named by their local path.
        """
        files = self._files(artifact.manifest)
        broken = [
            file.path
            for file in artifact.manifest.files
            if self._bucket.sha256(self._object(files / file.path)) != file.sha256
        ]
        cached = self._cached(artifact.manifest) / FILES
        if cached.is_dir():
            names = broken_files(cached, artifact.manifest)
            broken.extend(str(cached / name) for name in names)
        return broken

    def reinstate(self, artifact: Artifact, guard: Callable[[], None]) -> None:
        """Make a version that is kept the current one, at once."""
        home = artifact_folder(artifact.key, artifact.partition)
        guard()
        self._bucket.write(self._object(home / POINTER), encode_pointer(artifact.digest))

    def missing_files(self, manifest: Manifest) -> list[str]:
        """Names of the objects that are not there as they were uploaded; nothing is read."""
        files = self._files(manifest)
        return [
            file.path
            for file in manifest.files
            if not self._bucket.holds(self._object(files / file.path), file.size, file.sha256)
        ]

    def versions(self, key: Sequence[str], partition: str | None) -> list[str]:
        """The digests of all versions that are kept, newest first (by whole seconds)."""
        folder = self._object(artifact_folder(key, partition) / VERSIONS)
        written = self._bucket.written_below(folder, MANIFEST)
        return sorted(written, key=lambda digest: (written[digest], digest), reverse=True)

    def place_of(self, uri: str) -> tuple[tuple[str, ...], str | None, str] | None:
        """Key, partition and digest of the artifact at, or around, a URI; None outside."""
        uri = uri.partition("?")[0]  # where a service is named in the query
        if not uri.startswith(f"{self.where}/"):
            return None
        return place_below(PurePosixPath(uri.removeprefix(f"{self.where}/")))

    def manifest_place(self, key: Sequence[str], partition: str | None, digest: str) -> str:
        """Where the manifest of a version is kept."""
        return self._uri(self._object(version_folder(key, partition, digest) / MANIFEST))

    def read_manifest(self, key: Sequence[str], partition: str | None, digest: str) -> bytes | None:
        """The manifest's bytes as they are, damaged or not; None when there is none."""
        return self._bucket.read(self._object(version_folder(key, partition, digest) / MANIFEST))

    def sha256(self, manifest: Manifest, name: str) -> str | None:
        """The sha256 of an object as it is now, streamed; None when it is missing."""
        return self._bucket.sha256(self._object(self._files(manifest) / name))

    def unknown_files(self, manifest: Manifest) -> list[str]:  # noqa: ARG002
        """None: a reader takes from a bucket what the manifest names, and nothing else."""
        return []

    def _upload(self, folder: Path, manifest: Manifest) -> None:
        """Upload the files that are not there yet."""
        for file in manifest.files:
            target = self._object(self._files(manifest) / file.path)
            if not self._bucket.holds(target, file.size, file.sha256):
                self._bucket.upload(folder / file.path, target, file.sha256)

    def _end_uploads(self, manifest: Manifest) -> None:
        """End what killed publishers have begun to upload, and nobody is going to complete.

        All files of this version are there; those of other versions may be on their way from
        another host, and are ended when they are old.
        """
        self._bucket.end_uploads(self._object(self._version(manifest)))
        home = self._object(artifact_folder(manifest.key, manifest.partition))
        self._bucket.end_uploads(home, _ABANDONED)

    def _publish_manifest(self, manifest: Manifest) -> Manifest:
        """Write the manifest where none is; replace one that says something else."""
        target = self._object(self._version(manifest) / MANIFEST)
        if self._bucket.create(target, encode_manifest(manifest)):
            return manifest
        existing = self._readable_manifest(self._version(manifest))
        if existing is not None and same_description(existing, manifest):
            return existing
        self._bucket.write(target, encode_manifest(manifest))
        return manifest

    def _download(self, manifest: Manifest) -> Path:
        """The local folder of an artifact: the cached one, or else downloaded and verified."""
        target = self._cached(manifest)
        if (target / MANIFEST).is_file() and has_all_files(target / FILES, manifest):
            return target / FILES
        doing = f"downloading {describe(manifest.key, manifest.partition)}"
        with staging_folder(self.cache, doing, lambda: manifest.size) as staging:
            staged = staging / "version"
            files = self._object(self._files(manifest))
            download_files(self._bucket, files, manifest, staged / FILES)
            complete_version(staged, manifest)
            make_folders(target.parent, self.cache)
            install_version(staged, manifest, target)
        return target / FILES

    def _manifest(self, version: PurePosixPath) -> Manifest | None:
        target = self._object(version / MANIFEST)
        content = self._bucket.read(target)
        return None if content is None else decode_manifest(content, self._uri(target))

    def _readable_manifest(self, version: PurePosixPath) -> Manifest | None:
        """The manifest, or None when it is missing or damaged: publishing again repairs it."""
        try:
            return self._manifest(version)
        except UserError:
            return None

    def _artifact(self, manifest: Manifest) -> Artifact:
        return Artifact(
            key=manifest.key,
            partition=manifest.partition,
            digest=manifest.digest,
            data_version=manifest.data_version,
            uri=self._uri(self._object(self._files(manifest))),
            manifest=manifest,
            locate=lambda: self._download(manifest),
        )

    def _size(self, key: Sequence[str], partition: str | None) -> int:
        """Bytes of the current artifact: about what the next one will take."""
        current = self.find(key, partition)
        return 0 if current is None else current.manifest.size

    def _version(self, manifest: Manifest) -> PurePosixPath:
        return version_folder(manifest.key, manifest.partition, manifest.digest)

    def _files(self, manifest: Manifest) -> PurePosixPath:
        return self._version(manifest) / FILES

    def _cached(self, manifest: Manifest) -> Path:
        return self.cache / self._version(manifest)

    def _object(self, path: PurePosixPath) -> str:
        return f"{self._prefix}/{path}" if self._prefix else str(path)

    def _uri(self, name: str) -> str:
        return f"s3://{self._bucket.name}/{name}"
