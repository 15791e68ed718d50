"""A Model Registry server's models, versions and artifacts as values.

They are read with the models of the ``model-registry`` package. Custom properties go past those,
because they refuse integers of ten digits that another tool has written, and with them the whole
list. Does not belong here: asking for them (``api.py``).
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from resources.registry.kubeflow.properties import Metadata, decode

if TYPE_CHECKING:
    from resources.registry.kubeflow.transport import Json
    from resources.registry.port import Property, State


@dataclass(frozen=True)
class _Record:
    """What all things on the server have."""

    id: int
    metadata: Metadata

    @property
    def properties(self) -> dict[str, Property]:
        """Custom properties with their types."""
        return decode(self.metadata)


@dataclass(frozen=True)
class ModelRecord(_Record):
    """A registered model as the server has it."""

    name: str
    owner: str | None
    state: State
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class VersionRecord(_Record):
    """A version of a model as the server has it."""

    name: str
    external_id: str
    state: State
    author: str
    description: str
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class ArtifactRecord(_Record):
    """The files of a version as the server has them."""

    uri: str
    format_name: str
    format_version: str
    state: str


def read_model(item: Json) -> ModelRecord:
    """A model of an answer."""
    from mr_openapi.models.registered_model import RegisteredModel

    read = RegisteredModel.from_dict(_plain(item))
    assert read is not None
    return ModelRecord(
        id=int(read.id or 0),
        name=read.name,
        owner=read.owner,
        state=_state(read.state),
        created_at=_time(read.create_time_since_epoch),
        updated_at=_time(read.last_update_time_since_epoch),
        metadata=_metadata(item),
    )


def read_version(item: Json) -> VersionRecord:
    """A version of an answer."""
    from mr_openapi.models.model_version import ModelVersion

    read = ModelVersion.from_dict(_plain(item))
    assert read is not None
    return VersionRecord(
        id=int(read.id or 0),
        name=read.name,
        external_id=read.external_id or "",
        state=_state(read.state),
        author=read.author or "",
        description=read.description or "",
        created_at=_time(read.create_time_since_epoch),
        updated_at=_time(read.last_update_time_since_epoch),
        metadata=_metadata(item),
    )


def read_artifact(item: Json) -> ArtifactRecord:
    """A model artifact of an answer."""
    from mr_openapi.models.model_artifact import ModelArtifact

    read = ModelArtifact.from_dict(_plain(item))
    assert read is not None
    return ArtifactRecord(
        id=int(read.id or 0),
        uri=read.uri or "",
        format_name=read.model_format_name or "",
        format_version=read.model_format_version or "",
        state=str(read.state.value) if read.state else "UNKNOWN",
        metadata=_metadata(item),
    )


def _plain(item: Json) -> Json:
    return {name: value for name, value in item.items() if name != "customProperties"}


def _metadata(item: Json) -> Metadata:
    return cast("Metadata", item.get("customProperties") or {})


def _state(state: object) -> State:
    return "ARCHIVED" if getattr(state, "value", state) == "ARCHIVED" else "LIVE"


def _time(milliseconds: str | None) -> str:
    """UTC, ISO 8601, of the server's milliseconds since the epoch."""
    moment = datetime.fromtimestamp(int(milliseconds or 0) / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds")
