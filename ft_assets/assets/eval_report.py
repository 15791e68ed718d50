"""``eval_report``: the tuned model beside its base model, on held-out rows and on benchmarks."""

# Without postponed annotations: Dagster reads those of the asset's function.

import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from ft_assets.assets.step import Materialized, Step, pipeline_asset, step
from ft_assets.checks.beats_base import Verdict, check_result, check_spec, judge
from ft_assets.config import Pipeline
from ft_assets.evaluation.plan import EvaluationPlan, ModelUnderTest
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.lineage import SHORT, table
from ft_assets.provenance.digest import files_digest, value_digest
from ft_assets.training.base_model import locate_again, prepared_path
from ft_assets.training.plan import TrainPlan
from ft_assets.training.prepare_worker import PreparePlan
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.store import Artifact, ArtifactStore

NAME = "eval_report"
CODE_VERSION = "1"


def eval_report(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, eval_report]``, with the check that guards registration."""
    key = [pipeline.spec.name, NAME]

    @pipeline_asset(
        pipeline,
        NAME,
        after=["split_dataset", "finetuned_model"],
        kinds={"lmeval"},
        code_version=CODE_VERSION,
        description=(
            "How the tuned model and its base model do on the held-out rows (loss, perplexity "
            "and accuracy per assistant token, with standard errors) and on the lm-eval tasks "
            "of the pipeline. Decides whether the model may be registered."
        ),
        partitions=partitions,
        check_specs=[check_spec(key, partitions)],
    )
    def asset(
        context: dg.AssetExecutionContext,
        store: ArtifactStore,
        home: Home,
        launcher: ProcessLauncher,
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this, this.alone(home):
            split = this.open(store, "split_dataset")
            model = this.open(store, "finetuned_model")
            fingerprint = _fingerprint(this, split, model)
            existing = store.find(this.key, this.partition)
            current = existing and existing.manifest.metadata["fingerprint"] == fingerprint
            if existing is not None and current and not this.force:
                context.log.info(f"Up to date: fingerprint {fingerprint[:SHORT]}")
                return _result(this, existing, [split, model], up_to_date=True)
            output = home.runs / f"{this.run_folder_prefix}-{fingerprint[:16]}"
            output.mkdir(parents=True, exist_ok=True)
            base = _base_folder(this, model, home, launcher, output)
            _evaluate(this, split, model, base, output, launcher=launcher)
            artifact = _publish(this, store, [split, model], fingerprint, output)
            shutil.rmtree(output)
            return _result(this, artifact, [split, model], up_to_date=False)

    return asset


def _fingerprint(this: Step, split: Artifact, model: Artifact) -> str:
    report: Any = split.manifest.metadata["report"]
    plan = _train_plan(model)
    return value_digest(
        {
            "code": CODE_VERSION,
            "model": model.data_version,
            "base_model": plan.base_model.digest,
            "held_out": report["held_out_digest"],
            "config": this.spec.evaluation.model_dump(mode="json"),
            "tasks": _tasks_digest(this),
        }
    )


def _tasks_digest(this: Step) -> str | None:
    """Digest of the folder of the pipeline's own tasks: an edited task is another evaluation."""
    folder = this.include_folder
    if folder is None:
        return None
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return files_digest(folder, [str(file) for file in files])


def _train_plan(model: Artifact) -> TrainPlan:
    return TrainPlan.of_manifest(model.manifest.metadata)


def _evaluate(
    this: Step,
    split: Artifact,
    model: Artifact,
    base: Path,
    output: Path,
    *,
    launcher: ProcessLauncher,
) -> None:
    report: Any = split.manifest.metadata["report"]
    held_out = split.file("held_out.jsonl") if report["held_out_rows"] else None
    config = this.spec.evaluation
    include = this.include_folder
    plan = EvaluationPlan(
        models=[
            ModelUnderTest(name="base", path=str(base)),
            ModelUnderTest(name="tuned", path=str(model.path / "model")),
        ],
        held_out=str(held_out) if held_out is not None else None,
        tasks=config.tasks,
        include_path=str(include) if include else None,
        batch=config.batch,
        gen_kwargs=config.gen_kwargs,
        limit=config.limit,
        log_samples=config.log_samples,
        model_args=config.model_args,
        verbosity=config.verbosity,
        seed=config.seed,
        output_dir=str(output),
    )
    this.run_worker(launcher, "ft_assets.evaluation.worker", plan, output / "plan.json")


