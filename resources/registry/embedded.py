"""The embedded registry: Kubeflow's data model in one SQLite file, no server.

For a laptop, a test or one machine; on a disk that several machines share it works too where that
disk keeps locks. Belongs here: what a registration means. Does not belong here: the tables and
their locks (``database.py``), reading them (``queries.py``), who was champion when
(``champions.py``) and the rules that all adapters share (``rules.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource

from resources.errors import UserError
from resources.registry.champions import (
    archive_champion,
    now,
    put_in_force,
    read_history,
    refuse_other_champion,
    remember,
)
from resources.registry.database import create_database, transaction
from resources.registry.port import (
    AUTO,
    Act,
    ChampionChange,
    Property,
    RegisteredModel,
    RegisteredVersion,
    Registration,
)
from resources.registry.queries import (
    PROPERTY_TYPES,
    model_id_of,
    model_of,
    read_version,
    version_id_of,
    version_ids,
)
from resources.registry.rules import (
    check_registration,
    lacking,
    next_version,
    rollback_target,
    version_order,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Mapping


class EmbeddedRegistry(ConfigurableResource[Any]):
    """A registry in one SQLite file, created on first use. Implements ``port.Registry``."""

    path: str
    """The SQLite file."""

    shared: bool = False
    """Several machines use the file: SQLite then works without its write-ahead log."""

    def register(self, registration: Registration) -> RegisteredVersion:
        """Register a model in one transaction, or give the version that its content has already.

        Raises:
            UserError: the version is there with other content, the content is there under another
                explicit version, a value is refused, or the champion is not the one that the
                registration ``replaces``.
        """
        check_registration(registration)
        with self._database(write=True) as database:
            model_id = _find_or_create_model(database, registration)
            existing = _find_by_digest(database, model_id, registration.digest)
            if existing is None:
                refuse_other_champion(database, model_id, registration)
                version = _choose_version(database, model_id, registration)
                version_id = _insert_champion(database, model_id, version, registration)
            else:
                _refuse_other_version(existing["name"], registration)
                version_id = int(existing["id"])
                _repair(database, version_id, registration)
            return replace(read_version(database, version_id), created=existing is None)

    def list_models(self) -> list[RegisteredModel]:
        """All models, by name."""
        with self._database(write=False) as database:
            rows = database.execute(
                "SELECT models.*, versions.name AS champion FROM models LEFT JOIN versions "
                "ON versions.model_id = models.id AND versions.stage = 'champion' "
                "ORDER BY models.name"
            )
            return [model_of(row) for row in rows]

    def list_versions(self, model: str) -> list[RegisteredVersion]:
        """All versions of a model, newest first by version number.

        Raises:
            UserError: the model is unknown.
        """
        with self._database(write=False) as database:
            ids = version_ids(database, model_id_of(database, model))
            newest_first = sorted(ids, key=version_order, reverse=True)
            return [read_version(database, ids[name]) for name in newest_first]

    def get(self, model: str, version: str) -> RegisteredVersion:
        """One version.

        Raises:
            UserError: the model or the version is unknown; the message lists what there is.
        """
        with self._database(write=False) as database:
            return read_version(database, version_id_of(database, model, version))

    def champion(self, model: str) -> RegisteredVersion | None:
        """The version in force; None when the model is unknown or has none."""
        with self._database(write=False) as database:
            row = database.execute(
                "SELECT versions.id FROM versions JOIN models ON models.id = versions.model_id "
                "WHERE models.name = ? AND versions.stage = 'champion'",
                (model,),
            ).fetchone()
            return None if row is None else read_version(database, int(row["id"]))

    def set_champion(self, model: str, version: str) -> RegisteredVersion:
        """Put a registered version in force and archive the former champion, in one transaction.

        Raises:
            UserError: the model or the version is unknown; the message lists what there is.
        """
        return self._change(model, version, act="promoted", by="", why="")

    def history(self, model: str) -> list[ChampionChange]:
        """All changes of a model's champion, oldest first.

        Raises:
            UserError: the model is unknown.
        """
        with self._database(write=False) as database:
            return read_history(database, model_id_of(database, model))

    def promote(self, model: str, version: str, *, by: str, why: str) -> RegisteredVersion:
        """Put a registered version in force and keep who did it and why.

        Raises:
            UserError: the model or the version is unknown; the message lists what there is.
        """
        return self._change(model, version, act="promoted", by=by, why=why)

    def rollback(
        self, model: str, version: str | None = None, *, by: str, why: str
    ) -> RegisteredVersion:
        """Put a former champion in force again: the one before, or ``version``.

        Raises:
            UserError: there was none before, the version is none of them, or is unknown.
        """
        return self._change(model, version, act="rolled back", by=by, why=why)

    def _change(
        self, model: str, version: str | None, *, act: Act, by: str, why: str
    ) -> RegisteredVersion:
        """Another champion, in one transaction; nothing where it is in force already."""
        with self._database(write=True) as database:
            model_id = model_id_of(database, model)
            if version is not None:
                version_id_of(database, model, version)  # an unknown one is refused as such
            if act == "rolled back":
                version = rollback_target(model, read_history(database, model_id), version)
            assert version is not None
            version_id = version_id_of(database, model, version)
            if read_version(database, version_id).stage != "champion":
                put_in_force(database, model_id, version_id, act=act, by=by, why=why)
            return read_version(database, version_id)

    @contextmanager
    def _database(self, *, write: bool) -> Generator[sqlite3.Connection]:
        path = Path(self.path).expanduser()
        create_database(path, shared=self.shared)
        with transaction(path, write=write) as database:
            yield database


def _find_or_create_model(database: sqlite3.Connection, registration: Registration) -> int:
    """The model's id. An owner that is given now replaces the one that was given before."""
    at = now()
    database.execute(
        "INSERT INTO models (name, owner, state, created_at, updated_at) "
        "VALUES (?, ?, 'LIVE', ?, ?) ON CONFLICT (name) DO UPDATE "
        "SET owner = excluded.owner, updated_at = excluded.updated_at "
        "WHERE excluded.owner IS NOT NULL AND excluded.owner IS NOT models.owner",
        (registration.model, registration.owner, at, at),
    )
    return model_id_of(database, registration.model)


