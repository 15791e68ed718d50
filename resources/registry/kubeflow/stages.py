"""Which version of a model is in force on a Model Registry server.

The model's custom property ``champion`` names it: one PATCH of one object, so that there is never
more than one, whoever is killed where. The versions' states (LIVE for the champion, ARCHIVED for
the others) only follow it, for people and tools that look there; reads go by the property alone.

The property ``ft_promoted`` of the same PATCH is the id of the newest version that was put in
force or passed over by a decision. Ids grow, so a version with a greater one still has to be put in
force: this is how a registration that was killed before that step is recognised, and how many
registrations at once end with the newest as champion. The server has no compare-and-set: of two
PATCHes at the same time the later one stays, and each writer reads again after its own until
nothing is left to do.

Which champion a version was compared with stands in its property ``ft_replaces``, so that every
writer decides alike: it is put in force only while that one is. One that met another champion
keeps waiting until it is registered again, judged anew. Without compare-and-set this is asked right
before the PATCH, not in it.

A version is archived until it is in force. So a model with a LIVE version, or with versions that
were put in force, and without ``champion`` has lost that property: nothing is put in force there
until someone decides.
Versions without ``ft_digest``, which other tools made, keep their states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.registry.kubeflow.history import HISTORY, with_change
from resources.registry.kubeflow.properties import merge
from resources.registry.port import ANY_CHAMPION

if TYPE_CHECKING:
    from resources.registry.kubeflow.api import Server
    from resources.registry.kubeflow.records import ModelRecord, VersionRecord
    from resources.registry.port import Act, Property, Stage

CHAMPION = "champion"
PROMOTED = "ft_promoted"
DIGEST = "ft_digest"
REPLACES = "ft_replaces"
NO_CHAMPION = "none"
"""Value of ``ft_replaces`` where the version was compared with no champion."""
_ROUNDS = 20


def champion_of(model: ModelRecord) -> str | None:
    """The version that the model names as the one in force."""
    name = model.properties.get(CHAMPION)
    return name if isinstance(name, str) and name else None


def stage_of(model: ModelRecord, version: VersionRecord) -> Stage:
    """The version's stage, by what its model says."""
    return "champion" if version.name == champion_of(model) else "archived"


def is_waiting(model: ModelRecord, version: VersionRecord) -> bool:
    """Whether a version of ours was never put in force, nor passed over by a decision."""
    lost = champion_of(model) is None and version.state == "LIVE"
    return DIGEST in version.metadata and version.id > _promoted(model) and not lost


def replaces(version: VersionRecord) -> str | None:
    """Digest of the champion that a version may replace; ``ANY_CHAMPION`` where none is named."""
    digest = version.properties.get(REPLACES, ANY_CHAMPION)
    return None if digest == NO_CHAMPION else str(digest)


def champion_digest(model: ModelRecord, versions: list[VersionRecord]) -> str | None:
    """Digest of the version in force; None when there is none, empty when it is not known."""
    name = champion_of(model)
    named = (version for version in versions if version.name == name)
    champion = next(named, None)
    if champion is None:
        return None if name is None else ""
    return str(champion.properties.get(DIGEST, ""))


def lost_champion(server: Server, model: ModelRecord, versions: list[VersionRecord]) -> bool:
    """Whether a version was in force and the model does not say which is."""
    if not _seems_lost(model, versions):
        return False
    # Another may have put its first version in force after the model was read.
    again = server.find_model(model.name)
    return again is not None and _seems_lost(again, versions)


def _seems_lost(model: ModelRecord, versions: list[VersionRecord]) -> bool:
    ours = [version for version in versions if DIGEST in version.metadata]
    return champion_of(model) is None and not all(is_waiting(model, version) for version in ours)


def decide(
    server: Server, model: ModelRecord, version: VersionRecord, *, act: Act, by: str, why: str
) -> None:
    """Put a version in force because someone says so; newer ones are passed over.

    Without that, a registration that was killed before its last step would undo the decision.
    """
    newest = max(other.id for other in [version, *server.versions(model)])
    change: dict[str, Property] = {}
    if champion_of(model) != version.name:
        change[CHAMPION] = version.name
        change[HISTORY] = with_change(model, version.name, act=act, by=by, why=why)
    if newest > _promoted(model):
        change[PROMOTED] = newest
    if change:
        server.update_model(model, metadata=merge(model.metadata, change))


def settle(server: Server, name: str) -> None:
    """Put the newest complete version that still has to be in force, and let the states follow.

    Ends when one reading of the server finds nothing to do. Others may write at the same time; who
    writes last reads last.
    """
    for _ in range(_ROUNDS):
        model = server.find_model(name)
        if model is None:
            return
        everything = server.versions(model)
        newest = _newest_to_promote(server, model, everything)
        if newest is not None:
            again = server.find_model(name)
            if again is not None and _same_champion(again, model):
                _promote(server, again, newest)
        elif not _states_follow(server, model, everything):
            return


def _same_champion(one: ModelRecord, other: ModelRecord) -> bool:
    """Whether nothing was put in force between two readings of a model."""
    return champion_of(one) == champion_of(other) and _promoted(one) == _promoted(other)


def _promote(server: Server, model: ModelRecord, version: VersionRecord) -> None:
    """Put new content in force."""
    history = with_change(model, version.name, act="registered", by=version.author, why="")
    change = {CHAMPION: version.name, PROMOTED: version.id, HISTORY: history}
    server.update_model(model, metadata=merge(model.metadata, change))


def _newest_to_promote(
    server: Server, model: ModelRecord, everything: list[VersionRecord]
) -> VersionRecord | None:
    """The newest waiting version that has its artifact and was compared with the champion."""
    if lost_champion(server, model, everything):
        return None
    in_force = champion_digest(model, everything)
    waiting = [
        version
        for version in everything
        if is_waiting(model, version) and replaces(version) in (ANY_CHAMPION, in_force)
    ]
    complete = (version for version in reversed(waiting) if server.artifacts(version))
    return next(complete, None)


def _states_follow(server: Server, model: ModelRecord, versions: list[VersionRecord]) -> bool:
    """Bring the states in line with the champion; True when one had to change."""
    if champion_of(model) is None:
        return False
    changed = False
    for version in versions:
        if DIGEST not in version.metadata:
            continue
        state = "LIVE" if stage_of(model, version) == "champion" else "ARCHIVED"
        if version.state != state and version.id <= _promoted(model):
            server.update_version(version, state=state)
            changed = True
    return changed


def _promoted(model: ModelRecord) -> int:
    value = model.properties.get(PROMOTED, 0)
    return value if isinstance(value, int) else 0
