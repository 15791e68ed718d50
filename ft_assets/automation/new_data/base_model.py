"""``watch_base_model``: a new commit of the base model asks for a run of the newest complete drop.

The commit that is there at the first look is the one that is trained on: it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ft_assets.automation.new_data.accumulate import Changes
from ft_assets.automation.new_data.ledger import Asked, Ledger
from ft_assets.automation.new_data.observe import DATASET, Place
from ft_assets.config import Pipeline
from resources.errors import UserError
from resources.sources import Sources
from resources.sources.partitions import natural_order

_ROW = "(base model "
TRIED = 25
"""Most drops, from the newest on, of which one look asks whether they are there and complete."""


def base_models(pipeline: Pipeline) -> list[str]:
    """The base models of the pipeline and its recipes, each once."""
    every = (pipeline, *pipeline.recipes())
    return sorted({one.spec.training.base_model for one in every})


def row_of(base_model: str) -> str:
    """What the ledger calls it; no drop can have this name."""
    return f"{_ROW}{base_model})"


def names_of(rows: Iterable[str]) -> list[str]:
    """The base models of some rows."""
    return [row.removeprefix(_ROW).removesuffix(")") for row in rows]


def revisions(models: Iterable[str], sources: Sources) -> tuple[dict[str, str], list[str]]:
    """The commit of each model that can move, by its row; what is to say of the others.

    One that is not there, or whose hub does not answer, hides none of the others.
    """
    found: dict[str, str] = {}
    trouble: list[str] = []
    for model in models:
        try:
            commit = sources.hub_model_revision(model)
        except UserError as error:
            trouble.append(f"The base model could not be looked at: {error}")
            continue
        if commit is not None:
            found[row_of(model)] = commit
    return found, trouble


def first_seen(commits: Mapping[str, str], asked: Mapping[str, Asked]) -> dict[str, Asked]:
    """The rows of models that were never looked at: what is there now is nothing new."""
    return {row: Asked(1, commit, seen=True) for row, commit in commits.items() if row not in asked}


def moved(
    commits: Mapping[str, str], asked: Mapping[str, Asked], awaited: Collection[str]
) -> dict[str, Asked]:
    """The rows of models that have a new commit; a model whose last one has no run yet waits.

    Where a drop's own run was to take the last one, and that drop is not there any more, the
    commit is new again.
    """
    return {
        row: Asked(before.number + 1, commit, seen=False)
        for row, commit in commits.items()
        if ((before := asked[row]).seen and before.token != commit)
        or (not before.seen and before.by and _drop_of(before.by) not in awaited)
    }


def _drop_of(run_key: str) -> str:
    return run_key.rsplit(":", 2)[0]


def newest_complete(
    place: Place, ledger: Ledger, changes: Changes, asked_now: Collection[str]
) -> str | None:
    """The newest drop that is there in the version that was asked for; None where there is none.

    What was asked for was complete. One that is gone since would fail, and one that is being
    written again has a run of its own when it is complete.

    Raises:
        UserError: the dataset cannot be read; SourceUnavailableError when it does not answer.
    """
    rows = {*ledger.names(), *asked_now}
    drops = [one for one in rows if not one.startswith("(")] if place.partitioned else [DATASET]
    drops = sorted(rows & {*drops}, key=natural_order, reverse=True)[:TRIED]
    for drop in drops:
        if drop in asked_now or _is_there(place, ledger, changes, drop):
            return drop
    return None


def _is_there(place: Place, ledger: Ledger, changes: Changes, drop: str) -> bool:
    found = place.single([drop])
    if drop in found.unreadable:  # it may be there: an older one is not run in its place
        raise UserError(found.unreadable[drop])
    version = found.versions[drop]
    asked = ledger.read([drop]).get(drop)
    if version is None or asked is None or changes.token(drop, version.token) != asked.token:
        return False
    return version.marked or place.pipeline.spec.automation.marker is None
