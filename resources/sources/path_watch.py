"""Looking at folders, volumes and package files for drops and their versions.

A folder's names are all read at each look, since a file system gives them in no order: they are
held as text, some 100 bytes each, and only the drops of the page are looked into. Links are
followed, within the allowed roots. Hidden names and other file types are no data.

A version follows from name, size, modification time and inode-change time of each file: writing a
file, or putting another in its place, changes at least one of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from resources.errors import UserError
from resources.sources import package
from resources.sources.drops import DropFiles, DropPage, DropVersion
from resources.sources.files import SourceUnavailableError, is_allowed
from resources.sources.partitions import is_partition_key
from resources.sources.path import Roots, walk
from resources.sources.uri import PackageUri

PAGE_OF_FILES = 500
"""Files that one page of a folder holds: each is asked about, which a listing of S3 spares."""


@dataclass(frozen=True)
class DropFolder:
    """The folder whose entries are the drops: ``FOLDER/HEAD{partition}TAIL/REST``.

    Its names are read once: it is made anew for each look.
    """

    folder: Path
    head: str
    tail: str
    rest: str
    only_folders: bool
    """Whether the template ends in a slash, so that a file is no drop."""
    roots: Roots
    uri: str

    @classmethod
    def of(cls, before: str, after: str, base: Path, roots: Roots, uri: str) -> DropFolder:
        """From what stands before and after ``{partition}`` in a path relative to ``base``."""
        parent, _, head = before.rpartition("/")
        tail, slash, rest = after.partition("/")
        folder = base / (parent + "/" if before.startswith("/") else parent)
        return cls(folder, head, tail, rest, bool(slash) and after.endswith("/"), roots, uri)

    @cached_property
    def _real(self) -> Path:
        return self.roots.resolve(self.folder, self.uri)

    def partitions(self, position: str) -> Iterator[str]:
        """The partition keys after ``position`` that names in the folder stand for, sorted.

        Raises:
            UserError: the folder is missing, outside the roots, or may not be read.
        """
        behind = [key for key in self._keys if key > position]
        return filter(is_partition_key, sorted(behind))

    @cached_property
    def _keys(self) -> list[str]:
        """What the names in the folder have in the place of the partition; read once."""
        try:
            names = os.listdir(self._real)  # noqa: PTH208 - names are all that is wanted of 100,000
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(
                f"{self.uri}: there is no folder {self.folder}: create it or mend the path"
            ) from error
        except PermissionError as error:
            raise UserError(f"{self.uri}: this user may not read {self.folder}") from error
        head, tail, begin, end = self.head, self.tail, len(self.head), len(self.tail)
        return [
            name[begin : len(name) - end]
            for name in names
            if name.startswith(head) and name.endswith(tail)
        ]

    def version(self, key: str, marker: str | None) -> DropVersion | None:
        """Of the drop with this key."""
        if not self.rest and not self.only_folders:
            # What is no link lies in the folder itself, which was found within the roots: looking
            # at thousands of files, finding each one's real path would take most of the time.
            found = _plain_file(f"{self._real}/{self.head}{key}{self.tail}", marker)
            if found is not None:
                return found
        path = self.folder / f"{self.head}{key}{self.tail}" / self.rest
        return version(path, self.roots, self.uri, marker, only_folder=self.only_folders)


def drops_after(place: DropFolder, position: str, pages: int, marker: str | None) -> DropPage:
    """The drops after ``position``, a partition key, until ``pages`` of files were looked at.

    A drop that cannot be looked at is there without a version: asking for it says why.

    Raises:
        UserError: the folder is missing, outside the roots, or may not be read.
    """
    drops: dict[str, DropVersion | None] = {}
    left = pages * PAGE_OF_FILES
    for key in place.partitions(position):
        if left <= 0:
            return DropPage(drops, position, end=False)
        try:
            found = place.version(key, marker)
        except UserError:  # of one drop only, which must not hide the others
            drops[key], left = None, left - 1
        else:
            if found is not None:
                drops[key] = found
            left -= max(1, found.files if found else 0)
        position = key
    return DropPage(drops, position, end=True)


def version(
    path: Path, roots: Roots, what: str, marker: str | None, *, only_folder: bool
) -> DropVersion | None:
    """The version of the file or folder at ``path``; None when it holds no dataset file.

    Raises:
        UserError: outside the roots, or it may not be read.
        SourceUnavailableError: folders were removed at each of two looks, or the file system fails.
    """
    for _ in range(2):
        try:
            return _look(path, roots, what, marker, only_folder=only_folder)
        except FileNotFoundError:  # a folder that was removed below it
            continue
        except PermissionError as error:
            raise UserError(
                f"{error.filename or path}: this user may not read it: change its permissions"
            ) from error
        except OSError as error:  # a link to itself, a network file system that is away
            raise SourceUnavailableError(
                f"{error.filename or path}: cannot be looked at ({error.strerror}): mend it, or "
                "try again later"
            ) from error
    raise SourceUnavailableError(f"{what}: folders in it are removed while it is looked at")


def _look(
    path: Path, roots: Roots, what: str, marker: str | None, *, only_folder: bool
) -> DropVersion | None:
    real = roots.resolve(path, what)
    found = DropFiles()
    if real.is_dir():
        for name, file in walk(real, roots, what):
            _count_in(found, name, file)
        found.marked = marker is not None and (real / marker).exists()
    elif not only_folder and real.is_file() and is_allowed(path.name):
        _count_in(found, path.name, real)
        found.marked = marker is not None and path.with_name(beside(path.name, marker)).exists()
    return found.version()


def _plain_file(path: str, marker: str | None) -> DropVersion | None:
    """The version of a dataset file that is no link; None for anything else."""
    name = os.path.basename(path)  # noqa: PTH119 - a Path of each would take longer than the look
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or not is_allowed(name):
        return None
    found = DropFiles()
    found.add(status.st_size, name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if marker is not None:
        found.marked = Path(path).with_name(beside(name, marker)).exists()
    return found.version()


def beside(name: str, marker: str) -> str:
    """What the marker of a drop that is one file is called: ``drop-1.jsonl._SUCCESS``."""
    return f"{name}.{marker.lstrip('.')}"


def _count_in(found: DropFiles, name: str, file: Path) -> None:
    try:
        status = file.stat()
    except FileNotFoundError:  # removed since it was listed, or a link to nowhere: not there
        return
    found.add(status.st_size, name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def files(path: Path, roots: Roots, what: str) -> Iterator[Path]:
    """The dataset files at ``path``, in name order; none where there is nothing.

    Raises:
        UserError: outside the roots, or it may not be read.
    """
    real = roots.resolve(path, what)
    try:
        if real.is_dir():
            for _, file in sorted(walk(real, roots, what)):
                yield file
        elif real.is_file() and is_allowed(path.name):
            yield real
    except PermissionError as error:
        raise UserError(
            f"{error.filename or path}: this user may not read it: change its permissions"
        ) from error


def package_version(uri: PackageUri, text: str) -> DropVersion:
    """The version of a file that an installed package carries: the package's and the file's size.

    A package that was installed without a version has the file's time in its place.

    Raises:
        UserError: the package or the file is missing.
    """
    file = package.find(uri, text)
    found = DropFiles()
    status = file.stat()
    known_as = package.distribution(uri.package) or status.st_mtime_ns
    found.add(status.st_size, uri.package, uri.file, status.st_size, known_as)
    version = found.version()
    assert version is not None
    return version
