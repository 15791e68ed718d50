"""``baseline_report``: what the base model can do before anything is trained."""

# Without postponed annotations: Dagster reads those of the asset's function.

import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from ft_assets.assets.earlier import has, made_before
from ft_assets.assets.evaluating import (
    RESULTS_FILE,
    SAMPLES_FOLDER,
    base_folder,
    evaluate,
    measured,
    own_tasks,
    read_summary,
)
from ft_assets.assets.evaluation_page import REPORT_FILE, baseline_page
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.step import Materialized, Step, step
from ft_assets.assets.token_report import locate_base_model
from ft_assets.config import Pipeline
from ft_assets.evaluation.plan import ModelUnderTest
from ft_assets.evaluation.report_html import report_html
from ft_assets.evaluation.report_rows import BASE
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.lineage import SHORT
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.store import Artifact, ArtifactStore

NAME = "baseline_report"
CODE_VERSION = "1"


def baseline_report(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, baseline_report]``."""

    @pipeline_asset(
        pipeline,
        NAME,
        after=["split_dataset", "token_report"],
        kinds={"lmeval"},
        code_version=CODE_VERSION,
        description=(
            "How the base model does on the held-out rows and on the lm-eval tasks of the "
            "pipeline. Needs no training, so that it is known beforehand; made once per base "
            "model, held-out rows and evaluation. eval_report finds these answers in the cache."
        ),
        partitions=partitions,
    )
    def asset(
        context: dg.AssetExecutionContext,
        store: ArtifactStore,
        home: Home,
        launcher: ProcessLauncher,
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this, this.alone(home):
            split = this.open(store, "split_dataset")
            base = locate_base_model(this, home)
            fingerprint = measured(this, split, {BASE: base.digest}, CODE_VERSION)
            existing = None if this.force else made_before(this, store, has(fingerprint))
            if existing is not None:
                return _result(this, existing, split, up_to_date=True)
            output = home.runs / f"{this.run_folder_prefix}-{fingerprint[:16]}"
            output.mkdir(parents=True, exist_ok=True)
            folder = base_folder(this, base, home, launcher, output)
            model = ModelUnderTest(name=BASE, path=str(folder), digest=base.digest)
            evaluate(this, split, [model], output, home=home, launcher=launcher)
            artifact = _publish(this, store, split, fingerprint, output)
            shutil.rmtree(output)
            return _result(this, artifact, split, up_to_date=False)

    return asset


def _publish(
    this: Step, store: ArtifactStore, split: Artifact, fingerprint: str, output: Path
) -> Artifact:
    summary = read_summary(output)
    metadata = {
        "fingerprint": fingerprint,
        "summary": summary.model_dump(mode="json"),
        **own_tasks(this),
    }
    with this.publish(store, [split], **metadata) as draft:
        shutil.copyfile(output / RESULTS_FILE, draft.path / RESULTS_FILE)
        draft.take(output / SAMPLES_FOLDER, SAMPLES_FOLDER)
        title = f"{this.spec.name}: the base model" + (
            f", drop {this.partition}" if this.partition else ""
        )
        (draft.path / REPORT_FILE).write_text(
            report_html(summary, draft.path / SAMPLES_FOLDER, None, title=title)
        )
    assert draft.artifact is not None
    return draft.artifact


def _result(this: Step, artifact: Artifact, split: Artifact, *, up_to_date: bool) -> Materialized:
    """From the manifest alone, so that a reused report shows the same."""
    manifest: Any = artifact.manifest.metadata
    page = baseline_page(artifact, EvaluationSummary.model_validate(manifest["summary"]))
    page["fingerprint"] = str(manifest["fingerprint"])[:SHORT]
    return this.result(artifact, [split], page, up_to_date=up_to_date)
