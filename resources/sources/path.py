"""Datasets on this machine: paths and ``pvc://``, only below the allowed roots.

Nothing is copied. Containment is decided on the real path, after symbolic links and ``..``, and
before anything tells whether a file exists.

Versions: as in ``files.read_local``; a folder is listed again at the end, and refused when files
came or went while it was read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resources.errors import UserError
from resources.sources.files import (
    Fetched,
    SizeLimit,
    SourceUnavailableError,
    in_name_order,
    is_allowed,
    nothing_found,
    read_local,
    require_allowed,
)
from resources.sources.partitions import is_partition_key, natural_order
from resources.sources.uri import PathUri, PvcUri


@dataclass(frozen=True)
class Roots:
    """The folders below which data may be read, and how a user changes them."""

    folders: tuple[Path, ...]
    remedy: str

    def resolve(self, path: Path, what: str) -> Path:
        """The real path.

        Raises:
            UserError: it lies outside the allowed roots.
        """
        real = Path(os.path.realpath(path))  # a file that is not there yet has a real path too
        if any(real.is_relative_to(folder) for folder in self.folders):
            return real
        allowed = ", ".join(str(folder) for folder in self.folders) or "none is set"
        raise UserError(f"{what}: {real} is outside the allowed roots ({allowed}): {self.remedy}")


def data_roots(folders: Sequence[str]) -> Roots:
    """The roots of plain paths."""
    real = tuple(Path(os.path.realpath(folder)) for folder in folders)
    return Roots(real, "add its folder to FT_DATA_ROOTS or move the data below a root")


def locate(
    uri: PathUri | PvcUri, roots: Roots, pvc_root: str, base_dir: Path | None
) -> tuple[Path, Roots]:
    """Where ``uri`` points, and the roots that hold for it; refuses a way out of them.

    Raises:
        UserError: no volume is set for ``pvc://``, or the path leaves the roots.
    """
    if isinstance(uri, PvcUri):
        if not pvc_root:
            raise UserError(
                f"pvc://{uri.path}: no volume is set: set FT_PVC_ROOT to the folder where the "
                "volume is mounted"
            )
        mount = Path(os.path.realpath(pvc_root))
        volume = Roots((mount,), "a pvc:// path stays on the volume that FT_PVC_ROOT names")
        volume.resolve(mount / uri.path, f"pvc://{uri.path}")
        return mount / uri.path, volume
    path = (base_dir or Path.cwd()) / uri.path
    roots.resolve(path, uri.path)
    return path, roots


def fetch(path: Path, roots: Roots, uri: str, limit: SizeLimit) -> Fetched:
    """The file at ``path``, or every dataset file in that folder and the folders below it.

    Raises:
        UserError: missing, of an unknown type, empty, outside the roots or above the limit.
    """
    real = roots.resolve(path, uri)
    try:
        if real.is_dir():
            found = sorted(walk(real, roots, uri))
            if not found:
                raise nothing_found(uri)
        elif real.is_file():
            require_allowed(path.name, uri)
            found = [(path.name, real)]
        else:
            raise UserError(_missing(uri, path))
        for name, file in found:
            limit.add(f"{uri}: {name}", file.stat().st_size)
        files = in_name_order(read_local(file, name) for name, file in found)
        if real.is_dir() and sorted(walk(real, roots, uri)) != found:
            raise SourceUnavailableError(
                f"{uri}: files came or went while it was read: wait until the drop is complete, "
                "then run again"
            )
        return Fetched(uri, files, revision=None)
    except PermissionError as error:
        raise UserError(
            f"{error.filename or path}: this user may not read it: change its permissions"
        ) from error
    except FileNotFoundError as error:
        raise SourceUnavailableError(
            f"{error.filename}: was removed while the dataset was read: run again"
        ) from error


def list_partitions(before: str, after: str, roots: Roots, base: Path, uri: str) -> list[str]:
    """The partition keys for which there is a dataset file, in natural order.

    ``before`` and ``after`` surround ``{partition}`` in the path; ``base`` is what it is relative
    to. One folder is read entry by entry.

    Raises:
        UserError: that folder is missing or outside the roots.
    """
    parent, _, head = before.rpartition("/")
    tail, slash, rest = after.partition("/")
    folder = base / (parent + "/" if before.startswith("/") else parent)
    real = roots.resolve(folder, uri)
    keys: list[str] = []
    try:
        with os.scandir(real) as entries:
            for entry in entries:
                name = entry.name
                if len(name) <= len(head) + len(tail):
                    continue
                if not (name.startswith(head) and name.endswith(tail)):
                    continue
                key = name[len(head) : len(name) - len(tail)]
                if is_partition_key(key) and _holds_data(
                    real / name / rest, roots, uri, folder=bool(slash and not rest)
                ):
                    keys.append(key)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{uri}: there is no folder {folder}: create it or mend the path"
        ) from error
    except PermissionError as error:
        raise UserError(f"{uri}: this user may not read {error.filename}") from error
    return sorted(keys, key=natural_order)


def _holds_data(path: Path, roots: Roots, uri: str, *, folder: bool) -> bool:
    real = roots.resolve(path, uri)
    if real.is_dir():
        return next(walk(real, roots, uri), None) is not None
    return not folder and real.is_file() and is_allowed(path.name)


def walk(folder: Path, roots: Roots, uri: str) -> Iterator[tuple[str, Path]]:
    """Names and real paths of the dataset files in a folder tree.

    Links to folders are followed, each folder once. Hidden names are left out: other programs keep
    half-written files and bookkeeping under them.
    """
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_stop):
        real_here = os.path.realpath(here)
        if real_here in seen:
            folders.clear()
            continue
        seen.add(real_here)
        roots.resolve(Path(here), uri)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if is_allowed(name) and not name.startswith("."):
                file = Path(here, name)
                yield file.relative_to(folder).as_posix(), roots.resolve(file, uri)


def _stop(error: OSError) -> None:
    raise error


def _missing(uri: str, path: Path) -> str:
    where = "" if str(path) == uri else f" (looked for {path})"
    a_repo = uri.count("/") == 1 and not uri.startswith((".", "/")) and not is_allowed(uri)
    hub = f"; for a dataset of a Hugging Face hub write hf://{uri}" if a_repo else ""
    return f"{uri}: there is no such file or folder{where}: mend the path{hub}"
