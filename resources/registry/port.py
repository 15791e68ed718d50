"""What a model registry is to the pipelines: the questions they ask it, and the answers' types.

Belongs here: the port and its value types. Does not belong here: how a registry is reached (one
adapter per file) and the rules that all adapters share (``rules.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

Property = bool | int | float | str
"""A typed custom property: True is not 1, and 1 is not 1.0."""

State = Literal["LIVE", "ARCHIVED"]
Stage = Literal["champion", "archived"]

Act = Literal["registered", "promoted", "rolled back"]
"""How a version became champion."""

AUTO = "auto"
"""The version that stands for: the next patch for new content, the version it has otherwise."""

ANY_CHAMPION = "any"
"""What a registration replaces when nobody compared it with a champion: whichever is in force."""


@dataclass(frozen=True)
class Registration:
    """A model that has won, to be registered."""

    model: str
    """Name of the registered model."""
    digest: str
    """Digest of the model's files: what makes two registrations the same content."""
    uri: str
    """Where the files are, reachable by those who serve the model."""
    author: str
    """Who or which run registers it."""
    version: str = AUTO
    """``auto``, or a version such as ``1.2.3``, which is immutable once registered."""
    base_version: str = "1.0.0"
    """What ``auto`` gives to the first version of a model."""
    owner: str | None = None
    """Who answers for the model; kept with the model, not with the version."""
    description: str = ""
    format_name: str = "safetensors"
    format_version: str = "1"
    properties: Mapping[str, Property] = field(default_factory=dict[str, Property])
    """Scores and lineage, each with its own type."""
    replaces: str | None = ANY_CHAMPION
    """Digest of the champion that it was compared with, the only one that it may replace; None when
    there was none."""


@dataclass(frozen=True)
class RegisteredArtifact:
    """The files of a registered version."""

    uri: str
    digest: str
    """As kept with the artifact."""
    format_name: str
    format_version: str
    state: str
    """LIVE, or PENDING when only the version was written: registering it again repairs it."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a model as the registry has it."""

    model: str
    version: str
    digest: str
    """Digest of the content that it stands for, as kept with the version: its artifact has the
    same. Empty where another tool made the version."""
    state: State
    stage: Stage
    author: str
    description: str
    created_at: str
    """UTC, ISO 8601."""
    updated_at: str
    """UTC, ISO 8601; changes when the version becomes champion, is archived or is repaired."""
    artifact: RegisteredArtifact
    properties: Mapping[str, Property]
    created: bool = False
    """True only in the answer to the registration that created it."""
    waiting: bool = False
    """Its registration was broken off, or refused, before it was put in force: registering it again
    completes it."""


@dataclass(frozen=True)
class RegisteredModel:
    """A model as the registry has it."""

    name: str
    owner: str | None
    state: State
    created_at: str
    updated_at: str
    champion: str | None
    """The version in force."""


@dataclass(frozen=True)
class ChampionChange:
    """One change of a model's champion."""

    version: str
    """The version that came into force."""
    act: Act
    by: str
    """Who did it; empty where nobody said."""
    why: str
    at: str
    """UTC, ISO 8601."""


class Registry(Protocol):
    """A model registry. Every method raises UserError for names or values it refuses."""

    def register(self, registration: Registration) -> RegisteredVersion:
        """Register a model; registering the same content again gives the version that it has.

        New content becomes the champion, and the former champion is archived.

        Raises:
            UserError: the version is there with other content, the content is there under another
                explicit version, a value is refused, or the champion at that moment is not the one
                that the registration ``replaces``.
        """
        ...

    def list_models(self) -> list[RegisteredModel]:
        """All models, by name."""
        ...

    def list_versions(self, model: str) -> list[RegisteredVersion]:
        """All versions of a model, newest first by version number."""
        ...

    def get(self, model: str, version: str) -> RegisteredVersion:
        """One version; UserError, with what there is, when the model or the version is unknown."""
        ...

    def champion(self, model: str) -> RegisteredVersion | None:
        """The version in force; None when the model is unknown or has none."""
        ...

    def set_champion(self, model: str, version: str) -> RegisteredVersion:
        """Put a registered version in force (a rollback, say) and archive the former champion."""
        ...


@runtime_checkable
class KeepsHistory(Protocol):
    """A registry that remembers its champions, so that it can go back to the one before."""

    def history(self, model: str) -> list[ChampionChange]:
        """All changes of a model's champion, oldest first; UserError when it is unknown."""
        ...

    def promote(self, model: str, version: str, *, by: str, why: str) -> RegisteredVersion:
        """Put a registered version in force and keep who did it and why."""
        ...

    def rollback(
        self, model: str, version: str | None = None, *, by: str, why: str
    ) -> RegisteredVersion:
        """Put a former champion in force again: the one before, or ``version``.

        Raises:
            UserError: there was none before, the version was never champion, or is unknown.
        """
        ...
