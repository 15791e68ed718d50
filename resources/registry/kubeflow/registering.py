"""How a registration on a Model Registry server converges, killed anywhere and among many.

The server has no transaction over several requests, so each step finds what is there before it
makes it, and finds again when the server says that there is one (409) or does not answer:

1. the model: its name is unique on the server;
2. the version, with all its properties and the content's digest, in ONE request. Its external id is
   computed from the model's name and the digest, and the server keeps external ids unique: a second
   version of the same content cannot be made, by whatever process. Its name is unique in the model:
   two contents cannot have the same version;
3. the artifact: its external id is unique too, so there is one;
4. the champion (``stages.py``).

Guaranteed on a server that keeps its rules of uniqueness: after any number of registrations of the
same content, of which one came to its end, there is exactly one version of it with its artifact and
properties, and exactly one champion. NOT guaranteed: that a reader never sees a version before its
artifact (it is shown as PENDING then) and that a property which another tool writes to the same
model or version at the same moment stays (the server has no compare-and-set; the last PATCH wins).
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

from resources.errors import UserError
from resources.registry.kubeflow.properties import LARGE_INTEGERS, encode, merge
from resources.registry.kubeflow.stages import (
    DIGEST,
    NO_CHAMPION,
    REPLACES,
    champion_digest,
    champion_of,
    is_waiting,
    lost_champion,
    replaces,
)
from resources.registry.kubeflow.transport import ConflictError, UnsettledError
from resources.registry.port import AUTO
from resources.registry.rules import (
    lacking,
    may_replace,
    next_version,
    no_champion,
    not_compared,
    version_order,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from resources.registry.kubeflow.api import Server
    from resources.registry.kubeflow.records import ArtifactRecord, ModelRecord, VersionRecord
    from resources.registry.port import Property, Registration

    Found = TypeVar("Found")

REGISTERED_BY = "ft_registration"
"""A number of its own for each call of ``register``: who made a version whose answer was lost."""
KEPT_FOR_US = {DIGEST, REGISTERED_BY, REPLACES, LARGE_INTEGERS}
ARTIFACT = "model"
_LOST_RACES = 200


def check_property_names(registration: Registration) -> None:
    """Refuse properties with the names that this adapter needs itself."""
    taken = sorted(KEPT_FOR_US & registration.properties.keys())
    if taken:
        raise UserError(
            f"registering {registration.model}: property {taken[0]!r} has a name that the registry "
            "adapter keeps for itself: name it otherwise"
        )


def register_version(server: Server, registration: Registration) -> tuple[VersionRecord, bool]:
    """The version of this content, whole, and whether this call made it.

    Raises:
        UserError: the version is there with other content, or the content under another version.
    """
    _refuse_before_writing(server, registration)
    model = _find_or_create_model(server, registration)
    call = uuid.uuid4().hex
    version = _find_or_create_version(server, model, registration, call)
    version = _repair_properties(server, model, version, registration)
    find_or_create_artifact(server, version, registration)
    return version, version.properties.get(REGISTERED_BY) == call


def version_of(versions: list[VersionRecord], model: str, digest: str) -> VersionRecord | None:
    """The version with this content: by external id, or by digest where someone removed that."""
    claim = claim_of(model, digest)
    for version in versions:
        if version.external_id == claim or version.properties.get(DIGEST) == digest:
            return version
    return None


def claim_of(model: str, digest: str) -> str:
    """The external id that only one version of one content of one model can have."""
    content = "\0".join((model, digest))
    return f"ft-{hashlib.sha256(content.encode()).hexdigest()}"


def artifact_of(server: Server, version: VersionRecord) -> ArtifactRecord | None:
    """The artifact of a version: that of the same digest; the first where no digest is known."""
    digest = version.properties.get(DIGEST)
    artifacts = server.artifacts(version)
    same = (a for a in artifacts if digest is None or a.properties.get(DIGEST) == digest)
    return next(same, None)


def find_or_create_artifact(
    server: Server, version: VersionRecord, registration: Registration
) -> ArtifactRecord:
    """The artifact of a version, made where it is missing."""
    return _find_or_create(
        server,
        lambda: artifact_of(server, version),
        lambda: server.create_artifact(
            version,
            name=ARTIFACT,
            external_id=f"{claim_of(registration.model, registration.digest)}-{ARTIFACT}",
            uri=registration.uri,
            format_name=registration.format_name,
            format_version=registration.format_version,
            metadata=encode({DIGEST: registration.digest}),
        ),
    )


def _refuse_before_writing(server: Server, registration: Registration) -> None:
    """A registration that is refused changes nothing, not even the model's owner."""
    model = server.find_model(registration.model)
    if model is None:
        return
    versions = server.versions(model)
    existing = version_of(versions, registration.model, registration.digest)
    if existing is None:
        _choose_version(versions, registration)
    else:
        _refuse_other_version(existing.name, registration)
    if existing is None or is_waiting(model, existing):
        _refuse_other_champion(server, model, versions, registration)


