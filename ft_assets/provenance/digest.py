"""Digests of files, folders and values: sha256, in hex."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, read in chunks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_digest(folder: Path, names: Iterable[str]) -> str:
    """sha256 over the names and contents of files in a folder, whatever their order."""
    entries = [[name, file_digest(folder / name)] for name in sorted(names)]
    return value_digest(entries)


def value_digest(value: Any) -> str:
    """sha256 of a value's canonical JSON (sorted keys, no spaces; NaN is refused)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