def _find_by_digest(database: sqlite3.Connection, model_id: int, digest: str) -> sqlite3.Row | None:
    return database.execute(
        "SELECT id, name FROM versions WHERE model_id = ? AND digest = ?", (model_id, digest)
    ).fetchone()


def _refuse_other_version(existing: str, registration: Registration) -> None:
    if registration.version not in (AUTO, existing):
        raise UserError(
            f"model {registration.model}: this content is registered as version {existing} "
            f"already, so it cannot be {registration.version}: set version to {AUTO} or {existing}"
        )


def _choose_version(database: sqlite3.Connection, model_id: int, registration: Registration) -> str:
    """The version that new content gets."""
    existing = version_ids(database, model_id)
    if registration.version == AUTO:
        return next_version(existing, registration.base_version)
    if registration.version in existing:
        raise UserError(
            f"model {registration.model}: version {registration.version} is registered with other "
            f"content, and a version never changes: set version to {AUTO}, or to one after "
            f"{max(existing, key=version_order)}"
        )
    return registration.version


def _insert_champion(
    database: sqlite3.Connection, model_id: int, version: str, registration: Registration
) -> int:
    """Archive the former champion and insert the new one, with its artifact and properties."""
    archive_champion(database, model_id)
    at = now()
    cursor = database.execute(
        "INSERT INTO versions (model_id, name, digest, state, stage, author, description, "
        "created_at, updated_at) VALUES (?, ?, ?, 'LIVE', 'champion', ?, ?, ?, ?)",
        (
            model_id,
            version,
            registration.digest,
            registration.author,
            registration.description,
            at,
            at,
        ),
    )
    version_id = cursor.lastrowid
    assert version_id is not None
    _insert_artifact(database, version_id, registration)
    _insert_properties(database, version_id, registration.properties)
    remember(database, model_id, version_id, act="registered", by=registration.author, why="")
    return version_id


def _repair(database: sqlite3.Connection, version_id: int, registration: Registration) -> None:
    """Add what a half-written version lacks; what it has stays, because versions never change."""
    has = read_version(database, version_id)
    missing = lacking(has.properties, has.artifact.uri, registration)
    without_artifact = has.artifact.state == "PENDING"
    if without_artifact:
        _insert_artifact(database, version_id, registration)
    _insert_properties(database, version_id, missing)
    if missing or without_artifact:
        database.execute("UPDATE versions SET updated_at = ? WHERE id = ?", (now(), version_id))


def _insert_artifact(
    database: sqlite3.Connection, version_id: int, registration: Registration
) -> None:
    database.execute(
        "INSERT INTO artifacts (version_id, uri, digest, format_name, format_version, state, "
        "created_at) VALUES (?, ?, ?, ?, ?, 'LIVE', ?)",
        (
            version_id,
            registration.uri,
            registration.digest,
            registration.format_name,
            registration.format_version,
            now(),
        ),
    )


def _insert_properties(
    database: sqlite3.Connection, version_id: int, properties: Mapping[str, Property]
) -> None:
    for name, value in properties.items():
        kind = next(kind for kind in PROPERTY_TYPES if isinstance(value, kind))  # bool before int
        database.execute(
            f"INSERT INTO {kind.__name__}_properties (version_id, name, value) VALUES (?, ?, ?)",  # noqa: S608
            (version_id, name, kind(value)),
        )
