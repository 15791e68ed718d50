"""The digests of the files that are going to be an artifact, each file read once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blake3 import blake3

from resources.store.manifest import ManifestFile

_BLOCK = 1 << 18


class FileDigests:
    """What the manifest says of the files below a folder.

    A digest may be wanted before the manifest is written. It is remembered as long as the file is
    the one that was read: replaced, or written again at another time of the file system's clock,
    it is read again. A clock can stand still for milliseconds, so whoever asks has written all.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, ...], ManifestFile]] = {}

    def of(self, name: str) -> ManifestFile:
        """The file with this name, relative to the folder.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        path = self._folder / name
        status = path.stat()
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        known, file = self._known.get(name, ((), None))
        if file is None or known != version:
            sha256, blake3_ = digests_of(path)
            file = ManifestFile(path=name, size=status.st_size, sha256=sha256, blake3=blake3_)
            self._known[name] = version, file
        return file


def digests_of(path: Path) -> tuple[str, str]:
    """The SHA-256 and the BLAKE3 of a file, which is read once.

    Raises:
        OSError: it cannot be read.
    """
    sha256, blake3_ = hashlib.sha256(), blake3()
    block = bytearray(_BLOCK)
    view = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            sha256.update(view[:count])
            blake3_.update(view[:count])
    return sha256.hexdigest(), blake3_.hexdigest()
