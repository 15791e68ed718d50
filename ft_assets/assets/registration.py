"""What a registered version says about itself: the typed properties of a model that has won.

Numbers are numbers, digests are text, and what is not known is left out, so that a search for
``held_out_loss < 2`` never meets a made-up value. Does not belong here: whether the model may be
registered (``registered_version.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.provenance.digest import value_digest
from ft_assets.provenance.record import ProvenanceRecord
from ft_assets.training.cost import training_cost
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from resources.errors import UserError
from resources.registry import Property, Registration
from resources.registry.resource import in_cluster

if TYPE_CHECKING:
    from ft_assets.config import PipelineSpec
    from ft_assets.court import Verdict
    from resources.store import Artifact

IMAGE_VARIABLES = ("FT_IMAGE", "DAGSTER_CURRENT_IMAGE")
"""Environment variables with the container image of this process; the first that is set counts.
They say who registers, not who trained."""

_CANDIDATE = "tuned"
_HELD_OUT = ("loss", "perplexity", "token_accuracy", "exact_match", "rouge_l", "chrf")
_NAME_LIMIT = 255


def registration_of(
    spec: PipelineSpec,
    *,
    partition: str | None,
    run_id: str,
    made_from: Mapping[str, Artifact],
    verdict: Verdict,
) -> Registration:
    """The registration of a model.

    Args:
        spec: the effective specification.
        partition: the data drop.
        run_id: Dagster's, of the run that registers.
        made_from: the artifacts by asset name: ``finetuned_model`` and ``eval_report``, and
            ``split_dataset`` and ``raw_dataset`` where they are still kept.
        verdict: by which it may be registered.

    Raises:
        UserError: the model's files lie where nobody but this pod can read them.
    """
    config, model = spec.registry, made_from["finetuned_model"]
    drop = f" on drop {partition}" if partition else ""
    return Registration(
        model=config.name,
        digest=model.data_version,
        uri=f"{durable(model.uri)}/model",
        version=config.version,
        base_version=config.base_version,
        author=config.author,
        description=config.description or f"Pipeline {spec.label}{drop}",
        format_name=config.format_name,
        format_version=config.format_version,
        replaces=_compared_with(made_from["eval_report"]),
        properties={
            "pipeline": spec.name,
            **({"recipe": spec.recipe} if spec.recipe else {}),
            "partition": partition or "",
            "run_id": run_id,
            "config_digest": spec.digest,
            **_known(_lineage(made_from)),
            **_known(_training(spec, model)),
            **_known(_scores(made_from["eval_report"])),
            **_known(_judged(verdict)),
        },
    )


def durable(uri: str) -> str:
    """A place that outlives this process's pod and that others can reach.

    Raises:
        UserError: it is a folder of a pod.
    """
    if in_cluster() and "://" not in uri:
        raise UserError(
            f"not registered: the model's files lie at {uri}, a path of this pod that nobody can "
            "read from elsewhere: set FT_STORE to s3://BUCKET/PREFIX in the deployment and "
            "materialize the pipeline again"
        )
    return uri


def _lineage(made_from: Mapping[str, Artifact]) -> dict[str, Property | None]:
    """Which assets, data and code stand behind it."""
    properties: dict[str, Property | None] = {
        "asset_keys": ", ".join(sorted("/".join(artifact.key) for artifact in made_from.values())),
        "image": _image(made_from["finetuned_model"]),
    }
    for asset, artifact in made_from.items():
        record = _record(artifact)
        properties[f"{asset}.data_version"] = artifact.data_version
        properties[f"{asset}.digest"] = artifact.digest
        if record is None:
            continue
        properties[f"{asset}.code_version"] = record.code_version
        properties[f"{asset}.code_digest"] = record.code.digest or None
        properties[f"{asset}.commit"] = record.code.commit
        properties[f"{asset}.config_digest"] = value_digest(record.config)
        properties[f"{asset}.run_id"] = record.run_id
        for source in record.inputs:  # also of those that are no longer kept
            name = source.asset.rpartition("/")[2]
            properties.setdefault(f"{name}.data_version", source.data_version)
            properties.setdefault(f"{name}.digest", source.digest)
    return properties


def _compared_with(report: Artifact) -> str | None:
    """Digest of the champion that the report compares the candidate with, if with any."""
    metadata: Any = report.manifest.metadata
    return EvaluationSummary.model_validate(metadata["summary"]).model_digests.get("champion")


def _image(model: Artifact) -> str | None:
    """The container image that trained; where its record names none, that of this process."""
    record = _record(model)
    if record is not None and record.builder.image:
        return record.builder.image
    return next((os.environ[name] for name in IMAGE_VARIABLES if os.environ.get(name)), None)


def _training(spec: PipelineSpec, model: Artifact) -> dict[str, Property | None]:
    """Base model, recipe, machine, time and cost."""
    plan = TrainPlan.of_manifest(model.manifest.metadata)
    outcome = TrainOutcome.model_validate(model.manifest.metadata["outcome"])
    record = _record(model)
    packages = record.packages if record is not None else {}
    cost = training_cost(plan, outcome, spec.kubernetes.gpu_hour_price)
    return {
        "base_model": plan.base_model.name,
        "base_model_revision": plan.base_model.revision,
        "base_model_digest": plan.base_model.digest,
        "started_from": str(plan.start) if plan.start else None,
        "started_from_digest": plan.start.digest if plan.start else None,
        "algorithm": plan.algorithm,
        "backend": plan.backend,
        "fingerprint": plan.fingerprint,
        "training_rows": outcome.rows,
        "training_tokens": outcome.tokens,
        "trained_tokens": outcome.trained_tokens,
        "training_steps": outcome.steps,
        "training_seconds": cost.seconds,
        "training_tokens_per_second": outcome.tokens_per_second,
        "training_loss": outcome.last_loss,
        "peak_memory_mib": outcome.peak_memory_mib,
        "precision": _text(outcome.settings.get("precision")),
        "hardware": record.platform if record is not None else None,
        **_machine(plan, record),
        "gpus": cost.gpus,
        "gpu_hours": cost.gpu_hours,
        "training_cost": cost.money,
        **{f"package.{name}": version for name, version in packages.items()},
    }


def _machine(plan: TrainPlan, record: ProvenanceRecord | None) -> dict[str, Property | None]:
    """Processor and GPUs, each kind once; not known of nodes, which the step only waits for."""
    if record is None or int(plan.parameters.get("nnodes") or 1) > 1:
        return {}
    gpus = () if plan.backend == "cpu" else dict.fromkeys(record.builder.gpus)
    return {"processor": record.builder.processor or None, "gpu_models": ", ".join(gpus) or None}


def _scores(report: Artifact) -> dict[str, Property | None]:
    """All results of the candidate with their standard errors, and the base model's beside them."""
    metadata: Any = report.manifest.metadata
    summary = EvaluationSummary.model_validate(metadata["summary"])
    properties: dict[str, Property | None] = {
        "eval_report": report.uri,
        "evaluation_seconds": sum(summary.seconds.values()) if summary.seconds else None,
    }
    for model, prefix in ((_CANDIDATE, ""), ("base", "base_"), ("champion", "champion_")):
        results = summary.models.get(model)
        if results is None:
            continue
        if results.held_out is not None:
            properties[f"{prefix}held_out_rows"] = results.held_out.rows
            for metric in _HELD_OUT:
                for name in (metric, f"{metric}_stderr"):
                    properties[f"{prefix}held_out_{name}"] = getattr(results.held_out, name)
        for task, metrics in results.tasks.items():
            for metric, value in metrics.items():
                properties[f"{prefix}{task}.{metric}"] = value
    return properties


