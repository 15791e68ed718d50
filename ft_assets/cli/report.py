"""What a run has to say at its end: one object for programs, a table for people.

Both are read from the artifacts and the registry, not from what the run remembers, so that a run
in which everything was up to date says the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from ft_assets.code_location import default_resources
from ft_assets.config import PipelineSpec
from ft_assets.config.launchpad import JOB_ASSETS
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.running import RunOutcome, RunRequest
from ft_assets.training.outcome import TrainOutcome
from resources.store import Artifact, ArtifactStore


def report_of(request: RunRequest, outcome: RunOutcome) -> dict[str, Any]:
    """The result of a run; parts whose artifacts do not exist are left out."""
    spec = request.pipeline.spec
    result: dict[str, Any] = {
        "pipeline": spec.name,
        "partition": request.partition,
        "run_id": outcome.run_id,
        "success": outcome.success,
        "made": [a for a, m in outcome.materialized.items() if not m.get("up_to_date")],
        "up_to_date": [a for a, m in outcome.materialized.items() if m.get("up_to_date")],
        "checks": dict(outcome.checks),
        "warnings": list(outcome.warnings),
        "work_seconds": {a: m.get("work_seconds") for a, m in outcome.materialized.items()},
    }
    result.update(_assets(spec, request.partition, outcome))
    recipes = {
        recipe: _assets(own, request.partition, outcome)
        for recipe, own in spec.recipe_specs().items()
    }
    if any(recipes.values()):
        result["recipes"] = {recipe: said for recipe, said in recipes.items() if said}
    return result


def _assets(spec: PipelineSpec, partition: str | None, outcome: RunOutcome) -> dict[str, Any]:
    """What the assets of a specification say; of a recipe's, its own alone."""
    store: ArtifactStore = default_resources()["store"]
    result: dict[str, Any] = {}
    own = {asset: spec.key(asset) for asset in JOB_ASSETS}
    if spec.recipe is not None:
        own = {asset: key for asset, key in own.items() if spec.recipe in key[1:-1]}
    for asset, key in own.items():
        made = outcome.materialized.get("/".join(key[1:]))
        if made is None:
            continue
        artifact = store.find(key, partition) if asset in _PARTS else None
        if artifact is not None:
            result.update(_PARTS[asset](artifact))
        if asset == "registered_version":
            result["model_name"] = made["registered_model"]
            result["version"] = made["version"]
            result["stage"] = made["stage"]
    return result


def _data(artifact: Artifact) -> dict[str, Any]:
    report: Any = artifact.manifest.metadata["report"]
    return {
        "rows_read": report["rows_read"],
        "rows_kept": report["rows_kept"],
        "dropped": dict(report["dropped"]),
        "data_path": str(artifact.path),
    }


def _split(artifact: Artifact) -> dict[str, Any]:
    report: Any = artifact.manifest.metadata["report"]
    return {
        "train_rows": report["train_rows"],
        "eval_rows": report["held_out_rows"],
        "split_dropped": dict(report["dropped"]),
        "train_path": str(artifact.file("train.jsonl")),
        "eval_path": str(artifact.file("held_out.jsonl")),
    }


def _tokens(artifact: Artifact) -> dict[str, Any]:
    report: Any = artifact.manifest.metadata["report"]
    return {
        "rows_too_long": report["rows_too_long"],
        "rows_untrained": report["rows_untrained"],
        "tokens_per_epoch": report["tokens"],
        "trained_tokens_per_epoch": report["trained_tokens"],
        "steps": report["steps"],
        "preview_path": str(artifact.file("preview.html")),
    }


def _model(artifact: Artifact) -> dict[str, Any]:
    outcome = TrainOutcome.model_validate(artifact.manifest.metadata["outcome"])
    return {
        "model_path": str(artifact.path / "model"),
        "base_model_path": outcome.base_model_dir,
        "tokens": outcome.tokens,
        "trained_tokens": outcome.trained_tokens,
        "tokens_per_second": outcome.tokens_per_second,
        "trained_tokens_per_second": _share(
            outcome.tokens_per_second, outcome.trained_tokens, outcome.tokens
        ),
        "train_seconds": outcome.train_seconds,
        "peak_memory_mib": outcome.peak_memory_mib,
        "settings": outcome.settings,
    }


