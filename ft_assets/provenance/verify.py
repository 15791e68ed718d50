"""Whether a model is what its records say: a walk from a registered version to the source files.

Offline: it reads the registry, the store and local files, recomputes every digest and compares.
The walk follows what manifests name as their inputs, so that it knows no list of assets. Belongs
here: where it begins and where it goes. Does not belong here: what is checked at each place
(``artifact_links.py``, ``origin_links.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ft_assets.provenance.artifact_links import Checked, Place, check_artifact
from ft_assets.provenance.differences import first_difference
from ft_assets.provenance.links import Findings, Verified
from ft_assets.provenance.origin_links import check_origin
from resources.errors import UserError
from resources.store.manifest import decode_manifest

if TYPE_CHECKING:
    from ft_assets.provenance.keys import VerifyKey
    from resources.registry import RegisteredVersion
    from resources.sources import Sources
    from resources.store import Artifact
    from resources.store.resource import Store

_REGISTERED = "registered_version"
_REGISTRATION = "registration.json"


@dataclass(frozen=True)
class KnownPipeline:
    """A pipeline as its file has it now."""

    folder: Path
    spec_digest: str


@dataclass(frozen=True)
class Surroundings:
    """What a walk may look at besides the artifacts."""

    store: Store
    sources: Sources
    pipelines: Mapping[str, KnownPipeline]
    """By name."""
    key: VerifyKey | None
    """Verifies signatures; with it, every artifact has to be signed."""


def verify_version(version: RegisteredVersion, around: Surroundings) -> Verified:
    """Verify a registered version and everything it was made from."""
    findings = Findings()
    subject = f"{version.model}:{version.version}"
    model = around.store.place_of(version.artifact.uri)
    if model is None:
        findings.broken(
            subject,
            "registered URI",
            "the registry names no artifact of this store",
            file=f"registry: {subject}: uri",
            expected=f"an artifact below {around.store.where}",
            found=version.artifact.uri,
        )
        return Verified(subject, findings.links)
    place = Place(*model)
    registration = _registration(version, place, around.store)
    if registration is None:
        findings.broken(
            subject,
            "registration",
            f"no artifact says that {place.name} was registered",
            file=f"registry: {subject}",
            expected=f"an artifact {place.key[0]}/{_REGISTERED} for {subject}",
            found="none",
        )
    else:
        _compare_registration(version, registration, around.store, findings)
    _compare_model(version, place, around.store, findings)
    starts = [place] if registration is None else [registration, place]
    return Verified(subject, _walk(starts, around, findings))


def verify_artifact(place: Place, around: Surroundings) -> Verified:
    """Verify an artifact and everything it was made from."""
    return Verified(place.name, _walk([place], around, Findings()))


def _walk(starts: Iterable[Place], around: Surroundings, findings: Findings) -> Any:
    """Check artifacts, nearest first, each once, and go on to what they were made from."""
    waiting, seen = deque(starts), set[Place]()
    while waiting:
        place = waiting.popleft()
        if place in seen:
            continue
        seen.add(place)
        checked = check_artifact(place, around.store, around.key, findings)
        if checked is None:
            findings.not_checked(
                place.name,
                "origin",
                "its manifest is not to be believed, and neither what it names",
            )
            continue
        waiting.extend(_inputs(checked, around.store, findings))
        pipeline = around.pipelines.get("/".join(place.key[:-1]))
        check_origin(
            checked,
            findings,
            sources=around.sources,
            folder=pipeline.folder if pipeline else None,
            spec_digest=pipeline.spec_digest if pipeline else None,
        )
    return findings.links


def _inputs(checked: Checked, store: Store, findings: Findings) -> list[Place]:
    """The artifacts that this one names as its inputs, compared with what they are."""
    making = checked.recorded.making
    if making is None:
        findings.not_checked(checked.name, "origin", "it has no record of what it was made from")
        return []
    places: list[Place] = []
    for item in making.inputs:
        partition = item.partition_beside(checked.place.partition)
        place = Place(tuple(item.asset.split("/")), partition, item.digest)
        places.append(place)
        found = _data_version(place, store)
        if found is None:
            continue  # said when the walk gets there
        findings.compare(
            checked.name,
            "input",
            f"made from {place.name} with data version {item.data_version[:12]}",
            file=checked.file,
            expected=item.data_version,
            found=found,
        )
    evaluated = checked.recorded.evaluated
    known = [item.data_version for item in making.inputs]
    if evaluated is not None and evaluated not in known:
        findings.broken(
            checked.name,
            "evaluated model",
            "it is about a model that is not among its inputs",
            file=checked.file,
            expected=" or ".join(known),
            found=evaluated,
        )
    return places


def _data_version(place: Place, store: Store) -> str | None:
    try:
        content = store.read_manifest(place.key, place.partition, place.digest)
        return None if content is None else decode_manifest(content, place.name).data_version
    except UserError:
        return None  # a damaged manifest, or a name that is none: said when the walk gets there


def _registration(version: RegisteredVersion, model: Place, store: Store) -> Place | None:
    """The artifact that the registration left, else the current one of that asset, if any.

    A version that was registered again has one for each time, and the registry's row may have got
    properties in between: the one that says what the row says counts.
    """
    key = (*model.key[:-1], _REGISTERED)
    row, about = _row(version), list[Place]()
    places = [Place(key, model.partition, d) for d in sorted(store.versions(key, model.partition))]
    for place in places:
        said = _read_registration(place, store)
        if said.get("model") == version.model and said.get("version") == version.version:
            if _difference(said, row) is None:
                return place
            about.append(place)
    # Damaged, or about another version: the comparison says so.
    return _current(about or places, store)


def _current(places: Sequence[Place], store: Store) -> Place | None:
    """The one that is the current version of its asset; else the last."""
    if not places:
        return None
    try:
        current = store.find(places[0].key, places[0].partition)
    except UserError:  # damaged: the walk says so
        current = None
    same = (place for place in places if current and place.digest == current.digest)
    return next(same, places[-1])


def _row(version: RegisteredVersion) -> Mapping[str, Any]:
    """A version as the registry has it, in the terms of JSON."""
    return json.loads(json.dumps(asdict(version), default=str))


def _difference(said: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
    """The first difference; a later champion changes what the registration does not say."""
    return first_difference(said, {name: row[name] for name in said if name in row})


def _read_registration(place: Place, store: Store) -> Mapping[str, Any]:
    """What ``registration.json`` says; nothing when it is damaged, which the walk reports."""
    try:
        artifact = store.find_version(place.key, place.partition, place.digest)
        if artifact is None:
            return {}
        content = artifact.file(_REGISTRATION).read_bytes()
        if hashlib.sha256(content).hexdigest() != _listed(artifact, _REGISTRATION):
            return {}
        said: Any = json.loads(content)
    except (UserError, OSError, ValueError):
        return {}
    return cast("Mapping[str, Any]", said) if isinstance(said, dict) else {}


def _listed(artifact: Artifact, name: str) -> str | None:
    """The digest of a file that the manifest lists."""
    return next((file.sha256 for file in artifact.manifest.files if file.path == name), None)


def _compare_registration(
    version: RegisteredVersion, place: Place, store: Store, findings: Findings
) -> None:
    """The registry's row says what was registered."""
    subject = f"{version.model}:{version.version}"
    said = _read_registration(place, store)
    difference = _difference(said, _row(version))
    if not said:
        findings.not_checked(subject, "registration", f"{place.name} is damaged")
    elif difference is not None:
        name, expected, found = difference
        findings.broken(
            subject,
            "registration",
            f"the registry does not say what was registered: {name}",
            file=f"registry: {subject}: {name}",
            expected=expected,
            found=found,
        )
    else:
        findings.holds(subject, "registration", "the registry says what was registered")


def _compare_model(
    version: RegisteredVersion, place: Place, store: Store, findings: Findings
) -> None:
    """The registry's digests, of the version and of its artifact, are that of the model there."""
    expected = _data_version(place, store)
    if expected is None:
        return  # said when the walk gets there
    subject = f"{version.model}:{version.version}"
    of_artifact = ("artifact.digest", version.artifact.digest)
    for name, found in (("digest", version.digest), of_artifact):
        findings.compare(
            subject,
            "registered digest",
            f"the registry's {name} is that of {place.name}",
            file=f"registry: {subject}: {name}",
            expected=expected,
            found=found,
        )
