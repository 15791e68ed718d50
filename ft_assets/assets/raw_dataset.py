"""``raw_dataset``: the rows as they came, validated, in one format."""

# Without postponed annotations: Dagster reads those of the asset's function.

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from ft_assets.accumulated import TO_MAKE_AGAIN, left_behind, named
from ft_assets.assets.earlier import unchanged
from ft_assets.assets.pipeline_asset import pipeline_asset
from ft_assets.assets.step import Materialized, Step, step
from ft_assets.checks import no_secrets, rows_valid
from ft_assets.config import Pipeline
from ft_assets.config.dataset import PARTITION, DatasetConfig
from ft_assets.data.formats import RowFormat
from ft_assets.data.ingest import DROPPED_FILE, ROWS_FILE, IngestReport, ingest
from ft_assets.lineage import SHORT, table
from ft_assets.provenance.digest import value_digest
from resources.errors import UserError
from resources.home import Home
from resources.sources import Fetched, Sources, redact
from resources.sources.partitions import substitute
from resources.store import Artifact, ArtifactStore, Draft
from resources.store.staging import full_disk_explained

NAME = "raw_dataset"
CODE_VERSION = "2"
EVAL_ROWS_FILE = "eval_rows.jsonl"
_SOURCE_DOWN = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
"""For a source that does not answer; bad input is never retried."""


def raw_dataset(
    pipeline: Pipeline, partitions: dg.PartitionsDefinition[str] | None
) -> dg.AssetsDefinition:
    """The asset ``[pipeline, raw_dataset]``."""

    @pipeline_asset(
        pipeline,
        NAME,
        after=(),
        kinds={"json"},
        code_version=CODE_VERSION,
        description=(
            "The rows of the dataset as they came from the source: every one validated and "
            "written in one form, whatever its format. Its data version is the digest of the rows."
        ),
        partitions=partitions,
        retry_policy=_SOURCE_DOWN,
        check_specs=[
            check.check_spec(pipeline.spec.key(NAME), partitions)
            for check in (rows_valid, no_secrets)
        ],
    )
    def asset(
        context: dg.AssetExecutionContext, sources: Sources, store: ArtifactStore, home: Home
    ) -> Materialized:
        with (
            step(context, pipeline, NAME, CODE_VERSION) as this,
            _scratch(home, pipeline) as scratch,
        ):
            config = this.spec.dataset
            with this.working():
                rows = _ingest(this, sources, config.uri, scratch / "rows")
                eval_rows = (
                    _ingest(this, sources, config.eval_uri, scratch / "eval", may_lack=True)
                    if config.eval_uri is not None
                    else None
                )
            before = store.find(this.key, this.partition)
            with this.publish(store, []) as draft:
                draft.take(scratch / "rows" / ROWS_FILE, ROWS_FILE)
                draft.take(scratch / "rows" / DROPPED_FILE, DROPPED_FILE)
                if eval_rows is not None:
                    draft.take(scratch / "eval" / ROWS_FILE, EVAL_ROWS_FILE)
                    draft.take(scratch / "eval" / DROPPED_FILE, f"eval_{DROPPED_FILE}")
                with this.working():
                    _describe(draft, rows, eval_rows)
                draft.metadata["keys"] = {**keys(config)}
            assert draft.artifact is not None
            return this.result(
                draft.artifact,
                [],
                _metadata(rows, eval_rows) | _to_make_again(this, draft.artifact),
                up_to_date=unchanged(before, draft.artifact),
                check_results=[
                    rows_valid.check_result(
                        this.key, rows.report, eval_rows.report if eval_rows is not None else None
                    ),
                    no_secrets.check_result(
                        this.key,
                        config.sensitive,
                        [rows.report, *([eval_rows.report] if eval_rows is not None else [])],
                    ),
                ],
            )

    return asset


def _to_make_again(this: Step, made: Artifact) -> dict[str, Any]:
    """Where drops accumulate: the later ones whose splits hold other rows of this one."""
    drop = this.partition
    if drop is None or not this.spec.dataset.accumulate:
        return {}
    later = left_behind(this.context.instance, this.spec, drop, made.data_version)
    if not later:
        return {}
    words = f"{named(later)}: ft backfill {this.spec.name} --stale, unless the sensor does it"
    this.context.log.warning(f"dataset.accumulate: later drops are to be made again, {words}")
    return {TO_MAKE_AGAIN: words}


def keys(config: DatasetConfig) -> dict[str, str | None]:
    """The parameters of the split for which the raw dataset holds something; redacted."""
    own = config.eval_uri
    return {
        "group_by": config.group_by,
        "stratify_by": config.stratify_by,
        "eval_uri": redact(own) if own is not None else None,
    }


