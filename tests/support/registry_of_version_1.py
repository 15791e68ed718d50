"""A file of the embedded registry as the release before the history of champions wrote it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_TABLES = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version (version) VALUES (1);
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


def write_registry_of_version_1(path: Path, versions: int = 3, champion: int = 2) -> None:
    """Write the file: one model ``old`` with versions 1.0.0, 1.0.1 ... and one of them in force.

    Args:
        path: the file.
        versions: how many there are, registered in this order.
        champion: which one is in force, counted from 0.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_TABLES)
        database.execute(
            "INSERT INTO models VALUES (1, 'old', 'team', 'LIVE', '2026-01-01', '2026-01-01')"
        )
        for number in range(versions):
            stage, state = ("champion", "LIVE") if number == champion else ("archived", "ARCHIVED")
            at = f"2026-01-0{number + 1}T00:00:00.000+00:00"
            database.execute(
                "INSERT INTO versions VALUES (?, 1, ?, ?, ?, ?, 'pipeline', 'd', ?, ?)",
                (number + 1, f"1.0.{number}", f"d{number}", state, stage, at, at),
            )
            database.execute(
                "INSERT INTO artifacts VALUES (?, ?, ?, ?, 'safetensors', '1.0', 'LIVE', ?)",
                (number + 1, number + 1, f"s3://m/d{number}", f"d{number}", at),
            )
            database.execute(
                "INSERT INTO float_properties VALUES (?, 'loss', ?)", (number + 1, 2.0 + number)
            )
