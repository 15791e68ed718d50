"""Which names an artifact store accepts, and the folder that they make up.

Belongs here: asset keys, partitions, digests and file names inside an artifact. No name that passes
can leave the store or fall together with another one.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

POINTER = "current.json"
VERSIONS = "versions"
FILES = "files"
MANIFEST = "manifest.json"
_NO_PARTITION = "_"  # no partition can be called so

# The layout's own names: an asset a/versions would lie inside the versions of partition a.
_RESERVED = frozenset({POINTER, VERSIONS})


def artifact_folder(key: Sequence[str], partition: str | None) -> PurePosixPath:
    """The folder of all versions of one asset and partition, relative to the store's root.

    Raises:
        UserError: the key is empty, or a part of it or the partition is not a valid name.
    """
    if isinstance(key, str) or not key:
        raise UserError(f"asset key {key!r} is not valid: give a list of one or more names")
    for part in key:
        _check("asset key part", part)
    if partition is not None:
        _check("partition", partition)
    return PurePosixPath(*key, partition or _NO_PARTITION)


def version_folder(key: Sequence[str], partition: str | None, digest: str) -> PurePosixPath:
    """The folder of one version, relative to the store's root.

    Raises:
        UserError: a name or the digest is not valid.
    """
    if not _DIGEST.fullmatch(digest):
        raise UserError(f"digest {digest!r} is not valid: an artifact has 64 hexadecimal digits")
    return artifact_folder(key, partition) / VERSIONS / digest


def place_below(path: PurePosixPath) -> tuple[tuple[str, ...], str | None, str] | None:
    """Key, partition and digest of the version that a path relative to the store lies in.

    The path is that of the version's folder, or of anything in it; None for any other.
    """
    for at in range(2, len(path.parts) - 1):
        *key, partition = path.parts[:at]
        if path.parts[at] == VERSIONS and _DIGEST.fullmatch(path.parts[at + 1]) and key:
            return tuple(key), None if partition == _NO_PARTITION else partition, path.parts[at + 1]
    return None


def check_file_name(name: str) -> str:
    """``name`` when it is a relative path that stays inside its folder; ValueError otherwise."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
        raise ValueError(f"{name!r} is not a relative path inside the artifact")
    return name


def describe(key: Sequence[str], partition: str | None) -> str:
    """The asset in words, for messages: ``demo/split_dataset, partition 2024-05-01``."""
    name = "/".join(key)
    return f"{name}, partition {partition}" if partition is not None else name


def _check(what: str, name: str) -> None:
    if not _PART.fullmatch(name):
        raise UserError(
            f"{what} {name!r} is not valid: 1 to 128 letters, digits, '.', '_', '=' and '-', "
            "starting with a letter or a digit"
        )
    if name in _RESERVED:
        raise UserError(f"{what} {name!r} is not valid: the artifact store uses that name itself")
