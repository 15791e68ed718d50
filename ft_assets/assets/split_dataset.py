"""``split_dataset``: what is trained on, and what is held out to measure the model."""

# Without postponed annotations: Dagster reads those of the asset's function.

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import dagster as dg

from ft_assets.assets.drops_up_to import SHOWN, Drops, drops_up_to
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.raw_dataset import keys
from ft_assets.assets.step import Materialized, Step, step, unchanged
from ft_assets.cards import CARD_FILE, dataset_card
from ft_assets.checks import split_checks
from ft_assets.config import Pipeline
from ft_assets.data.contamination import CONTAMINATED_FILE, ContaminationReport, decontaminate
from ft_assets.data.held_out_overlap import HeldOutDocuments, write_held_out_documents
from ft_assets.data.leak import LeakReport, find_leak
from ft_assets.data.split import HELD_OUT_FILE, TRAIN_FILE, SplitReport, split
from ft_assets.data.split_report import after_contamination
from ft_assets.evaluation.documents_worker import DocumentsPlan
from ft_assets.lineage import table
from ft_assets.provenance.digest import value_digest
from resources.errors import UserError
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.store import Artifact, ArtifactStore, Draft

NAME = "split_dataset"
CODE_VERSION = "3"


def split_dataset(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, split_dataset]``, with the checks that guard training."""
    key = pipeline.spec.key(NAME)

    @pipeline_asset(
        pipeline,
        NAME,
        # The same drop's alone, also where drops are accumulated. Dagster has no mapping to "all up
        # to this one" for dynamic partitions, and one of our own would not reach its web server and
        # daemon, which know the built-in ones only; AllPartitionMapping would make each new drop
        # turn all earlier ones stale. So nothing is stale that is not, and a changed drop marks its
        # own split: that those after it are to be made again is the new-data sensor's work. The
        # split's data version is of all its rows, and its provenance names every drop.
        after=["raw_dataset"],
        kinds={"json"},
        code_version=CODE_VERSION,
        description=(
            "Training rows and held-out rows. A row's side follows from its content (or its "
            "group) and the seed alone, so it never moves when data is added; training rows that "
            "equal or nearly equal a held-out row, hold one as a whole, or hold a question of the "
            "pipeline's evaluation tasks, are left out."
        ),
        partitions=partitions,
        check_specs=split_checks.check_specs(key, partitions),
    )
    def asset(
        context: dg.AssetExecutionContext,
        store: ArtifactStore,
        home: Home,
        launcher: ProcessLauncher,
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this, this.alone(home):
            raw = this.open(store, "raw_dataset")
            _require_keys(this, raw)
            drops = drops_up_to(this, store, raw, lambda one: _require_keys(this, one))
            before = store.find(this.key, this.partition)
            with this.publish(store, drops.inputs) as draft:
                with this.working():
                    report = _split(this, drops, draft.path)
                found = _decontaminate(this, draft, home, launcher, report.held_out_rows)
                if found is not None:
                    report = _after(report, draft.path, found)
                    draft.metadata["contamination"] = found.report.model_dump(mode="json")
                with this.working():
                    leak = _leak(this, draft.path, report)
                draft.metadata["report"] = report.model_dump(mode="json")
                _write_card(this, draft, raw)
                draft.data_version = _data_version(report)
            for warning in report.warnings:
                context.log.warning(warning)
            assert draft.artifact is not None
            return this.result(
                draft.artifact,
                drops.inputs[:SHOWN],
                _metadata(report, found.report if found else None),
                up_to_date=unchanged(before, draft.artifact),
                check_results=[
                    split_checks.no_leak(this.key, leak),
                    split_checks.no_contamination(this.key, found.report if found else None),
                    split_checks.enough_rows(
                        this.key, report, this.spec.training.effective_batch_size
                    ),
                ],
            )

    return asset


def _require_keys(this: Step, raw: Artifact) -> None:
    """Refuse a raw dataset that was read for another group, stratum or held-out set.

    Raises:
        UserError: that is so; the split would silently go by the old one.
    """
    read_for = cast("dict[str, str | None]", raw.manifest.metadata.get("keys", {}))
    for name, value in keys(this.spec.dataset).items():
        if value is not None and read_for.get(name) != value:
            raise UserError(
                f"dataset.{name}: {value}: the raw dataset was read with "
                f"{read_for.get(name) or 'none'}: materialize raw_dataset again"
            )


def _split(this: Step, drops: Drops, folder: Path) -> SplitReport:
    config = this.spec.dataset
    report = split(
        drops.rows,
        folder,
        ratio=config.split,
        seed=config.seed,
        subset=config.subset,
        near_duplicates=config.near_duplicates,
        duplicates=config.duplicates,
        near_in_training=config.near_duplicates_in_training,
        grouped=config.group_by is not None,
        stratified=config.stratify_by is not None,
        eval_rows=drops.eval_rows or None,
    )
    return report.model_copy(update={"drops": drops.counts})


@dataclass(frozen=True)
class _Compared:
    """What the training side was compared with, and what was found."""

    report: ContaminationReport
    held_out: HeldOutDocuments | None


def _decontaminate(
    this: Step, draft: Draft, home: Home, launcher: ProcessLauncher, held_out_rows: int
) -> _Compared | None:
    """Leave out training rows that hold a held-out row or a question of the evaluation's tasks.

    When rows are found and that is to fail, the folder with the list of them stays.
    """
    config = this.spec.dataset
    tasks = this.spec.evaluation.tasks
    if config.on_contamination == "ignore" or not (tasks or held_out_rows):
        return None
    folder = home.runs / f"{this.run_folder_prefix}-contamination"
    folder.mkdir(parents=True, exist_ok=True)
    documents = [_task_documents(this, folder, launcher)] if tasks else []
    whole = folder / "held_out_documents.jsonl" if held_out_rows else None
    with this.working():
        held_out = (
            write_held_out_documents(draft.path / HELD_OUT_FILE, whole, rows=held_out_rows)
            if whole
            else None
        )
        report = decontaminate(
            draft.path / TRAIN_FILE,
            documents,
            folder / TRAIN_FILE,
            held_out=whole,
            threshold=config.contamination,
            on_contamination=config.on_contamination,
        )
    (draft.path / TRAIN_FILE).unlink()
    for name in (TRAIN_FILE, CONTAMINATED_FILE):
        draft.take(folder / name, name)
    shutil.rmtree(folder)
    return _Compared(report, held_out)


def _task_documents(this: Step, folder: Path, launcher: ProcessLauncher) -> Path:
    """Have the documents of the evaluation's tasks written, in a process of its own."""
    documents = folder / "task_documents.jsonl"
    include = this.include_folder
    plan = DocumentsPlan(
        tasks=this.spec.evaluation.tasks,
        include_path=str(include) if include else None,
        output=str(documents),
    )
    this.run_worker(launcher, "ft_assets.evaluation.documents_worker", plan, folder / "plan.json")
    return documents


