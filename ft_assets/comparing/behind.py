"""What stands behind a registered version: its artifacts, as far as they are still kept.

Found from the digests that the registry and the manifests name, so that it is the very artifacts
of then, whatever has been made since. Belongs here: finding. Does not belong here: comparing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ft_assets.config.recipes import PER_RECIPE
from ft_assets.provenance.artifact_links import Place
from ft_assets.provenance.recorded import Recorded, RecordedInput, RecordedMaking, recorded
from resources.errors import UserError
from resources.sources.partitions import natural_order

if TYPE_CHECKING:
    from resources.registry import RegisteredVersion
    from resources.store import Artifact, ArtifactStore

MODEL = "finetuned_model"
SPLIT = "split_dataset"
RAW = "raw_dataset"
REPORT = "eval_report"
REGISTRATION = "registered_version"

_SHORT = 12  # characters of a digest


@dataclass(frozen=True)
class Kept:
    """An artifact that is still there, and what its manifest says."""

    artifact: Artifact
    recorded: Recorded

    @property
    def metadata(self) -> dict[str, Any]:
        """What its maker wrote into the manifest."""
        return self.artifact.manifest.metadata

    @property
    def making(self) -> RecordedMaking | None:
        """How it was made, where it says so."""
        return self.recorded.making


@dataclass(frozen=True)
class Behind:
    """A registered version and what is kept of its past."""

    version: RegisteredVersion
    kept: dict[str, Kept]
    """By asset name; ``raw_dataset`` is that of the version's own drop."""
    lost: tuple[str, ...]
    """What is not known any more, one sentence each."""

    @property
    def name(self) -> str:
        """The version in sentences."""
        return f"{self.version.model} {self.version.version}"

    @property
    def drops(self) -> dict[str, str]:
        """The data versions of the raw datasets that it was trained on, by drop, the newest last.

        Its own drop alone where the split is lost, and none where the data does not come in drops.
        """
        split, own = self.making(SPLIT), self.partition
        if split is None:
            return {} if own is None else {own: str(self.said(f"{RAW}.data_version"))}
        raws = [(one.partition_beside(own), one) for one in split.inputs if _asset(one) == RAW]
        found = {drop: one.data_version for drop, one in raws if drop is not None}
        # A split names its own drop first, which is the newest.
        return {drop: found[drop] for drop in sorted(found, key=natural_order)}

    @property
    def partition(self) -> str | None:
        """Its own drop: the newest that it was trained on."""
        model = self.kept.get(MODEL)
        if model is not None:
            return model.artifact.partition
        return _text(self.version.properties.get("partition"))

    def making(self, asset: str) -> RecordedMaking | None:
        """How an artifact behind it was made; None where nobody knows any more."""
        found = self.kept.get(asset)
        return None if found is None else found.making

    def said(self, name: str) -> bool | int | float | str | None:
        """What the registry says of it; None for nothing, and for an empty text."""
        value = self.version.properties.get(name)
        return None if value == "" else value


def behind(version: RegisteredVersion, store: ArtifactStore) -> Behind:
    """Find what is kept of a registered version's past.

    Reads manifests and no other files.
    """
    search = _Search(version, store)
    model = search.open(MODEL, search.said(MODEL) or search.from_uri())
    split = search.open(SPLIT, search.input_of(model, SPLIT) or search.said(SPLIT))
    search.open(RAW, search.input_of(split, RAW) or search.said(RAW))
    search.open(REPORT, search.said(REPORT))
    if model is not None:
        search.open_registration(model)
    return Behind(version, search.kept, tuple(search.lost))


class _Search:
    def __init__(self, version: RegisteredVersion, store: ArtifactStore) -> None:
        self._version = version
        self._store = store.backend
        self.kept: dict[str, Kept] = {}
        self.lost: list[str] = []

    def said(self, asset: str) -> Place | None:
        """Where an artifact is, by what the registry says."""
        properties = self._version.properties
        digest = _text(properties.get(f"{asset}.digest"))
        keys = [name.split("/") for name in str(properties.get("asset_keys", "")).split(", ")]
        key = next((key for key in keys if key[-1] == asset), None)
        if key is None and properties.get("pipeline"):  # it was gone when the model was registered
            recipe = [str(properties["recipe"])] if properties.get("recipe") else []
            own = recipe if asset in PER_RECIPE else []
            key = [str(properties["pipeline"]), *own, asset]
        if digest is None or key is None:
            return None
        return Place(tuple(key), _text(properties.get("partition")), digest)

    def from_uri(self) -> Place | None:
        """Where the model is, by the address of its files."""
        found = self._store.place_of(self._version.artifact.uri)
        return None if found is None else Place(*found)

    def input_of(self, kept: Kept | None, asset: str) -> Place | None:
        """Where the artifact is that another was made from: of several, that of its own drop."""
        if kept is None or kept.making is None:
            return None
        own = kept.artifact.partition
        places = [
            Place(tuple(one.asset.split("/")), one.partition_beside(own), one.digest)
            for one in kept.making.inputs
            if _asset(one) == asset
        ]
        return next((place for place in places if place.partition == own), None) or next(
            iter(places), None
        )

    def open(self, asset: str, place: Place | None) -> Kept | None:
        """The artifact at a place; what is lost is said."""
        name = f"{self._version.model} {self._version.version}"
        if place is None:
            self.lost.append(f"nothing says which {asset} stands behind {name}")
            return None
        try:
            artifact = self._store.find_version(place.key, place.partition, place.digest)
            found = None if artifact is None else _read(artifact)
        except (UserError, ValidationError) as error:
            why = str(error) if isinstance(error, UserError) else "its manifest cannot be read"
            self.lost.append(f"the {asset} behind {name} is damaged: {why}")
            return None
        if found is None:
            self.lost.append(
                f"the {asset} behind {name} ({place.name}, {place.digest[:_SHORT]}) is no longer "
                f"kept in {self._store.where}"
            )
            return None
        self.kept[asset] = found
        return found

    def open_registration(self, model: Kept) -> None:
        """The newest record of its registration, for the configuration that it was made with."""
        key = (*model.artifact.key[:-1], REGISTRATION)
        newest: Artifact | None = None
        for digest in self._store.versions(key, model.artifact.partition):
            try:
                one = self._store.find_version(key, model.artifact.partition, digest)
                found = None if one is None else _read(one)
            except (UserError, ValidationError):
                continue  # another registration, perhaps: nothing that counts is compared with it
            if one is None or found is None or found.making is None:
                continue
            if model.artifact.digest not in [item.digest for item in found.making.inputs]:
                continue
            if newest is None or one.manifest.created_at > newest.manifest.created_at:
                newest = one
                self.kept[REGISTRATION] = found


def _read(artifact: Artifact) -> Kept:
    return Kept(artifact, recorded(artifact.manifest.model_dump(mode="json")))


def _asset(item: RecordedInput) -> str:
    return item.asset.rpartition("/")[2]


def _text(value: object) -> str | None:
    return str(value) if value else None
