"""The rows that stand behind a model: those of its own split, and of all models it was built on.

What a model was trained on it may have learned by heart, so that no other is fairly compared with
it there. Belongs here: which splits these are. Does not belong here: leaving rows out
(``ft_assets.data.left_out``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ft_assets.training.start import recorded_start
from resources.errors import UserError

if TYPE_CHECKING:
    from resources.store import Artifact, ArtifactStore

_SIDES = ("split", "seed", "group_by", "eval_uri")
"""The parameters of the dataset that decide about the side of a row."""


def trained_before(
    store: ArtifactStore, candidate: Artifact, champion: Artifact, held_out_of: Artifact
) -> Iterator[Artifact]:
    """The splits whose training rows may be among the held-out rows of the candidate's own split.

    Of the champion, and of every model that one of the two was built on. A split that divides
    single rows by the same seed and ratio is passed over: what is held out here is held out there.

    Raises:
        UserError: a model of a line, or its split, is gone.
    """
    models = [champion, *_built_on(store, champion), *_built_on(store, candidate)]
    seen = set[str]()
    for model in models:
        split = split_of(store, model)
        if split.digest not in seen and not _divides_alike(split, held_out_of):
            yield split
        seen.add(split.digest)


def split_of(store: ArtifactStore, model: Artifact) -> Artifact:
    """The split that a model was trained on.

    Raises:
        UserError: its manifest names none, or that is gone.
    """
    made_from = recorded_split(model)
    if made_from is None:
        raise UserError("its manifest names no split_dataset")
    partition = made_from.get("partition", model.partition)
    return store.open_version(made_from["asset"].split("/"), partition, made_from["digest"])


def recorded_split(model: Artifact) -> dict[str, Any] | None:
    """What a model's manifest says of its split, which need not be kept any more."""
    provenance: Any = model.manifest.metadata["provenance"]
    inputs: list[dict[str, Any]] = provenance["inputs"]
    named = (one for one in inputs if one["asset"].split("/")[-1] == "split_dataset")
    return next(named, None)


def _built_on(store: ArtifactStore, model: Artifact) -> Iterable[Artifact]:
    """The models that this one was started from, one after the other."""
    _, start = recorded_start(model.manifest.metadata)
    while start is not None:
        before = store.open_version(start.asset.split("/"), start.partition, start.artifact)
        yield before
        _, start = recorded_start(before.manifest.metadata)


def _divides_alike(one: Artifact, other: Artifact) -> bool:
    sides = [_sides(split) for split in (one, other)]
    if None in sides or sides[0] != sides[1]:
        return False
    assert sides[0] is not None
    return sides[0]["group_by"] is None and sides[0]["eval_uri"] is None


def _sides(split: Artifact) -> dict[str, Any] | None:
    provenance: Any = split.manifest.metadata.get("provenance") or {}
    config: dict[str, Any] = provenance.get("config") or {}
    return {name: config[name] for name in _SIDES} if config.keys() >= set(_SIDES) else None
