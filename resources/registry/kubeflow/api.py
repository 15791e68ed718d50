"""The requests that this adapter makes to a Model Registry server.

Their bodies are made with the models of the ``model-registry`` package (client 0.3.18). Its paths
are those of ``v1``; servers of April 2026 and before have ``v1alpha3`` only, with equal objects for
what is asked here. Does not belong here: what a registration means (``registering.py``) and how
answers are read (``records.py``).
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from resources.errors import UserError
from resources.registry.kubeflow.records import (
    ArtifactRecord,
    ModelRecord,
    VersionRecord,
    read_artifact,
    read_model,
    read_version,
)
from resources.registry.kubeflow.transport import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Generator

    from resources.registry.kubeflow.properties import Metadata
    from resources.registry.kubeflow.transport import Backoff, Json, Transport
    from resources.registry.port import State

API_VERSIONS = ("v1", "v1alpha3")
MODEL_ARTIFACT = "model-artifact"
_PAGE = "100"


class _Body(Protocol):
    """What the package's models have in common."""

    def to_dict(self) -> dict[str, Any]: ...


class Server:
    """One server's requests, in the version of its interface that it has."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._root = _probe(transport)

    def backoff(self) -> Backoff:
        """Pauses for work that has its own way to try again."""
        return self._transport.backoff()

    @property
    def url(self) -> str:
        """Where the server is, for messages."""
        return self._transport.url

    def find_model(self, name: str) -> ModelRecord | None:
        """The model of this name; None when there is none."""
        try:
            answer = self._transport.get(f"{self._root}/registered_model", {"name": name})
        except NotFoundError:
            return None
        record = read_model(answer)
        if record.name != name:  # some databases compare without regard to case
            raise UserError(
                f"model registry {self.url} takes {name!r} for its model {record.name!r}: use that "
                "name, or one that differs in more than case"
            )
        return record

    def models(self) -> list[ModelRecord]:
        """All models."""
        return [read_model(item) for item in self._pages("/registered_models")]

    def create_model(self, name: str, owner: str | None) -> ModelRecord:
        """Create a model, once (see ``Transport.post_once``)."""
        from mr_openapi.models.registered_model_create import RegisteredModelCreate

        body = RegisteredModelCreate(name=name, owner=owner)
        return read_model(self._transport.post_once(f"{self._root}/registered_models", _json(body)))

    def update_model(
        self, model: ModelRecord, *, owner: str | None = None, metadata: Metadata | None = None
    ) -> ModelRecord:
        """Change a model's owner, or replace all its properties; what is None stays."""
        from mr_openapi.models.registered_model_update import RegisteredModelUpdate

        body = _json(RegisteredModelUpdate(owner=owner, state=None), metadata)
        return read_model(self._transport.patch(f"{self._root}/registered_models/{model.id}", body))

    def versions(self, model: ModelRecord) -> list[VersionRecord]:
        """All versions of a model, oldest first."""
        items = self._pages(f"/registered_models/{model.id}/versions")
        return sorted((read_version(item) for item in items), key=lambda version: version.id)

    def create_version(
        self,
        model: ModelRecord,
        name: str,
        *,
        external_id: str,
        author: str,
        description: str,
        metadata: Metadata,
    ) -> VersionRecord:
        """Create a version with its properties in one transaction of the server, once.

        It is archived until it is put in force: LIVE says of a version that it has been.
        """
        from mr_openapi.models.model_version_create import ModelVersionCreate
        from mr_openapi.models.model_version_state import ModelVersionState

        body = ModelVersionCreate(
            name=name,
            registeredModelId=str(model.id),
            externalId=external_id,
            author=author,
            description=description or None,
            state=ModelVersionState.ARCHIVED,
        )
        return read_version(
            self._transport.post_once(f"{self._root}/model_versions", _json(body, metadata))
        )

    def update_version(
        self,
        version: VersionRecord,
        *,
        state: State | None = None,
        metadata: Metadata | None = None,
    ) -> VersionRecord:
        """Change a version's state, or replace all its properties; what is None stays."""
        from mr_openapi.models.model_version_state import ModelVersionState
        from mr_openapi.models.model_version_update import ModelVersionUpdate

        # The package's default is LIVE: a change of properties would take a version out of the
        # archive.
        change = ModelVersionUpdate(state=ModelVersionState(state) if state else None)
        body = _json(change, metadata)
        return read_version(
            self._transport.patch(f"{self._root}/model_versions/{version.id}", body)
        )

    def artifacts(self, version: VersionRecord) -> list[ArtifactRecord]:
        """The model artifacts of a version, oldest first."""
        items = self._pages(f"/model_versions/{version.id}/artifacts")
        records = [
            read_artifact(item) for item in items if item.get("artifactType") == MODEL_ARTIFACT
        ]
        return sorted(records, key=lambda artifact: artifact.id)

    def create_artifact(
        self,
        version: VersionRecord,
        *,
        name: str,
        external_id: str,
        uri: str,
        format_name: str,
        format_version: str,
        metadata: Metadata,
    ) -> ArtifactRecord:
        """Add an artifact to a version, once."""
        from mr_openapi.models.artifact_state import ArtifactState
        from mr_openapi.models.model_artifact import ModelArtifact

        body = ModelArtifact(
            name=name,
            externalId=external_id,
            uri=uri,
            modelFormatName=format_name,
            modelFormatVersion=format_version,
            state=ArtifactState.LIVE,
        )
        return read_artifact(
            self._transport.post_once(
                f"{self._root}/model_versions/{version.id}/artifacts", _json(body, metadata)
            )
        )

    def _pages(self, path: str) -> Generator[Json]:
        token = ""
        while True:
            params = {"pageSize": _PAGE, "orderBy": "ID", "sortOrder": "ASC"}
            if token:
                params["nextPageToken"] = token
            page = self._page(path, params)
            yield from cast("list[Json]", page.get("items") or [])
            former, token = token, str(page.get("nextPageToken") or "")
            if not token:
                return
            if token == former:
                raise UserError(
                    f"model registry {self.url} gives the same page of {path} for ever: that is a "
                    "fault of the server"
                )

    def _page(self, path: str, params: dict[str, str]) -> Json:
        try:
            return self._transport.get(f"{self._root}{path}", params)
        except NotFoundError as error:
            raise UserError(
                f"model registry {self.url} answers 404 to GET {path}: {error}: somebody has "
                "deleted it meanwhile: run again"
            ) from error


def _probe(transport: Transport) -> str:
    """The root of the paths that the server has: the newest version first."""
    for version in API_VERSIONS:
        root = f"/api/model_registry/{version}"
        try:
            transport.get(f"{root}/registered_models", {"pageSize": "1"})
        except NotFoundError:
            continue
        return root
    raise UserError(
        f"model registry {transport.url} has neither /api/model_registry/v1 nor .../v1alpha3: "
        "check registry.address and registry.port"
    )


def _json(body: _Body, metadata: Metadata | None = None) -> Json:
    """The body of a request. An empty set of properties would change nothing, so none is sent."""
    written = body.to_dict()
    if metadata:
        written["customProperties"] = metadata
    else:
        written.pop("customProperties", None)
    return written
