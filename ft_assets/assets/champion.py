"""The champion that a candidate has to beat, and what it takes to meet it fairly.

Belongs here: which registered version that is, and its model folder in the artifact store. Does not
belong here: how models are evaluated, and which rows are left out (``ft_assets.data.left_out``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ft_assets.assets.trained_rows import split_of
from resources.errors import UserError
from resources.record import Record
from resources.registry.rules import no_champion
from resources.store.names import place_below, version_folder

if TYPE_CHECKING:
    from pathlib import Path

    from resources.registry import RegisteredVersion, Registry
    from resources.store import Artifact, ArtifactStore


Place = tuple[tuple[str, ...], str | None, str]
"""Key, partition and digest of an artifact."""


class Champion(Record):
    """A registered version that a candidate is compared with."""

    model: str
    """Name of the registered model."""
    version: str
    digest: str
    """Of its files: the data version of the artifact."""
    uri: str
    """Where the registry says that its files are."""

    @classmethod
    def of(cls, version: RegisteredVersion) -> Champion:
        """What has to be known about a registered version."""
        return cls(
            model=version.model,
            version=version.version,
            digest=version.digest,
            uri=version.artifact.uri,
        )

    def __str__(self) -> str:
        return f"{self.model} {self.version}"


@dataclass(frozen=True)
class OpenChampion:
    """A champion whose artifacts are here."""

    champion: Champion
    model: Artifact
    split: Artifact

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self.model.path / "model"


def opponent(
    registry: Registry, name: str, candidate: str, *, judged: bool, before: Champion | None
) -> tuple[Champion | None, bool]:
    """The version that a candidate is compared with, if any, and whether it is registered itself.

    A registered candidate was judged then: what it was compared with stays. Else each new champion
    would make the reports of all former ones anew, and the champion would be compared with nobody.

    Args:
        registry: where champions are.
        name: name of the registered model.
        candidate: digest of the candidate.
        judged: whether there is a report about this very candidate.
        before: the champion in that report.

    Raises:
        UserError: the model has versions, and nothing says which is the champion.
    """
    if judged and is_registered(registry, name, candidate):
        return before, True
    champion = registry.champion(name)
    if champion is None:
        refuse_lost_champion(registry, name)
    if champion is None or champion.digest == candidate:
        return None, False
    return Champion.of(champion), False


def is_registered(registry: Registry, name: str, digest: str) -> bool:
    """Whether some version of a model has these files; not one whose registration goes on yet."""
    return any(
        version.digest == digest and not version.waiting for version in _versions(registry, name)
    )


def refuse_lost_champion(registry: Registry, name: str) -> None:
    """Refuse to take a model without a champion for one without versions.

    Versions that other tools made, without our digest, count as little as those whose registration
    was broken off.

    Raises:
        UserError: it has versions of ours.
    """
    versions = [v.version for v in _versions(registry, name) if v.digest and not v.waiting]
    if versions:
        raise no_champion(name, versions)


def open_champion(store: ArtifactStore, champion: Champion) -> OpenChampion:
    """The champion's model and the split that it was trained on, from the artifact store.

    Raises:
        UserError: one of them is not there any more, or not what was registered.
    """
    places = _places(store, champion.uri)
    if not places:
        raise _lost(champion, f"its address {champion.uri!r} names no artifact of a pipeline")
    place = next((one for one in places if _has(store, one)), places[0])
    try:
        model = store.open_version(*place)
    except UserError as error:
        raise _lost(champion, str(error)) from error
    if model.data_version != champion.digest:
        raise _lost(champion, f"the artifact at {champion.uri} has another digest")
    try:
        split = split_of(store, model)
    except UserError as error:
        raise _lost(champion, f"the rows that it was trained on are not known: {error}") from error
    return OpenChampion(champion, model, split)


def _versions(registry: Registry, name: str) -> list[RegisteredVersion]:
    known = {model.name for model in registry.list_models()}
    return registry.list_versions(name) if name in known else []


def _places(store: ArtifactStore, uri: str) -> list[Place]:
    """Keys, partition and digest by which the store may have what lies at ``uri``.

    An artifact that was registered from a store elsewhere has the same key in this one: that of a
    pipeline's asset, or of a recipe's.
    """
    here = store.backend.place_of(uri)
    if here is not None:
        return [here]
    elsewhere = place_below(PurePosixPath(urlsplit(uri).path.lstrip("/")))
    if elsewhere is None:
        return []
    names, partition, digest = elsewhere
    return [(names[-parts:], partition, digest) for parts in (2, 3) if parts <= len(names)]


def _has(store: ArtifactStore, place: Place) -> bool:
    try:
        version_folder(*place)
    except UserError:  # a folder around the other store is no part of a key
        return False
    try:
        return store.backend.find_version(*place) is not None
    except UserError:  # it is there and damaged: who opens it is told how
        return True


def _lost(champion: Champion, why: str) -> UserError:
    return UserError(
        f"the champion {champion} cannot be evaluated, so nothing can replace it: {why}. Bring its "
        "artifact back into the artifact store, or put another version in force "
        f"(ft registry promote {champion.model} VERSION --why TEXT)"
    )
