"""A published artifact, and the draft that becomes one.

Belongs here: what producers and consumers of artifacts hold in their hands. Does not belong here:
how either is stored.
"""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import UserError
from resources.store.file_digests import FileDigests
from resources.store.names import check_file_name, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import JsonValue

    from resources.store.manifest import Manifest


@dataclass(frozen=True)
class Artifact:
    """A published, immutable folder of files."""

    key: tuple[str, ...]
    partition: str | None
    digest: str
    data_version: str
    uri: str
    """Where it is kept: a folder's absolute path, or ``s3://...``."""
    manifest: Manifest
    locate: Callable[[], Path] = field(repr=False, compare=False)
    """Gives the local folder; downloads an artifact of an S3 store on first use."""

    @property
    def path(self) -> Path:
        """The local folder with the files. Read only: others read the same files."""
        return self.locate()

    def file(self, name: str) -> Path:
        """The local path of one file.

        Raises:
            UserError: the artifact has no such file; the message lists what it has.
        """
        names = [file.path for file in self.manifest.files]
        if name not in names:
            raise UserError(
                f"artifact {describe(self.key, self.partition)} has no file {name!r}; it has: "
                f"{', '.join(names[:20])}{' ...' if len(names) > 20 else ''}"  # noqa: PLR2004
            )
        return self.path / name


@dataclass
class Draft:
    """A private folder that becomes an artifact when the ``publish`` block ends without exception.

    Work that takes days belongs into a folder of its own, from which ``take`` moves the result: the
    drafts of other hosts count as abandoned when nothing was written to them for two days.
    """

    path: Path
    """Write files here."""
    metadata: dict[str, JsonValue]
    """Goes into the manifest; may be extended until the block ends."""
    data_version: str | None = None
    """Dagster's data version, when it is not to be the digest of the files."""
    attest: Callable[[Manifest], dict[str, JsonValue]] | None = None
    """Makes the attestation, when the block has ended, of the manifest that is published."""
    guard: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called right before what makes the artifact visible; its exception publishes nothing."""
    artifact: Artifact | None = None
    """What was published; set when the block has ended."""
    digests: FileDigests = field(init=False, repr=False)
    """Of the files that are written; for those that are wanted before the block ends."""
    _taken: list[tuple[Path, Path]] = field(default_factory=list[tuple[Path, Path]], repr=False)
    _copied: list[Path] = field(default_factory=list[Path], repr=False)

    def __post_init__(self) -> None:
        self.digests = FileDigests(self.path)

    def take(self, src: Path, name: str) -> Path:
        """Move a file or a folder into the draft, under ``name``; the place that it has now.

        On one file system nothing is copied, however large it is. If the publication fails,
        ``src`` is put back; a copy from another file system leaves it until the publication is
        done.

        Raises:
            UserError: ``src`` does not exist or is a link, or ``name`` is taken or no valid name.
        """
        target = self._free_place(name)
        if src.is_symlink() or not src.exists():
            raise UserError(f"{src} cannot be published: it is a link or does not exist")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            src.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(src, target)
            self._copied.append(src)
        else:
            self._taken.append((src, target))
        return target

    def give_back(self) -> None:
        """Put what was taken back where it came from. For a store whose publication failed."""
        while self._taken:
            src, target = self._taken.pop()
            if target.exists() and not src.exists():
                src.parent.mkdir(parents=True, exist_ok=True)
                target.rename(src)

    def remove_sources(self) -> None:
        """Remove what was copied from another file system. For a store that has published."""
        while self._copied:
            src = self._copied.pop()
            if src.is_dir():
                shutil.rmtree(src)
            else:
                src.unlink()

    def _free_place(self, name: str) -> Path:
        try:
            target = self.path / check_file_name(name)
        except ValueError as error:
            raise UserError(str(error)) from error
        if target.exists():
            raise UserError(f"the artifact has {name!r} already: nothing is overwritten")
        return target


def _copy(src: Path, target: Path) -> None:
    if src.is_dir():
        shutil.copytree(src, target, symlinks=True)  # links stay links, which publishing refuses
    else:
        shutil.copyfile(src, target)
        target.chmod(src.stat().st_mode)
