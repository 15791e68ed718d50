"""``finetuned_model``: the base model after training on the split's training rows."""

# Without postponed annotations: Dagster reads those of the asset's function.

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from ft_assets.assets.champion_start import open_start, shaped_as
from ft_assets.assets.earlier import made_before
from ft_assets.assets.evaluating import base_folder
from ft_assets.assets.observations import TrainingObserver
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.run_tags import tag_with_cost, tag_with_no_cost
from ft_assets.assets.step import Materialized, Step, step
from ft_assets.assets.token_report import tokens_for
from ft_assets.assets.training_estimate import training_estimate
from ft_assets.assets.training_page import training_page
from ft_assets.assets.training_work import TrainingWork
from ft_assets.charts import lines_chart
from ft_assets.checks import healthy_training
from ft_assets.config import Pipeline
from ft_assets.kubernetes import GPU_POOL
from ft_assets.provenance.digest import files_digest
from ft_assets.training.base_model import prepared_path
from ft_assets.training.cost import training_cost
from ft_assets.training.curve import Curve
from ft_assets.training.estimate import estimate_beside_actual
from ft_assets.training.health import Planned, judge_run
from ft_assets.training.left_behind import PLAN_FILE, run_folder
from ft_assets.training.metrics import METRICS_FILE, TENSORBOARD_DIR, read_metrics
from ft_assets.training.model_choice import ModelChoice
from ft_assets.training.outcome import OUTCOME_FILE, TrainOutcome
from ft_assets.training.plan import CODE_VERSION, TrainPlan
from ft_assets.training.prepare_worker import PreparePlan
from ft_assets.training.profiling.files import PROFILE_FOLDER
from resources.errors import UserError
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.registry import RegistryHub
from resources.store import Artifact, ArtifactStore

if TYPE_CHECKING:
    from resources.launcher.trainjob import TrainJobLauncher

NAME = "finetuned_model"
_SPARKLINE_POINTS = 48


def finetuned_model(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, finetuned_model]``."""
    kubernetes = pipeline.spec.kubernetes
    key = pipeline.spec.key(NAME)

    @pipeline_asset(
        pipeline,
        NAME,
        after=["split_dataset", "token_report"],
        kinds={"pytorch", "huggingface"},
        code_version=CODE_VERSION,
        description=(
            "The base model, fine-tuned on the training rows: a Hugging Face folder with "
            "safetensors weights and the tokenizer, the metrics of every step and the loss "
            "curve. Trained once per fingerprint of data, start, parameters and code; the start is "
            "the base model or, with start_from: champion, the registered version in force."
        ),
        partitions=partitions,
        pool=GPU_POOL if kubernetes.gpus_per_worker else None,
        check_specs=[healthy_training.check_spec(key, partitions)],
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
            work = TrainingWork.of(this, store, split, home, registry)
            existing = None if this.force else made_before(this, store, work.is_made)
            if existing is not None:
                tag_with_no_cost(context)
                return _result(this, store, existing, split, up_to_date=True)
            attempt = work.attempt()
            plan = work.plan(attempt)
            run_dir = _run(this, plan, home, launcher)
            artifact = _publish(this, store, work, plan, attempt=attempt, run_dir=run_dir)
            shutil.rmtree(run_dir)  # its checkpoints have done their part
            return _result(this, store, artifact, split, up_to_date=False)

    return asset


def _run(this: Step, plan: TrainPlan, home: Home, launcher: ProcessLauncher) -> Path:
    """Train in the run folder of this fingerprint, going on with what an earlier try left there."""
    run_dir = run_folder(home.runs, this.run_folder_prefix, plan.fingerprint)
    run_dir.mkdir(parents=True, exist_ok=True)
    nodes = _several_nodes(this, plan, run_dir)
    if TrainOutcome.load(run_dir) is None:  # else it is trained, and only publication failed
        observe = TrainingObserver(this.context.log_event, this.key, this.partition)

        def listen(progress: Mapping[str, Any]) -> None:
            this.report(progress)
            observe(progress)

        if nodes is not None:  # they find the model prepared
            _prepare(this, plan, home, launcher, run_dir)
        this.run_worker(
            nodes or launcher,
            "ft_assets.training.node" if nodes else "ft_assets.training.worker",
            plan,
            run_dir / PLAN_FILE,
            on_progress=listen,
            memory_remedies=plan.host_memory_remedies,
        )
    elif nodes is not None:  # they came to their end while no step followed them
        nodes.clear_away()
    return run_dir


def _prepare(
    this: Step, plan: TrainPlan, home: Home, launcher: ProcessLauncher, run_dir: Path
) -> None:
    """Have the model that is trained from in its place, for several nodes at once."""
    if plan.start_model is None:
        base_folder(this, plan.base_model, home, launcher, run_dir)
    elif prepared_path(plan.start_model, home.models) is None:
        prepare = PreparePlan(base_model=plan.start_model, models_dir=str(home.models))
        this.run_worker(
            launcher, "ft_assets.training.prepare_worker", prepare, run_dir / "prepare.json"
        )


def _several_nodes(this: Step, plan: TrainPlan, run_dir: Path) -> "TrainJobLauncher | None":
    """What trains on more than one node; None where the step's own pod or machine does."""
    if this.spec.kubernetes.workers == 1:
        return None
    from ft_assets.kubernetes.train_job import train_job_request
    from resources.cluster.client import namespace
    from resources.launcher.trainjob import TrainJobLauncher

    request = train_job_request(
        this.spec,
        plan,
        asset=NAME,
        run_dir=run_dir,
        run_id=this.context.run.run_id,
        namespace=namespace(),
    )
    return TrainJobLauncher(request=request)


