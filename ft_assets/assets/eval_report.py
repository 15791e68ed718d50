"""``eval_report``: the tuned model beside its base model and the champion, and the verdict."""

# Without postponed annotations: Dagster reads those of the asset's function.

import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from ft_assets.assets.champion import OpenChampion, open_champion
from ft_assets.assets.earlier import made_before
from ft_assets.assets.eval_job import (
    CODE_VERSION,
    EvalJob,
    eval_job,
    measured_before,
    train_plan_of,
)
from ft_assets.assets.evaluating import (
    RESULTS_FILE,
    SAMPLES_FOLDER,
    base_folder,
    evaluate,
    held_out_file,
    own_tasks,
    read_summary,
)
from ft_assets.assets.evaluation_page import (
    CHART_FILE,
    REPORT_FILE,
    WORST_SHOWN,
    comparison_page,
    regression_rows,
)
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.step import Materialized, Step, step
from ft_assets.assets.trained_rows import trained_before
from ft_assets.checks.court_checks import check_results, check_specs
from ft_assets.config import Pipeline
from ft_assets.court import Verdict
from ft_assets.data.split_report import TRAIN_FILE
from ft_assets.evaluation.plan import ModelUnderTest
from ft_assets.evaluation.report_html import report_html, worst_regressions
from ft_assets.evaluation.report_rows import BASE, CANDIDATE, CHAMPION, differences, result_rows
from ft_assets.evaluation.summary import EvaluationSummary
from ft_assets.forest import forest_chart
from ft_assets.lineage import SHORT
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.registry import RegistryHub, open_registry
from resources.store import Artifact, ArtifactStore

NAME = "eval_report"
VERDICT_FILE = "verdict.json"
LEFT_OUT_FILE = "left_out.txt"


