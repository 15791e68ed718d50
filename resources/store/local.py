"""An artifact store in a local folder (or one mounted from a network).

Layout: ``ROOT/KEY.../PARTITION/versions/DIGEST/{files, manifest.json}``, and
``ROOT/KEY.../PARTITION/current.json`` names the current version. Belongs here: publishing into it
and reading from it. Does not belong here: how a version folder is written (``versions.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from resources.store.artifact import Artifact, Draft
from resources.store.manifest import Manifest, broken_files, describe_files
from resources.store.names import FILES, POINTER, artifact_folder, describe, version_folder
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
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from pydantic import JsonValue


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
                    key=key,
                    partition=partition,
                    data_version=draft.data_version,
                    metadata=draft.metadata,
                )
                complete_version(staged, manifest)
                # Everything that needs space comes before the two renames that publish.
                write_durably(staging / POINTER, encode_pointer(manifest.digest))
                target = self.root / version_folder(key, partition, manifest.digest)
                make_folders(target.parent, self.root)
                manifest = install_version(staged, manifest, target)
            except BaseException:
                draft.give_back()
                raise
            (staging / POINTER).replace(home / POINTER)
            sync(home)
            draft.artifact = self._artifact(target, manifest)
        draft.remove_sources()

    def verify(self, artifact: Artifact) -> list[str]:
        """Names of the files that are missing or whose bytes are not what was published."""
        return broken_files(artifact.path, artifact.manifest)

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
