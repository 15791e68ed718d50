"""The private folders that artifacts are written in, and how they are removed.

Belongs here: naming and removing staging folders, those of killed processes too, and what is said
when the disk is full. A staging folder lies on the store's own file system, so that publishing is
a rename.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import socket
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

_log = logging.getLogger(__name__)

STAGING = ".staging"
ABANDONED_AFTER_SECONDS = 2 * 24 * 3600
_CLOCK_SLACK_SECONDS = 60
_NAME = re.compile(r"(?P<host>.+)~(?P<pid>[0-9]+)~[0-9a-f]{32}")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_MEGABYTE = 1_000_000


@contextmanager
def staging_folder(root: Path, doing: str, expected: Callable[[], int]) -> Generator[Path]:
    """A private folder below ``root`` that is gone when the block ends, however it ends.

    Args:
        root: the store, or the cache of one.
        doing: what is done, for messages: ``publishing demo/split_dataset``.
        expected: bytes that it will take, or 0 when nobody knows. Asked when the disk is full.

    Raises:
        UserError: the store cannot be written, or its disk is full, wherever in the block that
            shows.
    """
    folder = root / STAGING / f"{_host()}~{os.getpid()}~{uuid.uuid4().hex}"
    try:
        with full_disk_explained(root, folder, doing, expected):
            _remove_leftovers(root / STAGING)
            _make(folder, root, doing)
            yield folder
    finally:
        if folder.is_dir():
            _remove(folder)


@contextmanager
def full_disk_explained(
    root: Path, folder: Path, doing: str, expected: Callable[[], int] = lambda: 0
) -> Generator[None]:
    """Say what to do when the disk below ``root`` is full, wherever in the block that shows.

    Args:
        root: the folder that the user can set elsewhere.
        folder: what is written, and will be removed.
        doing: what is done, for messages.
        expected: as for :func:`staging_folder`.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except Exception as error:  # libraries wrap the OSError of a full disk in their own types
        if isinstance(error, UserError) or not _is_disk_full(error, root):
            raise
        raise UserError(_disk_full_message(root, folder, doing, expected())) from error


def _make(folder: Path, root: Path, doing: str) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise UserError(
            f"{doing}: cannot write to {root} ({error.strerror}); name a folder that this user can "
            "write to, in FT_HOME or in the store's folders"
        ) from error


def _remove_leftovers(staging: Path) -> None:
    """Remove what killed processes left behind. One that cannot be removed is only logged."""
    if not staging.is_dir():
        return
    for folder in staging.iterdir():
        try:
            if _is_abandoned(folder):
                _log.info("removing %s, left behind by a process that is gone", folder)
                _remove(folder)
        except FileNotFoundError:
            continue  # its process, or another cleaner, has just removed it
        except OSError as error:
            _log.warning("cannot remove %s, left behind by a killed process: %s", folder, error)


def _is_abandoned(folder: Path) -> bool:
    """Whether nobody writes to this folder any more.

    On this host its process tells. Elsewhere only age does: two days without a write.
    """
    match = _NAME.fullmatch(folder.name)
    if match and match["host"] == _host():
        return not _is_owner(int(match["pid"]), folder)
    newest = max(entry.lstat().st_mtime for entry in [folder, *_entries(folder)])
    return time.time() - newest > ABANDONED_AFTER_SECONDS


def _is_owner(pid: int, folder: Path) -> bool:
    """Whether process ``pid`` lives, and was there when the folder was last touched."""
    import psutil  # not with the code location, which asks this seldom

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() < folder.stat().st_mtime + _CLOCK_SLACK_SECONDS
    except psutil.NoSuchProcess:
        return False


def _host() -> str:
    """This host and its process namespace: containers can share a host name, not their pids."""
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return f"{socket.gethostname()}~{inode}"


def _entries(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            yield Path(parent) / name


def _remove(folder: Path) -> None:
    """Remove a folder that another cleaner may be removing too."""

    def unless_gone(_function: object, _path: str, info: tuple[object, BaseException, object]):
        if not isinstance(info[1], FileNotFoundError):
            raise info[1]

    shutil.rmtree(folder, onerror=unless_gone)


def _is_disk_full(error: BaseException | None, root: Path) -> bool:
    """Whether ``error``, or what it was raised from, is a full disk or quota at ``root``."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            # A copy that failed names its source first and what it was writing second.
            return not _is_elsewhere(error.filename2 or error.filename, root)
        if re.search(r"\(os error (28|122)\)", str(error)):  # how libraries in Rust say it
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_elsewhere(filename: object, root: Path) -> bool:
    """Whether a file is known to lie on another file system than ``root``."""
    if not isinstance(filename, str):
        return False
    return _existing(Path(filename)).stat().st_dev != _existing(root).stat().st_dev


def _disk_full_message(root: Path, folder: Path, doing: str, expected: int) -> str:
    staged = sum(entry.lstat().st_size for entry in _entries(folder) if not entry.is_dir())
    free = shutil.disk_usage(_existing(root)).free + staged  # what was staged is about to go
    needed = f"about {_in_words(expected)}" if expected > free else "more"
    return (
        f"disk full while {doing}: {_existing(root)} has {_in_words(free)} free, needed {needed}; "
        "free space or set FT_HOME or the store's folders elsewhere"
    )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _in_words(size: int) -> str:
    return f"{size / _MEGABYTE:,.1f} MB"
