"""What is to be exported: from the words of a person to artifacts.

Belongs here: ``MODEL[:VERSION]`` and ``PIPELINE[@DROP]``. Does not belong here: writing anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ft_assets.cards.sources import input_of
from resources.errors import UserError
from resources.registry import RegistrySettings, open_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ft_assets.config import Pipeline
    from resources.registry import RegisteredVersion, Registry, RegistryHub
    from resources.store import Artifact, ArtifactStore

_MODEL, _REPORT, _VERSION = "finetuned_model", "eval_report", "registered_version"
_HARDWARE = {
    "image": "container image",
    "gpus": "GPUs",
    "gpu_hours": "GPU hours",
    "energy_kwh": "energy (kWh)",
    "training_cost": "cost of the training",
}
"""Properties of a registered version, in the words of a card."""


@dataclass(frozen=True)
class Subject:
    """A trained model and what is known of it."""

    name: str
    version: str | None
    """The registered one; None for a model that is taken from its pipeline."""
    description: str
    """What the pipeline or the registry says that it is for."""
    model: Artifact
    report: Artifact | None
    """The evaluation of this very model, if there is one."""
    registration: Artifact | None
    hardware: Mapping[str, str | int | float]
    """What the registry knows of the machine, by words for the card."""

    @property
    def label(self) -> str:
        """The name that other commands take."""
        return f"{self.name}:{self.version}" if self.version else self.name

    @property
    def uri(self) -> str:
        """Where the store keeps the model's folder."""
        return f"{self.model.uri}/model"


def find_subject(
    words: str,
    *,
    store: ArtifactStore,
    registries: RegistryHub | Registry,
    pipelines: Sequence[Pipeline],
    newest_drop: Callable[[Pipeline], str],
) -> Subject:
    """The model that ``words`` name.

    Args:
        words: ``MODEL[:VERSION]`` of a registry (its champion without a version), or
            ``PIPELINE[@DROP]`` (the newest drop without one). A bare name is looked for in the
            registry first; ``PIPELINE@`` is never a registered model.
        store: where artifacts are.
        registries: where versions are registered.
        pipelines: all there are.
        newest_drop: of a partitioned pipeline.

    Raises:
        UserError: there is no such model, version or pipeline, or its files are not in the store.
    """
    name, at, drop = words.partition("@")
    if at:
        return _of_pipeline(_named(pipelines, name), drop, store, newest_drop)
    name, colon, version = words.partition(":")
    if colon and not version:
        raise UserError(f"{words}: no version stands after the colon: write {name}:1.0.0")
    for registry in _registries(name, registries, pipelines):
        found = registry.get(name, version) if version else registry.champion(name)
        if found is not None:
            return _of_version(found, store, pipelines)
    if name in {pipeline.label for pipeline in pipelines}:
        return _of_pipeline(_named(pipelines, name), "", store, newest_drop)
    raise UserError(
        f"{words}: there is no registered model with a champion and no pipeline of this name: name "
        "MODEL[:VERSION] (ft registry list) or PIPELINE[@DROP] (ft list)"
    )


def _registries(
    model: str, registries: RegistryHub | Registry, pipelines: Sequence[Pipeline]
) -> list[Registry]:
    """The registries that pipelines register this model in; the embedded one where none does."""
    settings = [p.spec.registry.settings() for p in pipelines if p.spec.registry.name == model]
    return [
        open_registry(registries, one) for one in dict.fromkeys(settings or [RegistrySettings()])
    ]


def _named(pipelines: Sequence[Pipeline], name: str) -> Pipeline:
    known = {pipeline.label: pipeline for pipeline in pipelines}
    if name not in known:
        raise UserError(f"there is no pipeline {name!r}: there are {', '.join(sorted(known))}")
    return known[name]


def _of_pipeline(
    pipeline: Pipeline, drop: str, store: ArtifactStore, newest_drop: Callable[[Pipeline], str]
) -> Subject:
    if drop and not pipeline.spec.partitioned:
        raise UserError(
            f"{pipeline.label}@{drop}: this pipeline has no drops: write {pipeline.label}@"
        )
    partition = (drop or newest_drop(pipeline)) if pipeline.spec.partitioned else None
    model = store.open(pipeline.spec.key(_MODEL), partition)
    return Subject(
        name=pipeline.spec.label.replace("/", "-"),
        version=None,
        description=pipeline.spec.description,
        model=model,
        report=_report_of(store, model),
        registration=None,
        hardware={},
    )


def _of_version(
    version: RegisteredVersion, store: ArtifactStore, pipelines: Sequence[Pipeline]
) -> Subject:
    label = f"{version.model}:{version.version}"
    place = store.backend.place_of(version.artifact.uri)
    if place is None:
        raise UserError(
            f"{label} lies at {version.artifact.uri}, outside the artifact store "
            f"{store.backend.where}: set FT_STORE to the store that it was published to"
        )
    model = store.open_version(*place)
    if model.data_version != version.artifact.digest:
        raise UserError(
            f"{label} is registered with the digest {version.artifact.digest} and the artifact at "
            f"{version.artifact.uri} has {model.data_version}: find out with ft verify {label}"
        )
    described = {pipeline.spec.name: pipeline.spec.description for pipeline in pipelines}
    return Subject(
        name=version.model,
        version=version.version,
        description=described.get(model.key[0]) or version.description,
        model=model,
        report=_report_of(store, model, str(version.properties.get("eval_report.digest", ""))),
        registration=_registration_of(store, model),
        hardware={
            words: version.properties[name]
            for name, words in _HARDWARE.items()
            if version.properties.get(name)
        },
    )


def _report_of(store: ArtifactStore, model: Artifact, digest: str = "") -> Artifact | None:
    """The evaluation of this model: the one that it was registered with, or the current one."""
    key = (*model.key[:-1], _REPORT)
    if digest:
        return store.open_version(key, model.partition, digest)
    report = store.find(key, model.partition)
    about: Any = report and report.manifest.metadata.get("model_data_version")
    return report if about == model.data_version else None


def _registration_of(store: ArtifactStore, model: Artifact) -> Artifact | None:
    found = store.find((*model.key[:-1], _VERSION), model.partition)
    made_from = None if found is None else input_of(store, found, _MODEL)
    return found if made_from is not None and made_from.digest == model.digest else None
