"""An artifact store in a local folder (or one mounted from a network).

Layout: ``ROOT/KEY.../PARTITION/versions/DIGEST/{files, manifest.json}``, and
``ROOT/KEY.../PARTITION/current.json`` names the current version. Belongs here: publishing into it
and reading from it. Does not belong here: how a version folder is written (``versions.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from resources.store.artifact import Artifact, Draft
from resources.store.lease import LEASES
from resources.store.lock_file import file_lock
from resources.store.manifest import (
    Manifest,
    absent_files,
    broken_files,
    describe_files,
    sha256_of,
    walk_files,
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
from resources.store.pointer import decode_pointer, encode_pointer
from resources.store.staging import staging_folder
from resources.store.versions import (
    complete_version,
    install_version,
    make_folders,
    read_version,
    sync,
    write_durably,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from pydantic import JsonValue

    from resources.store.lease import Holder, Lease, LeaseLostError


class LocalStore:
    """Artifacts in a folder. A reader sees a whole artifact or none."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(self.root)

    def find(self, key: Sequence[str], partition: str | None) -> Artifact | None:
        """The current artifact, or None."""
        pointer = self.root / artifact_folder(key, partition) / POINTER
        try:
            content = pointer.read_bytes()
        except FileNotFoundError:
            return None
        return self.find_version(key, partition, decode_pointer(content, str(pointer)))

    def find_version(
        self, key: Sequence[str], partition: str | None, digest: str
    ) -> Artifact | None:
        """One version, or None."""
        folder = self.root / version_folder(key, partition, digest)
        manifest = read_version(folder)
        return None if manifest is None else self._artifact(folder, manifest)

    @contextmanager
    def publish(
        self,
        key: Sequence[str],
        partition: str | None,
        metadata: Mapping[str, JsonValue],
    ) -> Generator[Draft]:
        """Publish what the block writes into the draft, at its end and at once."""
        home = self.root / artifact_folder(key, partition)
        doing = f"publishing {describe(key, partition)}"
        with staging_folder(self.root, doing, partial(self._size, key, partition)) as staging:
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
                # Everything that needs space comes before the two renames that publish.
                write_durably(staging / POINTER, encode_pointer(manifest.digest))
                target = self.root / version_folder(key, partition, manifest.digest)
                make_folders(target.parent, self.root)
                draft.guard()
                manifest = install_version(staged, manifest, target)
            except BaseException:
                draft.give_back()
                raise
            (staging / POINTER).replace(home / POINTER)
            sync(home)
            draft.artifact = self._artifact(target, manifest)
        draft.remove_sources()

    @contextmanager
    def lease(
        self,
        name: str,
        holder: Holder,
        *,
        ttl: float,  # noqa: ARG002 - the kernel knows when a holder is gone
        on_wait: Callable[[Holder | None], None],
        on_lost: Callable[[LeaseLostError], None],  # noqa: ARG002 - it cannot be
    ) -> Generator[Lease]:
        """Hold the lease ``name`` of this store, among the processes of this host."""
        with file_lock(self.root / LEASES, name, holder, on_wait) as lock:
            yield lock

    def verify(self, artifact: Artifact) -> list[str]:
        """Names of the files that are missing or whose bytes are not what was published."""
        return broken_files(artifact.path, artifact.manifest)

    def reinstate(self, artifact: Artifact, guard: Callable[[], None]) -> None:
        """Make a version that is kept the current one, at once."""
        home = self.root / artifact_folder(artifact.key, artifact.partition)
        doing = f"reinstating {describe(artifact.key, artifact.partition)}"
        with staging_folder(self.root, doing, lambda: 0) as staging:
            write_durably(staging / POINTER, encode_pointer(artifact.digest))
            guard()
            (staging / POINTER).replace(home / POINTER)
            sync(home)

    def missing_files(self, manifest: Manifest) -> list[str]:
        """Names of the files that are not there with the size that was published."""
        return absent_files(self._files(manifest), manifest)

    def versions(self, key: Sequence[str], partition: str | None) -> list[str]:
        """The digests of all versions that are kept, newest first."""
        folder = self.root / artifact_folder(key, partition) / VERSIONS
        written = [
            ((version / MANIFEST).stat().st_mtime_ns, version.name)
            for version in (folder.iterdir() if folder.is_dir() else ())
            if (version / MANIFEST).is_file()
        ]
        return [digest for _, digest in sorted(written, reverse=True)]

    def place_of(self, uri: str) -> tuple[tuple[str, ...], str | None, str] | None:
        """Key, partition and digest of the artifact at, or around, a path; None outside."""
        path = Path(uri.removeprefix("file://"))
        if not path.is_relative_to(self.root):
            return None
        return place_below(PurePosixPath(path.relative_to(self.root)))

    def manifest_place(self, key: Sequence[str], partition: str | None, digest: str) -> str:
        """Where the manifest of a version is kept."""
        return str(self.root / version_folder(key, partition, digest) / MANIFEST)

    def read_manifest(self, key: Sequence[str], partition: str | None, digest: str) -> bytes | None:
        """The manifest's bytes as they are, damaged or not; None when there is none."""
        path = Path(self.manifest_place(key, partition, digest))
        return path.read_bytes() if path.is_file() else None

    def sha256(self, manifest: Manifest, name: str) -> str | None:
        """The sha256 of a file as it is now; None when it is missing."""
        path = self._files(manifest) / name
        return sha256_of(path) if path.is_file() else None

    def unknown_files(self, manifest: Manifest) -> list[str]:
        """Names of the files that are there and that the manifest does not name."""
        folder = self._files(manifest)
        named = {file.path for file in manifest.files}
        found = walk_files(folder) if folder.is_dir() else ()
        return sorted(name for name in found if name not in named)

    def _files(self, manifest: Manifest) -> Path:
        version = version_folder(manifest.key, manifest.partition, manifest.digest)
        return self.root / version / FILES

    def _artifact(self, folder: Path, manifest: Manifest) -> Artifact:
        files = folder / FILES
        return Artifact(
            key=manifest.key,
            partition=manifest.partition,
            digest=manifest.digest,
            data_version=manifest.data_version,
            uri=str(files),
            manifest=manifest,
            locate=lambda: files,
        )

    def _size(self, key: Sequence[str], partition: str | None) -> int:
        """Bytes of the current artifact: about what the next one will take."""
        current = self.find(key, partition)
        return 0 if current is None else current.manifest.size
