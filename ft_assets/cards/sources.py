"""The manifests behind a model: from the model back to the very split and source it was made of.

Belongs here: following recorded digests through a store. Does not belong here: checking the bytes
(``ft verify`` does), writing a card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ft_assets.cards.model import model_card
from resources.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resources.store import Artifact, ArtifactStore


def model_card_of(
    store: ArtifactStore,
    model: Artifact,
    report: Artifact | None,
    *,
    name: str,
    version: str | None = None,
    description: str = "",
    verdict: Mapping[str, Any] | None = None,
    license_id: str | None = None,
    languages: Sequence[str] = (),
    tags: Sequence[str] = (),
    hardware: Mapping[str, str | int | float] | None = None,
) -> str:
    """The card of a model in a store; as :func:`ft_assets.cards.model_card`, which see.

    Args:
        store: where the split and the source of the model are looked for. One that is no longer
            there is said in the card to be unknown.
        model: the artifact of ``finetuned_model``.
        report: that of ``eval_report``, if there is one.
        name: of the model.
        version: the registered one.
        description: what the model is for.
        verdict: the court's; without it the report's own.
        license_id: as the hub names licences.
        languages: ISO 639 codes.
        tags: for the hub.
        hardware: further facts by name.
    """
    split = input_of(store, model, "split_dataset")
    raw = input_of(store, split, "raw_dataset") if split is not None else None
    found = {"finetuned_model": model, "eval_report": report}
    return model_card(
        name=name,
        version=version,
        model=model.manifest.metadata,
        evaluation=None if report is None else report.manifest.metadata,
        split=None if split is None else split.manifest.metadata,
        raw=None if raw is None else raw.manifest.metadata,
        verdict=verdict,
        description=description,
        license_id=license_id,
        languages=languages,
        tags=tags,
        hardware=hardware,
        digests={
            "digest of the model's files": model.data_version,
            **{
                f"artifact {'/'.join(one.key)}": one.digest
                for one in found.values()
                if one is not None
            },
        },
    )


def input_of(store: ArtifactStore, artifact: Artifact, asset: str) -> Artifact | None:
    """The version of an asset upstream that an artifact was made from, if the store has it yet."""
    provenance: Any = artifact.manifest.metadata["provenance"]
    for one in provenance["inputs"]:
        key = str(one["asset"]).split("/")
        if key[-1] == asset:
            partition = one.get("partition", artifact.partition)
            try:
                return store.open_version(key, partition, one["digest"])
            except UserError:  # pruned: the card says so
                return None
    return None
