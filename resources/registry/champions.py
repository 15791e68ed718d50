"""Who was champion when, and why: the ``champions`` table of the embedded registry.

Belongs here: changing the champion and the record of it, and what may not change it, inside a
transaction of the caller. Does
not belong here: which champion a rollback goes to (``rules.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resources.registry.port import ChampionChange
from resources.registry.queries import version_ids
from resources.registry.rules import may_replace, no_champion, not_compared

if TYPE_CHECKING:
    import sqlite3

    from resources.registry.port import Act, Registration


def now() -> str:
    """This moment: UTC, ISO 8601, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def put_in_force(
    database: sqlite3.Connection, model_id: int, version_id: int, *, act: Act, by: str, why: str
) -> None:
    """Make a version the champion, archive the former one and write the history."""
    archive_champion(database, model_id)
    database.execute(
        "UPDATE versions SET stage = 'champion', state = 'LIVE', updated_at = ? WHERE id = ?",
        (now(), version_id),
    )
    remember(database, model_id, version_id, act=act, by=by, why=why)


def refuse_other_champion(
    database: sqlite3.Connection, model_id: int, registration: Registration
) -> None:
    """Refuse content that would replace a champion which nobody compared it with."""
    row = database.execute(
        "SELECT name, digest FROM versions WHERE model_id = ? AND stage = 'champion'", (model_id,)
    ).fetchone()
    versions = version_ids(database, model_id)
    if row is None and versions:
        raise no_champion(registration.model, versions)
    if not may_replace(registration, row and row["digest"]):
        raise not_compared(registration.model, row and row["name"])


def archive_champion(database: sqlite3.Connection, model_id: int) -> None:
    """Take the champion out of force, where there is one."""
    database.execute(
        "UPDATE versions SET stage = 'archived', state = 'ARCHIVED', updated_at = ? "
        "WHERE model_id = ? AND stage = 'champion'",
        (now(), model_id),
    )


def remember(
    database: sqlite3.Connection, model_id: int, version_id: int, *, act: Act, by: str, why: str
) -> None:
    """Write one change of the champion into the history."""
    database.execute(
        "INSERT INTO champions (model_id, version_id, act, actor, why, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (model_id, version_id, act, by, why, now()),
    )


def read_history(database: sqlite3.Connection, model_id: int) -> list[ChampionChange]:
    """All changes of a model's champion, oldest first."""
    rows = database.execute(
        "SELECT champions.*, versions.name AS version FROM champions "
        "JOIN versions ON versions.id = champions.version_id "
        "WHERE champions.model_id = ? ORDER BY champions.id",
        (model_id,),
    )
    return [
        ChampionChange(
            version=row["version"],
            act=row["act"],
            by=row["actor"],
            why=row["why"],
            at=row["created_at"],
        )
        for row in rows
    ]
