"""``finetuned_model``: the base model after training on the split's training rows."""

# Without postponed annotations: Dagster reads those of the asset's function.

import json
import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from ft_assets.assets.step import Materialized, Step, pipeline_asset, step
from ft_assets.assets.token_report import locate_base_model
from ft_assets.charts import line_chart, sparkline_markdown
from ft_assets.config import Pipeline
from ft_assets.kubernetes import GPU_POOL, training_op_tags
from ft_assets.lineage import SHORT, table
from ft_assets.provenance.digest import files_digest
from ft_assets.training.outcome import TrainOutcome
from ft_assets.training.plan import CODE_VERSION, TrainPlan, make_plan
from resources.errors import UserError
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.store import Artifact, ArtifactStore

NAME = "finetuned_model"


def finetuned_model(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, finetuned_model]``."""
    kubernetes = pipeline.spec.kubernetes

    @pipeline_asset(
        pipeline,
        NAME,
        after=["split_dataset", "token_report"],
        kinds={"pytorch", "huggingface"},
        code_version=CODE_VERSION,
        description=(
            "The base model, fine-tuned on the training rows: a Hugging Face folder with "
            "safetensors weights and the tokenizer, the metrics of every step and the loss "
            "curve. Trained once per fingerprint of data, base model, parameters and code."
        ),
        partitions=partitions,
        op_tags=training_op_tags(kubernetes, pipeline.spec.training.hf_token_env),
        pool=GPU_POOL if kubernetes.gpus_per_worker else None,
    )
    def asset(
        context: dg.AssetExecutionContext,
        store: ArtifactStore,
        home: Home,
        launcher: ProcessLauncher,
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this, this.alone(home):
            split = this.open(store, "split_dataset")
            plan = _plan(this, store, split, home)
            existing = store.find(this.key, this.partition)
            if (
                existing is not None
                and existing.manifest.metadata["fingerprint"] == plan.fingerprint
            ):
                context.log.info(f"Up to date: fingerprint {plan.fingerprint[:SHORT]}")
                return this.result(existing, [split], _metadata(existing), up_to_date=True)
            run_dir = _run(this, plan, home, launcher)
            artifact = _publish(this, store, split, plan, run_dir)
            shutil.rmtree(run_dir)  # its checkpoints have done their part
            return this.result(artifact, [split], _metadata(artifact))

    return asset


def _plan(this: Step, store: ArtifactStore, split: Artifact, home: Home) -> TrainPlan:
    """The plan, after everything that can be refused without loading a model was."""
    report: Any = split.manifest.metadata["report"]
    training = this.spec.training
    base = locate_base_model(this, home)
    return make_plan(
        training,
        this.spec.kubernetes,
        base_model=base,
        models_dir=home.models,
        train_file=split.file("train.jsonl"),
        data_digest=report["train_digest"],
        train_rows=report["train_rows"],
        attempt=_attempt(this, store),
    )


def _attempt(this: Step, store: ArtifactStore) -> int:
    """The number of the forced repetition; a retry of the same run keeps it."""
    existing = store.find(this.key, this.partition)
    if existing is None:
        return 0
    attempt = existing.manifest.metadata["attempt"]
    assert isinstance(attempt, int)
    return attempt + 1 if this.force else attempt


def _run(this: Step, plan: TrainPlan, home: Home, launcher: ProcessLauncher) -> Path:
    """Train in the run folder of this fingerprint, going on with what an earlier try left there."""
    run_dir = home.runs / f"{this.run_folder_prefix}-{plan.fingerprint[:16]}"
    run_dir.mkdir(parents=True, exist_ok=True)
    plan_file = run_dir / "plan.json"
    plan_file.write_text(plan.model_dump_json(indent=1))
    if TrainOutcome.load(run_dir) is None:  # else it is trained, and only publication failed
        this.work_seconds.append(
            launcher.run(
                this.context,
                module="ft_assets.training.worker",
                plan=plan_file,
                on_progress=this.report,
            )
        )
    return run_dir


def _publish(
    this: Step, store: ArtifactStore, split: Artifact, plan: TrainPlan, run_dir: Path
) -> Artifact:
    outcome = TrainOutcome.load(run_dir)
    if outcome is None:
        raise UserError(f"the training process ended without a model; its folder is {run_dir}")
    metrics = _read_metrics(run_dir / "metrics.jsonl")
    metadata = {
        "fingerprint": plan.fingerprint,
        "attempt": _attempt(this, store),
        "plan": plan.model_dump(mode="json"),
        "outcome": outcome.model_dump(mode="json"),
        "loss_curve": [metric["loss"] for metric in metrics],
    }
    with this.publish(store, [split], **metadata) as draft:
        chart = line_chart(
            [(metric["step"], metric["loss"]) for metric in metrics],
            title=f"{this.spec.name}: training loss",
            x="optimizer step",
            y="loss (nats per trained token)",
        )
        (draft.path / "loss.svg").write_text(chart)
        shutil.copyfile(run_dir / "metrics.jsonl", draft.path / "metrics.jsonl")
        # Linked, not moved: when publication fails, the trained model is still there.
        shutil.copytree(
            run_dir / outcome.model_dir, draft.path / "model", copy_function=_link_or_copy
        )
        draft.data_version = _digest(draft.path / "model")
    assert draft.artifact is not None
    return draft.artifact


def _digest(model: Path) -> str:
    """The model alone: metrics tell how fast it was trained, which makes it no other model."""
    names = [str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()]
    return files_digest(model, names)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _read_metrics(file: Path) -> list[dict[str, Any]]:
    """The steps' metrics; as many lines as optimizer steps, which is thousands at most."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def _metadata(artifact: Artifact) -> dict[str, Any]:
    """What the UI shows, from the manifest alone, so that a reused model shows the same."""
    manifest: Any = artifact.manifest.metadata
    outcome = TrainOutcome.model_validate(manifest["outcome"])
    plan = TrainPlan.model_validate(manifest["plan"])
    curve: list[float] = manifest["loss_curve"]
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
        "loss": dg.MetadataValue.md(sparkline_markdown(curve, "loss")),
        **{name: round(value, 4) for name, value in numbers.items() if value is not None},
        "model": dg.PathMetadataValue(f"{artifact.uri}/model"),
        "base_model": plan.base_model.name,
        "base_model_digest": plan.base_model.digest[:SHORT],
        "algorithm": plan.algorithm,
        "backend": plan.backend,
        "fingerprint": plan.fingerprint[:SHORT],
        "loss_chart": dg.PathMetadataValue(f"{artifact.uri}/loss.svg"),
        "parameters": table(
            [{"parameter": name, "value": str(value)} for name, value in plan.parameters.items()]
        ),
        "settings": table(
            [{"setting": name, "value": str(value)} for name, value in outcome.settings.items()]
        ),
    }