def _share(rate: float | None, part: int | None, whole: int | None) -> float | None:
    return rate * part / whole if rate is not None and part is not None and whole else None


def _evaluation(artifact: Artifact) -> dict[str, Any]:
    metadata: Any = artifact.manifest.metadata
    summary = EvaluationSummary.model_validate(metadata["summary"])
    result: dict[str, Any] = {
        "report_path": str(artifact.path),
        "verdict": metadata["verdict"]["reason"],
        "tasks": {name: model.tasks for name, model in summary.models.items()},
    }
    for name, model in summary.models.items():
        if model.held_out is not None:
            result[f"{name}_loss"] = model.held_out.loss
            result[f"{name}_loss_stderr"] = model.held_out.loss_stderr
            result[f"{name}_perplexity"] = model.held_out.perplexity
            result[f"{name}_token_accuracy"] = model.held_out.token_accuracy
    return result


_PARTS: dict[str, Callable[[Artifact], dict[str, Any]]] = {
    "raw_dataset": _data,
    "split_dataset": _split,
    "token_report": _tokens,
    "finetuned_model": _model,
    "eval_report": _evaluation,
}


def _of_recipe(said: dict[str, Any]) -> str:
    """A recipe in one cell: its loss, its version, its verdict."""
    parts: list[str] = []
    if said.get("tuned_loss") is not None:
        parts.append(f"held-out loss {said['tuned_loss']:.3f}")
    if "version" in said:
        parts.append(f"{said['model_name']} {said['version']} ({said['stage']})")
    if "verdict" in said:
        parts.append(str(said["verdict"]))
    return "; ".join(parts) or "made"


def report_text(console: Console, result: dict[str, Any]) -> None:
    """The result as a table, and what to do next."""
    title = result["pipeline"] + (f", drop {result['partition']}" if result["partition"] else "")
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    if "rows_read" in result:
        dropped = {**result["dropped"], **result.get("split_dropped", {})}
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "none"
        table.add_row("rows read", str(result["rows_read"]))
        table.add_row("rows dropped", why)
    if "train_rows" in result:
        table.add_row("rows kept", f"{result['train_rows']} train, {result['eval_rows']} held out")
    if result.get("tokens_per_second") is not None:
        table.add_row(
            "tokens per second",
            f"{result['tokens_per_second']:.0f}, of them trained on "
            f"{result['trained_tokens_per_second']:.0f}",
        )
    if result.get("base_loss") is not None and result.get("tuned_loss") is not None:
        table.add_row(
            "held-out loss",
            f"{result['base_loss']:.3f} base, {result['tuned_loss']:.3f} tuned (nats per token)",
        )
        table.add_row(
            "perplexity",
            f"{result['base_perplexity']:.1f} base, {result['tuned_perplexity']:.1f} tuned "
            "(per token)",
        )
    if "verdict" in result:
        table.add_row("verdict", result["verdict"])
    if "model_path" in result:
        table.add_row("model", result["model_path"])
    if "version" in result:
        table.add_row(
            "registered", f"{result['model_name']} {result['version']} ({result['stage']})"
        )
    if result["up_to_date"]:
        table.add_row(
            "up to date", f"{', '.join(result['up_to_date'])} (--force does the work again)"
        )
    for recipe, said in result.get("recipes", {}).items():
        table.add_row(f"recipe {recipe}", _of_recipe(said))
    for warning in result["warnings"]:
        table.add_row("warning", warning)
    table.add_row("run", result["run_id"])
    console.print(table)
    console.print("See it in Dagster's UI: make ui, then http://127.0.0.1:3000")
