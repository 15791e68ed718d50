"""Version folders on a local disk: written privately, then put in place by one rename.

Belongs here: the folder ``DIGEST/{files, manifest.json}`` that the local store and the cache of an
S3 store share. Does not belong here: which version is the current one.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from resources.errors import UserError
from resources.store.manifest import (
    Manifest,
    decode_manifest,
    encode_manifest,
    same_description,
)
from resources.store.names import FILES, MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


def complete_version(staged: Path, manifest: Manifest) -> None:
    """Write the manifest of a staged version, last of all, and make everything durable."""
    content = encode_manifest(manifest)
    for file in manifest.files:
        sync(staged / FILES / file.path)
    for parent, _, _ in os.walk(staged / FILES):
        sync(parent)
    write_durably(staged / MANIFEST, content)
    sync(staged)


def install_version(staged: Path, manifest: Manifest, target: Path) -> Manifest:
    """Put a completed version in its place; the manifest that is there afterwards.

    Where the same content is already, a manifest that says something else is replaced, and so is
    each file by its equal: what was damaged since then is whole again. Readers see each of them
    as it was or as it is, never half of it.
    """
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        manifest = _renew(staged, manifest, target)
    sync(target.parent)
    return manifest


def make_folders(folder: Path, root: Path) -> None:
    """Create ``folder`` below ``root``, durably."""
    folder.mkdir(parents=True, exist_ok=True)
    for parent in [folder, *folder.parents]:
        sync(parent)
        if parent == root:
            break


def read_version(folder: Path) -> Manifest | None:
    """The manifest of a version folder; None when there is none.

    Raises:
        UserError: the manifest is damaged.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    return decode_manifest(content, str(folder / MANIFEST))


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path | str) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _renew(staged: Path, manifest: Manifest, target: Path) -> Manifest:
    for file in manifest.files:
        place = target / FILES / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        (staged / FILES / file.path).replace(place)
    existing = _readable_version(target)
    if existing is not None and same_description(existing, manifest):
        return existing
    (staged / MANIFEST).replace(target / MANIFEST)
    sync(target)
    return manifest


def _readable_version(folder: Path) -> Manifest | None:
    """The manifest, or None when it is missing or damaged, so that publishing again repairs it."""
    try:
        return read_version(folder)
    except UserError:
        return None
