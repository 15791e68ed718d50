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
Versions without ``ft_digest``, which other tools made, keep their states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.registry.kubeflow.history import HISTORY, with_change
from resources.registry.kubeflow.properties import merge

if TYPE_CHECKING:
    from resources.registry.kubeflow.api import Server
    from resources.registry.kubeflow.records import ModelRecord, VersionRecord
    from resources.registry.port import Act, Property, Stage

CHAMPION = "champion"
PROMOTED = "ft_promoted"
DIGEST = "ft_digest"
_ROUNDS = 20


def champion_of(model: ModelRecord) -> str | None:
    """The version that the model names as the one in force."""
    name = model.properties.get(CHAMPION)
    return name if isinstance(name, str) and name else None


def stage_of(model: ModelRecord, version: VersionRecord) -> Stage:
    """The version's stage, by what its model says."""
    return "champion" if version.name == champion_of(model) else "archived"


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
        ours = [version for version in server.versions(model) if DIGEST in version.metadata]
        newest = _newest_to_promote(server, model, ours)
        if newest is not None:
            _promote(server, model, newest)
        elif not _states_follow(server, model, ours):
            return


def _promote(server: Server, model: ModelRecord, version: VersionRecord) -> None:
    """Put new content in force."""
    history = with_change(model, version.name, act="registered", by=version.author, why="")
    change = {CHAMPION: version.name, PROMOTED: version.id, HISTORY: history}
    server.update_model(model, metadata=merge(model.metadata, change))


def _newest_to_promote(
    server: Server, model: ModelRecord, versions: list[VersionRecord]
) -> VersionRecord | None:
    """The newest version above the last one promoted that has its artifact."""
    waiting = [version for version in versions if version.id > _promoted(model)]
    complete = (version for version in reversed(waiting) if server.artifacts(version))
    return next(complete, None)


def _states_follow(server: Server, model: ModelRecord, versions: list[VersionRecord]) -> bool:
    """Bring the states in line with the champion; True when one had to change."""
    if champion_of(model) is None:
        return False
    changed = False
    for version in versions:
        state = "LIVE" if stage_of(model, version) == "champion" else "ARCHIVED"
        if version.state != state and version.id <= _promoted(model):
            server.update_version(version, state=state)
            changed = True
    return changed


def _promoted(model: ModelRecord) -> int:
    value = model.properties.get(PROMOTED, 0)
    return value if isinstance(value, int) else 0
