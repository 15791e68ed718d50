"""One SQLite file of a model's answers: opened, made, checked and set aside when it is damaged.

Belongs here: the file and its locks. What is in it and what is thrown away first stands in
:mod:`ft_assets.evaluation.cache`.

The file has a rollback journal (a write-ahead log needs memory shared by all readers, which a
network disk does not give). Every use opens it anew under a lock beside it, so that a file that is
not ours, or damaged, can be set aside while others use it. Each entry carries a checksum over key
and value: a flipped byte is found even where SQLite does not see it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

T = TypeVar("T")

_log = logging.getLogger(__name__)

_APPLICATION = 0x66744543  # "ftEC", in the header of the file
_FORMAT = 1
_WAIT = 120.0  # seconds that a writer waits for another one
_ATTEMPTS = 3  # of setting a damaged file aside

_SCHEMA = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE answers (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, "
    "value BLOB NOT NULL, checksum BLOB NOT NULL, used INTEGER NOT NULL)",
)


class DamagedError(Exception):
    """The file is no cache of this model, or no longer one."""


class CacheFile:
    """The file with the answers of one model.

    Args:
        path: of the file; its folder is made when it is missing.
        model: digest that the file must belong to.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path = path
        self._model = model
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the folder {self.path.parent} of cached results ({error.strerror}): "
                "make it writable or name another folder"
            ) from error
        try:
            self.use(lambda _: None)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"cannot use {self.path} for cached results ({error}): make the folder writable or "
                "name another one"
            ) from error

    def use(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Act on the file; one that is damaged or not ours is set aside, and a new one begun."""
        for _ in range(_ATTEMPTS):
            try:
                return self._act(act)
            except (DamagedError, sqlite3.DatabaseError) as error:
                if not is_damage(error):
                    raise
                self._set_aside(str(error))
        return self._act(act)

    def _act(self, act: Callable[[sqlite3.Connection], T]) -> T:
        with self._locked(fcntl.LOCK_SH), self._opened() as database:
            return act(database)

    @contextmanager
    def _locked(self, kind: int) -> Generator[None]:
        """Hold the file's place: shared to use the file, alone to set it aside."""
        try:
            lock = self.path.with_suffix(".lock").open("a")
        except OSError as error:
            raise UserError(
                f"cannot write cached results to {self.path.parent} ({error.strerror}): make the "
                "folder writable or name another one"
            ) from error
        with lock:
            fcntl.flock(lock, kind)
            yield

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        """The file, with our tables in it, made where it is missing."""
        database = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            database.execute("PRAGMA trusted_schema = OFF")
            if not self._is_ours(database):
                self._create(database)
            yield database
        finally:
            database.close()

    def _is_ours(self, database: sqlite3.Connection) -> bool:
        """Whether the file is this model's cache; False where there is nothing in it yet."""
        application = pragma(database, "application_id")
        if application == 0 and pragma(database, "schema_version") == 0:
            return False
        if application != _APPLICATION or pragma(database, "user_version") != _FORMAT:
            raise DamagedError("it is no cache of evaluation results of this version")
        row = database.execute("SELECT value FROM about WHERE name = 'model'").fetchone()
        if row is None or row[0] != self._model:
            raise DamagedError("it holds the results of another model")
        return True

    def _create(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        with transaction(database):
            if self._is_ours(database):  # another process was faster
                return
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute("INSERT INTO about VALUES ('model', ?)", (self._model,))
            database.execute(f"PRAGMA user_version = {_FORMAT}")
            database.execute(f"PRAGMA application_id = {_APPLICATION}")

    def _set_aside(self, reason: str) -> None:
        """Rename the file, unless another process has done so since."""
        with self._locked(fcntl.LOCK_EX):
            if not self._damaged():
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            journal = self.path.with_name(f"{self.path.name}-journal")
            if journal.exists():  # it must never be applied to the new file
                journal.rename(aside.with_name(f"{aside.name}-journal"))
            self.path.rename(aside)
        _log.warning("set aside %s as %s: %s; its results are lost", self.path, aside.name, reason)

    def _damaged(self) -> bool:
        """Whether the file is damaged or not ours, from reading all of it."""
        try:
            with self._opened() as database:
                _verify(database)
        except (DamagedError, sqlite3.DatabaseError) as error:
            if not is_damage(error):
                raise
            return True
        return False


def _verify(database: sqlite3.Connection) -> None:
    """Read all entries.

    Raises:
        DamagedError: an entry or the file's structure is damaged.
    """
    if (said := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise DamagedError(said)
    for key, value, checksum in database.execute("SELECT key, value, checksum FROM answers"):
        if checksum != checksum_of(key, value):
            raise DamagedError(f"the answer {key.hex()} does not match its checksum")


def checksum_of(key: bytes, value: bytes) -> bytes:
    """Eight bytes that an entry carries, so that a flipped bit in it is found."""
    return hashlib.blake2b(value, key=key, digest_size=8).digest()


def pragma(database: sqlite3.Connection, name: str) -> int:
    """One of SQLite's own numbers about the file."""
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def transaction(database: sqlite3.Connection) -> Generator[None]:
    """All that the block writes, or nothing of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def is_damage(error: Exception) -> bool:
    """Whether the file is at fault, not the disk or the moment."""
    if isinstance(error, DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
