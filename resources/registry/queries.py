"""How models and versions are read from the embedded registry's tables.

Belongs here: rows to values. Does not belong here: writing (``embedded.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.registry.port import (
    Property,
    RegisteredArtifact,
    RegisteredModel,
    RegisteredVersion,
)
from resources.registry.rules import unknown, version_order

if TYPE_CHECKING:
    import sqlite3

_SELECT_VERSION = """
    SELECT versions.*, models.name AS model, artifacts.uri,
           artifacts.digest AS artifact_digest, artifacts.format_name, artifacts.format_version,
           artifacts.state AS artifact_state
    FROM versions
    JOIN models ON models.id = versions.model_id
    LEFT JOIN artifacts ON artifacts.version_id = versions.id
"""

# One table per type, so that True stays True, 1 stays 1 and 1.0 stays 1.0.
PROPERTY_TYPES: tuple[type[bool] | type[int] | type[float] | type[str], ...] = (
    bool,
    int,
    float,
    str,
)


def read_version(database: sqlite3.Connection, version_id: int) -> RegisteredVersion:
    """A version with its artifact and properties; it must exist."""
    row = database.execute(f"{_SELECT_VERSION} WHERE versions.id = ?", (version_id,)).fetchone()
    return RegisteredVersion(
        model=row["model"],
        version=row["name"],
        digest=row["digest"],
        state=row["state"],
        stage=row["stage"],
        author=row["author"],
        description=row["description"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        artifact=RegisteredArtifact(
            uri=row["uri"] or "",
            digest=row["artifact_digest"] or row["digest"],
            format_name=row["format_name"] or "",
            format_version=row["format_version"] or "",
            state=row["artifact_state"] or "PENDING",
        ),
        properties=_read_properties(database, version_id),
    )


def _read_properties(database: sqlite3.Connection, version_id: int) -> dict[str, Property]:
    properties: dict[str, Property] = {}
    for kind in PROPERTY_TYPES:
        rows = database.execute(
            f"SELECT name, value FROM {kind.__name__}_properties WHERE version_id = ?",  # noqa: S608
            (version_id,),
        )
        properties.update({row["name"]: kind(row["value"]) for row in rows})
    return dict(sorted(properties.items()))


def model_id_of(database: sqlite3.Connection, model: str) -> int:
    """The id of a model; UserError, with the models that there are, when it is unknown."""
    row = database.execute("SELECT id FROM models WHERE name = ?", (model,)).fetchone()
    if row is None:
        names = database.execute("SELECT name FROM models ORDER BY name")
        raise unknown(f"model {model!r}", [row["name"] for row in names])
    return int(row["id"])


def version_ids(database: sqlite3.Connection, model_id: int) -> dict[str, int]:
    """The ids of a model's versions, by version."""
    rows = database.execute("SELECT id, name FROM versions WHERE model_id = ?", (model_id,))
    return {row["name"]: int(row["id"]) for row in rows}


def version_id_of(database: sqlite3.Connection, model: str, version: str) -> int:
    """The id of a version; UserError, with what there is, when it or its model is unknown."""
    ids = version_ids(database, model_id_of(database, model))
    if version not in ids:
        newest_first = sorted(ids, key=version_order, reverse=True)
        raise unknown(f"version {version!r} of model {model!r}", newest_first)
    return ids[version]


def model_of(row: sqlite3.Row) -> RegisteredModel:
    """The model in a row of models, with its champion's version."""
    return RegisteredModel(
        name=row["name"],
        owner=row["owner"],
        state=row["state"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        champion=row["champion"],
    )
