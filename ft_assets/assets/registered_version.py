"""``registered_version``: a model that has won, under a name and a version."""

# Without postponed annotations: Dagster reads those of the asset's function.

import json
from dataclasses import asdict
from typing import Any

import dagster as dg

from ft_assets.assets.champion import is_registered
from ft_assets.assets.changed_since_champion import changed_since_champion
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.registration import registration_of
from ft_assets.assets.run_again import run_again
from ft_assets.assets.step import Materialized, Step, step
from ft_assets.assets.winner import (
    refuse_loser,
    refuse_other_measures,
    refuse_other_rules,
    verdict_on,
)
from ft_assets.automation.freshness import freshness_of
from ft_assets.cards import CARD_FILE, model_card_of
from ft_assets.cards.sources import input_of
from ft_assets.config import Pipeline
from ft_assets.court import Verdict
from ft_assets.lineage import table
from resources.registry import (
    ChampionMovedError,
    RegisteredVersion,
    Registration,
    Registry,
    RegistryHub,
    RegistrySettings,
    open_registry,
)
from resources.store import Artifact, ArtifactStore

NAME = "registered_version"
CODE_VERSION = "2"


def registered_version(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, registered_version]``."""

    @pipeline_asset(
        pipeline,
        NAME,
        after=["finetuned_model", "eval_report"],
        kinds={pipeline.spec.registry.settings().kind},
        code_version=CODE_VERSION,
        description=(
            "The tuned model in the model registry. Only a model that passed its checks gets "
            "here; it becomes the champion and the former one is archived. The same model "
            "registered again is the same version."
        ),
        partitions=partitions,
        freshness_policy=freshness_of(pipeline),
    )
    def asset(
        context: dg.AssetExecutionContext, store: ArtifactStore, registry: RegistryHub
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this:
            made_from = _made_from(this, store)
            model, report = made_from["finetuned_model"], made_from["eval_report"]
            verdict = verdict_on(model, report)
            settings = this.spec.registry.settings()
            context.log.info(f"Registering in {settings.where}")
            opened = open_registry(registry, settings)
            if not is_registered(opened, this.spec.registry.name, model.data_version):
                refuse_other_rules(verdict, this.spec)
                refuse_other_measures(this, store, model, report)
            refuse_loser(verdict)
            registration = registration_of(
                this.spec,
                partition=this.partition,
                run_id=context.run.run_id,
                made_from=made_from,
                verdict=verdict,
            )
            before = opened.champion(registration.model)
            version = _register(this, opened, registration)
            with this.publish(store, [model, report]) as draft:
                (draft.path / "registration.json").write_text(
                    json.dumps(_durable(version), indent=1, sort_keys=True)
                )
                (draft.path / CARD_FILE).write_text(
                    _card(this, store, model, report, version), encoding="utf-8"
                )
            assert draft.artifact is not None
            champions = (before, opened.champion(version.model))
            page = _page(version, champions, report, verdict, settings)
            with this.working():
                page |= changed_since_champion(version, report, opened, store)
            return this.result(
                draft.artifact,
                [model, report],
                page,
                up_to_date=not version.created,
            )

    return asset


def _register(this: Step, registry: Registry, registration: Registration) -> RegisteredVersion:
    """Register; where another drop won meanwhile, the run comes again and is judged against it."""
    try:
        return registry.register(registration)
    except ChampionMovedError:
        run_again(this.context, making=this.spec.key("eval_report"))
        raise


def _made_from(this: Step, store: ArtifactStore) -> dict[str, Artifact]:
    """The model, its report, and the datasets behind it as far as they are still kept."""
    model = this.open(store, "finetuned_model")
    found = {"finetuned_model": model, "eval_report": this.open(store, "eval_report")}
    split = input_of(store, model, "split_dataset")
    if split is not None:
        found["split_dataset"] = split
        raw = input_of(store, split, "raw_dataset")
        if raw is not None:
            found["raw_dataset"] = raw
    return found


def _card(
    this: Step, store: ArtifactStore, model: Artifact, report: Artifact, version: RegisteredVersion
) -> str:
    """The model card, with what the registration knows beyond the manifests."""
    names = {"image": "container image", "gpus": "GPUs", "training_cost": "cost of the training"}
    known = {names[name]: version.properties.get(name) for name in names}
    return model_card_of(
        store,
        model,
        report,
        name=version.model,
        version=version.version,
        description=this.spec.description,
        hardware={name: value for name, value in known.items() if value},
    )


def _durable(version: RegisteredVersion) -> dict[str, Any]:
    """The registration without what a later champion or a repeated run changes."""
    return {
        name: value
        for name, value in asdict(version).items()
        if name not in ("created", "waiting", "state", "stage", "updated_at")
    }


def _page(
    version: RegisteredVersion,
    champions: tuple[RegisteredVersion | None, RegisteredVersion | None],
    report: Artifact,
    verdict: Verdict,
    settings: RegistrySettings,
) -> dict[str, Any]:
    """What the page of the asset shows: who is champion, who was, why, and all properties."""
    before, after = champions
    return {
        "registered_model": version.model,
        "version": version.version,
        "stage": version.stage,
        "registry": settings.where,
        "champion_before": "none" if before is None else before.version,
        "champion_after": "none" if after is None else after.version,
        "verdict": verdict.reason,
        "model": _place(version.artifact.uri),
        "report": _place(f"{report.uri}/report.html"),
        "properties": table(
            [
                {"property": name, "value": str(value), "type": type(value).__name__}
                for name, value in sorted(version.properties.items())
            ]
        ),
    }


def _place(uri: str) -> Any:
    return dg.PathMetadataValue(uri) if uri.startswith("/") else uri