def _refuse_other_champion(
    server: Server,
    model: ModelRecord,
    versions: list[VersionRecord],
    registration: Registration,
) -> None:
    """Refuse content that would replace a champion which nobody compared it with.

    Asked once more right before it is put in force (``stages.py``); here, nothing is written yet.
    """
    if lost_champion(server, model, versions):
        raise no_champion(
            model.name, [version.name for version in versions if DIGEST in version.metadata]
        )
    if not may_replace(registration, champion_digest(model, versions)):
        raise not_compared(model.name, champion_of(model))


def _find_or_create_model(server: Server, registration: Registration) -> ModelRecord:
    """The model. An owner that is given now replaces the one that was given before."""
    model = _find_or_create(
        server,
        lambda: server.find_model(registration.model),
        lambda: server.create_model(registration.model, registration.owner),
    )
    if registration.owner is not None and registration.owner != model.owner:
        model = server.update_model(model, owner=registration.owner)
    return model


def _find_or_create_version(
    server: Server, model: ModelRecord, registration: Registration, call: str
) -> VersionRecord:
    """The version of this content, under the next free number where ``auto`` asks for it."""
    own: dict[str, Property] = {DIGEST: registration.digest, REGISTERED_BY: call}
    own |= _property_of(registration.replaces)
    metadata = encode({**registration.properties, **own})
    backoff = server.backoff()
    for _ in range(_LOST_RACES):
        versions = server.versions(model)
        existing = version_of(versions, registration.model, registration.digest)
        if existing is not None:
            _refuse_other_version(existing.name, registration)
            return existing
        try:
            return server.create_version(
                model,
                _choose_version(versions, registration),
                external_id=claim_of(registration.model, registration.digest),
                author=registration.author,
                description=registration.description,
                metadata=metadata,
            )
        except ConflictError:
            continue  # another took the number, or registered this content: the list will tell
        except UnsettledError as error:
            backoff.wait(error)
    raise UserError(
        f"model registry {server.url} says {_LOST_RACES} times that a version of "
        f"{registration.model} is there and does not list it: look for an entity with the external "
        f"id {claim_of(registration.model, registration.digest)}"
    )


def _find_or_create(
    server: Server, find: Callable[[], Found | None], create: Callable[[], Found]
) -> Found:
    """What is there, or what is made; found again when another was faster or the answer is lost.

    Servers of some releases answer a duplicate artifact with 500 in place of 409, so that both are
    followed by a look.
    """
    backoff = server.backoff()
    found = find()
    while found is None:
        try:
            return create()
        except (ConflictError, UnsettledError) as error:
            found = find()
            if found is None:
                unsettled = error if isinstance(error, UnsettledError) else None
                backoff.wait(unsettled or UnsettledError(f"there is one, but not shown: {error}"))
    return found


def _repair_properties(
    server: Server, model: ModelRecord, version: VersionRecord, registration: Registration
) -> VersionRecord:
    """Add what a half-written version lacks; what it has stays, because versions never change.

    Which champion it was compared with is no part of the version: one that was never in force may
    have been judged anew since.
    """
    has = version.properties
    missing: dict[str, Property] = {} if DIGEST in has else {DIGEST: registration.digest}
    if not registration.properties.keys() <= has.keys():
        artifact = artifact_of(server, version)
        missing |= lacking(has, artifact.uri if artifact else "", registration)
    if is_waiting(model, version) and replaces(version) != registration.replaces:
        missing |= _property_of(registration.replaces)
    if not missing:
        return version
    return server.update_version(version, metadata=merge(version.metadata, missing))


def _property_of(replaces: str | None) -> dict[str, Property]:
    """The property that says which champion the content may replace."""
    return {REPLACES: NO_CHAMPION if replaces is None else replaces}


def _refuse_other_version(existing: str, registration: Registration) -> None:
    if registration.version not in (AUTO, existing):
        raise UserError(
            f"model {registration.model}: this content is registered as version {existing} "
            f"already, so it cannot be {registration.version}: set version to {AUTO} or {existing}"
        )


def _choose_version(versions: list[VersionRecord], registration: Registration) -> str:
    """The version that new content gets."""
    existing = [version.name for version in versions]
    if registration.version == AUTO:
        return next_version(existing, registration.base_version)
    if registration.version in existing:
        raise UserError(
            f"model {registration.model}: version {registration.version} is registered with other "
            f"content, and a version never changes: set version to {AUTO}, or to one after "
            f"{max(existing, key=version_order)}"
        )
    return registration.version
