"""``raw_dataset``: the rows as they came, validated, in one format."""

# Without postponed annotations: Dagster reads those of the asset's function.

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from ft_assets.assets.step import Materialized, Step, pipeline_asset, step, unchanged
from ft_assets.config import Pipeline
from ft_assets.config.dataset import PARTITION
from ft_assets.data.ingest import IngestReport, ingest
from ft_assets.lineage import SHORT, table
from resources.errors import UserError
from resources.home import Home
from resources.sources import Fetched, Sources
from resources.sources.partitions import substitute
from resources.store import ArtifactStore

NAME = "raw_dataset"
CODE_VERSION = "1"
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
            "written as chat messages. Its data version is the digest of the rows."
        ),
        partitions=partitions,
        retry_policy=_SOURCE_DOWN,
    )
    def asset(
        context: dg.AssetExecutionContext, sources: Sources, store: ArtifactStore, home: Home
    ) -> Materialized:
        with step(context, pipeline, NAME, CODE_VERSION) as this, _scratch(home) as scratch:
            with this.working():
                fetched = _fetch(this, sources, scratch / "source")
                report = ingest(
                    [(file.name, file.path) for file in fetched.files],
                    scratch / "rows",
                    on_bad_rows=this.spec.dataset.on_bad_rows,
                    max_bad_rows=this.spec.dataset.max_bad_rows,
                )
            before = store.find(this.key, this.partition)
            with this.publish(store, [], report=report.model_dump(mode="json")) as draft:
                draft.take(scratch / "rows" / "rows.jsonl", "rows.jsonl")
                draft.take(scratch / "rows" / "dropped.jsonl", "dropped.jsonl")
                draft.metadata["source"] = _source(fetched)
                draft.data_version = report.digest
            assert draft.artifact is not None
            return this.result(
                draft.artifact,
                [],
                _metadata(fetched, report),
                up_to_date=unchanged(before, draft.artifact),
            )

    return asset


def _fetch(this: Step, sources: Sources, into: Path) -> Fetched:
    uri = this.spec.dataset.uri
    if this.partition is not None:
        uri = substitute(uri, this.partition)
    elif PARTITION in uri:
        raise UserError(
            f"dataset.uri: {uri}: this pipeline has no drops, because the URI in its file holds no "
            "{partition}: name one place"
        )
    into.mkdir(parents=True)
    return sources.fetch(uri, into, base_dir=this.pipeline.folder)


def _source(fetched: Fetched) -> dict[str, Any]:
    """Exactly what was read: the provenance of the first asset of all."""
    return {
        "uri": fetched.uri,
        "revision": fetched.revision,
        "files": [
            {"name": file.name, "size": file.size, "sha256": file.sha256, "etag": file.etag}
            for file in fetched.files
        ],
    }


def _metadata(fetched: Fetched, report: IngestReport) -> dict[str, Any]:
    return {
        "dagster/row_count": report.rows_kept,
        "source": fetched.uri,
        "revision": fetched.revision or "none",
        "notes": "; ".join(fetched.notes) or "none",
        "rows_read": report.rows_read,
        "rows_dropped": sum(report.dropped.values()),
        "dropped": table([{"reason": why, "rows": n} for why, n in report.dropped.items()]),
        "files": table(
            [
                {"file": file.name, "bytes": file.size, "sha256": file.sha256[:SHORT]}
                for file in fetched.files
            ]
        ),
        "sample": dg.MetadataValue.md(_sample(report)),
    }


def _sample(report: IngestReport) -> str:
    return "\n\n---\n\n".join(
        "\n\n".join(f"**{message['role']}**: {message['content']}" for message in row["messages"])
        for row in report.samples
    )


@contextmanager
def _scratch(home: Home) -> Generator[Path]:
    """A private folder that is gone when the step is."""
    home.scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=home.scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
