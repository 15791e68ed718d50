"""The SQLite file of the embedded registry: its tables, how it is created, opened and locked.

The tables follow Kubeflow's Model Registry: registered models, their versions, the versions'
artifacts and typed custom properties. Does not belong here: what a registration means
(``embedded.py``).
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TextIO

from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SCHEMA_VERSION = 2
_BUSY_SECONDS = 60
_LOCKED = (
    f"another program has kept it locked for {_BUSY_SECONDS} seconds: run again, or end that "
    "program (an open sqlite3 session or a backup, say)"
)

# Versions carry the digest too, so that a version whose artifact is missing is still recognised.
# The partial index makes a second champion impossible, whoever writes.
_TABLES = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version (version) VALUES (2);
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    owner TEXT,
    state TEXT NOT NULL CHECK (state IN ('LIVE', 'ARCHIVED')),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL REFERENCES models (id),
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('LIVE', 'ARCHIVED')),
    stage TEXT NOT NULL CHECK (stage IN ('champion', 'archived')),
    author TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (model_id, name),
    UNIQUE (model_id, digest),
    CHECK ((stage = 'champion') = (state = 'LIVE'))
);
CREATE UNIQUE INDEX one_champion ON versions (model_id) WHERE stage = 'champion';
CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL UNIQUE REFERENCES versions (id),
    uri TEXT NOT NULL,
    digest TEXT NOT NULL,
    format_name TEXT NOT NULL,
    format_version TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE TABLE bool_properties (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    name TEXT NOT NULL,
    value INTEGER NOT NULL CHECK (value IN (0, 1)),
    PRIMARY KEY (version_id, name)
);
CREATE TABLE int_properties (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    name TEXT NOT NULL,
    value INTEGER NOT NULL CHECK (typeof(value) = 'integer'),
    PRIMARY KEY (version_id, name)
);
CREATE TABLE float_properties (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    name TEXT NOT NULL,
    value REAL NOT NULL CHECK (typeof(value) = 'real'),
    PRIMARY KEY (version_id, name)
);
CREATE TABLE str_properties (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    name TEXT NOT NULL,
    value TEXT NOT NULL CHECK (typeof(value) = 'text'),
    PRIMARY KEY (version_id, name)
);
"""

_CHAMPIONS = """
CREATE TABLE champions (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL REFERENCES models (id),
    version_id INTEGER NOT NULL REFERENCES versions (id),
    act TEXT NOT NULL CHECK (act IN ('registered', 'promoted', 'rolled back')),
    actor TEXT NOT NULL,
    why TEXT NOT NULL,
    created_at TEXT NOT NULL
);
"""

# Version 1 kept no history. What it did keep says this much: every version was champion when it was
# registered; where the champion is not the newest, someone went back to it.
_HISTORY_OF_1 = """
INSERT INTO champions (model_id, version_id, act, actor, why, created_at)
    SELECT model_id, id, 'registered', author, '', created_at FROM versions ORDER BY id;
INSERT INTO champions (model_id, version_id, act, actor, why, created_at)
    SELECT model_id, id, 'rolled back', '', 'not known: the registry kept no history', updated_at
    FROM versions WHERE stage = 'champion' AND id <> (
        SELECT max(id) FROM versions AS others WHERE others.model_id = versions.model_id
    );
UPDATE schema_version SET version = 2;
"""


def create_database(path: Path, *, shared: bool = False) -> None:
    """Create the file and its tables where they are missing; safe among racing processes.

    A lock file beside it serialises creation, because SQLite does not wait for its locks while the
    journal mode changes. The tables come in one transaction: killed in the middle, none is there.
    A file of an earlier release is brought up to this one's tables in the same manner.

    Args:
        path: the file.
        shared: several machines use it. SQLite's write-ahead log is memory that only processes of
            one machine share, so the older rollback journal takes its place.

    Raises:
        UserError: the path is no registry, or one of a newer release.
    """
    with (
        explained(path),
        _lock_file(path) as lock,
        closing(_connect(path)) as database,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        journal = "delete" if shared else "wal"
        if _journal_mode(database) != journal:
            database.execute(f"PRAGMA journal_mode = {journal}")
        found = _schema_version(database)
        if found is None:
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} {_CHAMPIONS} COMMIT;")
        elif found == 1:
            database.executescript(f"BEGIN IMMEDIATE; {_CHAMPIONS} {_HISTORY_OF_1} COMMIT;")
        found = _schema_version(database)
    if found != SCHEMA_VERSION:
        raise UserError(
            f"registry {path} has schema version {found}, and this release reads versions up to "
            f"{SCHEMA_VERSION}: use the release that wrote it, or name another file"
        )


@contextmanager
def transaction(path: Path, *, write: bool) -> Generator[sqlite3.Connection]:
    """A connection in one transaction: committed at the end, rolled back on any exception.

    Writers take the write lock at once (BEGIN IMMEDIATE), so that what they read stays true until
    they commit.
    """
    with explained(path), closing(_connect(path)) as database:
        database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield database
        except BaseException:
            if database.in_transaction:  # SQLite has rolled back by itself when the disk is full
                database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn errors of SQLite and of the disk that the user can remedy into UserError.

    Others, which would be mistakes of this adapter, pass as they are.
    """
    remedies = {
        sqlite3.SQLITE_BUSY: _LOCKED,
        sqlite3.SQLITE_LOCKED: _LOCKED,
        sqlite3.SQLITE_CORRUPT: "it is damaged: bring it back from a backup, or save what can be "
        "read with `sqlite3 FILE .recover`",
        sqlite3.SQLITE_IOERR: "the disk that it lies on fails to read, write or lock it: check the "
        "disk, or name a file on another one",
        sqlite3.SQLITE_PERM: "it may not be used: check its permissions",
        sqlite3.SQLITE_NOTADB: "it is not an SQLite file: name another file",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the path and its permissions",
        sqlite3.SQLITE_READONLY: "it is read-only: check its permissions",
        sqlite3.SQLITE_FULL: "its disk is full: free space and run again",
    }
    try:
        yield
    except sqlite3.Error as error:
        primary_code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        remedy = remedies.get(primary_code)
        if remedy is None:
            raise
        raise UserError(f"registry {path}: {remedy}") from error
    except OSError as error:  # of the folder and the lock file
        raise UserError(
            f"registry {path}: {error.strerror or error} ({error.filename or path}): check the "
            "path and its permissions, or name another file"
        ) from error


def _lock_file(path: Path) -> TextIO:
    """The file beside the registry that is locked while it is created, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.name}.lock").open("a")


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA foreign_keys = ON")
    return database


def _journal_mode(database: sqlite3.Connection) -> str:
    return str(database.execute("PRAGMA journal_mode").fetchone()[0])


def _schema_version(database: sqlite3.Connection) -> int | None:
    """The schema version of the file; None in an empty file, 0 in one that is something else."""
    tables = {row["name"] for row in database.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return None
    if "schema_version" not in tables:
        return 0
    return int(database.execute("SELECT version FROM schema_version").fetchone()["version"])
