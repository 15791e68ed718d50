"""An artifact's files from a bucket, each compared with what the manifest says while it arrives.

Belongs here: which digest a file is compared with. Does not belong here: how an object is read in
ranges, and what becomes of the files.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blake3 import blake3

from resources.errors import UserError
from resources.store.names import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resources.sources.s3_download import Hasher
    from resources.store.manifest import Manifest, ManifestFile
    from resources.store.objects import Bucket


def download_files(bucket: Bucket, prefix: str, manifest: Manifest, into: Path) -> None:
    """Download the files of an artifact, whose objects lie below ``prefix``, into a new folder.

    Raises:
        UserError: an object is missing, or not what was published.
    """
    for file in manifest.files:
        place = into / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        algorithm, published, hasher = _compared(file)
        key = f"{prefix}/{file.path}"
        arrived = bucket.download(key, place, hasher)
        if arrived != published:
            found = "there is no such object" if arrived is None else f"{algorithm} {arrived}"
            raise UserError(
                f"s3://{bucket.name}/{key} is missing or not what was published ({found}, "
                f"published {published}): materialize "
                f"{describe(manifest.key, manifest.partition)} again"
            )


def _compared(file: ManifestFile) -> tuple[str, str, Callable[[], Hasher]]:
    """The digest that a download is compared with: its name, its value, and what computes it."""
    if file.blake3 is None:
        return "sha256", file.sha256, hashlib.sha256
    return "blake3", file.blake3, blake3
