"""``token_report``: what the model will see of the training rows, before a GPU is asked for."""

# Without postponed annotations: Dagster reads those of the asset's function.

import shutil
from typing import Any

import dagster as dg

from ft_assets.assets.champion_start import champion_starts, shaped_as
from ft_assets.assets.earlier import has, made_before
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.step import Materialized, Step, step
from ft_assets.assets.training_estimate import training_estimate
from ft_assets.charts import bar_chart, sparkline_markdown
from ft_assets.checks import drift as drift_check
from ft_assets.checks import fits_memory, trained_tokens
from ft_assets.config import Pipeline, PipelineSpec
from ft_assets.lineage import SHORT, table
from ft_assets.provenance.digest import value_digest
from ft_assets.training.base_model import BaseModelRef, locate
from ft_assets.training.drift import Drift, TokenShape, compare
from ft_assets.training.plan import mask_policy
from ft_assets.training.token_report import TokenReport
from ft_assets.training.token_worker import PREVIEW_FILE, REPORT_FILE, TokenPlan
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.registry import RegistryHub
from resources.sources.partitions import natural_order
from resources.store import Artifact, ArtifactStore

NAME = "token_report"
CODE_VERSION = "3"
CHART_FILE = "lengths.svg"
_LOOKED_BACK = 100
"""Drops among which the one before is looked for: some may never have been made."""


def token_report(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, token_report]``, with the check that guards training."""
    key = pipeline.spec.key(NAME)

    @pipeline_asset(
        pipeline,
        NAME,
        after=["split_dataset"],
        kinds={"huggingface"},
        code_version=CODE_VERSION,
        description=(
            "The training rows as the base model's tokens: lengths, what is trained on, what is "
            "left out or cut, and optimizer steps; a preview colours the tokens that are trained "
            "on. Needs the tokenizer and no GPU."
        ),
        partitions=partitions,
        check_specs=[
            trained_tokens.check_spec(key, partitions),
            drift_check.check_spec(key, partitions),
            fits_memory.check_spec(key, partitions),
        ],
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
            starts = champion_starts(store, registry, this.spec, this.partition)
            base = shaped_as(store, locate_base_model(this, home), starts, this.spec)
            plan = _plan(this, split, home, base)
            fingerprint = _fingerprint(plan, split)
            existing = made_before(this, store, has(fingerprint))
            if existing is not None:
                return _result(this, existing, split, home, base, up_to_date=True)
            artifact = _make(
                this, store, split, plan, fingerprint=fingerprint, home=home, launcher=launcher
            )
            return _result(this, artifact, split, home, base, up_to_date=False)

    return asset


def locate_base_model(this: Step, home: Home) -> BaseModelRef:
    """The base model of the effective specification, found but not loaded."""
    training = this.spec.training
    return locate(
        training.base_model,
        folder=this.pipeline.folder,
        models=home.models,
        chat_template=training.chat_template,
        hf_token_env=training.hf_token_env,
        special_tokens=training.special_tokens,
    )


def _plan(this: Step, split: Artifact, home: Home, base: BaseModelRef) -> TokenPlan:
    training = this.spec.training
    return TokenPlan(
        title=f"{this.title}: what the model sees",
        base_model=base,
        models_dir=str(home.models),
        train_file=str(split.file("train.jsonl")),
        mask=mask_policy(training),
        max_seq_len=training.max_seq_len,
        effective_batch_size=training.effective_batch_size,
        num_epochs=training.num_epochs,
    )


def _fingerprint(plan: TokenPlan, split: Artifact) -> str:
    report: Any = split.manifest.metadata["report"]
    here = {"train_file", "models_dir", "base_model"}
    return value_digest(
        {
            "code": CODE_VERSION,
            "plan": plan.model_dump(mode="json", exclude=here),
            "base_model": plan.base_model.digest,
            "data": report["train_digest"],
        }
    )


def _make(
    this: Step,
    store: ArtifactStore,
    split: Artifact,
    plan: TokenPlan,
    *,
    fingerprint: str,
    home: Home,
    launcher: ProcessLauncher,
) -> Artifact:
    folder = home.runs / f"{this.run_folder_prefix}-{fingerprint[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    this.run_worker(launcher, "ft_assets.training.token_worker", plan, folder / "plan.json")
    report = TokenReport.model_validate_json((folder / REPORT_FILE).read_text())
    drift = _drift(this, store, plan, report)
    rows: Any = split.manifest.metadata["report"]
    metadata = {
        "fingerprint": fingerprint,
        "tokens_of": tokens_of(plan.base_model, plan.max_seq_len),
        "rows_of": rows["train_digest"],
        "report": report.model_dump(mode="json"),
        "drift": drift.model_dump(mode="json") if drift is not None else None,
    }
    with this.publish(store, [split], **metadata) as draft:
        for name in (REPORT_FILE, PREVIEW_FILE):
            shutil.copyfile(folder / name, draft.path / name)
        (draft.path / CHART_FILE).write_text(
            bar_chart(
                report.histogram,
                title=f"{this.title}: length of the training rows",
                x="tokens per row",
                y="rows",
            )
        )
    shutil.rmtree(folder)
    assert draft.artifact is not None
    return draft.artifact


def tokens_of(base: BaseModelRef, max_seq_len: int) -> str:
    """What must be the same for two reports to be compared: the tokenizer and the longest row."""
    return value_digest([base.digest, max_seq_len])


def _drift(this: Step, store: ArtifactStore, plan: TokenPlan, report: TokenReport) -> Drift | None:
    """How far this drop is from the one before it; None where there is none to compare with."""
    if this.partition is None:
        return None
    drops = this.context.instance.get_dynamic_partitions(f"{this.spec.name}_drops")
    here, same = natural_order(this.partition), tokens_of(plan.base_model, plan.max_seq_len)
    earlier = sorted((d for d in drops if natural_order(d) < here), key=natural_order)
    for drop in reversed(earlier[-_LOOKED_BACK:]):
        artifact = store.find(this.key, drop)
        if artifact is None:
            continue
        before: Any = artifact.manifest.metadata
        if before.get("tokens_of") == same:
            shape = TokenShape.model_validate(before["report"]["shape"])
            return compare(shape, report.shape, drop)
    return None


def tokens_for(
    store: ArtifactStore, spec: PipelineSpec, partition: str | None, base: BaseModelRef
) -> TokenReport | None:
    """The token report of a drop, if it is one of this base model's tokens of the current rows."""
    artifact = store.find(spec.key(NAME), partition)
    split = store.find(spec.key("split_dataset"), partition)
    if artifact is None or split is None:
        return None
    about: Any = artifact.manifest.metadata
    rows: Any = split.manifest.metadata
    if about["tokens_of"] != tokens_of(base, spec.training.max_seq_len):
        return None
    if about.get("rows_of") != rows["report"]["train_digest"]:
        return None
    return TokenReport.model_validate(about["report"])


