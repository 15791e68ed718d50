"""``split_dataset``: what is trained on, and what is held out to measure the model."""

# Without postponed annotations: Dagster reads those of the asset's function.

from typing import Any

import dagster as dg

from ft_assets.assets.step import Materialized, pipeline_asset, step, unchanged
from ft_assets.config import Pipeline
from ft_assets.data.split import SplitReport, split
from ft_assets.lineage import table
from resources.store import ArtifactStore

NAME = "split_dataset"
CODE_VERSION = "1"


def split_dataset(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, split_dataset]``."""

    @pipeline_asset(
        pipeline,
        NAME,
        after=["raw_dataset"],
        kinds={"json"},
        code_version=CODE_VERSION,
        description=(
            "Training rows and held-out rows. A row's side follows from its content and the "
            "seed alone, so it never moves when data is added; training rows that equal or "
            "nearly equal a held-out row are left out."
        ),
        partitions=partitions,
    )
    def asset(context: dg.AssetExecutionContext, store: ArtifactStore) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this:
            raw = this.open(store, "raw_dataset")
            config = this.spec.dataset
            before = store.find(this.key, this.partition)
            with this.publish(store, [raw]) as draft, this.working():
                report = split(
                    raw.file("rows.jsonl"),
                    draft.path,
                    ratio=config.split,
                    seed=config.seed,
                    subset=config.subset,
                    near_duplicates=config.near_duplicates,
                )
                draft.metadata["report"] = report.model_dump(mode="json")
            for warning in report.warnings:
                context.log.warning(warning)
            assert draft.artifact is not None
            return this.result(
                draft.artifact,
                [raw],
                _metadata(report),
                up_to_date=unchanged(before, draft.artifact),
            )

    return asset


def _metadata(report: SplitReport) -> dict[str, Any]:
    return {
        "dagster/row_count": report.train_rows + report.held_out_rows,
        "train_rows": report.train_rows,
        "held_out_rows": report.held_out_rows,
        "training_share": report.ratio_actual,
        "rows_dropped": sum(report.dropped.values()),
        "dropped": table([{"reason": why, "rows": n} for why, n in report.dropped.items()]),
        "seed": report.seed,
    }