def eval_report(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, eval_report]``, with the checks that guard registration."""
    key = pipeline.spec.key(NAME)

    @pipeline_asset(
        pipeline,
        NAME,
        after=["split_dataset", "baseline_report", "finetuned_model"],
        kinds={"lmeval"},
        code_version=CODE_VERSION,
        description=(
            "The tuned model, its base model and the champion on the same held-out rows and "
            "lm-eval tasks: scores, differences with intervals, samples side by side. Decides "
            "whether the model may be registered."
        ),
        partitions=partitions,
        check_specs=check_specs(key, partitions),
    )
    def asset(
        context: dg.AssetExecutionContext,
        store: ArtifactStore,
        home: Home,
        launcher: ProcessLauncher,
        registry: RegistryHub,
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this, this.alone(home):
            split = this.open(store, "split_dataset")
            model = this.open(store, "finetuned_model")
            known = open_registry(registry, this.spec.registry.settings())
            job = eval_job(this, store, split, model, known)
            existing = None if this.force else made_before(this, store, job.is_done)
            if existing is not None:
                return _result(this, existing, job, up_to_date=True)
            output = home.runs / f"{this.run_folder_prefix}-{job.fingerprint[:16]}"
            output.mkdir(parents=True, exist_ok=True)
            champion = open_champion(store, job.champion) if job.champion is not None else None
            scored = None if this.force else measured_before(this, store, job)
            if scored is not None:
                _take_over(scored, output)  # only the rules of promotion have changed
            else:
                _evaluate(this, store, job, champion, output, home=home, launcher=launcher)
            artifact = _publish(this, store, job, champion, output)
            shutil.rmtree(output)
            return _result(this, artifact, job, up_to_date=False)

    return asset


def _evaluate(
    this: Step,
    store: ArtifactStore,
    job: EvalJob,
    champion: OpenChampion | None,
    output: Path,
    *,
    home: Home,
    launcher: ProcessLauncher,
) -> None:
    base = train_plan_of(job.model).base_model
    folder = base_folder(this, base, home, launcher, output)
    models = [
        ModelUnderTest(name=BASE, path=str(folder), digest=base.digest),
        ModelUnderTest(
            name=CANDIDATE, path=str(job.model.path / "model"), digest=job.model.data_version
        ),
    ]
    leave_out = None
    if champion is not None:
        from ft_assets.data.left_out import write_left_out  # loads numpy: not with the definitions

        this.context.log.info(f"Compared with the champion, {champion.champion}")
        models.insert(
            1,
            ModelUnderTest(
                name=CHAMPION, path=str(champion.folder), digest=champion.champion.digest
            ),
        )
        held_out = held_out_file(job.split)
        if held_out is not None:
            leave_out = output / LEFT_OUT_FILE
            before = trained_before(store, job.model, champion.model, job.split)
            count = write_left_out(
                (split.file(TRAIN_FILE) for split in before), held_out, leave_out
            )
            this.context.log.info(f"Held-out rows that were trained on before, left out: {count}")
    evaluate(this, job.split, models, output, home=home, launcher=launcher, leave_out=leave_out)


def _take_over(report: Artifact, output: Path) -> None:
    """Put the scores of an earlier report where an evaluation would have left them."""
    shutil.copyfile(report.file(RESULTS_FILE), output / RESULTS_FILE)
    shutil.copytree(report.path / SAMPLES_FOLDER, output / SAMPLES_FOLDER, dirs_exist_ok=True)


def _publish(
    this: Step, store: ArtifactStore, job: EvalJob, champion: OpenChampion | None, output: Path
) -> Artifact:
    samples = output / SAMPLES_FOLDER
    with this.working():
        summary = read_summary(output)
        verdict = _judge(this, job, summary, samples)
        regressions = worst_regressions(summary, samples, WORST_SHOWN)
        document = report_html(summary, samples, verdict, title=_title(this))
    metadata = {
        "fingerprint": job.fingerprint,
        "measured": job.measured,
        "summary": summary.model_dump(mode="json"),
        "verdict": verdict.model_dump(mode="json"),
        "champion": job.champion.model_dump(mode="json") if job.champion is not None else None,
        "worst_regressions": regression_rows(regressions),
        "model_data_version": job.model.data_version,
        **own_tasks(this),
    }
    rows = result_rows(summary, verdict.comparisons)
    chart = forest_chart(differences(summary, rows, verdict.comparisons), title=_title(this))
    inputs = [*job.inputs, *([champion.model] if champion is not None else [])]
    with this.publish(store, inputs, **metadata) as draft:
        shutil.copyfile(output / RESULTS_FILE, draft.path / RESULTS_FILE)
        (draft.path / VERDICT_FILE).write_text(verdict.model_dump_json(indent=1) + "\n")
        (draft.path / REPORT_FILE).write_text(document)
        (draft.path / CHART_FILE).write_text(chart)
        draft.take(samples, SAMPLES_FOLDER)
    assert draft.artifact is not None
    return draft.artifact


def _judge(this: Step, job: EvalJob, summary: EvaluationSummary, samples: Path) -> Verdict:
    from ft_assets.court.judge import judge

    return judge(
        summary,
        samples,
        this.spec.promotion,
        tasks=this.spec.evaluation.tasks,
        champion_expected=job.champion is not None,
        held_out=this.spec.holds_out,
    )


def _title(this: Step) -> str:
    drop = f", drop {this.partition}" if this.partition else ""
    return f"{this.title}: the candidate{drop}"


def _result(this: Step, artifact: Artifact, job: EvalJob, *, up_to_date: bool) -> Materialized:
    """From the manifest alone, so that a reused report shows and decides the same."""
    manifest: Any = artifact.manifest.metadata
    summary = EvaluationSummary.model_validate(manifest["summary"])
    verdict = Verdict.model_validate(manifest["verdict"])
    page = comparison_page(artifact, summary, verdict, manifest["worst_regressions"])
    if job.champion is not None:
        page["champion"] = str(job.champion)
    page["fingerprint"] = str(manifest["fingerprint"])[:SHORT]
    return this.result(
        artifact,
        job.inputs,
        page,
        up_to_date=up_to_date,
        check_results=check_results(this.key, verdict),
    )
