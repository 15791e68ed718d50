"""``split_dataset``: what is trained on, and what is held out to measure the model."""

# Without postponed annotations: Dagster reads those of the asset's function.

from typing import Any, cast

import dagster as dg

from ft_assets.accumulated import DIGEST, digests_up_to
from ft_assets.assets.drops_up_to import SHOWN, Drops, drops_up_to, never_read
from ft_assets.assets.earlier import unchanged
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.raw_dataset import keys
from ft_assets.assets.split_page import split_metadata
from ft_assets.assets.step import Materialized, Step, step
from ft_assets.cards import CARD_FILE, dataset_card
from ft_assets.checks import split_checks
from ft_assets.config import Pipeline
from ft_assets.data.split_report import HELD_OUT_FILE, TRAIN_FILE, SplitReport
from ft_assets.provenance.digest import value_digest
from resources.errors import UserError
from resources.home import Home
from resources.launcher.process import ProcessLauncher
from resources.sources import Sources
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
        # turn all earlier ones stale. So in the UI nothing is stale that is not, and a changed drop
        # marks its own split: those after it are named on its raw dataset's page, are stale for
        # ft status and ft backfill (accumulated.py), and are made again by the new-data sensor.
        # The split's data version is of all its rows, and its provenance names every drop.
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
        sources: Sources,
    ) -> Materialized:
        from ft_assets.assets import splitting  # loads numpy: not with the definitions

        with step(context, pipeline, NAME, CODE_VERSION) as this, this.alone(home):
            raw = this.open(store, "raw_dataset")
            _require_keys(this, raw)
            drops = drops_up_to(this, store, raw, lambda one: _require_keys(this, one))
            left_out = never_read(this, sources)
            before = store.find(this.key, this.partition)
            with this.publish(store, drops.inputs) as draft:
                with this.working():
                    report = splitting.split_rows(this, drops, draft.path)
                found = splitting.decontaminate_rows(
                    this, draft, home, launcher, report.held_out_rows
                )
                if found is not None:
                    report = splitting.after(report, draft.path, found)
                    draft.metadata["contamination"] = found.report.model_dump(mode="json")
                with this.working():
                    leak = splitting.leak(this, draft.path, report)
                    report = _with_digests(report, draft)
                draft.metadata["report"] = report.model_dump(mode="json")
                _write_card(this, draft, raw)
                draft.data_version = _data_version(report)
            for warning in report.warnings:
                context.log.warning(warning)
            assert draft.artifact is not None
            return this.result(
                draft.artifact,
                drops.inputs[:SHOWN],
                split_metadata(report, found.report if found else None)
                | _never_read(left_out)
                | _made_from(drops),
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


def _never_read(drops: list[str]) -> dict[str, Any]:
    return {"drops_never_read": ", ".join(drops[:SHOWN])} if drops else {}


def _made_from(drops: Drops) -> dict[str, Any]:
    """By which a later look sees that an earlier drop has changed."""
    if not drops.counts:
        return {}
    versions = {str(one.partition): one.data_version for one in drops.inputs}
    return {DIGEST: digests_up_to(versions)[str(drops.inputs[0].partition)]}


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


def _with_digests(report: SplitReport, draft: Draft) -> SplitReport:
    sides = {"train_digest": TRAIN_FILE, "held_out_digest": HELD_OUT_FILE}
    return report.model_copy(
        update={side: draft.digests.of(name).sha256 for side, name in sides.items()}
    )


def _data_version(report: SplitReport) -> str:
    """The rows of both sides alone: a card with other words makes them no other data.

    The same as ``files_digest`` of the two files, whose digests the report has already.
    """
    return value_digest(
        [[HELD_OUT_FILE, report.held_out_digest], [TRAIN_FILE, report.train_digest]]
    )