def _after(report: SplitReport, folder: Path, found: _Compared) -> SplitReport:
    """The split's report after contaminated rows were left out."""
    report = after_contamination(
        report,
        folder / TRAIN_FILE,
        folder / HELD_OUT_FILE,
        rows=found.report.kept_rows,
        digest=found.report.digest,
    )
    warning = found.held_out.warning() if found.held_out else None
    if warning is None:
        return report
    return report.model_copy(update={"warnings": [*report.warnings, warning]})


def _leak(this: Step, folder: Path, report: SplitReport) -> LeakReport:
    return find_leak(
        folder / TRAIN_FILE,
        folder / HELD_OUT_FILE,
        near_duplicates=this.spec.dataset.near_duplicates,
        rows=report.train_rows,
    )


def _write_card(this: Step, draft: Draft, raw: Artifact) -> None:
    """The README.md that a hub shows beside the rows."""
    metadata: Any = draft.metadata
    card = dataset_card(
        name=this.spec.name,
        partition=this.partition,
        report=metadata["report"],
        contamination=metadata.get("contamination"),
        raw=raw.manifest.metadata,
        config=this.provenance([raw]).config,
        description=this.spec.description,
    )
    (draft.path / CARD_FILE).write_text(card, encoding="utf-8")


def _data_version(report: SplitReport) -> str:
    """The rows of both sides alone: a card with other words makes them no other data.

    The same as ``files_digest`` of the two files, whose digests the report has already.
    """
    return value_digest(
        [[HELD_OUT_FILE, report.held_out_digest], [TRAIN_FILE, report.train_digest]]
    )


def _metadata(report: SplitReport, found: ContaminationReport | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/row_count": report.train_rows + report.held_out_rows,
        "train_rows": report.train_rows,
        "held_out_rows": report.held_out_rows,
        "training_share": report.ratio_actual,
        "rows_dropped": sum(report.dropped.values()),
        "dropped": table([{"reason": why, "rows": n} for why, n in report.dropped.items()]),
        "duplicates": report.duplicates,
        "near_clusters": report.near_clusters,
        "seed": report.seed,
    }
    if report.drops:
        metadata["drops"] = len(report.drops)
        metadata["rows_per_drop"] = table(
            [{"drop": one.drop, "rows": one.rows} for one in report.drops[-SHOWN:]]
        )
    if report.groups:
        metadata["groups"] = report.groups
    if report.strata:
        metadata["strata"] = table(
            [
                {
                    "stratum": stratum.name if stratum.name is not None else "all others",
                    "train": stratum.train_rows,
                    "held out": stratum.held_out_rows,
                }
                for stratum in report.strata
            ]
        )
    if found is not None:
        metadata["contaminated_rows"] = found.contaminated_rows
        metadata["contamination"] = table(
            [
                {
                    "task": task,
                    "documents": counts.documents,
                    "found in the rows": counts.documents_found,
                    "rows": counts.rows,
                }
                for task, counts in found.tasks.items()
            ]
        )
        if found.examples:
            metadata["contamination_examples"] = table(
                [
                    {
                        "row": pair.row_excerpt,
                        "question": pair.question_excerpt,
                        "task": pair.task,
                        "share": round(pair.containment, 3),
                    }
                    for pair in found.examples
                ]
            )
    return metadata
