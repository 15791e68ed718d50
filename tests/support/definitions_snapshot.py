"""What Dagster is told about the built-in pipelines, as JSON that people can read and compare.

``python -m tests.support.definitions_snapshot`` writes the file that the test compares with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from ft_assets.config.launchpad import BLOCK_OF_ASSET, run_config_class

FILE = Path(__file__).parent.parent / "definitions_snapshot.json"


def snapshot() -> dict[str, Any]:
    """Assets, checks, jobs, schedules and partitions of the pipelines in the package itself."""
    from ft_assets.code_location import default_resources
    from ft_assets.config import load_pipeline
    from ft_assets.config.load import BUILT_IN
    from ft_assets.pipeline import pipeline_definitions

    pipelines = [load_pipeline(file) for file in sorted(BUILT_IN.glob("*.yaml"))]
    definitions = dg.Definitions.merge(
        dg.Definitions(resources=default_resources()),
        *(pipeline_definitions(pipeline) for pipeline in pipelines),
    )
    graph = definitions.resolve_asset_graph()
    return {
        "assets": {
            key.to_user_string(): _asset(graph.get(key))
            for key in sorted(graph.get_all_asset_keys())
        },
        "checks": {
            f"{key.asset_key.to_user_string()}:{key.name}": {
                "blocking": graph.get(key).blocking,
                "partitions": _partitions(graph.get(key).partitions_def),
            }
            for key in sorted(graph.asset_check_keys, key=str)
        },
        "jobs": {
            job.name: {
                "assets": sorted(
                    key.to_user_string() for key in job.asset_layer.executable_asset_keys
                ),
                "partitions": _partitions(job.partitions_def),
                "tags": dict(sorted(job.tags.items())),
            }
            for job in definitions.resolve_all_job_defs()
            if not job.name.startswith("__")
        },
        "schedules": sorted(s.name for s in definitions.get_repository_def().schedule_defs),
        "config": {
            f"{pipeline.spec.name}/{asset}": _config(pipeline.spec, asset)
            for pipeline in pipelines
            for asset in BLOCK_OF_ASSET
        },
    }


def _asset(node: Any) -> dict[str, Any]:
    return {
        "group": node.group_name,
        "deps": sorted(key.to_user_string() for key in node.parent_keys),
        "kinds": sorted(node.kinds),
        "owners": list(node.owners),
        "tags": {k: v for k, v in sorted(node.tags.items()) if not k.startswith("dagster/kind/")},
        "code_version": node.code_version,
        "partitions": _partitions(node.partitions_def),
        "pools": sorted(node.pools or ()),
    }


def _partitions(partitions: dg.PartitionsDefinition[str] | None) -> str | None:
    return getattr(partitions, "name", None)


def _config(spec: Any, asset: str) -> dict[str, Any]:
    fields = run_config_class(spec, asset).model_fields
    return {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in sorted(fields.items())
    }


def text() -> str:
    """The snapshot as it stands in the file; groups of parameters as what is in them."""

    def plain(group: BaseModel) -> dict[str, Any]:
        return group.model_dump(mode="json")

    return json.dumps(snapshot(), indent=1, sort_keys=True, default=plain) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