def _judged(verdict: Verdict) -> dict[str, Property | None]:
    """The verdict, its intervals, and who overruled it."""
    overruled = verdict.overruled
    properties: dict[str, Property | None] = {
        "verdict": "overruled" if overruled else "won" if verdict.passed else "lost",
        "verdict_reason": verdict.reason,
        "overruled_by": overruled.name if overruled else None,
        "overruled_why": overruled.reason if overruled else None,
    }
    for comparison in verdict.comparisons:
        if comparison.against == "threshold":
            continue
        name = f"court.{comparison.against}.{comparison.task}.{comparison.metric}"
        properties[f"{name}.difference"] = comparison.difference
        properties[f"{name}.low"] = comparison.low
        properties[f"{name}.high"] = comparison.high
        properties[f"{name}.p_value"] = comparison.p_value
        properties[f"{name}.samples"] = comparison.samples
    return properties


def _record(artifact: Artifact) -> ProvenanceRecord | None:
    """Who made an artifact, where its manifest tells it."""
    metadata: Any = artifact.manifest.metadata
    record = metadata.get("provenance")
    return None if record is None else ProvenanceRecord.model_validate(record)


def _known(properties: Mapping[str, Property | None]) -> dict[str, Property]:
    """What is known; a name that no registry takes is left out rather than the whole version."""
    return {
        name: value
        for name, value in properties.items()
        if value is not None and len(name) <= _NAME_LIMIT
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