@dataclass(frozen=True)
class _Ingested:
    """What was read from one place."""

    fetched: Fetched
    report: IngestReport


def _describe(draft: Draft, rows: _Ingested, eval_rows: _Ingested | None) -> None:
    """What the rows are and where they are from; the data version is the digest of their files."""
    digests: list[str] = []
    for prefix, name, found in (("", ROWS_FILE, rows), ("eval_", EVAL_ROWS_FILE, eval_rows)):
        if found is None:
            continue
        digests.append(draft.digests.of(name).sha256)
        report = found.report.model_copy(update={"digest": digests[-1]})
        draft.metadata[f"{prefix}source"] = _source(found.fetched)
        draft.metadata[f"{prefix}report"] = report.model_dump(mode="json")
    draft.data_version = digests[0] if len(digests) == 1 else value_digest(digests)


def _ingest(
    this: Step, sources: Sources, uri: str, into: Path, *, may_lack: bool = False
) -> _Ingested:
    """Fetch a dataset and check every row of it; the rows are then in the folder ``into``.

    ``may_lack``: the rows may lack the keys of ``group_by`` and ``stratify_by``.
    """
    config = this.spec.dataset
    fetched = _fetch(this, sources, uri, into.with_name(f"{into.name}-source"))
    report = ingest(
        [(file.name, file.path) for file in fetched.files],
        into,
        options=RowFormat(
            format=config.format,
            field_messages=config.field_messages,
            message_property_mappings=config.message_property_mappings,
            roles=config.roles,
            split_thinking=config.split_thinking,
        ),
        on_bad_rows=config.on_bad_rows,
        max_bad_rows=config.max_bad_rows,
        group_by=config.group_by,
        stratify_by=config.stratify_by,
        may_lack=may_lack,
        sensitive=config.sensitive,
    )
    fetched.require_unchanged()  # files that were read in place
    return _Ingested(fetched, report)


def _fetch(this: Step, sources: Sources, uri: str, into: Path) -> Fetched:
    if this.partition is not None and PARTITION in uri:
        uri = substitute(uri, this.partition)
    elif PARTITION in uri:
        name = "uri" if uri == this.spec.dataset.uri else "eval_uri"
        raise UserError(
            f"dataset.{name}: {redact(uri)}: this pipeline has no drops, because the URI in its "
            "file holds no {partition}: name one place"
        )
    into.mkdir(parents=True)
    return sources.fetch(uri, into, base_dir=this.pipeline.folder)


def _source(fetched: Fetched) -> dict[str, Any]:
    """Exactly what was read: the provenance of the first asset of all."""
    return {
        "uri": fetched.uri,
        "revision": fetched.revision,
        "files": [
            {
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "etag": file.etag,
                "modified": file.modified,
            }
            for file in fetched.files
        ],
    }


def _metadata(rows: _Ingested, eval_rows: _Ingested | None) -> dict[str, Any]:
    fetched, report = rows.fetched, rows.report
    own: dict[str, Any] = {}
    if eval_rows is not None:
        own = {"eval_source": eval_rows.fetched.uri, "eval_rows": eval_rows.report.rows_kept}
    return {
        "dagster/row_count": report.rows_kept,
        "source": fetched.uri,
        "revision": fetched.revision or "none",
        "notes": "; ".join(fetched.notes) or "none",
        **own,
        "rows_read": report.rows_read,
        "rows_dropped": sum(report.dropped.values()),
        "dropped": table([{"reason": why, "rows": n} for why, n in report.dropped.items()]),
        **_finds(report),
        "schema": table(
            [
                {"key": key, "rows": seen.rows, "types": ", ".join(seen.types)}
                for key, seen in report.source_keys.items()
            ]
        ),
        "files": table(
            [
                {"file": file.name, "bytes": file.size, "sha256": file.sha256[:SHORT]}
                for file in fetched.files
            ]
        ),
        "sample": _sample(report),
    }


def _finds(report: IngestReport) -> dict[str, Any]:
    """What the scan for secrets found; nothing where it found none."""
    rows = [{"rule": rule, "finds": count} for rule, count in report.sensitive.items()]
    return {"sensitive": table(rows)} if rows else {}


def _sample(report: IngestReport) -> dg.TableMetadataValue:
    """The first rows, shortened and redacted, a line per turn."""
    return table(
        [
            {"row": row["id"][:8], "role": turn["role"], "content": turn["content"]}
            for row in report.samples
            for turn in row["messages"]
        ]
    )


@contextmanager
def _scratch(home: Home, pipeline: Pipeline) -> Generator[Path]:
    """A private folder that is gone when the step is."""
    home.scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=home.scratch))
    doing = f"reading {'/'.join(pipeline.spec.key(NAME))}"
    try:
        with full_disk_explained(home.scratch, folder, doing):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