def _result(
    this: Step,
    artifact: Artifact,
    split: Artifact,
    home: Home,
    base: BaseModelRef,
    *,
    up_to_date: bool,
) -> Materialized:
    """From the manifest alone, so that a reused report shows and decides the same."""
    manifest: Any = artifact.manifest.metadata
    report = TokenReport.model_validate(manifest["report"])
    drift = manifest["drift"]
    return this.result(
        artifact,
        [split],
        {
            "dagster/row_count": report.rows,
            "rows_by_length": dg.MetadataValue.md(
                sparkline_markdown([count for _, count in report.histogram], "rows by length")
            ),
            "tokens": report.tokens,
            "trained_tokens": report.trained_tokens,
            "trained_share": round(report.trained_share, 4),
            "rows_too_long": report.rows_too_long,
            "rows_untrained": report.rows_untrained,
            "rows_cut": report.rows_cut,
            "steps_per_epoch": report.steps_per_epoch,
            "steps": report.steps,
            "lengths": table(
                [
                    {"tokens per row": name, "all": value, "trained": report.trained_lengths[name]}
                    for name, value in report.lengths.items()
                ]
            ),
            "length_chart": dg.PathMetadataValue(f"{artifact.uri}/{CHART_FILE}"),
            "preview": dg.PathMetadataValue(f"{artifact.uri}/{PREVIEW_FILE}"),
            "fingerprint": str(manifest["fingerprint"])[:SHORT],
        },
        up_to_date=up_to_date,
        check_results=[
            trained_tokens.check_result(this.key, report),
            drift_check.check_result(this.key, Drift.model_validate(drift) if drift else None),
            fits_memory.check_result(this.key, training_estimate(this, base, home, report)),
        ],
    )
