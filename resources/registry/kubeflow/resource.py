"""The port's methods on a Model Registry server.

Belongs here: the configuration, and the server's records as the port's values. Does not belong
here: how a registration converges (``registering.py``) and what is in force (``stages.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource

from resources.errors import UserError
from resources.registry.kubeflow.address import base_url
from resources.registry.kubeflow.api import Server
from resources.registry.kubeflow.history import history_of
from resources.registry.kubeflow.registering import (
    KEPT_FOR_US,
    artifact_of,
    check_property_names,
    register_version,
)
from resources.registry.kubeflow.stages import (
    DIGEST,
    champion_of,
    decide,
    is_waiting,
    lost_champion,
    settle,
    stage_of,
)
from resources.registry.kubeflow.token import TokenSource
from resources.registry.kubeflow.transport import Patience, Transport
from resources.registry.port import (
    ANY_CHAMPION,
    Act,
    ChampionChange,
    RegisteredArtifact,
    RegisteredModel,
    RegisteredVersion,
    Registration,
)
from resources.registry.rules import (
    check_registration,
    no_champion,
    not_compared,
    passed_over,
    rollback_target,
    unknown,
    version_order,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from resources.registry.kubeflow.records import ModelRecord, VersionRecord


class KubeflowRegistry(ConfigurableResource[Any]):
    """A Kubeflow Model Registry server with ``v1`` or ``v1alpha3`` paths. Implements the port.

    Each method opens its own connection, so that an instance can be used from any process.
    """

    address: str
    """``https://host`` or ``host``; ``http://host`` for a connection without encryption."""
    port: int = 8080
    """Counts where the address names none."""
    token_env: str = ""
    """Name of the environment variable that holds the bearer token."""
    token_file: str = ""
    """File that holds the bearer token; read for every request, because it may be replaced."""
    custom_ca: str = ""
    """PEM file of the authority that signed the server's certificate; empty: the system's."""
    timeout_seconds: float = 30.0
    """For one request."""
    retries: int = 6
    """Tries after the first, on 429, 5xx and broken connections."""
    first_pause_seconds: float = 0.5
    """Longest pause before the second try; doubled for each further one, up to 30 seconds."""

    def register(self, registration: Registration) -> RegisteredVersion:
        """Register a model, or give the version that its content has; repairs what is half-written.

        Raises:
            UserError: the version is there with other content, the content is there under another
                explicit version, a value is refused, the champion is not the one that the
                registration ``replaces``, or the server gives no answer of use. Run again, a
                registration that was broken off is completed.
        """
        check_registration(registration)
        check_property_names(registration)
        with self._server() as server:
            version, created = register_version(server, registration)
            settle(server, registration.model)
            model, found = _find(server, registration.model, version.name)
            if is_waiting(model, found):
                raise _not_put_in_force(server, model)
            registered = _read(server, model, found)
            if created and registered.stage == "archived" and registration.replaces != ANY_CHAMPION:
                raise passed_over(model.name, found.name, champion_of(model))
            return replace(registered, created=created)

    def list_models(self) -> list[RegisteredModel]:
        """All models, by name."""
        with self._server() as server:
            return sorted((_model_of(model) for model in server.models()), key=lambda m: m.name)

    def list_versions(self, model: str) -> list[RegisteredVersion]:
        """All versions of a model, newest first by version number; a request for each.

        Raises:
            UserError: the model is unknown.
        """
        with self._server() as server:
            record = _find_model(server, model)
            versions = sorted(
                server.versions(record), key=lambda v: version_order(v.name), reverse=True
            )
            return [_read(server, record, version) for version in versions]

    def get(self, model: str, version: str) -> RegisteredVersion:
        """One version.

        Raises:
            UserError: the model or the version is unknown; the message lists what there is.
        """
        with self._server() as server:
            return _read(server, *_find(server, model, version))

    def champion(self, model: str) -> RegisteredVersion | None:
        """The version in force; None when the model is unknown or has none."""
        with self._server() as server:
            record = server.find_model(model)
            name = champion_of(record) if record is not None else None
            return None if name is None else _read(server, *_find(server, model, name))

    def set_champion(self, model: str, version: str) -> RegisteredVersion:
        """Put a registered version in force and archive the former champion.

        A version whose registration is under way at this moment does not take over afterwards.

        Raises:
            UserError: the model or the version is unknown or has no artifact.
        """
        return self._change(model, version, act="promoted", by="", why="")

    def history(self, model: str) -> list[ChampionChange]:
        """The changes of a model's champion, oldest first: the newest 200.

        Raises:
            UserError: the model is unknown.
        """
        with self._server() as server:
            return history_of(_find_model(server, model))

    def promote(self, model: str, version: str, *, by: str, why: str) -> RegisteredVersion:
        """Put a registered version in force and keep who did it and why.

        Raises:
            UserError: the model or the version is unknown or has no artifact.
        """
        return self._change(model, version, act="promoted", by=by, why=why)

    def rollback(
        self, model: str, version: str | None = None, *, by: str, why: str
    ) -> RegisteredVersion:
        """Put a former champion in force again: the one before, or ``version``.

        Two rollbacks at the same moment go back to the same champion, not one after the other.

        Raises:
            UserError: there was none before, the version is none of them, or is unknown.
        """
        return self._change(model, version, act="rolled back", by=by, why=why)

    def _change(
        self, model: str, version: str | None, *, act: Act, by: str, why: str
    ) -> RegisteredVersion:
        with self._server() as server:
            if version is not None:
                _find(server, model, version)  # an unknown one is refused as such
            if act == "rolled back":
                past = history_of(_find_model(server, model))
                version = rollback_target(model, past, version)
            assert version is not None
            record, chosen = _find(server, model, version)
            if DIGEST in chosen.metadata and artifact_of(server, chosen) is None:
                raise UserError(
                    f"version {version} of model {model} has no artifact, its registration was "
                    "broken off: register it again first"
                )
            decide(server, record, chosen, act=act, by=by, why=why)
            settle(server, model)
            return _read(server, *_find(server, model, version))

    @contextmanager
    def _server(self) -> Generator[Server]:
        token = TokenSource(variable=self.token_env, file=self.token_file)
        patience = Patience(self.timeout_seconds, self.retries, self.first_pause_seconds)
        url = base_url(self.address, self.port)
        with Transport(url, token, self.custom_ca, patience) as transport:
            yield Server(transport)