def _publish(
    this: Step,
    store: ArtifactStore,
    work: TrainingWork,
    plan: TrainPlan,
    *,
    attempt: int,
    run_dir: Path,
) -> Artifact:
    outcome = _verified(run_dir)
    loss, held_out = _curves(run_dir / METRICS_FILE)
    findings = judge_run(read_metrics(run_dir / METRICS_FILE), Planned.of(plan.parameters))
    metadata = {
        "fingerprint": plan.fingerprint,
        "attempt": attempt,
        "plan": plan.model_dump(mode="json"),
        "outcome": outcome.model_dump(mode="json"),
        "loss_curve": _values(loss),
        "held_out_curve": _values(held_out),
        "health": [finding.model_dump(mode="json") for finding in findings],
        "estimated": _beside_the_estimate(this, store, work, plan, outcome),
        "profile": _profile(run_dir),
    }
    inputs = _inputs(this, store, work.split, plan)
    with this.publish(store, inputs, **metadata) as draft:
        chart = lines_chart(
            {"training": loss.points, "held out": held_out.points},
            title=f"{this.title}: loss",
            x="optimizer step",
            y="loss (nats per trained token)",
        )
        (draft.path / "loss.svg").write_text(chart)
        shutil.copyfile(run_dir / METRICS_FILE, draft.path / METRICS_FILE)
        for folder in (TENSORBOARD_DIR, PROFILE_FOLDER):
            if (run_dir / folder).exists():
                shutil.copytree(run_dir / folder, draft.path / folder, copy_function=_link_or_copy)
        # Linked, not moved: when publication fails, the trained model is still there.
        shutil.copytree(
            run_dir / outcome.model_dir, draft.path / "model", copy_function=_link_or_copy
        )
        draft.data_version = _digest(draft.path / "model")
    assert draft.artifact is not None
    price = this.spec.kubernetes.gpu_hour_price
    tag_with_cost(this.context, training_cost(plan, outcome, price))
    return draft.artifact


def _verified(run_dir: Path) -> TrainOutcome:
    """The outcome of a run whose model is still as it was when it was verified."""
    outcome, choice = TrainOutcome.load(run_dir), ModelChoice.load(run_dir)
    if outcome is None or choice is None:
        raise UserError(f"the training process ended without a model; its folder is {run_dir}")
    try:
        choice.check(run_dir)
    except UserError:
        (run_dir / OUTCOME_FILE).unlink()  # so that the next run trains, from its checkpoint
        raise
    return outcome


def _beside_the_estimate(
    this: Step, store: ArtifactStore, work: TrainingWork, plan: TrainPlan, outcome: TrainOutcome
) -> list[dict[str, Any]]:
    """What `ft plan` would have said, beside what happened."""
    shape = shaped_as(store, work.base, work.starts, this.spec)
    tokens = tokens_for(store, this.spec, this.partition, shape)
    planned = training_estimate(this, shape, work.home, tokens, plan.backend)
    if planned is None:
        return []
    return [
        {**row.model_dump(), "ratio": row.ratio} for row in estimate_beside_actual(planned, outcome)
    ]


def _profile(run_dir: Path) -> dict[str, Any] | None:
    """The profile in numbers, or why it has none."""
    if not (run_dir / PROFILE_FOLDER).is_dir():
        return None
    from ft_assets.training.profiling.summary import summarize

    try:
        return summarize(run_dir).model_dump(mode="json")
    except UserError as error:  # the model is trained: its profile is a file beside it
        return {"unread": str(error)}


def _digest(model: Path) -> str:
    """The model alone: metrics tell how fast it was trained, which makes it no other model."""
    names = [str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()]
    return files_digest(model, names)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _curves(file: Path) -> tuple[Curve, Curve]:
    """Training and held-out loss over the steps."""
    loss, held_out = Curve(), Curve()
    for metrics in read_metrics(file):
        loss.add(metrics.step, metrics.loss)
        if metrics.held_out_loss is not None:
            held_out.add(metrics.step, metrics.held_out_loss)
    return loss, held_out


def _values(curve: Curve) -> list[float]:
    """A curve as it goes into the manifest: as much as the page shows."""
    return [value for _, value in curve.thinned(_SPARKLINE_POINTS)]


def _inputs(this: Step, store: ArtifactStore, split: Artifact, plan: TrainPlan) -> list[Artifact]:
    """The rows, and the model that the training started from where that is one of ours."""
    if plan.start is None:
        return [split]
    try:
        return [split, open_start(store, plan.start)]
    except UserError as error:  # of a model that was reused: it stands in its manifest
        this.context.log.warning(str(error))
        return [split]


def _result(
    this: Step, store: ArtifactStore, artifact: Artifact, split: Artifact, *, up_to_date: bool
) -> Materialized:
    """From the manifest alone, so that a reused model shows the same and is judged the same."""
    plan = TrainPlan.of_manifest(artifact.manifest.metadata)
    findings = healthy_training.findings_of(artifact.manifest.metadata)
    return this.result(
        artifact,
        _inputs(this, store, split, plan),
        training_page(artifact),
        up_to_date=up_to_date,
        check_results=[healthy_training.check_result(this.key, findings)],
    )
