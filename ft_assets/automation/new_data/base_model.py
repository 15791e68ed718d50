"""``watch_base_model``: a new commit of the base model asks for a run of the newest drop.

The commit that is there at the first look is the one that is trained on: it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from ft_assets.automation.new_data.ledger import Asked
from ft_assets.config import Pipeline
from resources.sources import Sources


def base_models(pipeline: Pipeline) -> list[str]:
    """The base models of the pipeline and its recipes, each once."""
    every = (pipeline, *pipeline.recipes())
    return sorted({one.spec.training.base_model for one in every})


def row_of(base_model: str) -> str:
    """What the ledger calls it; no drop can have this name."""
    return f"(base model {base_model})"


def is_base_model(drop: str) -> bool:
    """Whether a row of the ledger is about a base model."""
    return drop.startswith("(base model ")


def revisions(models: Iterable[str], sources: Sources) -> dict[str, str]:
    """The commit of each model that can move, by its row.

    Raises:
        UserError: no such model; SourceUnavailableError when the hub does not answer.
    """
    found: dict[str, str] = {}
    for model in models:
        commit = sources.hub_model_revision(model)
        if commit is not None:
            found[row_of(model)] = commit
    return found


def asked_next(commit: str, before: Asked | None) -> Asked | None:
    """The row that is to be written for a commit; None when there is nothing new."""
    if before is None:
        return Asked(1, commit, seen=True)
    if not before.seen or before.token == commit:
        return None
    return Asked(before.number + 1, commit, seen=False)