def _not_put_in_force(server: Server, model: ModelRecord) -> UserError:
    """Why a version was not: the champion changed while it was registered."""
    versions = server.versions(model)
    if lost_champion(server, model, versions):
        return no_champion(
            model.name, [other.name for other in versions if DIGEST in other.metadata]
        )
    return not_compared(model.name, champion_of(model))


def _find_model(server: Server, name: str) -> ModelRecord:
    model = server.find_model(name)
    if model is None:
        raise unknown(f"model {name!r}", sorted(model.name for model in server.models()))
    return model


def _find(server: Server, model: str, version: str) -> tuple[ModelRecord, VersionRecord]:
    record = _find_model(server, model)
    versions = {found.name: found for found in server.versions(record)}
    if version not in versions:
        newest_first = sorted(versions, key=version_order, reverse=True)
        raise unknown(f"version {version!r} of model {model!r}", newest_first)
    return record, versions[version]


def _model_of(model: ModelRecord) -> RegisteredModel:
    return RegisteredModel(
        name=model.name,
        owner=model.owner,
        state=model.state,
        created_at=model.created_at,
        updated_at=model.updated_at,
        champion=champion_of(model),
    )


def _read(server: Server, model: ModelRecord, version: VersionRecord) -> RegisteredVersion:
    """A version as the port has it; its stage and state by what its model says."""
    artifact = artifact_of(server, version)
    properties = version.properties
    digest = properties.get(DIGEST, "")
    stage = stage_of(model, version)
    return RegisteredVersion(
        model=model.name,
        version=version.name,
        digest=str(digest),
        state="LIVE" if stage == "champion" else "ARCHIVED",
        stage=stage,
        author=version.author,
        description=version.description,
        created_at=version.created_at,
        updated_at=version.updated_at,
        artifact=RegisteredArtifact(
            uri=artifact.uri if artifact else "",
            digest=str(artifact.properties.get(DIGEST, digest) if artifact else digest),
            format_name=artifact.format_name if artifact else "",
            format_version=artifact.format_version if artifact else "",
            state=artifact.state if artifact else "PENDING",
        ),
        properties={name: value for name, value in properties.items() if name not in KEPT_FOR_US},
        waiting=is_waiting(model, version),
    )