def _base_folder(
    this: Step, model: Artifact, home: Home, launcher: ProcessLauncher, output: Path
) -> Path:
    """The base model's folder on this machine, prepared if another machine trained."""
    base = locate_again(
        _train_plan(model).base_model, folder=this.pipeline.folder, models=home.models
    )
    if prepared_path(base, home.models) is None:
        plan = PreparePlan(base_model=base, models_dir=str(home.models))
        this.run_worker(
            launcher, "ft_assets.training.prepare_worker", plan, output / "prepare.json"
        )
    path = prepared_path(base, home.models)
    assert path is not None
    return path


def _publish(
    this: Step, store: ArtifactStore, inputs: list[Artifact], fingerprint: str, output: Path
) -> Artifact:
    summary = EvaluationSummary.model_validate_json((output / "results.json").read_text())
    metadata = {
        "fingerprint": fingerprint,
        "summary": summary.model_dump(mode="json"),
        "verdict": judge(summary).model_dump(mode="json"),
        "model_data_version": inputs[1].data_version,
    }
    with this.publish(store, inputs, **metadata) as draft:
        shutil.copyfile(output / "results.json", draft.path / "results.json")
        if (output / "samples").exists():
            shutil.copytree(output / "samples", draft.path / "samples")
    assert draft.artifact is not None
    return draft.artifact


def _result(
    this: Step, artifact: Artifact, inputs: list[Artifact], *, up_to_date: bool
) -> Materialized:
    """From the manifest alone, so that a reused report shows and decides the same."""
    manifest: Any = artifact.manifest.metadata
    summary = EvaluationSummary.model_validate(manifest["summary"])
    verdict = Verdict.model_validate(manifest["verdict"])
    return this.result(
        artifact,
        inputs,
        {
            "verdict": verdict.reason,
            "results": table(result_rows(summary)),
            "report": dg.PathMetadataValue(f"{artifact.uri}/results.json"),
            "fingerprint": str(manifest["fingerprint"])[:SHORT],
            **_plotted(summary),
        },
        up_to_date=up_to_date,
        check_results=[check_result(this.key, verdict)],
    )


def result_rows(summary: EvaluationSummary) -> list[dict[str, str | float | None]]:
    """One row per task and metric: the base model, the tuned one, and what lies between them.

    ``±`` is the standard error; short, so that the table fits the page of the asset.
    """
    rows: list[dict[str, str | float | None]] = []
    base, tuned = summary.models["base"], summary.models["tuned"]
    if base.held_out is not None and tuned.held_out is not None:
        rows += [
            _row("held-out rows", name, getattr(base.held_out, key), getattr(tuned.held_out, key))
            | {
                "base ±": _rounded(getattr(base.held_out, f"{key}_stderr")),
                "tuned ±": _rounded(getattr(tuned.held_out, f"{key}_stderr")),
            }
            for key, name in {
                "loss": "loss per token (nats)",
                "perplexity": "perplexity per token",
                "token_accuracy": "token accuracy",
            }.items()
        ]
    for task, metrics in tuned.tasks.items():
        rows += [
            _row(task, name, base.tasks.get(task, {}).get(name), value)
            | {
                "base ±": _rounded(base.tasks.get(task, {}).get(f"{name}_stderr")),
                "tuned ±": _rounded(metrics.get(f"{name}_stderr")),
            }
            for name, value in metrics.items()
            if not name.endswith("_stderr")
        ]
    return rows


def _row(
    task: str, metric: str, base: float | None, tuned: float | None
) -> dict[str, str | float | None]:
    difference = tuned - base if tuned is not None and base is not None else None
    return {
        "task": task,
        "metric": metric,
        "base": _rounded(base),
        "tuned": _rounded(tuned),
        "difference": _rounded(difference),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _plotted(summary: EvaluationSummary) -> dict[str, float]:
    """Numbers that the UI draws over partitions and over time."""
    held_out = summary.models["tuned"].held_out
    base = summary.models["base"].held_out
    values = {
        "held_out_loss": held_out.loss if held_out else None,
        "held_out_perplexity": held_out.perplexity if held_out else None,
        "held_out_token_accuracy": held_out.token_accuracy if held_out else None,
        "base_held_out_loss": base.loss if base else None,
    }
    return {name: value for name, value in values.items() if value is not None}
