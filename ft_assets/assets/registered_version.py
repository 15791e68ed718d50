"""``registered_version``: a model that has won, under a name and a version."""

# Without postponed annotations: Dagster reads those of the asset's function.

import json
from dataclasses import asdict
from typing import Any

import dagster as dg

from ft_assets.assets.step import Materialized, Step, pipeline_asset, step
from ft_assets.checks import healthy_training
from ft_assets.checks.beats_base import judge
from ft_assets.config import Pipeline
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.lineage import table
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError
from resources.registry import EmbeddedRegistry, Property, RegisteredVersion, Registration
from resources.store import Artifact, ArtifactStore

NAME = "registered_version"
CODE_VERSION = "1"


def registered_version(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, registered_version]``."""

    @pipeline_asset(
        pipeline,
        NAME,
        after=["finetuned_model", "eval_report"],
        kinds={"sqlite"},
        code_version=CODE_VERSION,
        description=(
            "The tuned model in the model registry. Only a model that passed its checks gets "
            "here; it becomes the champion and the former one is archived. The same model "
            "registered again is the same version."
        ),
        partitions=partitions,
    )
    def asset(
        context: dg.AssetExecutionContext, store: ArtifactStore, registry: EmbeddedRegistry
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this:
            model = this.open(store, "finetuned_model")
            report = this.open(store, "eval_report")
            _refuse_unless_won(model, report)
            version = registry.register(_registration(this, model, report))
            with this.publish(store, [model, report]) as draft:
                (draft.path / "registration.json").write_text(
                    json.dumps(_durable(version), indent=1, sort_keys=True)
                )
            assert draft.artifact is not None
            return this.result(
                draft.artifact,
                [model, report],
                _metadata(version),
                up_to_date=not version.created,
            )

    return asset


def _refuse_unless_won(model: Artifact, report: Artifact) -> None:
    """A run of this asset alone does not look at the check, so the report is judged again."""
    metadata: Any = report.manifest.metadata
    if metadata["model_data_version"] != model.data_version:
        raise UserError(
            "the evaluation report is about another model than the current one: materialize "
            "eval_report first"
        )
    unhealthy = healthy_training.error_of(model.manifest.metadata)
    if unhealthy is not None:
        raise UserError(f"not registered: the training was not healthy: {unhealthy}")
    verdict = judge(EvaluationSummary.model_validate(metadata["summary"]))
    if not verdict.passed:
        raise UserError(f"not registered: {verdict.reason}")


def _registration(this: Step, model: Artifact, report: Artifact) -> Registration:
    config = this.spec.registry
    drop = f" on drop {this.partition}" if this.partition else ""
    return Registration(
        model=config.name,
        digest=model.data_version,
        uri=f"{model.uri}/model",
        version=config.version,
        base_version=config.base_version,
        author=config.author,
        description=config.description or f"Pipeline {this.spec.name}{drop}",
        format_name=config.format_name,
        format_version=config.format_version,
        properties=_properties(this, model, report),
    )


def _properties(this: Step, model: Artifact, report: Artifact) -> dict[str, Property]:
    """What the registry can be searched for: scores as numbers, lineage as digests."""
    plan = TrainPlan.of_manifest(model.manifest.metadata)
    summary = EvaluationSummary.model_validate(report.manifest.metadata["summary"])
    base, tuned = summary.models["base"].held_out, summary.models["tuned"].held_out
    numbers = {
        "base_held_out_loss": base.loss if base else None,
        "held_out_loss": tuned.loss if tuned else None,
        "held_out_perplexity": tuned.perplexity if tuned else None,
        "held_out_rows": tuned.rows if tuned else None,
    }
    return {
        "pipeline": this.spec.name,
        "partition": this.partition or "",
        "run_id": this.context.run.run_id,
        "base_model": plan.base_model.name,
        "base_model_digest": plan.base_model.digest,
        "algorithm": plan.algorithm,
        "fingerprint": plan.fingerprint,
        "spec": this.spec.digest,
        "eval_report_digest": report.digest,
        **{name: value for name, value in numbers.items() if value is not None},
    }


def _durable(version: RegisteredVersion) -> dict[str, Any]:
    """The registration without what a later champion or a repeated run changes."""
    return {
        name: value
        for name, value in asdict(version).items()
        if name not in ("created", "state", "stage", "updated_at")
    }


def _metadata(version: RegisteredVersion) -> dict[str, Any]:
    return {
        "registered_model": version.model,
        "version": version.version,
        "stage": version.stage,
        "model": dg.PathMetadataValue(version.artifact.uri),
        "properties": table(
            [
                {"property": name, "value": str(value)}
                for name, value in sorted(version.properties.items())
            ]
        ),
    }
