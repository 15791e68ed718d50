"""What the UI shows of a trained model: from its manifest alone, so that a reused one is the same.

Belongs here: the page. Does not belong here: what goes into the manifest (``finetuned_model``).
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from ft_assets.charts import sparkline_markdown
from ft_assets.lineage import SHORT, table
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import TrainPlan
from ft_assets.training.profiling.files import PROFILE_FOLDER
from resources.store import Artifact


def training_page(artifact: Artifact) -> dict[str, Any]:
    """Metadata of a materialization of ``finetuned_model``."""
    manifest: Any = artifact.manifest.metadata
    outcome = TrainOutcome.model_validate(manifest["outcome"])
    plan = TrainPlan.of_manifest(manifest)
    curves: dict[str, list[float]] = {
        "loss": manifest["loss_curve"],
        "held_out_loss": manifest["held_out_curve"],
    }
    numbers = {
        "first_loss": outcome.first_loss,
        "last_loss": outcome.last_loss,
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "trained_tokens": outcome.trained_tokens,
        "rows": outcome.rows,
        "rows_too_long": outcome.rows_too_long,
        "rows_untrained": outcome.rows_untrained,
        "rows_cut": outcome.rows_cut,
        "tokens_per_second": outcome.tokens_per_second,
        "train_seconds": outcome.train_seconds,
        "peak_memory_mib": outcome.peak_memory_mib,
        "resumed_from_step": outcome.resumed_from_step,
    }
    return {
        **{
            name: dg.MetadataValue.md(sparkline_markdown(curve, name))
            for name, curve in curves.items()
            if curve
        },
        **{name: round(value, 4) for name, value in numbers.items() if value is not None},
        "model": dg.PathMetadataValue(f"{artifact.uri}/model"),
        "started_from": str(plan.start) if plan.start else f"base model {plan.base_model.name}",
        **({"trainings_before": plan.start.trainings} if plan.start else {}),
        "base_model": plan.base_model.name,
        "base_model_digest": plan.base_model.digest[:SHORT],
        "algorithm": plan.algorithm,
        "backend": plan.backend,
        "fingerprint": plan.fingerprint[:SHORT],
        "loss_chart": dg.PathMetadataValue(f"{artifact.uri}/loss.svg"),
        **_profile_page(artifact),
        "estimate": table(
            [
                {
                    "figure": row["figure"],
                    "estimated": _shown(row["estimated"]),
                    "actual": _shown(row["actual"]),
                    "estimated / actual": _shown(row["ratio"]),
                }
                for row in manifest["estimated"]
            ]
        ),
        "parameters": table(
            [{"parameter": name, "value": str(value)} for name, value in plan.parameters.items()]
        ),
        "settings": table(
            [{"setting": name, "value": str(value)} for name, value in outcome.settings.items()]
        ),
    }


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _profile_page(artifact: Artifact) -> dict[str, Any]:
    profile: Any = artifact.manifest.metadata["profile"]
    if profile is None:
        return {}
    from ft_assets.training.profiling.markdown import summary_markdown
    from ft_assets.training.profiling.summary import ProfileSummary

    unread = profile.get("unread")
    page = unread or summary_markdown(ProfileSummary.model_validate(profile))
    return {
        "profile": dg.MetadataValue.md(page),
        "profile_trace": dg.PathMetadataValue(f"{artifact.uri}/{PROFILE_FOLDER}/trace.json.gz"),
    }
